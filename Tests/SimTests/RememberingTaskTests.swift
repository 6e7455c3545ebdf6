import Configuration
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

@Suite("Tasks with a memory") struct RememberingTaskTests {
  private func base() throws -> NativeTask<PointMass> {
    try NativeTask(
      name: "mass", model: PointMass(), controlPeriod: 0.1, horizon: 6,
      conditions: [
        Condition(
          name: "a", initialPlantState: [0, 1, 0.5, -0.5],
          initialPlantStateDeviation: [0.1, 0.1, 0, 0], goal: [1, 2])
      ], cost: SumCost(.control(ControlCost(weights: [1]))))
  }

  private func trajectory<Task: ControlTask>(_ task: Task) async throws -> Trajectory {
    let d = task.dimensions
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: d.control, columns: d.state, count: d.horizon),
      offsets: Matrix(rows: d.control, columns: d.horizon),
      covariances: MatrixSequence(repeating: .identity(d.control), count: d.horizon))
    let batches = try await collectRollouts(
      of: task, in: task.conditions, under: [controller],
      plan: RolloutPlan(iteration: 0, samples: 2, workers: 1), stream: RandomStream(seed: 3))
    // The second rollout of the plant: nothing is left over from the first.
    return try #require(batches[0].trajectories.last)
  }

  @Test("Earlier observations, the last action and a clock follow the observation")
  func observations() async throws {
    let base = try base()
    let memory = ObservationMemory(history: 2, lastAction: true, clock: .time)
    let task = try RememberingTask(base, memory: memory)
    let (o, m) = (base.dimensions.observation, base.dimensions.control)
    #expect(o == 6)
    #expect(task.dimensions.observation == 3 * o + m + 1)
    let plain = try await trajectory(base)
    let seen = try await trajectory(task)
    // The system itself is the same, to the bit.
    #expect(seen.states == plain.states && seen.controls == plain.controls)
    #expect(seen.points == plain.points)
    for t in 0...6 {
      let expected =
        plain.observations.column(t) + plain.observations.column(max(0, t - 1))
        + plain.observations.column(max(0, t - 2))
        + (t == 0 ? [0, 0] : plain.controls.column(t - 1)) + [Double(t) * 0.1]
      #expect(seen.observations.column(t) == expected, "\(t)")
    }
    let phase = try await trajectory(
      try RememberingTask(base, memory: ObservationMemory(clock: .phase)))
    #expect((0...6).map { phase.observations[6, $0] } == (0...6).map { Double($0) / 6 })
  }

  @Test("Everything else is the task within")
  func passedOn() throws {
    let base = try base()
    let task = try RememberingTask(base, memory: ObservationMemory(history: 1))
    #expect(task.name == base.name && task.controlPeriod == base.controlPeriod)
    #expect(task.stateNames == base.stateNames && task.controlNames == base.controlNames)
    #expect(task.conditions == base.conditions && task.testConditions == base.testConditions)
    #expect(task.actuatedCoordinates == base.actuatedCoordinates)
    #expect(task.controlLimits == base.controlLimits)
    let condition = base.conditions[0]
    #expect(task.initialDeviationCount(of: condition) == 4)
    var (a, b) = (RandomStream(seed: 1), RandomStream(seed: 1))
    #expect(
      task.initialPlantState(of: condition, stream: &a)
        == base.initialPlantState(of: condition, stream: &b))
    #expect(try task.knownDynamics(in: condition) != nil)
    #expect(task.underlying(NativeTask<PointMass>.self) != nil)
    #expect(task.underlying(MuJoCoTask.self) == nil)
    checkPlant(task)
  }

  @Test("A history out of range is refused")
  func refusals() throws {
    let base = try base()
    #expect(throws: InvalidOption.self) {
      try RememberingTask(base, memory: ObservationMemory(history: -1))
    }
    #expect(
      try writtenAndRead(ObservationMemory(history: 3, lastAction: true, clock: .phase))
        == ObservationMemory(history: 3, lastAction: true, clock: .phase))
  }
}
