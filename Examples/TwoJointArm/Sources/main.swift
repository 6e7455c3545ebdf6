// An arm of two joints learns to reach for points that it is told: a system, a cost and a success
// criterion of one's own under guided policy search.

import Foundation
import GuidedPolicySearch

let table = -0.3

func reach(_ name: String, _ x: Double, _ y: Double) -> Condition {
  Condition(name: name, initialPlantState: [-0.2, 1.2, 0, 0], goal: [x, y])
}
let cost = Reach(table: table)
let task = try NativeTask(
  name: "two-joint-arm", model: Arm(), controlPeriod: 0.03, horizon: 60,
  conditions: [
    reach("low", 0.65, -0.1), reach("far", 0.7, 0.1), reach("middle", 0.6, 0.3),
    reach("high", 0.45, 0.5), reach("top", 0.3, 0.6), reach("near", 0.5, 0.15),
  ],
  testConditions: [reach("ahead", 0.68, 0), reach("above", 0.54, 0.4)],
  cost: cost, success: Reached(table: table),
  observation: NativeObservation(points: [1]))

var settings = SearchSettings()
settings.iterations = 20
settings.klStep = 2
settings.klStepDecay = 0.95
settings.minStepMultiplier = 0.1
settings.workers = ProcessInfo.processInfo.activeProcessorCount
var training = PolicyDistiller.Options()
training.steps = 3000

// Iteration 0 holds the arm where it is, with noise.
let holding = InitialController.pd(
  .init(positionGains: [30, 10], velocityGains: [4, 0.8], variance: [4, 0.5]))
let search = try GuidedSearch(task, from: holding, settings: settings, training: training)

print("iteration  rollouts  cost of rollouts  cost of policy  success  held-out goals")
var last: Report?
for try await (_, report) in search.iterations() {
  guard let policy = report.policy, let test = report.test else { continue }
  print(
    String(
      format: "%9d  %8d  %16.1f  %14.1f  %6.0f%%  %13.0f%%", report.iteration, report.rollouts,
      report.meanCost, policy.meanCost, 100 * policy.successRate, 100 * test.successRate))
  report.notes.forEach { print("  \($0)") }
  last = report
  if report.iteration == 0 {
    // Whether the derivatives of model and cost are what their values say, along a first rollout.
    let (rollout, condition) = (report.conditions[0].batch.trajectories[0], task.conditions[0])
    let dynamics = NativeDynamics(task.model, timeStep: task.timeStep)
    print("  dynamics: \(try DynamicsChecker(task).check(dynamics, along: rollout))")
    print("  cost: \(CostChecker(task).check(cost, along: rollout, in: condition))")
  }
}

print("\ngoal      hand to goal at the end")
for (entries, conditions) in [
  (last?.policy?.entries, task.conditions), (last?.test?.entries, task.testConditions),
] {
  for (entry, condition) in zip(entries ?? [], conditions) {
    guard let trajectory = entry.batch.trajectories.first else { continue }
    let centimetres = 100 * distance(trajectory, at: trajectory.horizon, in: condition)
    print(
      condition.name + String(repeating: " ", count: 10 - condition.name.count)
        + String(format: "%.1f cm", centimetres) + (entry.successes[0] ? "" : "  missed"))
  }
}
