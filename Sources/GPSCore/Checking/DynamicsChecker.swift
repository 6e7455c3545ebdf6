/// Checks known dynamics against central differences of their own step, and against a rollout.
///
/// ```swift
/// let report = try DynamicsChecker(task).check(dynamics, along: trajectory)
/// print(report)   // "dynamics Jacobian: pole_velocity_rad_per_s by cart_force_N at step 3 is …"
/// ```
public struct DynamicsChecker: Sendable {
  /// Largest relative error that passes, beyond what the differences themselves may be off by.
  public var tolerance = 1e-5
  /// Whether a rollout's own next states are compared with the dynamics' step.
  public var comparesNextStates = true
  /// n names for the report.
  public var stateNames: [String]
  /// m names for the report.
  public var controlNames: [String]

  /// A checker that calls numbers by these names.
  public init(stateNames: [String], controlNames: [String]) {
    self.stateNames = stateNames
    self.controlNames = controlNames
  }

  /// A checker that calls numbers as the task does.
  public init(_ task: some ControlTask) {
    self.init(stateNames: task.stateNames, controlNames: task.controlNames)
  }

  /// Checks at one state and control.
  ///
  /// - Parameters:
  ///   - dynamics: what is checked.
  ///   - state: x, n numbers.
  ///   - control: u, m numbers.
  /// - Returns: the entries that are off by more than `tolerance`, named, the worst first.
  /// - Throws: what the dynamics throw there or nearby.
  public func check(
    _ dynamics: some KnownDynamics, state: [Double], control: [Double]
  ) throws -> DerivativeReport {
    try check(dynamics, at: [(0, state, control, nil)])
  }

  /// Checks at every state and control of a trajectory.
  ///
  /// - Parameters:
  ///   - dynamics: what is checked.
  ///   - trajectory: n states and m controls, as many as there are names.
  /// - Returns: the entries that are off by more than `tolerance`, named, the worst first.
  /// - Throws: what the dynamics throw there or nearby.
  public func check(
    _ dynamics: some KnownDynamics, along trajectory: Trajectory
  ) throws -> DerivativeReport {
    try check(
      dynamics,
      at: (0..<trajectory.horizon).map {
        (
          $0, trajectory.states.column($0), trajectory.controls.column($0),
          trajectory.states.column($0 + 1)
        )
      })
  }

  /// Checks at some steps, with the next state of a rollout where there is one.
  func check<D: KnownDynamics>(
    _ dynamics: D, at points: [(step: Int, x: [Double], u: [Double], next: [Double]?)]
  ) throws -> DerivativeReport {
    let (n, m) = (dynamics.state, dynamics.control)
    precondition(
      stateNames.count == n && controlNames.count == m,
      "\(stateNames.count) + \(controlNames.count) names for \(n) states and \(m) controls")
    let names = stateNames + controlNames
    var comparison = DerivativeComparison(tolerance: tolerance)
    var probe = try Probe(dynamics)
    for point in points {
      let t = point.step
      precondition(
        point.x.count == n && point.u.count == m,
        "\(point.x.count) states and \(point.u.count) controls for \(n) and \(m)")
      let (next, F) = try probe.linearization(point.x, point.u)
      let step = try probe.step(point.x, point.u)
      for (quantity, expected) in [
        ("next state of the linearisation", step),
        ("next state", comparesNextStates ? point.next ?? step : step),
      ] {
        comparison.compare(
          quantity, given: quantity == "next state" ? step : next, near: expected, far: expected,
          step: t
        ) { (stateNames[$0], "", 0) }
      }

      let y = point.x + point.u
      var near: [Double] = []
      var far: [Double] = []
      var curvatureNear: [[Double]] = []
      var curvatureFar: [[Double]] = []
      for j in y.indices {
        let h = DerivativeComparison.difference(at: y[j])
        for reach in [h, 2 * h] {
          var (up, down) = (y, y)
          up[j] += reach
          down[j] -= reach
          let slope = try zip(
            probe.step(Array(up[..<n]), Array(up[n...])),
            probe.step(Array(down[..<n]), Array(down[n...]))
          ).map { ($0 - $1) / (2 * reach) }
          if reach == h { near += slope } else { far += slope }
          if dynamics.hasSecondDerivatives {
            let bend = try zip(
              probe.linearization(Array(up[..<n]), Array(up[n...])).F,
              probe.linearization(Array(down[..<n]), Array(down[n...])).F
            ).map { ($0 - $1) / (2 * reach) }
            if reach == h { curvatureNear.append(bend) } else { curvatureFar.append(bend) }
          }
        }
      }
      comparison.compare("dynamics Jacobian", given: F, near: near, far: far, step: t) {
        (stateNames[$0 % n], names[$0 / n], DerivativeComparison.difference(at: y[$0 / n]))
      }
      guard dynamics.hasSecondDerivatives else { continue }
      for i in 0..<n {
        let H = try probe.hessian(point.x, point.u, of: i)
        // Entry (a, b) of the Hessian of x'_i is ∂F_ia/∂y_b.
        func flattened(_ columns: [[Double]]) -> [Double] {
          columns.flatMap { F in y.indices.map { F[i + n * $0] } }
        }
        comparison.compare(
          "dynamics Hessian", given: H, near: flattened(curvatureNear),
          far: flattened(curvatureFar), step: t
        ) { entry in
          (
            "\(stateNames[i]) by \(names[entry % y.count])", names[entry / y.count],
            DerivativeComparison.difference(at: y[entry / y.count])
          )
        }
      }
    }
    return comparison.finished()
  }

  /// Dynamics on arrays.
  private struct Probe<D: KnownDynamics> {
    let dynamics: D
    var workspace: D.Workspace

    init(_ dynamics: D) throws {
      self.dynamics = dynamics
      workspace = try dynamics.makeWorkspace()
    }

    mutating func step(_ x: [Double], _ u: [Double]) throws -> [Double] {
      var next = [Double](repeating: .nan, count: dynamics.state)
      var target = next.mutableSpan
      try dynamics.step(x.span, u.span, workspace: &workspace, into: &target)
      return next
    }

    mutating func linearization(
      _ x: [Double], _ u: [Double]
    ) throws -> (next: [Double], F: [Double]) {
      var next = [Double](repeating: .nan, count: dynamics.state)
      var F = [Double](repeating: .nan, count: dynamics.state * (x.count + u.count))
      var target = next.mutableSpan
      var jacobian = F.mutableSpan
      try dynamics.linearize(
        x.span, u.span, workspace: &workspace, into: &target, jacobian: &jacobian)
      return (next, F)
    }

    mutating func hessian(_ x: [Double], _ u: [Double], of i: Int) throws -> [Double] {
      let d = x.count + u.count
      var H = [Double](repeating: .nan, count: d * d)
      let costate = x.indices.map { $0 == i ? 1.0 : 0 }
      var target = H.mutableSpan
      try dynamics.contractSecondDerivatives(
        x.span, u.span, costate: costate.span, workspace: &workspace, into: &target)
      return H
    }
  }
}
