import Foundation
import GPSCore
import LinearAlgebra
import Sim
import Statistics

/// What an experiment comes to before anything is learned: see `LoadedExperiment.check(workers:)`.
public struct ExperimentCheck: Sendable {
  /// A table of texts under a heading of its own.
  public struct Table: Sendable {
    /// What it tells.
    public var title: String
    /// Names of the columns; the first is left-aligned, the others are numbers.
    public var columns: [String]
    /// A text for each column.
    public var rows: [[String]]
  }

  /// Names and values that are no table: the system, the horizon and so on.
  public internal(set) var facts: [(name: String, value: String)] = []
  /// Controls, state, observation, conditions, and the first cost by term.
  public internal(set) var tables: [Table] = []
  /// Why it cannot run, a sentence each; empty if it can.
  public internal(set) var problems: [String] = []
  /// What may not be meant, a sentence each.
  public internal(set) var warnings: [String] = []
}

extension LoadedExperiment {
  /// Tries the experiment without learning anything: one rollout of each initial controller without noise, the rollouts
  /// of the first iteration, and what `TaskChecker` finds.
  ///
  /// - Parameter workers: how many rollouts at once; the result does not depend on it.
  /// - Returns: what was found.
  /// - Throws: `InvalidOption` when settings do not go together, `CancellationError`.
  public func check(workers: Int = 1) async throws -> ExperimentCheck {
    let learner = try learner(workers: 1)
    return try await check(task, learner: learner.name, workers: workers)
  }

  /// The rollouts of a run's first iteration.
  func firstRollouts(
    on task: some ControlTask, workers: Int, options: RolloutOptions? = nil
  ) async throws -> [RolloutBatch] {
    let search = experiment.search
    return try await collectRollouts(
      of: task, in: task.conditions, under: initialControllers,
      plan: RolloutPlan(
        iteration: 0, samples: search.samples, noise: search.noise,
        options: options ?? search.rollouts, workers: workers),
      stream: RandomStream(seed: experiment.seed))
  }

  private func check(
    _ task: some ControlTask, learner: String, workers: Int
  ) async throws -> ExperimentCheck {
    let quiet = try await collectRollouts(
      of: task, in: task.conditions, under: initialControllers,
      plan: RolloutPlan(
        iteration: 0, samples: 1, purpose: .evaluation, noise: nil, initialStateNoise: false,
        options: RolloutOptions(
          maxAttempts: 1, timeLimit: experiment.search.rollouts.timeLimit), workers: workers),
      stream: RandomStream(seed: experiment.seed))
    let noisy = try await firstRollouts(on: task, workers: workers)
    var check = ExperimentCheck()
    check.facts = facts(of: task, learner)
    check.tables = [controlTable(task), stateTable(task, quiet, noisy)]
    if let table = observationTable(task, quiet) { check.tables.append(table) }
    check.tables.append(costTable(task, quiet))
    judge(task, quiet, noisy, &check)
    judgeModel(task, &check)
    if check.problems.isEmpty {
      var checker = TaskChecker(task)
      checker.controlsByCondition = quiet.map { $0.trajectories.first?.controls }
      if case .known = experiment.dynamics {} else { checker.checksKnownDynamics = false }
      check.warnings += checker.check().problems.map { "\($0)" }
    }
    return check
  }

  // MARK: - What it is

  private func facts(of task: some ControlTask, _ learner: String) -> [(String, String)] {
    let (d, search) = (task.dimensions, experiment.search)
    var facts: [(String, String)] = []
    if let mujoco = task.underlying(MuJoCoTask.self) {
      let model = mujoco.interface.model
      facts.append(("model", model.source))
      facts.append(
        (
          "simulator",
          "MuJoCo \(MuJoCoVersion.current): \(counted(model.jointNames.count, "joint")), "
            + "\(mujoco.interface.substeps) steps of \(model.timestep) s per control"
        ))
    }
    if let process = task.underlying(ProcessTask.self) {
      facts.append(("environment", process.system.title))
    }
    let seconds = Double(d.horizon) * task.controlPeriod
    facts.append(
      ("horizon", "\(d.horizon) controls of \(text(task.controlPeriod)) s: \(text(seconds)) s"))
    func names(_ conditions: [Condition]) -> String {
      "\(conditions.count): " + conditions.prefix(12).map(\.name).joined(separator: ", ")
        + (conditions.count > 12 ? " and \(conditions.count - 12) more" : "")
    }
    facts.append(("conditions", names(task.conditions)))
    if !task.testConditions.isEmpty {
      facts.append(("test conditions", names(task.testConditions)))
    }
    facts.append(
      (
        "sizes",
        "\(counted(d.state, "state")), \(counted(d.control, "control")), "
          + "\(counted(d.observation, "observation")), \(counted(d.points, "point"))"
      ))
    if let why = start.why {
      facts.append(
        ("initial controller", "\(start.made.takesSearch ? "optimize" : "constant"): \(why)"))
    }
    let rollouts = search.samples * task.conditions.count
    facts.append(
      (
        "learner",
        "\(learner): \(search.iterations) iterations of \(rollouts) training rollouts, "
          + "\(counted(search.iterations * rollouts, "rollout")) and "
          + "\(text(Double(search.iterations * rollouts) * seconds)) s of the system's time in all"
      ))
    return facts
  }

  private func controlTable(_ task: some ControlTask) -> ExperimentCheck.Table {
    let controller = initialControllers[0]
    let (limits, start) = (task.controlLimits, startState(task))
    let rows = (0..<task.dimensions.control).map { i in
      var mean = controller.offsets[i, 0]
      for (j, x) in start.enumerated() { mean += controller.gains[0][i, j] * x }
      let variance = controller.covariances[0][i, i]
      return [
        task.controlNames[i], bound(limits?.lower[i]), bound(limits?.upper[i]), text(mean),
        text(variance.squareRoot()),
      ]
    }
    return ExperimentCheck.Table(
      title: "controls, with the initial controller's first in \"\(task.conditions[0].name)\"",
      columns: ["control", "lower", "upper", "mean", "deviation"], rows: rows)
  }

  private func startState(_ task: some ControlTask) -> [Double] {
    (try? initialState(of: task, in: task.conditions[0]))
      ?? [Double](repeating: 0, count: task.dimensions.state)
  }

  private func stateTable(
    _ task: some ControlTask, _ quiet: [RolloutBatch], _ noisy: [RolloutBatch]
  ) -> ExperimentCheck.Table {
    let start = startState(task)
    let T = task.dimensions.horizon
    let rows = (0..<task.dimensions.state).map { i in
      [
        task.stateNames[i], text(start[i]), text(quiet[0].trajectories.first?.states[i, T]),
        text(deviation(noisy[0].trajectories.map { $0.states[i, T] })),
      ]
    }
    return ExperimentCheck.Table(
      title: "state, and its spread at the end of the first iteration's rollouts in "
        + "\"\(task.conditions[0].name)\"", columns: ["state", "start", "end", "spread"],
      rows: rows)
  }

  /// Nil where the network sees the state itself.
  private func observationTable(
    _ task: some ControlTask, _ quiet: [RolloutBatch]
  ) -> ExperimentCheck.Table? {
    let names = task.observationNames
    if names == task.stateNames { return nil }
    let first = quiet[0].trajectories.first?.observations
    var rows = (0..<task.dimensions.observation).map {
      [names.indices.contains($0) ? names[$0] : "\($0)", text(first?[$0, 0])]
    }
    // What is remembered has the names of what is seen.
    let memory = experiment.memory
    if memory.history > 0 {
      let rest = (memory.lastAction ? task.dimensions.control : 0) + (memory.clock == .none ? 0 : 1)
      let present = (rows.count - rest) / (1 + memory.history)
      rows.replaceSubrange(
        present..<rows.count - rest,
        with: [
          [
            "the same, \(memory.history > 1 ? "1 to \(memory.history) steps" : "1 step") before",
            "",
          ]
        ])
    }
    return ExperimentCheck.Table(
      title: "observation", columns: ["observation", "start"], rows: rows)
  }

  private func costTable(
    _ task: some ControlTask, _ quiet: [RolloutBatch]
  ) -> ExperimentCheck.Table {
    let parts = CostTerms(of: task.cost)
    let terms = (parts?.names ?? []).enumerated().map { "\($0). \($1)" }
    let rows = zip(task.conditions, quiet).map { condition, batch in
      guard let trajectory = batch.trajectories.first else {
        return [condition.name, "-", "-"] + terms.map { _ in "-" }
      }
      let total = task.cost.values(along: trajectory, in: condition).reduce(0, +)
      let success =
        task.judgesSuccess ? task.isSuccess(trajectory, in: condition) ? "yes" : "no" : "-"
      return [condition.name, text(total), success]
        + (parts?.totals(along: trajectory, in: condition) ?? []).map { text($0) }
    }
    return ExperimentCheck.Table(
      title: "first cost: one rollout of the initial controller without noise, by term",
      columns: ["condition", "cost", "success"] + terms, rows: rows)
  }

  // MARK: - What is wrong with it

  private func judge(
    _ task: some ControlTask, _ quiet: [RolloutBatch], _ noisy: [RolloutBatch],
    _ check: inout ExperimentCheck
  ) {
    for batch in noisy {
      let condition = task.conditions[batch.condition]
      if batch.trajectories.isEmpty, let failure = batch.discarded.last {
        check.problems.append(
          "condition \"\(condition.name)\": every rollout of the first iteration fails, the last at step "
            + "\(failure.step): \(failure.reason)")
      }
    }
    for batch in quiet {
      guard let failure = batch.discarded.last,
        !noisy[batch.condition].trajectories.isEmpty
      else { continue }
      check.warnings.append(
        "condition \"\(task.conditions[batch.condition].name)\": the initial controller's rollout without noise "
          + "fails at step \(failure.step): \(failure.reason)")
    }
    let tries = noisy.reduce(0) { $0 + $1.trajectories.count + $1.discarded.count }
    let discarded = noisy.flatMap(\.discarded)
    if check.problems.isEmpty, let last = discarded.last {
      check.warnings.append(
        "\(discarded.count) of \(tries) rollouts of the first iteration fail, the last at step "
          + "\(last.step): \(last.reason)")
    }
    judgeControls(task, noisy, &check)
    judgeExploration(task, noisy, &check)
    judgeCost(task, quiet, noisy, &check)
    judgeGoals(task, quiet, &check)
    let seconds = Double(task.dimensions.horizon) * task.controlPeriod
    if task.dimensions.horizon < 5 {
      check.warnings.append(
        "the horizon is \(counted(task.dimensions.horizon, "step")), \(text(seconds)) s: there is hardly "
          + "anything to plan (horizon)")
    }
  }

  /// Controls at their limits.
  private func judgeControls(
    _ task: some ControlTask, _ noisy: [RolloutBatch], _ check: inout ExperimentCheck
  ) {
    guard let limits = task.controlLimits else { return }
    let all = RolloutBatch(condition: 0, trajectories: noisy.flatMap(\.trajectories))
    for (i, saturated) in all.saturatedSteps(limits).enumerated() {
      guard let saturated else { continue }
      let share = Double(saturated) / Double(max(1, all.steps))
      if share > 0.05 {
        check.warnings.append(
          "\(Int((100 * share).rounded())) % of the first rollouts' \(task.controlNames[i]) are at its limits: "
            + "the initial controller asks for more than it can do (initialController)")
      }
    }
  }

  /// Noise that moves nothing: there is nothing to fit dynamics to.
  private func judgeExploration(
    _ task: some ControlTask, _ noisy: [RolloutBatch], _ check: inout ExperimentCheck
  ) {
    for batch in noisy where batch.trajectories.count > 1 {
      let T = task.dimensions.horizon
      let moves = (0..<task.dimensions.state).contains { i in
        let ends = batch.trajectories.map { $0.states[i, T] }
        let scale = ends.reduce(0) { max($0, $1.magnitude) }
        return (deviation(ends) ?? 0) > 1e-9 * max(1, scale)
      }
      if !moves {
        check.warnings.append(
          "condition \"\(task.conditions[batch.condition].name)\": the noise moves no number of the state, all "
            + "rollouts end at the same place (initialController, noise)")
      }
    }
  }

  /// Costs that say nothing, and successes that need no learning.
  private func judgeCost(
    _ task: some ControlTask, _ quiet: [RolloutBatch], _ noisy: [RolloutBatch],
    _ check: inout ExperimentCheck
  ) {
    let rollouts = noisy.flatMap { batch in
      batch.trajectories.map { ($0, task.conditions[batch.condition]) }
    }
    let costs = rollouts.map { task.cost.values(along: $0, in: $1).reduce(0, +) }
    if costs.count > 1, costs.allSatisfy({ $0 == costs[0] }) {
      check.warnings.append(
        "the cost is \(text(costs[0])) in all rollouts of the first iteration: it tells none from another "
          + "(cost)")
    }
    if let sum = CostTerms(of: task.cost)?.sum, !rollouts.isEmpty {
      // A region is there to be kept out of, and first rollouts may do so.
      for (index, entry) in sum.entries.enumerated() where !(entry.term.base is RegionCost) {
        let isZero = rollouts.allSatisfy { trajectory, condition in
          SumCost([entry]).values(along: trajectory, in: condition).allSatisfy { $0 == 0 }
        }
        if isZero {
          check.warnings.append(
            "term \(index) of the cost, \(sum.termNames[index]), is 0 at every step of the first rollouts "
              + "(cost.\(index))")
        }
      }
    }
    let done =
      task.judgesSuccess
      && quiet.allSatisfy { batch in
        batch.trajectories.first.map { task.isSuccess($0, in: task.conditions[batch.condition]) }
          ?? false
      }
    if done {
      check.warnings.append(
        "the initial controller succeeds in all conditions already, so success cannot show what is learned "
          + "(success)")
    }
  }

  /// Conditions that want different things and look the same.
  private func judgeGoals(
    _ task: some ControlTask, _ quiet: [RolloutBatch], _ check: inout ExperimentCheck
  ) {
    let seen = quiet.compactMap { batch in
      batch.trajectories.first.map {
        (task.conditions[batch.condition], $0.observations.column(0))
      }
    }
    for (index, (condition, observation)) in seen.enumerated() {
      for (other, observed) in seen[..<index]
      where observed == observation && other.goal != condition.goal {
        check.warnings.append(
          "the network sees the same at the start of \"\(other.name)\" and \"\(condition.name)\", whose goals "
            + "differ: the observation does not hold the goal")
        return
      }
    }
  }

  /// What the state of a MuJoCo model leaves out.
  private func judgeModel(_ task: some ControlTask, _ check: inout ExperimentCheck) {
    guard let mujoco = task.underlying(MuJoCoTask.self) else { return }
    check.warnings += mujoco.interface.warnings(in: task.conditions)
    for (what, names) in mujoco.interface.missingFromState where !names.isEmpty {
      check.warnings.append(
        "the state leaves out the \(what) of \(names.prefix(6).joined(separator: ", "))"
          + (names.count > 6 ? " and \(names.count - 6) more" : "")
          + ": local controllers cannot react to them (system.mujoco.state)")
    }
  }
}

// MARK: - Texts

func counted(_ count: Int, _ noun: String) -> String {
  "\(count) \(noun)\(count == 1 ? "" : "s")"
}

private func text(_ number: Double?) -> String {
  number.map { $0.isFinite ? String(format: "%.4g", $0) : "\($0)" } ?? "-"
}

private func bound(_ number: Double?) -> String {
  number.map { $0.isFinite ? text($0) : "-" } ?? "-"
}

/// Of a sample; nil of less than two numbers.
private func deviation(_ numbers: [Double]) -> Double? {
  guard numbers.count > 1 else { return nil }
  let mean = numbers.reduce(0, +) / Double(numbers.count)
  let squares = numbers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
  return (squares / Double(numbers.count - 1)).squareRoot()
}
