import Differentiation
import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Sim
import Statistics
import Testing

@testable import LQR
@testable import Starts

/// A pendulum that its motor cannot lift at once: its angle from hanging, its velocity, and the height of its
/// tip, which does not tell left from right.
private struct EvenPendulum: ContinuousSystem {
  let stateCount = 3
  let controlCount = 1
  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = x[1]
    rate[1] = -9.81 * sin(x[0]) - 0.1 * x[1] + u[0]
    rate[2] = sin(x[0]) * x[1]
  }
  var controlLimits: ControlLimits? { ControlLimits(magnitudes: [6]) }
}

/// A mass on a slide that a force without limits pushes.
private struct Slide: ContinuousSystem {
  let stateCount = 2
  let controlCount = 1
  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = x[1]
    rate[1] = u[0] - sin(x[0])
  }
}

/// The cost of an uncounted task, times a factor, plus a constant on its last step.
private struct Rescaled: Cost {
  var base: any Cost
  var factor = 1.0
  var constant = 0.0

  func addValues(
    to values: inout [Double], along trajectory: Trajectory, in condition: Condition
  ) {
    for (t, value) in base.values(along: trajectory, in: condition).enumerated() {
      values[t] += factor * value
    }
    values[trajectory.horizon] += constant
  }

  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    let own = base.expansion(along: trajectory, in: condition)
    for t in 0...trajectory.horizon { expansion.values[t] += factor * own.values[t] }
    expansion.values[trajectory.horizon] += constant
    for i in own.gradients.storage.indices {
      expansion.gradients.storage[i] += factor * own.gradients.storage[i]
    }
    for i in own.hessians.storage.indices {
      expansion.hessians.storage[i] += factor * own.hessians.storage[i]
    }
  }
}

@Suite("Searches that share") struct SharedSearchTests {
  private func swingUp(
    from angles: [Double] = [0, 0.15, -0.15, -0.3], factor: Double = 1, constant: Double = 0
  ) throws -> NativeTask<EvenPendulum> {
    let base = SumCost(
      .control(ControlCost(weights: [0.01])),
      .state(
        StateCost(entries: [1, 2], target: .numbers([0, 1]), weights: [5, 50], ramp: .finalOnly)),
      .state(StateCost(entries: [2], target: .numbers([1]), weights: [1], ramp: .quadratic)))
    return try NativeTask(
      name: "swing-up", model: EvenPendulum(), controlPeriod: 0.05, horizon: 100,
      conditions: angles.map {
        Condition(name: "\($0)", initialPlantState: [$0, 0, -cos($0)])
      }, cost: Rescaled(base: base, factor: factor, constant: constant))
  }

  private func search<Model: ContinuousSystem>(
    _ task: NativeTask<Model>, seed: UInt64 = 5, workers: Int = 2
  ) async throws -> [SearchedStart] {
    try #require(
      try await InitialController.optimize().searched(
        for: task, stream: RandomStream(seed: seed), workers: workers))
  }

  /// Where the starts' controllers end without noise.
  private func ends<Model: ContinuousSystem>(
    _ starts: [SearchedStart], of task: NativeTask<Model>
  ) async throws -> [[Double]] {
    try await collectRollouts(
      of: task, in: task.conditions, under: starts.map(\.controller),
      plan: RolloutPlan(iteration: 0, samples: 1, noise: nil, workers: 1),
      stream: RandomStream(seed: 2)
    ).map { $0.trajectories[0].states.column(task.dimensions.horizon) }
  }

  @Test(
    "Four starts swing up the same way, at a third of the rollouts that sampling each would take",
    .slow)
  func swingsOneWay() async throws {
    let task = try swingUp()
    for seed in [5, 6, 7] as [UInt64] {
      let starts = try await search(task, seed: seed)
      let ends = try await ends(starts, of: task)
      for end in ends { #expect(end[2] > 0.95, "seed \(seed): \(ends)") }
      // Half turns, and to which side.
      let turns = Set(ends.map { end in (end[0] / Double.pi).rounded() })
      #expect(turns.count == 1, "seed \(seed): \(ends)")
      // A third of four conditions with three tries of 30 × 64 each.
      let rollouts = starts.map(\.modelRollouts).reduce(0, +)
      #expect(rollouts < 7680)
    }
  }

  @Test("The same bytes for any number of workers", .slow)
  func workers() async throws {
    let task = try swingUp()
    let one = try await search(task, workers: 1)
    for workers in [2, 5] { #expect(try await search(task, workers: workers) == one) }
  }

  @Test("Neither the zero of the cost nor its scale decides anything", .slow)
  func invariance() async throws {
    let plain = try await search(try swingUp())
    for (factor, constant) in [(1, 1000), (10, 0)] as [(Double, Double)] {
      let other = try await search(try swingUp(factor: factor, constant: constant))
      for (a, b) in zip(plain, other) {
        let (expected, scale): (Double, Double) = (factor * a.cost + constant, factor * a.cost)
        #expect(abs(expected - b.cost) < 1e-3 * scale)
        #expect((a.controller.offsets - b.controller.offsets).largestMagnitude < 1)
      }
    }
  }

  @Test("Rollouts are counted as the dynamics see them")
  func counts() async throws {
    let task = try swingUp(from: [0, 0.2])
    let count = Locked(0)
    let problems = task.conditions.map {
      ILQR.Problem(
        dynamics: WatchedDynamics(
          NativeDynamics(EvenPendulum(), timeStep: TimeStep(controlPeriod: 0.05))
        ) { call in if case .step = call { count.withLock { $0 += 1 } } }, cost: task.cost,
        condition: $0, initialState: $0.initialPlantState,
        controls: Matrix(rows: 1, columns: 100), deviations: [3],
        limits: ControlLimits(magnitudes: [6]), actuation: ControlLimits(magnitudes: [6]),
        noise: { $0.map { 0.1 * $0 } },
        starts: [
          (condition: $0, state: $0.initialPlantState),
          (condition: $0, state: $0.initialPlantState),
        ])
    }
    // One worker: several try steps of a line search ahead, which are counted if they were needed.
    var sampling = ILQR.Sampling()
    (sampling.tries, sampling.generations, sampling.samples) = (1, 3, 16)
    let found = try await ILQR().search(
      problems, sampling: sampling, stream: RandomStream(seed: 1), workers: 1)
    let rollouts = try found.map { try $0.get().rollouts }.reduce(0, +)
    #expect(rollouts * 100 == count.withLock { $0 })
  }

  @Test("Without limits nothing is sampled, and every goal is reached")
  func goals() async throws {
    let goals = [1.0, -2, 0.3, 4]
    let task = try NativeTask(
      name: "slide", model: Slide(), controlPeriod: 0.05, horizon: 40,
      conditions: goals.map {
        Condition(name: "\($0)", initialPlantState: [0, 0], goal: [$0, 0])
      },
      cost: SumCost(
        .control(ControlCost(weights: [0.01])),
        .state(
          StateCost(entries: [0, 1], target: .goal(first: 0), weights: [10, 1], ramp: .finalOnly))))
    let starts = try await search(task)
    for (end, goal) in zip(try await ends(starts, of: task), goals) {
      #expect(abs(end[0] - goal) < 0.05 * abs(goal))
    }
    for (condition, start) in zip(task.conditions, starts) {
      let alone = try await ILQR().optimize(
        NativeDynamics(Slide(), timeStep: TimeStep(controlPeriod: 0.05)), cost: task.cost,
        in: condition, from: [0, 0], controls: Matrix(rows: 1, columns: 40))
      #expect(start.cost < 1.05 * alone.cost)
      #expect(start.modelRollouts < 300)
    }
  }

  @Test("A condition that cannot start is named")
  func failure() async throws {
    let task = try swingUp(from: [0, 0.2], factor: .infinity)
    await #expect {
      _ = try await search(task)
    } throws: { "\($0)".contains("condition 0.0: ") && "\($0)".contains("not finite") }
  }
}
