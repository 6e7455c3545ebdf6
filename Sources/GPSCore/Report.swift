/// What one iteration did, for people and files; nothing of it travels to the next iteration.
///
/// Costs are in the unit of the task's cost, success rates from 0 to 1.
public struct Report: Sendable {
  /// The columns that a learner fills, in the order of the files.
  public struct Columns: Sendable, Equatable {
    /// Of `progress.csv`, after the iteration and the rollouts so far, before the seconds.
    public let progress: [Metric.Column]
    /// Of `conditions.csv`, after the iteration and the condition.
    public let conditions: [Metric.Column]
    /// The stages whose seconds are measured, in snake case: `seconds_<stage>` in `progress.csv`.
    public let stages: [String]
    /// Whether reports tell what each worker did when, for `workers.csv`.
    public let tellsActivities: Bool

    /// Columns.
    public init(
      progress: [Metric.Column], conditions: [Metric.Column], stages: [String],
      tellsActivities: Bool = false
    ) {
      self.progress = progress
      self.conditions = conditions
      self.stages = stages
      self.tellsActivities = tellsActivities
    }
  }

  /// From 0.
  public var iteration: Int
  /// Rollouts since the beginning of the run that were learned from or decided anything, discarded ones
  /// aside.
  public var rollouts: Int
  /// What the learner says of the iteration, by its own columns.
  public var metrics: [Metric]
  /// One entry per training condition, in the task's order.
  public var conditions: [ConditionReport]
  /// Noise-free rollouts of the policy that was learned last, in the training conditions; nil without a
  /// policy.
  public var policy: Evaluation?
  /// Whether that policy is the one that is kept.
  public var keepsPolicy = true
  /// Noise-free rollouts of the policy that is kept, in the test conditions; nil if there are none.
  public var test: Evaluation?
  /// Wall-clock seconds of the stages.
  public var seconds: StageSeconds
  /// What was out of the ordinary, one sentence each.
  public var notes: [String]
  /// What each worker did when, in the order of the ends; empty where a learner does not tell.
  public var activities: [WorkerActivity] = []

  /// A report.
  public init(
    iteration: Int, rollouts: Int, metrics: [Metric] = [], conditions: [ConditionReport],
    policy: Evaluation? = nil, test: Evaluation? = nil, seconds: StageSeconds = StageSeconds(),
    notes: [String] = []
  ) {
    self.iteration = iteration
    self.rollouts = rollouts
    self.metrics = metrics
    self.conditions = conditions
    self.policy = policy
    self.test = test
    self.seconds = seconds
    self.notes = notes
  }

  /// Mean of the mean costs of the conditions that have rollouts; NaN if none has.
  public var meanCost: Double {
    mean { $0.costs.isEmpty ? nil : $0.meanCost } ?? .nan
  }
  /// Share of successful training rollouts; nil if there are none.
  public var successRate: Double? {
    let successes = conditions.flatMap(\.successes)
    return successes.isEmpty ? nil : Double(successes.count { $0 }) / Double(successes.count)
  }
  /// Training rollouts of this iteration that failed and were discarded.
  public var discardedRollouts: Int {
    conditions.reduce(0) { $0 + $1.batch.discarded.count }
  }

  /// Mean over the conditions that have it; nil if none has.
  public func mean(of value: (ConditionReport) -> Double?) -> Double? {
    let values = conditions.compactMap(value)
    return values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
  }
}

/// What one worker did for some time.
public struct WorkerActivity: Sendable, Equatable {
  /// What.
  public enum Kind: String, Sendable, CaseIterable {
    /// A rollout to learn from.
    case rollout
    /// A rollout to judge a policy by.
    case evaluation
    /// The fit of dynamics and the local step of a condition.
    case localStep = "local step"
    /// Training of the global policy.
    case training
  }

  /// Who, such as "0", or "network".
  public var worker: String
  /// What.
  public var kind: Kind
  /// The condition's name; nil for what belongs to none.
  public var condition: String?
  /// Seconds since the workers began.
  public var start: Double
  /// Seconds since the workers began.
  public var end: Double

  /// What a worker did.
  public init(worker: String, kind: Kind, condition: String?, start: Double, end: Double) {
    self.worker = worker
    self.kind = kind
    self.condition = condition
    self.start = start
    self.end = end
  }
}

/// One condition's part of a report.
public struct ConditionReport: Sendable {
  /// The condition's name.
  public var name: String
  /// The training rollouts, for `trajectories.csv`.
  public var batch: RolloutBatch
  /// Cost of each of them.
  public var costs: [Double]
  /// Success of each of them; empty where the task judges none.
  public var successes: [Bool]
  /// How far each is from the threshold of success, positive for a success, in the order of `costs`; nil
  /// where the task does not know.
  public var margins: [Double?]
  /// What the learner says of the condition, by its own columns.
  public var metrics: [Metric]

  /// A report of one condition.
  public init(
    name: String, batch: RolloutBatch, costs: [Double] = [], successes: [Bool] = [],
    margins: [Double?] = [], metrics: [Metric] = []
  ) {
    self.name = name
    self.batch = batch
    self.costs = costs
    self.successes = successes
    self.margins = margins
    self.metrics = metrics
  }

  /// Mean cost of the training rollouts; NaN if there are none.
  public var meanCost: Double { costs.reduce(0, +) / Double(costs.count) }
  /// Sample standard deviation of their costs.
  public var costStandardDeviation: Double {
    guard costs.count > 1 else { return 0 }
    let mean = meanCost
    let sum = costs.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    return (sum / Double(costs.count - 1)).squareRoot()
  }
  /// Share of successful training rollouts; NaN if there are none, or none is judged.
  public var successRate: Double { share(of: successes) }
  /// Mean margin of success; nil where none is known.
  public var meanMargin: Double? { mean(of: margins) }
}

/// Rollouts of a policy, judged.
public struct Evaluation: Sendable {
  /// One entry per condition.
  public struct Entry: Sendable {
    /// The condition's name.
    public var condition: String
    /// Cost of each rollout that did not fail.
    public var costs: [Double]
    /// Success of each rollout; one that failed is none. Empty where the task judges none.
    public var successes: [Bool]
    /// How far each rollout that did not fail is from the threshold of success, positive for a success;
    /// nil where the task does not know.
    public var margins: [Double?]
    /// The rollouts themselves.
    public var batch: RolloutBatch

    /// The rollouts of one condition and their verdicts.
    public init(
      condition: String, costs: [Double], successes: [Bool], margins: [Double?] = [],
      batch: RolloutBatch
    ) {
      self.condition = condition
      self.costs = costs
      self.successes = successes
      self.margins = margins
      self.batch = batch
    }

    /// Mean cost of the rollouts that did not fail; NaN if all did.
    public var meanCost: Double { costs.reduce(0, +) / Double(costs.count) }
    /// Share of successful rollouts; one that failed is none. NaN where none is judged.
    public var successRate: Double { share(of: successes) }
    /// Mean margin of success; nil where none is known.
    public var meanMargin: Double? { mean(of: margins) }
  }
  /// One entry per condition.
  public var entries: [Entry]

  /// An evaluation of several conditions.
  public init(entries: [Entry]) { self.entries = entries }

  /// Share of successful rollouts over all conditions; NaN where none is judged.
  public var successRate: Double { share(of: entries.flatMap(\.successes)) }
  /// Mean margin of success over all conditions; nil where none is known.
  public var meanMargin: Double? { mean(of: entries.flatMap(\.margins)) }
  /// Wall-clock seconds of the rollouts, summed over them.
  package var rolloutSeconds: Double { entries.reduce(0) { $0 + $1.batch.seconds } }
  /// Mean cost over all conditions, of the rollouts that did not fail; NaN if all did.
  public var meanCost: Double {
    let costs = entries.flatMap(\.costs)
    return costs.reduce(0, +) / Double(costs.count)
  }
}

private func share(of successes: [Bool]) -> Double {
  Double(successes.count { $0 }) / Double(successes.count)
}

private func mean(of margins: [Double?]) -> Double? {
  let known = margins.compactMap { $0 }
  return known.isEmpty ? nil : known.reduce(0, +) / Double(known.count)
}

/// Wall-clock seconds of the stages of one iteration, each summed over workers; stages of different
/// conditions overlap, so that the parts of a parallel iteration may add to more than the total.
public struct StageSeconds: Sendable, Equatable {
  /// By stage, in snake case.
  public var stages: [String: Double]
  /// The whole iteration.
  public var total: Double

  /// Seconds by stage; no time at all without arguments.
  public init(_ stages: [String: Double] = [:], total: Double = 0) {
    self.stages = stages
    self.total = total
  }

  /// The seconds of a stage; 0 for one that was not measured.
  public subscript(stage: String) -> Double { stages[stage] ?? 0 }
}
