import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

/// The program of `Examples/ProcessEnvironment`, and copies of it with a fault.
@Suite("Environments in a process") struct ProcessTaskTests {
  private static let example = URL(filePath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("../../Examples/ProcessEnvironment/point.py").standardizedFileURL

  /// The example with some of its text replaced.
  private func program(
    _ replacements: [(String, String)] = [], deadline: Double = 20
  ) throws -> ProcessProgram {
    var text = try String(contentsOf: Self.example, encoding: .utf8)
    for (old, new) in replacements {
      #expect(text.contains(old), "\(old)")
      text = text.replacing(old, with: new)
    }
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("gps-process-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try text.write(
      to: folder.appendingPathComponent("point.py"), atomically: true, encoding: .utf8)
    return ProcessProgram(
      command: ["python3", "point.py"], folder: folder.path, settings: #"{"mass": 2}"#,
      deadline: deadline)
  }

  private func task(
    _ program: ProcessProgram, horizon T: Int = 8, endCost: Double = 0
  ) throws -> ProcessTask {
    let conditions = (0..<3).map { i in
      var condition = Condition(name: "\(i)", initialPlantState: i == 2 ? [1, -0.5] : [])
      condition.environmentReset = EnvironmentReset(
        seed: UInt64(i), options: i == 1 ? #"{"shift": 3}"# : "{}")
      if i == 2 { condition.initialPlantStateDeviation = [0.1, 0] }
      return condition
    }
    return try ProcessTask(
      name: "point", system: ProcessSystem(program, horizon: T), horizon: T,
      conditions: conditions, cost: SumCost(.reward(RewardCost())), endCost: endCost)
  }

  /// u = −x − v + offset + noise.
  private func controllers(
    _ task: ProcessTask, offset: Double = 0
  ) throws -> [LinearGaussianController] {
    let T = task.dimensions.horizon
    let controller = try LinearGaussianController(
      gains: MatrixSequence(
        rows: 1, columns: 2, count: T,
        columnMajor: [Double](repeating: offset == 0 ? -1 : 0, count: 2 * T)),
      offsets: Matrix(
        rows: 1, columns: T, columnMajor: [Double](repeating: offset, count: T)),
      covariances: MatrixSequence(repeating: 0.04 * Matrix.identity(1), count: T))
    return task.conditions.map { _ in controller }
  }

  private func rollouts(
    _ task: ProcessTask, offset: Double = 0, samples: Int = 4, workers: Int = 2
  ) async throws -> [RolloutBatch] {
    try await collectRollouts(
      of: task, in: task.conditions, under: controllers(task, offset: offset),
      plan: RolloutPlan(iteration: 0, samples: samples, workers: workers),
      stream: RandomStream(seed: 5))
  }

  @Test("Rollouts are those of the equations, and the same for any number of workers")
  func dynamics() async throws {
    let task = try task(program())
    #expect(task.stateNames == ["place_m", "velocity_m_per_s"] && task.controlNames == ["force_N"])
    #expect(task.controlPeriod == 0.1 && task.remarks.isEmpty)
    #expect(task.controlLimits == ControlLimits(magnitudes: [5]))
    let batches = try await rollouts(task, workers: 1)
    for trajectory in batches.flatMap(\.trajectories) {
      for t in 0..<8 {
        let u = trajectory.controls[0, t]
        let v = trajectory.states[1, t] + 0.1 * u / 2
        let x = trajectory.states[0, t] + 0.1 * v
        #expect(abs(trajectory.states[1, t + 1] - v) < 1e-12)
        #expect(abs(trajectory.states[0, t + 1] - x) < 1e-12)
        #expect(abs(trajectory.rewards[t] + x * x + 0.01 * u * u) < 1e-12)
      }
      #expect(trajectory.observations == trajectory.states && trajectory.endStep == nil)
      let values = task.cost.values(along: trajectory, in: task.conditions[0])
      #expect(values == trajectory.rewards.map { -$0 } + [0])
    }
    // Where conditions begin: a seed, a seed and an option, a state with noise.
    let starts = batches.map { $0.trajectories.map { $0.states[0, 0] } }
    #expect(Set(starts[0]).count == 1 && Set(starts[1]).count == 1 && Set(starts[2]).count == 4)
    #expect(abs(starts[0][0]) <= 1 && (2...4).contains(starts[1][0]))
    #expect(starts[2].allSatisfy { abs($0 - 1) < 0.6 })
    for workers in [2, 5] {
      let others = try await rollouts(task, workers: workers)
      #expect(others.map(\.trajectories) == batches.map(\.trajectories))
    }
  }

  @Test("After the end of an episode nothing moves, and each step costs its price")
  func termination() async throws {
    // Pushed by 5 N from about 3 m.
    let task = try task(program(), horizon: 40, endCost: 7)
    let trajectory = try #require(
      try await rollouts(task, offset: 5, samples: 1)[1].trajectories.first)
    let end = try #require(trajectory.endStep)
    #expect((10..<40).contains(end))
    #expect(trajectory.states[0, end] > 10 && trajectory.states[0, end - 1] <= 10)
    for t in end...40 { #expect(trajectory.states.column(t) == trajectory.states.column(end)) }
    #expect(trajectory.rewards[end - 1] < -100)
    #expect(trajectory.rewards[end...].allSatisfy { $0 == -7 })
    #expect(task.endStep(of: trajectory, in: task.conditions[1]) == end)
  }

  @Test("What was cut short goes on costing what it cost, and is whole if it was at the last step")
  func truncation() async throws {
    let cut = [(#""terminated" if abs(place) > 10"#, #""truncated" if steps == 5"#)]
    let counted =
      cut + [
        ("        place, velocity = arrays", "        steps = 0\n        place, velocity = arrays"),
        ("        (force,) = arrays", "        steps += 1\n        (force,) = arrays"),
      ]
    let task = try task(program(counted))
    let trajectory = try #require(try await rollouts(task)[0].trajectories.first)
    #expect(trajectory.endStep == 5)
    #expect(trajectory.rewards[5...].allSatisfy { $0 == trajectory.rewards[4] })
    let whole = try self.task(program(counted), horizon: 5)
    #expect(try await rollouts(whole)[0].trajectories.allSatisfy { $0.endStep == nil })
  }

  @Test("A process that dies is a failed rollout with its last words, and another takes its place")
  func death() async throws {
    // Only where nothing pulls back, beyond 2.3 m.
    let fault = [
      (
        "        place += 0.1",
        "        if place > 2.3: print('out of rail', file=sys.stderr); os._exit(3)\n        place += 0.1"
      )
    ]
    let task = try task(program(fault))
    let batches = try await rollouts(task, offset: 1)
    #expect(batches[0].trajectories.count == 4 && batches[2].trajectories.count == 4)
    #expect(batches[1].trajectories.isEmpty && batches[1].discarded.count == 12)
    for failure in batches[1].discarded {
      #expect(failure.reason == "the process ended with code 3: out of rail")
    }
  }

  @Test("A process that hangs is ended, and so is what it has started")
  func hang() async throws {
    let fault = [
      (
        "        place += 0.1",
        "        if place > 2: __import__('subprocess').run(['sleep', '987.6'])\n        place += 0.1"
      )
    ]
    let task = try task(program(fault, deadline: 2))
    let batches = try await rollouts(task, samples: 1)
    #expect(batches[0].trajectories.count == 1 && batches[1].trajectories.isEmpty)
    #expect(batches[1].discarded.last?.reason == "the process has not answered for 2 s")
    let sleepers = try FileManager.default.contentsOfDirectory(atPath: "/proc").filter { pid in
      let line = try? Data(contentsOf: URL(filePath: "/proc/\(pid)/cmdline"))
      return line.map { String(decoding: $0, as: UTF8.self).contains("987.6") } ?? false
    }
    #expect(sleepers.isEmpty)
  }

  @Test("A failure that the program tells is the rollout's, with its step")
  func failure() throws {
    let task = try task(program())
    var plant = try task.makePlant()
    try plant.reset(to: task.conditions[0], plantState: [Double]().span)
    // Two numbers for one.
    #expect {
      try plant.step(control: [1.0, 2].span)
    } throws: {
      "\($0)".contains("ended with code 1: ValueError: too many values to unpack")
    }
    // What has failed is of no use any more, a new plant is.
    #expect(throws: PlantFailure.self) { try plant.step(control: [1.0].span) }
    var other = try task.makePlant()
    try other.reset(to: task.conditions[0], plantState: [Double]().span)
    try other.step(control: [1.0].span)
  }

  @Test("Programs that cannot be used are refused with a sentence")
  func refusals() throws {
    func refusal(_ program: ProcessProgram) -> String {
      do {
        _ = try task(program)
        return "none"
      } catch {
        return "\(error)"
      }
    }
    #expect(
      refusal(ProcessProgram(command: ["no-such-program-anywhere"])).contains(
        "the process ended with code 127"))
    #expect(
      refusal(ProcessProgram(command: ["python3", "-c", "import no_such_module"])).contains(
        "No module named 'no_such_module'"))
    #expect(
      refusal(ProcessProgram(command: ["python3", "-c", "print('hello, world')"])).contains(
        "its answer begins with \"hello, w\""))
    #expect(
      try refusal(program([("random.Random(int(texts[\"seed\"]))", "random.Random()")])).contains(
        "two resets of condition \"0\" with the same seed and options begin in different states"))
    #expect(
      try refusal(program([(#""control_lower": [-5.0]"#, #""control_lower": [9.0]"#)])).contains(
        "limits.lower[0]"))
    #expect(
      try refusal(program([(#""pays_rewards": "true""#, #""pays_rewards": "false""#)])).contains(
        "the system pays no rewards"))
    #expect(
      try refusal(program([(#""sets_state": "true""#, #""sets_state": "false""#)])).contains(
        "the environment cannot be put into a state"))
    #expect(
      try refusal(program([(#""protocol": "1""#, #""protocol": "7""#)])).contains(
        "it speaks version 7 of the protocol"))
  }

  @Test("Rollouts that differ under the same controls are told of")
  func unrepeatable() throws {
    let task = try task(
      program([("velocity += 0.1 * force", "velocity += 0.1 * force * random.random()")]))
    #expect(task.remarks.count == 1 && task.remarks[0].contains("same seed and controls differ"))
  }
}
