package import Configuration
import Foundation

/// How the length of a weighted difference becomes a cost.
///
///     s = Σ_i w_i d_i²          d: differences, w: weights ≥ 0
///     ρ(s) = ½ l2 s + l1 √(α + s) + ½ log ln(α + s)
///
/// The l1 term (pseudo-Huber) and the log term (Lorentzian) act on the norm of the whole weighted
/// vector, not on each dimension: the pull towards the target then has one direction, along d.
/// With g = W d the derivatives are
///
///     ∂ρ/∂d = a g                a = 2 ρ'(s) = l2 + l1 (α + s)^(-1/2) + log (α + s)^(-1)
///     ∂²ρ/∂d² = a W + b g gᵀ     b = 4 ρ''(s) = −l1 (α + s)^(-3/2) − 2 log (α + s)^(-2)
///
/// The l2 and l1 parts are convex. The log part is not; `gaussNewton` leaves its share of b out, which
/// makes the curvature positive semidefinite and the quadratic an upper bound of the log part.
public struct Norm: Sendable, Equatable {
  /// Weight of the squared norm, ½ s.
  public var l2: Double
  /// Weight of the pseudo-Huber norm, √(α + s): a constant pull however far the target is.
  public var l1: Double
  /// Weight of the Lorentzian norm, ½ ln(α + s): a pull that grows as the target gets near.
  public var log: Double
  /// α > 0, where the l1 and log norms become round, in units of s.
  public var alpha: Double
  /// Whether curvature is kept positive semidefinite; true unless exact Hessians are wanted.
  public var gaussNewton: Bool

  /// A norm; with no arguments, half the squared norm.
  public init(
    l2: Double = 1, l1: Double = 0, log: Double = 0, alpha: Double = 1e-5, gaussNewton: Bool = true
  ) {
    self.l2 = l2
    self.l1 = l1
    self.log = log
    self.alpha = alpha
    self.gaussNewton = gaussNewton
  }

  /// ρ(s).
  func value(_ s: Double) -> Double {
    var value = 0.5 * l2 * s
    if l1 != 0 { value += l1 * (alpha + s).squareRoot() }
    if log != 0 { value += 0.5 * log * Foundation.log(alpha + s) }
    return value
  }

  /// ρ(s), a and b.
  func derivatives(_ s: Double) -> (value: Double, a: Double, b: Double) {
    let q = 1 / (alpha + s)
    var (a, b) = (l2, 0.0)
    if l1 != 0 {
      let r = q.squareRoot()
      a += l1 * r
      b -= l1 * r * q
    }
    if log != 0 {
      a += log * q
      if !gaussNewton { b -= 2 * log * q * q }
    }
    return (value(s), a, b)
  }
}

/// Which differences from a target count.
public enum Side: String, Sendable, CaseIterable {
  /// Those on either side.
  case both
  /// Those above the target alone: it is an upper limit.
  case above
  /// Those below the target alone: it is a lower limit.
  case below

  /// Whether a difference x − x* counts.
  func counts(_ difference: Double) -> Bool {
    switch self {
    case .both: true
    case .above: difference > 0
    case .below: difference < 0
    }
  }
}

extension Side: Setting {}

extension Norm: Configurable {
  package static let schema = Schema<Norm>(Norm()) {
    Field("l2", \.l2, .notNegative, "Weight of half the squared distance.")
    Field(
      "l1", \.l1, .notNegative,
      "Weight of the distance, rounded off near zero (pseudo-Huber).")
    Field(
      "log", \.log, .notNegative,
      "Weight of half the log of the squared distance (Lorentzian).")
    Field("alpha", \.alpha, .above(0), "Where l1 and log become round, in squared distance.")
    Field("gaussNewton", \.gaussNewton, "Whether curvature is kept positive semidefinite.")
  }
}
