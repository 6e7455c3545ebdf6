import Foundation
public import GPSCore
import LinearAlgebra

/// Stages 2 and 3 of one condition in one iteration of mirror descent, as the papers write them: the slow
/// twin of `GuidedSearch.advancing`. Matrices are arrays of rows, inverses are eliminations, derivatives are
/// differences, and the dual is bisected. Of the toolkit it knows values alone.
public struct NaiveIteration {
  /// A matrix, row by row.
  public typealias Rows = [[Double]]

  /// v_t | y_t ~ N(F_t y_t + f_t, C_t): a controller (v = u, y = x), or dynamics (v = x', y = [x; u]).
  public struct Conditional {
    /// F_t.
    public var F: [Rows] = []
    /// f_t.
    public var f: [[Double]] = []
    /// C_t.
    public var C: [Rows] = []

    /// None yet.
    public init() {}

    /// A controller's numbers.
    public init(_ controller: LinearGaussianController) {
      for t in 0..<controller.horizon {
        F.append(rows(controller.gains[t]))
        f.append(controller.offsets.column(t))
        C.append(rows(controller.covariances[t]))
      }
    }

    /// Ridge regression at every step, by conditioning Σ with (1 + ρ) Σ_ii for inputs and Σ_ii + φ s_i² for
    /// outputs, s_i the deviation over all steps; an input that stands still gets coefficients of 0.
    public init(inputs: [[[Double]]], outputs: [[[Double]]], ridge: Double, floor: Double) {
      let all = Array(outputs.joined())
      let spread = covariance(all, all)
      for (y, v) in zip(inputs, outputs) {
        var (Syy, Svv) = (covariance(y, y), covariance(v, v))
        for i in Syy.indices { Syy[i][i] = Syy[i][i] > 0 ? (1 + ridge) * Syy[i][i] : 1 }
        for i in Svv.indices { Svv[i][i] += floor * spread[i][i] }
        let Svy = covariance(v, y)
        F.append(product(Svy, inverse(Syy)))
        f.append(sum(mean(v), product(F[F.count - 1], mean(y)), -1))
        C.append(sum(Svv, product(F[F.count - 1], transposed(Svy)), -1))
      }
    }
  }

  /// What it comes to.
  public struct Result {
    /// p.
    public var controller = Conditional()
    /// η.
    public var dual: Double
    /// Σ_t KL(p ‖ q) [nats].
    public var divergence = 0.0
    /// E_p[ℓ] under the model.
    public var expectedCost = 0.0
  }

  private let dynamics: Conditional
  private var initial: (mean: [Double], covariance: Rows)
  private let reference: Conditional
  /// ½ yᵀ H y + gᵀ y + c at T + 1 steps.
  private var cost: [(H: Rows, g: [Double], c: Double)]
  private let (n, m, T): (Int, Int, Int)

  /// The linear-quadratic model about some rollouts.
  ///
  /// - Parameters:
  ///   - rollouts: of one condition.
  ///   - reference: q; the previous controller, or the linearised policy.
  ///   - ridge: ρ of the dynamics.
  ///   - floor: φ of the dynamics.
  ///   - initialFloor: added to each variance of the initial state, as a share of it.
  ///   - costs: ℓ_0 … ℓ_T of a rollout; polynomials of up to the fourth degree are expanded exactly.
  public init(
    _ rollouts: [Trajectory], reference: Conditional, ridge: Double, floor: Double,
    initialFloor: Double, costs: (Trajectory) -> [Double]
  ) {
    let (n, m, T) = (rollouts[0].states.rows, rollouts[0].controls.rows, rollouts[0].horizon)
    (self.n, self.m, self.T, self.reference) = (n, m, T, reference)
    dynamics = Conditional(
      inputs: (0..<T).map { t in rollouts.map { $0.states.column(t) + $0.controls.column(t) } },
      outputs: (1...T).map { t in rollouts.map { $0.states.column(t) } }, ridge: ridge, floor: floor
    )
    let starts = rollouts.map { $0.states.column(0) }
    initial = (mean(starts), covariance(starts, starts))
    for i in 0..<n { initial.covariance[i][i] *= 1 + initialFloor }

    let (d, share) = (n + m, 1 / Double(rollouts.count))
    let zeros = Rows(repeating: [Double](repeating: 0, count: d), count: d)
    cost = (0...T).map { _ in (zeros, zeros[0], 0) }
    for rollout in rollouts {
      /// All ℓ_t with some entries of all y_t moved.
      func moved(_ moves: [(entry: Int, by: Double)]) -> [Double] {
        var other = rollout
        for (i, step) in moves {
          for t in 0...T where i < n { other.states[i, t] += step }
          for t in 0..<T where i >= n { other.controls[i - n, t] += step }
        }
        return costs(other)
      }
      func slope(_ i: Int, _ h: Double) -> [Double] {
        sum(moved([(i, h)]), moved([(i, -h)]), -1).map { $0 / (2 * h) }
      }
      func curvature(_ i: Int, _ j: Int, _ h: Double) -> [Double] {
        let same = sum(moved([(i, h), (j, h)]), moved([(i, -h), (j, -h)]))
        let opposite = sum(moved([(i, h), (j, -h)]), moved([(i, -h), (j, h)]))
        return sum(same, opposite, -1).map { $0 / (4 * h * h) }
      }
      // Differences over h and 2 h, combined so that the next term of their error cancels.
      func refined(_ difference: (Double) -> [Double]) -> [Double] {
        sum(difference(0.1), difference(0.2), -0.25).map { $0 * 4 / 3 }
      }
      let values = moved([])
      let slopes = (0..<d).map { i in refined { slope(i, $0) } }
      let curvatures = (0..<d).map { i in (0..<d).map { j in refined { curvature(i, j, $0) } } }
      for t in 0...T {
        let y = rollout.states.column(t) + (t < T ? rollout.controls.column(t) : zeros[0].suffix(m))
        let g = (0..<d).map { slopes[$0][t] }
        let H = curvatures.map { row in row.map { $0[t] } }
        let Hy = product(H, y)
        cost[t].H = sum(cost[t].H, H, share)
        cost[t].g = sum(cost[t].g, sum(g, Hy, -1), share)
        cost[t].c += share * (values[t] - dot(g, y) + 0.5 * dot(y, Hy))
      }
    }
  }

  /// minimise E_p[ℓ] subject to Σ_t KL(p ‖ q) ≤ bound: the dual whose controller is at the bound.
  public func improved(within bound: Double) -> Result {
    var (low, high) = (log(1e-8), log(1e16))
    for _ in 0..<100 {
      let middle = 0.5 * (low + high)
      if optimum(dual: exp(middle)).divergence > bound { low = middle } else { high = middle }
    }
    return optimum(dual: exp(high))
  }

  /// E_q[ℓ] under the model.
  public var referenceCost: Double { outcome(of: reference, dual: .nan).expectedCost }

  /// The minimiser of ℓ / η − log q of maximum entropy, by dynamic programming.
  private func optimum(dual: Double) -> Result {
    var p = Conditional()
    var V = cost[T].H[..<n].map { row in row[..<n].map { $0 / dual } }
    var v = cost[T].g[..<n].map { $0 / dual }
    for t in (0..<T).reversed() {
      // −log q = ½ (W y − k)ᵀ P (W y − k) with W = [−K I].
      let P = inverse(reference.C[t])
      let W = (0..<m).map { i in reference.F[t][i].map { -$0 } + (0..<m).map { $0 == i ? 1 : 0 } }
      let F = dynamics.F[t]
      var Q = product(transposed(W), product(P, W))
      Q = sum(sum(Q, cost[t].H, 1 / dual), product(transposed(F), product(V, F)))
      var q = product(transposed(W), product(P, reference.f[t])).map { -$0 }
      q = sum(q, cost[t].g, 1 / dual)
      q = sum(q, product(transposed(F), sum(product(V, dynamics.f[t]), v)))
      let Qxu = Q[..<n].map { Array($0[n...]) }
      let C = inverse(Q[n...].map { Array($0[n...]) })
      let K = product(C, transposed(Qxu)).map { row in row.map { -$0 } }
      let k = product(C, Array(q[n...])).map { -$0 }
      V = sum(Q[..<n].map { Array($0[..<n]) }, product(Qxu, K))
      v = sum(Array(q[..<n]), product(Qxu, k))
      p.F.insert(K, at: 0)
      p.f.insert(k, at: 0)
      p.C.insert(C, at: 0)
    }
    return outcome(of: p, dual: dual)
  }

  /// Where a controller goes under the model, what that costs, and how far it is from the reference.
  private func outcome(of p: Conditional, dual: Double) -> Result {
    var result = Result(controller: p, dual: dual)
    var (x, S) = initial
    for t in 0...T {
      // y = M x + [0; k] + noise in its last entries.
      let K = t < T ? p.F[t] : Rows(repeating: [Double](repeating: 0, count: n), count: m)
      let M = (0..<n).map { i in (0..<n).map { $0 == i ? 1 : 0 } } + K
      var y = product(M, x)
      var Sy = product(M, product(S, transposed(M)))
      if t < T {
        for i in 0..<m {
          y[n + i] += p.f[t][i]
          for j in 0..<m { Sy[n + i][n + j] += p.C[t][i][j] }
        }
      }
      let (H, g, c) = cost[t]
      result.expectedCost += 0.5 * (trace(product(H, Sy)) + dot(y, product(H, y))) + dot(g, y) + c
      if t == T { break }
      let P = inverse(reference.C[t])
      let dK = sum(K, reference.F[t], -1)
      let gap = sum(product(dK, x), sum(p.f[t], reference.f[t], -1))
      let PC = product(P, p.C[t])
      let spread = product(P, product(dK, product(S, transposed(dK))))
      result.divergence +=
        0.5
        * (trace(PC) - Double(m) - log(determinant(PC)) + dot(gap, product(P, gap)) + trace(spread))
      x = sum(product(dynamics.F[t], y), dynamics.f[t])
      S = sum(product(dynamics.F[t], product(Sy, transposed(dynamics.F[t]))), dynamics.C[t])
    }
    return result
  }

  /// The factor on the KL step after a step that promised to go from `cost` to `expected`, and went to
  /// `actual`: a parabola through zero with the promised slope has its maximum there.
  ///
  /// - Parameters:
  ///   - previous: the factor before.
  ///   - costs: of the rollouts that the step was made from.
  ///   - reference: what the model said of those.
  ///   - expected: what the model said of the new controller.
  ///   - actual: mean cost of the next rollouts.
  ///   - range: what the factor may be.
  /// - Returns: the factor on the next step.
  public static func stepMultiplier(
    after previous: Double, costs: [Double], reference: Double, expected: Double, actual: Double,
    range: ClosedRange<Double>
  ) -> Double {
    let cost = costs.reduce(0, +) / Double(costs.count)
    let squares = costs.reduce(0) { $0 + ($1 - cost) * ($1 - cost) }
    let deviation = (squares / Double(costs.count - 1)).squareRoot()
    let isTrusted = abs(reference - cost) <= 3 * deviation + 0.5 * abs(reference - expected)
    let promised = (isTrusted ? reference : cost) - expected
    let kept = cost - actual
    var factor = promised / (2 * max(0.1 * abs(promised), promised - kept))
    factor = min(max(factor, 0.1), 5)
    if !isTrusted || kept < 0 { factor = min(factor, 1) }
    return min(max(previous * factor, range.lowerBound), range.upperBound)
  }
}

// Arithmetic by the definitions.

private typealias Rows = NaiveIteration.Rows

private func rows(_ a: Matrix) -> Rows {
  (0..<a.rows).map { i in (0..<a.columns).map { a[i, $0] } }
}
private func dot(_ a: [Double], _ b: [Double]) -> Double {
  zip(a, b).reduce(0) { $0 + $1.0 * $1.1 }
}
private func product(_ a: Rows, _ x: [Double]) -> [Double] { a.map { dot($0, x) } }
private func product(_ a: Rows, _ b: Rows) -> Rows {
  let columns = transposed(b)
  return a.map { product(columns, $0) }
}
private func transposed(_ a: Rows) -> Rows { a[0].indices.map { j in a.map { $0[j] } } }
private func trace(_ a: Rows) -> Double { a.indices.reduce(0) { $0 + a[$1][$1] } }
private func sum(_ a: [Double], _ b: [Double], _ factor: Double = 1) -> [Double] {
  zip(a, b).map { $0 + factor * $1 }
}
private func sum(_ a: Rows, _ b: Rows, _ factor: Double = 1) -> Rows {
  zip(a, b).map { sum($0, $1, factor) }
}
/// About the first point, so that the mean of equal numbers is that number.
private func mean(_ points: [[Double]]) -> [Double] {
  points[0].indices.map { i in
    points[0][i] + points.reduce(0) { $0 + $1[i] - points[0][i] } / Double(points.count)
  }
}
private func covariance(_ a: [[Double]], _ b: [[Double]]) -> Rows {
  let (ma, mb, N) = (mean(a), mean(b), Double(a.count))
  return ma.indices.map { i in
    mb.indices.map { j in zip(a, b).reduce(0) { $0 + ($1.0[i] - ma[i]) * ($1.1[j] - mb[j]) } / N }
  }
}
private func inverse(_ a: Rows) -> Rows {
  let matrix = Matrix(rows: a.count, columns: a.count, columnMajor: transposed(a).flatMap { $0 })
  return transposed(
    a.indices.map { j in denseSolve(matrix, a.indices.map { $0 == j ? 1 : 0 }) })
}
/// By cofactors.
private func determinant(_ a: Rows) -> Double {
  a.isEmpty
    ? 1
    : a.indices.reduce(0) { sum, j in
      let minor = a.dropFirst().map { row in row.indices.filter { $0 != j }.map { row[$0] } }
      return sum + (j % 2 == 0 ? 1 : -1) * a[0][j] * determinant(minor)
    }
}
