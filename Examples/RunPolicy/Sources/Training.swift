import Foundation
import GuidedPolicySearch

/// A policy that takes a point mass to its goal, and the experiment that it was trained in.
func trainSmallPolicy() async throws -> PolicyFile<NeuralPolicy> {
  let loaded = try Experiment.load(yaml: experiment, folder: URL(fileURLWithPath: "."))
  return PolicyFile(
    policy: try await train(loaded.learner()), task: loaded.experiment.task,
    experiment: loaded.experiment.yaml)
}

private func train<L: Learner>(_ learner: L) async throws -> NeuralPolicy {
  guard let policy = learner.policy(of: try await learner.run()) as? NeuralPolicy else {
    throw Complaint("no network came out of the training")
  }
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
