/// One line of a registry: a form that a setting can take, its key in files, and what stands behind the
/// key.
package struct Kind<Product: Sendable>: Sendable {
  package let name: String
  /// Whether the name alone, as a word, is a complete value.
  let isWord: Bool
  package let reference: ReferenceEntry
  /// nil is passed for a word that stands alone.
  let read: @Sendable (_ tree: SettingsTree?, _ path: String) throws(SettingsError) -> Product
  /// nil if the product is of another kind.
  let write: @Sendable (Product) -> SettingsTree.Content?

  /// `name: payload`.
  ///
  /// - Parameters:
  ///   - name: the key in files.
  ///   - text: what it is.
  ///   - codec: of the payload.
  ///   - make: the product of a payload.
  ///   - payload: the payload of a product; nil if the product is of another kind.
  package init<Payload: Sendable>(
    _ name: String, _ text: String, _ codec: Codec<Payload>,
    make: @escaping @Sendable (Payload) -> Product,
    payload: @escaping @Sendable (Product) -> Payload?
  ) {
    self.name = name
    isWord = false
    reference = ReferenceEntry(
      key: name, expects: codec.expects, text: text, entries: codec.entries)
    read = { (tree, path) throws(SettingsError) in
      // A choice named without settings has its defaults, if it can do with them.
      let tree = tree ?? SettingsTree(.null)
      return make(try codec.read(tree, path))
    }
    write = { product in
      payload(product).map { .mapping([SettingsTree.Entry(key: name, content: codec.write($0))]) }
    }
  }

  /// A struct that says its own name.
  package init<Payload: Configurable>(
    _ type: Payload.Type, make: @escaping @Sendable (Payload) -> Product,
    payload: @escaping @Sendable (Product) -> Payload?
  ) {
    let schema = Payload.schema
    self.init(schema.name, schema.text, schema.codec, make: make, payload: payload)
  }

  /// A word that says everything.
  package init(word name: String, _ text: String, _ value: Product) where Product: Equatable {
    self.name = name
    isWord = true
    reference = ReferenceEntry(key: name, expects: "a word", text: text)
    read = { (tree, path) throws(SettingsError) in
      if let tree { throw wrongType(tree, path, "left out: \"\(name)\" stands alone") }
      return value
    }
    write = { $0 == value ? .quoted(name) : nil }
  }
}

extension Codec {
  /// Exactly one of several kinds: a word alone, or a mapping with one key.
  package static func one(of kinds: [Kind<Value>], _ noun: String) -> Codec {
    let keys = kinds.map(\.name)
    let allowed = "\(noun): one of " + keys.joined(separator: ", ")
    return Codec(
      expects: "one of", entries: kinds.map(\.reference),
      read: { (tree, path) throws(SettingsError) in
        switch tree.content {
        case .plain(let word), .quoted(let word):
          guard let kind = kinds.first(where: { $0.name == word }) else {
            throw wrongType(tree, path, allowed)
          }
          if kind.isWord { return try kind.read(nil, path) }
          return try kind.read(SettingsTree(.null, tree.origin), join(path, word))
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
          guard let kind = kinds.first(where: { $0.name == entry.key }) else {
            throw unknownKey(entry, path, allowed: keys)
          }
          if kind.isWord, case .null = entry.value.content { return try kind.read(nil, path) }
          return try kind.read(entry.value, join(path, entry.key))
        default:
          throw wrongType(tree, path, allowed)
        }
      },
      write: { value in kinds.lazy.compactMap { $0.write(value) }.first ?? .null })
  }
}

/// A value that is one of several kinds, each a struct of its own.
package protocol OneOfKinds: Setting {
  /// The registry.
  static var kinds: [Kind<Self>] { get }
  /// What it is, as in "must be a term: one of …".
  static var noun: String { get }
}

extension OneOfKinds {
  package static var codec: Codec<Self> { .one(of: kinds, noun) }
}

/// Whether two values are of one type and equal.
package func areEqual<Value: Equatable>(_ a: Value, _ b: any Equatable) -> Bool {
  b as? Value == a
}
