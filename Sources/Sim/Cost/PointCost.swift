package import Configuration
package import GPSCore

/// A norm of the distance of points in space from their targets: ramp_t · ρ(Σ w_r (p_r − p*_r)²), where
/// coordinates on one side of the target may count alone.
///
/// Derivatives reach the state through the points' Jacobians J (less those of the target, if the
/// target is other points). With g = W (p − p*) and a, b of `Norm`:
///
///     gradient   a Jᵀ g
///     curvature  a Jᵀ W J + b (Jᵀ g)(Jᵀ g)ᵀ
///
/// The second derivative of the points themselves is left out (Gauss and Newton), so that the
/// curvature is exact for points that are linear in the state.
public struct PointCost: Sendable, Equatable {
  /// The points, each by number or name.
  public var points: [Reference]
  /// Where they should be.
  public var target: PointTarget
  /// w: x, y, z of each point in turn; one number stands for all, and none for ones.
  public var weights: [Double]
  /// Which differences count, coordinate by coordinate: those that do not are 0.
  public var side: Side
  /// ρ.
  public var norm: Norm
  /// The factor over time.
  public var ramp: Ramp

  /// A cost on points in space.
  public init(
    points: [some Referring], target: PointTarget, weights: [Double] = [1], side: Side = .both,
    norm: Norm = Norm(), ramp: Ramp = .constant
  ) {
    self.points = points.map(\.reference)
    self.target = target
    self.weights = weights
    self.side = side
    self.norm = norm
    self.ramp = ramp
  }
}

extension PointCost: CostKernel {
  package static let schema = Schema<PointCost>(
    "point", "Points in space and their targets.",
    PointCost(points: [Reference](), target: .goal(first: 0))
  ) {
    Field("points", \.points, .some("point"), "Names of points.").required
    Field("target", \.target, "Where they should be.").required
    Field(
      "weights", \.weights, .numberOrNumbers, .each(.notNegative),
      "x, y, z of each point in turn, or one number for all.")
    Field(
      "side", \.side,
      "Which differences count, in each coordinate: above the target, below it, or both.")
    Norm.schema.fields(in: \.norm)
    Field("ramp", \.ramp, "The factor over time.")
  }

  package func resolved(in scope: Scope, key: String) throws(SimError) -> PointCost {
    try checkSettings(key)
    var cost = self
    cost.points = try scope.points(points, "\(key).points")
    cost.target = try target.resolved(points: points.count, in: scope, key: "\(key).target")
    cost.weights = try scope.each(
      weights, 3 * points.count, "\(key).weights", "x, y, z of each point")
    return cost
  }

  package func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let differences = PointDifferences(indices(points), target, in: condition, along: trajectory)
    let weights = spread(weights, over: differences.count)
    for t in 0...trajectory.horizon {
      let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
      if factor == 0 { continue }
      var s = 0.0
      for k in 0..<differences.count {
        let difference = differences.value(k, at: t, along: trajectory)
        if side.counts(difference) { s += weights[k] * difference * difference }
      }
      values[t] += factor * norm.value(s)
    }
  }

  package func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let differences = PointDifferences(indices(points), target, in: condition, along: trajectory)
    let (count, n, d) = (differences.count, trajectory.n, expansion.d)
    let weights = spread(weights, over: count)
    // Scratch: g, M J_j (see below), J (3 per point × n), Jᵀ g, and W without what does not count.
    withUnsafeTemporaryAllocation(of: Double.self, capacity: 3 * count + (count + 1) * n) {
      scratch in
      withUnsafeTemporaryAllocation(of: Int.self, capacity: n) { active in
        let g = UnsafeMutableBufferPointer(rebasing: scratch[0..<count])
        let MJ = UnsafeMutableBufferPointer(rebasing: scratch[count..<2 * count])
        let J = UnsafeMutableBufferPointer(rebasing: scratch[2 * count..<(2 + n) * count])
        let Jg = UnsafeMutableBufferPointer(
          rebasing: scratch[(2 + n) * count..<(2 + n) * count + n])
        let W = UnsafeMutableBufferPointer(rebasing: scratch[((2 + n) * count + n)...])
        for t in 0...trajectory.horizon {
          let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
          if factor == 0 { continue }
          var s = 0.0
          for k in 0..<count {
            let difference = differences.value(k, at: t, along: trajectory)
            W[k] = side.counts(difference) ? weights[k] : 0
            g[k] = W[k] * difference
            s += g[k] * difference
          }
          let (value, a, b) = norm.derivatives(s)
          expansion.values[t] += factor * value

          // Most points depend on positions alone: columns of J that are zero are passed over, the
          // others are gathered.
          var columns = 0
          for j in 0..<n {
            var (sum, isZero) = (0.0, true)
            for k in 0..<count {
              let entry = differences.jacobian(k, j, at: t, along: trajectory)
              J[k + count * columns] = entry
              sum += entry * g[k]
              if entry != 0 { isZero = false }
            }
            if isZero { continue }
            Jg[columns] = sum
            active[columns] = j
            columns += 1
            expansion.gradients[j + d * t] += factor * a * sum
          }
          for q in 0..<columns {
            // M J_j with M = a W + b g gᵀ, then J_iᵀ M J_j.
            for k in 0..<count {
              MJ[k] = factor * (a * W[k] * J[k + count * q] + b * g[k] * Jg[q])
            }
            let j = active[q]
            for p in q..<columns {
              let i = active[p]
              var entry = 0.0
              for k in 0..<count { entry += J[k + count * p] * MJ[k] }
              expansion.hessians[i + d * (j + d * t)] += entry
              if i != j { expansion.hessians[j + d * (i + d * t)] += entry }
            }
          }
        }
      }
    }
  }
}

/// p − p* and its derivative by the state, for points and their targets.
struct PointDifferences {
  /// 3 per point.
  let count: Int
  /// Row of each coordinate among the trajectory's points.
  private let rows: [Int]
  /// Row of each target coordinate; −1 for a fixed one.
  private let targetRows: [Int]
  /// Each fixed target coordinate; 0 where the target is a point.
  private let numbers: [Double]

  init(
    _ points: [Int], _ target: PointTarget, in condition: Condition, along view: TrajectoryView
  ) {
    count = 3 * points.count
    rows = points.flatMap { [3 * $0, 3 * $0 + 1, 3 * $0 + 2] }
    numbers = target.numbers(points: points.count, in: condition)
    targetRows =
      target.points(points.count)?.flatMap { [3 * $0, 3 * $0 + 1, 3 * $0 + 2] }
      ?? [Int](repeating: -1, count: 3 * points.count)
    precondition(
      (rows + targetRows).allSatisfy { -1 <= $0 && $0 < view.pointRows }
        && rows.allSatisfy { 0 <= $0 },
      "points \(points) and target \(target) of \(view.pointRows / 3) points")
  }

  /// Coordinate k of p − p* at step t.
  func value(_ k: Int, at t: Int, along view: TrajectoryView) -> Double {
    let base = view.pointRows * t
    let target = targetRows[k] >= 0 ? view.points[targetRows[k] + base] : numbers[k]
    return view.points[rows[k] + base] - target
  }

  /// Its derivative by state entry j.
  func jacobian(_ k: Int, _ j: Int, at t: Int, along view: TrajectoryView) -> Double {
    let base = view.pointRows * (j + view.n * t)
    let own = view.jacobians[rows[k] + base]
    return targetRows[k] >= 0 ? own - view.jacobians[targetRows[k] + base] : own
  }
}
