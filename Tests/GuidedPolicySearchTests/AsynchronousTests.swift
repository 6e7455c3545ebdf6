import Foundation
import GPSTestSupport
import Testing

@testable import Distributed
@testable import GuidedPolicySearch

/// Searches in which nobody waits: what holds whatever the timing, and what is the synchronous search where it must be.
@Suite("Asynchronous searches") struct AsynchronousTests {
  private typealias Search<System: ControlTask> = AsynchronousSearch<
    System, KLStep, MirrorDescent, NeuralDistiller
  >

  private func options(_ change: (inout AsynchronousOptions) -> Void) -> AsynchronousOptions {
    var options = AsynchronousOptions()
    change(&options)
    return options
  }

  private let waiting = { (options: inout AsynchronousOptions) in options.stalenessBound = 0 }

  // MARK: The control

  @Test("Without staleness it is the synchronous search, bit for bit", arguments: [1, 2, 5])
  func control(workers: Int) async throws {
    func change(_ settings: inout TestSettings) {
      settings.iterations = 4
      settings.takeBack = 2
      settings.klStep = 4
      settings.training.keepOptimizerState = true
      settings.workers = workers
    }
    let faults = [
      Fault(iteration: 0, condition: 0, sample: 1, step: 3, .throwing),
      Fault(iteration: 2, condition: 1, sample: 4, step: 0, .state(.nan)),
    ]
    let one = try await run(makeSearch(faults: faults, change: change))
    let other = try await run(
      AsynchronousSearch(makeSearch(faults: faults, change: change), options: options(waiting)))
    let isSame = Outcome(other.state.search, other.reports) == Outcome(one.state, one.reports)
    #expect(isSame)
    // The reports too, but for what is the schedule's own.
    let own = ["utilization"] + Staleness.columns.map(\.name)
    for (a, b) in zip(one.reports, other.reports) {
      let isSame =
        text(a.metrics.filter { !own.contains($0.name) })
        == text(b.metrics.filter { !own.contains($0.name) })
        && a.conditions.map { text($0.metrics) } == b.conditions.map { text($0.metrics) }
      #expect(isSame, "\(a.iteration)")
      #expect(a.rollouts == b.rollouts && a.keepsPolicy == b.keepsPolicy)
      #expect(b.metrics["staleness_max"] == 0)
    }
  }

  /// As they stand in a file, where what is not a number is nothing.
  private func text(_ metrics: [Metric]) -> [String] {
    metrics.map { "\($0.name) \($0.number.map { "\($0)" } ?? "\($0.value)")" }
  }

  @Test("Without staleness it is a learner like any other")
  func learner() async throws {
    try await checkLearner(
      AsynchronousSearch(makeSearch { $0.takeBack = 2 }, options: options(waiting)))
  }

  // MARK: Nobody waits

  @Test(
    "The staleness stays within its bound, and every condition has its steps", arguments: [1, 2, 7])
  func bound(bound: Int) async throws {
    for seed in 0..<3 as Range<UInt64> {
      let search = try AsynchronousSearch(
        makeSearch(seed: seed) { settings in
          settings.iterations = 5
          settings.samples = 3
          settings.training.steps = 30
          settings.workers = 6
        }, options: options { ($0.stalenessBound, $0.memory) = (bound, 2) })
      let (state, reports) = try await run(search)
      #expect(reports.map(\.iteration) == Array(0..<5))
      #expect(state.iteration == 5 && state.trainings >= 1 && state.updates >= state.trainings)
      for report in reports {
        #expect(try #require(report.metrics["staleness_max"]) <= Double(bound))
        let median = try #require(report.metrics["staleness_median"])
        #expect(median <= report.metrics["staleness_p95"] ?? -1)
        #expect((0...1.0001).contains(try #require(report.metrics["utilization"])))
        #expect(report.conditions.map(\.name) == ["left", "right"])
        #expect(report.batches.allSatisfy { $0.samples == [0, 1, 2] })
        #expect(report.policy?.entries.count == 2)
        // As many as the synchronous search takes: 2 × 3 to learn from, 2 to judge by.
        #expect(report.rollouts == 8 * (report.iteration + 1))
      }
      // Steps that ran ahead of the cut are not in it.
      #expect(state.replay.entries.allSatisfy { $0.step < 5 })
      #expect(state.replay.entries.count <= 4 && state.search.conditions.count == 2)
      try checkStorable(state, fits: search)
    }
  }

  @Test("It learns")
  func learns() async throws {
    let search = try AsynchronousSearch(
      makeSearch { settings in
        settings.iterations = 8
        settings.takeBack = 2
        settings.workers = 3
      })
    let (state, reports) = try await run(search)
    let best = try #require(state.search.bestEvidence)
    #expect(best.successRate == 1)
    #expect(best.meanCost < 0.5 * reports[0].meanCost)
    // Who learned has been at all of it.
    let kinds = Set(reports.flatMap(\.activities).map(\.kind))
    #expect(kinds == Set(WorkerActivity.Kind.allCases))
    // Who of three comes first depends on what else the machine does.
    let workers = Set(reports.flatMap(\.activities).map(\.worker))
    #expect(workers.contains("network") && workers.isSubset(of: ["0", "1", "2", "network"]))
    for worker in workers {
      let own = reports.flatMap(\.activities).filter { $0.worker == worker }
      // Nobody does two things at once.
      for (a, b) in zip(own, own.dropFirst()) { #expect(a.start <= a.end && a.end <= b.start) }
    }
  }

  @Test(
    "Rollouts take the time they are told to, in threads of their own, and the search is the same")
  func realTime() async throws {
    func change(_ settings: inout TestSettings) {
      settings.iterations = 2
      settings.samples = 2
      settings.workers = 4
    }
    let base = try smallTask()
    var settings = smallSettings()
    change(&settings)
    let plain = try search(
      base, from: loosely(base), settings, link: MirrorDescent(), seed: 2)
    let slow = try search(
      RealTimeTask(base, factor: 100), from: loosely(base), settings, link: MirrorDescent(),
      seed: 2)
    let one = try await run(AsynchronousSearch(plain, options: options(waiting)))
    let other = try await run(AsynchronousSearch(slow, options: options(waiting)))
    let isSame =
      Outcome(one.state.search, one.reports) == Outcome(other.state.search, other.reports)
    #expect(isSame)
    // Without a bound of 0 the workers go on between cuts, and helpers take their local steps.
    let free = try await run(AsynchronousSearch(slow))
    let activities = free.reports.flatMap(\.activities)
    #expect(activities.contains { $0.worker.hasPrefix("step ") && $0.kind == .localStep })
    #expect(
      activities.allSatisfy { $0.kind != .localStep || $0.worker.hasPrefix("step ") },
      "a robot waits for a computation")
  }

  // MARK: Interruptions

  @Test("A run that is paused, or gone on with from what was stored, comes to its end")
  func resuming() async throws {
    func make() throws -> Search<FaultyTask<NativeTask<PointMass>>> {
      try AsynchronousSearch(
        makeSearch { settings in
          settings.iterations = 4
          settings.training.steps = 50
          settings.workers = 3
        })
    }
    let search = try make()
    var state = search.initialState
    var costs: [Double] = []
    for iteration in 0..<4 {
      let (next, report) = try await search.advancing(state)
      #expect(next.iteration == iteration + 1 && report.iteration == iteration)
      costs.append(report.meanCost)
      if iteration == 1 {
        await search.pause()
        state = next
      } else {
        var writer = ValueWriter()
        next.store(in: &writer)
        state = try Search<FaultyTask<NativeTask<PointMass>>>.State(
          stored: ValueReader(Safetensors(sealed: writer.file.sealed())))
        #expect(state == next)
      }
      // Other workers than those that made it.
      if iteration == 2 { state = try await make().advancing(state).next }
      if iteration == 2 { break }
    }
    #expect(state.iteration == 4 && search.isFinished(state))
    #expect(costs.allSatisfy { $0.isFinite })
  }

  @Test("Who is cancelled gets no cut, and can go on afterwards")
  func cancelled() async throws {
    let search = try AsynchronousSearch(makeSearch { $0.workers = 2 })
    let first = try await search.advancing(search.initialState).next
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await search.advancing(first)
    }
    await #expect(throws: CancellationError.self) { _ = try await task.value }
    #expect(try await search.advancing(first).next.iteration == 2)
    await search.pause()
  }

  // MARK: Faults

  @Test("Where no rollout of the network succeeds the local controller takes its place")
  func rescued() async throws {
    let faults = (0..<5).flatMap { sample in
      (0..<3).map {
        Fault(iteration: 1, condition: 1, sample: sample, attempt: $0, step: 2, .throwing)
      }
    }
    for bound in [0] {
      let (state, reports) = try await run(
        AsynchronousSearch(
          makeSearch(faults: faults) { $0.takeBack = 1 },
          options: options { $0.stalenessBound = bound }))
      #expect(state.iteration == 3)
      #expect(reports[1].batches[1].trajectories.count == 5)
      #expect(
        reports[1].notes.contains { $0.hasPrefix("right: no rollout of the network succeeded") })
    }
  }

  @Test("Where nothing can be rolled out the search ends with the reason")
  func nothing() async throws {
    let search = try AsynchronousSearch(
      makeSearch(always: ["left": .throwing, "right": .throwing]) { $0.workers = 3 })
    let error = await #expect(throws: SearchError.self) {
      _ = try await search.advancing(search.initialState)
    }
    #expect("\(try #require(error))".hasPrefix("no rollout of iteration 0 succeeded; the last"))
  }

  @Test("One condition that cannot be rolled out does not keep the others")
  func oneCondition() async throws {
    let (state, reports) = try await run(
      AsynchronousSearch(makeSearch(always: ["left": .throwing]) { $0.workers = 3 }))
    #expect(state.iteration == 3 && state.search.policy != nil)
    #expect(
      reports.allSatisfy { $0.conditions[0].costs.isEmpty && !$0.conditions[1].costs.isEmpty })
  }

  @Test("What cannot be asynchronous is refused by name")
  func refused() throws {
    let badmm = try makeSearch(link: BADMM())
    #expect(throws: InvalidOption.self) { _ = try AsynchronousSearch(badmm) }
    let alone = try makeSearch(link: Uncoupled(distillsAtEnd: true))
    let error = #expect(throws: InvalidOption.self) { _ = try AsynchronousSearch(alone) }
    #expect(error?.key == "algorithm.schedule")
    let again = try makeSearch { $0.retries = 1 }
    #expect(throws: InvalidOption.self) { _ = try AsynchronousSearch(again) }
    let bound = #expect(throws: InvalidOption.self) {
      _ = try AsynchronousSearch(makeSearch(), options: self.options { $0.stalenessBound = -1 })
    }
    #expect(bound?.key == "asynchronous.stalenessBound")
  }

  // MARK: Parts

  @Test("Quantiles of the staleness")
  func quantiles() {
    func numbers(_ list: [Int]) -> [Double?] { Staleness(list).metrics.map(\.number) }
    #expect(numbers([]) == [nil, nil, nil])
    #expect(numbers([3]) == [3, 3, 3])
    #expect(numbers([5, 1]) == [1, 5, 5])
    // Of 1 … 40 half are not above 20, and 95 % not above 38.
    #expect(numbers(Array((1...40).reversed())) == [20, 38, 40])
  }

  private func share(_ condition: Int, _ number: Double) -> DistillationSet.Share {
    DistillationSet.Share(
      condition: condition,
      parts: [
        DistillationSet.Part(
          observations: Matrix(
            rows: 3, columns: 3, columnMajor: [Double](repeating: number, count: 9)),
          targets: Matrix(rows: 1, columns: 2, columnMajor: [number, -number]))
      ], precisions: MatrixSequence(repeating: Matrix([[number]]), count: 2))
  }

  @Test("The replay memory keeps the newest steps of each condition, and weighs them by age")
  func replay() throws {
    var memory = ReplayMemory(capacity: 2)
    for (condition, step) in [(1, 0), (0, 0), (1, 1), (1, 2), (2, 0)] {
      memory.add(share(condition, Double(10 * condition + step)), step: step)
    }
    let shares = memory.shares(ageWeight: 0.25)
    #expect(shares.map(\.condition) == [0, 1, 1, 2])
    #expect(shares.map { $0.parts[0].targets[0, 0] } == [0, 11, 12, 20])
    // Twice the same weight for both steps; what is newest counts for 1.
    #expect(shares.map(\.weights) == [nil, [0.25, 0.25], nil, nil])
    #expect(memory.before(step: 2).entries.map(\.step) == [0, 1, 0])
    try checkStorable(memory)
    let dimensions = Dimensions(state: 4, control: 1, observation: 3, horizon: 2)
    #expect(memory.mismatch(with: dimensions, conditions: 3) == nil)
    #expect(memory.mismatch(with: dimensions, conditions: 2) != nil)
    #expect(
      memory.mismatch(
        with: Dimensions(state: 4, control: 1, observation: 2, horizon: 2), conditions: 3) != nil)
  }

  @Test("A replay memory that was tampered with is refused")
  func forged() throws {
    var memory = ReplayMemory(capacity: 3)
    memory.add(share(0, 1), step: 0)
    memory.add(share(0, 2), step: 1)
    func refuses(_ change: (inout Safetensors) -> Void) {
      var writer = ValueWriter()
      memory.store(in: &writer)
      var file = writer.file
      change(&file)
      #expect(throws: StoredValueError.self) { _ = try ReplayMemory(stored: ValueReader(file)) }
    }
    refuses { $0.metadata["capacity"] = "0" }
    refuses { $0.metadata["entries"] = "900000" }
    refuses { $0.metadata["entries.0.parts"] = "900000" }
    refuses { $0.metadata["entries.1.step"] = "0" }
    refuses { $0.metadata["entries.0.condition"] = "-1" }
    refuses { $0.tensors["entries.0.targets.0"] = $0.tensors["entries.0.observations.0"] }
    refuses { $0.tensors["entries.0.precisions"] = nil }
  }
}
