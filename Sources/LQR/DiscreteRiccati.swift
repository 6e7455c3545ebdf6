// The discrete algebraic Riccati equation of linear-quadratic problems without end.
//
//   minimise    ½ Σ_t x_tᵀ Q x_t + u_tᵀ R u_t + 2 x_tᵀ S u_t      subject to  x_{t+1} = A x_t + B u_t
//
//   X = Q + Aᵀ X A − (Aᵀ X B + S) (R + Bᵀ X B)⁻¹ (Bᵀ X A + Sᵀ),   u = K x,
//   K = −(R + Bᵀ X B)⁻¹ (Bᵀ X A + Sᵀ)
//
// By structure-preserving doubling (Chu, Fan, Lin, Wang 2004, "Structure-preserving algorithms for
// periodic discrete-time algebraic Riccati equations", algorithm 3.1): pass k has done 2^k steps of the
// recursion, so that slow modes cost no more than quick ones.

import GPSCore
public import LinearAlgebra

/// The stabilising solution of a discrete algebraic Riccati equation.
public struct DiscreteRiccati: Sendable, Equatable {
  /// X: n × n, symmetric positive semidefinite; ½ xᵀ X x is what an optimal controller still pays from x.
  public let value: Matrix
  /// K: m × n.
  public let gains: Matrix

  /// Solves the equation.
  ///
  /// Where the cost does not see a mode that grows, no solution may come, or one that leaves the mode alone:
  /// give every state a weight, however small.
  ///
  /// - Parameters:
  ///   - A: n × n.
  ///   - B: n × m.
  ///   - Q: n × n, symmetric.
  ///   - R: m × m, symmetric positive definite.
  ///   - S: n × m; nil for zeros. [Q S; Sᵀ R] is positive semidefinite.
  /// - Throws: `LQRError.inputNotFinite`; `.notPositiveDefinite` of R; `.notStabilizable`.
  public init(
    _ A: Matrix, _ B: Matrix, Q: Matrix, R: Matrix, S: Matrix? = nil
  ) throws(LQRError) {
    let (n, m) = (A.rows, B.columns)
    precondition(
      A.columns == n && B.rows == n && Q.rows == n && Q.columns == n && R.rows == m
        && R.columns == m && S.map { $0.rows == n && $0.columns == m } ?? true,
      "A of \(A.rows) × \(A.columns), B of \(B.rows) × \(B.columns), Q of \(Q.rows) × \(Q.columns) and R "
        + "of \(R.rows) × \(R.columns) are of no one problem")
    for (field, matrix) in [("A", A), ("B", B), ("Q", Q), ("R", R), ("S", S)]
    where matrix.map({ !$0.isFinite }) ?? false {
      throw .inputNotFinite(field: field, step: nil)
    }
    let factor: CholeskyFactor
    do { factor = try CholeskyFactor(R) } catch {
      throw .notPositiveDefinite(step: 0, eigenvalue: smallestEigenvalue(R), dual: 0)
    }
    // Without the cross term: u = v − R⁻¹ Sᵀ x.
    var (a, h) = (A, Q)
    if let S {
      let shift = factor.solve(S.transposed)
      a = A - B * shift
      h = (Q - S * shift).symmetrized
    }
    var g = (B * factor.solve(B.transposed)).symmetrized
    let identity = Matrix.identity(n)
    var isConverged = false
    do {
      for _ in 0..<Self.mostDoublings {
        // W = (I + G H)⁻¹ [A G].
        let w = identity + g * h
        let wa = try w.solve(a)
        let wg = try w.solve(g)
        let step = (a.transposed * h * wa).symmetrized
        g += (a * wg * a.transposed).symmetrized
        h += step
        a = a * wa
        if !h.isFinite || !g.isFinite { break }
        if step.largestMagnitude <= 1e-14 * h.largestMagnitude {
          isConverged = true
          break
        }
      }
    } catch {
      throw .notStabilizable
    }
    if !isConverged { throw .notStabilizable }
    let curvature = (R + B.transposed * h * B).symmetrized
    var right = B.transposed * h * A
    if let S { right += S.transposed }
    do {
      gains = -1.0 * (try CholeskyFactor(curvature)).solve(right)
    } catch {
      throw .notStabilizable
    }
    value = h
  }

  /// A mode that approaches the unit circle to 1e-9 has decayed after 2^35 steps.
  private static let mostDoublings = 50
}

/// Which mode of linear dynamics grows, or does not decay, and is out of reach of the controls.
public struct UnreachableMode: Sendable, Equatable {
  /// |λ|, by which it grows per step.
  public let growth: Double
  /// The entry of the state that has most of it.
  public let state: Int

  /// The first of them: by the Popov-Belevitch-Hautus test, wᴴ A = λ wᴴ with |λ| ≥ `from` and
  /// wᴴ B = 0.
  ///
  /// - Returns: nil if the controls reach all of them.
  /// - Throws: `LinearAlgebraError` when the eigenvalues cannot be found.
  public static func first(
    of A: Matrix, _ B: Matrix, from least: Double = 1
  ) throws(LinearAlgebraError) -> UnreachableMode? {
    let scale = max(B.largestMagnitude, .leastNormalMagnitude)
    for (value, w) in try A.leftEigen() {
      let growth = (value.re * value.re + value.im * value.im).squareRoot()
      if growth < least { continue }
      let reach = max(
        (B.transposed * w.re).reduce(0) { max($0, abs($1)) },
        (B.transposed * w.im).reduce(0) { max($0, abs($1)) })
      if reach > 1e-9 * scale { continue }
      let sizes = zip(w.re, w.im).map { $0 * $0 + $1 * $1 }
      let state = sizes.indices.max { sizes[$0] < sizes[$1] } ?? 0
      return UnreachableMode(growth: growth, state: state)
    }
    return nil
  }
}
