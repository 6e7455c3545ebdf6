public import GPSCore
import SearchParts

extension GuidedSearch {
  /// The numbers of its reports.
  public var columns: Report.Columns {
    Report.Columns(
      progress: [
        Metric.Column("mean_cost", title: "cost"),
        Metric.Column("predicted_improvement", title: "predicted"),
        Metric.Column("actual_improvement", title: "actual"),
        Metric.Column("kl_divergence", title: "KL"), Metric.Column("kl_bound"),
        Metric.Column("step_multiplier"),
        Metric.Column("policy_mean_cost", title: learnsPolicy ? "policy" : nil),
      ]
        + [
          "policy_success_rate", "best_policy_iteration", "best_policy_mean_cost",
          "best_policy_success_rate", "failed_tries", "test_mean_cost", "test_success_rate",
          "distillation_loss", "unexplained_share", "discarded_rollouts",
        ].map { Metric.Column($0) } + IterationFacts.columns.map { Metric.Column($0) }
        + (searchesStart ? [Metric.Column("model_rollouts", title: "model rollouts")] : [])
        + [Metric.Column("utilization", title: "utilization")],
      conditions: [
        "mean_cost", "cost_standard_deviation", "predicted_improvement", "actual_improvement",
        "kl_divergence", "kl_bound", "step_multiplier",
      ].map { Metric.Column($0) } + local.columns + link.columns
        + [
          "model_samples", "status", "success_rate", "success_margin", "policy_cost",
          "policy_success", "policy_success_margin",
        ].map { Metric.Column($0) } + ConditionFacts.columns.map { Metric.Column($0) },
      stages: (searchesStart ? ["start"] : []) + [
        "rollouts", "dynamics", "local_optimization", "global_policy", "evaluation",
      ])
  }

  /// Whether iteration 0 begins with a search on known dynamics, whose rollouts of the model are counted apart.
  package var searchesStart: Bool { start?.takesSearch ?? false }

  /// The report of an iteration.
  ///
  /// - Parameters:
  ///   - next: the state after it.
  ///   - steps: as they ended.
  ///   - trial: what was learned.
  ///   - test: the policy that is kept, in the test conditions.
  ///   - failures: tries that were worse.
  ///   - seconds: where they went.
  ///   - utilization: rollout seconds over worker seconds.
  ///   - modelRollouts: of the search for a start.
  /// - Returns: the report, with what is worth saying of it.
  package func report(
    on next: State, _ steps: [Step], _ trial: Trial, test: Evaluation?, failures: Int,
    seconds: StageSeconds, utilization: Double?, modelRollouts: Int = 0
  ) -> Report {
    let (policy, best) = (trial.evaluation, next.bestEvidence)
    let facts = facts(of: steps, trial, on: next)
    var report = Report(
      iteration: next.iteration - 1, rollouts: next.rollouts,
      conditions: steps.map(\.report), policy: policy, test: test, seconds: seconds,
      notes: steps.flatMap(\.notes) + trial.notes)
    report.keepsPolicy = best?.iteration == report.iteration
    for (i, step) in steps.enumerated() {
      let own = report.conditions[i]
      let entry = policy?.entries.first { $0.condition == own.name }
      report.conditions[i].metrics =
        [
          Metric("mean_cost", own.meanCost),
          Metric("cost_standard_deviation", own.costStandardDeviation),
          Metric("predicted_improvement", step.judgement.predictedImprovement),
          Metric("actual_improvement", step.judgement.actualImprovement),
          Metric("kl_divergence", step.outcome?.divergence ?? 0),
          Metric("kl_bound", step.judgement.divergenceBound),
          Metric("step_multiplier", step.next.stepMultiplier),
        ] + (step.outcome?.metrics ?? []) + link.metrics(step.next.link) + [
          Metric("model_samples", step.imagined.count),
          Metric("status", step.status),
          Metric("success_rate", own.successRate), Metric("success_margin", own.meanMargin),
          Metric("policy_cost", entry?.meanCost), Metric("policy_success", entry?.successRate),
          Metric("policy_success_margin", entry?.meanMargin),
        ] + facts.entries[i].facts.metrics
    }
    report.metrics =
      [Metric("mean_cost", report.meanCost)]
      + [
        "predicted_improvement", "actual_improvement", "kl_divergence", "kl_bound",
        "step_multiplier",
      ].map { name in Metric(name, report.mean { $0.metrics[name] }) } + [
        Metric("policy_mean_cost", policy?.meanCost),
        Metric("policy_success_rate", policy?.successRate),
        Metric("best_policy_iteration", best.map { Double($0.iteration) }),
        Metric("best_policy_mean_cost", best?.meanCost),
        Metric("best_policy_success_rate", best?.successRate), Metric("failed_tries", failures),
        Metric("test_mean_cost", test?.meanCost), Metric("test_success_rate", test?.successRate),
        Metric("distillation_loss", trial.loss),
        Metric("unexplained_share", trial.unexplainedShare),
        Metric("discarded_rollouts", report.discardedRollouts),
      ] + facts.metrics + (searchesStart ? [Metric("model_rollouts", modelRollouts)] : [])
      + [Metric("utilization", utilization)]
    return report
  }
}

/// The wall-clock time since it was last looked at.
struct Stopwatch {
  private var last = ContinuousClock.now

  /// Seconds since the last lap, or the beginning.
  mutating func lap() -> Double {
    let now = ContinuousClock.now
    defer { last = now }
    return (now - last).inSeconds
  }
}

/// Wall-clock seconds of the stages of an iteration.
struct StageTimes {
  private var whole = Stopwatch()
  private var seconds: [String: Double] = [:]

  /// Adds the time that a stage takes.
  mutating func measure<Result>(
    _ stage: String, _ body: () async throws -> Result
  ) async rethrows -> Result {
    var stopwatch = Stopwatch()
    let result = try await body()
    seconds[stage, default: 0] += stopwatch.lap()
    return result
  }

  /// All stages, those that the steps measured themselves included.
  mutating func total<Local, Link>(of steps: [LocalStep<Local, Link>]) -> StageSeconds {
    StageSeconds(of: steps, and: seconds, total: whole.lap())
  }
}

extension StageSeconds {
  /// Seconds of the stages that steps measured themselves, and of others.
  package init<Local, Link>(
    of steps: [LocalStep<Local, Link>], and others: [String: Double], total: Double
  ) {
    self.init(others, total: total)
    stages["rollouts"] = steps.reduce(0) { $0 + $1.batch.seconds }
    stages["dynamics"] = steps.reduce(0) { $0 + $1.dynamicsSeconds }
    stages["local_optimization"] = steps.reduce(0) { $0 + $1.optimizationSeconds }
  }
}
