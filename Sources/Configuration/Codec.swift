/// A type of which a value can stand in a settings file.
package protocol Setting: Sendable {
  /// How a value is read, written and described.
  static var codec: Codec<Self> { get }
  /// What several of them are called, as in "a list of names".
  static var plural: String { get }
}

extension Setting {
  package static var plural: String { "values" }
}

/// How a value of one type stands in a file.
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

  /// A value that is one word or number: `parse` gives nil for what is none of it.
  fileprivate init(
    _ expects: String, write: @escaping @Sendable (Value) -> SettingsTree.Content,
    parse: @escaping @Sendable (SettingsTree.Content) -> Value?
  ) {
    self.init(
      expects: expects,
      read: { (tree, path) throws(SettingsError) in
        guard let value = parse(tree.content) else { throw wrongType(tree, path, expects) }
        return value
      }, write: write)
  }
}

// MARK: - Numbers and words

extension Double: Setting {
  package static var plural: String { "numbers" }

  /// A finite number.
  package static var codec: Codec<Double> {
    Codec(
      expects: "a number",
      read: { (tree, path) throws(SettingsError) in
        guard case .plain(let text) = tree.content, isNumber(text), let value = Double(text) else {
          throw wrongType(tree, path, "a number")
        }
        if !value.isFinite { throw wrongType(tree, path, "a finite number") }
        return value
      }, write: { .plain(shortest($0)) })
  }
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

extension Int: Setting {
  package static var plural: String { "whole numbers" }

  package static var codec: Codec<Int> {
    Codec("a whole number", write: { .plain("\($0)") }) {
      if case .plain(let text) = $0 { Int(text) } else { nil }
    }
  }
}

/// The seed of random streams.
extension UInt64: Setting {
  package static var codec: Codec<UInt64> {
    var codec = Codec<UInt64>("a whole number from 0 to \(UInt64.max)", write: { .plain("\($0)") })
    {
      if case .plain(let text) = $0 { UInt64(text) } else { nil }
    }
    codec.expects = "a whole number"
    return codec
  }
}

extension Bool: Setting {
  package static var codec: Codec<Bool> {
    Codec("true or false", write: { .plain($0 ? "true" : "false") }) {
      switch $0 {
      case .plain("true"): true
      case .plain("false"): false
      default: nil
      }
    }
  }
}

extension String: Setting {
  package static var plural: String { "names" }

  package static var codec: Codec<String> {
    Codec(
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
}

extension Setting where Self: RawRepresentable<String> & CaseIterable {
  /// One word of a closed set.
  package static var codec: Codec<Self> {
    let words = allCases.map(\.rawValue)
    return Codec<String>.word(of: words).map({ word in Self(rawValue: word) }, { $0.rawValue })
  }
}

extension Codec where Value == String {
  /// One of some words.
  package static func word(of words: [String], _ meanings: [ReferenceEntry] = []) -> Codec {
    var codec = Codec(
      "one of " + words.joined(separator: ", "), write: { .quoted($0) },
      parse: {
        switch $0 {
        case .plain(let text), .quoted(let text): words.contains(text) ? text : nil
        default: nil
        }
      })
    codec.entries = meanings
    return codec
  }
}

// MARK: - Several, or none

extension Array: Setting where Element: Setting {
  /// A list of any length.
  package static var codec: Codec<[Element]> {
    let (name, element) = ("a list of \(Element.plural)", Element.codec)
    return Codec(
      expects: name, entries: element.entries,
      read: { (tree, path) throws(SettingsError) in
        guard case .list(let items) = tree.content else { throw wrongType(tree, path, name) }
        var values: [Element] = []
        for (index, item) in items.enumerated() {
          values.append(try element.read(item, join(path, "\(index)")))
        }
        return values
      },
      write: { .list($0.map { SettingsTree(element.write($0)) }) })
  }
}

extension Dictionary: Setting where Key == String, Value: Setting {
  package static var plural: String { "mappings" }

  /// A mapping from names to values.
  package static var codec: Codec<[String: Value]> {
    .table("a mapping from names to \(Value.plural)")
  }
}

extension Codec where Value == [Double] {
  /// A list of numbers, or one number, which stands for all.
  package static var numberOrNumbers: Codec {
    let expects = "a number, or a list of numbers"
    return Codec(
      expects: expects,
      read: { (tree, path) throws(SettingsError) in
        switch tree.content {
        case .list: return try [Double].codec.read(tree, path)
        case .plain: return [try Double.codec.read(tree, path)]
        default: throw wrongType(tree, path, expects)
        }
      },
      write: { $0.count == 1 ? .plain(shortest($0[0])) : [Double].codec.write($0) })
  }
}

extension Codec where Value == [Double]? {
  /// A list of numbers, one number, which stands for all, or nothing.
  package static var numberOrNumbersOrNull: Codec {
    let numbers = Codec<[Double]>.numberOrNumbers
    return Codec(
      expects: numbers.expects + ", or null",
      read: { (tree, path) throws(SettingsError) in
        if case .null = tree.content { return nil }
        return try numbers.read(tree, path)
      },
      write: { $0.map(numbers.write) ?? .null })
  }
}

extension Optional: Setting where Wrapped: Setting {
  package static var plural: String { Wrapped.plural + ", or null" }

  /// A value, or nothing.
  package static var codec: Codec<Wrapped?> {
    let wrapped = Wrapped.codec
    return Codec(
      expects: wrapped.expects + ", or null", entries: wrapped.entries,
      read: { (tree, path) throws(SettingsError) in
        if case .null = tree.content { return nil }
        return try wrapped.read(tree, path)
      },
      write: { $0.map(wrapped.write) ?? .null })
  }
}

extension Codec {
  /// A mapping from names to values; written in the order of the names.
  package static func table<Element: Setting>(_ name: String) -> Codec
  where Value == [String: Element] {
    let element = Element.codec
    return Codec(
      expects: name, entries: element.entries,
      read: { (tree, path) throws(SettingsError) in
        guard case .mapping(let entries) = tree.content else { throw wrongType(tree, path, name) }
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

  /// The same text kept in another type; nil from `forward` refuses it.
  package func map<Other: Sendable>(
    _ forward: @escaping @Sendable (Value) -> Other?,
    _ backward: @escaping @Sendable (Other) -> Value
  ) -> Codec<Other> {
    Codec<Other>(
      expects: expects, entries: entries,
      read: { (tree, path) throws(SettingsError) in
        guard let value = forward(try self.read(tree, path)) else {
          throw wrongType(tree, path, self.expects)
        }
        return value
      },
      write: { self.write(backward($0)) })
  }

  /// The same codec, called something else.
  package func expecting(_ words: String) -> Codec {
    var codec = self
    codec.expects = words
    return codec
  }
}

// MARK: - Errors and paths

package func join(_ path: String, _ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

package func wrongType(_ tree: SettingsTree, _ path: String, _ expected: String) -> SettingsError {
  SettingsError(origin: tree.origin, path: path, value: tree.summary, allowed: expected)
}

package func unknownKey(
  _ entry: SettingsTree.Entry, _ path: String, allowed: [String]
) -> SettingsError {
  let sorted = nearest(to: entry.key.lowercased(), among: allowed)
  let hint =
    sorted.first.flatMap { nearest in
      editDistance(entry.key.lowercased(), nearest.lowercased()) <= max(1, nearest.count / 3)
        ? "did you mean \"\(nearest)\"? " : nil
    } ?? ""
  return SettingsError(
    origin: entry.keyOrigin, path: path,
    problem: "unknown key \"\(abbreviated(entry.key))\" "
      + "(\(hint)allowed: \(sorted.joined(separator: ", ")))")
}

/// Names, the nearest to one first, in their own order among equals.
package func nearest(to name: String, among names: [String]) -> [String] {
  names.enumerated()
    .map { ($0.element, editDistance(name, $0.element.lowercased()), $0.offset) }
    .sorted { ($0.1, $0.2) < ($1.1, $1.2) }
    .map(\.0)
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
