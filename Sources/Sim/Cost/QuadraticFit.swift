import Foundation
import GPSCore
import LinearAlgebra

/// Slopes and curvatures of a cost of which only values along rollouts are known, by two regressions: one curvature
/// for all steps, then slopes for each step.
///
/// With z the states and controls y = [x; u] of all rollouts and steps less their mean over their deviation:
///
/// 1. c ≈ w₀ + wᵀ z + ½ zᵀ C z over all steps together, by ridge regression; then negative curvatures are left out,
///    which rollouts of one controller tell from noise least of all.
/// 2. What is left at step t ≈ a_t + s_tᵀ (z − z̄_t), by ridge regression on the steps about t, near ones first.
///
/// The slope at step t is w + C z̄_t + s_t. Both ridges are those that predict best what a rollout costs which was
/// left out of the fit; infinitely much is among them. The value at z̄_t is such that the mean over the rollouts is
/// what they cost. Steps after the end of a rollout play no part.
struct QuadraticFit {
  /// The share that the fit to all rollouts but one explains of how that one differs from the mean at each step; nil
  /// where there are less than two rollouts, or where they do not differ.
  let explainedShare: Double?

  private let trajectories: [Trajectory]
  private let features: Features
  /// The coefficients over all steps; nil where nothing depends on anything.
  private let whole: Coefficients?
  private let slopes: [[Double]]

  private static var ridges: [Double] { [1e-6, 1e-4, 1e-2, 1] }
  private static var slopeRidges: [Double] { [1e-2, 1e-1, 1, .infinity] }
  /// Standard deviation of the weights over time [steps]; none count beyond three of them.
  private static var width: Double { 2 }

  /// A fit.
  ///
  /// - Parameters:
  ///   - values: what each rollout cost at each step, T numbers each.
  ///   - trajectories: the rollouts, N > 0 of one shape.
  init(of values: [[Double]], along trajectories: [Trajectory]) {
    self.trajectories = trajectories
    let features = Features(values, trajectories)
    self.features = features
    guard !features.kept.isEmpty, features.costDeviation > 0 else {
      (whole, slopes, explainedShare) = (nil, [], nil)
      return
    }
    let normal = trajectories.indices.map { features.normalEquations(of: $0) }
    let all = normal.indices.map { $0 }
    func coefficients(_ ridge: Double, without left: Int?) -> Coefficients? {
      features.coefficients(normal, of: all.filter { $0 != left }, ridge: ridge)
    }
    func error(_ ridge: Double) -> Double {
      all.reduce(0) { sum, left in
        guard let own = coefficients(ridge, without: left) else { return .infinity }
        return sum + features.residuals(of: left, own).reduce(0) { $0 + $1 * $1 }
      }
    }
    let hasOthers = all.count > 1
    var ridge = 1e-2
    if hasOthers {
      let errors = Self.ridges.map(error)
      ridge = Self.ridges[errors.indices.min { errors[$0] < errors[$1] } ?? 0]
    }
    whole = coefficients(ridge, without: nil)
    guard let whole else {
      (slopes, explainedShare) = ([], nil)
      return
    }
    let kernel = SlopeKernel(features: features, width: Self.width)
    var (best, leastError) = (hasOthers ? Double.infinity : 1, Double.infinity)
    if hasOthers {
      // What the fit of all others leaves, of all rollouts.
      let left = all.map { left in
        let own = coefficients(ridge, without: left) ?? whole
        return all.map { features.residuals(of: $0, own) }
      }
      for slopeRidge in Self.slopeRidges {
        let error = kernel.error(left, ridge: slopeRidge)
        if error < leastError { (best, leastError) = (slopeRidge, error) }
      }
    }
    slopes = kernel.slopes(
      all.map { features.residuals(of: $0, whole) }, of: all, ridge: best)
    let spread = kernel.spread
    explainedShare = hasOthers && spread > 0 ? 1 - leastError / spread : nil
  }

  /// Adds the fit to a cost that holds its mean values already.
  func add(to cost: inout QuadraticCost) {
    guard let whole else { return }
    let (n, m, T) = (cost.state, cost.control, cost.horizon)
    let N = trajectories.count
    var expansion = CostExpansion(state: n, control: m, horizon: T)
    var mean = Trajectory(
      states: Matrix(rows: n, columns: T + 1), controls: Matrix(rows: m, columns: T),
      observations: Matrix(rows: 0, columns: T + 1))
    for t in 0..<T {
      let going = features.going(at: t)
      if going.isEmpty { continue }
      // The others cost what they cost, wherever they are.
      let share = features.costDeviation * Double(going.count) / Double(N)
      let center = features.center(at: t)
      let slope = whole.slope(at: center)
      for (a, i) in features.kept.enumerated() {
        expansion.gradients[i, t] = share * (slope[a] + slopes[t][a]) / features.deviation[i]
        for (b, j) in features.kept.enumerated() {
          expansion.hessians.storage[i + (n + m) * (j + (n + m) * t)] =
            share * whole.curvature[a, b] / (features.deviation[i] * features.deviation[j])
        }
      }
      let curved = going.reduce(0.0) { sum, sample in
        let away = zip(features.z(sample, t), center).map { $0 - $1 }
        return sum + 0.5 * whole.curvature.bilinear(away, away)
      }
      expansion.values[t] = -share * curved / Double(going.count)
      for i in 0..<n + m {
        let y = going.reduce(0) { $0 + features.y(trajectories[$1], i, t) } / Double(going.count)
        if i < n { mean.states[i, t] = y } else { mean.controls[i - n, t] = y }
      }
    }
    cost.add(expansion, along: mean)
  }
}

/// w₀, w and C of ½ zᵀ C z + wᵀ z + w₀.
private struct Coefficients {
  let constant: Double
  let linear: [Double]
  let curvature: Matrix

  func value(at z: [Double]) -> Double {
    var sum = constant + 0.5 * curvature.bilinear(z, z)
    for i in z.indices { sum += linear[i] * z[i] }
    return sum
  }

  func slope(at z: [Double]) -> [Double] {
    zip(linear, curvature * z).map { $0 + $1 }
  }
}

/// States, controls and costs of rollouts in units of their own spread.
private struct Features {
  /// Entries of y that move at all.
  let kept: [Int]
  /// Of each entry of y.
  let mean: [Double]
  let deviation: [Double]
  let costDeviation: Double
  /// Steps up to the end of each rollout.
  let steps: [Int]
  private let T: Int
  /// z of a rollout at a step: as many numbers as entries are kept.
  private let standardized: [[[Double]]]
  /// What it costs, less the mean, over the deviation.
  let costs: [[Double]]
  /// Whether products of two entries are curvatures too.
  private let hasProducts: Bool

  init(_ values: [[Double]], _ trajectories: [Trajectory]) {
    let n = trajectories[0].states.rows
    let d = n + trajectories[0].controls.rows
    T = trajectories[0].horizon
    let steps = zip(values, trajectories).map { min($0.count, $1.stepsToEnd) }
    self.steps = steps
    let count = Double(max(1, steps.reduce(0, +)))
    func entry(_ trajectory: Trajectory, _ i: Int, _ t: Int) -> Double {
      i < n ? trajectory.states[i, t] : trajectory.controls[i - n, t]
    }
    func moments(_ of: (Int, Int) -> Double) -> (mean: Double, deviation: Double) {
      var (sum, squares) = (0.0, 0.0)
      for sample in trajectories.indices { for t in 0..<steps[sample] { sum += of(sample, t) } }
      let mean = sum / count
      for sample in trajectories.indices {
        for t in 0..<steps[sample] {
          let away = of(sample, t) - mean
          squares += away * away
        }
      }
      let deviation = (squares / count).squareRoot()
      // What is left of rounding is no motion.
      return (mean, deviation > 1e-9 * (1 + mean.magnitude) ? deviation : 0)
    }
    let own = (0..<d).map { i in moments { entry(trajectories[$0], i, $1) } }
    mean = own.map(\.mean)
    deviation = own.map(\.deviation)
    let kept = (0..<d).filter { own[$0].deviation > 0 }
    self.kept = kept
    standardized = trajectories.indices.map { sample in
      (0..<steps[sample]).map { t in
        kept.map { (entry(trajectories[sample], $0, t) - own[$0].mean) / own[$0].deviation }
      }
    }
    let cost = moments { values[$0][$1] }
    costDeviation = cost.deviation
    costs = trajectories.indices.map { sample in
      (0..<steps[sample]).map {
        cost.deviation > 0 ? (values[sample][$0] - cost.mean) / cost.deviation : 0
      }
    }
    // Where the rollouts tell them, and their normal equations are small.
    let all = 1 + kept.count + kept.count * (kept.count + 1) / 2
    hasProducts = all <= 400 && 2 * all <= Int(count)
  }

  func y(_ trajectory: Trajectory, _ i: Int, _ t: Int) -> Double {
    i < trajectory.states.rows
      ? trajectory.states[i, t] : trajectory.controls[i - trajectory.states.rows, t]
  }

  func z(_ sample: Int, _ t: Int) -> [Double] { standardized[sample][t] }

  /// Rollouts that go on at a step.
  func going(at t: Int) -> [Int] { steps.indices.filter { t < steps[$0] } }

  /// z̄_t.
  func center(at t: Int) -> [Double] {
    let going = going(at: t)
    return kept.indices.map { i in
      going.reduce(0) { $0 + standardized[$1][t][i] } / Double(max(1, going.count))
    }
  }

  /// [1, z, ½ z_i², z_i z_j].
  private func basis(_ z: [Double]) -> [Double] {
    var basis = [1.0] + z + z.map { 0.5 * $0 * $0 }
    if hasProducts {
      for i in z.indices { for j in 0..<i { basis.append(z[i] * z[j]) } }
    }
    return basis
  }

  /// Σ φ φᵀ, Σ φ c and the number of steps of a rollout.
  func normalEquations(of sample: Int) -> (gram: Matrix, right: [Double], count: Int) {
    let bases = standardized[sample].map(basis)
    let p = basis(kept.map { _ in 0 }).count
    let all = Matrix(rows: p, columns: bases.count, columnMajor: bases.flatMap { $0 })
    return (all * all.transposed, all * costs[sample], bases.count)
  }

  /// The coefficients of some rollouts; nil if there are none.
  func coefficients(
    _ normal: [(gram: Matrix, right: [Double], count: Int)], of samples: [Int], ridge: Double
  ) -> Coefficients? {
    guard let first = samples.first else { return nil }
    var (gram, right, count) = normal[first]
    for sample in samples.dropFirst() {
      gram += normal[sample].gram
      for i in right.indices { right[i] += normal[sample].right[i] }
      count += normal[sample].count
    }
    if count == 0 { return nil }
    for i in 0..<gram.rows { gram[i, i] += (i == 0 ? 1e-9 : ridge) * Double(count) }
    guard let w = try? CholeskyFactor(gram.symmetrized).solve(right) else { return nil }
    let k = kept.count
    var curvature = Matrix(rows: k, columns: k)
    for i in 0..<k { curvature[i, i] = w[1 + k + i] }
    if hasProducts {
      var next = 1 + 2 * k
      for i in 0..<k {
        for j in 0..<i {
          (curvature[i, j], curvature[j, i]) = (w[next], w[next])
          next += 1
        }
      }
    }
    guard let convex = curvature.withoutNegativeCurvature else { return nil }
    return Coefficients(constant: w[0], linear: Array(w[1...k]), curvature: convex)
  }

  /// What coefficients leave of the costs of a rollout.
  func residuals(of sample: Int, _ coefficients: Coefficients) -> [Double] {
    zip(costs[sample], standardized[sample]).map { $0 - coefficients.value(at: $1) }
  }
}

extension Matrix {
  /// The nearest matrix without negative eigenvalues; nil if the eigenvalues cannot be found.
  fileprivate var withoutNegativeCurvature: Matrix? {
    guard let (values, vectors) = try? symmetricEigen() else { return nil }
    var result = Matrix(rows: rows, columns: rows)
    for (k, value) in values.enumerated() where value > 0 {
      for j in 0..<rows {
        for i in 0..<rows { result[i, j] += value * vectors[i, k] * vectors[j, k] }
      }
    }
    return result
  }
}

/// Slopes of what is left at each step, of the steps about it.
private struct SlopeKernel {
  private let features: Features
  private let weights: [Double]
  private let centers: [[Double]]

  private var horizon: Int { centers.count }

  init(features: Features, width: Double) {
    self.features = features
    // w_0, w_1, …
    weights = (0...Int(3 * width)).map { exp(-0.5 * Double($0 * $0) / (width * width)) }
    centers = (0..<(features.steps.max() ?? 0)).map { features.center(at: $0) }
  }

  /// s_t of every step.
  func slopes(_ left: [[Double]], of samples: [Int], ridge: Double) -> [[Double]] {
    (0..<horizon).map { slope(at: $0, left, of: samples, ridge: ridge) }
  }

  /// Σ k (r − a − sᵀ(z − z̄))² + ridge Σ k ‖s‖², over the steps about t.
  private func slope(
    at t: Int, _ left: [[Double]], of samples: [Int], ridge: Double
  ) -> [Double] {
    let k = features.kept.count
    var gram = Matrix(rows: k + 1, columns: k + 1)
    var right = [Double](repeating: 0, count: k + 1)
    var total = 0.0
    if ridge == .infinity { return Array(right.dropLast()) }
    var x = [Double](repeating: 1, count: k + 1)
    for s in max(0, t - weights.count + 1)...min(horizon - 1, t + weights.count - 1) {
      let weight = weights[abs(s - t)]
      for sample in samples where s < features.steps[sample] {
        let z = features.z(sample, s)
        for i in 0..<k { x[i] = z[i] - centers[t][i] }
        for j in 0...k {
          right[j] += weight * x[j] * left[sample][s]
          for i in 0...j { gram[i, j] += weight * x[i] * x[j] }
        }
        total += weight
      }
    }
    for j in 0...k { for i in 0..<j { gram[j, i] = gram[i, j] } }
    for i in 0..<k { gram[i, i] += ridge * max(total, 1) }
    gram[k, k] += 1e-9
    guard let solution = try? CholeskyFactor(gram).solve(right) else {
      return [Double](repeating: 0, count: k)
    }
    return Array(solution.dropLast())
  }

  /// Squares of what is not explained of each rollout's difference from the mean at each step, by the fit to the
  /// others.
  ///
  /// - Parameters:
  ///   - left: for each rollout what the coefficients of the others leave of every rollout.
  ///   - ridge: of the slopes.
  /// - Returns: their sum.
  func error(_ left: [[[Double]]], ridge: Double) -> Double {
    let all = Array(left.indices)
    var result = 0.0
    for t in 0..<horizon {
      let going = features.going(at: t)
      var errors: [Double] = []
      for sample in going {
        let others = all.filter { $0 != sample }
        let s = slope(at: t, left[sample], of: others, ridge: ridge)
        let z = features.z(sample, t)
        var predicted = 0.0
        for i in s.indices { predicted += s[i] * (z[i] - centers[t][i]) }
        errors.append(left[sample][sample][t] - predicted)
      }
      let mean = errors.reduce(0, +) / Double(max(1, errors.count))
      result += errors.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    }
    return result
  }

  /// Squares of each rollout's difference from the mean at each step.
  var spread: Double {
    (0..<horizon).reduce(0) { sum, t in
      let costs = features.going(at: t).map { features.costs[$0][t] }
      let mean = costs.reduce(0, +) / Double(max(1, costs.count))
      return sum + costs.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    }
  }
}
