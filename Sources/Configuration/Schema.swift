/// How a value of one type stands in an experiment file: reading, writing and describing it.
package struct Codec<Value: Sendable>: Sendable {
  /// What is expected, e.g. "a number".
  package var expects: String
  /// The settings inside, for the reference.
  package var entries: [ReferenceEntry] = []
  /// Reads a value; `path` names the setting in errors.
  package var read: @Sendable (_ tree: SettingsTree, _ path: String) throws(SettingsError) -> Value
  /// Writes a value, every default spelled out.
  package var write: @Sendable (_ value: Value) -> SettingsTree.Content

  package init(
    expects: String, entries: [ReferenceEntry] = [],
    read: @escaping @Sendable (SettingsTree, String) throws(SettingsError) -> Value,
    write: @escaping @Sendable (Value) -> SettingsTree.Content
  ) {
    self.expects = expects
    self.entries = entries
    self.read = read
    self.write = write
  }
}

/// One line of the reference of settings.
package struct ReferenceEntry: Sendable {
  package var key: String
  package var expects: String
  package var standard: String?
  package var text: String
  package var entries: [ReferenceEntry]

  package init(
    key: String, expects: String, standard: String? = nil, text: String,
    entries: [ReferenceEntry] = []
  ) {
    self.key = key
    self.expects = expects
    self.standard = standard
    self.text = text
    self.entries = entries
  }
}

/// One setting of a struct: its key, where it is kept, its type and what it means.
package struct Field<Root: Sendable>: Sendable {
  package let key: String
  package let isRequired: Bool
  package let read:
    @Sendable (_ tree: SettingsTree, _ path: String, _ root: inout Root) throws(SettingsError) ->
      Void
  package let write: @Sendable (Root) -> SettingsTree.Content
  package let reference: @Sendable (Root) -> ReferenceEntry

  /// A setting that keeps its default when the file says nothing.
  package init<Value: Sendable>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value> & Sendable, _ codec: Codec<Value>,
    _ text: String
  ) {
    self.init(key, keyPath, codec, text, isRequired: false)
  }

  /// A setting kept in a part of the struct.
  package init<Part, Value: Sendable>(
    _ key: String, _ part: any WritableKeyPath<Root, Part> & Sendable,
    _ keyPath: any WritableKeyPath<Part, Value> & Sendable, _ codec: Codec<Value>, _ text: String
  ) {
    self.init(
      key: key, isRequired: false,
      read: { (tree, path, root) throws(SettingsError) in
        root[keyPath: part][keyPath: keyPath] = try codec.read(tree, path)
      },
      write: { codec.write($0[keyPath: part][keyPath: keyPath]) },
      reference: { root in
        codec.reference(key, standard: root[keyPath: part][keyPath: keyPath], text)
      })
  }

  /// A setting that a file must give.
  package static func required<Value: Sendable>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value> & Sendable, _ codec: Codec<Value>,
    _ text: String
  ) -> Field {
    Field(key, keyPath, codec, text, isRequired: true)
  }

  /// A mapping that is read over what is there already: several sections may share one struct.
  package static func section<Value: Sendable>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value> & Sendable, _ schema: Schema<Value>,
    _ text: String
  ) -> Field {
    Field(
      key: key, isRequired: false,
      read: { (tree, path, root) throws(SettingsError) in
        root[keyPath: keyPath] = try schema.read(tree, path, over: root[keyPath: keyPath])
      },
      write: { schema.codec.write($0[keyPath: keyPath]) },
      reference: { root in
        // The defaults here are those of the enclosing struct.
        ReferenceEntry(
          key: key, expects: schema.codec.expects, text: text,
          entries: schema.fields.map { $0.reference(root[keyPath: keyPath]) })
      })
  }

  /// A list of mappings, each read over a value that stands elsewhere in the same struct.
  package static func list<Element: Sendable>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, [Element]> & Sendable,
    of schema: Schema<Element>, over start: any KeyPath<Root, Element> & Sendable, _ text: String
  ) -> Field {
    Field(
      key: key, isRequired: false,
      read: { (tree, path, root) throws(SettingsError) in
        guard case .list(let items) = tree.content else {
          throw wrongType(tree, path, "a list of mappings")
        }
        var elements: [Element] = []
        for (index, item) in items.enumerated() {
          elements.append(
            try schema.read(item, join(path, "\(index)"), over: root[keyPath: start]))
        }
        root[keyPath: keyPath] = elements
      },
      write: { Codec.list(of: schema.codec).write($0[keyPath: keyPath]) },
      reference: { _ in
        ReferenceEntry(
          key: key, expects: "a list of mappings", text: text, entries: schema.codec.entries)
      })
  }

  private init(
    key: String, isRequired: Bool,
    read: @escaping @Sendable (SettingsTree, String, inout Root) throws(SettingsError) -> Void,
    write: @escaping @Sendable (Root) -> SettingsTree.Content,
    reference: @escaping @Sendable (Root) -> ReferenceEntry
  ) {
    self.key = key
    self.isRequired = isRequired
    self.read = read
    self.write = write
    self.reference = reference
  }

  private init<Value: Sendable>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value> & Sendable, _ codec: Codec<Value>,
    _ text: String, isRequired: Bool
  ) {
    self.key = key
    self.isRequired = isRequired
    read = { (tree, path, root) throws(SettingsError) in
      root[keyPath: keyPath] = try codec.read(tree, path)
    }
    write = { codec.write($0[keyPath: keyPath]) }
    reference = { root in
      codec.reference(key, standard: isRequired ? nil : root[keyPath: keyPath], text)
    }
  }
}

extension Codec {
  /// A setting of this type; its default is nil if a file must give it.
  package func reference(_ key: String, standard: Value?, _ text: String) -> ReferenceEntry {
    ReferenceEntry(
      key: key, expects: expects,
      standard: standard.flatMap {
        SettingsTree(content: write($0), origin: .wholeFile(name: "")).shortText
      },
      text: text, entries: entries)
  }
}

/// The settings of a struct: serves reading with refusal of unknown keys, writing with every default
/// spelled out, and the reference.
package struct Schema<Root: Sendable>: Sendable {
  /// The value of a file that says nothing.
  package let standard: Root
  package let fields: [Field<Root>]
  package let validate: @Sendable (Root) throws -> Void

  /// - Parameters:
  ///   - standard: the defaults.
  ///   - fields: the settings, in the order in which they are written.
  ///   - validate: throws `InvalidOption` if values are out of range.
  package init(
    _ standard: Root, _ fields: [Field<Root>],
    validate: @escaping @Sendable (Root) throws -> Void = { _ in }
  ) {
    self.standard = standard
    self.fields = fields
    self.validate = validate
  }

  /// The struct as a mapping.
  package var codec: Codec<Root> {
    Codec(
      expects: "a mapping",
      entries: fields.map { $0.reference(standard) },
      read: { (tree, path) throws(SettingsError) in try self.read(tree, path) },
      write: { root in
        .mapping(
          fields.map {
            SettingsTree.Entry(key: $0.key, content: $0.write(root))
          })
      })
  }

  /// Reads a mapping over the defaults, or over another value.
  package func read(
    _ tree: SettingsTree, _ path: String, over start: Root? = nil
  ) throws(SettingsError) -> Root {
    let entries: [SettingsTree.Entry]
    switch tree.content {
    case .mapping(let given): entries = given
    // `training:` with nothing below it.
    case .null: entries = []
    default: throw wrongType(tree, path, "a mapping of settings")
    }
    var root = start ?? standard
    let known = fields.map(\.key)
    for entry in entries where !known.contains(entry.key) {
      throw unknownKey(entry, path, allowed: known)
    }
    for field in fields {
      guard let entry = entries.first(where: { $0.key == field.key }) else {
        if field.isRequired {
          throw SettingsError(
            origin: tree.origin, path: path, problem: "the key \"\(field.key)\" is missing")
        }
        continue
      }
      try field.read(entry.value, join(path, field.key), &root)
    }
    do {
      try validate(root)
    } catch let error as InvalidOption {
      throw SettingsError(
        origin: tree.origin(of: error.key), path: join(path, error.key),
        value: tree.word(at: error.key) ?? error.value, allowed: error.allowed)
    } catch {
      throw SettingsError(origin: tree.origin, path: path, problem: "\(error)")
    }
    return root
  }
}

extension SettingsTree.Entry {
  /// An entry that is written, never read, and so comes from nowhere.
  package init(key: String, content: SettingsTree.Content) {
    let nowhere = SettingsTree.Origin.wholeFile(name: "")
    self.init(
      key: key, keyOrigin: nowhere, value: SettingsTree(content: content, origin: nowhere))
  }
}

package func join(_ path: String, _ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

package func wrongType(_ tree: SettingsTree, _ path: String, _ expected: String) -> SettingsError {
  SettingsError(origin: tree.origin, path: path, value: tree.summary, allowed: expected)
}

package func unknownKey(
  _ entry: SettingsTree.Entry, _ path: String, allowed: [String]
) -> SettingsError {
  // Nearest first, in the order of the schema among equals.
  let sorted = allowed.enumerated()
    .map { ($0.element, editDistance(entry.key.lowercased(), $0.element.lowercased()), $0.offset) }
    .sorted { ($0.1, $0.2) < ($1.1, $1.2) }
  let hint =
    sorted.first.flatMap { nearest in
      nearest.1 <= max(1, nearest.0.count / 3) ? "did you mean \"\(nearest.0)\"? " : nil
    } ?? ""
  return SettingsError(
    origin: entry.keyOrigin, path: path,
    problem: "unknown key \"\(abbreviated(entry.key))\" "
      + "(\(hint)allowed: \(sorted.map(\.0).joined(separator: ", ")))")
}

/// Insertions, deletions and replacements that turn one word into another (Levenshtein 1966).
package func editDistance(_ a: String, _ b: String) -> Int {
  let (a, b) = (Array(a.unicodeScalars.prefix(80)), Array(b.unicodeScalars.prefix(80)))
  var row = Array(0...b.count)
  for i in 0..<a.count {
    var diagonal = row[0]
    row[0] = i + 1
    for j in 0..<b.count {
      let replaced = diagonal + (a[i] == b[j] ? 0 : 1)
      diagonal = row[j + 1]
      row[j + 1] = min(replaced, row[j] + 1, row[j + 1] + 1)
    }
  }
  return row[b.count]
}

// MARK: - Types of settings

extension Codec where Value == Double {
  /// A finite number.
  package static let number = Codec(
    expects: "a number",
    read: { (tree, path) throws(SettingsError) in
      guard case .plain(let text) = tree.content, isNumber(text), let value = Double(text) else {
        throw wrongType(tree, path, "a number")
      }
      if !value.isFinite { throw wrongType(tree, path, "a finite number") }
      return value
    }, write: { .plain(shortest($0)) })
}

/// The shortest text that reads back as the same number.
package func shortest(_ value: Double) -> String {
  let text = "\(value)"
  return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
}

/// Whether a text is a decimal number; Swift alone would also take "nan", "inf" and hexadecimal.
private func isNumber(_ text: String) -> Bool {
  text.utf8.allSatisfy { "0123456789+-.eE".utf8.contains($0) }
}

extension Codec where Value == Int {
  /// A whole number.
  package static let wholeNumber = Codec(
    expects: "a whole number",
    read: { (tree, path) throws(SettingsError) in
      guard case .plain(let text) = tree.content, let value = Int(text) else {
        throw wrongType(tree, path, "a whole number")
      }
      return value
    }, write: { .plain("\($0)") })
}

extension Codec where Value == UInt64 {
  /// A whole number that seeds random streams.
  package static let seed = Codec(
    expects: "a whole number",
    read: { (tree, path) throws(SettingsError) in
      guard case .plain(let text) = tree.content, let value = UInt64(text) else {
        throw wrongType(tree, path, "a whole number from 0 to \(UInt64.max)")
      }
      return value
    }, write: { .plain("\($0)") })
}

extension Codec where Value == Bool {
  /// true or false.
  package static let truth = Codec(
    expects: "true or false",
    read: { (tree, path) throws(SettingsError) in
      switch tree.content {
      case .plain("true"): return true
      case .plain("false"): return false
      default: throw wrongType(tree, path, "true or false")
      }
    }, write: { .plain($0 ? "true" : "false") })
}

extension Codec where Value == String {
  /// A text.
  package static let text = Codec(
    expects: "a text",
    read: { (tree, path) throws(SettingsError) in
      switch tree.content {
      case .quoted(let text): return text
      case .plain(let text):
        if Double(text) == nil, text != "true", text != "false" { return text }
        throw wrongType(tree, path, "a text; write it in quotes")
      default: throw wrongType(tree, path, "a text")
      }
    }, write: { .quoted($0) })
}

extension Codec {
  /// A list of any length.
  package static func list<Element: Sendable>(
    of element: Codec<Element>, _ name: String? = nil
  ) -> Codec where Value == [Element] {
    Codec(
      expects: name ?? "a list",
      entries: element.entries,
      read: { (tree, path) throws(SettingsError) in
        guard case .list(let items) = tree.content else {
          throw wrongType(tree, path, name ?? "a list")
        }
        var values: [Element] = []
        for (index, item) in items.enumerated() {
          values.append(try element.read(item, join(path, "\(index)")))
        }
        return values
      },
      write: { values in
        .list(
          values.map {
            SettingsTree(content: element.write($0), origin: .wholeFile(name: ""))
          })
      })
  }

  /// A mapping from names to values; written in the order of the names.
  package static func table<Element: Sendable>(
    of element: Codec<Element>, _ name: String
  ) -> Codec where Value == [String: Element] {
    Codec(
      expects: name,
      entries: element.entries,
      read: { (tree, path) throws(SettingsError) in
        guard case .mapping(let entries) = tree.content else {
          throw wrongType(tree, path, name)
        }
        var values: [String: Element] = [:]
        for entry in entries {
          values[entry.key] = try element.read(entry.value, join(path, entry.key))
        }
        return values
      },
      write: { values in
        .mapping(
          values.sorted { $0.key < $1.key }.map {
            SettingsTree.Entry(key: $0.key, content: element.write($0.value))
          })
      })
  }

  /// A value, or nothing.
  package static func optional<Wrapped: Sendable>(
    _ wrapped: Codec<Wrapped>
  ) -> Codec where Value == Wrapped? {
    Codec(
      expects: wrapped.expects + ", or null",
      entries: wrapped.entries,
      read: { (tree, path) throws(SettingsError) in
        if case .null = tree.content { return nil }
        return try wrapped.read(tree, path)
      },
      write: { $0.map(wrapped.write) ?? .null })
  }

  /// The same value kept in another type.
  package func map<Other: Sendable>(
    _ forward: @escaping @Sendable (Value) -> Other,
    _ backward: @escaping @Sendable (Other) -> Value
  ) -> Codec<Other> {
    Codec<Other>(
      expects: expects, entries: entries,
      read: { (tree, path) throws(SettingsError) in forward(try self.read(tree, path)) },
      write: { self.write(backward($0)) })
  }
}

extension Codec where Value: RawRepresentable<String> & CaseIterable {
  /// One word of a closed set.
  package static var word: Codec {
    let allowed = "one of " + Value.allCases.map(\.rawValue).joined(separator: ", ")
    return Codec(
      expects: allowed,
      read: { (tree, path) throws(SettingsError) in
        switch tree.content {
        case .plain(let text), .quoted(let text):
          if let word = Value(rawValue: text) { return word }
        default: break
        }
        throw wrongType(tree, path, allowed)
      },
      write: { .quoted($0.rawValue) })
  }
}

// MARK: - Choices

/// One of the forms a setting can take: its key, and what stands behind the key.
package struct Alternative<Value: Sendable>: Sendable {
  package let key: String
  /// Whether the key alone, as a word, is a complete value.
  package let isWord: Bool
  package let reference: ReferenceEntry
  /// nil is passed for a word that stands alone.
  package let read: @Sendable (_ tree: SettingsTree?, _ path: String) throws(SettingsError) -> Value
  /// nil if the value has another form.
  package let write: @Sendable (Value) -> SettingsTree.Content?

  package init(
    key: String, isWord: Bool, reference: ReferenceEntry,
    read: @escaping @Sendable (SettingsTree?, String) throws(SettingsError) -> Value,
    write: @escaping @Sendable (Value) -> SettingsTree.Content?
  ) {
    self.key = key
    self.isWord = isWord
    self.reference = reference
    self.read = read
    self.write = write
  }

  /// A word that says everything.
  package static func word(
    _ key: String, _ value: Value, _ text: String,
    matches: @escaping @Sendable (Value) -> Bool
  ) -> Alternative {
    Alternative(
      key: key, isWord: true,
      reference: ReferenceEntry(key: key, expects: "a word", text: text, entries: []),
      read: { (tree, path) throws(SettingsError) in
        if let tree {
          throw wrongType(tree, path, "left out: \"\(key)\" stands alone")
        }
        return value
      },
      write: { matches($0) ? .quoted(key) : nil })
  }

  /// `key: payload`.
  package static func settings<Payload: Sendable>(
    _ key: String, _ codec: Codec<Payload>, _ text: String,
    make: @escaping @Sendable (Payload) -> Value, payload: @escaping @Sendable (Value) -> Payload?
  ) -> Alternative {
    Alternative(
      key: key, isWord: false,
      reference: ReferenceEntry(
        key: key, expects: codec.expects, text: text, entries: codec.entries),
      read: { (tree, path) throws(SettingsError) in
        // A choice named without settings has its defaults, if it can do with them.
        let tree = tree ?? SettingsTree(content: .null, origin: .wholeFile(name: ""))
        return make(try codec.read(tree, path))
      },
      write: { value in
        payload(value).map { .mapping([SettingsTree.Entry(key: key, content: codec.write($0))]) }
      })
  }
}

extension Codec {
  /// Exactly one of several forms: a word alone, or a mapping with one key.
  package static func choice(_ name: String, _ alternatives: [Alternative<Value>]) -> Codec {
    let keys = alternatives.map(\.key)
    let allowed = "\(name): one of " + keys.joined(separator: ", ")
    return Codec(
      expects: "one of",
      entries: alternatives.map(\.reference),
      read: { (tree, path) throws(SettingsError) in
        switch tree.content {
        case .plain(let word), .quoted(let word):
          guard let alternative = alternatives.first(where: { $0.key == word }) else {
            throw wrongType(tree, path, allowed)
          }
          if alternative.isWord { return try alternative.read(nil, path) }
          return try alternative.read(
            SettingsTree(content: .null, origin: tree.origin), join(path, word))
        case .mapping(let entries):
          guard entries.count == 1, let entry = entries.first else {
            if let stranger = entries.first(where: { !keys.contains($0.key) }) {
              throw unknownKey(stranger, path, allowed: keys)
            }
            throw SettingsError(
              origin: tree.origin, path: path,
              value: entries.isEmpty
                ? "an empty mapping" : entries.map(\.key).joined(separator: " and "),
              allowed: allowed)
          }
          guard let alternative = alternatives.first(where: { $0.key == entry.key }) else {
            throw unknownKey(entry, path, allowed: keys)
          }
          if alternative.isWord, case .null = entry.value.content {
            return try alternative.read(nil, path)
          }
          return try alternative.read(entry.value, join(path, entry.key))
        default:
          throw wrongType(tree, path, allowed)
        }
      },
      write: { value in
        for alternative in alternatives {
          if let content = alternative.write(value) { return content }
        }
        return .null
      })
  }
}

// MARK: - Reference

extension SettingsTree {
  /// The value on one line, for the reference; nil if it is too long for that.
  package var shortText: String? {
    let text = yaml.trimmingSuffix { $0.isNewline }
    return text.contains(where: \.isNewline) || text.count > 40 ? nil : text
  }
}

extension String {
  fileprivate func trimmingSuffix(while predicate: (Character) -> Bool) -> String {
    var result = self
    while let last = result.last, predicate(last) { result.removeLast() }
    return result
  }
}

extension [ReferenceEntry] {
  /// The reference as indented lines of text.
  package func lines(indent: Int = 0) -> [String] {
    flatMap { entry -> [String] in
      let type =
        entry.standard.map { "\(entry.expects); default \($0)" } ?? entry.expects
      let head = String(repeating: " ", count: indent) + "\(entry.key)  (\(type))"
      let text = String(repeating: " ", count: indent + 4) + entry.text
      return [head, text] + entry.entries.lines(indent: indent + 2)
    }
  }
}
