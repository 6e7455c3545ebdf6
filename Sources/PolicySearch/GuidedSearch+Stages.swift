import GPSCore
import GlobalPolicy
import SearchParts
import Sim
import Statistics

extension GuidedSearch {
  func initialState(
    _ controller: LinearGaussianController
  ) -> ConditionState<Local.Memory, Link.Memory> {
    ConditionState(
      controller: controller, local: local.initialMemory,
      link: link.initialMemory(task.dimensions))
  }

  /// Stage 1: rollouts of the policy (on-policy) or of the local controllers (off-policy, without a policy,
  /// and always in iteration 0). `then` runs for each condition as soon as its rollouts are in.
  func rollOut(
    _ state: State, then: @escaping @Sendable (RolloutBatch) async throws -> Step
  ) async throws -> [Step] {
    let plan = plan(for: state, options: settings.rollouts)
    if let policy = state.policy, sampling == .onPolicy {
      return try await collectRollouts(
        of: task, in: task.conditions,
        under: [Student.Product](repeating: policy, count: task.conditions.count), plan: plan,
        stream: stream, then: then)
    }
    return try await collectRollouts(
      of: task, in: task.conditions, under: state.conditions.map(\.controller), plan: plan,
      stream: stream, then: then)
  }

  private func plan(for state: State, options: RolloutOptions) -> RolloutPlan {
    RolloutPlan(
      iteration: state.iteration, samples: settings.samples, purpose: .rollout,
      noise: settings.noise, initialStateNoise: true, options: options, workers: settings.workers)
  }

  /// Conditions in which every rollout of the policy failed are rolled out once more, by their local
  /// controllers: a policy that came out bad must not end a search that can mend it.
  func rescue(_ steps: inout [Step], from state: State) async throws {
    let failed = steps.indices.filter { steps[$0].samples.isEmpty }
    if state.policy != nil, sampling == .onPolicy, !failed.isEmpty {
      // Nothing has changed in these conditions.
      let first = steps
      let rescued = try await collectRollouts(
        of: task, in: failed.map { task.conditions[$0] },
        under: failed.map { state.conditions[$0].controller },
        plan: plan(
          for: state,
          options: RolloutOptions(maxAttempts: 1, timeLimit: settings.rollouts.timeLimit)),
        stream: stream.child(.custom, 0)
      ) { batch in
        let i = failed[batch.condition]
        let earlier = first[i].batch
        var batch = batch
        batch.condition = i
        batch.discarded = earlier.discarded + batch.discarded
        batch.seconds += earlier.seconds
        var step = Step(batch, from: first[i].next, in: task.conditions[i])
        if !batch.trajectories.isEmpty {
          step.notes.append(
            "\(step.condition.name): no rollout of the network succeeded "
              + "(\(earlier.discarded.last?.reason ?? "")); the local controller rolled out instead"
          )
        }
        try improve(&step, toward: state)
        return step
      }
      for (i, step) in zip(failed, rescued) { steps[i] = step }
    }
    if steps.allSatisfy(\.samples.isEmpty) {
      var next = state
      next.iteration += 1
      throw SearchError.noRollouts(
        iteration: state.iteration,
        reason: steps.first?.batch.discarded.last?.reason ?? "no conditions",
        report: report(
          on: next, steps, policy: nil, test: nil, loss: nil, seconds: StageSeconds(), notes: []))
    }
  }

  /// Stages 2 and 3 of one condition. Numerics that fail leave the controller in force, with a note.
  func improve(_ step: inout Step, toward state: State) throws {
    if step.samples.isEmpty {
      step.keepController(
        "no rollout succeeded (\(step.batch.discarded.last?.reason ?? "none asked for"))")
      return
    }
    let rule = StepRule(
      smallest: settings.minStepMultiplier, largest: settings.maxStepMultiplier)
    step.judge(under: task, by: rule)
    let stream = stream.child(.mixture, state.iteration, step.batch.condition)
    try step.attempt { step in
      var stopwatch = Stopwatch()
      defer { step.dynamicsSeconds += stopwatch.lap() }
      step.evidence = try local.study(
        step.batch, of: task, memory: &step.next.local, stream: stream.child(.mixture, 0),
        notes: &step.notes)
    }
    try improve(&step, toward: state.policy, in: state.iteration, stream: stream)
    if link.rounds == 1 { step.evidence = nil }
  }

  /// Stage 3 of one condition, whose rollouts have been studied.
  private func improve(
    _ step: inout Step, toward policy: Student.Product?, in iteration: Int, stream: RandomStream
  ) throws {
    guard let evidence = step.evidence else { return }
    try step.attempt { step in
      var stopwatch = Stopwatch()
      let anchor = try link.anchor(
        of: step.previous, policy: policy, about: step.samples, memory: &step.next.link,
        stream: stream.child(.mixture, 1))
      step.dynamicsSeconds += stopwatch.lap()
      defer { step.optimizationSeconds += stopwatch.lap() }
      try step.improve(
        by: evidence, with: local, link: link, anchor: anchor,
        bound: settings.klStep(in: iteration) * step.next.stepMultiplier
          * Double(task.dimensions.horizon),
        modelSamples: settings.modelSamples, stream: stream.child(.custom, 2))
    }
  }

  /// Stage 3 of all conditions again, on the same rollouts and toward the policy of the round before.
  func improveAgain(_ steps: inout [Step], toward state: State, round: Int) async throws {
    let (before, workers) = (steps, settings.workers)
    steps = []
    steps = try await parallelMap(before.count, workers: workers) { i in
      var step = before[i]
      try improve(
        &step, toward: state.policy, in: state.iteration,
        stream: stream.child(.mixture, state.iteration, step.batch.condition, round))
      return step
    }
  }

  /// Stage 4: the policy is fitted to all local controllers at all samples.
  ///
  /// - Returns: its loss; nil if numbers failed, and the policy of the last iteration stays.
  func distill(
    _ steps: [Step], into state: inout State, round: Int, notes: inout [String]
  ) async throws -> Double? {
    let used = steps.filter { !$0.samples.isEmpty }
    do {
      let set = try DistillationSet(
        batches: used.map(\.batch), imagined: used.map(\.imagined),
        controllers: used.map(\.teacher))
      let order =
        round == 0
        ? stream.child(.minibatches, state.iteration)
        : stream.child(.minibatches, state.iteration, round)
      let outcome = try await student.distill(
        state.policy, onto: set, memory: state.training, stream: order, workers: settings.workers)
      state.policy = outcome.policy
      state.training = outcome.memory
      notes += outcome.notes
      return outcome.finalLoss
    } catch let error as any NumericalFailure where error.isNumerical {
      notes.append("kept the previous network: \(error)")
      return nil
    }
  }

  /// The coupling takes in what the distillation came to. Numbers that fail leave its memory as it was,
  /// with a note; the controller is in force either way.
  func settle(
    _ steps: inout [Step], with policy: Student.Product?, in iteration: Int, round: Int
  ) throws {
    guard let policy else { return }
    for i in steps.indices where !steps[i].samples.isEmpty {
      let step = steps[i]
      var memory = step.next.link
      do {
        try link.settle(
          step.next.controller, policy: policy, about: step.samples, memory: &memory,
          isLastRound: round == link.rounds - 1,
          stream: stream.child(.mixture, iteration, step.batch.condition, round, 3))
        steps[i].next.link = memory
      } catch let error as any NumericalFailure where error.isNumerical {
        steps[i].notes.append(
          "\(step.condition.name): kept what couples controller and policy as it was: \(error)")
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

  /// Why this search cannot go on from a state, as a clause; nil if it can.
  public func mismatch(with state: State) -> String? {
    let d = task.dimensions
    if state.conditions.count != task.conditions.count {
      return "it has \(state.conditions.count) conditions, the task \(task.conditions.count)"
    }
    for (condition, own) in zip(task.conditions, state.conditions) {
      let controller = own.controller
      let fits =
        controller.state == d.state && controller.control == d.control
        && controller.horizon == d.horizon && local.fits(own.local, d) && link.fits(own.link, d)
      if !fits {
        return "its condition \"\(condition.name)\" is not of \(d.state) states, \(d.control) "
          + "controls, \(d.observation) observations and \(d.horizon) steps"
      }
    }
    return state.policy?.mismatch(with: d).map { "its policy does not fit: \($0)" }
  }
}
