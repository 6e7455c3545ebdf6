// Guided policy search, one iteration (Montgomery & Levine 2016, algorithm 1):
//
//               ┌─ condition 1: rollouts ─▶ dynamics ─▶ local optimisation ─┐
//   policy ─────┼─ condition 2: rollouts ─▶ dynamics ─▶ local optimisation ─┼─▶ global policy ─▶ next
//               └─ condition M: rollouts ─▶ dynamics ─▶ local optimisation ─┘
//
// The conditions are independent pipelines that share the workers; the only barrier is before the
// global policy.

import Dynamics
public import GPSCore
import GlobalPolicy
import LQR
public import Sim
public import Statistics

/// Guided policy search on one task: a loop of `advancing`, each turn of which takes a `State` and
/// returns the next.
public struct PolicySearch<System: ControlTask>: Sendable {
  /// What to learn.
  public let task: System
  /// How.
  public let settings: SearchSettings
  /// The local controllers of iteration 0, one per training condition.
  public let initialControllers: [LinearGaussianController]
  /// The root of all randomness.
  public let stream: RandomStream

  /// A search.
  ///
  /// - Parameters:
  ///   - task: what to learn.
  ///   - settings: how; already validated.
  ///   - initialControllers: one per training condition of the task.
  ///   - seed: the same seed gives the same results, with any number of workers.
  public init(
    task: System, settings: SearchSettings, initialControllers: [LinearGaussianController],
    seed: UInt64
  ) {
    precondition(
      initialControllers.count == task.conditions.count,
      "\(initialControllers.count) controllers for \(task.conditions.count) conditions")
    self.task = task
    self.settings = settings
    self.initialControllers = initialControllers
    stream = RandomStream(seed: seed)
  }

  /// The state before the first iteration.
  public var initialState: State { State(controllers: initialControllers) }

  /// One iteration: roll out, fit dynamics, optimise locally, distil.
  ///
  /// Numerics that fail leave a condition's controller, or the network, as it was, with a note.
  ///
  /// - Parameter state: `initialState`, what an earlier call returned, or that of a `Checkpoint`. A
  ///   caller that gives it up (`consume`) saves memory: each condition then lets go of what its step
  ///   replaces while others are still being rolled out.
  /// - Returns: the state after it and a report for people and files.
  /// - Throws: `SearchError` when no condition can go on, an error of invalid settings, or
  ///   `CancellationError`; a state that the caller keeps is untouched and can be advanced again.
  public func advancing(_ state: consuming State) async throws -> (next: State, report: Report) {
    let clock = ContinuousClock()
    let start = clock.now
    var next = state
    let iteration = next.iteration
    if settings.knownDynamics != nil, let condition = task.conditions.first,
      try task.knownDynamics(in: condition) == nil
    {
      throw SearchError.noKnownDynamics(task: task.name)
    }

    // 1–3. One pipeline per condition, which takes over what its condition brings; here stay the
    // controllers.
    let conditions = ConditionHandover(next.conditions)
    next.conditions = next.conditions.map { ConditionState(controller: $0.controller) }
    var steps = try await rollOut(next) { [policy = next.policy] batch in
      try localStep(
        on: batch, from: conditions.take(batch.condition), policy: policy, iteration: iteration)
    }
    try await rescue(&steps, from: next)
    next.conditions = steps.map(\.next)
    next.rollouts += steps.reduce(0) { $0 + $1.batch.trajectories.count }
    if steps.allSatisfy({ $0.batch.trajectories.isEmpty }) {
      throw SearchError.noRollouts(
        iteration: iteration,
        reason: steps.first?.batch.discarded.last?.reason ?? "no conditions")
    }

    // 4. The global policy.
    var seconds = StageSeconds()
    var distillationLoss: Double?
    var notes = steps.flatMap(\.notes)
    if settings.algorithm == .mirrorDescent {
      let began = clock.now
      do {
        let outcome = try await distill(steps, from: next)
        next.policy = outcome.policy
        next.optimizer = outcome.optimizer
        distillationLoss = outcome.finalLoss
        notes += outcome.notes
      } catch let error as GlobalPolicyError where error.isNumerical {
        // `next` still holds the network of the last iteration; without one, the local controllers
        // go on alone.
        notes.append("kept the previous network: \(error)")
      }
      seconds.globalPolicy = (clock.now - began).inSeconds
    }
    next.iteration += 1

    // What the new policy does without noise.
    let began = clock.now
    let evaluation = try await evaluate(next, in: task.conditions)
    let test = try await evaluate(next, in: task.testConditions)
    seconds.evaluation = (clock.now - began).inSeconds
    seconds.rollouts = steps.reduce(0) { $0 + $1.batch.seconds }
    seconds.dynamics = steps.reduce(0) { $0 + $1.dynamicsSeconds }
    seconds.localOptimization = steps.reduce(0) { $0 + $1.optimizationSeconds }
    seconds.total = (clock.now - start).inSeconds
    let report = Report(
      iteration: iteration, rollouts: next.rollouts, conditions: steps.map(\.report),
      policy: evaluation, test: test, distillationLoss: distillationLoss, seconds: seconds,
      notes: notes, batches: steps.map(\.batch))
    return (next, report)
  }

  /// The iterations from `state` up to `settings.iterations`, as a sequence to loop over.
  ///
  /// - Parameter state: `initialState`, what an earlier iteration ended with, or that of a `Checkpoint`.
  /// - Returns: pairs of the state after an iteration and its report.
  public func iterations(from state: State) -> Iterations { Iterations(search: self, state: state) }

  /// An asynchronous sequence of iterations; it ends with the first error, which it throws. It holds
  /// no state while it iterates but the one in the making.
  ///
  /// Each loop over it begins anew from the state it was made with.
  public struct Iterations: AsyncSequence, AsyncIteratorProtocol, Sendable {
    let search: PolicySearch
    /// Nil after an error: a state is given up to the iteration that starts from it.
    var state: State?

    /// The sequence is its own iterator.
    public func makeAsyncIterator() -> Iterations { self }

    /// The next iteration: the state after it, and its report; nil after the last.
    ///
    /// - Throws: as `PolicySearch.advancing`; the iterations before are then done, and can be gone on
    ///   from.
    public mutating func next() async throws -> (state: State, report: Report)? {
      guard let last = state.take(), last.iteration < search.settings.iterations else {
        return nil
      }
      let (next, report) = try await search.advancing(consume last)
      state = next
      return (next, report)
    }
  }
}

// MARK: - Stages

extension PolicySearch {
  /// Stage 1: rollouts of the network (on-policy) or of the local controllers (off-policy, in
  /// trajectory optimisation, and always in iteration 0). `then` runs for each condition as soon as
  /// its rollouts are in.
  func rollOut<Step: Sendable>(
    _ state: State, then: @escaping @Sendable (RolloutBatch) async throws -> Step
  ) async throws -> [Step] {
    let plan = RolloutPlan(
      iteration: state.iteration, samples: settings.samples, purpose: .rollout,
      noise: settings.noise, initialStateNoise: true, options: settings.rollouts,
      workers: settings.workers)
    if let policy = state.policy, settings.sampling == .onPolicy {
      return try await collectRollouts(
        of: task, in: task.conditions,
        under: [NeuralPolicy](repeating: policy, count: task.conditions.count), plan: plan,
        stream: stream, then: then)
    }
    return try await collectRollouts(
      of: task, in: task.conditions, under: state.conditions.map(\.controller), plan: plan,
      stream: stream, then: then)
  }

  /// Conditions in which every rollout of the network failed are rolled out once more, by their local
  /// controllers: a network that came out bad must not end a search that can mend it.
  func rescue(_ steps: inout [LocalStep], from state: State) async throws {
    guard state.policy != nil, settings.sampling == .onPolicy else { return }
    let failed = steps.indices.filter { steps[$0].batch.trajectories.isEmpty }
    if failed.isEmpty { return }
    // Nothing has changed in these conditions.
    let first = steps
    let plan = RolloutPlan(
      iteration: state.iteration, samples: settings.samples, purpose: .rollout,
      noise: settings.noise, initialStateNoise: true,
      options: RolloutOptions(maxAttempts: 1, timeLimit: settings.rollouts.timeLimit),
      workers: settings.workers)
    let rescued = try await collectRollouts(
      of: task, in: failed.map { task.conditions[$0] },
      under: failed.map { state.conditions[$0].controller }, plan: plan,
      stream: stream.child(.custom, 0)
    ) { [policy = state.policy, iteration = state.iteration] batch in
      let i = failed[batch.condition]
      let earlier = first[i].batch
      var batch = batch
      batch.condition = i
      batch.discarded = earlier.discarded + batch.discarded
      batch.seconds += earlier.seconds
      var step = try localStep(
        on: batch, from: first[i].next, policy: policy, iteration: iteration)
      if !batch.trajectories.isEmpty {
        step.notes.insert(
          "\(step.report.name): no rollout of the network succeeded "
            + "(\(earlier.discarded.last?.reason ?? "")); the local controller rolled out instead",
          at: 0)
      }
      return step
    }
    for (i, step) in zip(failed, rescued) { steps[i] = step }
  }

  /// Stages 2 and 3 of one condition. Numerics that fail leave the controller in force, with a note.
  func localStep(
    on batch: RolloutBatch, from state: consuming ConditionState, policy: NeuralPolicy?,
    iteration: Int
  ) throws -> LocalStep {
    let i = batch.condition
    let condition = task.conditions[i]
    var step = LocalStep(batch: batch, from: state, condition: condition.name)
    if batch.trajectories.isEmpty {
      let reason = batch.discarded.last?.reason ?? "none asked for"
      step.keepController("no rollout succeeded (\(reason))")
      return step
    }
    step.judge(batch, under: task, in: condition)
    do {
      try step.improve(
        settings: settings, task: task, policy: policy, iteration: iteration,
        stream: stream.child(.mixture, iteration, i))
    } catch {
      step.keepController("\(error)")
    }
    return step
  }

  /// Stage 4: the network is fitted to all local controllers at all samples.
  func distill(
    _ steps: [LocalStep], from state: State
  ) async throws -> PolicyDistiller.Outcome {
    let used = steps.filter { !$0.batch.trajectories.isEmpty }
    let set = try DistillationSet(
      batches: used.map(\.batch), imagined: used.map(\.imagined),
      controllers: used.map(\.next.controller))
    let fresh = NeuralPolicy.initial(
      observation: task.dimensions.observation, control: task.dimensions.control,
      options: settings.network, stream: stream.child(.networkInitialization))
    var (policy, optimizer, options) = (state.policy ?? fresh, state.optimizer, settings.training)
    // Within one training the distiller itself goes back to the last good weights with half the rate.
    // Where that was not enough, the whole training begins again with a far smaller rate: first from
    // the previous network, then from new weights.
    var notes: [String] = []
    while true {
      do {
        var outcome = try await PolicyDistiller(options: options).distill(
          policy, onto: set, optimizer: optimizer,
          stream: stream.child(.minibatches, state.iteration), workers: settings.workers)
        outcome.notes = notes + outcome.notes
        return outcome
      } catch let error as GlobalPolicyError {
        guard case .diverged = error, notes.count < 2 else { throw error }
        options.learningRate = settings.training.learningRate / 100
        optimizer = nil
        if !notes.isEmpty { policy = fresh }
        notes.append(
          "\(error); trained again from \(notes.isEmpty ? "the previous network" : "new weights") "
            + "at learning rate \(options.learningRate)")
      }
    }
  }

  /// Noise-free rollouts of the policy, one per condition; nil without a policy or conditions.
  func evaluate(_ state: State, in conditions: [Condition]) async throws -> Evaluation? {
    guard let policy = state.policy, !conditions.isEmpty else { return nil }
    return try await evaluation(
      of: policy, on: task, in: conditions, iteration: state.iteration, rollouts: 1, noise: nil,
      initialStateNoise: false, timeLimit: settings.rollouts.timeLimit, stream: stream,
      workers: settings.workers)
  }
}

/// Rolls out a policy and judges it.
///
/// - Parameters:
///   - policy: what acts.
///   - task: where.
///   - conditions: from which initial conditions.
///   - iteration: part of the random streams' path.
///   - rollouts: per condition.
///   - noise: exploration noise; nil for mean actions.
///   - initialStateNoise: whether the conditions' initial-state noise is drawn.
///   - timeLimit: wall-clock seconds of one rollout; nil for any time.
///   - stream: the root of the randomness.
///   - workers: how many rollouts at once.
/// - Returns: costs and successes per condition; a rollout that failed counts as not successful.
/// - Throws: `CancellationError`.
public func evaluation<System: ControlTask, P: Policy>(
  of policy: P, on task: System, in conditions: [Condition], iteration: Int, rollouts: Int,
  noise: ExplorationNoise?, initialStateNoise: Bool, timeLimit: Double? = nil,
  stream: RandomStream, workers: Int
) async throws -> Evaluation {
  let plan = RolloutPlan(
    iteration: iteration, samples: rollouts, purpose: .evaluation, noise: noise,
    initialStateNoise: initialStateNoise,
    options: RolloutOptions(maxAttempts: 1, timeLimit: timeLimit), workers: workers)
  let entries = try await collectRollouts(
    of: task, in: conditions,
    under: [P](repeating: policy, count: conditions.count), plan: plan, stream: stream
  ) { batch in
    let condition = conditions[batch.condition]
    return Evaluation.Entry(
      condition: condition.name,
      costs: batch.trajectories.map { trajectory in
        task.cost.values(along: trajectory, in: condition).reduce(0, +)
      },
      successes: batch.trajectories.map { task.isSuccess($0, in: condition) }
        + batch.discarded.map { _ in false },
      batch: batch)
  }
  return Evaluation(entries: entries)
}

extension GlobalPolicyError {
  /// Whether it comes from this iteration's numbers, so that the next iteration may fare better.
  fileprivate var isNumerical: Bool {
    switch self {
    case .notFinite, .diverged, .covariance: true
    case .emptySet, .corruptNetwork: false
    }
  }
}

/// Why a search cannot go on.
public enum SearchError: Error, Sendable, CustomStringConvertible {
  /// Every rollout of every condition failed in the simulator; the reason is that of the first
  /// condition's last attempt.
  case noRollouts(iteration: Int, reason: String)
  /// The settings ask for known dynamics, and the task has none to give.
  case noKnownDynamics(task: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .noRollouts(let iteration, let reason):
      "no rollout of iteration \(iteration) succeeded; the last failed because \(reason)"
    case .noKnownDynamics(let task):
      "the dynamics of task \(task) are not known: leave them to be fitted"
    }
  }
}
