import GPSCore
package import GlobalPolicy
import SearchParts
package import Sim
package import Starts
package import Statistics

extension GuidedSearch {
  func initialState(
    _ controller: LinearGaussianController
  ) -> ConditionState<Local.Memory, Link.Memory> {
    ConditionState(
      controller: controller, local: local.initialMemory,
      link: link.initialMemory(task.dimensions))
  }

  /// The first step multiplier where a start was searched: what is optimal on known dynamics has little to gain
  /// from a long step, and much to lose.
  static var searchedMultiplier: Double { 0.1 }

  /// Before the first rollout: the search for initial controllers, where they take one.
  package func searchStart(_ state: inout State) async throws -> [SearchedStart]? {
    let found = try await start?.searched(
      for: task, stream: stream.child(.custom, 1), workers: settings.workers)
    if let found {
      state.conditions = found.map {
        var own = initialState($0.controller)
        if $0.isGivenUp { return own }
        own.stepMultiplier = Self.searchedMultiplier
        if settings.takeBack > 0 { own.footing = Footing($0) }
        return own
      }
    }
    return found
  }

  /// What is worth saying about a search for initial controllers.
  package func remarks(on searched: [SearchedStart]) -> [String] {
    zip(searched, task.conditions).filter(\.0.isGivenUp).map { found, condition in
      let cost = found.trialCosts.reduce(0, +) / Double(max(1, found.trialCosts.count))
      return
        "in \(condition.name) the start that was searched is worse under its noise (cost \(short(cost)), "
        + "\(short(found.cost)) without) than what it was searched from, which is used instead: lower the noise of "
        + "`initialController`, or raise the weight of the control in `cost`"
    }
  }

  /// Stages 1 to 3: rollouts, and the local step of each condition as soon as its rollouts are in.
  ///
  /// - Parameters:
  ///   - state: what the iteration began with.
  ///   - conditions: what the conditions bring.
  /// - Returns: a step for each condition.
  /// - Throws: an error that is no `NumericalFailure`, or `CancellationError`.
  func rollOut(
    _ state: State, from conditions: ConditionHandover<Step.State>
  ) async throws -> [Step] {
    if let crew {
      return try await steps(
        by: crew, in: Array(task.conditions.indices), from: state, purpose: .training,
        bringing: task.conditions.indices.map(conditions.take)
      ) { i, batch, own in
        Step(batch, from: own, in: task.conditions[i], byPolicy: isPolicyTurn(in: i, state))
      }
    }
    return try await rollOut(state) { batch in
      let i = batch.condition
      var step = Step(
        batch, from: conditions.take(i), in: task.conditions[i],
        byPolicy: isPolicyTurn(in: i, state))
      try improve(&step, toward: state)
      return step
    }
  }

  /// Stage 1: rollouts of the policy (on-policy) or of the local controllers (off-policy, without a policy,
  /// always in iteration 0, and in conditions where the policy is behind). `then` runs for each condition as
  /// soon as its rollouts are in.
  func rollOut(
    _ state: State, then: @escaping @Sendable (RolloutBatch) async throws -> Step
  ) async throws -> [Step] {
    let plan = plan(in: state.iteration)
    if let policy = state.policy, sampling == .onPolicy {
      if task.conditions.indices.contains(where: { !isPolicyTurn(in: $0, state) }) {
        return try await collectRollouts(
          of: task, in: task.conditions,
          under: state.conditions.indices.map { i in
            isPolicyTurn(in: i, state)
              ? PolicyOrController.policy(policy) : .controller(state.conditions[i].controller)
          }, plan: plan, stream: stream, then: then)
      }
      return try await collectRollouts(
        of: task, in: task.conditions,
        under: [Student.Product](repeating: policy, count: task.conditions.count), plan: plan,
        stream: stream, then: then)
    }
    return try await collectRollouts(
      of: task, in: task.conditions, under: state.conditions.map(\.controller), plan: plan,
      stream: stream, then: then)
  }

  /// Whether the policy rolls out in a condition.
  func isPolicyTurn(in condition: Int, _ state: State) -> Bool {
    sampling == .onPolicy && state.policy != nil && !state.conditions[condition].isLed
  }

  /// How the training rollouts of an iteration are taken; those that replace a failed policy's are tried once.
  package func plan(in iteration: Int, isRescue: Bool = false) -> RolloutPlan {
    RolloutPlan(
      iteration: iteration, samples: settings.samples, purpose: .rollout,
      noise: settings.noise, initialStateNoise: true,
      options: isRescue
        ? RolloutOptions(maxAttempts: 1, timeLimit: settings.rollouts.timeLimit)
        : settings.rollouts, workers: settings.workers)
  }

  /// The source of all randomness of rollouts that replace a failed policy's.
  package var rescueStream: RandomStream { stream.child(.custom, 0) }

  /// Conditions in which every rollout of the policy failed are rolled out once more, by their local
  /// controllers: a policy that came out bad must not end a search that can mend it.
  ///
  /// - Returns: the conditions.
  func rescue(_ steps: inout [Step], from state: State) async throws -> [Int] {
    let failed = steps.indices.filter { steps[$0].samples.isEmpty && steps[$0].isByPolicy }
    if !failed.isEmpty {
      // Nothing has changed in these conditions.
      let first = steps
      let begun: @Sendable (Int, RolloutBatch) -> Step = { i, batch in
        Step(rescued: batch, after: first[i].batch, from: first[i].next, in: task.conditions[i])
      }
      let rescued =
        if let crew {
          try await self.steps(
            by: crew, in: failed, from: state, purpose: .rescue,
            bringing: failed.map { first[$0].next }
          ) { i, batch, _ in begun(i, batch) }
        } else {
          try await collectRollouts(
            of: task, in: failed.map { task.conditions[$0] },
            under: failed.map { state.conditions[$0].controller },
            plan: plan(in: state.iteration, isRescue: true), stream: rescueStream
          ) { batch in
            let i = failed[batch.condition]
            var batch = batch
            batch.condition = i
            var step = begun(i, batch)
            try improve(&step, toward: state)
            return step
          }
        }
      for (i, step) in zip(failed, rescued) { steps[i] = step }
    }
    if steps.allSatisfy(\.samples.isEmpty) { throw noRollouts(from: state, steps) }
    return failed
  }

  /// Why a search cannot go on from a state: no rollout succeeded.
  package func noRollouts(from state: State, _ steps: [Step]) -> SearchError {
    var next = state
    next.iteration += 1
    return .noRollouts(
      iteration: state.iteration,
      reason: steps.first?.batch.discarded.last?.reason ?? "no conditions",
      report: report(
        on: next, steps, Trial(policy: nil, training: nil), test: nil, failures: 0,
        seconds: StageSeconds(), utilization: nil))
  }

  /// How steps grow and shrink.
  var rule: StepRule {
    StepRule(smallest: settings.minStepMultiplier, largest: settings.maxStepMultiplier)
  }

  /// Stages 2 and 3 of one condition. Numerics that fail leave the controller in force, with a note.
  package func improve(_ step: inout Step, toward state: State) throws {
    if step.samples.isEmpty {
      step.keepController(
        "no rollout succeeded (\(step.batch.discarded.last?.reason ?? "none asked for"))")
      return
    }
    step.judge(under: task, by: rule)
    step.observe(under: step.isByPolicy ? state.policy : nil, limits: task.controlLimits)
    if settings.takeBack > 0 {
      if step.stay(within: task.controlLimits) || step.returnToFooting() { return }
    }
    let stream = stream.child(.mixture, state.iteration, step.batch.condition)
    try step.attempt { step in
      var stopwatch = Stopwatch()
      defer { step.dynamicsSeconds += stopwatch.lap() }
      step.evidence = try local.study(
        step.batch, of: task, memory: &step.next.local, stream: stream.child(.mixture, 0),
        notes: &step.notes)
    }
    // Of whom the rollouts are, that is what they cost.
    step.isPolicyBehind =
      settings.reference == .cheaper && !step.isByPolicy
      && state.evidence.map { $0.costs[step.batch.condition] > step.report.meanCost } ?? false
    try improve(&step, toward: state.policy, in: state.iteration, stream: stream)
    if !keepsEvidence { step.evidence = nil }
  }

  /// Whether local steps may be taken again on the same rollouts.
  var keepsEvidence: Bool { link.rounds > 1 || (settings.takeBack > 0 && settings.retries > 0) }

  /// Stage 3 of one condition, whose rollouts have been studied.
  private func improve(
    _ step: inout Step, toward policy: Student.Product?, in iteration: Int, stream: RandomStream
  ) throws {
    guard let evidence = step.evidence else { return }
    try step.attempt { step in
      var stopwatch = Stopwatch()
      let anchor = try link.anchor(
        of: step.previous, policy: policy, isBehind: step.isPolicyBehind, about: step.samples,
        limits: task.controlLimits, memory: &step.next.link, stream: stream.child(.mixture, 1))
      step.dynamicsSeconds += stopwatch.lap()
      if settings.takeBack > 0 {
        step.next.footing = Footing(
          step.report, of: step.isByPolicy ? anchor.reference : step.previous,
          along: step.samples, limits: task.controlLimits)
      }
      step.ground = LocalStep.Ground(next: step.next, anchor: anchor)
      defer { step.optimizationSeconds += stopwatch.lap() }
      try improve(
        &step, by: evidence, anchor, in: iteration, stream: stream.child(.custom, 2))
    }
  }

  /// The least noise that controllers keep.
  var explorationFloor: Double {
    settings.explorationFloor
      ?? (searchesStart || (link.distills(in: 0, of: 2) && local.keepsNoise) ? 1 : 0)
  }

  /// The local step itself, within the bound that the multiplier leaves.
  func improve(
    _ step: inout Step, by evidence: Local.Evidence, _ anchor: Anchor, in iteration: Int,
    stream: RandomStream
  ) throws {
    try step.improve(
      by: evidence, with: local, link: link, anchor: anchor,
      bound: settings.klStep(in: iteration) * step.next.stepMultiplier
        * Double(task.dimensions.horizon),
      floor: ExplorationFloor(
        explorationFloor, of: initialControllers[step.batch.condition]),
      limits: task.controlLimits, modelSamples: settings.modelSamples, stream: stream)
  }

  /// Stage 3 of all conditions again, on the same rollouts and toward the policy of the round before.
  func improveAgain(
    _ steps: inout [Step], toward policy: Student.Product?, in state: State, round: Int
  ) async throws {
    let (before, workers) = (steps, settings.workers)
    steps = []
    steps = try await parallelMap(before.count, workers: workers) { i in
      var step = before[i]
      try improve(
        &step, toward: policy, in: state.iteration,
        stream: stream.child(.mixture, state.iteration, step.batch.condition, round))
      return step
    }
  }

  /// Stage 4: the policy is fitted to all local controllers at all samples, in turns with the local steps
  /// where the coupling asks for several, and rolled out without noise.
  func learn(
    _ steps: inout [Step], from state: State, attempt: Int = 0, times: inout StageTimes
  ) async throws -> Trial {
    var trial = Trial(policy: state.policy, training: state.training)
    for round in 0..<link.rounds where link.distills(in: state.iteration, of: iterations) {
      if round > 0 { try await improveAgain(&steps, toward: trial.policy, in: state, round: round) }
      try await times.measure("global_policy") {
        try await distill(steps, into: &trial, in: state.iteration, round: round + attempt)
      }
      try settle(&steps, with: trial.policy, in: state.iteration, round: round)
    }
    try await times.measure("evaluation") {
      trial.evaluation = try await evaluate(
        trial.policy, in: task.conditions,
        as: WorkKey(
          iteration: state.iteration, purpose: .judging, condition: 0, samples: 1, attempt: attempt)
      )
    }
    trial.judge(in: state.iteration)
    return trial
  }

  /// Fits the policy. Where numbers fail, that of the last iteration stays, with a note.
  private func distill(
    _ steps: [Step], into trial: inout Trial, in iteration: Int, round: Int
  ) async throws {
    let shares = steps.filter { !$0.samples.isEmpty }.map {
      $0.lessons(within: task.controlLimits)
    }
    try await distill(
      shares, into: &trial,
      stream: round == 0
        ? stream.child(.minibatches, iteration) : stream.child(.minibatches, iteration, round),
      workers: settings.workers)
  }

  /// Fits the policy to what it is to do in some conditions. Where numbers fail, the one before stays, with a note.
  ///
  /// - Parameters:
  ///   - shares: of the conditions.
  ///   - trial: from whose policy and memory training starts, and where what comes of it stands then.
  ///   - stream: the source of all randomness of the training.
  ///   - workers: tasks at most.
  /// - Throws: an error that is no `NumericalFailure`, or `CancellationError`.
  package func distill(
    _ shares: [DistillationSet.Share], into trial: inout Trial, stream: RandomStream, workers: Int
  ) async throws {
    trial.loss = nil
    trial.unexplainedShare = nil
    do {
      let set = try DistillationSet(shares: shares)
      let outcome = try await student.distill(
        trial.policy, onto: set, memory: trial.training, stream: stream, workers: workers)
      trial.policy = outcome.policy
      trial.training = outcome.memory
      trial.notes += outcome.notes
      trial.loss = outcome.finalLoss
      trial.unexplainedShare = outcome.finalLoss / outcome.labelVariance
    } catch let error as any NumericalFailure where error.isNumerical {
      trial.notes.append("kept the previous network: \(error)")
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

  /// Noise-free rollouts of the policy, one per condition; nil without a policy or conditions. Where starts are noisy or
  /// drawn anew each has one start of its own, the same in all iterations, so that policies are compared by what they do
  /// and not by what they were dealt.
  func evaluate(
    _ policy: Student.Product?, in conditions: [Condition], as key: WorkKey
  ) async throws -> Evaluation? {
    guard let policy, !conditions.isEmpty else { return nil }
    if let crew { return try await judged(policy, in: conditions, by: crew, as: key) }
    return try await evaluation(
      of: policy, on: task, in: conditions, iteration: 0, rollouts: 1, noise: nil,
      initialStateNoise: true, timeLimit: settings.rollouts.timeLimit, stream: stream,
      workers: settings.workers)
  }

  func hasShape(_ controller: LinearGaussianController) -> Bool {
    let d = task.dimensions
    return controller.state == d.state && controller.control == d.control
      && controller.horizon == d.horizon
  }

  /// Whether what a condition carries is of this task.
  func fits(_ own: Step.State) -> Bool {
    let d = task.dimensions
    return hasShape(own.controller) && local.fits(own.local, d) && link.fits(own.link, d)
      && (own.footing.map { footing in
        hasShape(footing.controller)
          && footing.lessons.allSatisfy { $0.observations.rows == d.observation }
      } ?? true)
  }

  /// Why this search cannot go on from a state, as a clause; nil if it can.
  public func mismatch(with state: State) -> String? {
    let d = task.dimensions
    if state.conditions.count != task.conditions.count {
      return "it has \(state.conditions.count) conditions, the task \(task.conditions.count)"
    }
    for (condition, own) in zip(task.conditions, state.conditions) where !fits(own) {
      return "its condition \"\(condition.name)\" is not of \(d.state) states, \(d.control) "
        + "controls, \(d.observation) observations and \(d.horizon) steps"
    }
    for policy in [state.policy, state.best?.policy, state.lastPolicy] {
      if let problem = policy?.mismatch(with: d) { return "its policy does not fit: \(problem)" }
    }
    return nil
  }
}
