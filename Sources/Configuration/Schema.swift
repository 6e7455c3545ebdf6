/// A struct whose settings are declared once, beside it: what a file may say, what it means, what is
/// allowed.
package protocol Configurable: Setting {
  /// The settings.
  static var schema: Schema<Self> { get }
}

extension Configurable {
  package static var codec: Codec<Self> { schema.codec }

  /// The value as it is, if every setting is in range.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  package func checked() throws(InvalidOption) -> Self {
    try Self.schema.check(self)
    return self
  }
}

/// One setting of a struct: its key, where it is kept, what is allowed and what it means.
package struct Field<Root: Sendable>: Sendable {
  package let key: String
  package private(set) var isRequired = false
  let read:
    @Sendable (_ tree: SettingsTree, _ path: String, _ root: inout Root) throws(SettingsError) ->
      Void
  let write: @Sendable (Root) -> SettingsTree.Content
  let check: @Sendable (Root) throws(InvalidOption) -> Void
  private let entry: @Sendable (Root) -> ReferenceEntry

  /// A setting with a codec of its own; it keeps its default when the file says nothing.
  package init<Value: Sendable>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value> & Sendable, _ codec: Codec<Value>,
    _ check: Check<Value>, _ text: String
  ) {
    self.key = key
    read = { (tree, path, root) throws(SettingsError) in
      root[keyPath: keyPath] = try codec.read(tree, path)
    }
    write = { codec.write($0[keyPath: keyPath]) }
    self.check = { root throws(InvalidOption) in try check.require(root[keyPath: keyPath], key) }
    entry = { root in
      ReferenceEntry(
        key: key, expects: codec.expects,
        standard: SettingsTree(codec.write(root[keyPath: keyPath])).shortText, text: text,
        entries: codec.entries)
    }
  }

  /// A setting with a codec of its own, without a range.
  package init<Value: Sendable>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value> & Sendable, _ codec: Codec<Value>,
    _ text: String
  ) {
    self.init(key, keyPath, codec, .any, text)
  }

  /// A setting as its type has it, within a range.
  package init<Value: Setting>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value> & Sendable, _ check: Check<Value>,
    _ text: String
  ) {
    self.init(key, keyPath, Value.codec, check, text)
  }

  /// A setting as its type has it.
  package init<Value: Setting>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value> & Sendable, _ text: String
  ) {
    self.init(key, keyPath, Value.codec, .any, text)
  }

  /// A setting that may be null; the range is that of a value.
  package init<Value: Setting>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value?> & Sendable, _ check: Check<Value>,
    _ text: String
  ) {
    self.init(key, keyPath, Value?.codec, check.orNull, text)
  }

  /// A mapping that is read over what is there already: its defaults are those of the enclosing struct,
  /// and several sections may share one struct.
  package init<Value: Sendable>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value> & Sendable, _ schema: Schema<Value>,
    _ text: String
  ) {
    self.key = key
    read = { (tree, path, root) throws(SettingsError) in
      root[keyPath: keyPath] = try schema.read(tree, path, over: root[keyPath: keyPath])
    }
    write = { schema.codec.write($0[keyPath: keyPath]) }
    check = { root throws(InvalidOption) in
      do throws(InvalidOption) { try schema.check(root[keyPath: keyPath]) } catch {
        throw error.within(key)
      }
    }
    entry = { root in
      ReferenceEntry(
        key: key, expects: "a mapping", text: text,
        entries: schema.fields.map { $0.reference(root[keyPath: keyPath]) })
    }
  }

  /// A mapping of settings.
  package init<Value: Configurable>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, Value> & Sendable, _ text: String
  ) {
    self.init(key, keyPath, Value.schema, text)
  }

  /// A list of mappings, each read over a value that stands elsewhere in the same struct.
  package init<Element: Configurable>(
    _ key: String, _ keyPath: any WritableKeyPath<Root, [Element]> & Sendable,
    over start: any KeyPath<Root, Element> & Sendable, _ text: String
  ) {
    self.key = key
    read = { (tree, path, root) throws(SettingsError) in
      guard case .list(let items) = tree.content else {
        throw wrongType(tree, path, "a list of mappings")
      }
      var elements: [Element] = []
      for (index, item) in items.enumerated() {
        elements.append(
          try Element.schema.read(item, join(path, "\(index)"), over: root[keyPath: start]))
      }
      root[keyPath: keyPath] = elements
    }
    write = { [Element].codec.write($0[keyPath: keyPath]) }
    check = { root throws(InvalidOption) in
      for (index, element) in root[keyPath: keyPath].enumerated() {
        do throws(InvalidOption) { try Element.schema.check(element) } catch {
          throw error.within("\(key).\(index)")
        }
      }
    }
    entry = { _ in
      ReferenceEntry(
        key: key, expects: "a list of mappings", text: text, entries: Element.codec.entries)
    }
  }

  /// A setting of a part, standing beside the whole's own.
  fileprivate init<Part: Sendable>(
    _ field: Field<Part>, in keyPath: any WritableKeyPath<Root, Part> & Sendable
  ) {
    (key, isRequired) = (field.key, field.isRequired)
    read = { (tree, path, root) throws(SettingsError) in
      try field.read(tree, path, &root[keyPath: keyPath])
    }
    write = { field.write($0[keyPath: keyPath]) }
    check = { root throws(InvalidOption) in try field.check(root[keyPath: keyPath]) }
    entry = { field.entry($0[keyPath: keyPath]) }
  }

  /// The same setting, which a file must give.
  package var required: Field {
    var field = self
    field.isRequired = true
    return field
  }

  /// The setting as the reference shows it, with the default that `root` has.
  package func reference(_ root: Root) -> ReferenceEntry {
    var entry = entry(root)
    if isRequired { entry.standard = nil }
    return entry
  }
}

/// Settings one below the other; each may be a list.
@resultBuilder
package enum FieldList<Root: Sendable> {
  package static func buildExpression(_ field: Field<Root>) -> [Field<Root>] { [field] }
  package static func buildExpression(_ fields: [Field<Root>]) -> [Field<Root>] { fields }
  package static func buildBlock(_ fields: [Field<Root>]...) -> [Field<Root>] {
    fields.flatMap(\.self)
  }
}

/// The settings of a struct: serves reading with refusal of unknown keys, writing with every default
/// spelled out, checking, and the reference.
package struct Schema<Root: Sendable>: Sendable {
  /// What files call the struct where it is one of several kinds.
  package let name: String
  /// What the kind is.
  package let text: String
  /// The value of a file that says nothing.
  package let standard: Root
  package let fields: [Field<Root>]
  private let rule: @Sendable (Root) throws(InvalidOption) -> Void

  /// - Parameters:
  ///   - name: what files call the struct where it is one of several kinds.
  ///   - text: what the kind is.
  ///   - standard: the defaults.
  ///   - fields: the settings, in the order in which they are written.
  ///   - rule: what concerns more than one of them.
  package init(
    _ name: String, _ text: String, _ standard: Root,
    @FieldList<Root> fields: () -> [Field<Root>],
    rule: @escaping @Sendable (Root) throws(InvalidOption) -> Void = { _ throws(InvalidOption) in }
  ) {
    (self.name, self.text) = (name, text)
    self.standard = standard
    self.fields = fields()
    self.rule = rule
  }

  /// The settings of a struct that stands under a key of its own.
  package init(
    _ standard: Root, @FieldList<Root> fields: () -> [Field<Root>],
    rule: @escaping @Sendable (Root) throws(InvalidOption) -> Void = { _ throws(InvalidOption) in }
  ) {
    self.init("", "", standard, fields: fields, rule: rule)
  }

  /// The settings of a part, to stand beside those of the whole.
  package func fields<Whole: Sendable>(
    in keyPath: any WritableKeyPath<Whole, Root> & Sendable
  ) -> [Field<Whole>] {
    fields.map { Field<Whole>($0, in: keyPath) }
  }

  /// Throws unless every setting is in range.
  package func check(_ root: Root) throws(InvalidOption) {
    for field in fields { try field.check(root) }
    try rule(root)
  }

  /// The struct as a mapping.
  package var codec: Codec<Root> {
    Codec(
      expects: "a mapping",
      entries: fields.map { $0.reference(standard) },
      read: { (tree, path) throws(SettingsError) in try self.read(tree, path) },
      write: { root in
        .mapping(fields.map { SettingsTree.Entry(key: $0.key, content: $0.write(root)) })
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
      if let entry = entries.first(where: { $0.key == field.key }) {
        try field.read(entry.value, join(path, field.key), &root)
      } else if field.isRequired {
        throw SettingsError(
          origin: tree.origin, path: path, problem: "the key \"\(field.key)\" is missing")
      }
    }
    do {
      try check(root)
    } catch {
      throw SettingsError(
        origin: tree.origin(of: error.key), path: join(path, error.key),
        value: tree.word(at: error.key) ?? error.value, allowed: error.allowed)
    }
    return root
  }
}
