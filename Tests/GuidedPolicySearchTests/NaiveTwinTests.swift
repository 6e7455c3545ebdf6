import GPSTestSupport
import Testing

@testable import GuidedPolicySearch

/// A polynomial of the fourth degree whose curvature differs from rollout to rollout.
private struct Quartic: DifferentiableCost {
  func running<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, points: Span<S>, at moment: CostMoment
  ) -> S {
    var value = distance(x, moment)
    value += 0.05 * u[0] * u[0]
    value += 0.1 * u[1] * u[1]
    value += 0.01 * x[2] * u[0]
    value += 0.02 * u[0] * u[0] * x[3] * x[3]
    return value
  }

  func final<S: DifferentiableScalar>(_ x: Span<S>, points: Span<S>, at moment: CostMoment) -> S {
    3 * distance(x, moment)
  }

  private func distance<S: DifferentiableScalar>(_ x: Span<S>, _ moment: CostMoment) -> S {
    let a = x[0] - moment.condition.goal[0]
    let b = x[1] - moment.condition.goal[1]
    let aa = a * a
    let bb = b * b
    var value = aa + 0.5 * bb
    value += 0.1 * aa * aa
    value += 0.05 * aa * bb
    value += 0.2 * x[2] * x[2]
    value += 0.1 * x[3] * x[3]
    return value
  }
}

@Suite("Whole iterations and their naive twin") struct NaiveTwinTests {
  private let task: NativeTask<PointMass>
  private var settings = smallSettings()
  private let regression: LinearGaussianFitter.Options
  private let linearization: PolicyLinearizer.Options

  init() throws {
    task = try NativeTask(
      name: "quartic", model: PointMass(), controlPeriod: 0.1, horizon: 10,
      conditions: [[-1, 0, 0, 0], [1.5, -0.5, 0, 0.2]].enumerated().map { index, start in
        Condition(
          name: "c\(index)", initialPlantState: start,
          initialPlantStateDeviation: [0.05, 0.05, 0, 0.1], goal: [0.5, 0.2])
      }, cost: Quartic(),
      success: .stateWithin(
        entries: [0, 1], target: .goal(first: 0), tolerance: [0.2, 0.2], at: .final))
    settings.iterations = 3
    settings.samples = 12
    settings.search.klStep = 0.5
    settings.search.klStepDecay = 0.8
    settings.search.maxStepMultiplier = 2
    // What the twin knows ends with the local step.
    settings.search.takeBack = 0
    settings.search.explorationFloor = 0
    // The bound is met to the accuracy of the comparison.
    settings.localOptimization.tolerance = 1e-11
    settings.localOptimization.maxPasses = 200
    // Mixtures draw seeds; without them every number is a plain formula.
    var regression = LinearGaussianFitter.Options()
    regression.prior = .none
    settings.dynamics = .fitted(regression)
    self.regression = regression
    var linearization = PolicyLinearizer.Options()
    linearization.regression.strength = 0
    linearization.maxTrajectories = settings.search.samples
    self.linearization = linearization
  }

  private func controllers() throws -> [LinearGaussianController] {
    try task.conditions.map {
      try InitialController.lqr(.init(gains: [1], stiffness: 0.5)).controller(for: task, in: $0)
    }
  }

  @Test("agree in mirror descent: without a policy, and close to its linearisation")
  func mirrorDescent() async throws {
    let search = try search(
      task, from: controllers(), settings, link: MirrorDescent(linearization: linearization),
      seed: 4)
    try await compare(search) { state, i, rollouts in
      guard let policy = state.policy else { return .init(state.conditions[i].controller) }
      let T = rollouts[0].horizon
      let actions = rollouts.map {
        policy.mean(for: $0.observations[0..<policy.observation, 0..<T])
      }
      let options = linearization.regression
      var linear = NaiveIteration.Conditional(
        inputs: (0..<T).map { t in rollouts.map { $0.states.column(t) } },
        outputs: (0..<T).map { t in actions.map { $0.column(t) } },
        ridge: options.regularization, floor: options.covarianceFloor)
      for t in 0..<T {
        for r in 0..<policy.control {
          for c in 0..<policy.control { linear.C[t][r][c] += policy.covariance[r, c] }
        }
      }
      return linear
    }
  }

  @Test("agree in trajectory optimisation: close to the previous controller")
  func trajectoryOptimization() async throws {
    let search = try search(
      task, from: controllers(), settings, link: Uncoupled(distillsAtEnd: false), seed: 5)
    try await compare(search) { state, i, _ in .init(state.conditions[i].controller) }
  }

  /// Three iterations; in each the twin starts from the search's rollouts and policy.
  private func compare<Link: Coupling>(
    _ search: GuidedSearch<NativeTask<PointMass>, KLStep, Link, NeuralDistiller>,
    reference: (
      SearchState<KLStep.Memory, Link.Memory, NeuralPolicy, PolicyDistiller.OptimizerState>, Int,
      [Trajectory]
    ) -> NaiveIteration.Conditional
  ) async throws {
    typealias Promise = (costs: [Double], reference: Double, expected: Double)
    let (T, settings) = (Double(task.dimensions.horizon), settings.search)
    var state = search.initialState
    var multipliers = task.conditions.map { _ in 1.0 }
    var promises: [Promise?] = task.conditions.map { _ in nil }
    for iteration in 0..<settings.iterations {
      let (next, report) = try await search.advancing(state)
      #expect(report.notes.allSatisfy { !$0.contains("kept") }, "\(report.notes)")
      for (i, condition) in task.conditions.enumerated() {
        let rollouts = report.conditions[i].batch.trajectories
        #expect(rollouts.count == settings.samples)
        let costs = rollouts.map { task.cost.values(along: $0, in: condition).reduce(0, +) }
        if let promise = promises[i] {
          multipliers[i] = NaiveIteration.stepMultiplier(
            after: multipliers[i], costs: promise.costs, reference: promise.reference,
            expected: promise.expected, actual: costs.reduce(0, +) / Double(costs.count),
            range: settings.minStepMultiplier...settings.maxStepMultiplier)
        }
        var bound = settings.klStep * T * multipliers[i]
        for _ in 0..<iteration { bound *= settings.klStepDecay }
        let naive = NaiveIteration(
          rollouts, reference: reference(state, i, rollouts),
          ridge: regression.regression.regularization,
          floor: regression.regression.covarianceFloor,
          initialFloor: regression.initialCovarianceFloor
        ) { task.cost.values(along: $0, in: condition) }
        let twin = naive.improved(within: bound)
        promises[i] = (costs, naive.referenceCost, twin.expectedCost)

        let place = "iteration \(iteration), condition \(i)"
        let (own, ours) = (
          report.conditions[i], NaiveIteration.Conditional(next.conditions[i].controller)
        )
        func close(_ name: String, _ a: [Double], _ b: [Double]) {
          let error = relativeError(a, b)
          #expect(error < 1e-6, "\(place), \(name): \(error)")
        }
        close(
          "gains", ours.F.flatMap { $0.flatMap { $0 } },
          twin.controller.F.flatMap { $0.flatMap { $0 } })
        close("offsets", ours.f.flatMap { $0 }, twin.controller.f.flatMap { $0 })
        close(
          "covariances", ours.C.flatMap { $0.flatMap { $0 } },
          twin.controller.C.flatMap { $0.flatMap { $0 } })
        close("bound", [own.divergenceBound], [bound])
        close("divergence", [own.divergence], [twin.divergence])
        close("dual", [try #require(own.dual)], [twin.dual])
        #expect(own.status == "converged", "\(place)")
        // The step rule has been at work, or it would not have been compared.
        if iteration > 0 { #expect(multipliers[i] != 1, "\(place)") }
      }
      state = next
    }
  }
}
