public import GPSCore

/// What one iteration did, for people and files; nothing of it travels to the next iteration.
///
/// Costs and improvements are in the unit of the task's cost, success rates from 0 to 1.
public struct Report: Sendable {
  /// From 0.
  public var iteration: Int
  /// Training rollouts taken since the beginning of the run, discarded ones aside.
  public var rollouts: Int
  /// One entry per training condition, in the task's order.
  public var conditions: [ConditionReport]
  /// Noise-free rollouts of the global policy in the training conditions; nil without a policy.
  public var policy: Evaluation?
  /// Noise-free rollouts of the global policy in the test conditions; nil if there are none.
  public var test: Evaluation?
  /// Precision-weighted loss of the network after training, averaged over its training set, in units
  /// of normalised precisions; nil without a policy.
  public var distillationLoss: Double?
  /// Wall-clock seconds of each stage.
  public var seconds: StageSeconds
  /// What was out of the ordinary, one sentence each.
  public var notes: [String]
  /// The training rollouts, for `trajectories.csv`.
  public var batches: [RolloutBatch]

  /// Mean of the mean costs of the conditions that have rollouts; NaN if none has.
  public var meanCost: Double {
    optionalMean { $0.costs.isEmpty ? nil : $0.meanCost } ?? .nan
  }
  /// Mean over conditions of the improvement that the models predicted for the previous step; nil if
  /// no condition has one.
  public var predictedImprovement: Double? { optionalMean(of: \.predictedImprovement) }
  /// Mean over conditions of the improvement that the previous step brought; nil likewise.
  public var actualImprovement: Double? { optionalMean(of: \.actualImprovement) }
  /// Mean over conditions of the new step's KL divergence [nats per trajectory].
  public var divergence: Double { mean(of: \.divergence) }
  /// Mean over conditions of the bound on it [nats per trajectory].
  public var divergenceBound: Double { mean(of: \.divergenceBound) }
  /// Mean over conditions of the step multiplier.
  public var stepMultiplier: Double { mean(of: \.stepMultiplier) }
  /// Training rollouts of this iteration that failed and were discarded.
  public var discardedRollouts: Int { batches.reduce(0) { $0 + $1.discarded.count } }

  private func mean(of value: (ConditionReport) -> Double) -> Double {
    conditions.reduce(0) { $0 + value($1) } / Double(max(1, conditions.count))
  }

  private func optionalMean(of value: (ConditionReport) -> Double?) -> Double? {
    let values = conditions.compactMap(value)
    return values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
  }
}

/// One condition's part of a report.
public struct ConditionReport: Sendable {
  /// The condition's name.
  public var name: String
  /// Cost of each training rollout.
  public var costs: [Double]
  /// Success of each training rollout.
  public var successes: [Bool]
  /// Improvement that the model predicted for the previous step; nil if there was none (in the first
  /// iteration, or after a failure) or if no rollout is left to judge it by.
  public var predictedImprovement: Double?
  /// Improvement that the previous step brought; nil together with the predicted one.
  public var actualImprovement: Double?
  /// KL divergence of the new controller from its reference [nats per trajectory]; 0 if the previous
  /// controller was kept.
  public var divergence: Double
  /// The bound on it [nats per trajectory]; 0 if the local optimisation was not reached.
  public var divergenceBound: Double
  /// The factor on the KL step ε in this iteration.
  public var stepMultiplier: Double
  /// The dual variable η of the KL constraint [cost per nat].
  public var dual: Double
  /// Backward passes of the search for η.
  public var passes: Int
  /// How the local optimisation ended: a `KLConstrainedLQR.Status`, or "kept previous controller".
  public var status: String

  /// Mean cost of the training rollouts; NaN if there are none.
  public var meanCost: Double { costs.reduce(0, +) / Double(costs.count) }
  /// Sample standard deviation of their costs.
  public var costStandardDeviation: Double {
    guard costs.count > 1 else { return 0 }
    let mean = meanCost
    let sum = costs.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    return (sum / Double(costs.count - 1)).squareRoot()
  }
  /// Share of successful training rollouts.
  public var successRate: Double {
    Double(successes.filter { $0 }.count) / Double(max(1, successes.count))
  }
}

/// Rollouts of the global policy, judged.
public struct Evaluation: Sendable {
  /// One entry per condition.
  public struct Entry: Sendable {
    /// The condition's name.
    public var condition: String
    /// Cost of each rollout.
    public var costs: [Double]
    /// Success of each rollout.
    public var successes: [Bool]
    /// The rollouts themselves.
    public var batch: RolloutBatch

    /// Mean cost of the rollouts that did not fail; NaN if all did.
    public var meanCost: Double { costs.reduce(0, +) / Double(costs.count) }
    /// Share of successful rollouts; one that failed is none.
    public var successRate: Double {
      Double(successes.count { $0 }) / Double(max(1, successes.count))
    }
  }
  /// One entry per condition.
  public var entries: [Entry]

  /// Share of successful rollouts over all conditions.
  public var successRate: Double {
    let successes = entries.flatMap(\.successes)
    return Double(successes.filter { $0 }.count) / Double(max(1, successes.count))
  }
  /// Mean cost over all conditions, of the rollouts that did not fail; NaN if all did.
  public var meanCost: Double {
    let costs = entries.flatMap(\.costs)
    return costs.reduce(0, +) / Double(costs.count)
  }
}

/// Wall-clock seconds of each stage of one iteration; stages of different conditions overlap, so the
/// parts of a parallel iteration may add to more than the total.
public struct StageSeconds: Sendable {
  /// Training rollouts, summed over workers.
  public var rollouts = 0.0
  /// Dynamics fits and policy linearisations, summed over workers.
  public var dynamics = 0.0
  /// Local optimisation, summed over workers.
  public var localOptimization = 0.0
  /// Training of the network.
  public var globalPolicy = 0.0
  /// Evaluation rollouts.
  public var evaluation = 0.0
  /// The whole iteration.
  public var total = 0.0

  /// No time at all.
  public init() {}
}
