import Foundation
import GPSTestSupport
import Testing

@testable import GuidedPolicySearch
@testable import PolicySearch

private func pointMassFile() -> URL {
  URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Experiments/point-mass/experiment.yaml")
}

private func runShipped(
  _ loaded: LoadedExperiment, seed: UInt64, workers: Int
) async throws -> (state: State, reports: [Report]) {
  var loaded = loaded
  loaded.experiment.seed = seed
  func open(_ learner: some Learner) async throws -> (state: State, reports: [Report]) {
    let (state, reports) = try await run(learner)
    return (try #require(state as? State), reports)
  }
  return try await open(loaded.learner(workers: workers))
}

/// The rollouts of stage 1 alone.
private func rolledOut(
  _ search: MirrorSearch<FaultyTask<NativeTask<PointMass>>>, _ state: State
) async throws -> [RolloutBatch] {
  try await search.rollOut(state) { batch in
    LocalStep(
      batch, from: state.conditions[batch.condition], in: search.task.conditions[batch.condition],
      byPolicy: search.isPolicyTurn(in: batch.condition, state))
  }.map(\.batch)
}

@Suite("Policy search") struct SearchTests {
  // MARK: - Determinism

  @Test("the number of workers changes no bit of a result, the seed does", .timeLimit(.minutes(30)))
  func workers() async throws {
    let loaded = try Experiment.load(
      pointMassFile(),
      overrides: ["algorithm.iterations=3", "training.steps=200"])
    func outcome(seed: UInt64, workers: Int) async throws -> Outcome {
      let (state, reports) = try await runShipped(loaded, seed: seed, workers: workers)
      return Outcome(state, reports)
    }
    let one = try await outcome(seed: 7, workers: 1)
    #expect(one.policy != nil && one.costs.count == 12 && !one.rollouts.contains { $0.isEmpty })
    for workers in [2, 5] {
      #expect(try await outcome(seed: 7, workers: workers) == one, "\(workers) workers")
    }
    let other = try await outcome(seed: 8, workers: 2)
    #expect(other.costs != one.costs)
    #expect(other.policy != one.policy)
    #expect(other.controllers != one.controllers)
  }

  @Test("an iteration can be taken again from the same state")
  func repeatable() async throws {
    let search = try makeSearch()
    let first = try await search.advancing(search.initialState)
    let second = try await search.advancing(first.next)
    let again = try await search.advancing(first.next)
    #expect(Outcome(second.next, [second.report]) == Outcome(again.next, [again.report]))
    #expect(second.next.iteration == 2 && second.next.rollouts == 24)
    #expect(second.report.iteration == 1 && second.report.rollouts == 24)
  }

  @Test("what the priors keep of the rollouts is the rollouts' own memory")
  func historiesShareStorage() async throws {
    let search = try makeSearch()
    let first = try await search.advancing(search.initialState)
    let (next, report) = try await search.advancing(first.next)
    for (condition, batches) in zip(
      next.conditions, zip(first.report.batches, report.batches))
    {
      // Five rollouts of each iteration; the policy was there from the second one on.
      let rollouts = batches.0.trajectories + batches.1.trajectories
      let (dynamics, policy) = (condition.local.dynamicsPrior, condition.link)
      #expect(dynamics.states.count == 10 && policy.states.count == 5)
      for (i, rollout) in rollouts.enumerated() {
        #expect(sharesStorage(dynamics.states[i], rollout.states))
        #expect(sharesStorage(dynamics.controls[i], rollout.controls))
      }
      for (i, rollout) in rollouts.suffix(5).enumerated() {
        #expect(sharesStorage(policy.states[i], rollout.states))
        #expect(sharesStorage(policy.observations[i], rollout.observations))
      }
    }
  }

  @Test("a sequence that has thrown is at its end; the state it was made with is as before")
  func iterationsEndWithAnError() async throws {
    let healthy = try makeSearch()
    let never = try makeSearch(always: ["left": .throwing, "right": .throwing])
    let state = never.initialState
    var iterator = never.iterations(from: state).makeAsyncIterator()
    do {
      _ = try await iterator.next()
      Issue.record("no error")
    } catch is SearchError {}
    let end = try await iterator.next()
    #expect(end == nil)
    #expect(state == healthy.initialState)
  }

  // MARK: - Members of the family

  @Test("trajectory optimisation needs no network and lowers the cost")
  func trajectoryOptimization() async throws {
    let search = try makeSearch(link: Uncoupled(distillsAtEnd: false)) { $0.iterations = 5 }
    let (state, reports) = try await run(search)
    #expect(state.policy == nil && state.training == nil)
    #expect(reports.allSatisfy { $0.policy == nil && $0.distillationLoss == nil })
    let (first, last) = (reports[0], reports[4])
    for i in 0..<2 { #expect(last.conditions[i].meanCost < 0.6 * first.conditions[i].meanCost) }
    #expect(last.actualImprovement != nil && first.actualImprovement == nil)
  }

  @Test("distillation is trajectory optimisation, and one distillation at the end")
  func distillation() async throws {
    func result(_ distills: Bool) async throws -> (
      SearchState<KLStep.Memory, NoMemory, NeuralPolicy, PolicyDistiller.OptimizerState>, [Report]
    ) {
      try await run(
        makeSearch(link: Uncoupled(distillsAtEnd: distills)) { settings in
          settings.iterations = 5
          settings.training.steps = 1500
        })
    }
    let (alone, _) = try await result(false)
    let (state, reports) = try await result(true)
    #expect(state.conditions == alone.conditions)
    #expect(reports.map { $0.policy == nil } == [true, true, true, true, false])
    #expect(reports.map { $0.distillationLoss == nil } == [true, true, true, true, false])
    // The network does about as well as the controllers whose actions it learned.
    let policy = try #require(reports[4].policy)
    #expect(
      policy.meanCost < reports[4].meanCost + 0.3 * (reports[0].meanCost - reports[4].meanCost))
  }

  @Test(
    "on-policy and off-policy mirror descent lower the policy's cost",
    arguments: Sampling.allCases)
  func mirrorDescent(_ sampling: Sampling) async throws {
    let search = try makeSearch { settings in
      settings.sampling = sampling
      settings.iterations = 5
      settings.training.steps = 1500
    }
    let (state, reports) = try await run(search)
    #expect(state.policy != nil && state.iteration == 5)
    let first = try #require(reports[0].policy).meanCost
    let last = try #require(reports[4].policy).meanCost
    #expect(last < 0.9 * first, "\(first) to \(last)")
    #expect(last < 0.6 * reports[0].meanCost, "\(reports[0].meanCost) to \(last)")
    for report in reports {
      for condition in report.conditions {
        #expect(condition.divergence <= 1.1 * condition.divergenceBound + 1e-9)
      }
    }
  }

  @Test("the bound on the divergence shrinks by klStepDecay from one iteration to the next")
  func decayingStep() async throws {
    let search = try makeSearch { settings in
      (settings.klStep, settings.klStepDecay) = (0.8, 0.25)
      (settings.minStepMultiplier, settings.maxStepMultiplier) = (1, 1)
    }
    let (_, reports) = try await run(search)
    // Nats per step times 15 steps.
    for (report, bound) in zip(reports, [12, 3, 0.75]) {
      for condition in report.conditions {
        #expect(abs(condition.divergenceBound - bound) < 1e-12)
        #expect(condition.divergence <= 1.1 * bound)
      }
    }
  }

  @Test("off-policy rollouts are the local controllers', on-policy ones the network's")
  func sampling() async throws {
    let noisy = try makeSearch()
    let state = try await noisy.advancing(noisy.initialState).next
    let network = try #require(state.policy)
    for sampling in Sampling.allCases {
      let search = try makeSearch { settings in
        settings.sampling = sampling
        settings.noise.scale = 0
      }
      let trajectory = try await rolledOut(search, state)[1].trajectories[2]
      let local = state.conditions[1].controller
      for t in 0..<15 {
        let mean =
          switch sampling {
          case .offPolicy:
            zip(local.gains[t] * trajectory.states.column(t), local.offsets.column(t)).map(+)
          case .onPolicy:
            network.mean(
              for: Matrix(rows: 8, columns: 1, columnMajor: trajectory.observations.column(t))
            ).column(0)
          }
        #expect(
          relativeError(trajectory.controls.column(t), mean) < 1e-4, "\(sampling) at step \(t)")
      }
    }
  }

  @Test("iteration 0 is always the initial controllers'")
  func firstRollouts() async throws {
    func first(_ sampling: Sampling) async throws -> [[Trajectory]] {
      let search = try makeSearch { $0.sampling = sampling }
      return try await rolledOut(search, search.initialState).map(\.trajectories)
    }
    #expect(try await first(.onPolicy) == first(.offPolicy))
  }

  // MARK: - Failures

  @Test("a condition whose plant always fails keeps its controller, and the run goes on")
  func oneConditionFails() async throws {
    let search = try makeSearch(always: ["right": .throwing])
    let (state, reports) = try await run(search)
    // Five of the other condition in each iteration, and one that judges the network.
    #expect(state.iteration == 3 && state.rollouts == 18)
    #expect(state.conditions[1].controller == search.initialControllers[1])
    #expect(state.conditions[0].controller != search.initialControllers[0])
    for report in reports {
      #expect(report.conditions[1].status == "kept previous controller")
      #expect(report.conditions[1].costs.isEmpty)
      #expect(report.conditions[0].status != "kept previous controller")
      #expect(
        report.notes.contains {
          $0.contains("right") && $0.contains("the mass fell off the table")
        })
      // Three tries of five; when the network has failed, one more of the local controller.
      #expect(report.discardedRollouts == (report.iteration == 0 ? 15 : 20))
      #expect(report.policy?.entries[1].successes == [false])
    }
  }

  @Test("a search in which every rollout fails ends with the reason")
  func allConditionsFail() async throws {
    let search = try makeSearch(always: ["left": .throwing, "right": .throwing])
    let error = await #expect(throws: SearchError.self) {
      try await search.advancing(search.initialState)
    }
    guard case .noRollouts(iteration: 0, let reason, let report) = error else {
      Issue.record("another error: \(String(describing: error))")
      return
    }
    #expect(reason.contains("the mass fell off the table"))
    // Every try is on record.
    #expect(report.iteration == 0 && report.conditions.map(\.name) == ["left", "right"])
    for condition in report.conditions {
      #expect(condition.batch.trajectories.isEmpty && !condition.batch.discarded.isEmpty)
      #expect(
        condition.batch.discarded.allSatisfy { $0.reason.contains("the mass fell off the table") })
    }
  }

  @Test("a gradient of the cost that becomes NaN keeps that condition's controller, and says so")
  func gradientBecomesNaN() async throws {
    let healthy = try makeSearch()
    let first = try await healthy.advancing(healthy.initialState)
    #expect(first.report.notes.filter { $0.contains("kept") } == [])
    let search = try makeSearch(always: ["left": .gradient])
    let second = try await search.advancing(first.next)
    #expect(second.report.conditions[0].status == "kept previous controller")
    #expect(
      second.report.notes.contains { $0.contains("left") && $0.contains("not finite at step 0") })
    #expect(second.next.conditions[0].controller == first.next.conditions[0].controller)
    #expect(second.next.conditions[0].local.dual == first.next.conditions[0].local.dual)
    #expect(second.next.conditions[1].controller != first.next.conditions[1].controller)
    // And on it goes when the gradient is a number again.
    let third = try await healthy.advancing(second.next)
    #expect(third.report.conditions[0].status != "kept previous controller")
    #expect(third.next.conditions[0].stepMultiplier.isFinite)
    #expect(third.report.meanCost.isFinite)
  }

  @Test("training that diverges keeps the network, and the run goes on")
  func trainingDiverges() async throws {
    let healthy = try makeSearch()
    let wild = try makeSearch { $0.training.learningRate = 1e30 }
    let first = try await healthy.advancing(healthy.initialState)
    let second = try await wild.advancing(first.next)
    #expect(second.next.policy == first.next.policy)
    #expect(second.report.notes.contains { $0.contains("kept the previous network") })
    #expect(second.report.distillationLoss == nil && second.report.policy != nil)
    #expect(second.next.conditions[0].controller != first.next.conditions[0].controller)
    // With no network yet, the local controllers go on alone until one can be trained.
    let alone = try await wild.advancing(wild.initialState)
    #expect(alone.next.policy == nil && alone.report.policy == nil)
    let recovered = try await healthy.advancing(alone.next)
    #expect(recovered.next.policy != nil)
  }

  // MARK: - Cancellation

  @Test("a task that is cancelled already does nothing")
  func cancelledBefore() async throws {
    let search = try makeSearch()
    let work = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await search.advancing(search.initialState).next.iteration
    }
    await #expect(throws: CancellationError.self) { try await work.value }
  }

  @Test(
    "a cancelled search stops in the midst of its iterations and of training",
    .timeLimit(.minutes(30)), arguments: [400, 50_000_000])
  func cancelledInFlight(steps: Int) async throws {
    let search = try makeSearch { settings in
      settings.iterations = 1_000_000
      settings.training.steps = steps
      settings.workers = 2
    }
    let work = Task { try await run(search).state.iteration }
    try await Task.sleep(for: .milliseconds(300))
    work.cancel()
    // What was asked for would take days.
    await #expect(throws: CancellationError.self) { try await work.value }
  }

  // MARK: - Learning

  @Test("with known dynamics the shipped point mass learns, and nothing is fitted")
  func learnsFromKnownDynamics() async throws {
    let loaded = try Experiment.load(
      pointMassFile(), overrides: ["dynamics=known", "algorithm.iterations=6"])
    let (state, reports) = try await runShipped(loaded, seed: 0, workers: 2)
    #expect(reports.last?.policy?.successRate == 1)
    #expect(state.conditions.allSatisfy { $0.local.dynamicsPrior == DynamicsPrior() })
  }

  @Test("a task without known dynamics is refused at once")
  func unknownDynamics() throws {
    let error = #expect(throws: UnknownDynamics.self) {
      try makeSearch { $0.dynamics = .known(DynamicsLinearizer.Options()) }
    }
    #expect("\(error.map { "\($0)" } ?? "")".contains("not known"))
  }

  @Test("wrong options of a search made in code are refused by name, and do not trap")
  func invalidOptions() throws {
    let invalid: [(String, (inout TestSettings) -> Void)] = [
      ("samples", { $0.samples = 0 }), ("klStep", { $0.klStep = -1 }),
      ("workers", { $0.workers = 0 }), ("rollouts.maxAttempts", { $0.rollouts.maxAttempts = 0 }),
      ("noise.scale", { $0.noise.scale = -1 }),
      ("network.hiddenLayers.0", { $0.network.hiddenLayers = [0] }),
      ("training.batchSize", { $0.training.batchSize = 0 }),
      ("localOptimization.minDual", { $0.localOptimization.minDual = 0 }),
      (
        "dynamics.maxTrajectories",
        { settings in
          var options = LinearGaussianFitter.Options()
          options.maxTrajectories = 0
          settings.dynamics = .fitted(options)
        }
      ),
    ]
    for (key, change) in invalid {
      let error = #expect(throws: InvalidOption.self) { try makeSearch(change: change) }
      #expect(error?.key == key)
    }
  }

  @Test(
    "the shipped point mass reaches its goal in all conditions", .slow, .timeLimit(.minutes(30)),
    arguments: [0, 1, 2] as [UInt64])
  func learnsPointMass(seed: UInt64) async throws {
    let loaded = try Experiment.load(pointMassFile())
    let (_, reports) = try await runShipped(loaded, seed: seed, workers: 2)
    let last = try #require(reports.last?.policy)
    #expect(last.successRate == 1, "\(last.entries.map { ($0.condition, $0.successes) })")
    let first = try #require(reports.first)
    #expect(last.meanCost < 0.6 * first.meanCost)
  }
}

@Suite("Step rule") struct StepRuleTests {
  let rule = StepRule(smallest: 0.01, largest: 10)

  func multiplier(
    _ previous: Double = 1, predicted: Double, actual: Double, trusted: Bool = true,
    rule: StepRule? = nil
  ) -> Double {
    (rule ?? self.rule).multiplier(
      after: previous,
      expectation: StepExpectation(
        cost: 100, predictedImprovement: predicted, isTrustworthy: trusted),
      cost: 100 - actual)
  }

  /// predicted / (2 (predicted − actual)).
  @Test(
    "worked by hand",
    arguments: [
      (2, 1, 1), (2, 1.5, 2), (2, 0, 0.5), (3, 1, 0.75), (1, -1, 0.25), (8, 7, 4),
    ] as [(Double, Double, Double)])
  func byHand(predicted: Double, actual: Double, factor: Double) {
    #expect(multiplier(predicted: predicted, actual: actual) == factor)
    #expect(multiplier(0.5, predicted: predicted, actual: actual) == 0.5 * factor)
  }

  @Test("the factor stays within 0.1 and 5, the multiplier within its bounds")
  func clamps() {
    // Better than promised: the denominator is a tenth of the promise, not negative.
    #expect(multiplier(predicted: 2, actual: 3) == 5)
    #expect(multiplier(predicted: 2, actual: 2) == 5)
    #expect(multiplier(predicted: 1, actual: -99) == 0.1)
    #expect(multiplier(predicted: -1, actual: 0) == 0.1)
    #expect(multiplier(4, predicted: 2, actual: 2) == 10)
    #expect(multiplier(0.05, predicted: 1, actual: -99) == 0.01)
    let narrow = StepRule(smallest: 0.3, largest: 1)
    #expect(multiplier(predicted: 2, actual: 2, rule: narrow) == 1)
    #expect(multiplier(predicted: 1, actual: -99, rule: narrow) == 0.3)
    // What was taken back has made it smaller.
    #expect(multiplier(0.1, predicted: 1, actual: -99, rule: narrow) == 0.1)
    #expect(multiplier(0.1, predicted: 2, actual: 2, rule: narrow) == 0.2)
  }

  @Test("a prediction that is not trusted and a step that made things worse never enlarge")
  func neverEnlarges() {
    #expect(multiplier(predicted: 2, actual: 1.5, trusted: false) == 1)
    #expect(multiplier(predicted: 2, actual: 0, trusted: false) == 0.5)
    for predicted in stride(from: -10.0, through: 10, by: 0.25) {
      let grid = Array(stride(from: -10.0, through: 10, by: 0.25))
      let untrusted = grid.filter {
        multiplier(predicted: predicted, actual: $0, trusted: false) > 1
      }
      #expect(untrusted.isEmpty, "promised \(predicted)")
      let worse = grid.filter { $0 < 0 && multiplier(predicted: predicted, actual: $0) > 1 }
      #expect(worse.isEmpty, "promised \(predicted)")
    }
    // Both promised and found worse by nearly as much.
    #expect(multiplier(predicted: -1, actual: -1.5) <= 1)
  }

  @Test(
    "neither a constant added to the costs nor a factor on them changes what is trusted or done")
  func invariance() throws {
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 1, count: 1), offsets: Matrix(rows: 1, columns: 1),
      covariances: MatrixSequence(repeating: .identity(1), count: 1))
    var verdicts: Set<Bool> = []
    for (reference, expected, cost, deviation) in [
      (10.0, 6.0, 9.0, 0.1), (10, 6, 20, 1), (1000, 5, 10, 2), (10.3, 10.2, 10, 0),
      (10, 6, 12, 0.7),
    ] {
      func expectation(_ factor: Double, _ constant: Double) -> StepExpectation {
        StepExpectation(
          of: LocalOutcome(
            controller: controller, expectedCost: factor * expected + constant,
            referenceCost: factor * reference + constant, divergence: 1, status: .converged),
          from: factor * cost + constant, deviation: factor * deviation)
      }
      let plain = expectation(1, 0)
      verdicts.insert(plain.isTrustworthy)
      for (factor, constant) in [(1.0, 1024.0), (8, 0), (0.125, -4096), (1e-6, 0)] {
        let other = expectation(factor, constant)
        #expect(other.isTrustworthy == plain.isTrustworthy)
        for next in [5.0, 8, 9, 11] {
          let found = rule.multiplier(
            after: 1, expectation: other, cost: factor * next + constant)
          let wanted = rule.multiplier(after: 1, expectation: plain, cost: next)
          #expect(abs(found - wanted) < 1e-6)
        }
      }
    }
    #expect(verdicts == [true, false])
  }

  @Test("what is not a number halves the step, down to the smallest")
  func notANumber() {
    for bad in [Double.nan, .infinity, -.infinity] {
      #expect(multiplier(predicted: bad, actual: 1) == 0.5)
      #expect(multiplier(predicted: 1, actual: bad) == 0.5)
      #expect(multiplier(0.015, predicted: bad, actual: bad) == 0.01)
    }
  }
}
