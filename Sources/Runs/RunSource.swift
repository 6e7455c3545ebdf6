public import Foundation

/// What a run is a run of: what its directory keeps, so that it can be resumed and evaluated wherever it
/// is moved.
public protocol RunSource: Sendable {
  /// The name in summaries and policies.
  var taskName: String { get }
  /// The root of all randomness.
  var seed: UInt64 { get }
  /// The effective experiment as the directory keeps it, as YAML.
  var archivedYAML: String { get }
  /// Further files that the experiment refers to, by their paths in the directory.
  var attachments: [String: Data] { get }
  /// What tells one model from another; empty without a model.
  var modelIdentity: String { get }
  /// The simulator's version.
  var simulatorVersion: String { get }

  /// Why a stored experiment is not this one, as a clause; nil if it is. The number of iterations may
  /// differ: a run may be made longer.
  func mismatch(with storedYAML: String) -> String?
}
