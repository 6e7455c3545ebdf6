public import GPSCore
public import LinearAlgebra

/// The solution of a time-varying linear-quadratic problem: u = K x + k and the value function
/// ½ xᵀ V x + vᵀ x (up to a constant).
public struct LQSolution: Sendable {
  /// K_t: T matrices m × n.
  public var gains: MatrixSequence
  /// k_t: m × T.
  public var offsets: Matrix
  /// Lower Cholesky factors of Q_uu: T matrices m × m.
  public var curvatureFactors: MatrixSequence
  /// V_t: T + 1 matrices n × n, symmetric.
  public var valueHessians: MatrixSequence
  /// v_t: n × (T + 1).
  public var valueGradients: Matrix
}

/// Solves linear-quadratic problems of one size, one after the other, in memory that it allocates once.
///
/// ```swift
/// let solver = LinearQuadraticSolver(state: 26, control: 7, horizon: 100)
/// try solver.solve(cost: cost, dynamics: dynamics)
/// solver.simulate(dynamics, from: x0)
/// let (gains, states) = (solver.solution.gains, solver.states)
/// ```
public struct LinearQuadraticSolver: ~Copyable {
  private let riccati: RiccatiWorkspace
  private let stateBuffer: Scratch<Double>
  private let controlBuffer: Scratch<Double>

  /// A solver for n states, m controls and T steps.
  public init(state n: Int, control m: Int, horizon T: Int) {
    precondition(n > 0 && m > 0 && T >= 0, "a problem of \(n) states, \(m) controls, \(T) steps")
    riccati = RiccatiWorkspace(n: n, m: m, T: T)
    stateBuffer = Scratch((T + 1) * n)
    controlBuffer = Scratch(T * m)
  }

  /// Computes gains and value function by one Riccati pass; `solution` then holds them.
  ///
  /// - Parameters:
  ///   - cost: quadratic, indefinite Hessians allowed as long as every Q_uu is positive definite.
  ///   - dynamics: of the solver's dimensions and horizon; its covariances do not matter.
  /// - Throws: `LQRError.inputNotFinite` with field and time step, or `.notPositiveDefinite` with the
  ///   time step.
  public func solve(cost: QuadraticCost, dynamics: LinearGaussianDynamics) throws(LQRError) {
    requireSameShapes(cost, dynamics)
    requireShape(of: dynamics)
    let failedStep = withProblem(cost: cost, dynamics: dynamics) { riccati.backward($0) }
    // What is not finite at any step ends in the value function of the first, if no pass fails before.
    if failedStep == nil && riccati.isFirstValueFinite { return }
    if let input = cost.nonFinite ?? dynamics.nonFinite { throw input.error }
    let step = failedStep ?? 0
    throw .notPositiveDefinite(
      step: step,
      eigenvalue: failedStep == nil ? .nan : smallestEigenvalue(riccati.curvature(step)), dual: 0)
  }

  /// Computes the states and controls of the last solution from x_0, without noise: x' = F [x; u] + f
  /// with u = K x + k. `states` and `controls` then hold them, NaN from an initial state with NaN.
  public func simulate(_ dynamics: LinearGaussianDynamics, from initialState: [Double]) {
    requireShape(of: dynamics)
    precondition(
      initialState.count == riccati.n,
      "\(initialState.count) numbers for an initial state of \(riccati.n)")
    for i in 0..<riccati.n { stateBuffer.pointer[i] = initialState[i] }
    withDynamics(dynamics) { F, f in
      riccati.simulate(
        LQProblem(
          hessians: stateBuffer.pointer, gradients: stateBuffer.pointer, transitions: F, offsets: f),
        states: stateBuffer.pointer, controls: controlBuffer.pointer)
    }
  }

  private func requireShape(of dynamics: LinearGaussianDynamics) {
    let (n, m, T) = (riccati.n, riccati.m, riccati.T)
    precondition(
      dynamics.state == n && dynamics.control == m && dynamics.horizon == T,
      "dynamics of \(dynamics.state) × \(dynamics.control) × \(dynamics.horizon) for a solver of "
        + "\(n) × \(m) × \(T)")
  }

  /// A copy of the last solution.
  public var solution: LQSolution {
    let (n, m, T) = (riccati.n, riccati.m, riccati.T)
    return LQSolution(
      gains: MatrixSequence(rows: m, columns: n, count: T, copying: riccati.gains.pointer),
      offsets: Matrix(rows: m, columns: T, copying: riccati.offsets.pointer),
      curvatureFactors: MatrixSequence(
        rows: m, columns: m, count: T, copying: riccati.curvatureFactors.pointer),
      valueHessians: MatrixSequence(
        rows: n, columns: n, count: T + 1, copying: riccati.valueHessians.pointer),
      valueGradients: Matrix(rows: n, columns: T + 1, copying: riccati.valueGradients.pointer))
  }

  /// A copy of the simulated states: n × (T + 1).
  public var states: Matrix {
    Matrix(rows: riccati.n, columns: riccati.T + 1, copying: stateBuffer.pointer)
  }

  /// A copy of the simulated controls: m × T.
  public var controls: Matrix {
    Matrix(rows: riccati.m, columns: riccati.T, copying: controlBuffer.pointer)
  }
}

/// Solves one linear-quadratic problem (see `LinearQuadraticSolver`).
///
/// - Throws: `LQRError`, as the solver.
public func solveLinearQuadratic(
  cost: QuadraticCost, dynamics: LinearGaussianDynamics
) throws(LQRError) -> LQSolution {
  let solver = LinearQuadraticSolver(
    state: dynamics.state, control: dynamics.control, horizon: dynamics.horizon)
  try solver.solve(cost: cost, dynamics: dynamics)
  return solver.solution
}

func requireSameShapes(_ cost: QuadraticCost, _ dynamics: LinearGaussianDynamics) {
  precondition(
    cost.state == dynamics.state && cost.control == dynamics.control
      && cost.horizon == dynamics.horizon,
    "a cost of \(cost.state) states, \(cost.control) controls and \(cost.horizon) steps for "
      + "dynamics of \(dynamics.state), \(dynamics.control) and \(dynamics.horizon)")
}

func withProblem<R>(
  cost: QuadraticCost, dynamics: LinearGaussianDynamics, _ body: (LQProblem) -> R
) -> R {
  cost.hessians.storage.withUnsafeBufferPointer { C in
    cost.gradients.storage.withUnsafeBufferPointer { c in
      withDynamics(dynamics) { F, f in
        withNonEmpty(C, c) { C, c in
          body(
            LQProblem(hessians: C, gradients: c, transitions: F, offsets: f))
        }
      }
    }
  }
}

func withDynamics<R>(
  _ dynamics: LinearGaussianDynamics,
  _ body: (UnsafePointer<Double>, UnsafePointer<Double>) -> R
) -> R {
  dynamics.transitions.storage.withUnsafeBufferPointer { F in
    dynamics.offsets.storage.withUnsafeBufferPointer { f in withNonEmpty(F, f, body) }
  }
}

/// Base addresses of two buffers; an empty one (horizon 0) gets an address that is never read.
private func withNonEmpty<R>(
  _ a: UnsafeBufferPointer<Double>, _ b: UnsafeBufferPointer<Double>,
  _ body: (UnsafePointer<Double>, UnsafePointer<Double>) -> R
) -> R {
  withUnsafeTemporaryAllocation(of: Double.self, capacity: 1) { spare in
    spare.initialize(repeating: 0)
    // A temporary allocation of one element always has an address.
    guard let unread = spare.baseAddress else { preconditionFailure("no temporary memory") }
    return body(a.baseAddress ?? UnsafePointer(unread), b.baseAddress ?? UnsafePointer(unread))
  }
}
