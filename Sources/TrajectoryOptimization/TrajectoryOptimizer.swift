public import GPSCore
public import LQR
import LinearAlgebra
public import Sim
public import Statistics

/// Iterative LQR on known dynamics, as a learner: a trajectory and a feedback law about it for every
/// training condition.
///
/// Iteration 0 rolls out the initial controllers; each later one is one of iterative LQR, in all
/// conditions that are not done; the last one rolls out the feedback laws on the plant itself.
public struct TrajectoryOptimizer<System: ControlTask>: Learner {
  /// What travels from one iteration to the next.
  public struct State: LearnerState {
    /// Iterations done.
    public var iteration = 0
    /// Rollouts taken.
    public var rollouts = 0
    /// One search per training condition; none before iteration 0.
    public var searches: [ILQR.Progress] = []

    /// Whether no search goes on.
    public var isFinished: Bool {
      !searches.isEmpty && searches.allSatisfy { $0.status != nil }
    }

    /// The state before the first iteration.
    public init() {}

    /// Writes the parts.
    public func store(in writer: inout ValueWriter) {
      writer.put("iteration", text: iteration)
      writer.put("rollouts", text: rollouts)
      writer.put("searches", text: searches.count)
      for (index, search) in searches.enumerated() {
        writer.within("searches.\(index)") { search.store(in: &$0) }
      }
    }

    /// Reads the parts, all of them checked.
    public init(stored reader: ValueReader) throws(StoredValueError) {
      iteration = try reader.count("iteration")
      rollouts = try reader.count("rollouts")
      let count = try reader.count("searches")
      if count > reader.file.tensors.count {
        throw StoredValueError("it holds fewer arrays than \(count) searches have")
      }
      for index in 0..<count {
        searches.append(try ILQR.Progress(stored: reader.within("searches.\(index)")))
      }
    }
  }

  /// A status for every row of a condition.
  private enum Status: String {
    case searching = ""
    case converged, iterationsExhausted, indefinite, noImprovement

    init(_ status: ILQR.Status?) {
      self =
        switch status {
        case nil: .searching
        case .converged: .converged
        case .iterationsExhausted: .iterationsExhausted
        case .indefinite: .indefinite
        case .noImprovement: .noImprovement
        }
    }
  }

  /// What it is called.
  public let name = "ilqr"
  /// What to optimise.
  public let task: System
  /// How.
  public let ilqr: ILQR
  /// Where the searches start, one per training condition.
  public let initialControllers: [LinearGaussianController]
  /// The root of all randomness.
  public let stream: RandomStream
  /// Concurrent workers; results do not depend on it.
  public let workers: Int

  /// An optimiser.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed; `UnknownDynamics`, or what
  ///   the task throws when its dynamics cannot be made ready.
  public init(
    _ task: System, from initialControllers: [LinearGaussianController],
    options: ILQR.Options = ILQR.Options(), seed: UInt64 = 0, workers: Int = 1
  ) throws {
    precondition(
      initialControllers.count == task.conditions.count,
      "\(initialControllers.count) controllers for \(task.conditions.count) conditions")
    self.task = task
    ilqr = ILQR(options: try options.validated())
    self.initialControllers = initialControllers
    stream = RandomStream(seed: seed)
    self.workers = workers
    if let condition = task.conditions.first, try task.knownDynamics(in: condition) == nil {
      throw UnknownDynamics(task: task.name)
    }
  }

  /// Iterations at most: that of the start, and those of iterative LQR.
  public var iterations: Int { ilqr.options.maxIterations + 1 }
  /// There is no policy but the feedback laws.
  public var learnsPolicy: Bool { false }
  /// The numbers of its reports.
  public var columns: Report.Columns {
    Report.Columns(
      progress: [
        Metric.Column("mean_cost", title: "cost"),
        Metric.Column("predicted_improvement", title: "predicted"),
        Metric.Column("actual_improvement", title: "actual"), Metric.Column("success_rate"),
        Metric.Column("discarded_rollouts"),
      ],
      conditions: [
        "cost", "predicted_improvement", "actual_improvement", "step", "regularization",
        "lqr_passes", "iterations", "status", "rollout_cost", "success",
        "success_margin",
      ].map { Metric.Column($0) },
      stages: ["rollouts", "local_optimization"])
  }
  /// The state before the first iteration.
  public var initialState: State { State() }

  /// The feedback laws are controllers of single conditions, not a policy.
  public func policy(of state: State) -> LinearGaussianController? { nil }

  /// The run ends when no search goes on.
  public func isFinished(_ state: State) -> Bool { state.isFinished }

  /// Why the searches cannot go on from a state, as a clause; nil if they can.
  public func mismatch(with state: State) -> String? {
    let d = task.dimensions
    let fits =
      state.iteration == 0
      || state.searches.count == task.conditions.count
        && state.searches.allSatisfy {
          $0.states.rows == d.state && $0.controls.rows == d.control
            && $0.controls.columns == d.horizon
        }
    return fits
      ? nil
      : "its searches are not of \(task.conditions.count) conditions with \(d.state) states, "
        + "\(d.control) controls and \(d.horizon) steps"
  }

  /// One iteration.
  ///
  /// - Throws: `OptimizationError`, an error of the simulator's, or `CancellationError`.
  public func advancing(_ state: consuming State) async throws -> (next: State, report: Report) {
    let began = ContinuousClock.now
    var next = state
    var seconds = StageSeconds()
    var batches: [RolloutBatch] = []
    var lines = [ILQR.Iteration?](repeating: nil, count: task.conditions.count)
    if next.iteration == 0 {
      batches = try await rollOut(initialControllers, iteration: 0)
      next.searches = try zip(task.conditions, batches).map { condition, batch in
        guard let guess = batch.trajectories.first else {
          throw OptimizationError(
            condition: condition.name, reason: batch.discarded.last?.reason ?? "no rollout")
        }
        return ilqr.progress(from: guess)
      }
    } else {
      let searches = next.searches
      // Conditions first; workers left over share the work within one.
      let inner = max(1, workers / searches.count)
      let turns = try await parallelMap(searches.count, workers: workers) { i in
        try await advance(searches[i], in: task.conditions[i], workers: inner)
      }
      next.searches = turns.map(\.progress)
      lines = turns.map(\.line)
      seconds.stages["local_optimization"] = (ContinuousClock.now - began).inSeconds
      if next.isFinished {
        let controllers = try next.searches.map {
          try $0.controller(covariance: .identity(task.dimensions.control))
        }
        batches = try await rollOut(controllers, iteration: 1)
      }
    }
    next.iteration += 1
    next.rollouts += batches.reduce(0) { $0 + $1.trajectories.count }
    seconds.stages["rollouts"] = batches.reduce(0) { $0 + $1.seconds }
    seconds.total = (ContinuousClock.now - began).inSeconds
    return (next, report(on: next, lines, batches, seconds))
  }

  private func advance(
    _ search: ILQR.Progress, in condition: Condition, workers: Int
  ) async throws -> (progress: ILQR.Progress, line: ILQR.Iteration?) {
    if search.status != nil { return (search, nil) }
    guard let dynamics = try task.knownDynamics(in: condition) else {
      throw UnknownDynamics(task: task.name)
    }
    do {
      return try await ilqr.advancing(
        search, on: dynamics, cost: task.cost, in: condition, limits: task.controlLimits,
        workers: workers)
    } catch let error as ILQRError {
      throw OptimizationError(condition: condition.name, reason: "\(error)")
    }
  }

  /// One noise-free rollout of each condition's controller, in what its draws are about.
  private func rollOut(
    _ controllers: [LinearGaussianController], iteration: Int
  ) async throws -> [RolloutBatch] {
    try await collectRollouts(
      of: task, in: task.conditions.map(\.nominal), under: controllers,
      plan: RolloutPlan(
        iteration: iteration, samples: 1, purpose: .evaluation, noise: nil,
        initialStateNoise: false, options: RolloutOptions(maxAttempts: 1), workers: workers),
      stream: stream)
  }

  private func report(
    on next: State, _ lines: [ILQR.Iteration?], _ batches: [RolloutBatch], _ seconds: StageSeconds
  ) -> Report {
    var report = Report(
      iteration: next.iteration - 1, rollouts: next.rollouts, conditions: [], seconds: seconds)
    for (i, condition) in task.conditions.enumerated() {
      let (search, line) = (next.searches[i], lines[i])
      let batch = batches.isEmpty ? RolloutBatch(condition: i, trajectories: []) : batches[i]
      var own = ConditionReport(name: condition.name, batch: batch)
      let verdicts = batch.trajectories.map { task.verdict(on: $0, in: condition) }
      own.costs = verdicts.map(\.cost)
      own.successes = verdicts.compactMap(\.isSuccess)
      own.margins = verdicts.map(\.margin)
      own.metrics = [
        Metric("cost", search.cost ?? own.meanCost),
        Metric("predicted_improvement", line?.predictedImprovement),
        Metric("actual_improvement", line?.actualImprovement), Metric("step", line?.step),
        Metric("regularization", line?.regularization),
        Metric("lqr_passes", line.map { Double($0.passes) }),
        Metric("iterations", Double(search.iterations)),
        Metric("status", Status(search.status)), Metric("rollout_cost", own.meanCost),
        Metric("success", own.successRate), Metric("success_margin", own.meanMargin),
      ]
      report.conditions.append(own)
      if let status = search.status, status != .converged, next.isFinished {
        report.notes.append("\(condition.name): \(status.rawValue), cost \(search.cost ?? .nan)")
      }
      // No rollout, no cost: a NaN, which is no further away than anything.
      let cost = own.meanCost
      if next.isFinished, let claimed = search.cost,
        abs(claimed - cost) > 1e-6 * max(abs(claimed), abs(cost))
      {
        report.notes.append(
          "\(condition.name): the search ended at cost \(claimed), but rolled out its controls cost "
            + "\(cost): the plant does not do what its known dynamics say")
      }
    }
    report.metrics =
      [
        Metric("mean_cost", report.mean { $0.metrics["cost"] }),
        Metric("success_rate", report.successRate),
        Metric("discarded_rollouts", report.discardedRollouts),
      ]
      + ["predicted_improvement", "actual_improvement"].map { name in
        Metric(name, report.mean { $0.metrics[name] })
      }
    return report
  }
}

/// Why a trajectory cannot be optimised.
public struct OptimizationError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The condition's name.
  public let condition: String
  /// Why, as a clause.
  public let reason: String

  /// One sentence for people.
  public var description: String { "condition \(condition): \(reason)" }
}
