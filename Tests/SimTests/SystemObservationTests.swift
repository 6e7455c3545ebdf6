import Differentiation
import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

/// A pendulum that is seen without a jump where its angle passes π.
private struct RoundPendulum: ContinuousSystem {
  /// How many of its numbers it writes.
  var written = 3

  let stateCount = 2
  let controlCount = 1
  var pointNames: [String] { ["bob"] }
  var observationNames: [String] { ["angle_sine", "angle_cosine", "velocity_rad_per_s"] }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = x[1]
    rate[1] = u[0] - sin(x[0])
  }

  func points<S: DifferentiableScalar>(_ x: Span<S>, positions: inout MutableSpan<S>) {
    (positions[0], positions[1], positions[2]) = (sin(x[0]), .zero, -cos(x[0]))
  }

  func observe(
    _ x: Span<Double>, goal: Span<Double>, into observation: inout MutableSpan<Double>
  ) {
    observation[0] = Foundation.sin(x[0] - goal[0])
    observation[1] = Foundation.cos(x[0] - goal[0])
    if written == 3 { observation[2] = x[1] }
  }
}

private func task(
  written: Int = 3, observation: NativeObservation = NativeObservation()
) throws -> NativeTask<RoundPendulum> {
  try NativeTask(
    name: "pendulum", model: RoundPendulum(written: written), controlPeriod: 0.1, horizon: 30,
    conditions: [
      Condition(
        name: "low", initialPlantState: [0.4, 0], initialPlantStateDeviation: [0.05, 0.05],
        goal: [0.1])
    ],
    cost: SumCost(.state(StateCost(entries: [0], target: .goal(first: 0)))),
    observation: observation)
}

@Suite("Observation of a system's own") struct SystemObservationTests {
  @Test("A policy sees what the system shows, then points, then the goal")
  func observation() throws {
    let task = try task(observation: NativeObservation(points: [0]))
    #expect(task.dimensions.observation == 3 + 3 + 1)
    #expect(
      task.observationNames == [
        "angle_sine", "angle_cosine", "velocity_rad_per_s", "bob_x_m", "bob_y_m", "bob_z_m",
        "goal_0",
      ])
    var plant = try task.makePlant()
    let start = [2.5, -0.5]
    try plant.reset(to: task.conditions[0], plantState: start.span)
    var seen = [Double](repeating: .nan, count: 7)
    var target = seen.mutableSpan
    plant.readObservation(into: &target)
    let expected = [
      Foundation.sin(2.4), Foundation.cos(2.4), -0.5, Foundation.sin(2.5), 0,
      -Foundation.cos(2.5), 0.1,
    ]
    #expect(expectClose(seen, expected, within: 1e-15))
  }

  @Test("Chosen entries of the state take its place")
  func entries() throws {
    let task = try task(observation: NativeObservation(stateEntries: [1], goal: false))
    #expect(task.dimensions.observation == 1)
    #expect(task.observationNames == ["x1"])
  }

  @Test("A number that is named and never written is found by the checker")
  func forgotten() throws {
    #expect(TaskChecker(try task()).check().isCorrect)
    let report = TaskChecker(try task(written: 2)).check()
    #expect(
      report.problems.map(\.message) == ["observation number 2 is declared and never written"])
  }

  @Test("In imagined states it is expected as it is, but for the bend of the sine")
  func imagined() throws {
    let task = try task()
    var stream = RandomStream(seed: 3)
    let policy = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 2, count: 30),
      offsets: Matrix(rows: 1, columns: 30),
      covariances: MatrixSequence(repeating: Matrix([[0.04]]), count: 30))
    var plant = try task.makePlant()
    var workspace = policy.makeWorkspace()
    let rollouts = try (0..<8).map { _ in
      try rollout(
        &plant, under: policy, workspace: &workspace, dimensions: task.dimensions,
        condition: task.conditions[0],
        plantState: stream.normals(2).map { 0.4 + 0.1 * $0 }, noise: stream.normals(30))
    }
    let model = try ObservationModel(about: rollouts)
    for trajectory in rollouts {
      for t in 0...30 {
        let x = trajectory.states.column(t)
        let seen = model.observation(in: x, at: t)
        #expect(expectClose(seen, trajectory.observations.column(t), within: 0.1))
        // The velocity is copied exactly, as an entry of the state is.
        #expect(seen[2] == x[1])
      }
    }
  }
}
