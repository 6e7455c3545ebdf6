// A Furuta pendulum learns to swing up and stand, from four angles of its arm. The task is described, and nothing of how it is
// learned: `swift run … furuta 0 9` learns with seeds 0 to 9 and prints a line for each.

import Foundation
import GuidedPolicySearch

let furuta = Furuta()
let task = try NativeTask(
  name: "furuta", model: furuta, controlPeriod: 0.025, horizon: 80,
  conditions: [-0.6, -0.2, 0.2, 0.6].enumerated().map { i, angle in
    Condition(
      name: "arm \(i + 1)", initialPlantState: [angle, .pi, 0, 0],
      initialPlantStateDeviation: [0.02, 0.02, 0.02, 0.02])
  },
  cost: Standing(), success: Stood())

// Without damping and motor the energy stays.
func energyDrift() throws -> Double {
  var system = furuta
  (system.motorDamping, system.hingeDamping) = (0, 0)
  let thrown = Condition(name: "thrown", initialPlantState: [0.3, 2, 1, -3])
  let task = try NativeTask(
    name: "free", model: system, controlPeriod: 0.025, horizon: 80, conditions: [thrown],
    cost: Standing())
  var plant = try task.makePlant()
  try plant.reset(to: thrown, plantState: thrown.initialPlantState.span)
  let noTorque = [0.0]
  for _ in 0..<task.dimensions.horizon { try plant.step(control: noTorque.span) }
  var state = thrown.initialPlantState
  var span = state.mutableSpan
  plant.readState(into: &span)
  return abs(system.energy(state) - system.energy(thrown.initialPlantState))
}
let drift = try energyDrift()
print(String(format: "energy after 2 s without damping: %.1e J away", drift))
if drift > 1e-4 { exit(1) }

let seeds = CommandLine.arguments.dropFirst().compactMap { UInt64($0) }
var settings = SearchSettings()
settings.workers = ProcessInfo.processInfo.activeProcessorCount
print("seed  rollouts  success  mean cost")
for seed in (seeds.first ?? 0)...(seeds.last ?? 0) {
  let search = try GuidedSearch(task, settings: settings, seed: seed)
  let end = try await search.run { report in
    if seeds.isEmpty { report.notes.forEach { print("  iteration \(report.iteration): \($0)") } }
  }
  guard let policy = search.policy(of: end) else { continue }
  let evaluation = try await task.evaluate(policy)
  print(
    String(
      format: "%4d  %8d  %6.0f%%  %9.2f", Int(seed), end.rollouts, 100 * evaluation.successRate,
      evaluation.meanCost))
}
