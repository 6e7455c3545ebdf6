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
  /// The files that it was made from, which a run must not replace.
  var inputs: [String] { get }
  /// What tells one model from another: for each of its files a line with a checksum, a space and the
  /// file's name; empty without a model.
  var modelIdentity: String { get }
  /// What the user should know who begins a run, or goes on with one.
  var remarks: [String] { get }
  /// The simulator's version.
  var simulatorVersion: String { get }

  /// Why a stored experiment is not this one, as a clause; nil if it is. The number of iterations may
  /// differ: a run may be made longer.
  func mismatch(with storedYAML: String) -> String?
}

extension RunSource {
  /// Nothing.
  public var remarks: [String] { [] }
  /// None.
  public var inputs: [String] { [] }

  /// Why the model is not the one that was stored, as a clause; nil if it is.
  func modelMismatch(with stored: String) -> String? {
    if stored == modelIdentity { return nil }
    func files(_ identity: String) -> [(name: Substring, checksum: Substring)] {
      identity.split(separator: "\n").map { line in
        let checksum = line.prefix { $0 != " " }
        return (line.dropFirst(checksum.count + 1), checksum)
      }
    }
    let (old, new) = (files(stored), files(modelIdentity))
    let reason =
      if let changed = new.first(where: { file in
        old.contains { $0.name == file.name && $0.checksum != file.checksum }
      }) {
        ": '\(changed.name)' is not what it was"
      } else if let added = new.first(where: { file in !old.contains { $0.name == file.name } }) {
        ": '\(added.name)' is new"
      } else if let gone = old.first(where: { file in !new.contains { $0.name == file.name } }) {
        ": '\(gone.name)' is no part of it any more"
      } else {
        ""
      }
    return "the model has changed since" + reason
  }
}
