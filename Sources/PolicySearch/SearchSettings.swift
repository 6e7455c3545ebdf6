package import Configuration
import Foundation
public import GPSCore
public import SearchParts
public import Sim

/// How the loop goes, whatever its parts are.
public struct SearchSettings: Sendable, Equatable {
  /// Which policy takes the training rollouts after iteration 0; nil for what the coupling prefers.
  public var sampling: Sampling?
  /// Iterations, at least 1.
  public var iterations = 12
  /// N, the rollouts per condition and iteration, at least 1.
  public var samples = 5
  /// ε: bound on the KL divergence per time step [nats], before the step multiplier; more than 0.
  public var klStep = 1.0
  /// The factor on `klStep` from one iteration to the next: below 1, early steps are long and late ones
  /// short, so that a policy that is already good is no longer put at risk; in (0, 1].
  public var klStepDecay = 1.0
  /// Smallest step multiplier, in (0, 1] (Montgomery & Levine 2016, section 4.2, has the rule).
  public var minStepMultiplier = 0.3
  /// Largest step multiplier, at least 1.
  public var maxStepMultiplier = 1.0
  /// Trajectories per condition that are drawn from the fitted dynamics under the new controller and
  /// added to what the network learns from; 0 for none.
  public var modelSamples = 10
  /// When a rollout is given up, and how often it is drawn again.
  public var rollouts = RolloutOptions()
  /// Exploration noise of the training rollouts.
  public var noise = ExplorationNoise()
  /// Concurrent workers, at least 1; results do not depend on it.
  public var workers = 1

  /// The defaults.
  public init() {}

  /// The bound on the KL divergence per time step in an iteration, counted from 0 [nats].
  func klStep(in iteration: Int) -> Double { klStep * pow(klStepDecay, Double(iteration)) }

  /// These settings, checked.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public func validated() throws(InvalidOption) -> SearchSettings {
    _ = try checked()
    _ = try Check.settings.require(rollouts, "rollouts")
    _ = try Check.settings.require(noise, "noise")
    try Check.atLeast(1).require(workers, "workers")
    return self
  }
}

/// Rollouts and noise have sections of their own in experiment files; `workers` is not part of one.
extension SearchSettings: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field("iterations", \.iterations, .atLeast(1), "Iterations.")
    Field(
      "samples", \.samples, .atLeast(1).and(Check("at most 100000") { $0 <= 100_000 }),
      "Rollouts per condition and iteration.")
    Field(
      "sampling", \.sampling,
      "Which policy rolls out after iteration 0: the network, or the local controllers; null for "
        + "what suits the algorithm.")
    Field(
      "klStep", \.klStep,
      .above(0).and(Check("between 1e-12 and 1e12") { (1e-12...1e12).contains($0) }),
      "Bound on the KL divergence per time step [nats], before the step multiplier.")
    Field(
      "klStepDecay", \.klStepDecay, .positiveShare,
      "The factor on klStep from one iteration to the next.")
    Field(
      "minStepMultiplier", \.minStepMultiplier, .positiveShare,
      "Smallest step multiplier.")
    Field(
      "maxStepMultiplier", \.maxStepMultiplier,
      .atLeastOne, "Largest step multiplier.")
    Field(
      "modelSamples", \.modelSamples, .between(0, 100_000),
      "Trajectories per condition that are drawn from the fitted dynamics under the new controller "
        + "and added to what the network learns from.")
  }
}
