import Foundation
import GPSTestSupport
import Testing

@testable import GlobalPolicy
@testable import GuidedPolicySearch
@testable import Runs

/// What goes wrong in rollouts is contained: discarded, drawn again, counted, reported.
@Suite("Faults") struct FaultTests {
  /// Eleven faults of all kinds in three iterations, two of them in one rollout.
  static let faults: [Fault] = [
    Fault(iteration: 0, condition: 0, sample: 0, step: 0, .throwing),
    Fault(iteration: 0, condition: 0, sample: 0, attempt: 1, step: 14, .state(.nan)),
    Fault(iteration: 0, condition: 0, sample: 3, step: 7, .state(.infinity)),
    Fault(iteration: 0, condition: 1, sample: 4, step: 2, .breaking),
    Fault(iteration: 1, condition: 1, sample: 0, step: 3, .observation(.nan)),
    Fault(iteration: 1, condition: 1, sample: 1, step: 0, .observation(-.infinity)),
    Fault(iteration: 1, condition: 0, sample: 2, step: 15, .cost(.nan)),
    Fault(iteration: 1, condition: 0, sample: 4, step: 1, .cost(.infinity)),
    Fault(iteration: 2, condition: 0, sample: 0, step: 9, .throwing),
    Fault(iteration: 2, condition: 0, sample: 1, step: 9, .breaking),
    Fault(iteration: 2, condition: 1, sample: 2, step: 5, .state(1e300)),
  ]

  static func reason(_ kind: Fault.Kind) -> String {
    switch kind {
    case .throwing: "the mass fell off the table"
    case .breaking: "the gripper broke"
    case .state(1e300): "the cost is inf"
    case .state(let value): "state number 1 is \(value)"
    case .observation(let value): "observation number 0 is \(value)"
    case .cost(let value): "the cost is \(value)"
    case .blocking, .gradient: ""
    }
  }

  @Test("many faults at once: every one is discarded, named and drawn again, the rest is untouched")
  func many() async throws {
    func outcome(workers: Int) async throws -> (State, [Report]) {
      try await run(try makeSearch(faults: Self.faults) { $0.workers = workers })
    }
    let (state, reports) = try await outcome(workers: 2)
    #expect(notFinite(state, reports) == [])
    for report in reports {
      for (i, batch) in report.batches.enumerated() {
        let expected = Self.faults
          .filter { $0.iteration == report.iteration && $0.condition == i }
          .sorted { ($0.sample, $0.attempt) < ($1.sample, $1.attempt) }
        #expect(batch.discarded.map(\.sample) == expected.map(\.sample))
        #expect(batch.discarded.map(\.attempt) == expected.map(\.attempt))
        #expect(batch.discarded.map(\.reason) == expected.map { Self.reason($0.kind) })
        #expect(batch.samples == [0, 1, 2, 3, 4] && batch.trajectories.count == 5)
      }
      #expect(report.conditions.allSatisfy { $0.status != "kept previous controller" })
    }
    #expect(reports.map(\.discardedRollouts) == [4, 4, 3])
    // Rollouts without a fault are those of a run without faults, byte by byte.
    let healthy = try await run(try makeSearch { $0.iterations = 1 }).reports[0]
    for (i, batch) in reports[0].batches.enumerated() {
      for sample in 0..<5 {
        let isFaulty = Self.faults.contains {
          $0.iteration == 0 && $0.condition == i && $0.sample == sample
        }
        #expect(
          (batch.trajectories[sample] == healthy.batches[i].trajectories[sample]) == !isFaulty)
      }
    }
    // Neither who rolled out nor what broke before makes a difference.
    for workers in [1, 3] {
      let (other, otherReports) = try await outcome(workers: workers)
      #expect(Outcome(other, otherReports) == Outcome(state, reports), "\(workers) workers")
    }
  }

  @Test("a rollout that fails every time is left out, and the condition goes on with the others")
  func retriesUsedUp() async throws {
    let faults = [0, 2].flatMap { sample in
      (0..<2).map {
        Fault(iteration: 0, condition: 1, sample: sample, attempt: $0, step: 4, .throwing)
      }
    }
    let search = try makeSearch(faults: faults) { $0.rollouts.maxAttempts = 2 }
    let (next, report) = try await search.advancing(search.initialState)
    let batch = report.batches[1]
    #expect(batch.samples == [1, 3, 4] && batch.discarded.count == 4 && next.rollouts == 8 + 2)
    #expect(report.conditions[1].costs.count == 3)
    #expect(report.conditions[1].status != "kept previous controller")
    #expect(next.conditions[1].controller != search.initialControllers[1])
    // With one more try they succeed.
    let patient = try makeSearch(faults: faults) { $0.rollouts.maxAttempts = 3 }
    let whole = try await patient.advancing(patient.initialState).report.batches[1]
    #expect(whole.samples == [0, 1, 2, 3, 4])
    #expect(whole.trajectories[1] == batch.trajectories[0])

    // The files say which rollout is which.
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(
      "gps-faults-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: url) }
    let directory = try RunDirectory(
      at: url, experiment: "", signals: RunDirectory.Signals(search.task, columns: search.columns),
      replacing: false,
      echoesWarnings: false)
    try directory.append(report)
    let rows = try String(contentsOf: url.appendingPathComponent("rollouts.csv"), encoding: .utf8)
      .split(separator: "\n").filter { $0.hasPrefix("0,right,") }
    #expect(
      rows.filter { $0.contains(",training,") }.map { $0.split(separator: ",")[2] }
        == ["1", "3", "4"])
    #expect(
      rows.filter { $0.contains(",discarded,") }.map(String.init) == [
        "0,right,0,discarded,,,,1,step 4: the mass fell off the table,,,,,",
        "0,right,0,discarded,,,,2,step 4: the mass fell off the table,,,,,",
        "0,right,2,discarded,,,,1,step 4: the mass fell off the table,,,,,",
        "0,right,2,discarded,,,,2,step 4: the mass fell off the table,,,,,",
      ])
  }

  @Test("a rollout over its time limit is discarded and drawn again", .slow)
  func timeLimit() async throws {
    let search = try makeSearch(
      faults: [Fault(iteration: 0, condition: 0, sample: 1, step: 6, .blocking(5.2))]
    ) {
      $0.rollouts.timeLimit = 5
      $0.iterations = 1
    }
    let (state, reports) = try await run(search)
    #expect(
      reports[0].batches[0].discarded == [
        DiscardedRollout(
          sample: 1, attempt: 0, step: 7, reason: "the rollout takes longer than 5.0 s")
      ])
    #expect(reports[0].batches[0].trajectories.count == 5)
    #expect(notFinite(state, reports) == [])
  }

  @Test("a plant that cannot be made at first is made later")
  func unmadePlants() async throws {
    let search = try makeSearch(unmadePlants: 4) { $0.iterations = 1 }
    let (state, reports) = try await run(search)
    let discarded = reports[0].batches.flatMap(\.discarded)
    // With one worker: three tries of the first rollout, one of the second.
    #expect(discarded.map(\.sample) == [0, 0, 0, 1])
    #expect(
      discarded.allSatisfy {
        $0.reason == "no plant could be made: the simulator's licence is in use"
      })
    #expect(reports[0].batches[0].samples == [1, 2, 3, 4])
    #expect(notFinite(state, reports) == [])
    let never = try makeSearch(unmadePlants: .max)
    let error = await #expect(throws: SearchError.self) {
      try await never.advancing(never.initialState)
    }
    #expect("\(try #require(error))".contains("the simulator's licence is in use"))
  }

  @Test(
    "a condition whose rollouts all fail keeps its controller, for every kind of fault",
    arguments: [
      .throwing, .breaking, .state(.nan), .state(-.infinity), .observation(.nan), .cost(.nan),
      .cost(.infinity),
    ] as [Fault.Kind])
  func conditionFails(_ kind: Fault.Kind) async throws {
    let search = try makeSearch(always: ["left": kind])
    let (state, reports) = try await run(search)
    #expect(notFinite(state, reports) == [])
    #expect(state.conditions[0].controller == search.initialControllers[0])
    #expect(state.conditions[1].controller != search.initialControllers[1])
    for report in reports {
      #expect(report.conditions[0].status == "kept previous controller")
      #expect(report.notes.contains { $0.contains(Self.reason(kind)) })
      #expect(report.conditions[0].meanCost.isNaN)
      #expect(report.meanCost == report.conditions[1].meanCost)
      // A rollout that failed is no success, and its cost is not that of the others.
      let entry = try #require(report.policy?.entries.first)
      #expect(entry.successRate == 0 && entry.costs.isEmpty && entry.meanCost.isNaN)
      #expect(report.policy?.meanCost == report.policy?.entries[1].meanCost)
    }
    let both = try makeSearch(always: ["left": kind, "right": kind])
    let error = await #expect(throws: SearchError.self) { try await run(both) }
    #expect("\(try #require(error))".contains(Self.reason(kind)))
    // The state that was passed in can be advanced again when the fault is mended.
    let mended = try makeSearch()
    #expect(try await mended.advancing(both.initialState).next.iteration == 1)
  }

  @Test("a network that makes every rollout fail is replaced by the local controllers' rollouts")
  func badNetwork() async throws {
    let search = try makeSearch { $0.reference = .network }
    var state = try await search.advancing(search.initialState).next
    var network = try #require(state.policy)
    for i in network.network.parameters.indices { network.network.parameters[i] = .nan }
    state.policy = network
    let (next, report) = try await search.advancing(state)
    for (condition, batch) in zip(report.conditions, report.batches) {
      #expect(batch.trajectories.count == 5 && batch.discarded.count == 15)
      #expect(
        report.notes.contains {
          $0 == "\(condition.name): no rollout of the network succeeded (control number 0 is nan); "
            + "the local controller rolled out instead"
        })
    }
    #expect(next.rollouts == state.rollouts + 10 + 2)
    // Nothing can be linearised, so that the controllers stay, and the network is trained anew.
    #expect(report.conditions.allSatisfy { $0.status == "kept previous controller" })
    let third = try await search.advancing(next)
    #expect(notFinite(third.next, [third.report]) == [])
    #expect(third.report.conditions.allSatisfy { $0.status != "kept previous controller" })
    #expect(third.report.discardedRollouts == 0)
  }
}
