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
public import Sim
public import Statistics

/// Guided policy search on one task.
public struct GuidedSearch<
  System: ControlTask, Local: LocalImprovement, Link: Coupling, Student: Distiller
>: Learner {
  /// What travels from one iteration to the next.
  public typealias State = SearchState<
    Local.Memory, Link.Memory, Student.Product, Student.Memory
  >
  typealias Step = LocalStep<Local, Link>

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
  /// The root of all randomness.
  public let stream: RandomStream

  /// A search with parts of one's own choice.
  ///
  /// - Parameters:
  ///   - task: what to learn.
  ///   - initialControllers: one per training condition of the task.
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
    settings: SearchSettings = SearchSettings(), local: Local, link: Link, student: Student,
    seed: UInt64 = 0, name: String = "guidedSearch"
  ) throws {
    precondition(
      initialControllers.count == task.conditions.count,
      "\(initialControllers.count) controllers for \(task.conditions.count) conditions")
    self.name = name
    self.task = task
    self.settings = try settings.validated()
    sampling = try link.sampling(settings.sampling)
    self.local = local
    self.link = link
    self.student = student
    self.initialControllers = initialControllers
    stream = RandomStream(seed: seed)
    try local.validate(for: task)
  }

  /// Iterations of a whole run.
  public var iterations: Int { settings.iterations }

  /// Whether there is a policy at the end.
  public var learnsPolicy: Bool { link.learnsPolicy }

  /// The state before the first iteration.
  public var initialState: State { State(conditions: initialControllers.map(initialState)) }

  /// The policy as it stands.
  public func policy(of state: State) -> Student.Product? { state.policy }

  /// One iteration: roll out, fit dynamics, optimise locally, distil.
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

    // 1–3. One pipeline per condition, which takes over what its condition brings; here stay the
    // controllers.
    let conditions = ConditionHandover(next.conditions)
    next.conditions = next.conditions.map { initialState($0.controller) }
    var steps = try await rollOut(next) { [next] batch in
      var step = Step(
        batch, from: conditions.take(batch.condition), in: task.conditions[batch.condition])
      try improve(&step, toward: next)
      return step
    }
    try await rescue(&steps, from: next)
    next.rollouts += steps.reduce(0) { $0 + $1.samples.count }

    // 4. The global policy, in turns with the local steps where the coupling asks for several.
    var loss: Double?
    var notes: [String] = []
    for round in 0..<link.rounds where link.distills(in: next.iteration, of: iterations) {
      if round > 0 { try await improveAgain(&steps, toward: next, round: round) }
      try await times.measure("global_policy") {
        loss = try await distill(steps, into: &next, round: round, notes: &notes)
      }
      try settle(&steps, with: next.policy, in: next.iteration, round: round)
    }
    notes = steps.flatMap(\.notes) + notes
    next.conditions = steps.map(\.next)
    next.iteration += 1

    // What the new policy does without noise.
    var (policy, test): (Evaluation?, Evaluation?)
    try await times.measure("evaluation") {
      policy = try await evaluate(next, in: task.conditions)
      test = try await evaluate(next, in: task.testConditions)
    }
    let report = report(
      on: next, steps, policy: policy, test: test, loss: loss, seconds: times.total(of: steps),
      notes: notes)
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
  ///   - start: makes the initial controllers.
  ///   - settings: how the loop goes.
  ///   - dynamics: where they come from.
  ///   - network: the policy's network.
  ///   - training: its training.
  ///   - seed: the same seed gives the same results, with any number of workers.
  /// - Throws: as the other initialiser, or what `start` throws.
  public init(
    _ task: System, from start: InitialController, settings: SearchSettings = SearchSettings(),
    dynamics: DynamicsSource = .fitted(LinearGaussianFitter.Options()),
    network: NetworkOptions = NetworkOptions(),
    training: PolicyDistiller.Options = PolicyDistiller.Options(), seed: UInt64 = 0
  ) throws {
    try self.init(
      task, from: task.conditions.map { try start.controller(for: task, in: $0) },
      settings: settings, dynamics: dynamics, network: network, training: training, seed: seed)
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
