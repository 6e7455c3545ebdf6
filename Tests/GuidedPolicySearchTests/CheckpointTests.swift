import Foundation
import GPSTestSupport
import Testing

@testable import Experiments
@testable import GPSCore
@testable import GuidedPolicySearch
@testable import Runs

private let tiny = """
  task: tiny
  system: {native: {model: {pointMass: {}}, controlPeriod: 0.1}}
  horizon: 4
  conditions:
    common: {goal: [0.5, 0], positionDeviation: 0.05}
    train: [{name: left, state: [-1, 0, 0, 0]}, {name: right, state: [1, 0, 0, 0]}]
  cost: [{control: {weights: 0.1}}, {state: {entries: [position_x_m, position_y_m], target: goal}}]
  success: {stateWithin: {entries: [position_x_m, position_y_m], target: goal, tolerance: 0.5}}
  initialController: {lqr: {gains: 1, stiffness: 0.5}}
  algorithm: {iterations: 3, samples: 2, modelSamples: 1}
  network: {hiddenLayers: [3]}
  training: {steps: 5}
  """

private func load(_ overrides: String...) throws -> LoadedExperiment {
  try Experiment.load(
    yaml: tiny, folder: URL(fileURLWithPath: "/"),
    overrides: overrides.map { Experiment.Override($0) })
}

private typealias PointMassSearch<Link: Coupling> = GuidedSearch<
  NativeTask<PointMass>, KLStep, Link, NeuralDistiller
>

/// The learner of the tiny experiment.
private func mirrorSearch(_ loaded: LoadedExperiment) throws -> PointMassSearch<MirrorDescent> {
  try #require(try loaded.learner() as? PointMassSearch<MirrorDescent>)
}

/// The states after each iteration, the one before the first included.
private func states<L: Learner>(_ learner: L) async throws -> [L.State] {
  var states = [learner.initialState]
  for try await (state, _) in learner.iterations() { states.append(state) }
  return states
}

private func states(_ loaded: LoadedExperiment) async throws -> [State] {
  try await states(mirrorSearch(loaded))
}

/// One more iteration, whatever comes of it.
private func advance(_ state: State, of loaded: LoadedExperiment) async throws {
  _ = try? await mirrorSearch(loaded).advancing(state)
}

private func temporaryFolder() throws -> URL {
  let url = FileManager.default.temporaryDirectory.appendingPathComponent(
    "gps-checkpoints-\(UUID().uuidString)", isDirectory: true)
  try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  return url
}

/// A run of the tiny experiment in a folder of its own.
private func finishedRun(
  _ loaded: LoadedExperiment, in url: URL, schedule: CheckpointSchedule = CheckpointSchedule()
) async throws -> Summary {
  try await loaded.begin(mirrorSearch(loaded), at: url, echoesWarnings: false).run(
    workers: 1, schedule: schedule)
}

/// The file with something changed and a checksum that fits.
private func resealed(
  _ bytes: [UInt8], _ change: (inout Safetensors) -> Void
) throws -> [UInt8] {
  var file = try Safetensors(sealed: bytes)
  change(&file)
  return file.sealed()
}

private func refusal(_ bytes: [UInt8]) -> String? {
  do {
    _ = try Checkpoint<State>(bytes: bytes)
    return nil
  } catch {
    return error.reason
  }
}

/// Changes an array or a text of a file that stays well-formed.
private func forge(_ file: inout Safetensors, _ random: inout RandomStream) {
  let names = file.tensors.keys.sorted()
  let name = names[random.index(below: names.count)]
  guard let tensor = file.tensors[name] else { return }
  func put(_ numbers: [Double], _ shape: [Int]) {
    file.tensors[name] =
      tensor.elementType == .f32
      ? .init(numbers.map { Float($0) }, shape: shape) : .init(numbers, shape: shape)
  }
  let numbers = tensor.doubles ?? tensor.floats?.map(Double.init) ?? []
  switch random.index(below: 6) {
  case 0: file.tensors[name] = nil
  case 1: file.tensors[name] = file.tensors[names[random.index(below: names.count)]]
  case 2: if !numbers.isEmpty { put(numbers, tensor.shape.reversed()) }
  case 3:
    if numbers.isEmpty { return }
    let odd = [
      .nan, .infinity, 0, -0.0, -1, 1e308, -1e-308, .leastNonzeroMagnitude, 1e9,
    ]
    var changed = numbers
    changed[random.index(below: numbers.count)] = odd[random.index(below: odd.count)]
    put(changed, tensor.shape)
  case 4:
    guard let last = tensor.shape.last, last > 1, !numbers.isEmpty else { return }
    let shape = tensor.shape.dropLast() + [last - 1]
    put(Array(numbers.prefix(shape.reduce(1, *))), Array(shape))
  default:
    let texts = file.metadata.keys.sorted()
    let values = [
      "", "0", "1", "-1", "9223372036854775807", "relu", "3,3", "65536,65536", "nan", "1e400",
    ]
    file.metadata[texts[random.index(below: texts.count)]] =
      values[random.index(below: values.count)]
  }
}

@Suite("Checkpoints") struct CheckpointTests {
  @Test(
    "every state comes back, and gives the same bytes again",
    arguments: [
      [], ["algorithm.name=trajectoryOptimization"], ["algorithm.sampling=offPolicy"],
      ["training.keepOptimizerState=true"],
      ["training.keepOptimizerState=true", "training.optimizer=sgd", "network.activation=silu"],
      ["network.hiddenLayers=[]"],
    ] as [[String]])
  func statesComeBack(_ overrides: [String]) async throws {
    let loaded = try Experiment.load(
      yaml: tiny, folder: URL(fileURLWithPath: "/"),
      // What is taken back expects nothing.
      overrides: (overrides + ["algorithm.takeBack=0"]).map { Experiment.Override($0) })
    func check<L: Learner>(_ learner: L) async throws {
      let states = try await states(learner)
      #expect(states.count == 4)
      for state in states { try checkStorable(state, fits: learner) }
      if let last = states[3] as? State {
        #expect(
          (last.training != nil) == (overrides.first == "training.keepOptimizerState=true"))
        #expect(last.conditions.allSatisfy { $0.expectation != nil })
      }
    }
    try await check(loaded.learner())
  }

  @Test("so does that of an optimiser")
  func optimizersComeBack() async throws {
    let loaded = try load("optimization.maxIterations=3")
    func check<L: Learner>(_ learner: L) async throws {
      let states = try await states(learner)
      #expect(states.count >= 3)
      for state in states { try checkStorable(state, fits: learner) }
    }
    try await check(loaded.optimizer())
  }

  @Test func anUntrainedPolicyStaysUntrained() throws {
    var state = State(conditions: [])
    state.policy = NeuralPolicy.initial(observation: 3, control: 2, stream: RandomStream(seed: 1))
    let read = try Checkpoint<State>(bytes: Checkpoint(state: state, task: "").encoded())
    #expect(read.state == state && read.state.policy?.isWhitened == false)
  }

  @Test func infiniteExpectationsAreKept() async throws {
    var state = try await states(load())[1]
    state.conditions[0].expectation?.predictedImprovement = -.infinity
    let read = try Checkpoint<State>(bytes: Checkpoint(state: state, task: "").encoded())
    #expect(read.state == state)
  }

  @Test func whatCouldNotBeReadIsNotWritten() async throws {
    var state = try await states(load())[1]
    state.conditions[1].local.dual = .nan
    #expect(throws: CheckpointError.notFinite(name: "conditions.1.local.dual")) {
      try Checkpoint(state: state, task: "").encoded()
    }
  }

  // MARK: - Refusals

  @Test func everyRefusalNamesItsReason() async throws {
    let loaded = try load()
    let state = try await states(loaded)[2]
    let good = try Checkpoint(state: state, task: "tiny", experiment: tiny).encoded()
    func after(_ change: (inout Safetensors) -> Void) throws -> String? {
      refusal(try resealed(good, change))
    }
    let gains = "conditions.0.controller.gains"
    let numbers = try #require(Safetensors(sealed: good).tensors[gains]?.doubles)
    #expect(try after { _ in } == nil)
    #expect(try after { $0.metadata["format"] = "gps-policy" } == "it is not a checkpoint")
    #expect(
      try after { $0.metadata["version"] = "4" }
        == "it is of format version 4, this program reads 6")
    #expect(try after { $0.metadata["iteration"] = "-1" } == #""iteration" is "-1", not a count"#)
    #expect(
      try after { $0.metadata["iteration"] = "\(Int.max)" }?.hasSuffix("not a count") == true)
    #expect(
      try after { $0.metadata["conditions"] = "1000000" }
        == "it holds fewer arrays than 1000000 conditions have")
    #expect(try after { $0.tensors[gains] = nil } == "the array \"\(gains)\" is missing")
    #expect(
      try after { $0.tensors[gains] = .init(numbers, shape: [4, 4, 2]) }?.hasPrefix(
        "\"conditions.0.controller.offsets\" has shape [2, 4], not [4, 4]") == true)
    #expect(
      try after {
        $0.tensors[gains] = .init([.nan] + numbers.dropFirst(), shape: [4, 2, 4])
      } == "\"\(gains)\" holds nan")
    #expect(
      try after {
        $0.tensors["policy.layers.0.biases"] = .init([1, .infinity, 2] as [Float], shape: [3])
      }
        == "\"policy.layers.0.biases\" holds inf")
    #expect(
      try after { $0.tensors["conditions.0.step_multiplier"] = .init([0.0], shape: []) }
        == "\"conditions.0.step_multiplier\" is 0.0, which is out of range")
    #expect(
      try after { $0.tensors["more"] = .init([0.0], shape: []) }
        == "the array \"more\" belongs to nothing")
    #expect(refusal(try Safetensors(sealed: good).encoded())?.contains("checksum") == true)
    #expect(refusal(Array("hello".utf8))?.hasPrefix("not a safetensors file") == true)

    // Shapes that agree with each other but not with the task.
    let other = try await states(load("horizon=3"))[1]
    #expect(
      try mirrorSearch(loaded).mismatch(with: other)
        == "its condition \"left\" is not of 4 states, 2 controls, 6 observations and 4 steps")
    let single = try await states(load("conditions.train=[{state: [1, 0, 0, 0]}]"))[1]
    #expect(
      try mirrorSearch(loaded).mismatch(with: single) == "it has 1 conditions, the task 2")
  }

  @Test(
    "2000 damaged and 2000 forged checkpoints are refused, or can be used", .slow,
    .timeLimit(.minutes(30)))
  func fuzz() async throws {
    let loaded = try load("training.keepOptimizerState=true")
    let state = try await states(loaded)[2]
    let good = try Checkpoint(state: state, task: "tiny", experiment: tiny).encoded()
    let form = try Safetensors(sealed: good)
    var random = RandomStream(seed: 20)
    func damage(_ bytes: inout [UInt8]) {
      let at = random.index(below: bytes.count)
      switch random.index(below: 6) {
      case 0: bytes[at] ^= UInt8(1 << random.index(below: 8))
      case 1: bytes[at] = bytes[at] &+ UInt8(1 + random.index(below: 255))
      case 2: bytes.remove(at: at)
      case 3: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: at)
      case 4: bytes.removeLast(bytes.count - at)
      default:
        // The header's length: absurd, or off by a little.
        bytes[random.index(below: 8)] = UInt8(truncatingIfNeeded: random.next()) | 1
      }
    }
    // What no longer agrees with its checksum is refused, always.
    for _ in 0..<2000 {
      var bytes = good
      repeat { damage(&bytes) } while bytes == good
      #expect(refusal(bytes) != nil)
    }
    // What does may still be nonsense.
    let search = try mirrorSearch(loaded)
    var (refused, used) = (0, 0)
    for round in 0..<2000 {
      var bytes: [UInt8]
      if round % 4 == 0 {
        bytes = Array(good.dropLast(8))
        damage(&bytes)
        let checksum = CRC64.checksum(of: bytes[...])
        withUnsafeBytes(of: checksum.littleEndian) { bytes.append(contentsOf: $0) }
      } else {
        var file = form
        for _ in 0...random.index(below: 2) { forge(&file, &random) }
        bytes = file.sealed()
      }
      if let read = try? Checkpoint<State>(bytes: bytes), search.mismatch(with: read.state) == nil {
        used += 1
        try await advance(read.state, of: loaded)
      } else {
        refused += 1
      }
    }
    #expect(refused > 500 && used > 100, "\(refused) refused, \(used) used")
  }

  @Test("2000 forged policies are refused, or act")
  func forgedPolicies() async throws {
    let policy = try #require(try await states(load())[1].policy)
    let good = PolicyFile(policy: policy, task: "tiny", experiment: tiny).safetensors
    var random = RandomStream(seed: 21)
    var (refused, used) = (0, 0)
    for _ in 0..<2000 {
      var file = good
      for _ in 0...random.index(below: 2) { forge(&file, &random) }
      let read: PolicyFile<NeuralPolicy>
      do {
        read = try PolicyFile(Safetensors(bytes: file.encoded()))
      } catch {
        #expect(error is StoredValueError && !"\(error)".isEmpty)
        refused += 1
        continue
      }
      used += 1
      let observations = Matrix(rows: read.policy.observation, columns: 2, repeating: 0.5)
      #expect(read.policy.mean(for: observations).rows == read.policy.control)
    }
    #expect(refused > 500 && used > 100, "\(refused) refused, \(used) used")
  }

  @Test("a checkpoint or policy cut off anywhere is refused", .slow)
  func cutOff() async throws {
    let state = try await states(load())[1]
    let checkpoint = try Checkpoint(state: state, task: "tiny", experiment: "").encoded()
    let policy = try #require(state.policy)
    let file = PolicyFile(policy: policy, task: "tiny", experiment: "").safetensors.encoded()
    for length in 0..<checkpoint.count {
      #expect(refusal(Array(checkpoint.prefix(length))) != nil)
    }
    for length in 0..<file.count {
      #expect(throws: SafetensorsError.self) {
        try Safetensors(bytes: Array(file.prefix(length)))
      }
    }
  }

  // MARK: - Run directories

  @Test("a run goes on from each of its checkpoints as if it had never stopped")
  func resumeFromEach() async throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let loaded = try load("algorithm.iterations=4")
    let whole = folder.appendingPathComponent("whole", isDirectory: true)
    let summary = try await finishedRun(
      loaded, in: whole, schedule: CheckpointSchedule(every: 1, keep: 10))
    for done in 0...4 {
      let url = folder.appendingPathComponent("from-\(done)", isDirectory: true)
      try FileManager.default.copyItem(at: whole, to: url)
      let checkpoints = CheckpointFolder(in: url)
      for (iteration, name) in checkpoints.names where iteration > done {
        try FileManager.default.removeItem(atPath: checkpoints.path(name))
      }
      let session = try loaded.resume(mirrorSearch(loaded), at: url, echoesWarnings: false)
      #expect(session.iterationsDone == done)
      let progress = try String(
        contentsOf: url.appendingPathComponent("progress.csv"), encoding: .utf8)
      #expect(progress.split(separator: "\n").count == 1 + done)
      let resumed = try await session.run(workers: 3)
      #expect(resumed.withoutTimes == summary.withoutTimes && resumed.outcome == .completed)
      #expect(resumed.wallSeconds > 0 && resumed.workers == 3)
      for name in [
        "trajectories.csv", "rollouts.csv", "conditions.csv", "policy.safetensors",
        "experiment.yaml", "checkpoints/best.safetensors",
        "checkpoints/iteration-000004.safetensors",
      ] {
        #expect(
          try Data(contentsOf: url.appendingPathComponent(name))
            == Data(contentsOf: whole.appendingPathComponent(name)), "\(name) from \(done)")
      }
    }
  }

  @Test func fallBackToTheOneBefore() async throws {
    let url = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: url) }
    let loaded = try load()
    _ = try await finishedRun(loaded, in: url)
    let folder = CheckpointFolder(in: url)
    #expect(folder.names.map(\.iteration) == [3, 2, 1])
    let whole = try Data(contentsOf: URL(fileURLWithPath: folder.path(folder.names[0].name)))
    // Cut off, and a draft that never became a checkpoint.
    try whole.prefix(whole.count - 1).write(
      to: URL(fileURLWithPath: folder.path(folder.names[0].name)))
    let draft = folder.path("iteration-000007.safetensors.tmp")
    try whole.write(to: URL(fileURLWithPath: draft))
    do {
      let session = try loaded.resume(mirrorSearch(loaded), at: url, echoesWarnings: false)
      #expect(session.iterationsDone == 2)
      #expect(!FileManager.default.fileExists(atPath: draft))
      let log = try String(contentsOf: url.appendingPathComponent("log.txt"), encoding: .utf8)
      #expect(
        log.contains("iteration-000003.safetensors: array \"checksum\": its byte range"))
      #expect(log.contains("; the checkpoint before it is taken"))
      _ = try await session.run(workers: 1, schedule: CheckpointSchedule(keep: 1))
    }
    // The broken file was written again, and is what is kept.
    #expect(folder.names.map(\.iteration) == [3])
    #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path(folder.names[0].name))) == whole)
    // The best one is the last resort.
    for (_, name) in folder.names { try FileManager.default.removeItem(atPath: folder.path(name)) }
    do {
      let best = try #require(
        try loaded.resume(mirrorSearch(loaded), at: url, echoesWarnings: false).checkpoint)
      #expect(best.state.bestEvidence?.iteration == best.state.iteration - 1)
    }
    try Data("x".utf8).write(to: URL(fileURLWithPath: folder.path(CheckpointFolder.best)))
    #expect(throws: CheckpointError.self) {
      try loaded.resume(mirrorSearch(loaded), at: url, echoesWarnings: false)
    }
  }

  @Test func stalePastTheFallBackIsPruned() throws {
    let url = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: url) }
    let folder = CheckpointFolder(in: url)
    try folder.make()
    for iteration in [1, 2, 3, 8, 1_234_567] {
      try Data().write(
        to: URL(fileURLWithPath: folder.path(CheckpointFolder.name(iteration: iteration))))
    }
    for name in ["iteration-3.safetensors", "notes.txt", CheckpointFolder.best] {
      try Data().write(to: URL(fileURLWithPath: folder.path(name)))
    }
    folder.prune(keeping: 2, upTo: 3)
    #expect(folder.names.map(\.iteration) == [3, 2])
    let left = try FileManager.default.contentsOfDirectory(atPath: folder.url.path)
    #expect(left.count == 5)
  }

  @Test("the schedule decides which checkpoints are written; the last iteration always has one")
  func schedule() async throws {
    let url = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: url) }
    _ = try await finishedRun(
      load("algorithm.iterations=5"), in: url, schedule: CheckpointSchedule(every: 2, keep: 2))
    #expect(CheckpointFolder(in: url).names.map(\.iteration) == [5, 4])
    let best = try Checkpoint<State>(
      contentsOf: url.appendingPathComponent("checkpoints/best.safetensors"))
    let rows = try String(contentsOf: url.appendingPathComponent("progress.csv"), encoding: .utf8)
      .split(separator: "\n").dropFirst().map {
        $0.split(separator: ",", omittingEmptySubsequences: false)
      }
    let columns = try String(
      contentsOf: url.appendingPathComponent("progress.csv"), encoding: .utf8
    ).prefix { $0 != "\n" }.split(separator: ",")
    let index = try #require(columns.firstIndex(of: "policy_mean_cost"))
    let success = try #require(columns.firstIndex(of: "policy_success_rate"))
    let verdicts = try rows.map {
      (-(try #require(Double($0[success]))), try #require(Double($0[index])))
    }
    let lowest = try #require(verdicts.indices.min { verdicts[$0] < verdicts[$1] })
    #expect(best.state.bestEvidence?.iteration == lowest && best.state.iteration == lowest + 1)
    #expect(best.state.bestEvidence?.meanCost == verdicts[lowest].1)
  }

  @Test func anotherExperimentIsRefused() async throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let url = folder.appendingPathComponent("run", isDirectory: true)
    _ = try await finishedRun(load(), in: url)
    func reason(_ override: Experiment.Override) throws -> String {
      let loaded = try load(override.assignment)
      let error = try #require(throws: CheckpointError.self) {
        try loaded.resume(mirrorSearch(loaded), at: url, echoesWarnings: false)
      }
      return "\(error)"
    }
    #expect(
      try reason("algorithm.klStep=0.25").hasSuffix(
        "iteration-000003.safetensors: it belongs to another experiment: it has \"klStep: 1\" "
          + "where this one has \"klStep: 0.25\""))
    #expect(try reason("seed=3").contains("\"seed: 0\" where this one has \"seed: 3\""))
    #expect(
      try reason("horizon=5").contains("4 observations and 5 steps")
        || reason("horizon=5").contains("and 5 steps"))
    #expect(
      try reason("algorithm.iterations=2")
        == "\(url.path): 3 iterations are done, so the run cannot end after 2")
    #expect(throws: CheckpointError.none(path: folder.path)) {
      try load().resume(mirrorSearch(load()), at: folder, echoesWarnings: false)
    }
    // Nothing was left behind where there was no run.
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["run"])
    do {
      let longer = try load("algorithm.iterations=4")
      let session = try longer.resume(mirrorSearch(longer), at: url, echoesWarnings: false)
      #expect(throws: RunDirectoryError.inUse(path: url.path)) {
        try longer.resume(mirrorSearch(longer), at: url, echoesWarnings: false)
      }
      let summary = try await session.run(workers: 1)
      #expect(summary.iterations == 4)
    }
    let effective = try Experiment.read(url.appendingPathComponent("experiment.yaml"))
    #expect(effective.search.iterations == 4)
  }

  @Test("Whoever waits on the main actor is told there, as the top level of a program is")
  @MainActor
  func mainActor() async throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let loaded = try load()
    // A closure within another: where the compiler puts its check of the actor.
    var told: [String] = []
    func tell(_ name: String) { [name].forEach { told.append($0) } }
    let session = try loaded.begin(mirrorSearch(loaded), at: folder, echoesWarnings: false)
    _ = try await session.run(
      workers: 1,
      shouldStop: {
        tell("asked")
        return true
      }, onReport: { _ in tell("reported") })
    _ = try await mirrorSearch(loaded).run { _ in tell("run") }
    let task = loaded.task
    let dynamics = try #require(try task.knownDynamics(in: task.conditions[0]))
    try await optimize(dynamics, task) { _ in tell("optimised") }
    #expect(Set(told) == ["reported", "asked", "run", "optimised"])
  }

  @MainActor private func optimize(
    _ dynamics: some KnownDynamics, _ task: any ControlTask,
    onIteration: (ILQR.Iteration) -> Void
  ) async throws {
    var options = ILQR.Options()
    options.maxIterations = 2
    _ = try await ILQR(options: options).optimize(
      dynamics, cost: task.cost, in: task.conditions[0],
      from: task.conditions[0].initialPlantState,
      controls: Matrix(rows: task.dimensions.control, columns: task.dimensions.horizon),
      onIteration: onIteration)
  }

  @Test func aCancelledRunCanGoOn() async throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let loaded = try load()
    let session = try loaded.begin(mirrorSearch(loaded), at: folder, echoesWarnings: false)
    let stopped = try await session.run(
      workers: 1, schedule: CheckpointSchedule(every: 100), shouldStop: { true })
    #expect(stopped.outcome == .interrupted && stopped.iterations == 1)
    #expect(CheckpointFolder(in: folder).names.map(\.iteration) == [1, 0])
  }
}

@Suite("Rows kept on resuming") struct KeptRowsTests {
  private func kept(_ text: String, before iteration: Int) throws -> (String, Int?) {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(
      "gps-rows-\(UUID().uuidString).csv")
    defer { try? FileManager.default.removeItem(at: url) }
    try text.write(to: url, atomically: false, encoding: .utf8)
    let rows = try KeptRows(of: url.path, header: Array("iteration,a\n".utf8), before: iteration)
    return (
      String(decoding: Array(text.utf8).prefix(rows.length), as: UTF8.self), rows.lastIteration
    )
  }

  @Test(
    arguments: [
      ("", "", nil), ("0,1\n", "0,1\n", 0), ("0,1\n0,2\n1,3\n", "0,1\n0,2\n1,3\n", 1),
      ("0,1\n1,2\n2,3\n", "0,1\n1,2\n", 1), ("0,1\n1,2", "0,1\n", 0), ("0,1\n1", "0,1\n", 0),
      ("0,1\n12,5\n", "0,1\n", 0), ("0,1\n,\n1,2\n", "0,1\n", 0), ("0,1\nx,2\n", "0,1\n", 0),
      ("0,\"a\n1,b\"\n1,\"\"\"\n\"\n2,", "0,\"a\n1,b\"\n1,\"\"\"\n\"\n", 1),
      ("0,\"a\n", "", nil), ("1\n", "", nil),
    ] as [(String, String, Int?)])
  func wholeRowsBefore2(_ rows: String, _ expected: String, _ last: Int?) throws {
    let (text, iteration) = try kept("iteration,a\n" + rows, before: 2)
    #expect(text == "iteration,a\n" + expected && iteration == last)
  }

  @Test func otherColumnsAreRefused() {
    for text in ["", "iteration,b\n", "iteration,a", "iteration"] {
      #expect(throws: RunDirectoryError.self) { try kept(text, before: 2) }
    }
  }

  @Test func longFilesAreReadInPieces() throws {
    var text = "iteration,a\n"
    for iteration in 0..<200_000 { text += "\(iteration),abcdefgh\n" }
    let (part, last) = try kept(text, before: 150_000)
    #expect(last == 149_999 && part.hasSuffix("149999,abcdefgh\n"))
  }
}
