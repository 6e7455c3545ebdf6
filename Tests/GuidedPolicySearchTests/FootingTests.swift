import GPSTestSupport
import Synchronization
import Testing

@testable import GuidedPolicySearch
@testable import PolicySearch
@testable import SearchParts

/// KL steps, some of which end in a controller that pushes the wrong way.
private struct ClumsyStep: LocalImprovement {
  typealias Memory = KLStep.Memory
  typealias Evidence = KLStep.Evidence

  let honest: KLStep
  /// Which calls go wrong, in the order of iterations and conditions: the tests have one worker.
  let clumsy: Set<Int>
  let calls = Calls()

  final class Calls: Sendable {
    let count = Atomic(0)
  }

  var columns: [Metric.Column] { honest.columns }
  var initialMemory: Memory { honest.initialMemory }
  func fits(_ memory: Memory, _ dimensions: Dimensions) -> Bool { honest.fits(memory, dimensions) }

  func study(
    _ batch: RolloutBatch, of task: some ControlTask, memory: inout Memory, stream: RandomStream,
    notes: inout [String]
  ) throws -> Evidence {
    try honest.study(batch, of: task, memory: &memory, stream: stream, notes: &notes)
  }

  func improve(
    by evidence: Evidence, on batch: RolloutBatch, anchor: Anchor, bound: Double,
    memory: inout Memory
  ) throws -> LocalOutcome {
    var outcome = try honest.improve(
      by: evidence, on: batch, anchor: anchor, bound: bound, memory: &memory)
    if clumsy.contains(calls.count.wrappingAdd(1, ordering: .relaxed).oldValue) {
      let own = outcome.controller
      var offsets = own.offsets
      for i in offsets.storage.indices { offsets.storage[i] -= 6 }
      outcome.controller = try LinearGaussianController(
        gains: own.gains, offsets: offsets, covariances: own.covariances)
    }
    return outcome
  }
}

private func search(
  clumsy: Set<Int>, change: (inout TestSettings) -> Void = { _ in }
) throws -> GuidedSearch<NativeTask<PointMass>, ClumsyStep, MirrorDescent, NeuralDistiller> {
  let task = try smallTask()
  var settings = smallSettings()
  settings.takeBack = 2
  change(&settings)
  return try GuidedSearch(
    task,
    from: loosely(task), settings: settings.search,
    local: ClumsyStep(honest: KLStep(), clumsy: clumsy),
    link: MirrorDescent(),
    student: NeuralDistiller(network: settings.network, training: settings.training, seed: 1),
    seed: 1)
}

private func footing(_ costs: [Double], successRate: Double = 0) throws -> Footing {
  let task = try smallTask()
  return Footing(
    controller: try InitialController.lqr(.init(gains: [1])).controller(
      for: task, in: task.conditions[0]), costs: costs, successRate: successRate, lessons: [])
}

@Suite("Where a condition stands") struct FootingTests {
  /// Of the 252 orders of five and five, 4 have two inversions or fewer, 7 have three or fewer.
  @Test("costs are worse by their order")
  func order() throws {
    let own = try footing([1, 2, 3, 4, 5])
    func isBetter(than others: [Double]) -> Bool {
      own.isBetter(than: others, successRate: 0, promise: nil)
    }
    #expect(isBetter(than: [6, 7, 8, 9, 10]))
    #expect(isBetter(than: [3.5, 7, 8, 9, 10]), "two inversions: 0.016")
    #expect(!isBetter(than: [2.5, 7, 8, 9, 10]), "three inversions: 0.028")
    #expect(!isBetter(than: [1, 2, 3, 4, 5]))
    // One of the two kinds that rollouts split into hides behind a mean and its error.
    #expect(isBetter(than: [6, 6, 6, 6, 1000]))
    #expect(!isBetter(than: [1.5, 2.5, 3.5, 4.5, 1000]))
    #expect(isBetter(than: [6]) && !isBetter(than: [4.5]))
    #expect(isBetter(than: [6, .infinity]))
    #expect(!isBetter(than: []))
  }

  /// scipy.stats.norm.sf(2.054) = 0.02; with twenty and twenty the exact rule and the normal one agree to an
  /// inversion or two.
  @Test("many costs are judged as a few are")
  func many() throws {
    func fewest(_ count: Int) throws -> Int {
      // Others are above all own but for the given number of inversions.
      let own = try footing((0..<20).map(Double.init))
      return try #require(
        (0...400).last { inversions in
          var left = inversions
          let others = (0..<count).map { _ in
            let below = min(20, left)
            left -= below
            return 19.5 - Double(below)
          }
          return own.isBetter(than: others, successRate: 0, promise: -.infinity)
            || others.reduce(0, +) / Double(count) <= 9.5
            ? own.isBetter(than: others, successRate: 0, promise: nil) : false
        })
    }
    let (exact, normal) = (try fewest(20), try fewest(21))
    // 200 − 2.054 · sqrt(400 · 41 / 12) = 124.1;  210 − 2.054 · sqrt(420 · 42 / 12) = 131.2.
    #expect((123...125).contains(exact), "\(exact)")
    #expect(normal == 131, "\(normal)")
  }

  @Test("half of what was promised may be missing, and more successes are never worse")
  func promiseAndSuccess() throws {
    let own = try footing([1, 2, 3], successRate: 0.5)
    #expect(own.isBetter(than: [7], successRate: 0.5, promise: 9))
    #expect(!own.isBetter(than: [7], successRate: 0.5, promise: 11))
    #expect(own.isBetter(than: [7], successRate: 0.5, promise: .nan))
    #expect(!own.isBetter(than: [7], successRate: 0.75, promise: nil))
  }

  @Test("neither a constant nor a factor on the cost changes the judgement")
  func invariance() throws {
    var random = RandomStream(seed: 3)
    for _ in 0..<200 {
      let a = (0..<5).map { _ in random.normal() }
      let b = (0..<5).map { _ in 1 + random.normal() }
      let promise = random.normal()
      let verdicts = try [(1.0, 0.0), (10, 0), (1, 1000), (0.01, -5)].map { factor, constant in
        try footing(a.map { factor * $0 + constant }).isBetter(
          than: b.map { factor * $0 + constant }, successRate: 0, promise: factor * promise)
      }
      #expect(Set(verdicts).count == 1)
    }
  }

  @Test("a condition returns to it when its rollouts are worse", .slow)
  func returns() async throws {
    // The third call is that of the first condition in iteration 1.
    let search = try search(clumsy: [2]) {
      $0.sampling = .offPolicy
      $0.iterations = 4
    }
    var state = search.initialState
    state = try await search.advancing(state).next
    let before = state
    state = try await search.advancing(state).next
    #expect(state.conditions[0].controller != before.conditions[0].controller)
    let clumsy = state
    let (next, report) = try await search.advancing(state)
    #expect(report.conditions[0].meanCost > clumsy.conditions[0].footing?.costs.max() ?? .infinity)
    let (own, other) = (next.conditions[0], next.conditions[1])
    let isRestored = own.controller == before.conditions[0].controller
    #expect(isRestored && own.isLed && own.expectation == nil)
    #expect(own.stepMultiplier <= 0.5 * clumsy.conditions[0].stepMultiplier)
    #expect(own.footing == clumsy.conditions[0].footing)
    #expect(other.controller != clumsy.conditions[1].controller && other.expectation != nil)
    let status = report.conditions[0].metrics.first { $0.name == "status" }
    #expect(status?.value == .word("taken back"))
    try checkStorable(next, fits: search)
    // It goes on from there.
    let (last, again) = try await search.advancing(next)
    #expect(again.conditions[0].meanCost < report.conditions[0].meanCost)
    #expect(last.conditions[0].controller != own.controller)
  }

  @Test("one of another shape, as a forged checkpoint has, is noticed")
  func forged() async throws {
    let search = try search(clumsy: [])
    let good = try await search.advancing(search.initialState).next
    #expect(search.mismatch(with: good) == nil)
    let footing = try #require(good.conditions[0].footing)
    let lesson = try #require(footing.lessons.first)
    var state = good
    state.conditions[0].footing?.lessons = [
      DistillationSet.Part(
        observations: Matrix(
          rows: lesson.observations.rows + 1, columns: lesson.observations.columns),
        targets: lesson.targets)
    ]
    #expect(search.mismatch(with: state)?.contains("\"left\"") == true)
    state = good
    state.conditions[0].footing?.controller = try LinearGaussianController(
      gains: MatrixSequence(rows: 2, columns: 3, count: 15), offsets: Matrix(rows: 2, columns: 15),
      covariances: MatrixSequence(repeating: .identity(2), count: 15))
    #expect(search.mismatch(with: state)?.contains("\"left\"") == true)
  }

  @Test("training is repeated where a start is searched, and as asked otherwise")
  func roundsFollowTheStart() throws {
    let task = try smallTask()
    func rounds(_ start: InitialController, _ asked: Int?) throws -> Int? {
      var training = PolicyDistiller.Options()
      training.maxRounds = asked
      return try GuidedSearch(task, from: start, training: training).student.training
        .maxRounds
    }
    #expect(try rounds(.optimize(), nil) == 6)
    #expect(try rounds(.lqr(.init(gains: [1])), nil) == 1)
    #expect(try rounds(.optimize(), 3) == 3)
  }

  @Test("a controller that was searched stays while rollouts bear out what was promised")
  func borneOut() async throws {
    let task = try smallTask()
    let search = try GuidedSearch(
      task, from: .optimize(), network: NetworkOptions(), training: .init(), seed: 1)
    #expect(search.sampling == .offPolicy)
    // Which is what follows from dynamics that are known.
    #expect(try GuidedSearch(task).searchesStart)
    var (state, report) = try await search.advancing(search.initialState)
    let found = state.conditions.map(\.controller)
    (state, report) = try await search.advancing(state)
    #expect(state.conditions.map(\.controller) == found)
    #expect(report.conditions.allSatisfy { $0.metrics["status"] == nil })
    // Five rollouts of each iteration are lessons, and eight that go on where the search came to rest.
    #expect(state.conditions.allSatisfy { $0.footing?.lessons.count == 18 })
    #expect(state.conditions.allSatisfy { ($0.footing?.gain ?? 0) > 0 })
    // And come back from a file.
    for condition in state.conditions {
      let footing = try #require(condition.footing)
      var writer = ValueWriter()
      footing.store(in: &writer)
      let read = try Footing(stored: ValueReader(Safetensors(sealed: writer.file.sealed())))
      #expect(read == footing && read.gain == footing.gain)
    }

    // Had more been promised, the dynamics would be others, and steps would be taken.
    for i in state.conditions.indices {
      let gain = try #require(state.conditions[i].footing?.gain)
      state.conditions[i].footing?.costs = [Double](repeating: -gain, count: 8)
      state.conditions[i].footing?.successRate = 1
    }
    let next = try await search.advancing(state).next
    for (condition, old) in zip(next.conditions, found) {
      #expect(condition.footing?.gain == nil && condition.controller != old)
    }
  }

  @Test("a policy that falls short of what a search promised lets the controller roll out")
  func policyBehind() async throws {
    var settings = SearchSettings()
    settings.sampling = .onPolicy
    let search = try GuidedSearch(
      try smallTask(), from: .optimize(), settings: settings, seed: 1)
    var state = try await search.advancing(search.initialState).next
    let found = state.conditions.map(\.controller)
    for i in state.conditions.indices {
      state.conditions[i].isLed = false
      state.conditions[i].footing?.costs = [Double](repeating: -1000, count: 8)
      state.conditions[i].footing?.successRate = 1
    }
    let next = try await search.advancing(state).next
    #expect(next.conditions.allSatisfy { $0.isLed && $0.footing?.gain != nil })
    #expect(next.conditions.map(\.controller) == found)
  }

  @Test("policies are judged from the same noisy starts in all iterations")
  func sameStarts() async throws {
    let search = try search(clumsy: [])
    let task = search.task
    let (state, report) = try await search.advancing(search.initialState)
    let first = try #require(report.policy)
    let later = try #require(try await search.advancing(state).report.policy)
    for ((a, b), condition) in zip(zip(first.entries, later.entries), task.conditions) {
      let start = a.batch.trajectories[0].states.column(0)
      #expect(start == b.batch.trajectories[0].states.column(0))
      #expect(start != condition.initialPlantState)
    }
  }

  @Test("nothing is returned to where nothing is taken back", .slow)
  func off() async throws {
    let search = try search(clumsy: [2]) {
      $0.sampling = .offPolicy
      $0.takeBack = 0
    }
    var state = search.initialState
    for _ in 0..<3 {
      let before = state
      state = try await search.advancing(state).next
      #expect(state.conditions[0].controller != before.conditions[0].controller)
      #expect(state.conditions.allSatisfy { $0.footing == nil && !$0.isLed })
    }
  }
}

@Suite("Who rolls out") struct PolicyOrControllerTests {
  @Test func actsAsTheOneItIs() throws {
    let task = try smallTask()
    let controller = try InitialController.lqr(.init(gains: [1])).controller(
      for: task, in: task.conditions[0])
    let d = task.dimensions
    let policy = NeuralPolicy.initial(
      observation: d.observation, control: d.control, options: NetworkOptions(),
      stream: RandomStream(seed: 1))
    let state = [0.1, -0.2, 0.3, 0.4]
    let observation = (0..<d.observation).map { 0.1 * Double($0) }
    let noise = [0.5, -0.5]
    func action<P: Policy>(_ policy: P) -> [Double] {
      var workspace = policy.makeWorkspace()
      policy.beginRollout(workspace: &workspace)
      var action = [0.0, 0]
      var span = action.mutableSpan
      policy.act(
        step: 2, state: state.span, observation: observation.span, noise: noise.span,
        workspace: &workspace, action: &span)
      return action
    }
    typealias Either = PolicyOrController<NeuralPolicy>
    #expect(action(Either.policy(policy)) == action(policy))
    #expect(action(Either.controller(controller)) == action(controller))
    #expect(action(policy) != action(controller))
    #expect(Either.policy(policy).control == 2 && Either.controller(controller).control == 2)
    #expect(Either.controller(controller).mismatch(with: d) == nil)
  }
}
