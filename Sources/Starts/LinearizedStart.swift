package import Configuration
import GPSCore
import LQR
import LinearAlgebra
import Sim

extension InitialController {
  /// Settings of linear-quadratic control about an equilibrium near the start, for plants that fall if
  /// nothing holds them.
  ///
  /// (x*, u*) is the start, if some controls within the limits hold it, else the equilibrium of the known dynamics
  /// that Newton's method finds from it with the shortest steps. About it,
  ///
  ///     u = u* + K (x − x*),   K = −(R + Bᵀ X B)⁻¹ (Bᵀ X A + Sᵀ),
  ///
  /// with X of the discrete algebraic Riccati equation. Q, R and S are the Hessian of the task's own cost there,
  /// averaged over the horizon, without its negative curvature. Costs are discounted by 1 − 1/T per step and
  /// side: what neither grows nor can be moved, as a goal in the state, does no harm.
  public struct LinearizedOptions: Sendable, Equatable {
    /// The noise.
    public var exploration: Exploration
    /// The diagonal of Q: one number, or one per entry of the state; nil for the cost's Hessian.
    public var stateWeights: [Double]?
    /// The diagonal of R: one number, or one per control; nil for the cost's Hessian.
    public var controlWeights: [Double]?

    /// Settings.
    public init(
      deviation: [Double] = [0.1], variance: [Double]? = nil, stateWeights: [Double]? = nil,
      controlWeights: [Double]? = nil
    ) {
      exploration = Exploration(deviation: deviation, variance: variance)
      self.stateWeights = stateWeights
      self.controlWeights = controlWeights
    }
  }
}

extension InitialController.LinearizedOptions: ControllerRule {
  package static let schema = Schema<Self>(
    "linearized",
    "Linear-quadratic control about an equilibrium near the start, for unstable plants.", Self()
  ) {
    InitialController.Exploration.schema.fields(in: \.exploration)
    Field(
      "stateWeights", \.stateWeights, .numberOrNumbersOrNull, .eachOrNull(.notNegative),
      "Weights of squared deviations of the state; one per entry, or one for all; null for those of the "
        + "cost's curvature.")
    Field(
      "controlWeights", \.controlWeights, .numberOrNumbersOrNull, .eachOrNull(.above(0)),
      "Weights of squared controls; one per control, or one for all; null for those of the cost's curvature."
    )
  }

  func controller(_ start: Start) throws -> LinearGaussianController {
    try checkSettings()
    return try controller(start, on: try start.requireDynamics(Self.schema.name))
  }

  private func controller(
    _ start: Start, on dynamics: some KnownDynamics
  ) throws -> LinearGaussianController {
    let kind = Self.schema.name
    let T = start.dimensions.horizon
    var model = try LinearModel(dynamics, at: start)
    try model.settle()
    let weights = try weights(start, dynamics, model)
    let discount = 1 - 1 / Double(T + 1)
    let (A, B) = (discount * model.A, discount * model.B)
    if let mode = try UnreachableMode.first(of: A, B) {
      let growth = shortest((mode.growth / discount).rounded(to: 4))
      throw StartError(
        kind: kind,
        reason:
          "\(start.stateNames[mode.state]) grows by \(growth) per step at the start and no control "
          + "reaches it: use constant")
    }
    let solution: DiscreteRiccati
    do {
      solution = try DiscreteRiccati(A, B, Q: weights.Q, R: weights.R, S: weights.S)
    } catch {
      throw StartError(kind: kind, reason: "\(error): use constant")
    }
    let variances = try exploration.variances(start, kind)
    return try start.controller(
      gains: MatrixSequence(repeating: solution.gains, count: T), states: { _ in model.state },
      controls: { _ in model.control }, variances: variances)
  }

  /// Q, R and S.
  private func weights<D: KnownDynamics>(
    _ start: Start, _ dynamics: D, _ model: LinearModel<D>
  ) throws -> (Q: Matrix, R: Matrix, S: Matrix) {
    let kind = Self.schema.name
    let (n, m) = (dynamics.state, dynamics.control)
    let H = try model.costHessian(start)
    var (Q, R, S) = (H[0..<n, 0..<n], H[n..<n + m, n..<n + m], H[0..<n, n..<n + m])
    if let stateWeights {
      Q = Matrix(diagonal: try each(stateWeights, n, "\(kind).stateWeights"))
    }
    if let controlWeights {
      R = Matrix(diagonal: try each(controlWeights, m, "\(kind).controlWeights"))
    }
    if stateWeights != nil || controlWeights != nil { S = Matrix(rows: n, columns: m) }
    // A cost that sees nothing here: the state in its own units beside the controls in shares of their ranges.
    var mean = (0..<n).reduce(0) { $0 + Q[$1, $1] } / Double(n)
    if !(mean > 0) {
      Q = .identity(n)
      mean = 1
    }
    // Modes that the cost does not see must be seen if they grow, and no control is free.
    for i in 0..<n { Q[i, i] += 1e-6 * mean }
    for i in 0..<m {
      let scale = start.scale(of: i)
      R[i, i] += 1e-6 * mean / (scale * scale)
    }
    return (Q, R, S)
  }
}

extension Double {
  /// Rounded to significant digits.
  fileprivate func rounded(to digits: Int) -> Double {
    guard self != 0, isFinite else { return self }
    var factor = 1.0
    while abs(self) * factor < 1 { factor *= 10 }
    for _ in 1..<digits { factor *= 10 }
    return (self * factor).rounded() / factor
  }
}

/// x' = f(x, u) about a point, and how far that is from an equilibrium.
private struct LinearModel<D: KnownDynamics> {
  let dynamics: D
  let limits: ControlLimits?
  let scales: [Double]
  private(set) var state: [Double]
  private(set) var control: [Double]
  private(set) var A: Matrix
  private(set) var B: Matrix
  /// f(x, u) − x.
  private(set) var drift: [Double]

  init(_ dynamics: D, at start: Start) throws {
    self.dynamics = dynamics
    limits = start.limits
    let m = dynamics.control
    scales = (0..<m).map { start.scale(of: $0) }
    state = start.state
    control = start.clamped(start.control ?? [Double](repeating: 0, count: m))
    (A, B, drift) = try Self.linearize(dynamics, state, control)
  }

  private static func linearize(
    _ dynamics: D, _ x: [Double], _ u: [Double]
  ) throws -> (A: Matrix, B: Matrix, drift: [Double]) {
    try Task.checkCancellation()
    let (n, m) = (dynamics.state, dynamics.control)
    var workspace = try dynamics.makeWorkspace()
    var next = [Double](repeating: 0, count: n)
    var F = [Double](repeating: 0, count: n * (n + m))
    do {
      var nextSpan = next.mutableSpan
      var jacobian = F.mutableSpan
      try dynamics.linearize(
        x.span, u.span, workspace: &workspace, into: &nextSpan, jacobian: &jacobian)
    } catch {
      throw StartError(
        kind: InitialController.LinearizedOptions.schema.name,
        reason: "the dynamics cannot be linearised about the start: \(error.reason)")
    }
    if !(F + next).allSatisfy(\.isFinite) {
      throw StartError(
        kind: InitialController.LinearizedOptions.schema.name,
        reason: "the dynamics cannot be linearised about the start: a derivative is not finite")
    }
    return (
      Matrix(rows: n, columns: n, columnMajor: Array(F[..<(n * n)])),
      Matrix(rows: n, columns: m, columnMajor: Array(F[(n * n)...])),
      zip(next, x).map { $0 - $1 }
    )
  }

  private var isSettled: Bool {
    zip(drift, state).allSatisfy { abs($0) <= 1e-7 * (1 + abs($1)) }
  }

  private var distance: Double { drift.reduce(0) { $0 + $1 * $1 } }

  /// Moves to an equilibrium: first by the controls alone, then, if those cannot hold the start, by the state
  /// too. Stays at the start, with the controls that come nearest to holding it, if there is none to be
  /// found.
  mutating func settle() throws {
    try settle(movingState: false)
    if isSettled { return }
    let held = self
    try settle(movingState: true)
    if !isSettled { self = held }
  }

  private mutating func settle(movingState: Bool) throws {
    for _ in 0..<50 {
      if isSettled { return }
      if try !step(movingState: movingState) { return }
    }
  }

  /// A step of Gauss and Newton, shortened until it helps.
  ///
  /// - Returns: whether it did.
  private mutating func step(movingState: Bool) throws -> Bool {
    let (n, m) = (state.count, control.count)
    let columns = (movingState ? n : 0) + m
    var J = Matrix(rows: n, columns: columns)
    for i in 0..<n {
      if movingState { for j in 0..<n { J[i, j] = A[i, j] - (i == j ? 1 : 0) } }
      for j in 0..<m { J[i, columns - m + j] = B[i, j] * scales[j] }
    }
    let move = try J.leastSquares(drift.map { -$0 }, tolerance: 1e-8)
    var size = 1.0
    for _ in 0..<8 {
      var trial = self
      if movingState { for i in 0..<n { trial.state[i] += size * move[i] } }
      for j in 0..<m { trial.control[j] += size * move[columns - m + j] * scales[j] }
      if let limits {
        var span = trial.control.mutableSpan
        limits.clamp(&span)
      }
      (trial.A, trial.B, trial.drift) = try Self.linearize(dynamics, trial.state, trial.control)
      if trial.distance < 0.99 * distance {
        self = trial
        return true
      }
      size /= 2
    }
    return false
  }

  /// The Hessian of a task's cost in [x; u], averaged over a horizon at this point, without negative
  /// curvature.
  func costHessian(_ start: Start) throws -> Matrix {
    let (n, m, T) = (state.count, control.count, start.dimensions.horizon)
    let d = n + m
    guard let cost = start.cost, let condition = start.condition else {
      preconditionFailure("known dynamics without a task")
    }
    var workspace = try dynamics.makeWorkspace()
    var (states, controls) = (Matrix(rows: n, columns: T + 1), Matrix(rows: m, columns: T))
    for t in 0...T { states.setColumn(t, to: state) }
    for t in 0..<T { controls.setColumn(t, to: control) }
    let trajectory = try Trajectory(states, controls, of: dynamics, &workspace)
    var expansion = CostExpansion(state: n, control: m, horizon: T)
    cost.addExpansion(to: &expansion, along: trajectory, in: condition)
    var H = Matrix(rows: d, columns: d)
    for t in 0...T { H += 1 / Double(T) * expansion.hessians[t] }
    if !H.isFinite {
      throw StartError(
        kind: InitialController.LinearizedOptions.schema.name,
        reason: "the cost's curvature at the start is not finite: give stateWeights and "
          + "controlWeights")
    }
    let (values, vectors) = try H.symmetrized.symmetricEigen()
    return
      (vectors * Matrix(diagonal: values.map { max(0, $0) }) * vectors.transposed).symmetrized
  }
}
