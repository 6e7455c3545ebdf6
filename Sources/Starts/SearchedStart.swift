public import GPSCore
package import LQR
public import LinearAlgebra
import Sim
public import Statistics

/// An initial controller that a search on the task's known dynamics found.
public struct SearchedStart: Sendable, Equatable {
  /// The controller.
  public var controller: LinearGaussianController
  /// J of its trajectory on the known dynamics.
  public var cost: Double
  /// J of the guess that nothing was searched about, less that; nil if the guess cannot be rolled out.
  public var gain: Double?
  /// J of rollouts of the known dynamics with the controller's noise; ∞ where they failed.
  public var trialCosts: [Double]
  /// How many of these succeeded; nil where nothing says what success is.
  public var trialSuccesses: Int?
  /// Rollouts of the known dynamics that the search took; none of the plant.
  public var modelRollouts: Int
  /// Whether the controller is what was searched from after all, because that is better under the noise of what was
  /// found. Cost, gain and trials are those of what was found.
  public var isGivenUp = false
  /// Where the trajectory comes to rest, rollouts of the known dynamics in which the controller goes on after the horizon
  /// as in its last step, from there on: what it observes, and does without noise.
  public var rests: [Rest] = []

  /// Staying at rest.
  public struct Rest: Sendable, Equatable {
    /// Observations, one per column: o × (T + 1).
    public var observations: Matrix
    /// Mean actions, within the limits: m × T.
    public var actions: Matrix
  }
}

extension InitialController {
  /// Whether the controllers that rollouts begin with come from a search (`searched`), and `controller`
  /// makes only what the search starts from.
  public var takesSearch: Bool { base is any SearchingRule }

  /// How that search samples first guesses; nil if there is none.
  package var sampling: ILQR.Sampling? { (base as? OptimizedOptions)?.sampling }

  /// The controllers of all training conditions, if making them takes a search.
  ///
  /// - Parameters:
  ///   - task: with known dynamics.
  ///   - stream: the parent of all random numbers.
  ///   - workers: how much runs at once; the result does not depend on it.
  /// - Returns: one per training condition; nil if it takes no search.
  /// - Throws: `StartError` or `SimError`, an error of the simulator's, or `CancellationError`.
  public func searched<T: ControlTask>(
    for task: T, stream: RandomStream, workers: Int = 1
  ) async throws -> [SearchedStart]? {
    guard let rule = base as? any SearchingRule else { return nil }
    return try await rule.search(
      try task.conditions.map { try Start(of: task, in: $0) }, stream: stream, workers: workers)
  }
}

/// An initial controller that takes a search.
protocol SearchingRule: ControllerRule {
  /// The controllers of all conditions' starts, as they are after the search.
  func search(
    _ starts: [Start], stream: RandomStream, workers: Int
  ) async throws -> [SearchedStart]
}
