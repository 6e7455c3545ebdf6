/// A setting that replaces the file's.
public struct SettingsOverride: Sendable, Equatable, ExpressibleByStringLiteral {
  /// `key.path=value`; indices select items of lists, and the value is YAML.
  public var assignment: String
  /// What errors call it.
  public var source: String

  /// A replacement, such as "algorithm.klStep=0.5" or "conditions.train.0.goal=[1, 2]".
  public init(_ assignment: String, source: String? = nil) {
    self.assignment = assignment
    self.source = source ?? "--set \(assignment)"
  }

  /// A replacement.
  public init(stringLiteral assignment: String) { self.init(assignment) }
}
