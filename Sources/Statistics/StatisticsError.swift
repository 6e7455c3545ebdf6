public import LinearAlgebra

/// A fit or density that numbers, not shapes, made impossible.
public enum StatisticsError: Error, Sendable, Equatable, CustomStringConvertible {
  /// A number of the data is NaN, infinite, or too large to be squared.
  case unusableValue(dimension: Int, point: Int, value: Double)
  /// The covariance of this component of a mixture does not factor, even with jitter.
  case component(Int, LinearAlgebraError)
  /// The joint covariance at this time step does not factor, even with jitter.
  case jointCovariance(step: Int, LinearAlgebraError)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .unusableValue(let dimension, let point, let value):
      "\(value) in dimension \(dimension) of point \(point) is not usable data"
    case .component(let k, let error):
      "the covariance of mixture component \(k) is unusable: \(error)"
    case .jointCovariance(let step, let error):
      "the joint covariance at step \(step) is unusable: \(error)"
    }
  }
}
