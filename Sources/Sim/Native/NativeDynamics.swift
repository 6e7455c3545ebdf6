public import GPSCore

/// A native system over one control period, with derivatives by central differences.
public struct NativeDynamics<System: NativeSystem>: KnownDynamics {
  /// The system's parameters.
  public let system: System
  private let substep: Double
  private let substeps: Int

  /// A system and how it is integrated, as its plant integrates it.
  public init(_ system: System, controlPeriod: Double, substeps: Int) {
    self.system = system
    self.substeps = substeps
    substep = controlPeriod / Double(substeps)
  }

  /// n.
  public var state: Int { System.stateNames.count }
  /// m.
  public var control: Int { System.controlNames.count }

  /// Scratch of the integrator.
  public struct Workspace {
    fileprivate var x: [Double]
    fileprivate var u: [Double]
    fileprivate var high: [Double]
    fileprivate var trial: [Double]
    fileprivate var slopes: [Double]
  }

  /// New scratch.
  public func makeWorkspace() -> Workspace {
    let zeros = [Double](repeating: 0, count: state)
    return Workspace(
      x: zeros, u: [Double](repeating: 0, count: control), high: zeros, trial: zeros,
      slopes: zeros + zeros)
  }

  /// Writes f(x, u).
  public func step(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Workspace,
    into next: inout MutableSpan<Double>
  ) {
    for i in 0..<state { next[i] = x[i] }
    advance(&next, u, &workspace.trial, &workspace.slopes)
  }

  private func advance(
    _ x: inout MutableSpan<Double>, _ u: Span<Double>, _ trial: inout [Double],
    _ slopes: inout [Double]
  ) {
    var y = trial.mutableSpan
    var k = slopes.mutableSpan
    System.integrate(
      &x, u, system, substep: substep, substeps: substeps, trial: &y, slopes: &k)
  }

  private func advance(
    _ x: inout [Double], _ u: [Double], _ trial: inout [Double], _ slopes: inout [Double]
  ) {
    var end = x.mutableSpan
    advance(&end, u.span, &trial, &slopes)
  }

  /// Writes f(x, u) and F = [A B].
  public func linearize(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Workspace,
    into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
  ) {
    let (n, m) = (state, control)
    for j in 0..<n + m {
      let y = j < n ? x[j] : u[j - n]
      // The cube root of the unit roundoff balances truncation against rounding.
      let h = 6e-6 * max(1, abs(y))
      for sign in [1.0, -1.0] {
        for i in 0..<n { workspace.x[i] = x[i] + (i == j ? sign * h : 0) }
        for i in 0..<m { workspace.u[i] = u[i] + (n + i == j ? sign * h : 0) }
        advance(&workspace.x, workspace.u, &workspace.trial, &workspace.slopes)
        if sign > 0 {
          for i in 0..<n { workspace.high[i] = workspace.x[i] }
        }
      }
      for i in 0..<n { jacobian[i + n * j] = (workspace.high[i] - workspace.x[i]) / (2 * h) }
    }
    step(x, u, workspace: &workspace, into: &next)
  }

  /// P.
  public var points: Int { System.pointNames.count }

  /// Writes the positions of the points and their derivatives by the state.
  public func locatePoints(
    _ x: Span<Double>, workspace: inout Workspace, positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>
  ) {
    for i in 0..<jacobians.count { jacobians[i] = 0 }
    System.points(x, system, positions: &positions, jacobians: &jacobians)
  }
}
