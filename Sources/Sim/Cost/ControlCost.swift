public import GPSCore

/// The effort of the controls: ramp_t · ½ Σ w_i u_i², for the steps that have a control (not step T).
public struct ControlCost: Cost, Codable, Sendable, Equatable {
  /// w, one per control.
  public var weights: [Double]
  /// The factor over time.
  public var ramp: Ramp

  /// A cost on the controls.
  public init(weights: [Double], ramp: Ramp = .constant) {
    self.weights = weights
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

extension ControlCost: CostKernel {
  func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (u, m) = (trajectory.controls, trajectory.m)
    precondition(weights.count == m, "\(weights.count) weights for \(m) controls")
    for t in 0..<trajectory.horizon {
      var sum = 0.0
      for i in 0..<m { sum += weights[i] * u[i + m * t] * u[i + m * t] }
      values[t] += 0.5 * scale * ramp.factor(at: t, horizon: trajectory.horizon) * sum
    }
  }

  func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (u, m, n, d) = (trajectory.controls, trajectory.m, trajectory.n, expansion.d)
    precondition(weights.count == m, "\(weights.count) weights for \(m) controls")
    for t in 0..<trajectory.horizon {
      let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
      for i in 0..<m {
        let (weight, entry) = (factor * weights[i], n + i)
        let control = u[i + m * t]
        expansion.values[t] += 0.5 * weight * control * control
        expansion.gradients[entry + d * t] += weight * control
        expansion.hessians[entry + d * (entry + d * t)] += weight
      }
    }
  }

  func validate(for dimensions: Dimensions, conditions: [Condition], key: String) throws(SimError) {
    if weights.isEmpty {
      throw .length(key: "\(key).weights", found: 0, expected: "\(dimensions.control)")
    }
    try validateWeights(weights, dimensions.control, key: "\(key).weights")
  }
}
