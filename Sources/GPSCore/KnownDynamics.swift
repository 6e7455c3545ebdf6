/// Dynamics x' = f(x, u) over one control period that need not be learned, with their derivatives.
///
/// Shapes: n = `state`, m = `control`, d = n + m, y = [x; u]; matrices are column-major. What is
/// written is written whole. Scratch lives in a `Workspace` that the caller owns, one per worker, so
/// that nothing is allocated per step. The result depends on x and u alone.
public protocol KnownDynamics: Sendable {
  /// Scratch that one worker reuses from step to step.
  associatedtype Workspace

  /// n.
  var state: Int { get }
  /// m.
  var control: Int { get }
  /// Whether `contractSecondDerivatives` may be called; without them, differential dynamic
  /// programming becomes iterative LQR.
  var hasSecondDerivatives: Bool { get }
  /// P, the number of points in space that costs may refer to.
  var points: Int { get }
  /// Whether the plant does otherwise where derivatives cannot see it, as with an actuator that knows a few
  /// levels only, which these dynamics take to know all between. By default not.
  var isRelaxed: Bool { get }

  /// New scratch for one worker.
  ///
  /// - Throws: an error of the simulator's own, such as a model that cannot be loaded.
  func makeWorkspace() throws -> Workspace

  /// Writes f(x, u).
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - u: m numbers, held for the whole control period.
  ///   - workspace: scratch from `makeWorkspace()`.
  ///   - next: n numbers, written.
  /// - Throws: `PlantFailure` when the system cannot be simulated from x under u.
  func step(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Workspace,
    into next: inout MutableSpan<Double>
  ) throws(PlantFailure)

  /// Writes f(x, u) and F = [∂f/∂x ∂f/∂u] = [A B].
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - u: m numbers.
  ///   - workspace: scratch from `makeWorkspace()`.
  ///   - next: n numbers, written.
  ///   - jacobian: n × d numbers, written: A first, then B.
  /// - Throws: `PlantFailure` when the system cannot be simulated from x under u.
  func linearize(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Workspace,
    into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
  ) throws(PlantFailure)

  /// Writes Σ_i λ_i ∂²f_i/∂y².
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - u: m numbers.
  ///   - costate: λ, n numbers.
  ///   - workspace: scratch from `makeWorkspace()`.
  ///   - hessian: d × d numbers, symmetric, written.
  /// - Throws: `PlantFailure` when the system cannot be simulated from x under u.
  func contractSecondDerivatives(
    _ x: Span<Double>, _ u: Span<Double>, costate: Span<Double>, workspace: inout Workspace,
    into hessian: inout MutableSpan<Double>
  ) throws(PlantFailure)

  /// Writes the positions of the points in state x, and their derivatives by the state.
  ///
  /// - Parameters:
  ///   - x: n numbers.
  ///   - workspace: scratch from `makeWorkspace()`.
  ///   - positions: 3 P numbers [m], written.
  ///   - jacobians: 3 P × n numbers, written.
  /// - Throws: `PlantFailure` when the system cannot be in state x.
  func locatePoints(
    _ x: Span<Double>, workspace: inout Workspace, positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>
  ) throws(PlantFailure)
}

extension KnownDynamics {
  /// First derivatives alone, unless a type says otherwise.
  public var hasSecondDerivatives: Bool { false }
  /// Not unless a type says so.
  public var isRelaxed: Bool { false }

  /// Never called while `hasSecondDerivatives` is false.
  public func contractSecondDerivatives(
    _ x: Span<Double>, _ u: Span<Double>, costate: Span<Double>, workspace: inout Workspace,
    into hessian: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    preconditionFailure("dynamics without second derivatives were asked for them")
  }

  /// No points, unless a type says otherwise.
  public var points: Int { 0 }

  /// Dynamics without points write nothing.
  public func locatePoints(
    _ x: Span<Double>, workspace: inout Workspace, positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>
  ) throws(PlantFailure) {}
}

/// Known dynamics were asked of a task that has none.
public struct UnknownDynamics: Error, Sendable, Equatable, CustomStringConvertible {
  /// The task's name.
  public let task: String

  /// The error for a task of that name.
  public init(task: String) { self.task = task }

  /// One sentence for people.
  public var description: String {
    "the dynamics of task \(task) are not known: leave them to be fitted"
  }
}
