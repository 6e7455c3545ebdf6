package import Configuration
package import GPSCore

/// The effort of the controls: ramp_t · ½ Σ w_i u_i², for the steps that have a control (not step T).
public struct ControlCost: Sendable, Equatable {
  /// w, one per control; one number stands for all.
  public var weights: [Double]
  /// The factor over time.
  public var ramp: Ramp

  /// A cost on the controls.
  public init(weights: [Double], ramp: Ramp = .constant) {
    self.weights = weights
    self.ramp = ramp
  }
}

extension ControlCost: CostKernel {
  package static let schema = Schema<ControlCost>(
    "control", "Effort: half the weighted squares.", ControlCost(weights: [1])
  ) {
    Field(
      "weights", \.weights, .numberOrNumbers, .each(.notNegative),
      "One per control, or one for all.")
    Field("ramp", \.ramp, "The factor over time.")
  }

  package var readsPoints: Bool { false }

  package func resolved(in scope: Scope, key: String) throws(SimError) -> ControlCost {
    try checkSettings(key)
    var cost = self
    cost.weights = try scope.each(
      weights, scope.dimensions.control, "\(key).weights", scope.controlList)
    return cost
  }

  package func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (u, m) = (trajectory.controls, trajectory.m)
    let weights = spread(weights, over: m)
    for t in 0..<trajectory.horizon {
      var sum = 0.0
      for i in 0..<m { sum += weights[i] * u[i + m * t] * u[i + m * t] }
      values[t] += 0.5 * scale * ramp.factor(at: t, horizon: trajectory.horizon) * sum
    }
  }

  package func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (u, m, n, d) = (trajectory.controls, trajectory.m, trajectory.n, expansion.d)
    let weights = spread(weights, over: m)
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
}
