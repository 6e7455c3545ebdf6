public import GPSCore

/// A norm of chosen entries of the state, less their target: ramp_t · ρ(Σ w_i (x_i − x*_i)²).
public struct StateCost: Cost, Codable, Sendable, Equatable {
  /// Indices into the state.
  public var entries: [Int]
  /// Where they should be.
  public var target: StateTarget
  /// w, one per entry; empty for ones.
  public var weights: [Double]
  /// ρ.
  public var norm: Norm
  /// The factor over time.
  public var ramp: Ramp

  /// A cost on entries of the state.
  public init(
    entries: [Int], target: StateTarget, weights: [Double] = [], norm: Norm = Norm(),
    ramp: Ramp = .constant
  ) {
    self.entries = entries
    self.target = target
    self.weights = weights
    self.norm = norm
    self.ramp = ramp
  }

  /// Adds ℓ_t for every step.
  public func addValues(
    to values: inout [Double], along trajectory: Trajectory, in condition: Condition
  ) {
    addValuesFromView(to: &values, along: trajectory, in: condition)
  }

  /// Adds values, gradients and Hessians at every step.
  public func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    addExpansionFromView(to: &expansion, along: trajectory, in: condition)
  }
}

extension StateCost: CostKernel {
  func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (x, n, count) = (trajectory.states, trajectory.n, entries.count)
    precondition(entries.allSatisfy { 0 <= $0 && $0 < n }, "entries \(entries) of \(n) numbers")
    let target = target.numbers(count, in: condition)
    let weights = resolvedWeights(weights, count)
    for t in 0...trajectory.horizon {
      let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
      if factor == 0 { continue }
      var s = 0.0
      for k in 0..<count {
        let d = x[entries[k] + n * t] - target[k]
        s += weights[k] * d * d
      }
      values[t] += factor * norm.value(s)
    }
  }

  func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (x, n, d, count) = (trajectory.states, trajectory.n, expansion.d, entries.count)
    precondition(entries.allSatisfy { 0 <= $0 && $0 < n }, "entries \(entries) of \(n) numbers")
    let target = target.numbers(count, in: condition)
    let weights = resolvedWeights(weights, count)
    // g = W (x − x*)
    var g = [Double](repeating: 0, count: count)
    for t in 0...trajectory.horizon {
      let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
      if factor == 0 { continue }
      var s = 0.0
      for k in 0..<count {
        let difference = x[entries[k] + n * t] - target[k]
        g[k] = weights[k] * difference
        s += g[k] * difference
      }
      let (value, a, b) = norm.derivatives(s)
      expansion.values[t] += factor * value
      for k in 0..<count {
        let i = entries[k]
        expansion.gradients[i + d * t] += factor * a * g[k]
        expansion.hessians[i + d * (i + d * t)] += factor * a * weights[k]
        if b == 0 { continue }
        for l in 0..<count {
          expansion.hessians[i + d * (entries[l] + d * t)] += factor * b * g[k] * g[l]
        }
      }
    }
  }

  func validate(for dimensions: Dimensions, conditions: [Condition], key: String) throws(SimError) {
    for entry in entries {
      try SimError.check(entry, below: dimensions.state, key: "\(key).entries")
    }
    try target.validate(entries.count, for: conditions, key: "\(key).target")
    try validateWeights(weights, entries.count, key: "\(key).weights")
    try norm.validate(key: "\(key).norm")
  }
}
