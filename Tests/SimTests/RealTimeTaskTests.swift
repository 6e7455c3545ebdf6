import Configuration
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

@Suite("Tasks in real time") struct RealTimeTaskTests {
  private func base() throws -> NativeTask<PointMass> {
    try NativeTask(
      name: "mass", model: PointMass(), controlPeriod: 0.1, horizon: 6,
      conditions: [
        Condition(
          name: "a", initialPlantState: [0, 1, 0.5, -0.5],
          initialPlantStateDeviation: [0.1, 0.1, 0, 0], goal: [1, 2])
      ], cost: SumCost(.control(ControlCost(weights: [1, 1]))),
      success: .stateWithin(
        entries: [0], target: .numbers([0]), tolerance: [10], at: .final))
  }

  private func batch<Task: ControlTask>(_ task: Task) async throws -> RolloutBatch {
    let d = task.dimensions
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: d.control, columns: d.state, count: d.horizon),
      offsets: Matrix(rows: d.control, columns: d.horizon),
      covariances: MatrixSequence(repeating: .identity(d.control), count: d.horizon))
    return try await collectRollouts(
      of: task, in: task.conditions, under: [controller],
      plan: RolloutPlan(iteration: 0, samples: 2, workers: 2), stream: RandomStream(seed: 3))[0]
  }

  @Test("The numbers are those of the task within, and a rollout lasts no less than it should")
  func same() async throws {
    let base = try base()
    let task = try RealTimeTask(base, factor: 20)
    #expect(type(of: task).System.waitsForRealTime)
    let (one, other) = (try await batch(base), try await batch(task))
    #expect(one.trajectories == other.trajectories)
    // Two rollouts of 6 × 0.1 / 20 s: a monotonic clock, and a bound from below, which no load can break.
    #expect(other.seconds >= 2 * 0.03)
  }

  @Test("Everything else is the task within")
  func passedOn() throws {
    let base = try base()
    let task = try RealTimeTask(base, factor: 1)
    #expect(task.name == base.name && task.dimensions == base.dimensions)
    #expect(task.controlPeriod == base.controlPeriod && task.stateNames == base.stateNames)
    #expect(task.controlNames == base.controlNames && task.conditions == base.conditions)
    #expect(task.observationNames == base.observationNames)
    #expect(task.actuatedCoordinates == base.actuatedCoordinates)
    #expect(task.stateVectors.count == base.stateVectors.count)
    #expect(task.judgesSuccess == base.judgesSuccess)
    #expect(task.underlying(NativeTask<PointMass>.self) != nil)
    #expect(try task.knownDynamics(in: task.conditions[0]) != nil)
    #expect(task.initialDeviationCount(of: task.conditions[0]) == 4)
    for factor in [0, -1, .nan, .infinity, 1e-4] {
      #expect(throws: InvalidOption.self) { _ = try RealTimeTask(base, factor: factor) }
    }
  }
}
