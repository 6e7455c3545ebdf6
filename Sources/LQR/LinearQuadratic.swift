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

/// Solves a linear-quadratic problem by one Riccati pass (algorithms: Tassa et al. 2012, eq. 5, 11).
///
/// - Parameters:
///   - cost: quadratic, indefinite Hessians allowed as long as every Q_uu is positive definite.
///   - dynamics: of the same dimensions and horizon; its covariances do not matter.
/// - Returns: gains, offsets and value function.
/// - Throws: `LQRError.notPositiveDefinite` with the time step.
public func solveLinearQuadratic(
  cost: QuadraticCost, dynamics: LinearGaussianDynamics
) throws(LQRError) -> LQSolution {
  let (n, m, T) = (dynamics.state, dynamics.control, dynamics.horizon)
  requireSameShapes(cost, dynamics)
  let workspace = RiccatiWorkspace(n: n, m: m, T: T)
  let failedStep = withProblem(cost: cost, dynamics: dynamics) { workspace.backward($0) }
  if let step = failedStep {
    throw .notPositiveDefinite(step: step, eigenvalue: workspace.smallestCurvature(), dual: 0)
  }
  var factors = MatrixSequence(
    rows: m, columns: m, count: T, copying: workspace.curvatureFactors.pointer)
  clearUpperTriangles(&factors)
  return LQSolution(
    gains: MatrixSequence(rows: m, columns: n, count: T, copying: workspace.gains.pointer),
    offsets: Matrix(rows: m, columns: T, copying: workspace.offsets.pointer),
    curvatureFactors: factors,
    valueHessians: MatrixSequence(
      rows: n, columns: n, count: T + 1, copying: workspace.valueHessians.pointer),
    valueGradients: Matrix(rows: n, columns: T + 1, copying: workspace.valueGradients.pointer))
}

func requireSameShapes(_ cost: QuadraticCost, _ dynamics: LinearGaussianDynamics) {
  precondition(
    cost.state == dynamics.state && cost.control == dynamics.control
      && cost.horizon == dynamics.horizon,
    "a cost of \(cost.state) states, \(cost.control) controls and \(cost.horizon) steps for "
      + "dynamics of \(dynamics.state), \(dynamics.control) and \(dynamics.horizon)")
}

func clearUpperTriangles(_ sequence: inout MatrixSequence) {
  let m = sequence.rows
  for t in 0..<sequence.count {
    for j in 0..<m { for i in 0..<j { sequence.storage[t * m * m + i + m * j] = 0 } }
  }
}

func withProblem<R>(
  cost: QuadraticCost, dynamics: LinearGaussianDynamics, _ body: (LQProblem) -> R
) -> R {
  cost.hessians.storage.withUnsafeBufferPointer { C in
    cost.gradients.storage.withUnsafeBufferPointer { c in
      withDynamics(dynamics) { F, f in
        withNonEmpty(C, c) { C, c in
          body(
            LQProblem(
              n: dynamics.state, m: dynamics.control, T: dynamics.horizon, hessians: C,
              gradients: c, transitions: F, offsets: f))
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
