import Foundation
import GPSTestSupport
import Testing

@testable import GuidedPolicySearch
@testable import PolicySearch
@testable import SearchParts

/// One point mass on a rail without limits: exact linear dynamics, and a quadratic cost.
private func linearQuadraticTask(deviation: Double = 0.1) throws -> NativeTask<PointMass> {
  try NativeTask(
    name: "linear-quadratic", model: PointMass(), controlPeriod: 0.1, horizon: 10,
    conditions: [
      Condition(
        name: "only", initialPlantState: [-1, 0.5, 0, 0],
        initialPlantStateDeviation: [Double](repeating: deviation, count: 4))
    ],
    cost: SumCost(
      .state(
        StateCost(
          entries: [0, 1, 2, 3], target: .numbers([0, 0, 0, 0]), weights: [1, 1, 0.1, 0.1])),
      .control(ControlCost(weights: [0.1, 0.1]))),
    success: .all([]))
}

private func start(of task: some ControlTask) throws -> LinearGaussianController {
  try InitialController.lqr(.init(gains: [1], stiffness: 0.3)).controller(
    for: task, in: task.conditions[0])
}

/// Rollouts of the initial controller.
private func batch(
  of task: NativeTask<PointMass>, samples: Int, seed: UInt64 = 3
) async throws -> RolloutBatch {
  try await collectRollouts(
    of: task, in: task.conditions, under: [start(of: task)],
    plan: RolloutPlan(iteration: 0, samples: samples, workers: 1), stream: RandomStream(seed: seed)
  )[0]
}

/// Mirror descent in two rounds, of which the second finds no anchor and none can be settled.
private struct UnsettledDescent: Coupling {
  struct Unsettled: NumericalFailure, CustomStringConvertible {
    let isNumerical = true
    let description: String
  }

  let base: MirrorDescent
  let rounds = 2

  func initialMemory(_ dimensions: Dimensions) -> PolicyPrior { base.initialMemory(dimensions) }

  func anchor<P: DistillablePolicy>(
    of controller: LinearGaussianController, policy: P?, isBehind: Bool,
    about samples: [Trajectory], limits: ControlLimits?, memory: inout PolicyPrior,
    stream: RandomStream
  ) throws -> Anchor {
    // The policy that iteration 0 begins without is there in its second round.
    if policy != nil { throw Unsettled(description: "no anchor") }
    return try base.anchor(
      of: controller, policy: policy, isBehind: isBehind, about: samples, limits: limits,
      memory: &memory, stream: stream)
  }

  func settle<P: DistillablePolicy>(
    _ controller: LinearGaussianController, policy: P, about samples: [Trajectory],
    memory: inout PolicyPrior, isLastRound: Bool, stream: RandomStream
  ) throws {
    memory = PolicyPrior(
      states: [Matrix(rows: 1, columns: 1)], observations: [Matrix(rows: 1, columns: 1)],
      mixture: nil)
    throw Unsettled(description: "no multipliers")
  }

  func fits(_ memory: PolicyPrior, _ dimensions: Dimensions) -> Bool {
    base.fits(memory, dimensions)
  }
}

@Suite("The family") struct FamilyTests {
  @Test("what fails after the first round is reported, and leaves the new controller in force")
  func lateFailures() async throws {
    let search = try makeSearch(link: UnsettledDescent(base: MirrorDescent()))
    let (next, report) = try await search.advancing(search.initialState)
    for name in ["left", "right"] {
      #expect(
        report.notes.filter {
          $0 == "\(name): kept the controller of the round before: no anchor"
        }.count == 1, "\(report.notes)")
      // Twice: once in each round.
      #expect(
        report.notes.filter {
          $0 == "\(name): kept what couples controller and policy as it was: no multipliers"
        }.count == 2, "\(report.notes)")
    }
    for (condition, start) in zip(next.conditions, search.initialControllers) {
      #expect(condition.controller != start)
      #expect(condition.link.states.isEmpty)
    }
  }

  // MARK: - Every member

  private static let members = ["mirrorDescent", "badmm", "trajectoryOptimization", "distillation"]
    .flatMap { algorithm in ["klLQR", "pathIntegral", "pilqr"].map { (algorithm, $0) } }

  private func loaded(
    _ algorithm: String, _ localStep: String, _ overrides: [String] = []
  ) throws -> LoadedExperiment {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Experiments/point-mass/experiment.yaml")
    return try Experiment.load(
      file,
      overrides: ([
        "algorithm.name=\(algorithm)", "algorithm.localStep=\(localStep)",
        "algorithm.iterations=3", "training.steps=100",
      ] + overrides).map { Experiment.Override($0) })
  }

  @Test("keeps what learners promise", .slow, arguments: members)
  func promises(_ member: (String, String)) async throws {
    func check(_ learner: some Learner) async throws {
      try await checkLearner(learner, iterations: 3)
    }
    try await check(loaded(member.0, member.1).learner(workers: 2))
  }

  @Test("gives the same bytes with any number of workers", .slow, arguments: members)
  func workers(_ member: (String, String)) async throws {
    func bytes(_ learner: some Learner) async throws -> [UInt8] {
      var writer = ValueWriter()
      try await learner.run().store(in: &writer)
      return writer.file.sealed()
    }
    let loaded = try loaded(member.0, member.1)
    let one = try await bytes(loaded.learner(workers: 1))
    for workers in [2, 5] {
      #expect(try await bytes(loaded.learner(workers: workers)) == one, "\(workers) workers")
    }
  }

  @Test("lowers the cost of the rollouts", .slow, arguments: members)
  func learns(_ member: (String, String)) async throws {
    let samples = member.1 == "klLQR" ? 5 : 20
    func costs(_ learner: some Learner) async throws -> [Double] {
      var costs: [Double] = []
      _ = try await learner.run { costs.append($0.meanCost) }
      return costs
    }
    let costs = try await costs(
      loaded(
        member.0, member.1,
        ["algorithm.iterations=8", "algorithm.samples=\(samples)", "training.steps=1000"]
      ).learner(workers: 2))
    let target = member.1 == "pathIntegral" ? 0.85 : 0.5
    #expect(costs[7] < target * costs[0], "\(costs)")
  }

  @Test("faults of rollouts are contained, whatever improves the controllers", .slow)
  func faults() async throws {
    func check<Local: LocalImprovement, Link: Coupling>(_ local: Local, _ link: Link) async throws {
      let base = try smallTask()
      var settings = SearchSettings()
      settings.iterations = 3
      settings.samples = 8
      let search = try GuidedSearch(
        FaultyTask(base, seed: 1, faults: FaultTests.faults, always: ["right": .cost(.nan)]),
        from: base.conditions.map {
          try InitialController.lqr(.init(gains: [1], stiffness: 0.5)).controller(for: base, in: $0)
        }, settings: settings, local: local, link: link,
        student: NeuralDistiller(seed: 1), seed: 1)
      let (state, reports) = try await run(search)
      #expect(notFinite(state, reports) == [])
      #expect(state.conditions[1].controller == search.initialControllers[1])
      #expect(state.conditions[0].controller != search.initialControllers[0])
    }
    try await check(PathIntegralStep(), MirrorDescent())
    try await check(PILQRStep(lqr: KLStep()), Uncoupled(distillsAtEnd: true))
    try await check(KLStep(), BADMM())
  }

  @Test("what cannot be combined is refused with the reason")
  func refusals() throws {
    let error = #expect(throws: InvalidOption.self) {
      try loaded("badmm", "klLQR", ["algorithm.sampling=onPolicy"]).learner()
    }
    #expect("\(try #require(error))".contains("multipliers compare policy and controllers"))
    #expect(throws: SettingsError.self) { try loaded("mirrorDescent", "lqr") }
  }

  // MARK: - PILQR

  @Test("on a quadratic cost with exact dynamics PILQR is the LQR step, bit for bit")
  func pilqrIsLQR() async throws {
    let task = try linearQuadraticTask()
    let batch = try await batch(of: task, samples: 8)
    let lqr = try KLStep(dynamics: .known(DynamicsLinearizer.Options()))
    let pilqr = try PILQRStep(lqr: lqr)
    let anchor = Anchor(reference: try start(of: task))
    var notes: [String] = []
    var (own, whole) = (lqr.initialMemory, pilqr.initialMemory)
    let stream = RandomStream(seed: 1)
    let model = try lqr.study(batch, of: task, memory: &own, stream: stream, notes: &notes)
    let evidence = try pilqr.study(batch, of: task, memory: &whole, stream: stream, notes: &notes)
    let expected = try lqr.improve(by: model, on: batch, anchor: anchor, bound: 5, memory: &own)
    let found = try pilqr.improve(by: evidence, on: batch, anchor: anchor, bound: 5, memory: &whole)
    #expect(found.controller == expected.controller)
    #expect(try #require(found.metrics["residual_ratio"]) < 1e-9)
    // The model explains all: the next step may be longer.
    #expect(whole.stepSizes?.multipliers == [Double](repeating: 2, count: 10))
  }

  @Test("a model that explains nothing leaves PI²")
  func pilqrIsPathIntegral() async throws {
    let task = try linearQuadraticTask()
    let batch = try await batch(of: task, samples: 25)
    let reference = try start(of: task)
    // A cost of 0 gives no reason to leave the reference, and all of the cost is residual.
    let blind = KLStep.Evidence(
      dynamics: try DynamicsLinearizer().linearize(
        NativeDynamics(task.model, timeStep: task.timeStep), about: batch.trajectories,
        condition: 0),
      cost: QuadraticCost(state: 4, control: 2, horizon: 10))
    let costs = batch.trajectories.map { task.cost.values(along: $0, in: task.conditions[0]) }
    let pilqr = try PILQRStep(lqr: KLStep())
    var memory = pilqr.initialMemory
    let found = try pilqr.improve(
      by: PILQRStep.Evidence(model: blind, costs: costs), on: batch,
      anchor: Anchor(reference: reference), bound: 10, memory: &memory)
    var options = PathIntegralUpdate.Options()
    options.centersNoise = true
    var none = NoMemory()
    let expected = try PathIntegralStep(options: options).improve(
      by: costs, on: batch, anchor: Anchor(reference: reference), bound: 10, memory: &none)
    for t in 0..<10 {
      #expect(
        relativeError(found.controller.offsets.column(t), expected.controller.offsets.column(t))
          < 1e-6)
    }
    #expect(memory.stepSizes?.multipliers == [Double](repeating: 0.5, count: 10))
  }

  // MARK: - PI²

  @Test("PI² alone approaches the optimum of a linear-quadratic problem")
  func pathIntegralConverges() async throws {
    let task = try linearQuadraticTask(deviation: 0)
    var settings = SearchSettings()
    settings.iterations = 40
    settings.samples = 60
    settings.klStep = 1
    let search = try GuidedSearch(
      task, from: [start(of: task)], settings: settings, local: PathIntegralStep(),
      link: Uncoupled(distillsAtEnd: false), student: NeuralDistiller(seed: 0), seed: 5)
    let state = try await search.run()
    // Without noise in the start, offsets alone can reach what the best feedback reaches.
    let best = try await ILQR().optimize(
      NativeDynamics(task.model, timeStep: task.timeStep), cost: task.cost,
      in: task.conditions[0], from: task.conditions[0].initialPlantState,
      controls: Matrix(rows: 2, columns: 10)
    ).cost
    func cost(_ controller: LinearGaussianController) async throws -> Double {
      try await task.evaluate(controller, rollouts: 1).meanCost
    }
    let (first, last) = (
      try await cost(search.initialControllers[0]), try await cost(state.conditions[0].controller)
    )
    #expect(last >= best - 1e-9)
    #expect(last - best < 0.05 * (first - best), "\(first) to \(last), optimum \(best)")
  }

  // MARK: - BADMM

  @Test(
    "BADMM with an affine policy brings policy and controllers together at the constrained optimum")
  func badmmConverges() async throws {
    let task = try linearQuadraticTask()
    var settings = SearchSettings()
    settings.iterations = 40
    settings.samples = 12
    settings.klStepDecay = 0.95
    var options = BADMM.Options()
    options.initialWeight = 0.05
    let search = try GuidedSearch(
      task, from: [start(of: task)], settings: settings,
      local: KLStep(dynamics: .known(DynamicsLinearizer.Options())), link: BADMM(options: options),
      student: AffineDistiller(), seed: 2)
    let state = try await search.run()
    let policy = try #require(state.policy)
    func cost(_ gain: Matrix, _ offset: [Double]) async throws -> Double {
      try await task.evaluate(
        AffinePolicy(gain: gain, offset: offset, precision: .identity(2)), rollouts: 40, seed: 9
      ).meanCost
    }
    // The best affine policy by itself: pattern search on the same rollouts, which knows nothing of
    // multipliers.
    var (gain, offset) = (policy.gain, policy.offset)
    let reached = try await cost(gain, offset)
    var best = reached
    var step = 0.2
    while step > 0.02 {
      var isBetter = false
      for entry in 0..<gain.storage.count + offset.count {
        for sign in [1.0, -1.0] {
          var (g, b) = (gain, offset)
          if entry < gain.storage.count {
            g.storage[entry] += sign * step
          } else {
            b[entry - gain.storage.count] += sign * step
          }
          let trial = try await cost(g, b)
          if trial < best { (best, gain, offset, isBetter) = (trial, g, b, true) }
        }
      }
      if !isBetter { step /= 2 }
    }
    let nothing = try await cost(Matrix(rows: 2, columns: 4), [0, 0])
    #expect(reached - best < 0.05 * (nothing - best), "\(reached), best \(best), of \(nothing)")
    // And the controllers do what the policy does.
    let controllers = try await task.evaluate(
      state.conditions[0].controller, rollouts: 40, seed: 9
    ).meanCost
    #expect(abs(controllers - reached) < 0.05 * (nothing - best), "\(controllers) and \(reached)")
  }
}
