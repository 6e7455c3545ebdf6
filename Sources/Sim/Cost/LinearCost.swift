package import Configuration
package import GPSCore

/// Entries of the state as they are: ramp_t · Σ w_i x_i. A negative weight is a reward, such as for a
/// velocity.
///
/// It has no bound below: beside it stands something that grows faster, such as the effort of the controls.
public struct LinearCost: Sendable, Equatable {
  /// Entries of the state, each by number or name.
  public var entries: [Reference]
  /// w, one per entry, of either sign; one number stands for all.
  public var weights: [Double]
  /// The factor over time.
  public var ramp: Ramp

  /// A cost that is linear in entries of the state.
  public init(entries: [some Referring], weights: [Double] = [1], ramp: Ramp = .constant) {
    self.entries = entries.map(\.reference)
    self.weights = weights
    self.ramp = ramp
  }
}

extension LinearCost: CostKernel {
  package static let schema = Schema<LinearCost>(
    "linear", "Entries of the state as they are; a negative weight rewards them.",
    LinearCost(entries: [Reference]())
  ) {
    Field(
      "entries", \.entries, .some("entry of the state"),
      "Names of entries or components, such as jointVelocities."
    ).required
    Field(
      "weights", \.weights, .numberOrNumbers, .each(Check("finite") { $0.isFinite }),
      "One per entry, or one for all; negative for a reward.")
    Field("ramp", \.ramp, "The factor over time.")
  }

  package static var canReward: Bool { true }
  package var readsPoints: Bool { false }

  package func resolved(in scope: Scope, key: String) throws(SimError) -> LinearCost {
    try checkSettings(key)
    var cost = self
    cost.entries = try scope.entries(entries, "\(key).entries")
    cost.weights = try scope.each(
      weights, cost.entries.count, "\(key).weights", "one per entry")
    return cost
  }

  package func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (x, n, entries) = (trajectory.states, trajectory.n, indices(entries))
    let weights = spread(weights, over: entries.count)
    for t in 0...trajectory.horizon {
      var sum = 0.0
      for k in entries.indices { sum += weights[k] * x[entries[k] + n * t] }
      values[t] += scale * ramp.factor(at: t, horizon: trajectory.horizon) * sum
    }
  }

  package func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    addValues(to: expansion.values, scale: scale, along: trajectory, in: condition)
    let entries = indices(entries)
    let weights = spread(weights, over: entries.count)
    for t in 0...trajectory.horizon {
      let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
      for k in entries.indices {
        expansion.gradients[entries[k] + expansion.d * t] += factor * weights[k]
      }
    }
  }
}
