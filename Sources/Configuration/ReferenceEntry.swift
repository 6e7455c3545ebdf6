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

extension SettingsTree {
  /// The value on one line, for the reference; nil if it is too long for that.
  var shortText: String? {
    var text = yaml
    while text.last?.isNewline == true { text.removeLast() }
    return text.contains(where: \.isNewline) || text.count > 40 ? nil : text
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
