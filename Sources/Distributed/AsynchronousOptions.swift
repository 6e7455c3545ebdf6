package import Configuration
public import GPSCore

/// How an asynchronous search goes, beside the settings of the search itself.
public struct AsynchronousOptions: Sendable, Equatable {
  /// The staleness of a local step at most: how many updates of the network there may be between the parameters that it
  /// used and those at its end; at least 0. With 0 everybody waits for everybody, which is the synchronous schedule;
  /// otherwise a condition runs ahead of the network by one local step at most.
  public var stalenessBound = 4
  /// The local steps of each condition that the replay memory holds, at least 1.
  public var memory = 1
  /// What a local step counts for in the training of the network when another one of its condition has come since: a factor
  /// for each, in (0, 1].
  public var ageWeight = 0.5
  /// Workers that train the network at once, at least 1.
  public var trainingWorkers = 1

  /// The defaults.
  public init() {}

  /// These options, if every one makes sense.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public func validated() throws(InvalidOption) -> AsynchronousOptions { try checked() }
}

extension AsynchronousOptions: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "stalenessBound", \.stalenessBound, .between(0, 1_000_000),
      "Updates of the network at most between the parameters that a local step used and those at its "
        + "end; 0 waits as the synchronous schedule does.")
    Field(
      "memory", \.memory, .between(1, 1000),
      "Local steps of each condition that the network learns from, the newest ones.")
    Field(
      "ageWeight", \.ageWeight, .positiveShare,
      "What each newer local step of the same condition multiplies the weight of the older ones by."
    )
    Field(
      "trainingWorkers", \.trainingWorkers, .between(1, 4096),
      "Workers that train the network at once.")
  }
}
