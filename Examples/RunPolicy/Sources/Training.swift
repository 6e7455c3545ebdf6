import Foundation
import GuidedPolicySearch

/// A policy that takes a point mass to its goal, and the experiment that it was trained in.
func trainSmallPolicy() async throws -> PolicyFile {
  let loaded = try Experiment.load(yaml: experiment, folder: URL(fileURLWithPath: "."))
  let policy = try await train(loaded.task, in: loaded)
  return PolicyFile(
    policy: policy, task: loaded.experiment.task, experiment: loaded.experiment.yaml)
}

private func train(_ task: some ControlTask, in loaded: LoadedExperiment) async throws
  -> NeuralPolicy
{
  let search = PolicySearch(
    task: task, settings: loaded.experiment.search, initialControllers: loaded.initialControllers,
    seed: loaded.experiment.seed)
  var state = search.initialState
  for try await (next, _) in search.iterations(from: state) { state = next }
  guard let policy = state.policy else { throw Complaint("no policy came out of the training") }
  return policy
}

private let experiment = """
  task: point-mass
  seed: 0
  system:
    native:
      model: {pointMass: {mass: 1, damping: 0.5, forceLimit: 10}}
      controlPeriod: 0.05
  horizon: 40
  conditions:
    common: {goal: [1, 0, 0]}
    train:
      - {name: below, state: [0, -0.3, 0, 0]}
      - {name: above, state: [0, 0.3, 0, 0]}
  cost:
    - control: {weights: 0.01}
    - point: {points: [mass], target: goal, l2: 1, log: 0.1, alpha: 1e-3}
  success:
    pointDistance: {point: mass, target: goal, below: 0.1, at: final}
  initialController:
    lqr: {gains: 1}
  algorithm: {iterations: 5}
  network: {hiddenLayers: [42, 42]}
  training: {steps: 1000}
  """
