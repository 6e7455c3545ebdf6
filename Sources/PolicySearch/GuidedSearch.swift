// Guided policy search, one iteration (Montgomery & Levine 2016, algorithm 1):
//
//               ┌─ condition 1: rollouts ─▶ dynamics ─▶ local optimisation ─┐
//   policy ─────┼─ condition 2: rollouts ─▶ dynamics ─▶ local optimisation ─┼─▶ global policy ─▶ next
//               └─ condition M: rollouts ─▶ dynamics ─▶ local optimisation ─┘
//
// The conditions are independent pipelines that share the workers; the only barrier is before the
// global policy. The members of the family differ in their parts: how a controller is improved
// (`LocalImprovement`), how controllers and policy hold each other (`Coupling`), and how the policy is
// fitted (`Distiller`).

public import Dynamics
public import GPSCore
public import GlobalPolicy
public import SearchParts
import Sim
public import Starts
public import Statistics

/// Guided policy search on one task.
public struct GuidedSearch<
  System: ControlTask, Local: LocalImprovement, Link: Coupling, Student: Distiller
>: Learner {
  /// What travels from one iteration to the next.
  public typealias State = SearchState<
    Local.Memory, Link.Memory, Student.Product, Student.Memory
  >
  package typealias Step = LocalStep<Local, Link>
  package typealias Trial = SearchTrial<Student.Product, Student.Memory>

  /// What it is called.
  public let name: String
  /// What to learn.
  public let task: System
  /// How the loop goes.
  public let settings: SearchSettings
  /// Which policy takes the training rollouts after iteration 0.
  public let sampling: Sampling
  /// Stages 2 and 3: how a controller is improved.
  public let local: Local
  /// How controllers and policy hold each other.
  public let link: Link
  /// Stage 4: how the policy is fitted.
  public let student: Student
  /// The local controllers of iteration 0, one per training condition.
  public let initialControllers: [LinearGaussianController]
  /// What made them; one that takes a search replaces them by what it finds, in iteration 0.
  public let start: InitialController?
  /// The root of all randomness.
  public let stream: RandomStream
  /// Who rolls out and takes the local steps; nil for the workers of this process.
  package var crew: (any Crew)?

  /// A search with parts of one's own choice.
  ///
  /// - Parameters:
  ///   - task: what to learn.
  ///   - initialControllers: one per training condition of the task.
  ///   - start: what made them; nil for controllers of one's own. One that takes a search
  ///     (`InitialController.takesSearch`) makes it in iteration 0.
  ///   - settings: how the loop goes.
  ///   - local: how a controller is improved.
  ///   - link: how controllers and policy hold each other.
  ///   - student: how the policy is fitted.
  ///   - seed: the same seed gives the same results, with any number of workers.
  ///   - name: what it is called in summaries.
  /// - Throws: `InvalidOption` naming the setting, the value and what is allowed, or what `local` throws
  ///   when the task cannot give what is asked of it.
  public init(
    _ task: System, from initialControllers: [LinearGaussianController],
    start: InitialController? = nil, settings: SearchSettings = SearchSettings(), local: Local,
    link: Link, student: Student, seed: UInt64 = 0, name: String = "guidedSearch"
  ) throws {
    precondition(
      initialControllers.count == task.conditions.count,
      "\(initialControllers.count) controllers for \(task.conditions.count) conditions")
    self.name = name
    self.task = task
    self.settings = try settings.validated()
    // Where a search has found what to do, the policy has only to learn it, about where it is to be done.
    sampling = try link.sampling(
      settings.sampling ?? (start?.takesSearch == true ? .offPolicy : nil))
    self.local = local
    self.link = link
    self.student = student
    self.initialControllers = initialControllers
    self.start = start
    stream = RandomStream(seed: seed)
    try local.validate(for: task)
  }

  /// Iterations of a whole run.
  public var iterations: Int { settings.iterations }

  /// Whether there is a policy at the end.
  public var learnsPolicy: Bool { link.learnsPolicy }

  /// The state before the first iteration.
  public var initialState: State { State(conditions: initialControllers.map(initialState)) }

  /// The policy with the best evidence.
  public func policy(of state: State) -> Student.Product? { state.best?.policy ?? state.policy }

  /// The policy that was distilled last, taken back or not.
  public func lastPolicy(of state: State) -> Student.Product? { state.lastPolicy ?? state.policy }

  /// One iteration: roll out, fit dynamics, optimise locally, distil, and judge what came of it.
  ///
  /// Numerics that fail leave a condition's controller, or the policy, as it was, with a note.
  ///
  /// - Parameter state: `initialState`, what an earlier call returned, or that of a checkpoint. A
  ///   caller that gives it up (`consume`) saves memory: each condition then lets go of what its step
  ///   replaces while others are still being rolled out.
  /// - Returns: the state after it and a report for people and files.
  /// - Throws: `SearchError` when no condition can go on, an error of a part's that is not a
  ///   `NumericalFailure`, or `CancellationError`; a state that the caller keeps is untouched and can be
  ///   advanced again.
  public func advancing(_ state: consuming State) async throws -> (next: State, report: Report) {
    var times = StageTimes()
    var next = state
    var searched: [SearchedStart]?
    if next.iteration == 0, searchesStart {
      try await times.measure("start") { searched = try await searchStart(&next) }
    }

    // 1–3. One pipeline per condition, which takes over what its condition brings; here stay the
    // controllers.
    let conditions = ConditionHandover(next.conditions)
    next.conditions = next.conditions.map {
      var own = self.initialState($0.controller)
      own.isLed = $0.isLed
      return own
    }
    var steps = try await rollOut(next, from: conditions)
    for condition in try await rescue(&steps, from: next) { next.discredit(in: condition) }
    next.rollouts += steps.reduce(0) { $0 + $1.samples.count }

    // 4. The global policy, in turns with the local steps where the coupling asks for several.
    var trial = try await learn(&steps, from: next, times: &times)
    next.rollouts += trial.rollouts

    // 5. Without noise, is it worse than those before? Then the same rollouts, and a smaller step.
    var failures = 0
    while trial.isWorse(than: next.record.suffix(settings.takeBack)) {
      failures += 1
      try shrink(&steps, after: trial, from: next)
      if failures > settings.retries || link.rounds > 1 { break }
      let earlier = trial.rolloutSeconds
      trial = try await learn(&steps, from: next, attempt: failures, times: &times)
      next.rollouts += trial.rollouts
      trial.rolloutSeconds += earlier
    }
    let isTakenBack = trial.isWorse(than: next.record.suffix(settings.takeBack))
    if isTakenBack { takeBack(&steps, to: next) } else { lead(&steps, after: trial) }
    next.take(trial, isTakenBack: isTakenBack, memory: settings.takeBack)
    next.conditions = steps.map(\.next)
    next.iteration += 1

    var test: Evaluation?
    try await times.measure("evaluation") {
      test = try await evaluate(
        policy(of: next), in: task.testConditions,
        as: WorkKey(
          iteration: next.iteration - 1, purpose: .testing, condition: 0, samples: 1, attempt: 0))
    }
    let seconds = times.total(of: steps)
    let busy = seconds["rollouts"] + trial.rolloutSeconds + (test?.rolloutSeconds ?? 0)
    let workers = Double(crew?.takeCount() ?? settings.workers)
    var report = report(
      on: next, steps, trial, test: test, failures: failures, seconds: seconds,
      utilization: busy / max(workers * seconds.total, .leastNonzeroMagnitude),
      modelRollouts: searched?.reduce(0) { $0 + $1.modelRollouts } ?? 0)
    report.notes += remarks(on: searched ?? [])
    report.notes += diagnose(&next, steps, trial)
    return (next, report)
  }
}

extension GuidedSearch
where Local == KLStep, Link == MirrorDescent, Student == NeuralDistiller {
  /// Mirror descent with a neural network: the search that a task is learned with if nothing else is
  /// said.
  ///
  /// - Parameters:
  ///   - task: what to learn.
  ///   - initialControllers: one per training condition of the task.
  ///   - settings: how the loop goes.
  ///   - dynamics: where they come from.
  ///   - network: the policy's network.
  ///   - training: its training.
  ///   - seed: the same seed gives the same results, with any number of workers.
  /// - Throws: `InvalidOption` naming the setting, the value and what is allowed; `UnknownDynamics`.
  public init(
    _ task: System, from initialControllers: [LinearGaussianController],
    settings: SearchSettings = SearchSettings(),
    dynamics: DynamicsSource = .fitted(LinearGaussianFitter.Options()),
    network: NetworkOptions = NetworkOptions(),
    training: PolicyDistiller.Options = PolicyDistiller.Options(), seed: UInt64 = 0
  ) throws {
    try self.init(
      task, from: initialControllers, settings: settings, local: KLStep(dynamics: dynamics),
      link: MirrorDescent(),
      student: NeuralDistiller(network: network, training: training, seed: seed),
      seed: seed, name: "mirrorDescent")
  }

  /// The same, from initial controllers of one kind for all conditions.
  ///
  /// - Parameters:
  ///   - task: what to learn.
  ///   - start: makes the initial controllers; by default what follows from what is known of the task.
  ///   - settings: how the loop goes.
  ///   - dynamics: where they come from.
  ///   - network: the policy's network.
  ///   - training: its training.
  ///   - seed: the same seed gives the same results, with any number of workers.
  /// - Throws: as the other initialiser, or what `start` throws.
  public init(
    _ task: System, from start: InitialController = .automatic,
    settings: SearchSettings = SearchSettings(),
    dynamics: DynamicsSource = .fitted(LinearGaussianFitter.Options()),
    network: NetworkOptions = NetworkOptions(),
    training: PolicyDistiller.Options = PolicyDistiller.Options(), seed: UInt64 = 0
  ) throws {
    let start = try start.chosen(for: task).start
    let loaded = try start.loaded()
    try self.init(
      task, from: task.conditions.map { try loaded.controller(for: task, in: $0) }, start: start,
      settings: settings, local: KLStep(dynamics: dynamics), link: MirrorDescent(),
      student: NeuralDistiller(
        network: network, training: training.derived(from: start), seed: seed), seed: seed,
      name: "mirrorDescent")
  }
}

extension PolicyDistiller.Options {
  /// These options, where they leave the rounds of training to the start.
  package func derived(from start: InitialController) -> PolicyDistiller.Options {
    var options = self
    options.maxRounds = maxRounds ?? (start.takesSearch ? 6 : 1)
    return options
  }
}

/// Why a search cannot go on.
public enum SearchError: FailedIteration, Sendable, CustomStringConvertible {
  /// Every rollout of every condition failed in the simulator; the reason is that of the first
  /// condition's last attempt.
  case noRollouts(iteration: Int, reason: String, report: Report)

  /// The rollouts that failed.
  public var report: Report {
    switch self {
    case .noRollouts(_, _, let report): report
    }
  }

  /// One sentence for people.
  public var description: String {
    switch self {
    case .noRollouts(let iteration, let reason, _):
      "no rollout of iteration \(iteration) succeeded; the last failed because \(reason)"
    }
  }
}
