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
    try validateOwnOptions()
    do { _ = try rollouts.validated() } catch { throw error.within("rollouts") }
    do { _ = try noise.validated() } catch { throw error.within("noise") }
    return self
  }

  /// Checks all but rollouts and noise, which have sections of their own in experiment files.
  package func validateOwnOptions() throws(InvalidOption) {
    typealias Option = InvalidOption
    try Option.require(iterations >= 1, "iterations", iterations, "at least 1")
    try Option.require(samples >= 1, "samples", samples, "at least 1")
    try Option.require(samples <= 100_000, "samples", samples, "at most 100000")
    try Option.require(klStep > 0 && klStep.isFinite, "klStep", klStep, "more than 0")
    try Option.require(
      (1e-12...1e12).contains(klStep), "klStep", klStep, "between 1e-12 and 1e12")
    try Option.require(
      klStepDecay > 0 && klStepDecay <= 1, "klStepDecay", klStepDecay, "in (0, 1]")
    try Option.require(
      minStepMultiplier > 0 && minStepMultiplier <= 1, "minStepMultiplier", minStepMultiplier,
      "in (0, 1]")
    try Option.require(
      maxStepMultiplier >= 1 && maxStepMultiplier.isFinite, "maxStepMultiplier", maxStepMultiplier,
      "at least 1")
    try Option.require(
      (0...100_000).contains(modelSamples), "modelSamples", modelSamples, "between 0 and 100000")
    try Option.require(workers >= 1, "workers", workers, "at least 1")
  }
}
