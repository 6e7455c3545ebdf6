public import GPSCore
public import LinearAlgebra

/// The Gaussian distribution of states and controls that a controller and linear-Gaussian dynamics
/// induce.
public struct Marginals: Sendable, Equatable {
  /// Means of x_t: n × (T + 1).
  public var stateMeans: Matrix
  /// Covariances of x_t: T + 1 matrices n × n.
  public var stateCovariances: MatrixSequence
  /// Means of u_t: m × T.
  public var controlMeans: Matrix

  /// The covariance of y_t = [x_t; u_t] under `controller`: (n + m) × (n + m).
  ///
  /// Σ_y = [[Σ_x, Σ_x Kᵀ], [K Σ_x, K Σ_x Kᵀ + C]].
  public func jointCovariance(_ t: Int, under controller: LinearGaussianController) -> Matrix {
    let (n, m) = (stateMeans.rows, controlMeans.rows)
    let S = stateCovariances[t]
    let K = controller.gains[t]
    let KS = K * S
    var joint = Matrix(rows: n + m, columns: n + m)
    joint[0..<n, 0..<n] = S
    joint[n..<n + m, 0..<n] = KS
    joint[0..<n, n..<n + m] = KS.transposed
    joint[n..<n + m, n..<n + m] = (KS * K.transposed + controller.covariances[t]).symmetrized
    return joint
  }
}

/// Buffers of a forward pass.
struct MarginalsWorkspace: ~Copyable {
  let n: Int
  let m: Int
  let T: Int
  /// μ_x: T + 1 columns of n.
  let means: Scratch<Double>
  /// Σ_x: T + 1 matrices n × n.
  let covariances: Scratch<Double>
  /// μ_u: T columns of m.
  let controls: Scratch<Double>
  /// A + B K (n × n), its product with Σ_x (n × n), B L (n × m), y (n + m).
  let closedLoop: Scratch<Double>
  let product: Scratch<Double>
  let BL: Scratch<Double>
  let y: Scratch<Double>

  init(n: Int, m: Int, T: Int) {
    self.n = n
    self.m = m
    self.T = T
    means = Scratch((T + 1) * n)
    covariances = Scratch((T + 1) * n * n)
    controls = Scratch(T * m)
    closedLoop = Scratch(n * n)
    product = Scratch(n * n)
    BL = Scratch(n * m)
    y = Scratch(n + m)
  }

  /// The recursion from 0 to T.
  ///
  /// - Parameters:
  ///   - dynamics: the model, with the initial state's distribution.
  ///   - K: gains, T matrices m × n.
  ///   - k: offsets, T columns of m.
  ///   - noise: lower factors of the control covariances, T matrices m × m with zeros above.
  /// - Returns: nil, or the step whose marginals are not finite.
  func forward(
    _ dynamics: LinearGaussianDynamics, _ K: UnsafePointer<Double>, _ k: UnsafePointer<Double>,
    noise: UnsafePointer<Double>
  ) -> Int? {
    let (n, m, d) = (self.n, self.m, self.n + self.m)
    for i in 0..<n { means.pointer[i] = dynamics.initialMean[i] }
    for i in 0..<(n * n) { covariances.pointer[i] = dynamics.initialCovariance.storage[i] }
    return dynamics.covariances.storage.withUnsafeBufferPointer { W in
      withDynamics(dynamics) { F_, f_ in
        for t in 0..<T {
          let F = F_ + t * n * d
          let B = F + n * n
          let mu = means.pointer + t * n
          let S = covariances.pointer + t * n * n
          let next = covariances.pointer + (t + 1) * n * n
          // μ_u = K μ_x + k
          let u = controls.pointer + t * m
          u.update(from: k + t * m, count: m)
          Kernels.gemv(m: m, n: n, K + t * m * n, m, mu, 1, u)
          // μ_x' = F μ_y + f
          y.pointer.update(from: mu, count: n)
          (y.pointer + n).update(from: u, count: m)
          let muNext = means.pointer + (t + 1) * n
          muNext.update(from: f_ + t * n, count: n)
          Kernels.gemv(m: n, n: d, F, n, y.pointer, 1, muNext)
          // Σ_x' = (A + B K) Σ_x (A + B K)ᵀ + (B L)(B L)ᵀ + Σ
          closedLoop.pointer.update(from: F, count: n * n)
          Kernels.gemm(m: n, n: n, k: m, B, n, K + t * m * n, m, 1, closedLoop.pointer, n)
          Kernels.gemm(m: n, n: n, k: n, closedLoop.pointer, n, S, n, 0, product.pointer, n)
          for i in 0..<(n * n) { next[i] = W[t * n * n + i] }
          Kernels.gemm(
            transposeB: true, m: n, n: n, k: n, product.pointer, n, closedLoop.pointer, n, 1, next,
            n)
          Kernels.gemm(m: n, n: m, k: m, B, n, noise + t * m * m, m, 0, BL.pointer, n)
          Kernels.gemm(
            transposeB: true, m: n, n: n, k: m, BL.pointer, n, BL.pointer, n, 1, next, n)
          Kernels.symmetrize(n: n, next, n)
          var finite = true
          for i in 0..<n {
            finite = finite && muNext[i].isFinite && next[i + n * i].isFinite
          }
          if !finite { return t + 1 }
        }
        return nil
      }
    }
  }

  func marginals() -> Marginals {
    Marginals(
      stateMeans: Matrix(rows: n, columns: T + 1, copying: means.pointer),
      stateCovariances: MatrixSequence(
        rows: n, columns: n, count: T + 1, copying: covariances.pointer),
      controlMeans: Matrix(rows: m, columns: T, copying: controls.pointer))
  }
}

/// The marginals of `controller` under `dynamics`.
///
/// - Throws: `LQRError.marginalsNotFinite` when the closed loop explodes.
public func marginals(
  of controller: LinearGaussianController, under dynamics: LinearGaussianDynamics
) throws(LQRError) -> Marginals {
  let workspace = MarginalsWorkspace(n: dynamics.state, m: dynamics.control, T: dynamics.horizon)
  let failed = withController(controller) { K, k, L in
    workspace.forward(dynamics, K, k, noise: L)
  }
  if let step = failed { throw .marginalsNotFinite(step: step, dual: 0) }
  return workspace.marginals()
}

func withController<R>(
  _ controller: LinearGaussianController,
  _ body: (UnsafePointer<Double>, UnsafePointer<Double>, UnsafePointer<Double>) -> R
) -> R {
  controller.gains.storage.withUnsafeBufferPointer { K in
    controller.offsets.storage.withUnsafeBufferPointer { k in
      controller.covarianceFactors.storage.withUnsafeBufferPointer { L in
        withUnsafeTemporaryAllocation(of: Double.self, capacity: 1) { spare in
          // Empty buffers (horizon 0) get an address that is never read.
          guard let unread = spare.baseAddress else { preconditionFailure("no temporary memory") }
          return body(
            K.baseAddress ?? UnsafePointer(unread), k.baseAddress ?? UnsafePointer(unread),
            L.baseAddress ?? UnsafePointer(unread))
        }
      }
    }
  }
}

extension QuadraticCost {
  /// The expected cost of `marginals` under `controller`, step by step: T + 1 numbers.
  ///
  /// E[½ yᵀ C y + cᵀ y + constant] = ½ tr(C Σ_y) + ½ μᵀ C μ + cᵀ μ + constant.
  public func expectations(
    over marginals: Marginals, under controller: LinearGaussianController
  ) -> [Double] {
    let (n, m, d, T) = (state, control, state + control, horizon)
    var result = constants
    var mu = [Double](repeating: 0, count: d)
    for t in 0...T {
      for i in 0..<n { mu[i] = marginals.stateMeans[i, t] }
      for i in 0..<m { mu[n + i] = t < T ? marginals.controlMeans[i, t] : 0 }
      let size = t < T ? d : n
      let covariance =
        t < T ? marginals.jointCovariance(t, under: controller) : marginals.stateCovariances[T]
      for j in 0..<size {
        var Cmu = 0.0
        for i in 0..<size {
          let Cij = hessians.storage[t * d * d + i + d * j]
          result[t] += 0.5 * Cij * covariance.storage[i + size * j]
          Cmu += Cij * mu[i]
        }
        result[t] += mu[j] * (0.5 * Cmu + gradients[j, t])
      }
    }
    return result
  }
}
