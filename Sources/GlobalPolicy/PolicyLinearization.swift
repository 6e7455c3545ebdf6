public import GPSCore
public import LinearAlgebra
public import Statistics

/// The states and observations of the last rollouts, at which the present network is asked what it
/// would do, and the last mixture fitted to them.
public struct PolicyPrior: Sendable, Codable {
  /// States of the last rollouts: n × count.
  var states = Matrix(rows: 0, columns: 0)
  /// Observations at the same steps: o × count.
  var observations = Matrix(rows: 0, columns: 0)
  /// The last mixture, from which the next fit starts.
  var mixture: MixturePrior?

  /// A prior that has seen nothing.
  public init() {}
}
