import Foundation
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Distributed
@testable import GPSCore
@testable import GuidedPolicySearch
@testable import PolicySearch

/// What others do to the work of a search.
private enum Mischief: String, CaseIterable {
  /// Takes an item and is never seen again.
  case dies
  /// Answers after its lease has ended.
  case late
  /// Answers twice.
  case twice
  /// Answers with damaged bytes.
  case damaged
  /// Answers for an item that it does not have, and for another run.
  case foreign
}

/// A search whose work is done by others: bit for bit what one process does.
@Suite("Searches across machines") struct ClusterTests {
  private typealias Results<State> = (state: State, reports: [Report])

  /// Runs a search with workers of its own over channels.
  private func runLed<L: SharedLearner>(
    _ learner: L, workers: Int, over make: () throws -> any Channel, mischief: [Mischief] = [],
    warnings: Warned = Warned()
  ) async throws -> Results<L.State> {
    let leader = try ClusterLeader(
      over: make(), versions: [:], model: "", files: [("experiment.yaml", [1])], patience: 20,
      warn: warnings.add)
    defer { leader.end() }
    let executor = ThreadExecutor(threads: workers + mischief.count)
    defer { executor.stop() }
    return try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<workers {
        var worker = ClusterWorker(
          "w\(number)", over: try make(), tell: { _ in },
          prepare: { _, _ in learner.makePerformer() }
        )
        worker.beat = 0.2
        group.addTask(executorPreference: executor) { [worker] in
          do { try worker.work() } catch is CancellationError {}
        }
      }
      for kind in mischief {
        let channel = try make()
        group.addTask(executorPreference: executor) {
          try misbehave(kind, over: channel, learner.makePerformer)
        }
      }
      let result = try await run(learner.led(with: leader))
      group.cancelAll()
      return result
    }
  }

  /// One after the other, items are taken and not done as they should be.
  private func misbehave(
    _ kind: Mischief, over channel: any Channel, _ make: () -> any WorkPerformer
  ) throws {
    var performer = make()
    var policies: [String: Safetensors] = [:]
    var count = 0
    // Longer than a lease, and than others wait for new items before they look for what has been left.
    func rest() { for _ in 0..<22 where !Task.isCancelled { usleep(100_000) } }
    while !Task.isCancelled {
      count += 1
      let name = "\(kind.rawValue)\(count)"
      guard let lease = try channel.take(as: name, within: 0.05) else { continue }
      let item = try Message.read(lease.item, .item).reader
      let run = try item.text("run")
      var policy: Safetensors?
      if item.holdsText("policy") {
        let file = try item.text("policy")
        policies[file] =
          try policies[file] ?? channel.shared(file).map { try Safetensors(sealed: $0) }
        policy = policies[file]
        if policy == nil { continue }
      }
      let result = try performer.perform(item, policy: policy)
      let bytes = Message.sealed(.result, run: run, key: lease.key, result.file)
      switch kind {
      case .dies: rest()
      case .late:
        rest()
        try channel.answer(lease, with: bytes)
      case .twice:
        try channel.answer(lease, with: bytes)
        try channel.answer(lease, with: bytes)
      case .damaged:
        var damaged = bytes
        damaged[damaged.count / 2] ^= 1
        try channel.answer(lease, with: damaged)
        rest()
      case .foreign:
        var other = lease
        other.key += "0"
        try channel.answer(other, with: bytes)
        try channel.answer(
          lease, with: Message.sealed(.result, run: "other", key: lease.key, result.file))
        rest()
      }
    }
  }

  /// A search with all that a search can meet.
  private func rich(
    _ change: (inout TestSettings) -> Void = { _ in }
  ) throws -> MirrorSearch<FaultyTask<NativeTask<PointMass>>> {
    let faults = [
      Fault(iteration: 0, condition: 0, sample: 1, step: 3, .throwing),
      Fault(iteration: 1, condition: 1, sample: 4, step: 0, .state(.nan)),
    ]
    return try makeSearch(faults: faults) { settings in
      settings.takeBack = 2
      settings.training.keepOptimizerState = true
      change(&settings)
    }
  }

  private func expectSame<State: LearnerState>(
    _ a: Results<State>, _ b: Results<State>, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let isSame = a.state == b.state
    #expect(isSame, "states", sourceLocation: sourceLocation)
    #expect(a.reports.count == b.reports.count, sourceLocation: sourceLocation)
    for (one, other) in zip(a.reports, b.reports) {
      let metrics =
        text(one.metrics) == text(other.metrics)
        && one.conditions.map { text($0.metrics) } == other.conditions.map { text($0.metrics) }
      #expect(metrics, "metrics", sourceLocation: sourceLocation)
      let rollouts =
        one.batches.map(\.samples) == other.batches.map(\.samples)
        && one.batches.map(\.discarded) == other.batches.map(\.discarded)
        && zip(one.batches, other.batches).allSatisfy { a, b in
          zip(a.trajectories, b.trajectories).allSatisfy {
            $0.states == $1.states && $0.controls == $1.controls
              && $0.observations == $1.observations && $0.points == $1.points
              && $0.endStep == $1.endStep && $0.condition == $1.condition
          }
        }
      #expect(rollouts, "rollouts", sourceLocation: sourceLocation)
      #expect(one.notes == other.notes, sourceLocation: sourceLocation)
      #expect(
        one.conditions.map(\.costs) == other.conditions.map(\.costs)
          && one.policy?.entries.map(\.costs) == other.policy?.entries.map(\.costs),
        sourceLocation: sourceLocation)
    }
  }

  private func text(_ metrics: [Metric]) -> [String] {
    metrics.filter { $0.name != "utilization" }
      .map { "\($0.name) \($0.number.map { "\($0)" } ?? "\($0.value)")" }
  }

  @Test("Any number of workers, the same bits", arguments: Witness.present)
  func workers(_ witness: Witness) async throws {
    let alone = try await run(rich())
    for workers in [1, 2, 4] {
      try await witness.with { make in
        expectSame(try await runLed(rich(), workers: workers, over: make), alone)
      }
    }
  }

  @Test("Workers that die, hang, answer twice, damage or forge", .slow, arguments: Witness.present)
  func mischief(_ witness: Witness) async throws {
    let alone = try await run(rich())
    let single = witness == .local ? Mischief.allCases.map { [$0] } : []
    for kinds in single + [Mischief.allCases] {
      // Whoever takes items and never answers takes many here.
      var times = shortTimes
      (times.takes, times.lead) = (1_000_000, 15)
      try await witness.with(times) { make in
        let warnings = Warned()
        let led = try await runLed(
          rich(), workers: 1, over: make, mischief: kinds, warnings: warnings)
        expectSame(led, alone)
        for warning in warnings.texts {
          #expect(
            warning.contains("is of no use") && kinds.contains { warning.contains($0.rawValue) },
            "\(warning)")
        }
      }
    }
  }

  @Test("Members of the family whose local steps stay with whoever leads")
  func evidence() async throws {
    func badmm() throws -> some SharedLearner {
      try makeSearch(link: BADMM()) { $0.iterations = 2 }
    }
    let channel = LocalChannel()
    let alone = try await run(badmm())
    expectSame(try await runLed(badmm(), workers: 2) { channel }, alone)
    func retried() throws -> some SharedLearner {
      let task = try smallTask()
      var settings = smallSettings()
      (settings.takeBack, settings.retries) = (1, 2)
      return try GuidedSearch(
        task, from: loosely(task), settings: settings.search, local: KLStep(),
        link: MirrorDescent(),
        student: Saboteur(
          honest: NeuralDistiller(network: settings.network, training: settings.training, seed: 1),
          sabotaged: [2]), seed: 1)
    }
    let once = try await run(retried())
    #expect(once.reports.contains { $0.metrics["failed_tries"] ?? 0 > 0 })
    expectSame(try await runLed(retried(), workers: 2) { channel }, once)
  }

  @Test("A policy that fails is replaced by controllers")
  func rescue() async throws {
    // From iteration 1 on, the policy of "left" meets a fault in every training rollout.
    let faults = (0..<5).flatMap { sample in
      (0..<3).map {
        Fault(iteration: 1, condition: 0, sample: sample, attempt: $0, step: 2, .throwing)
      }
    }
    func search() throws -> MirrorSearch<FaultyTask<NativeTask<PointMass>>> {
      try makeSearch(faults: faults) { $0.takeBack = 2 }
    }
    let alone = try await run(search())
    #expect(
      alone.reports[1].notes.contains { $0.contains("the local controller rolled out instead") })
    let channel = LocalChannel()
    expectSame(try await runLed(search(), workers: 2) { channel }, alone)
  }

  @Test("What ends a search ends it across machines, with the same sentence")
  func failure() async throws {
    func search() throws -> MirrorSearch<FaultyTask<NativeTask<PointMass>>> {
      try makeSearch(always: ["left": .throwing, "right": .throwing])
    }
    func reason(_ body: () async throws -> Void) async -> String {
      do {
        try await body()
        return "none"
      } catch {
        return "\(error)"
      }
    }
    let alone = await reason { _ = try await run(search()) }
    let channel = LocalChannel()
    let led = await reason { _ = try await runLed(search(), workers: 2) { channel } }
    #expect(alone == led && led.contains("no rollout of iteration 0 succeeded"), "\(led)")
  }

  @Test("Items and results come back from bytes")
  func storage() async throws {
    let search = try rich()
    let recorder = Recorder()
    _ = try await run(search.led(with: recorder.by(search.makePerformer)))
    let pairs = recorder.pairs
    #expect(pairs.count > 8)
    for (item, result, _) in pairs {
      try checkStorable(
        WorkItem<KLStep.Memory, PolicyPrior>(stored: ValueReader(item)))
      try checkStorable(
        WorkResult<KLStep.Memory, PolicyPrior>(stored: ValueReader(result)))
    }
  }

  @Test("What an item draws for robots is what a worker draws")
  func draws() async throws {
    let search = try makeSearch { $0.iterations = 1 }
    let recorder = Recorder()
    let (_, reports) = try await run(search.led(with: recorder.by(search.makePerformer)))
    let training = recorder.pairs.filter { $0.item.metadata["purpose"] == "training" }
    #expect(training.count == 2)
    for (file, _, _) in training {
      let item = try WorkItem<KLStep.Memory, PolicyPrior>(stored: ValueReader(file))
      let controller = try #require(item.state).controller
      let reader = ValueReader(file)
      let (starts, noise) = (try reader.matrix("starts"), try reader.sequence("noise"))
      let trajectories = reports[0].batches[item.key.condition].trajectories
      for (sample, trajectory) in trajectories.enumerated() {
        #expect(trajectory.states.column(0) == starts.column(sample))
        for t in 0..<trajectory.horizon {
          let action = controller.action(
            step: t, state: Array(trajectory.states.column(t)),
            noise: Array(noise[sample].column(t)))
          #expect(action == Array(trajectory.controls.column(t)))
        }
      }
    }
  }

  // MARK: Forgeries

  @Test("2,000 damaged and 500 forged results are refused, and change nothing", .slow)
  func forgedResults() async throws {
    let search = try rich()
    let alone = try await run(search)
    let forger = Recorder()
    forger.crowd = 220
    let led = try await run(search.led(with: forger.by(search.makePerformer)))
    expectSame(led, alone)
    #expect(forger.damaged >= 2000 && forger.forged >= 500, "\(forger.damaged) \(forger.forged)")
    // Bytes that were changed on their way are known by their checksum; a number that somebody changed and sealed
    // again is a number. (What such a one leads to was tried all the same.)
    #expect(forger.damagedTaken == 0)
    #expect(forger.forgedTaken < forger.forged / 2, "\(forger.forgedTaken) of \(forger.forged)")
  }

  @Test("2,000 damaged and 500 forged items are refused, or done", .slow)
  func forgedItems() async throws {
    let search = try rich()
    let recorder = Recorder()
    _ = try await run(search.led(with: recorder.by(search.makePerformer)))
    var random = RandomStream(seed: 6)
    var performer = search.makePerformer()
    var (refused, done) = (0, 0)
    for number in 0..<2500 {
      let (item, _, policy) = recorder.pairs[number % recorder.pairs.count]
      let bytes = Message.sealed(.item, run: "run", key: "key", item)
      if number % 5 != 4 {
        let bytes = damage(bytes, &random)
        #expect(throws: StoredValueError.self) { try Message.read(bytes, .item, key: "key") }
        continue
      }
      do {
        let reader = try Message.read(forge(bytes, &random), .item, key: "key").reader
        _ = try performer.perform(reader, policy: policy)
        done += 1
      } catch {
        refused += 1
        #expect(error is StoredValueError && "\(error)".count < 1000, "\(error)")
      }
    }
    #expect(refused > done && refused + done == 500, "\(refused) refused, \(done) done")
  }

  @Test("Rubbish on the channel reaches nobody", .slow, arguments: Witness.present)
  func rubbish(_ witness: Witness) async throws {
    let alone = try await run(rich())
    try await witness.with { make in
      let channel = try make()
      let flood = Task.detached {
        var random = RandomStream(seed: 7)
        var lease = Lease(entry: "0-1", key: "x", worker: "forger", item: [])
        while !Task.isCancelled {
          let bytes = (0..<random.index(below: 300)).map { _ in
            UInt8(random.index(below: 256))
          }
          lease.key = random.index(below: 2) == 0 ? "x" : "\(random.index(below: 9))/training/0/5/0"
          try? channel.answer(lease, with: bytes)
          try? channel.offer(bytes, as: lease.key)
          try? await Task.sleep(for: .milliseconds(5))
        }
      }
      expectSame(try await runLed(rich(), workers: 2, over: make), alone)
      flood.cancel()
      await flood.value
    }
  }

  @Test("What a run says of itself names what differs, and stays in its folder")
  func notices() throws {
    let loaded = try Experiment.load(
      yaml: """
        task: tiny
        system: {native: {model: {pointMass: {}}, controlPeriod: 0.1}}
        horizon: 3
        conditions: {train: [{name: left, state: [-1, 0, 0, 0], goal: [0, 0]}]}
        cost: [{control: {weights: 0.1}}]
        """, folder: URL(fileURLWithPath: "/"))
    let channel = LocalChannel()
    let leader = try loaded.lead(over: channel, patience: 1, warn: { _ in })
    defer { leader.end() }
    let bytes = try #require(try channel.notice())
    let notice = try RunNotice(stored: Message.read(bytes, .notice).reader)
    try checkStorable(notice)
    let files = Dictionary(
      uniqueKeysWithValues: try notice.files.map { file in
        (file.path, try #require(try channel.shared(file.name)))
      })
    let same = try LoadedExperiment.load(notice, files, allowsOtherKernels: false)
    #expect(same.archivedYAML == loaded.archivedYAML)
    for name in notice.versions.keys {
      var other = notice
      other.versions[name] = "other"
      #expect(Comment(rawValue: name)) {
        try LoadedExperiment.load(other, files, allowsOtherKernels: false)
      } throws: {
        "\($0)".contains("\(name) other")
      }
    }
    var other = notice
    other.versions["kernels"] = "other"
    _ = try LoadedExperiment.load(other, files, allowsOtherKernels: true)
    other.model = "0 model.xml"
    #expect { try LoadedExperiment.load(other, files, allowsOtherKernels: true) } throws: {
      "\($0)".contains("model")
    }
    for system in ["process: {command: [touch, /tmp/x]}", "gymnasium: {id: Reacher-v5}"] {
      let yaml =
        "task: t\nsystem: {\(system)}\nhorizon: 3\nconditions: {train: [{name: a}]}\n"
        + "cost: [{control: {weights: 0.1}}]"
      var files = files
      files[notice.files[0].path] = Array(yaml.utf8)
      #expect { try LoadedExperiment.load(notice, files, allowsOtherKernels: false) } throws: {
        "\($0)".contains("--allow-programs")
      }
    }
    for path in ["/etc/passwd", "../x", "a/../../x", "a//b", "", "./x", "a\u{0}b"] {
      var forged = notice
      forged.files[0].path = path
      var writer = ValueWriter()
      forged.store(in: &writer)
      let file = writer.file
      #expect(throws: StoredValueError.self, "\(path)") {
        try RunNotice(stored: ValueReader(file))
      }
    }
  }
}

/// What was warned of.
final class Warned: Sendable {
  private let list = Locked<[String]>([])
  var texts: [String] { list.withLock { $0 } }
  func add(_ text: String) { list.withLock { $0.append(text) } }
}

/// Does the work of a search at once, by way of messages, and keeps them.
private final class Recorder: @unchecked Sendable, Crew {
  // Unchecked: used by one search, whose items are done one after the other.
  var pairs: [(item: Safetensors, result: Safetensors, policy: Safetensors?)] = []
  /// How many messages that are none come before each result.
  var crowd = 0
  var (damaged, damagedTaken, forged, forgedTaken) = (0, 0, 0, 0)
  private var random = RandomStream(seed: 5)
  private var performer: (any WorkPerformer)?

  func by(_ make: () -> any WorkPerformer) -> Recorder {
    performer = make()
    return self
  }

  func takeCount() -> Int { 1 }

  func results<Value: Sendable, Result: Sendable>(
    of items: [(key: WorkKey, file: Safetensors)], sharing policy: Safetensors?,
    accept: @escaping @Sendable (Int, ValueReader) throws(StoredValueError) -> Value,
    finish: @escaping @Sendable (Int, Value) async throws -> Result
  ) async throws -> [Result] {
    var results: [Result] = []
    for (i, item) in items.enumerated() {
      let file = try Safetensors(sealed: item.file.sealed())
      guard let result = try performer?.perform(ValueReader(file), policy: policy).file else {
        break
      }
      pairs.append((item.file, result, policy))
      let bytes = Message.sealed(.result, run: "run", key: "key", result)
      for number in 0..<crowd {
        let isForged = number % 5 == 4
        let other = isForged ? forge(bytes, &random) : damage(bytes, &random)
        if isForged { forged += 1 } else { damaged += 1 }
        do throws(StoredValueError) {
          let reader = try Message.read(other, .result, run: "run", key: "key").reader
          let value = try accept(i, reader)
          if isForged { forgedTaken += 1 } else { damagedTaken += 1 }
          _ = try? await finish(i, value)
        } catch {
          #expect("\(error)".count < 1000)
        }
      }
      let reader = try Message.read(bytes, .result, run: "run", key: "key").reader
      results.append(try await finish(i, accept(i, reader)))
    }
    return results
  }
}

/// Bytes that something happened to on their way; never the same.
private func damage(_ bytes: [UInt8], _ random: inout RandomStream) -> [UInt8] {
  var other = bytes
  switch random.index(below: 5) {
  case 0: other.removeLast(1 + random.index(below: bytes.count))
  case 1: other += [UInt8](repeating: 0, count: 1 + random.index(below: 100))
  case 2:
    let first = random.index(below: bytes.count)
    other.removeSubrange(first..<min(bytes.count, first + 1 + random.index(below: 16)))
  case 3:
    for _ in 0...random.index(below: 8) {
      other[random.index(below: bytes.count)] = UInt8(random.index(below: 256))
    }
  default: other[random.index(below: bytes.count)] ^= 1 << UInt8(random.index(below: 8))
  }
  if other == bytes { other[random.index(below: bytes.count)] ^= 0x10 }
  return other
}

/// A message that says what nobody would, with a checksum that fits.
private func forge(_ bytes: [UInt8], _ random: inout RandomStream) -> [UInt8] {
  guard var header = try? ForgedHeader(bytes) else { return [] }
  for _ in 0...random.index(below: 2) { header.forge(&random) }
  return (try? header.encoded(isSealed: true)) ?? []
}
