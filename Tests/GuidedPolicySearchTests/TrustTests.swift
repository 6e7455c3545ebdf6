import GPSTestSupport
import Synchronization
import Testing

@testable import GuidedPolicySearch
@testable import PolicySearch
@testable import SearchParts

/// A distiller whose product is useless in some of its calls: a network that answers with a constant.
struct Saboteur: Distiller {
  typealias Product = NeuralPolicy
  typealias Memory = PolicyDistiller.OptimizerState

  let honest: NeuralDistiller
  let sabotaged: Set<Int>
  let calls = Calls()

  final class Calls: Sendable {
    let count = Atomic(0)
  }

  func distill(
    _ policy: NeuralPolicy?, onto set: DistillationSet, memory: Memory?, stream: RandomStream,
    workers: Int
  ) async throws -> Distillation<NeuralPolicy, Memory> {
    let call = calls.count.wrappingAdd(1, ordering: .relaxed).oldValue
    var result = try await honest.distill(
      policy, onto: set, memory: memory, stream: stream, workers: workers)
    if sabotaged.contains(call) {
      var parameters = result.policy.network.parameters
      for i in 0..<parameters.count { parameters[i] = 0 }
      result.policy.network.parameters = parameters
    }
    return result
  }
}

private typealias Sabotaged = GuidedSearch<
  NativeTask<PointMass>, KLStep, MirrorDescent, Saboteur
>

private func search(
  _ sabotaged: Set<Int>, change: (inout TestSettings) -> Void
) throws -> Sabotaged {
  let task = try smallTask()
  var settings = smallSettings()
  settings.training.keepOptimizerState = true
  change(&settings)
  return try GuidedSearch(
    task,
    from: loosely(task), settings: settings.search, local: KLStep(), link: MirrorDescent(),
    student: Saboteur(
      honest: NeuralDistiller(network: settings.network, training: settings.training, seed: 1),
      sabotaged: sabotaged), seed: 1)
}

@Suite("A step that made things worse") struct TrustTests {
  @Test func evidenceIsJudgedBySuccessFirstAndCostSecond() throws {
    func evidence(_ rates: [Double], _ costs: [Double]) -> PolicyEvidence {
      PolicyEvidence(iteration: 3, successRates: rates, costs: costs)
    }
    let kept = evidence([1, 0], [-4, 2])
    #expect(!kept.isWorse(than: kept))
    // A success more outweighs any cost; a lower mean cost no success.
    #expect(kept.isWorse(than: evidence([1, 1], [100, 100])))
    #expect(evidence([0, 0], [-100, -100]).isWorse(than: kept))
    #expect(evidence([0, 1], [-4, 2.1]).isWorse(than: kept))
    #expect(!evidence([0, 1], [-4, 1.9]).isWorse(than: kept))
    // By condition.
    let other = evidence([1, 1], [-3, 50])
    #expect(other.isWorse(than: kept, in: 0) && !other.isWorse(than: kept, in: 1))
    // A rollout that failed has no cost, which is more than any.
    let failed = evidence([1, 0], [-4, .nan])
    #expect(failed.isWorse(than: kept) && !kept.isWorse(than: failed))
    try checkStorable(failed)
    // A zero and a scale of costs decide nothing.
    for (factor, shift) in [(10.0, 0.0), (1, 1000), (0.01, -7)] {
      func moved(_ e: PolicyEvidence) -> PolicyEvidence {
        evidence(e.successRates, e.costs.map { factor * $0 + shift })
      }
      for (a, b) in [(kept, other), (other, kept), (evidence([0, 1], [-4, 2.1]), kept)] {
        #expect(moved(a).isWorse(than: moved(b)) == a.isWorse(than: b))
      }
    }
  }

  @Test("is one after which all of the last few were better")
  func isJudgedByTheLastFew() {
    func evidence(_ cost: Double) -> PolicyEvidence {
      PolicyEvidence(iteration: 0, successRates: [1], costs: [cost])
    }
    var trial = SearchTrial<NeuralPolicy, NoMemory>(policy: nil, training: nil)
    #expect(!trial.isWorse(than: [evidence(1)]))
    trial.evidence = evidence(3)
    #expect(trial.isWorse(than: [evidence(2)]) && trial.isWorse(than: [evidence(2), evidence(1)]))
    #expect(!trial.isWorse(than: [evidence(4), evidence(1)]) && !trial.isWorse(than: []))
    // A search remembers as many as it judges by.
    var state = State(conditions: [])
    for cost in [5.0, 4, 6, 2] {
      var trial = SearchTrial<NeuralPolicy, PolicyDistiller.OptimizerState>(
        policy: nil, training: nil)
      trial.evidence = evidence(cost)
      state.take(trial, isTakenBack: false, memory: 3)
    }
    #expect(state.record.map(\.meanCost) == [4, 6, 2])
  }

  @Test("is taken back: network, optimizer and controllers return, and the bound shrinks", .slow)
  func takenBack() async throws {
    let search = try search([2]) {
      $0.iterations = 4
      $0.takeBack = 1
      $0.retries = 0
    }
    var state = search.initialState
    for _ in 0..<2 { state = try await search.advancing(state).next }
    let (next, report) = try await search.advancing(state)
    #expect(report.metrics["failed_tries"] == 1 && !report.keepsPolicy)
    let isRestored = next.policy == state.policy && next.training == state.training
    #expect(isRestored)
    #expect(next.evidence == state.evidence && next.best == nil)
    for (new, old) in zip(next.conditions, state.conditions) {
      #expect(new.controller == old.controller)
    }
    // Where the useless network did worse; it does so in both.
    #expect(
      next.conditions.map(\.stepMultiplier)
        == state.conditions.map { max(0.1, 0.5 * $0.stepMultiplier) })
    // Rollouts of the search and those that judged it.
    #expect(next.rollouts == state.rollouts + 2 * 5 + 2)
    // What was taken back is there, but not what is kept.
    #expect(search.policy(of: next) == state.policy && search.lastPolicy(of: next) != state.policy)
    try checkStorable(next, fits: search)
    // The search goes on from the same policy.
    let (last, after) = try await search.advancing(next)
    #expect(
      after.metrics["best_policy_mean_cost"] ?? .nan <= report.metrics["best_policy_mean_cost"]
        ?? .nan)
    #expect(last.lastPolicy == nil || last.policy == next.policy)
  }

  @Test("is taken back by the asynchronous schedule too, where it waits just so", .slow)
  func takenBackAsynchronously() async throws {
    func make() throws -> Sabotaged {
      try search([2, 4]) {
        $0.iterations = 6
        $0.takeBack = 1
        $0.workers = 3
      }
    }
    var options = AsynchronousOptions()
    options.stalenessBound = 0
    let one = try await run(make())
    let other = try await run(AsynchronousSearch(make(), options: options))
    #expect(one.reports.map { $0.metrics["failed_tries"] } == [0, 0, 1, 0, 1, 0])
    #expect(
      other.reports.map { $0.metrics["failed_tries"] }
        == one.reports.map { $0.metrics["failed_tries"] })
    let isSame = Outcome(other.state.search, other.reports) == Outcome(one.state, one.reports)
    #expect(isSame)
    // Where nobody waits the useless networks are taken back as well.
    let free = try await run(AsynchronousSearch(make()))
    #expect(free.state.search.policy != nil && free.state.iteration == 6)
    #expect(free.state.updates > 0)
  }

  @Test("is tried again on the same rollouts, with half the bound where it failed", .slow)
  func triedAgain() async throws {
    func third(_ sabotaged: Set<Int>, retries: Int) async throws -> (State, Report, State) {
      let search = try search(sabotaged) {
        $0.takeBack = 1
        $0.retries = retries
        // Any honest network will do.
        $0.klStep = 0.02
        $0.minStepMultiplier = 0.01
      }
      var state = search.initialState
      for _ in 0..<2 { state = try await search.advancing(state).next }
      let (next, report) = try await search.advancing(state)
      return (next, report, state)
    }
    let (once, first, before) = try await third([], retries: 0)
    let (next, report, _) = try await third([2], retries: 3)
    #expect(
      first.metrics["failed_tries"] == 0, "this test needs an iteration that is an improvement")
    #expect(report.metrics["failed_tries"] == 1 && report.keepsPolicy)
    #expect(next.rollouts == before.rollouts + 2 * 5 + 2 * 2)
    for (again, step) in zip(report.conditions, first.conditions) {
      #expect(again.batch.trajectories == step.batch.trajectories)
      #expect(abs(again.divergenceBound / step.divergenceBound - 0.5) < 1e-12)
      #expect(again.divergence < 1.2 * again.divergenceBound)
    }
    let differs = next.policy != before.policy && next.policy != once.policy
    #expect(differs)
  }

  @Test(
    "is named when it happens again and again, as are steps at their smallest and broken predictions"
  )
  func namedOnce() async throws {
    func notes(takeBack: Int) async throws -> [String] {
      let search = try search(Set(1..<20)) {
        $0.iterations = 9
        $0.takeBack = takeBack
        $0.minStepMultiplier = 0.3
        $0.training.steps = 100
      }
      let (state, reports) = try await run(search)
      try checkStorable(state, fits: search)
      #expect(
        reports.map { $0.metrics["taken_back"] }
          == reports.map { takeBack > 0 && $0.iteration > 0 ? 1 : 0 })
      return reports.flatMap(\.notes)
    }
    let (taken, kept) = (try await notes(takeBack: 1), try await notes(takeBack: 0))
    for word in ["4 iterations in a row were taken back", "stays at its smallest, 0.3"] {
      #expect(taken.count { $0.contains(word) } == 1, "\(word): \(taken)")
    }
    #expect(!kept.contains { $0.contains("taken back") }, "\(kept)")
  }

  @Test("leaves controllers that roll out themselves", .slow)
  func offPolicy() async throws {
    let search = try search([2]) {
      $0.sampling = .offPolicy
      $0.takeBack = 1
      $0.retries = 0
    }
    var state = search.initialState
    for _ in 0..<2 { state = try await search.advancing(state).next }
    let (next, report) = try await search.advancing(state)
    let isRestored = next.policy == state.policy
    #expect(isRestored && report.metrics["failed_tries"] == 1)
    for (new, old) in zip(next.conditions, state.conditions) {
      #expect(new.controller != old.controller)
    }
  }

  @Test("that stays taken does not lose the best policy", .slow)
  func bestIsKept() async throws {
    let search = try search([2]) { $0.takeBack = 0 }
    var (state, before) = (search.initialState, search.initialState)
    var reports: [Report] = []
    for _ in 0..<3 {
      before = state
      let (next, report) = try await search.advancing(state)
      state = next
      reports.append(report)
    }
    let (kept, last) = (search.policy(of: state), search.lastPolicy(of: state))
    #expect(kept == search.policy(of: before) && last == state.policy && kept != last)
    #expect(!reports[2].keepsPolicy && state.bestEvidence == before.bestEvidence)
    let best = try #require(state.bestEvidence)
    #expect(reports[2].metrics["best_policy_iteration"] == Double(best.iteration))
    #expect(reports[2].metrics["policy_mean_cost"] ?? .nan > best.meanCost)
    try checkStorable(state, fits: search)
  }

  @Test("makes the controller the reference, not a network that costs more", .slow)
  func reference() async throws {
    func divergence(_ reference: SearchSettings.Reference) async throws -> [Double] {
      let search = try search([0, 1]) {
        $0.sampling = .offPolicy
        $0.takeBack = 0
        $0.reference = reference
      }
      var state = search.initialState
      state = try await search.advancing(state).next
      let (next, report) = try await search.advancing(state)
      // How far the new controllers are from those before, over the rollouts.
      return zip(next.conditions, zip(state.conditions, report.conditions)).map { new, old in
        let rollouts = old.1.batch.trajectories
        return klDivergences(
          from: new.controller, to: old.0.controller, over: Marginals(of: rollouts)
        ).reduce(0, +) / old.1.divergenceBound
      }
    }
    let (cheaper, network) = (try await divergence(.cheaper), try await divergence(.network))
    #expect(cheaper.allSatisfy { $0 < 3 } && cheaper != network, "\(cheaper), \(network)")
    let other = try search([]) { _ in }
    let (state, report) = try await other.advancing(other.initialState)
    for isBehind in [true, false] {
      var memory = PolicyPrior()
      let anchor = try MirrorDescent().anchor(
        of: state.conditions[0].controller, policy: state.policy, isBehind: isBehind,
        about: report.conditions[0].batch.trajectories, limits: nil, memory: &memory,
        stream: RandomStream(seed: 1))
      #expect((anchor.reference == state.conditions[0].controller) == isBehind)
    }
  }
}

/// A cost times a factor, plus a constant at the end.
private struct Moved: Cost {
  let base: any Cost
  let factor: Double
  let constant: Double

  func addValues(to values: inout [Double], along trajectory: Trajectory, in condition: Condition) {
    for (t, value) in base.values(along: trajectory, in: condition).enumerated() {
      values[t] += factor * value
    }
    values[trajectory.horizon] += constant
  }

  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    let own = base.expansion(along: trajectory, in: condition)
    for t in own.values.indices { expansion.values[t] += factor * own.values[t] }
    expansion.values[trajectory.horizon] += constant
    expansion.gradients += factor * own.gradients
    for i in own.hessians.storage.indices {
      expansion.hessians.storage[i] += factor * own.hessians.storage[i]
    }
  }
}

@Suite("Zero and scale of a cost") struct CostScaleTests {
  private func states(
    factor: Double, constant: Double, _ sampling: Sampling
  ) async throws -> [State] {
    let plain = try smallTask()
    let task = try NativeTask(
      name: "small", model: PointMass(), controlPeriod: 0.1, horizon: 15,
      conditions: plain.conditions,
      cost: Moved(base: plain.cost, factor: factor, constant: constant),
      success: .stateWithin(
        entries: [0, 1], target: .goal(first: 0), tolerance: [0.2, 0.2], at: .final))
    var settings = smallSettings()
    settings.iterations = 4
    settings.takeBack = 1
    settings.sampling = sampling
    let search = try search(
      task,
      from: loosely(task), settings, link: MirrorDescent(), seed: 1)
    var states: [State] = []
    for try await (state, _) in search.iterations() { states.append(state) }
    return states
  }

  @Test(
    "a factor that is a power of two changes no bit of the run", .slow,
    arguments: [Sampling.onPolicy, .offPolicy])
  func factor(_ sampling: Sampling) async throws {
    let plain = try await states(factor: 1, constant: 0, sampling)
    for factor in [1024.0, 0x1p-6] {
      let moved = try await states(factor: factor, constant: 0, sampling)
      for (a, b) in zip(plain, moved) {
        let isSame = a.policy == b.policy && a.training == b.training && a.rollouts == b.rollouts
        #expect(isSame, "\(factor)")
        let areSame = a.conditions.map(\.controller) == b.conditions.map(\.controller)
        #expect(areSame, "\(factor)")
        #expect(a.conditions.map(\.stepMultiplier) == b.conditions.map(\.stepMultiplier))
        #expect(b.evidence?.costs == a.evidence?.costs.map { factor * $0 })
      }
    }
  }

  @Test(
    "neither a constant nor any other factor changes what it comes to", .slow,
    arguments: [(1.0, 1000.0), (10, 0)])
  func constant(_ factor: Double, _ constant: Double) async throws {
    let plain = try await states(factor: 1, constant: 0, .onPolicy)
    let moved = try await states(factor: factor, constant: constant, .onPolicy)
    // Rounding grows from one iteration to the next.
    for (i, (a, b)) in zip(plain, moved).enumerated() {
      #expect(a.rollouts == b.rollouts)
      for (x, y) in zip(a.conditions, b.conditions) {
        #expect(abs(x.stepMultiplier - y.stepMultiplier) < 1e-4)
        let error = (x.controller.offsets - y.controller.offsets).largestMagnitude
        #expect(error < (i == 0 ? 1e-9 : 1e-2), "iteration \(i): \(error)")
      }
    }
  }
}

@Suite("The floor of exploration") struct ExplorationFloorTests {
  private func controller(_ covariances: [Matrix]) throws -> LinearGaussianController {
    var sequence = MatrixSequence(
      rows: covariances[0].rows, columns: covariances[0].rows, count: covariances.count)
    for (t, C) in covariances.enumerated() { sequence[t] = C }
    return try LinearGaussianController(
      gains: MatrixSequence(rows: sequence.rows, columns: 2, count: covariances.count),
      offsets: Matrix(rows: sequence.rows, columns: covariances.count), covariances: sequence)
  }

  @Test func oneControlKeepsTheLargerOfBoth() throws {
    let initial = try controller([[4], [4], [9]].map { Matrix([$0]) })
    let shrunk = try controller([[0.01], [1], [0.36]].map { Matrix([$0]) })
    let raised = try ExplorationFloor(0.1, of: initial).raised(shrunk)
    // 0.1² · 4 = 0.04 and 0.1² · 9 = 0.09.
    #expect(abs(raised.covariances[0][0, 0] - 0.04) < 1e-15)
    #expect(raised.covariances[1][0, 0] == 1 && raised.covariances[2][0, 0] == 0.36)
    let none = try ExplorationFloor(0, of: initial).raised(shrunk)
    #expect(none == shrunk)
  }

  @Test func everyDirectionKeepsTheFloorAndWhatIsAboveStays() throws {
    var stream = RandomStream(seed: 5)
    func random() -> Matrix {
      let half = Matrix(rows: 3, columns: 3, columnMajor: stream.normals(9))
      return half * half.transposed + 0.1 * Matrix.identity(3)
    }
    let initial = try controller([random()])
    let C0 = 0.09 * initial.covariances[0]
    let shrunk = try controller([0.09 * random()])
    let raised = try ExplorationFloor(0.3, of: initial).raised(shrunk).covariances[0]
    // No direction has less than the floor or than before, and some have just the floor.
    let (above, before) = (raised - C0, raised - shrunk.covariances[0])
    #expect(try above.symmetrized.symmetricEigen().values[0] > -1e-12)
    #expect(try before.symmetrized.symmetricEigen().values[0] > -1e-12)
    #expect(try above.symmetrized.symmetricEigen().values[0] < 1e-12)
    // The excess of both is orthogonal: (C − C0) C0⁻¹ (C − S) = 0.
    let product = above * (try CholeskyFactor(C0).inverse) * before
    #expect(product.largestMagnitude < 1e-11)
  }
}

@Suite("Limits of the controls") struct SearchLimitsTests {
  @Test func labelsLieWithin() throws {
    let controller = try LinearGaussianController(
      gains: MatrixSequence(repeating: Matrix([[3]]), count: 3),
      offsets: Matrix(rows: 1, columns: 3),
      covariances: MatrixSequence(repeating: Matrix([[1]]), count: 3))
    let rollout = Trajectory(
      states: Matrix([[-1, 0.2, 1, 0]]), controls: Matrix(rows: 1, columns: 3),
      observations: Matrix([[-1, 0.2, 1, 0]]))
    let limits = ControlLimits(lower: [-2], upper: [1])
    let part = DistillationSet.Part(along: rollout, under: controller, limits: limits)
    for (target, expected) in zip(part.targets.storage, [-2, 0.6, 1]) {
      #expect(abs(target - expected) < 1e-15)
    }
  }

  /// x' = x + u from 0 with u = −2 (x − 3) + t: by hand, u is 6 → 1, then −2 (1 − 3) + 1 = 5 → 1, then
  /// −2 (2 − 3) + 2 = 4 → 1.
  @Test func meansOfTheNewControllerLieWithin() throws {
    let dynamics = LinearGaussianDynamics(
      transitions: MatrixSequence(repeating: Matrix([[1, 1]]), count: 3),
      offsets: Matrix(rows: 1, columns: 3),
      covariances: MatrixSequence(rows: 1, columns: 1, count: 3), initialMean: [0],
      initialCovariance: Matrix(rows: 1, columns: 1))
    let controller = try LinearGaussianController(
      gains: MatrixSequence(repeating: Matrix([[-2]]), count: 3),
      offsets: Matrix([[6, 7, 8]]),
      covariances: MatrixSequence(repeating: Matrix([[1]]), count: 3))
    let within = try #require(
      try controller.centered(within: ControlLimits(magnitudes: [1]), under: dynamics))
    #expect(within.gains == controller.gains && within.covariances == controller.covariances)
    // K x̄ + k = 1 at x̄ = 0, 1, 2.
    #expect(within.offsets == Matrix([[1, 3, 5]]))
    #expect(try controller.centered(within: ControlLimits(magnitudes: [9]), under: dynamics) == nil)
  }
}
