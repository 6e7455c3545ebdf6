public import GPSCore
public import LinearAlgebra

/// What can go wrong between local controllers and a trained policy.
public enum GlobalPolicyError: NumericalFailure, Sendable, Equatable, CustomStringConvertible {
  /// There is no sample to train on.
  case emptySet
  /// A number to train on is NaN or infinite; condition and step where they are known.
  case notFinite(field: String, condition: Int?, sample: Int, step: Int?)
  /// The loss exploded again and again, however small the learning rate was made.
  case diverged(step: Int, learningRate: Double, attempts: Int)
  /// The mean precision of the controllers has no inverse.
  case covariance(LinearAlgebraError)
  /// Stored parameters do not belong to a network of the stored sizes.
  case corruptNetwork(String)

  /// False for what comes from the caller, and not from this iteration's numbers.
  public var isNumerical: Bool {
    switch self {
    case .notFinite, .diverged, .covariance: true
    case .emptySet, .corruptNetwork: false
    }
  }

  /// One sentence for people.
  public var description: String {
    switch self {
    case .emptySet:
      "there are no samples to train the policy on"
    case .notFinite(let field, let condition, let sample, let step):
      "the \(field) of "
        + (condition.map { "condition \($0), " } ?? "") + "sample \(sample)"
        + (step.map { ", step \($0)" } ?? "") + " is not finite"
    case .diverged(let step, let learningRate, let attempts):
      "the policy's loss exploded \(attempts) times, the last time at training step \(step) "
        + "with learning rate \(learningRate)"
    case .covariance(let error):
      "the policy's covariance: \(error)"
    case .corruptNetwork(let reason):
      "not a network: \(reason)"
    }
  }
}
