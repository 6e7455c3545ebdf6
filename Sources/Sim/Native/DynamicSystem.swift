import Configuration
public import Differentiation
public import GPSCore

/// A controlled system written in Swift: the value holds its parameters.
///
/// Conform to one of the four protocols that refine this one, and a `NativeTask` around the system
/// has a plant for rollouts and known dynamics with derivatives:
///
/// | protocol | the system gives | derivatives |
/// | --- | --- | --- |
/// | `ContinuousSystem` | ẋ = f(x, u), generic over the scalar | automatic, exact |
/// | `DiscreteSystem` | x' = f(x, u), generic over the scalar | automatic, exact |
/// | `OpaqueContinuousSystem` | ẋ = f(x, u) over doubles | central differences |
/// | `OpaqueDiscreteSystem` | x' = f(x, u) over doubles | central differences |
///
/// A system that is used from another module than its own is fastest with `@inlinable` functions.
/// Each of them may give its own Jacobian as well (`hasAnalyticJacobian`); `DynamicsChecker` says
/// whether it is right.
public protocol DynamicSystem: Sendable {
  /// n.
  var stateCount: Int { get }
  /// m.
  var controlCount: Int { get }
  /// n names with units, e.g. "angle_rad": the columns of CSV files; by default x0, x1, …
  var stateNames: [String] { get }
  /// m names with units, e.g. "torque_Nm"; by default u0, u1, …
  var controlNames: [String] { get }
  /// Names of the P points in space that costs may refer to; by default none.
  var pointNames: [String] { get }
  /// Which entries of the state each control accelerates, for `InitialController`; by default none.
  var actuatedCoordinates: [ActuatedCoordinate] { get }
  /// What the actuators can do: controls are brought within these bounds before they are applied; by
  /// default nil, no bounds.
  var controlLimits: ControlLimits? { get }
  /// The system with smooth functions in place of what derivatives cannot see, such as all forces within
  /// the limits in place of an actuator's few levels: what known dynamics are then those of. By default nil:
  /// the system has derivatives of its own.
  var relaxation: Self? { get }
  /// Whether the state is coordinates followed by as many rates of theirs, as the semi-implicit Euler method
  /// takes it to be; by default not.
  var isSecondOrder: Bool { get }

  /// Writes the positions of the points.
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - positions: 3 P numbers [m], written: x, y, z of each point in turn.
  func points<S: DifferentiableScalar>(_ x: Span<S>, positions: inout MutableSpan<S>)

  /// Mends a state that the system's walls do not allow; called at reset and after every integration
  /// step. By default there are none.
  ///
  /// - Parameter x: n numbers, changed in place.
  func constrain<S: DifferentiableScalar>(_ x: inout MutableSpan<S>)

  /// Names with units of what `observe` writes, e.g. "angle_sine"; by default the state's own.
  var observationNames: [String] { get }

  /// Writes what a policy sees of the system itself; by default the whole state.
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - goal: the condition's goal, for an observation relative to it.
  ///   - observation: as many numbers as there are `observationNames`, all written.
  func observe(
    _ x: Span<Double>, goal: Span<Double>, into observation: inout MutableSpan<Double>)

  /// Refuses parameters out of range; by default everything is allowed.
  ///
  /// - Throws: `SimError.option`.
  func validate() throws(SimError)

  /// Whether `analyticJacobian` is implemented; by default not.
  var hasAnalyticJacobian: Bool { get }

  /// Writes the derivative of `derivative` (continuous) or `step` (discrete) by [x; u], without
  /// `constrain`: that is differentiated automatically and chained.
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - u: m numbers.
  ///   - jacobian: n × (n + m) numbers, column-major, zero on entry.
  func analyticJacobian(
    _ x: Span<Double>, _ u: Span<Double>, into jacobian: inout MutableSpan<Double>)

  // What follows comes with the four protocols. It is required here so that each conforming type
  // gets loops of its own, in which nothing is called through a witness table.

  /// Whether `contractSecondDerivatives` may be called.
  var hasSecondDerivatives: Bool { get }

  /// Advances `flow.x` by one control period under `flow.u`.
  func advance(_ flow: inout Flow<Double>, by step: TimeStep)

  /// Advances a plant by one control period and locates its points.
  func advance(_ plant: inout PlantState, under control: Span<Double>, by step: TimeStep)

  /// Writes x' and F = [A B] at `scratch.doubles`, whose x and u are set.
  func linearize(
    _ scratch: inout FlowScratch, by step: TimeStep, into next: inout MutableSpan<Double>,
    jacobian: inout MutableSpan<Double>)

  /// Writes Σ_i λ_i ∂²x'_i/∂y² at `scratch.doubles`, whose x and u are set.
  func contractSecondDerivatives(
    _ scratch: inout FlowScratch, by step: TimeStep, costate: Span<Double>,
    into hessian: inout MutableSpan<Double>)

  /// Writes the positions of the points and their derivatives by the state (3 P × n) at x.
  func locatePoints(
    _ x: Span<Double>, scratch: inout PointScratch, positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>)
}

/// How a continuous system is integrated over a control period.
public enum Integrator: String, Sendable, CaseIterable {
  /// x' = x + h f(x): first order.
  case euler
  /// v' = v + h f_v(q, v), then q' = q + h f_q(q, v'), for a state [q, v]: first order, and no energy is won
  /// or lost on average. For systems whose `isSecondOrder` is true.
  case semiImplicitEuler
  /// x' = x + h f(x + h/2 f(x)): second order.
  case midpoint
  /// The classical Runge-Kutta method: fourth order.
  case rungeKutta4
}

extension Integrator: Setting {}

/// A control period cut into integration steps of equal length.
@frozen
public struct TimeStep: Sendable, Equatable {
  /// How each integration step is taken.
  public let integrator: Integrator
  /// h, the length of an integration step [s].
  public let substep: Double
  /// Integration steps per control period.
  public let substeps: Int

  /// A control period [s] of `substeps` integration steps.
  public init(controlPeriod: Double, substeps: Int = 4, integrator: Integrator = .rungeKutta4) {
    precondition(substeps >= 1, "\(substeps) integration steps in a control period")
    self.integrator = integrator
    self.substeps = substeps
    substep = controlPeriod / Double(substeps)
  }
}

extension DynamicSystem {
  /// x0, x1, …
  public var stateNames: [String] { (0..<stateCount).map { "x\($0)" } }
  /// u0, u1, …
  public var controlNames: [String] { (0..<controlCount).map { "u\($0)" } }
  /// None.
  public var pointNames: [String] { [] }
  /// None.
  public var actuatedCoordinates: [ActuatedCoordinate] { [] }
  /// None.
  public var controlLimits: ControlLimits? { nil }
  /// None.
  public var relaxation: Self? { nil }
  /// Not unless a system says so.
  public var isSecondOrder: Bool { false }
  /// A system without points writes nothing.
  @inlinable
  public func points<S: DifferentiableScalar>(_ x: Span<S>, positions: inout MutableSpan<S>) {}
  /// There are no walls.
  @inlinable
  public func constrain<S: DifferentiableScalar>(_ x: inout MutableSpan<S>) {}
  /// Everything is allowed.
  public func validate() throws(SimError) {}
  /// Not unless a system says so.
  @inlinable public var hasAnalyticJacobian: Bool { false }
  /// Never called while `hasAnalyticJacobian` is false.
  public func analyticJacobian(
    _ x: Span<Double>, _ u: Span<Double>, into jacobian: inout MutableSpan<Double>
  ) { preconditionFailure("\(Self.self) has no analytic Jacobian to give") }
}

// MARK: - The four kinds of system

/// A system whose flow over a control period is known for every type of scalar, and therefore with
/// exact derivatives. Conform to `ContinuousSystem` or `DiscreteSystem`, which give the flow.
public protocol DifferentiableSystem: DynamicSystem {
  /// Advances `flow.x` by one control period under `flow.u`.
  func advance<S: DifferentiableScalar>(differentiably flow: inout Flow<S>, by step: TimeStep)
}

/// A system of ordinary differential equations ẋ = f(x, u), with u held over each control period.
public protocol ContinuousSystem: DifferentiableSystem {
  /// Writes f(x, u) [units of the state per second].
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - u: m numbers.
  ///   - rate: n numbers, all written.
  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>)
}

/// A system x' = f(x, u) over one control period.
public protocol DiscreteSystem: DifferentiableSystem {
  /// Writes f(x, u).
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - u: m numbers.
  ///   - next: n numbers, all written.
  func step<S: DifferentiableScalar>(_ x: Span<S>, _ u: Span<S>, into next: inout MutableSpan<S>)
}

/// A system of ordinary differential equations over doubles alone, such as one with tables or calls
/// into C; its derivatives come by central differences.
public protocol OpaqueContinuousSystem: DynamicSystem {
  /// Writes f(x, u) [units of the state per second]; all n numbers of `rate`.
  func derivative(_ x: Span<Double>, _ u: Span<Double>, into rate: inout MutableSpan<Double>)
}

/// A system x' = f(x, u) over doubles alone; its derivatives come by central differences.
public protocol OpaqueDiscreteSystem: DynamicSystem {
  /// Writes f(x, u); all n numbers of `next`.
  func step(_ x: Span<Double>, _ u: Span<Double>, into next: inout MutableSpan<Double>)
}
