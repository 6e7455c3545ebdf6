/// One copy of the controlled system that can be reset and stepped.
///
/// Deliberately not `Sendable`: the worker that made a plant owns it. A plant draws no random numbers
/// and keeps nothing from one rollout to the next.
public protocol Plant {
  /// Whether a step waits for real time to pass, as a robot's does: each worker then gets a thread of
  /// its own, so that as many plants run at once as there are workers, and none keeps a core from
  /// the rest of the program. By default false.
  static var waitsForRealTime: Bool { get }

  /// Puts the system at the start of a rollout.
  ///
  /// - Parameters:
  ///   - condition: displacements and goal.
  ///   - plantState: the condition's initial numbers, with noise already added.
  /// - Throws: `PlantFailure`, or an error of the simulator's own.
  mutating func reset(to condition: Condition, plantState: Span<Double>) throws

  /// Advances the system by one control period.
  ///
  /// - Parameter control: m numbers, held for the whole period.
  /// - Throws: `PlantFailure` when the system left the region in which it can be simulated, or an
  ///   error of the simulator's own; the rollout is then discarded.
  mutating func step(control: Span<Double>) throws

  /// Takes a whole rollout at once, where the plant can: one in another process is spared a message to and fro for
  /// every step.
  ///
  /// - Parameters:
  ///   - policy: chooses the controls.
  ///   - condition: displacements and goal.
  ///   - plantState: as for `reset(to:plantState:)`.
  ///   - noise: m × T standard-normal numbers, column t for step t.
  ///   - timeLimit: wall-clock seconds that it may take; nil for any time.
  /// - Returns: the rollout; nil where the plant is to be reset and stepped instead, as it is by default.
  /// - Throws: as `step(control:)`.
  mutating func wholeRollout(
    under policy: some Policy, in condition: Condition, plantState: [Double], noise: [Double],
    timeLimit: Double?
  ) throws -> Trajectory?

  /// What the plant itself says of the rollout so far, after the last step; by default nothing.
  var record: RolloutRecord { get }

  /// Writes the present state x (n numbers).
  func readState(into state: inout MutableSpan<Double>)

  /// Writes the present observation (o numbers).
  func readObservation(into observation: inout MutableSpan<Double>)

  /// Writes the present positions of the P points and their Jacobians about the present state.
  ///
  /// - Parameters:
  ///   - positions: 3 P numbers [m], x, y, z of each point in turn.
  ///   - jacobians: 3 P × n numbers, column-major: the derivative of `positions` by the state.
  func readPoints(positions: inout MutableSpan<Double>, jacobians: inout MutableSpan<Double>)
}

extension Plant {
  /// A simulation computes and does not wait.
  public static var waitsForRealTime: Bool { false }

  /// It is reset and stepped.
  public mutating func wholeRollout(
    under policy: some Policy, in condition: Condition, plantState: [Double], noise: [Double],
    timeLimit: Double?
  ) throws -> Trajectory? { nil }

  /// It pays nothing and never ends.
  public var record: RolloutRecord { RolloutRecord() }

  /// A plant without points writes nothing.
  public func readPoints(
    positions: inout MutableSpan<Double>, jacobians: inout MutableSpan<Double>
  ) {}
}

/// What a plant says of a rollout beside its states and observations.
public struct RolloutRecord: Sendable, Equatable {
  /// What it paid for each control; empty if it pays nothing.
  public var rewards: [Double]
  /// The step at which it ended of its own accord; nil if it did not.
  public var endStep: Int?

  /// A record; with no arguments, one that says nothing.
  public init(rewards: [Double] = [], endStep: Int? = nil) {
    self.rewards = rewards
    self.endStep = endStep
  }
}

/// Why a rollout could not go on.
public struct PlantFailure: Error, Sendable, Equatable, CustomStringConvertible {
  /// One sentence without a final stop.
  public var reason: String

  /// A failure with its reason.
  public init(_ reason: String) { self.reason = reason }

  /// The reason.
  public var description: String { reason }
}
