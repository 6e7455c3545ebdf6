package import Configuration
package import GPSCore

/// A norm of chosen entries of the state, less their target: ramp_t · ρ(Σ w_i (x_i − x*_i)²), where
/// differences on one side of the target may count alone.
public struct StateCost: Sendable, Equatable {
  /// Entries of the state, each by number or name; nil for all of them.
  public var entries: [Reference]?
  /// Where they should be.
  public var target: StateTarget
  /// w, one per entry; one number stands for all, and none for ones.
  public var weights: [Double]
  /// Which differences count: those that do not are 0.
  public var side: Side
  /// ρ.
  public var norm: Norm
  /// The factor over time.
  public var ramp: Ramp

  /// A cost on entries of the state.
  public init(
    entries: [some Referring]?, target: StateTarget, weights: [Double] = [1], side: Side = .both,
    norm: Norm = Norm(), ramp: Ramp = .constant
  ) {
    self.entries = entries?.map(\.reference)
    self.target = target
    self.weights = weights
    self.side = side
    self.norm = norm
    self.ramp = ramp
  }
}

extension StateCost: CostKernel {
  package static let schema = Schema<StateCost>(
    "state", "Entries of the state and their targets.",
    StateCost(entries: [Reference]?.none, target: .numbers([0]))
  ) {
    Field(
      "entries", \.entries,
      "Names of entries or components, such as jointVelocities; null for the whole state.")
    Field("target", \.target, "Where they should be.")
    Field(
      "weights", \.weights, .numberOrNumbers, .each(.notNegative),
      "One per entry, or one for all.")
    Field("side", \.side, "Which differences count: above the target, below it, or both.")
    Norm.schema.fields(in: \.norm)
    Field("ramp", \.ramp, "The factor over time.")
  }

  package var readsPoints: Bool { false }

  package func resolved(in scope: Scope, key: String) throws(SimError) -> StateCost {
    try checkSettings(key)
    var cost = self
    let entries = try entries.map { list throws(SimError) in
      try scope.entries(list, "\(key).entries")
    }
    let count = entries?.count ?? scope.dimensions.state
    cost.entries = entries ?? (0..<count).map { .index($0) }
    cost.target = try target.resolved(count, in: scope, key: "\(key).target")
    cost.weights = try scope.each(weights, count, "\(key).weights", "one per entry")
    return cost
  }

  /// The entries as indices into a state of n numbers.
  private func entries(of n: Int) -> [Int] {
    let entries = entries.map(indices) ?? Array(0..<n)
    precondition(entries.allSatisfy { 0 <= $0 && $0 < n }, "entries \(entries) of \(n) numbers")
    return entries
  }

  package func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (x, n, entries) = (trajectory.states, trajectory.n, entries(of: trajectory.n))
    let count = entries.count
    let target = target.numbers(count, in: condition)
    let weights = spread(weights, over: count)
    for t in 0...trajectory.horizon {
      let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
      if factor == 0 { continue }
      var s = 0.0
      for k in 0..<count {
        let d = x[entries[k] + n * t] - target[k]
        if side.counts(d) { s += weights[k] * d * d }
      }
      values[t] += factor * norm.value(s)
    }
  }

  package func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (x, n, d) = (trajectory.states, trajectory.n, expansion.d)
    let entries = entries(of: n)
    let count = entries.count
    let target = target.numbers(count, in: condition)
    let weights = spread(weights, over: count)
    // g = W (x − x*), W without what does not count
    var (g, W) = (weights, weights)
    for t in 0...trajectory.horizon {
      let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
      if factor == 0 { continue }
      var s = 0.0
      for k in 0..<count {
        let difference = x[entries[k] + n * t] - target[k]
        W[k] = side.counts(difference) ? weights[k] : 0
        g[k] = W[k] * difference
        s += g[k] * difference
      }
      let (value, a, b) = norm.derivatives(s)
      expansion.values[t] += factor * value
      for k in 0..<count {
        let i = entries[k]
        expansion.gradients[i + d * t] += factor * a * g[k]
        expansion.hessians[i + d * (i + d * t)] += factor * a * W[k]
        if b == 0 { continue }
        for l in 0..<count {
          expansion.hessians[i + d * (entries[l] + d * t)] += factor * b * g[k] * g[l]
        }
      }
    }
  }
}
