public import GPSCore

/// A system written in Swift over one control period, exactly as its plant integrates it (or would integrate its
/// relaxation), with derivatives: automatic, the system's own, or by central differences.
public struct NativeDynamics<System: DynamicSystem>: KnownDynamics {
  /// The system's parameters.
  public let system: System
  /// How it is integrated.
  public let timeStep: TimeStep
  /// Whether the system is the relaxation of the one that rollouts are of.
  public let isRelaxed: Bool

  /// A system and how it is integrated.
  public init(_ system: System, timeStep: TimeStep, isRelaxed: Bool = false) {
    self.system = system
    self.timeStep = timeStep
    self.isRelaxed = isRelaxed
  }

  /// n.
  public var state: Int { system.stateCount }
  /// m.
  public var control: Int { system.controlCount }
  /// Whether the system is generic over its scalar.
  public var hasSecondDerivatives: Bool { system.hasSecondDerivatives }

  /// New scratch.
  public func makeWorkspace() -> FlowScratch {
    FlowScratch(state: state, control: control, points: points)
  }

  private func set(_ x: Span<Double>, _ u: Span<Double>, _ flow: inout Flow<Double>) {
    precondition(
      x.count == flow.x.count && u.count == flow.u.count,
      "\(x.count) states and \(u.count) controls for \(flow.x.count) and \(flow.u.count)")
    for i in flow.x.indices { flow.x[i] = x[i] }
    for i in flow.u.indices { flow.u[i] = u[i] }
  }

  /// Writes f(x, u).
  public func step(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout FlowScratch,
    into next: inout MutableSpan<Double>
  ) {
    set(x, u, &workspace.doubles)
    system.advance(&workspace.doubles, by: timeStep)
    for i in 0..<x.count { next[i] = workspace.doubles.x[i] }
  }

  /// Writes f(x, u) and F = [A B].
  public func linearize(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout FlowScratch,
    into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
  ) {
    set(x, u, &workspace.doubles)
    system.linearize(&workspace, by: timeStep, into: &next, jacobian: &jacobian)
  }

  /// Writes Σ_i λ_i ∂²f_i/∂y².
  public func contractSecondDerivatives(
    _ x: Span<Double>, _ u: Span<Double>, costate: Span<Double>, workspace: inout FlowScratch,
    into hessian: inout MutableSpan<Double>
  ) {
    set(x, u, &workspace.doubles)
    system.contractSecondDerivatives(&workspace, by: timeStep, costate: costate, into: &hessian)
  }

  /// P.
  public var points: Int { system.pointNames.count }

  /// Writes the positions of the points and their derivatives by the state.
  public func locatePoints(
    _ x: Span<Double>, workspace: inout FlowScratch, positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>
  ) {
    system.locatePoints(
      x, scratch: &workspace.points, positions: &positions, jacobians: &jacobians)
  }
}
