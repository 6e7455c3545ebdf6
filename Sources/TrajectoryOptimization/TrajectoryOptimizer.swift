public import GPSCore
public import LQR
import LinearAlgebra
import Sim
public import Statistics

/// Iterative LQR on known dynamics, as a learner: a trajectory and a feedback law about it for every
/// training condition.
///
/// Iteration 0 rolls out the initial controllers and, for tasks whose controls have limits, samples further
/// guesses (`ILQR.Sampling`); each later one is one of iterative LQR, for all guesses of all conditions that
/// are not done; the last one rolls out the feedback laws on the plant itself. What counts of a condition
/// is the cheapest of its searches.
public struct TrajectoryOptimizer<System: ControlTask>: Learner {
  /// What travels from one iteration to the next.
  public struct State: LearnerState {
    /// Iterations done.
    public var iteration = 0
    /// Rollouts taken.
    public var rollouts = 0
    /// Rollouts of the known dynamics taken: samples, and steps that were tried; none of the plant.
    public var modelRollouts = 0
    /// For each training condition the searches from its guesses, that from the initial controller first;
    /// none before iteration 0.
    public var candidates: [[ILQR.Progress]] = []

    /// The cheapest search of each training condition; none before iteration 0.
    public var searches: [ILQR.Progress] { candidates.map { $0[Self.cheapest($0)] } }

    /// Whether no search goes on.
    public var isFinished: Bool {
      !candidates.isEmpty && candidates.joined().allSatisfy { $0.status != nil }
    }

    /// The state before the first iteration.
    public init() {}

    /// The first of the cheapest.
    static func cheapest(_ searches: [ILQR.Progress]) -> Int {
      searches.indices.min { a, b in
        (searches[a].cost ?? .infinity, a) < (searches[b].cost ?? .infinity, b)
      } ?? 0
    }

    /// Writes the parts.
    public func store(in writer: inout ValueWriter) {
      writer.put("iteration", text: iteration)
      writer.put("rollouts", text: rollouts)
      writer.put("model_rollouts", text: modelRollouts)
      writer.put("searches", text: candidates.count)
      for (index, searches) in candidates.enumerated() {
        writer.put("candidates.\(index)", text: searches.count)
        for (candidate, search) in searches.enumerated() {
          writer.within("searches.\(index).\(candidate)") { search.store(in: &$0) }
        }
      }
    }

    /// Reads the parts, all of them checked.
    public init(stored reader: ValueReader) throws(StoredValueError) {
      iteration = try reader.count("iteration")
      rollouts = try reader.count("rollouts")
      modelRollouts = try reader.count("model_rollouts")
      for index in 0..<(try reader.count("searches", of: "searches")) {
        let count = try reader.count("candidates.\(index)", of: "searches")
        if count == 0 { throw StoredValueError("a condition has no search") }
        var searches: [ILQR.Progress] = []
        for candidate in 0..<count {
          searches.append(
            try ILQR.Progress(stored: reader.within("searches.\(index).\(candidate)")))
        }
        candidates.append(searches)
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
  /// How guesses beside the initial controllers' are sampled.
  public let sampling: ILQR.Sampling
  /// Where the searches start, one per training condition.
  public let initialControllers: [LinearGaussianController]
  /// The root of all randomness.
  public let stream: RandomStream
  /// Concurrent workers; results do not depend on it.
  public let workers: Int

  /// An optimiser.
  ///
  /// - Parameters:
  ///   - task: what to optimise.
  ///   - initialControllers: where the searches start, one per training condition.
  ///   - options: how they go.
  ///   - sampling: how further guesses are sampled; where all controls have limits, they are by default.
  ///   - seed: of the sampling.
  ///   - workers: how much runs at once; results do not depend on it.
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed; `UnknownDynamics`, or what
  ///   the task throws when its dynamics cannot be made ready.
  public init(
    _ task: System, from initialControllers: [LinearGaussianController],
    options: ILQR.Options = ILQR.Options(), sampling: ILQR.Sampling = ILQR.Sampling(),
    seed: UInt64 = 0, workers: Int = 1
  ) throws {
    precondition(
      initialControllers.count == task.conditions.count,
      "\(initialControllers.count) controllers for \(task.conditions.count) conditions")
    self.task = task
    ilqr = ILQR(options: try options.validated())
    self.sampling = try sampling.validated()
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
        Metric.Column("model_rollouts", title: "model rollouts"),
        Metric.Column("discarded_rollouts"),
      ],
      conditions: [
        "cost", "predicted_improvement", "actual_improvement", "step", "regularization",
        "lqr_passes", "searches", "iterations", "status", "rollout_cost", "success",
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
      || state.candidates.count == task.conditions.count
        && state.candidates.joined().allSatisfy {
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
      let rollouts = try zip(task.conditions, batches).map { condition, batch in
        guard let guess = batch.trajectories.first else {
          throw OptimizationError(
            condition: condition.name, reason: batch.discarded.last?.reason ?? "no rollout")
        }
        return guess
      }
      let sampled = ContinuousClock.now
      let inner = max(1, workers / rollouts.count)
      let guesses = try await parallelMap(rollouts.count, workers: workers) { i in
        try await sample(about: rollouts[i], condition: i, workers: inner)
      }
      next.candidates = zip(rollouts, guesses).map { rollout, sampled in
        [ilqr.progress(from: rollout)]
          + sampled.guesses.map { ilqr.progress(from: $0.controls, states: $0.states) }
      }
      next.modelRollouts = guesses.reduce(0) { $0 + $1.rollouts }
      seconds.stages["local_optimization"] = (ContinuousClock.now - sampled).inSeconds
    } else {
      lines = try await improve(&next)
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

  /// Guesses beside a rollout of the initial controller.
  private func sample(
    about rollout: Trajectory, condition index: Int, workers: Int
  ) async throws -> (guesses: [ILQR.Guess], rollouts: Int) {
    let limits = task.controlLimits
    if sampling.tries(within: limits) == 0 { return ([], 0) }
    let condition = task.conditions[index]
    guard let dynamics = try task.knownDynamics(in: condition) else {
      throw UnknownDynamics(task: task.name)
    }
    return try await ilqr.guesses(
      sampling, dynamics, cost: task.cost, in: condition, from: rollout.states.column(0),
      about: rollout.controls,
      deviations: sampling.deviations(of: initialControllers[index], within: limits),
      limits: limits, stream: stream.child(.custom, index), workers: workers)
  }

  /// One iteration of every search that goes on.
  ///
  /// - Returns: for each condition the line of the log of its cheapest search.
  private func improve(_ state: inout State) async throws -> [ILQR.Iteration?] {
    let before = state.candidates
    let jobs = before.indices.flatMap { i in
      before[i].indices.filter { before[i][$0].status == nil }.map { (condition: i, candidate: $0) }
    }
    // Searches first; workers left over share the work within one.
    let inner = max(1, workers / jobs.count)
    let turns = try await parallelMap(jobs.count, workers: workers) { index in
      let (i, j) = jobs[index]
      return try await advance(before[i][j], in: task.conditions[i], workers: inner)
    }
    var lines = before.map { $0.map { _ in ILQR.Iteration?.none } }
    var failures: [Int: [Int: ILQRError]] = [:]
    for (job, turn) in zip(jobs, turns) {
      switch turn {
      case .success(let turn):
        state.candidates[job.condition][job.candidate] = turn.progress
        lines[job.condition][job.candidate] = turn.line
        state.modelRollouts += turn.line?.trials ?? 0
      case .failure(let error): failures[job.condition, default: [:]][job.candidate] = error
      }
    }
    for (i, failed) in failures {
      // A guess that fails is given up, as long as there is another.
      guard failed.count < before[i].count else {
        let reason = failed.min { $0.key < $1.key }.map { "\($0.value)" } ?? ""
        throw OptimizationError(condition: task.conditions[i].name, reason: reason)
      }
      for j in failed.keys.sorted(by: >) {
        state.candidates[i].remove(at: j)
        lines[i].remove(at: j)
      }
    }
    return zip(state.candidates, lines).map { $1[State.cheapest($0)] }
  }

  private func advance(
    _ search: ILQR.Progress, in condition: Condition, workers: Int
  ) async throws -> Result<(progress: ILQR.Progress, line: ILQR.Iteration?), ILQRError> {
    guard let dynamics = try task.knownDynamics(in: condition) else {
      throw UnknownDynamics(task: task.name)
    }
    do {
      return .success(
        try await ilqr.advancing(
          search, on: dynamics, cost: task.cost, in: condition, limits: task.controlLimits,
          workers: workers))
    } catch let error as ILQRError {
      return .failure(error)
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
      let candidates = next.candidates[i]
      let (search, line) = (candidates[State.cheapest(candidates)], lines[i])
      // Cheapest so far is not found while others go on.
      let status = candidates.allSatisfy { $0.status != nil } ? search.status : nil
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
        Metric("searches", candidates.count { $0.status == nil }),
        Metric("iterations", Double(search.iterations)), Metric("status", Status(status)),
        Metric("rollout_cost", own.meanCost),
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
        Metric("model_rollouts", next.modelRollouts),
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
