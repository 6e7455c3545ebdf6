package import Configuration
public import GPSCore
import LinearAlgebra

/// Minus what the system itself pays for each control: a Gymnasium environment's reward.
///
/// Of such a cost only values are known. Local steps that are sampled (PI²) need no more; those that follow
/// derivatives take a quadratic that is fitted to the rollouts of a condition (`QuadraticFit`), and
/// `conditions.csv` says how well it fits (`cost_fit`).
public struct RewardCost: Sendable, Equatable {
  /// The factor over time.
  public var ramp: Ramp

  /// Minus the reward.
  public init(ramp: Ramp = .constant) { self.ramp = ramp }
}

extension RewardCost: CostKernel {
  package static let schema = Schema<RewardCost>(
    "reward", "Minus the reward of an environment that pays one.", RewardCost()
  ) {
    Field("ramp", \.ramp, "The factor over time.")
  }

  package var readsPoints: Bool { false }

  package func resolved(in scope: Scope, key: String) throws(SimError) -> RewardCost {
    try checkSettings(key)
    if !scope.paysRewards {
      throw .option(
        InvalidOption(
          key: key, value: "given", allowed: "left out: the system pays no rewards"))
    }
    return self
  }

  package func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    for t in trajectory.rewards.indices {
      values[t] -=
        scale * ramp.factor(at: t, horizon: trajectory.horizon) * trajectory.rewards[t]
    }
  }

  /// Values alone: slopes come from all rollouts of a condition together.
  package func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    addValues(to: expansion.values, scale: scale, along: trajectory, in: condition)
  }
}

extension SumCost {
  /// The mean of the expansions, with a quadratic fitted to rewards where there is a term for them.
  public func quadratic(
    over trajectories: [Trajectory], in condition: Condition
  ) throws(CostError) -> QuadraticCost {
    addingRewards(
      to: try meanExpansion(over: trajectories, in: condition), over: trajectories)
  }

  /// A mean of expansions, with slopes and curvatures of the rewards.
  func addingRewards(to mean: QuadraticCost, over trajectories: [Trajectory]) -> QuadraticCost {
    let terms = entries.compactMap { entry in
      (entry.term.base as? RewardCost).map { (weight: entry.weight, ramp: $0.ramp) }
    }
    if terms.isEmpty { return mean }
    let factors = (0..<mean.horizon).map { t in
      terms.reduce(0) { $0 - $1.weight * $1.ramp.factor(at: t, horizon: mean.horizon) }
    }
    var sum = mean
    let fit = QuadraticFit(
      of: trajectories.map { zip(factors, $0.rewards).map { $0 * $1 } }, along: trajectories)
    fit.add(to: &sum)
    sum.explainedShare = fit.explainedShare
    return sum
  }
}
