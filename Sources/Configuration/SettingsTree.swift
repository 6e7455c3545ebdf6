import Foundation
import Yams

/// The text of an experiment file as a tree in which everything knows where it came from.
///
/// Stricter than YAML: one document, no duplicate keys, no tags, no anchors and aliases, bounded size
/// and depth.
package struct SettingsTree: Sendable, Equatable {
  package typealias Origin = SettingsError.Origin

  /// A key of a mapping with its place.
  package struct Entry: Sendable, Equatable {
    package var key: String
    package var keyOrigin: Origin
    package var value: SettingsTree
  }

  package indirect enum Content: Sendable, Equatable {
    case null
    /// A number, a truth value or a word, as written without quotes.
    case plain(String)
    /// A text in quotes or in a block.
    case quoted(String)
    case list([SettingsTree])
    case mapping([Entry])
  }

  package var content: Content
  package var origin: Origin

  /// What stands in a file, or (without a place) what is written and never read.
  package init(_ content: Content, _ origin: Origin = .wholeFile(name: "")) {
    self.content = content
    self.origin = origin
  }

  /// Files above this size, in bytes, are refused.
  package static let maximumBytes = 1 << 20
  package static let maximumDepth = 40

  /// "a mapping", "a list", "-1", "\"word\"": what stands here, for messages.
  package var summary: String {
    switch content {
    case .null: "nothing"
    case .plain(let text): abbreviated(text)
    case .quoted(let text): "\"\(abbreviated(text))\""
    case .list(let items): "a list of \(items.count)"
    case .mapping: "a mapping"
    }
  }

  /// The child at a key or an index.
  package func child(_ component: String) -> SettingsTree? {
    switch content {
    case .mapping(let entries): entries.first { $0.key == component }?.value
    case .list(let items): Int(component).flatMap { items.indices.contains($0) ? items[$0] : nil }
    default: nil
    }
  }

  /// The place of the deepest existing part of a path such as "cost.0.control.weights".
  package func origin(of path: String) -> Origin {
    var node = self
    for component in path.split(separator: ".") {
      guard let next = node.child(String(component)) else { break }
      node = next
    }
    return node.origin
  }

  /// The word that stands at a path, as it was written; nil if no single word does.
  package func word(at path: String) -> String? {
    var node = self
    for component in path.split(separator: ".") {
      guard let next = node.child(String(component)) else { return nil }
      node = next
    }
    if case .plain = node.content { return node.summary }
    return nil
  }
}

/// At most 60 characters of a text, on one line.
package func abbreviated(_ text: String) -> String {
  // A character may be of many scalars.
  let line = visible(
    String(text.unicodeScalars.prefix(240).map { $0.properties.isWhitespace ? " " : Character($0) })
  )
  return line.count > 60 ? String(line.prefix(57)) + "..." : line
}

// MARK: - Reading

extension SettingsTree {
  /// The tree of a file's text.
  ///
  /// - Parameters:
  ///   - text: YAML.
  ///   - name: the file's name, for messages.
  /// - Throws: `SettingsError`.
  package init(yaml text: String, name: String) throws(SettingsError) {
    try self.init(yaml: text, place: Place(name: name, override: nil))
  }

  /// The value of an override.
  private init(overrideValue text: String, source: String) throws(SettingsError) {
    try self.init(yaml: text, place: Place(name: "", override: source))
  }

  private struct Place {
    var name: String
    var override: String?

    func origin(_ line: Int, _ column: Int) -> Origin {
      override.map(Origin.override) ?? .file(name: name, line: line, column: column)
    }

    func error(_ line: Int, _ column: Int, _ problem: String) -> SettingsError {
      SettingsError(origin: origin(line, column), path: "", problem: problem)
    }
  }

  private init(yaml text: String, place: Place) throws(SettingsError) {
    if text.utf8.count > Self.maximumBytes {
      throw place.error(
        1, 1,
        "\(text.utf8.count) bytes are too many for an experiment "
          + "(at most \(Self.maximumBytes))")
    }
    // Before parsing: YAML expands aliases while it reads, so that few lines may mean gigabytes.
    if let (line, column) = Self.firstAlias(in: text) {
      throw place.error(line, column, "anchors and aliases are not supported")
    }
    // The parser takes it for a byte order mark wherever a word begins with it, and drops it.
    if let (line, column) = Self.firstByteOrderMark(in: text) {
      throw place.error(
        line, column, "the character U+FEFF (byte order mark) is not supported inside a file")
    }
    do {
      // The parser owns the anchors, which nodes refer to weakly.
      // Whatever encoding the environment may ask of the parser.
      let parser = try Parser(yaml: text, encoding: .utf8)
      let root = try parser.singleRoot()
      guard let root else { throw place.error(1, 1, "the file is empty") }
      self = try Self.convert(root, place: place, depth: 0)
      withExtendedLifetime(parser) {}
    } catch let error as SettingsError {
      throw error
    } catch let error as YamlError {
      throw Self.translate(error, place: place)
    } catch {
      throw place.error(1, 1, "not readable as YAML")
    }
  }

  /// The first byte order mark after the beginning, as a character or as `\uFEFF`.
  private static func firstByteOrderMark(in text: String) -> (line: Int, column: Int)? {
    // Words from the marks on: most texts hold neither.
    let mark: Unicode.Scalar = "\u{FEFF}"
    let isSuspect =
      text.unicodeScalars.dropFirst().contains(mark)
      || text.range(of: "feff", options: .caseInsensitive) != nil
    if !isSuspect { return nil }
    var (line, column) = (1, 1)
    var index = text.unicodeScalars.startIndex
    let scalars = text.unicodeScalars
    while index < scalars.endIndex {
      let isMark =
        scalars[index] == mark && index != scalars.startIndex
        || scalars[index] == "\\"
          && ["\\ufeff", "\\u0000feff"].contains { escape in
            scalars[index...].prefix(escape.unicodeScalars.count).map { String($0).lowercased() }
              .joined() == escape
          }
      if isMark { return (line, column) }
      column += 1
      if scalars[index] == "\n" { (line, column) = (line + 1, 1) }
      index = scalars.index(after: index)
    }
    return nil
  }

  /// The first `*name` for which there is a `&name`, outside comments.
  private static func firstAlias(in text: String) -> (line: Int, column: Int)? {
    func names(after mark: UInt8) -> [(name: [UInt8], line: Int, column: Int)] {
      var found: [(name: [UInt8], line: Int, column: Int)] = []
      var (line, column) = (1, 1)
      var previous = UInt8(ascii: " ")
      let bytes = Array(text.utf8)
      var i = 0
      while i < bytes.count {
        let byte = bytes[i]
        if byte == UInt8(ascii: "\n") {
          (line, column) = (line + 1, 0)
        } else if byte == mark, " \t\r\n[{,:-?".utf8.contains(previous) {
          let name = bytes[(i + 1)...].prefix {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
              || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
              || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
              || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
          }
          if !name.isEmpty { found.append((Array(name), line, column)) }
        }
        previous = byte
        column += 1
        i += 1
      }
      return found
    }
    let anchors = Set(names(after: UInt8(ascii: "&")).map(\.name))
    if anchors.isEmpty { return nil }
    return names(after: UInt8(ascii: "*")).first { anchors.contains($0.name) }
      .map { ($0.line, $0.column) }
  }

  private static func convert(
    _ node: Node, place: Place, depth: Int
  ) throws(SettingsError) -> SettingsTree {
    let (line, column) = (node.mark?.line ?? 1, node.mark?.column ?? 1)
    let origin = place.origin(line, column)
    func refuse(_ problem: String) -> SettingsError {
      SettingsError(origin: origin, path: "", problem: problem)
    }
    if depth > maximumDepth { throw refuse("nested more than \(maximumDepth) levels deep") }
    if node.anchor != nil { throw refuse("anchors and aliases are not supported") }
    switch node {
    case .scalar(let scalar):
      let tag = scalar.tag.description
      if scalar.style == .plain {
        if !tag.isEmpty { throw refuse("tags such as !! are not supported") }
        let isNull = ["", "~", "null", "Null", "NULL"].contains(scalar.string)
        return SettingsTree(isNull ? .null : .plain(scalar.string), origin)
      }
      if !tag.isEmpty && tag != Tag.Name.str.rawValue {
        throw refuse("tags such as !! are not supported")
      }
      return SettingsTree(.quoted(scalar.string), origin)
    case .sequence(let sequence):
      if !sequence.tag.description.isEmpty { throw refuse("tags such as !! are not supported") }
      var items: [SettingsTree] = []
      for item in sequence {
        items.append(try convert(item, place: place, depth: depth + 1))
      }
      return SettingsTree(.list(items), origin)
    case .mapping(let mapping):
      if !mapping.tag.description.isEmpty { throw refuse("tags such as !! are not supported") }
      var entries: [Entry] = []
      var seen: Set<String> = []
      for (keyNode, valueNode) in mapping {
        let (keyLine, keyColumn) = (keyNode.mark?.line ?? line, keyNode.mark?.column ?? column)
        guard case .scalar(let key) = keyNode, keyNode.anchor == nil else {
          throw place.error(keyLine, keyColumn, "a key must be a word")
        }
        if !seen.insert(key.string).inserted {
          throw place.error(
            keyLine, keyColumn, "\"\(abbreviated(key.string))\" is set twice")
        }
        entries.append(
          Entry(
            key: key.string, keyOrigin: place.origin(keyLine, keyColumn),
            value: try convert(valueNode, place: place, depth: depth + 1)))
      }
      return SettingsTree(.mapping(entries), origin)
    case .alias:
      throw refuse("anchors and aliases are not supported")
    }
  }

  private static func translate(_ error: YamlError, place: Place) -> SettingsError {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _):
      // The YAML library's own limit speaks of a function that nobody here can call.
      return place.error(
        mark.line, mark.column,
        problem.contains("nesting level") ? "nested too deeply" : "not valid YAML: \(problem)")
    case .composer(_, let problem, let mark, _):
      return place.error(
        mark.line, mark.column,
        problem.contains("another document")
          ? "a second document begins (one experiment per file)" : "not valid YAML: \(problem)")
    case .reader(let problem, let offset, let value, let yaml):
      // The offset counts bytes.
      let before = Array(yaml.utf8.prefix(offset ?? 0))
      let line = before.count { $0 == UInt8(ascii: "\n") } + 1
      let start = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
      let column = String(decoding: before[start...], as: UTF8.self).unicodeScalars.count + 1
      let character = value > 0 ? " (U+" + String(value, radix: 16, uppercase: true) + ")" : ""
      return place.error(line, column, "not valid YAML: \(problem)\(character)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      let key = duplicates.first ?? ""
      return place.error(
        context.mark.line, context.mark.column, "\"\(abbreviated(key))\" is set twice")
    default:
      return place.error(1, 1, "not readable as YAML")
    }
  }
}

// MARK: - Overrides

extension SettingsTree {
  /// Sets one value, as `--set key.path=value` asks; indices select items of lists.
  ///
  /// Keys that do not exist are added, so that reading the tree judges them like those of the file.
  package mutating func apply(_ override: SettingsOverride) throws(SettingsError) {
    let origin = Origin.override(override.source)
    let assignment = override.assignment
    guard let equals = assignment.firstIndex(of: "=") else {
      throw SettingsError(origin: origin, path: "", problem: "must have the form key.path=value")
    }
    let path = assignment[..<equals].split(separator: ".", omittingEmptySubsequences: false)
      .map(String.init)
    if path.contains("") {
      throw SettingsError(origin: origin, path: "", problem: "must have the form key.path=value")
    }
    let text = String(assignment[assignment.index(after: equals)...])
    // An empty text means "not set", as in a file.
    let value =
      text.allSatisfy(\.isWhitespace)
      ? SettingsTree(.null, origin)
      : try SettingsTree(overrideValue: text, source: override.source)
    try set(path[...], to: value, walked: [])
  }

  /// Replaces the value of a key, or adds the key.
  package mutating func replace(_ key: String, by value: SettingsTree) throws(SettingsError) {
    try set([key], to: value, walked: [])
  }

  private mutating func set(
    _ path: ArraySlice<String>, to value: SettingsTree, walked: [String]
  ) throws(SettingsError) {
    guard let component = path.first else {
      self = value
      return
    }
    let walked = walked + [component]
    switch content {
    case .mapping(var entries):
      if let index = entries.firstIndex(where: { $0.key == component }) {
        try entries[index].value.set(path.dropFirst(), to: value, walked: walked)
        entries[index].keyOrigin = value.origin
      } else {
        var child = SettingsTree(.null, value.origin)
        try child.set(path.dropFirst(), to: value, walked: walked)
        entries.append(Entry(key: component, keyOrigin: value.origin, value: child))
      }
      content = .mapping(entries)
    case .list(var items):
      guard let index = Int(component), items.indices.contains(index) else {
        throw SettingsError(
          origin: value.origin, path: walked.joined(separator: "."),
          problem: items.isEmpty
            ? "the list is empty" : "no such item (the list has items 0 to \(items.count - 1))")
      }
      try items[index].set(path.dropFirst(), to: value, walked: walked)
      content = .list(items)
    case .null, .plain, .quoted:
      // A word may stand for a choice without settings; giving it one makes it a mapping.
      var child = SettingsTree(.null, value.origin)
      try child.set(path.dropFirst(), to: value, walked: walked)
      self = SettingsTree(
        .mapping([Entry(key: component, keyOrigin: value.origin, value: child)]), value.origin)
    }
  }
}

// MARK: - Writing

extension SettingsTree.Entry {
  /// An entry that is written, never read, and so comes from nowhere.
  package init(key: String, content: SettingsTree.Content) {
    let value = SettingsTree(content)
    self.init(key: key, keyOrigin: value.origin, value: value)
  }
}

extension SettingsTree {
  /// The tree as YAML.
  package var yaml: String {
    var text = ""
    write(to: &text, indent: 0, isItem: false)
    return text
  }

  private var isInline: Bool {
    switch content {
    case .null, .plain, .quoted: true
    case .list(let items):
      items.allSatisfy {
        switch $0.content {
        case .null, .plain, .quoted: true
        case .list(let inner):
          inner.allSatisfy { if case .plain = $0.content { true } else { false } }
        case .mapping(let entries): entries.isEmpty
        }
      }
    case .mapping(let entries): entries.isEmpty
    }
  }

  private var inline: String {
    switch content {
    case .null: "null"
    case .plain(let text): text
    case .quoted(let text): Self.word(text)
    case .list(let items): "[" + items.map(\.inline).joined(separator: ", ") + "]"
    case .mapping(let entries):
      "{" + entries.map { "\(Self.word($0.key)): \($0.value.inline)" }.joined(separator: ", ") + "}"
    }
  }

  private func write(to text: inout String, indent: Int, isItem: Bool) {
    let margin = String(repeating: " ", count: indent)
    switch content {
    case .mapping(let entries) where !entries.isEmpty:
      for (index, entry) in entries.enumerated() {
        // The first key of a list's item stands on the line of its dash.
        if !(isItem && index == 0) { text += margin }
        text += Self.word(entry.key) + ":"
        entry.value.writeAfterKey(to: &text, indent: indent)
      }
    case .list(let items) where !isInline:
      for (index, item) in items.enumerated() {
        if !(isItem && index == 0) { text += margin }
        text += "- "
        item.write(to: &text, indent: indent + 2, isItem: true)
      }
    default:
      text += inline + "\n"
    }
  }

  private func writeAfterKey(to text: inout String, indent: Int) {
    if isInline {
      text += " " + inline + "\n"
    } else {
      text += "\n"
      write(to: &text, indent: indent + 2, isItem: false)
    }
  }

  /// A text without quotes where YAML and this reader need none.
  private static func word(_ text: String) -> String {
    let isWord =
      text.first?.isLetter == true
      && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == "-") }
      && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(text.lowercased())
    return isWord ? text : quote(text)
  }

  private static func quote(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      case "\r": result += "\\r"
      case _ where !isVisible(scalar) || scalar.value == 0xA0 || scalar.value == 0xFFFD:
        let hexadecimal = String(scalar.value, radix: 16, uppercase: true)
        let digits = scalar.value > 0xFFFF ? 8 : 4
        result += digits == 8 ? "\\U" : "\\u"
        result += String(repeating: "0", count: digits - hexadecimal.count) + hexadecimal
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
