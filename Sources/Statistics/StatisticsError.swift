public import LinearAlgebra

/// A fit or density that numbers, not shapes, made impossible.
public enum StatisticsError: Error, Sendable, Equatable, CustomStringConvertible {
  /// A number of the data is NaN, infinite, or too large to be squared.
  ///
  /// - Parameters:
  ///   - step: t, for data of several time steps; else nil.
  ///   - point: which point, of those of the step.
  ///   - dimension: which of the point's numbers.
  ///   - value: the number.
  case unusableValue(step: Int?, point: Int, dimension: Int, value: Double)
  /// The weights of a mixture are all 0, or one of them is negative, NaN or infinite.
  case weights([Double])
  /// The covariance of this component of a mixture does not factor, even with jitter.
  case component(Int, LinearAlgebraError)
  /// The joint covariance at this time step does not factor, even with jitter.
  case jointCovariance(step: Int, LinearAlgebraError)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .unusableValue(let step, let point, let dimension, let value):
      "\(value) in dimension \(dimension) of point \(point)"
        + (step.map { " at step \($0)" } ?? "") + " is not usable data"
    case .weights(let weights):
      "a mixture with weights \(weights): one at least has to be positive, none negative or not finite"
    case .component(let k, let error):
      "the covariance of mixture component \(k) is unusable: \(error)"
    case .jointCovariance(let step, let error):
      "the joint covariance at step \(step) is unusable: \(error)"
    }
  }
}
