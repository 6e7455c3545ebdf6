// What a linear-Gaussian model with a quadratic cost leaves unexplained of rollouts.

import Foundation
public import GPSCore
public import LinearAlgebra

/// S_{n,t} = Σ_{s≥t} ℓ_{n,s}: the costs-to-go of rollouts from each of their controls on.
///
/// - Parameter costs: ℓ_{n,0} … ℓ_{n,T} of each rollout, as `Cost.values` gives them; N > 0 of one length.
/// - Returns: S: N × T.
/// - Throws: `PathIntegralError.costNotFinite` naming sample and step.
public func costsToGo(_ costs: [[Double]]) throws(PathIntegralError) -> Matrix {
  let (N, T) = (costs.count, (costs.first?.count ?? 0) - 1)
  precondition(
    T >= 0 && costs.allSatisfy { $0.count == T + 1 },
    "costs of \(costs.map(\.count)) steps for \(N) rollouts of one length")
  var result = Matrix(rows: N, columns: T)
  for (n, costs) in costs.enumerated() {
    var sum = 0.0
    for t in stride(from: T, through: 0, by: -1) {
      sum += costs[t]
      if !sum.isFinite {
        throw .costNotFinite(sample: n, step: t, value: costs[t].isFinite ? sum : costs[t])
      }
      if t < T { result[n, t] = sum }
    }
  }
  return result
}

/// ℓ̂_{n,0} … ℓ̂_{n,T}: what the model says that each rollout should have cost.
///
/// The model's rollout starts at the same state, has the same noise in its controls, and follows the
/// model's mean:
///
///   x̂_0 = x_0,   û_t = K x̂_t + k + (u_t − K x_t − k),   x̂_{t+1} = F [x̂_t; û_t] + f
///
/// so that a wrong model of the dynamics shows in the costs as much as a cost that is not quadratic, and
/// what the plant's own noise costs counts as unexplained. With exact dynamics without noise, x̂ = x
/// (Chebotar et al. 2017).
///
/// - Parameters:
///   - rollouts: N of one shape.
///   - controller: under which they were drawn.
///   - cost: the quadratic that the model-based step used.
///   - dynamics: those that it used.
/// - Returns: N arrays of T + 1 numbers.
/// - Throws: `PathIntegralError.predictionNotFinite` naming sample and step.
public func modeledCosts(
  of rollouts: [Trajectory], under controller: LinearGaussianController, cost: QuadraticCost,
  dynamics: LinearGaussianDynamics
) throws(PathIntegralError) -> [[Double]] {
  let (n, m, T) = (dynamics.state, dynamics.control, dynamics.horizon)
  precondition(
    controller.state == n && controller.control == m && controller.horizon == T
      && cost.state == n && cost.control == m && cost.horizon == T,
    "a controller of \(controller.state) × \(controller.control) × \(controller.horizon) and a cost "
      + "of \(cost.state) × \(cost.control) × \(cost.horizon) for dynamics of \(n) × \(m) × \(T)")
  var result: [[Double]] = []
  result.reserveCapacity(rollouts.count)
  var states = Matrix(rows: n, columns: T + 1)
  var controls = Matrix(rows: m, columns: T)
  for (sample, rollout) in rollouts.enumerated() {
    precondition(
      rollout.states.rows == n && rollout.controls.rows == m && rollout.horizon == T,
      "a rollout of \(rollout.states.rows) × \(rollout.controls.rows) × \(rollout.horizon) for "
        + "dynamics of \(n) × \(m) × \(T)")
    predict(rollout, under: controller, dynamics, states: &states, controls: &controls)
    let values = cost.values(states: states, controls: controls)
    if let step = values.firstNonFinite {
      throw .predictionNotFinite(sample: sample, step: step)
    }
    result.append(values)
  }
  return result
}

/// The model's version of a rollout.
private func predict(
  _ rollout: Trajectory, under controller: LinearGaussianController,
  _ dynamics: LinearGaussianDynamics, states: inout Matrix, controls: inout Matrix
) {
  let (n, m, T) = (dynamics.state, dynamics.control, dynamics.horizon)
  rollout.states.storage.withUnsafeBufferPointer { x in
    rollout.controls.storage.withUnsafeBufferPointer { u in
      controller.gains.storage.withUnsafeBufferPointer { K in
        dynamics.transitions.storage.withUnsafeBufferPointer { F in
          dynamics.offsets.storage.withUnsafeBufferPointer { f in
            states.storage.withUnsafeMutableBufferPointer { px in
              controls.storage.withUnsafeMutableBufferPointer { pu in
                for i in 0..<n { px[i] = x[i] }
                for t in 0..<T {
                  // û = u + K (x̂ − x)
                  for i in 0..<m { pu[t * m + i] = u[t * m + i] }
                  for j in 0..<n {
                    let gap = px[t * n + j] - x[t * n + j]
                    if gap == 0 { continue }
                    for i in 0..<m { pu[t * m + i] += K[(t * n + j) * m + i] * gap }
                  }
                  let base = t * n * (n + m)
                  for i in 0..<n { px[(t + 1) * n + i] = f[t * n + i] }
                  for j in 0..<n {
                    for i in 0..<n { px[(t + 1) * n + i] += F[base + j * n + i] * px[t * n + j] }
                  }
                  for j in 0..<m {
                    for i in 0..<n {
                      px[(t + 1) * n + i] += F[base + (n + j) * n + i] * pu[t * m + j]
                    }
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}

/// S̃_{n,t} = Σ_{s≥t} (ℓ_{n,s} − ℓ̂_{n,s}): the costs-to-go that the model does not explain.
///
/// - Parameters:
///   - costs: ℓ, T + 1 numbers for each of N > 0 rollouts.
///   - modeled: ℓ̂, of the same shape (`modeledCosts`).
/// - Returns: S̃: N × T.
/// - Throws: `PathIntegralError.costNotFinite` naming sample and step.
public func residualCostsToGo(
  _ costs: [[Double]], modeled: [[Double]]
) throws(PathIntegralError) -> Matrix {
  precondition(
    costs.map(\.count) == modeled.map(\.count),
    "costs of \(costs.map(\.count)) steps and modelled ones of \(modeled.map(\.count))")
  return try costsToGo(zip(costs, modeled).map { zip($0, $1).map { $0 - $1 } })
}

/// The share of the costs that a model leaves unexplained, from each step on:
///
///   r_t = Σ_n Σ_{s≥t} |ℓ_{n,s} − ℓ̂_{n,s}|  /  Σ_n Σ_{s≥t} |ℓ_{n,s}|
///
/// 0 where nothing is left, infinite where costs of 0 were modelled as others. It is Chebotar et al.'s
/// (2017) and depends, as theirs does, on where the cost has its zero.
///
/// - Parameters:
///   - costs: ℓ, T + 1 numbers for each of N > 0 rollouts, finite.
///   - modeled: ℓ̂, of the same shape.
/// - Returns: T numbers.
public func residualRatios(_ costs: [[Double]], modeled: [[Double]]) -> [Double] {
  precondition(
    !costs.isEmpty && costs.map(\.count) == modeled.map(\.count),
    "costs of \(costs.map(\.count)) steps and modelled ones of \(modeled.map(\.count))")
  let T = (costs.first?.count ?? 1) - 1
  var (residual, whole) = (0.0, 0.0)
  var ratios = [Double](repeating: 0, count: T)
  for t in stride(from: T, through: 0, by: -1) {
    for (costs, modeled) in zip(costs, modeled) {
      residual += abs(costs[t] - modeled[t])
      whole += abs(costs[t])
    }
    if t < T { ratios[t] = residual == 0 ? 0 : residual / whole }
  }
  return ratios
}

/// How far the model-based step of PILQR may go at each step of time: less where the model explains the
/// costs badly, further where it explains them well.
///
/// Each step of time has a multiplier of the step size, 1 at first. It is divided by `factor` where the
/// residual ratio is over `shrinkAbove`, multiplied where it is under `growBelow`, and kept within
/// `smallest ... largest`. The bound at time t is base × multiplier; a step with one bound for the whole
/// trajectory takes their sum (Chebotar et al. 2017).
public struct ResidualStepSizes: Sendable, Equatable {
  /// Settings.
  public struct Options: Sendable, Equatable {
    /// The ratio over which a step size shrinks.
    public var shrinkAbove = 0.2
    /// The ratio under which it grows.
    public var growBelow = 0.05
    /// By how much.
    public var factor = 2.0
    /// The smallest multiplier.
    public var smallest = 0.1
    /// The largest multiplier.
    public var largest = 10.0

    /// The defaults.
    public init() {}

    /// Settings of one's own.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public init(
      shrinkAbove: Double = 0.2, growBelow: Double = 0.05, factor: Double = 2,
      smallest: Double = 0.1, largest: Double = 10
    ) throws(InvalidOption) {
      self.shrinkAbove = shrinkAbove
      self.growBelow = growBelow
      self.factor = factor
      self.smallest = smallest
      self.largest = largest
      _ = try validated()
    }

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options {
      try InvalidOption.require(
        growBelow >= 0 && growBelow.isFinite, "growBelow", growBelow, "finite, at least 0")
      try InvalidOption.require(
        shrinkAbove >= growBelow, "shrinkAbove", shrinkAbove, "at least growBelow")
      try InvalidOption.require(
        factor >= 1 && factor.isFinite, "factor", factor, "finite, at least 1")
      try InvalidOption.require(
        smallest > 0 && smallest <= 1, "smallest", smallest, "in (0, 1]")
      try InvalidOption.require(
        largest >= 1 && largest.isFinite, "largest", largest, "finite, at least 1")
      return self
    }
  }

  /// The multipliers: T numbers.
  public private(set) var multipliers: [Double]

  /// Multipliers of 1.
  public init(horizon: Int) {
    precondition(horizon >= 0, "a horizon of \(horizon)")
    multipliers = [Double](repeating: 1, count: horizon)
  }

  /// Multipliers from elsewhere, such as a checkpoint.
  ///
  /// - Throws: `InvalidOption` when one is not finite and positive.
  public init(multipliers: [Double]) throws(InvalidOption) {
    if let value = multipliers.first(where: { !($0 > 0 && $0.isFinite) }) {
      throw InvalidOption(
        key: "multipliers", value: "\(value)", allowed: "finite, more than 0")
    }
    self.multipliers = multipliers
  }

  /// Adapts them to the residual ratios of the last rollouts (T numbers).
  public mutating func adapt(to ratios: [Double], options: Options = Options()) {
    precondition(
      ratios.count == multipliers.count, "\(ratios.count) ratios for \(multipliers.count) steps")
    for (t, ratio) in ratios.enumerated() {
      // What is not a number does not speak for the model.
      if !(ratio <= options.shrinkAbove) {
        multipliers[t] = max(multipliers[t] / options.factor, options.smallest)
      } else if ratio < options.growBelow {
        multipliers[t] = min(multipliers[t] * options.factor, options.largest)
      }
    }
  }
}
