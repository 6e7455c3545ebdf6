/// One initial condition: where the plant starts, what is displaced, and what the goal is.
public struct Condition: Sendable, Equatable, Codable {
  /// The name used in CSV files and errors.
  public var name: String
  /// The numbers the plant is reset to (for MuJoCo: joint positions, then joint velocities, in the
  /// model's own order, and, from some keyframes, the rest of MuJoCo's state; for native plants the
  /// state itself).
  public var initialPlantState: [Double]
  /// Standard deviation of the Gaussian noise added to each of them in every rollout; empty for none.
  /// Noise on a quaternion of a MuJoCo model is a small rotation about the body's axes: three numbers
  /// [rad] in the place of four.
  public var initialPlantStateDeviation: [Double]
  /// Displacements of named bodies [m, in the parent's frame].
  public var bodyOffsets: [String: [Double]]
  /// The goal, in units the task defines; empty if it has none. Costs and success criteria refer to
  /// it, and an observation may show it to the policy.
  public var goal: [Double]
  /// What an environment in a process of its own is reset with; nil for other systems.
  public var environmentReset: EnvironmentReset?
  /// Factors on parameters of the model, more than 0.
  public var modelFactors: [ModelParameter: Double] = [:]
  /// What of all this is drawn anew for every rollout or iteration; nil if nothing is.
  public var draws: ConditionDraws?

  /// A condition.
  public init(
    name: String, initialPlantState: [Double], initialPlantStateDeviation: [Double] = [],
    bodyOffsets: [String: [Double]] = [:], goal: [Double] = []
  ) {
    precondition(
      initialPlantStateDeviation.isEmpty
        || initialPlantStateDeviation.count <= initialPlantState.count,
      "\(initialPlantStateDeviation.count) deviations for \(initialPlantState.count) numbers")
    self.name = name
    self.initialPlantState = initialPlantState
    self.initialPlantStateDeviation = initialPlantStateDeviation
    self.bodyOffsets = bodyOffsets
    self.goal = goal
  }
}

/// What an environment in a process of its own is reset with, beside a state where it can be put into one.
public struct EnvironmentReset: Sendable, Equatable, Codable {
  /// The seed of everything that the environment draws, from its start on.
  public var seed: UInt64
  /// The options of the reset, a JSON object.
  public var options: String

  /// A reset.
  public init(seed: UInt64 = 0, options: String = "{}") {
    self.seed = seed
    self.options = options
  }
}
