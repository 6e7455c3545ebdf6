import GPSCore
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

/// Commands the number of actions that it has chosen in this rollout.
private struct CountingPolicy: Policy {
  let control = 1

  func makeWorkspace() -> Int { 0 }
  func beginRollout(workspace: inout Int) { workspace = 0 }

  func act(
    step: Int, state: Span<Double>, observation: Span<Double>, noise: Span<Double>,
    workspace: inout Int, action: inout MutableSpan<Double>
  ) {
    workspace += 1
    action[0] = Double(workspace)
  }
}

/// x' = x + u, up to 40.
private struct Adder: Plant {
  var x = 0.0

  mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    x = plantState[0]
  }
  mutating func step(control: Span<Double>) throws {
    if x + control[0] > 40 { throw PlantFailure("too far") }
    x += control[0]
  }
  func readState(into state: inout MutableSpan<Double>) { state[0] = x }
  func readObservation(into observation: inout MutableSpan<Double>) { observation[0] = x }
}

private struct AdderTask: ControlTask {
  let name = "adder"
  let dimensions = Dimensions(state: 1, control: 1, observation: 1, horizon: 5)
  let controlPeriod = 1.0
  let stateNames = ["x"]
  let controlNames = ["u"]
  // Some of the second condition's rollouts start too far out, fail on their way, and are drawn
  // again.
  let conditions = [
    Condition(name: "a", initialPlantState: [0]),
    Condition(name: "b", initialPlantState: [25], initialPlantStateDeviation: [5]),
  ]
  let cost: any Cost = NoCost()

  func makePlant() throws -> Adder { Adder() }
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool { true }
}

@Suite("Policies with memory") struct PolicyMemoryTests {
  @Test("Every rollout begins without a memory of the one before", arguments: [1, 2])
  func counting(workers: Int) async throws {
    let task = AdderTask()
    var plan = RolloutPlan(iteration: 0, samples: 6, workers: workers)
    plan.options.maxAttempts = 50
    let batches = try await collectRollouts(
      of: task, in: task.conditions, under: [CountingPolicy(), CountingPolicy()], plan: plan,
      stream: RandomStream(seed: 1))
    for batch in batches {
      #expect(batch.trajectories.count == 6)
      for trajectory in batch.trajectories {
        #expect(trajectory.controls.storage == [1, 2, 3, 4, 5])
      }
    }
    #expect(!batches[1].discarded.isEmpty)
  }

  @Test("An action on its own is the first of a rollout")
  func single() {
    #expect(CountingPolicy().action(step: 7, state: [1]) == [1])
  }
}
