public import GPSCore

/// Why a linear-quadratic problem has no solution.
public enum LQRError: NumericalFailure, Sendable, Equatable, CustomStringConvertible {
  /// Q_uu is not positive definite at this time step, so that no control minimises the cost-to-go.
  ///
  /// - Parameters:
  ///   - step: t.
  ///   - eigenvalue: the smallest eigenvalue of Q_uu; NaN if an entry is not finite.
  ///   - dual: η of the surrogate cost; 0 for a plain linear-quadratic problem.
  case notPositiveDefinite(step: Int, eigenvalue: Double, dual: Double)
  /// A mean or covariance of the forward pass is NaN or infinite at this time step.
  case marginalsNotFinite(step: Int, dual: Double)
  /// Even at the largest dual the divergence is over its bound.
  case boundNotReached(bound: Double, divergence: Double, dual: Double)
  /// An input is NaN or infinite.
  case inputNotFinite(field: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .notPositiveDefinite(let step, let eigenvalue, let dual):
      "Q_uu is not positive definite at step \(step) (smallest eigenvalue \(eigenvalue), "
        + "dual \(dual))"
    case .marginalsNotFinite(let step, let dual):
      "the predicted states are not finite at step \(step) (dual \(dual))"
    case .boundNotReached(let bound, let divergence, let dual):
      "the KL divergence is \(divergence) at the largest dual tried, \(dual), over its bound of "
        + "\(bound)"
    case .inputNotFinite(let field):
      "the \(field) given to the local optimisation is not finite"
    }
  }
}
