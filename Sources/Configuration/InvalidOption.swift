/// A setting whose value is not allowed.
public struct InvalidOption: Error, Sendable, Equatable, CustomStringConvertible {
  /// The setting's name, as in experiment files.
  public var key: String
  /// The value given.
  public var value: String
  /// What is allowed, e.g. "more than 0".
  public var allowed: String

  /// A setting whose value is not allowed.
  public init(key: String, value: String, allowed: String) {
    self.key = key
    self.value = value
    self.allowed = allowed
  }

  /// One sentence for people.
  public var description: String { "\(key): \(value) is not allowed (must be \(allowed))" }

  /// The same complaint about a setting of a group, e.g. "mixture.tolerance".
  public func within(_ group: String) -> InvalidOption {
    InvalidOption(key: "\(group).\(key)", value: value, allowed: allowed)
  }

  /// Throws unless `condition` holds.
  public static func require(
    _ condition: Bool, _ key: String, _ value: some Any, _ allowed: String
  ) throws(InvalidOption) {
    if !condition { throw InvalidOption(key: key, value: "\(value)", allowed: allowed) }
  }
}
