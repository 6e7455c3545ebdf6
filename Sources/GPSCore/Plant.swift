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

  /// A plant without points writes nothing.
  public func readPoints(
    positions: inout MutableSpan<Double>, jacobians: inout MutableSpan<Double>
  ) {}
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
