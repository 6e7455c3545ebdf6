public import GPSCore

/// Dynamics of which each call is told.
public struct WatchedDynamics<Base: KnownDynamics>: KnownDynamics {
  /// What is asked of dynamics.
  public enum Call: Sendable {
    case step, linearization, secondDerivatives
  }

  let base: Base
  let onCall: @Sendable (Call) -> Void

  /// Dynamics that are watched.
  ///
  /// - Parameters:
  ///   - base: what they are.
  ///   - onCall: is told each call before it is made.
  public init(_ base: Base, onCall: @escaping @Sendable (Call) -> Void) {
    self.base = base
    self.onCall = onCall
  }

  /// n.
  public var state: Int { base.state }
  /// m.
  public var control: Int { base.control }
  /// Whether the base has them.
  public var hasSecondDerivatives: Bool { base.hasSecondDerivatives }

  /// The base's.
  public func makeWorkspace() throws -> Base.Workspace { try base.makeWorkspace() }

  /// Tells of a step, and takes it.
  public func step(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Base.Workspace,
    into next: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    onCall(.step)
    try base.step(x, u, workspace: &workspace, into: &next)
  }

  /// Tells of a linearisation, and makes it.
  public func linearize(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Base.Workspace,
    into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    onCall(.linearization)
    try base.linearize(x, u, workspace: &workspace, into: &next, jacobian: &jacobian)
  }

  /// Tells of second derivatives, and contracts them.
  public func contractSecondDerivatives(
    _ x: Span<Double>, _ u: Span<Double>, costate: Span<Double>, workspace: inout Base.Workspace,
    into hessian: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    onCall(.secondDerivatives)
    try base.contractSecondDerivatives(
      x, u, costate: costate, workspace: &workspace, into: &hessian)
  }
}
