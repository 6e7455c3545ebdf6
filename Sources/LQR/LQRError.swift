public import GPSCore
public import LinearAlgebra

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
  /// A number of an input is NaN or infinite.
  ///
  /// - Parameters:
  ///   - field: which part of which input, such as "cost's gradient".
  ///   - step: t; nil for what belongs to no time step, as the initial state.
  case inputNotFinite(field: String, step: Int?)
  /// A covariance has no factor, even with jitter.
  ///
  /// - Parameters:
  ///   - field: whose.
  ///   - step: t; nil for that of the initial state.
  case covariance(field: String, step: Int?, LinearAlgebraError)
  /// A discrete algebraic Riccati equation has no stabilising solution: the controls cannot hold what grows.
  case notStabilizable

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
    case .inputNotFinite(let field, let step):
      "the \(field)\(Self.place(step)) is not finite"
    case .covariance(let field, let step, let error):
      "the \(field)\(Self.place(step)) is unusable: \(error)"
    case .notStabilizable: "the controls cannot stabilise the linear dynamics"
    }
  }

  private static func place(_ step: Int?) -> String { step.map { " at step \($0)" } ?? "" }
}
