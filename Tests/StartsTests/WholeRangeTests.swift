import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Sim
import Statistics
import Testing

@testable import Starts

/// A tenth of each control's range is left to feedback, where that pays.
@Suite("The range that a search takes") struct WholeRangeTests {
  private func search(_ success: SuccessCriterion?) async throws -> (cost: Double, largest: Double)
  {
    let judge: (any SuccessJudge)? = success
    let task = try NativeTask(
      name: "valley", model: MountainCar(), controlPeriod: 1, substeps: 1,
      integrator: .semiImplicitEuler, horizon: 100,
      conditions: [Condition(name: "a", initialPlantState: [-0.5, 0])],
      cost: SumCost(.expression(ExpressionCost("-position"))), success: judge)
    let found = try #require(
      try await InitialController.optimize().searched(
        for: task, stream: RandomStream(seed: 3), workers: 2))
    let quiet = try await collectRollouts(
      of: task, in: task.conditions, under: found.map(\.controller),
      plan: RolloutPlan(iteration: 0, samples: 1, noise: nil, workers: 1),
      stream: RandomStream(seed: 8))[0]
    return (found[0].cost, quiet.trajectories[0].controls.largestMagnitude)
  }

  /// −Σ p of the best of all drives that go backwards at full force, then forwards.
  private var bestOfTwoDrives: Double {
    (0..<60).map { backwards in
      var (position, velocity, cost) = (-0.5, 0.0, 0.5)
      for t in 0..<100 {
        velocity += (t < backwards ? -0.0015 : 0.0015) - 0.0025 * cos(3 * position)
        velocity = min(max(velocity, -0.07), 0.07)
        position = min(max(position + velocity, -1.2), 0.6)
        cost -= position
      }
      return cost
    }.min() ?? .infinity
  }

  @Test("it is all of it where nothing says what success is and rollouts with noise cost less so")
  func unjudged() async throws {
    let found = try await search(nil)
    #expect(found.largest > 0.99)
    #expect(found.cost < bestOfTwoDrives + 0.5)
  }

  @Test("it leaves room where that succeeds")
  func judged() async throws {
    let found = try await search(
      .stateAbove(entries: [0], target: .numbers([0.5]), at: .final))
    #expect(found.largest < 0.9 + 1e-6)
    #expect(found.cost > bestOfTwoDrives + 2)
  }
}
