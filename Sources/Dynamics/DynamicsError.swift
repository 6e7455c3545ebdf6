public import GPSCore
public import LinearAlgebra
public import Statistics

/// Dynamics that could not be fitted.
public enum DynamicsError: NumericalFailure, Sendable, Equatable, CustomStringConvertible {
  /// There is no rollout to fit to.
  case noTrajectories(condition: Int?)
  /// A state or control is NaN, infinite, or too large to be squared.
  case unusableValue(condition: Int?, sample: Int, step: Int, dimension: Int, value: Double)
  /// The joint covariance at a time step does not factor, even with jitter.
  case jointCovariance(condition: Int?, step: Int, LinearAlgebraError)
  /// The mixture of the prior could not be fitted.
  case mixture(condition: Int?, StatisticsError)
  /// Known dynamics could not be linearised at a time step.
  case linearization(condition: Int?, step: Int, reason: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .noTrajectories(let condition):
      "\(Self.place(condition))no rollout to fit dynamics to"
    case .unusableValue(let condition, let sample, let step, let dimension, let value):
      "\(Self.place(condition))\(value) in number \(dimension) of [x; u; x'] at step \(step) of "
        + "sample \(sample) is not usable data"
    case .jointCovariance(let condition, let step, let error):
      "\(Self.place(condition))the joint covariance of the dynamics at step \(step) is unusable: "
        + "\(error)"
    case .linearization(let condition, let step, let reason):
      "\(Self.place(condition))the known dynamics cannot be linearised at step \(step): \(reason)"
    case .mixture(let condition, let error):
      "\(Self.place(condition))the dynamics prior could not be fitted: \(error)"
    }
  }

  private static func place(_ condition: Int?) -> String {
    condition.map { "condition \($0): " } ?? ""
  }
}
