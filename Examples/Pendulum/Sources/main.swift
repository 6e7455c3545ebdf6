// A pendulum learns to swing itself up: a system and a cost of one's own under guided policy search.

import Foundation
import GuidedPolicySearch

let task = try NativeTask(
  name: "pendulum", model: Pendulum(), controlPeriod: 0.05, horizon: 60,
  conditions: [
    Condition(
      name: "hanging", initialPlantState: [Double.pi, 0], initialPlantStateDeviation: [0.05, 0.05])
  ],
  cost: Upright(),
  success: .stateWithin(entries: [0], target: .numbers([0]), tolerance: [0.2], at: .last(10)))

var settings = SearchSettings()
settings.iterations = 24
settings.samples = 10
settings.klStep = 2
settings.klStepDecay = 0.9
settings.minStepMultiplier = 0.1
settings.modelSamples = 20
settings.workers = ProcessInfo.processInfo.activeProcessorCount
var network = NetworkOptions()
network.hiddenLayers = [32, 32]
network.activation = .tanh
network.deviationFloor = 1
var training = PolicyDistiller.Options()
training.steps = 2000

// Iteration 0 holds the pendulum where it is, with noise.
let holding = InitialController.lqr(
  .init(gains: [1], variance: [8], stiffness: 4, velocityStiffness: 0.3))
let search = try GuidedSearch(
  task, from: holding, settings: settings, network: network, training: training)

print("iteration  rollouts  cost of rollouts  cost of policy  success")
var swing: [Double] = []
for try await (_, report) in search.iterations() {
  guard let policy = report.policy else { continue }
  print(
    String(
      format: "%9d  %8d  %16.1f  %14.1f  %6.0f%%", report.iteration, report.rollouts,
      report.meanCost, policy.meanCost, 100 * policy.successRate))
  report.notes.forEach { print("  \($0)") }
  let trajectory = policy.entries[0].batch.trajectories[0]
  swing = (0...trajectory.horizon).map { trajectory.states[0, $0] * 180 / .pi }
}
print("\nThe policy's swing, angle over time:\n")
print(plot(swing, secondsPerStep: task.controlPeriod))
