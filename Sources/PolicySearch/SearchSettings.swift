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
  /// What the local step of mirror descent stays close to.
  public var reference = Reference.cheaper
  /// The least noise that a controller keeps, as a share of the deviation of the initial one's; 0 for any. Nil is 1
  /// where a policy learns in every iteration from controllers that a model improves: the bound on the divergence is in deviations, so
  /// that with less noise the same step moves the means less, and a network that has seen only a narrow tube leaves it.
  /// Where controllers are learned first, or from samples alone, it is 0.
  public var explorationFloor: Double?
  /// An iteration whose network does worse without noise than each of the last so many that stand is taken
  /// back: the network, its optimizer and, on-policy, the controllers return to what they were, and the
  /// step multiplier is halved where it got worse. 0: none is.
  public var takeBack = 2
  /// How often such an iteration is tried again, on the same rollouts, before it is taken back for good.
  public var retries = 0
  /// Trajectories per condition that are drawn from the fitted dynamics under the new controller and
  /// added to what the network learns from; 0 for none.
  public var modelSamples = 10
  /// When a rollout is given up, and how often it is drawn again.
  public var rollouts = RolloutOptions()
  /// Exploration noise of the training rollouts.
  public var noise = ExplorationNoise()
  /// Concurrent workers, at least 1; results do not depend on it.
  public var workers = 1

  /// What a local step may stay close to.
  public enum Reference: String, Sendable, CaseIterable {
    /// The linearised network.
    case network
    /// The linearised network, or the previous controller where the network's rollouts cost more.
    case cheaper
  }

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

extension SearchSettings.Reference: Setting {}

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
      "reference", \.reference,
      "What the local step of mirror descent stays close to: the linearised network, or the previous "
        + "controller where the network's rollouts cost more, which then rolls out, too.")
    Field(
      "explorationFloor", \.explorationFloor, .share,
      "Least noise that a local controller keeps, as a share of the initial controller's deviation; null for 1 "
        + "where a network learns all along from controllers that a model improves, 0 elsewhere.")
    Field(
      "takeBack", \.takeBack, .between(0, 1000),
      "An iteration whose network succeeds less often, or as often at a higher cost, than each of the "
        + "last so many that stand is taken back; 0: none is.")
    Field(
      "retries", \.retries, .between(0, 100),
      "How often it is tried again on the same rollouts, with half the bound where it got worse.")
    Field(
      "modelSamples", \.modelSamples, .between(0, 100_000),
      "Trajectories per condition that are drawn from the fitted dynamics under the new controller "
        + "and added to what the network learns from.")
  }
}
