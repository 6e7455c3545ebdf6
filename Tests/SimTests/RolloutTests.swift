import Foundation
import GPSCore
import LinearAlgebra
import Statistics
import Synchronization
import Testing

@testable import Sim

/// x' = x + u, with a hook before every step that may throw, wait or spoil the state.
private struct ProbePlant: Plant {
  let hook: @Sendable (Condition, Int, inout Double) throws -> Void
  var condition = Condition(name: "", initialPlantState: [])
  var step = 0
  var x = 0.0

  mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    self.condition = condition
    step = 0
    x = plantState[0]
    try hook(condition, -1, &x)
  }

  mutating func step(control: Span<Double>) throws {
    x += control[0]
    try hook(condition, step, &x)
    step += 1
  }

  func readState(into state: inout MutableSpan<Double>) { state[0] = x }
  func readObservation(into observation: inout MutableSpan<Double>) { observation[0] = 2 * x }
}

private struct ProbeTask: ControlTask {
  let name = "probe"
  var dimensions = Dimensions(state: 1, control: 1, observation: 1, horizon: 5)
  let controlPeriod = 0.1
  let stateNames = ["x"]
  let controlNames = ["u"]
  var conditions: [Condition]
  let cost: any Cost = SumCost()
  var controlLimits: ControlLimits?
  var makeError: PlantFailure?
  let hook: @Sendable (Condition, Int, inout Double) throws -> Void

  init(
    _ count: Int = 2, deviation: Double = 0, makeError: PlantFailure? = nil,
    hook: @escaping @Sendable (Condition, Int, inout Double) throws -> Void = { _, _, _ in }
  ) {
    conditions = (0..<count).map {
      Condition(
        name: "\($0)", initialPlantState: [Double($0)], initialPlantStateDeviation: [deviation])
    }
    self.makeError = makeError
    self.hook = hook
  }

  func makePlant() throws -> ProbePlant {
    if let makeError { throw makeError }
    return ProbePlant(hook: hook)
  }

  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool { true }
}

private func controller(
  state: Int, control: Int, horizon: Int, deviation: Double = 1
) throws -> LinearGaussianController {
  try LinearGaussianController(
    gains: MatrixSequence(rows: control, columns: state, count: horizon),
    offsets: Matrix(rows: control, columns: horizon),
    covariances: MatrixSequence(
      repeating: (deviation * deviation) * Matrix.identity(control), count: horizon))
}

/// Two sides that must meet.
private final class Flags: Sendable {
  let finishing = Atomic(false)
  let rolling = Atomic(false)
  let count = Atomic(0)
}

@Suite struct RolloutTests {
  @Test("controls beyond the limits are applied and recorded at their bounds")
  func appliedControls() async throws {
    var task = ProbeTask(1)
    task.controlLimits = ControlLimits(lower: [-0.25], upper: [0.5])
    let policy = try controller(state: 1, control: 1, horizon: 5, deviation: 3)
    let batch = try await collectRollouts(
      of: task, in: task.conditions, under: [policy],
      plan: RolloutPlan(iteration: 0, samples: 4, workers: 1), stream: RandomStream(seed: 7))[0]
    var bounds = Set<Double>()
    for trajectory in batch.trajectories {
      for t in 0..<5 {
        let u = trajectory.controls[0, t]
        #expect(u >= -0.25 && u <= 0.5)
        // The plant integrates what it was given: the record is what was applied.
        #expect(trajectory.states[0, t + 1] == trajectory.states[0, t] + u)
        if u == -0.25 || u == 0.5 { bounds.insert(u) }
      }
    }
    #expect(bounds == [-0.25, 0.5])
  }

  @Test("The same bytes for any number of workers")
  func workers() async throws {
    let task = try NativeTask(
      name: "t", model: TwoLinkArm(), controlPeriod: 0.05, horizon: 20,
      conditions: (0..<3).map {
        Condition(
          name: "\($0)", initialPlantState: [Double($0), 1, 0, 0],
          initialPlantStateDeviation: [0.1, 0.1, 0, 0.1], goal: [Double($0), 0, 0])
      }, cost: SumCost(), success: .all([]))
    let policy = try controller(state: 4, control: 2, horizon: 20)
    var results: [[RolloutBatch]] = []
    for workers in [1, 2, 5] {
      results.append(
        try await collectRollouts(
          of: task, in: task.conditions, under: [policy, policy, policy],
          plan: RolloutPlan(
            iteration: 2, samples: 4, noise: ExplorationNoise(smoothing: 2), workers: workers),
          stream: RandomStream(seed: 7)))
    }
    let first = results[0].map(\.trajectories)
    #expect(first.map(\.count) == [4, 4, 4])
    for result in results { #expect(result.map(\.trajectories) == first) }
    #expect(results[0].map(\.condition) == [0, 1, 2])
    #expect(results[0].allSatisfy { $0.seconds > 0 })
    // Every rollout is another one.
    #expect(Set(first.joined().map { $0.states[3, 20] }).count == 12)
  }

  @Test("A rollout can be replayed from its path alone")
  func replay() async throws {
    let task = ProbeTask(2, deviation: 0.5)
    let policy = try controller(state: 1, control: 1, horizon: 5, deviation: 3)
    let batches = try await collectRollouts(
      of: task, in: task.conditions, under: [policy, policy],
      plan: RolloutPlan(iteration: 4, samples: 3, purpose: .evaluation, workers: 2),
      stream: RandomStream(seed: 11))
    // Noise of the initial state first, then one number per step; attempt 0.
    var stream = RandomStream(seed: 11).child(.evaluation, 4, 1, 2, 0)
    var x = 1 + 0.5 * stream.normal()
    let trajectory = batches[1].trajectories[2]
    for t in 0..<5 {
      #expect(trajectory.states[0, t] == x)
      #expect(trajectory.observations[0, t] == 2 * x)
      let u = 3 * stream.normal()
      #expect(trajectory.controls[0, t] == u)
      x += u
    }
    #expect(trajectory.states[0, 5] == x)
  }

  @Test(
    "A condition is finished while another one still rolls out",
    .enabled(if: ProcessInfo.processInfo.activeProcessorCount > 1))
  func overlap() async throws {
    // Each side waits for the other: with a barrier between the stages neither could go on.
    let flags = Flags()
    let task = ProbeTask(2) { condition, step, _ in
      guard condition.name == "1", step == 0 else { return }
      flags.rolling.store(true, ordering: .releasing)
      for _ in 0..<20_000 where !flags.finishing.load(ordering: .acquiring) { usleep(1000) }
      if !flags.finishing.load(ordering: .acquiring) {
        throw PlantFailure("condition 0 was not finished")
      }
    }
    let policy = try controller(state: 1, control: 1, horizon: 5)
    let met = try await collectRollouts(
      of: task, in: task.conditions, under: [policy, policy],
      plan: RolloutPlan(iteration: 0, samples: 2, workers: 2), stream: RandomStream(seed: 1),
      then: { batch -> Bool in
        guard batch.condition == 0 else { return batch.discarded.isEmpty }
        flags.finishing.store(true, ordering: .releasing)
        for _ in 0..<20_000 where !flags.rolling.load(ordering: .acquiring) {
          try await Task.sleep(for: .milliseconds(1))
        }
        return flags.rolling.load(ordering: .acquiring)
      })
    #expect(met == [true, true])
  }

  @Test("Failed rollouts are drawn again, counted, and do not end the run")
  func failures() async throws {
    // Fails at step 1 of every rollout that started above zero: about half of them.
    let task = ProbeTask(1, deviation: 1) { _, step, x in
      if step == 1 && x > 0 { throw PlantFailure("too far") }
    }
    let policy = try controller(state: 1, control: 1, horizon: 5, deviation: 1e-9)
    let samples = 40
    let batches = try await collectRollouts(
      of: task, in: task.conditions, under: [policy],
      plan: RolloutPlan(iteration: 0, samples: samples, workers: 2), stream: RandomStream(seed: 5))
    let batch = batches[0]
    var expected: [DiscardedRollout] = []
    var complete = 0
    for sample in 0..<samples {
      for attempt in 0..<3 {
        var stream = RandomStream(seed: 5).child(.rollout, 0, 0, sample, attempt)
        if stream.normal() < 0 {
          complete += 1
          break
        }
        expected.append(
          DiscardedRollout(sample: sample, attempt: attempt, step: 1, reason: "too far"))
      }
    }
    #expect(batch.discarded == expected)
    #expect(batch.trajectories.count == complete)
    #expect(expected.count > 20 && complete > 30 && complete < samples)
    #expect(batch.trajectories.allSatisfy { $0.states[0, 0] < 0 })
  }

  @Test("A number that is not finite is named with its step")
  func notFinite() async throws {
    let policy = try controller(state: 1, control: 1, horizon: 5)
    for value in [Double.nan, .infinity] {
      let task = ProbeTask(2) { condition, step, x in
        if condition.name == "0" && step == 2 { x = value }
      }
      let batches = try await collectRollouts(
        of: task, in: task.conditions, under: [policy, policy],
        plan: RolloutPlan(
          iteration: 0, samples: 2, options: RolloutOptions(maxAttempts: 2), workers: 1),
        stream: RandomStream(seed: 1))
      // x_3 is spoilt; the condition ends with no rollout, the other one with all.
      #expect(batches.map(\.trajectories.count) == [0, 2])
      #expect(batches[0].discarded.count == 4)
      #expect(
        batches[0].discarded.last
          == DiscardedRollout(
            sample: 1, attempt: 1, step: 3, reason: "state number 0 is \(value)"))
    }
  }

  @Test("A simulator that cannot be made fails its rollouts, a stage that fails ends the run")
  func errors() async throws {
    let policy = try controller(state: 1, control: 1, horizon: 5)
    let plan = RolloutPlan(iteration: 0, samples: 2, workers: 2)
    let broken = ProbeTask(2, makeError: PlantFailure("no model"))
    let batches = try await collectRollouts(
      of: broken, in: broken.conditions, under: [policy, policy], plan: plan,
      stream: RandomStream(seed: 1))
    for batch in batches {
      #expect(batch.trajectories.isEmpty && batch.discarded.count == 6)
      #expect(batch.discarded.allSatisfy { $0.reason == "no plant could be made: no model" })
    }
    // Both conditions fail: the lower one is reported, whatever the timing.
    let task = ProbeTask(2)
    await #expect(throws: PlantFailure("fit 0")) {
      _ = try await collectRollouts(
        of: task, in: task.conditions, under: [policy, policy], plan: plan,
        stream: RandomStream(seed: 1),
        then: { batch -> Int in throw PlantFailure("fit \(batch.condition)") })
    }
  }

  @Test("Cancelling ends the rollouts between two of them")
  func cancellation() async throws {
    let flags = Flags()
    let task = ProbeTask(1) { _, step, _ in
      guard step == 0 else { return }
      flags.count.add(1, ordering: .relaxed)
      withUnsafeCurrentTask { $0?.cancel() }
    }
    let policy = try controller(state: 1, control: 1, horizon: 5)
    await #expect(throws: CancellationError.self) {
      _ = try await collectRollouts(
        of: task, in: task.conditions, under: [policy],
        plan: RolloutPlan(iteration: 0, samples: 50, workers: 1), stream: RandomStream(seed: 1))
    }
    let started = flags.count.load(ordering: .relaxed)
    #expect(started == 1)
  }

  @Test("Mean actions have no noise, and initial noise has its deviation")
  func initialNoise() async throws {
    let task = ProbeTask(1, deviation: 0.3)
    let policy = try controller(state: 1, control: 1, horizon: 5)
    func batch(_ initialStateNoise: Bool, samples: Int) async throws -> RolloutBatch {
      try await collectRollouts(
        of: task, in: task.conditions, under: [policy],
        plan: RolloutPlan(
          iteration: 0, samples: samples, noise: nil, initialStateNoise: initialStateNoise,
          workers: 2), stream: RandomStream(seed: 3))[0]
    }
    let still = try await batch(false, samples: 1).trajectories[0]
    #expect(
      still.states.storage == [0, 0, 0, 0, 0, 0] && still.controls.storage.allSatisfy { $0 == 0 })
    let starts = try await batch(true, samples: 4000).trajectories.map { $0.states[0, 0] }
    let mean = starts.reduce(0, +) / 4000
    let variance = starts.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 3999
    #expect(abs(mean) < 0.02)
    #expect(abs(variance.squareRoot() - 0.3) < 0.015)
  }

  @Test("Smoothed noise has the covariance of its filter", arguments: [true, false])
  func smoothing(renormalizes: Bool) {
    let (T, rows, deviation, scale, draws) = (12, 2, 1.5, 0.7, 20_000)
    let filter = NoiseFilter(
      ExplorationNoise(scale: scale, smoothing: deviation, renormalizes: renormalizes), horizon: T)
    var stream = RandomStream(seed: 9)
    var noise = [Double](repeating: 0, count: rows * T)
    var scratch = [Double](repeating: 0, count: T)
    var covariance = Matrix(rows: rows * T, columns: rows * T)
    for _ in 0..<draws {
      filter.fill(&noise, rows: rows, scratch: &scratch, from: &stream)
      for i in noise.indices {
        for j in noise.indices { covariance[i, j] += noise[i] * noise[j] / Double(draws) }
      }
    }
    // z = F ε per row, with the rows of F brought to unit length or to unit sum.
    var F = Matrix(rows: T, columns: T)
    for t in 0..<T {
      for s in 0..<T { F[t, s] = exp(-0.5 * pow(Double(s - t) / deviation, 2)) }
      let norm = (0..<T).reduce(0) { $0 + (renormalizes ? F[t, $1] * F[t, $1] : F[t, $1]) }
      for s in 0..<T { F[t, s] *= scale / (renormalizes ? norm.squareRoot() : norm) }
    }
    let expected = F * F.transposed
    for i in 0..<T {
      if renormalizes { #expect(abs(expected[i, i] - scale * scale) < 1e-12) }
      for j in 0..<T {
        for (p, q) in [(0, 0), (1, 1), (0, 1)] {
          let entry = covariance[p + rows * i, q + rows * j]
          #expect(abs(entry - (p == q ? expected[i, j] : 0)) < 0.02)
        }
      }
    }
  }

  @Test("White noise is the stream's own, and bad options are refused")
  func noiseOptions() throws {
    var stream = RandomStream(seed: 2)
    let plain = stream.normals(6)
    stream = RandomStream(seed: 2)
    var noise = [Double](repeating: 0, count: 6)
    var scratch = [Double](repeating: 0, count: 3)
    NoiseFilter(ExplorationNoise(), horizon: 3)
      .fill(&noise, rows: 2, scratch: &scratch, from: &stream)
    #expect(noise == plain)
    #expect(throws: InvalidOption.self) { try ExplorationNoise(scale: -1).validated() }
    #expect(throws: InvalidOption.self) { try ExplorationNoise(smoothing: .nan).validated() }
  }
}
