import CMatrixKernels
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

  /// Marginals from their parts.
  public init(stateMeans: Matrix, stateCovariances: MatrixSequence, controlMeans: Matrix) {
    precondition(
      stateMeans.columns == controlMeans.columns + 1
        && stateCovariances.count == stateMeans.columns
        && stateCovariances.rows == stateMeans.rows,
      "means of \(stateMeans.columns) states and \(controlMeans.columns) controls with "
        + "\(stateCovariances.count) covariances of \(stateCovariances.rows) rows")
    self.stateMeans = stateMeans
    self.stateCovariances = stateCovariances
    self.controlMeans = controlMeans
  }

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

/// The controls' noise in a forward pass: T lower factors m × m with zeros above.
enum ControlNoise {
  /// Of the covariances.
  case covarianceFactors(UnsafePointer<Double>)
  /// Of the precisions; the divergence from N(0, I) is computed too.
  case precisionFactors(UnsafePointer<Double>)
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
  /// KL(N(K x + k, C) ‖ N(0, I)), expected over x: T numbers, with precision factors.
  let divergences: Scratch<Double>
  private let scratch: Scratch<Double>

  init(n: Int, m: Int, T: Int) {
    self.n = n
    self.m = m
    self.T = T
    means = Scratch((T + 1) * n)
    covariances = Scratch((T + 1) * n * n)
    controls = Scratch(T * m)
    divergences = Scratch(T)
    scratch = Scratch(Int(mk_gaussian_scratch(Int64(n), Int64(m))))
  }

  /// The recursion from 0 to T (`mk_gaussian_forward`): with the closed loop A + B K and N Nᵀ = C,
  ///
  ///   μ_u = K μ_x + k,   μ_x' = F [μ_x; μ_u] + f,   Σ_x' = (A + B K) Σ_x (A + B K)ᵀ + (B N)(B N)ᵀ + Σ
  ///
  /// - Parameters:
  ///   - F: transitions, T matrices n × d.
  ///   - f: offsets, T columns of n.
  ///   - dynamics: whose covariances and initial state are used.
  ///   - K: gains, T matrices m × n.
  ///   - k: offsets, T columns of m.
  ///   - noise: of the controls.
  /// - Returns: nil, or the step whose marginals are not finite.
  func forward(
    _ F: UnsafePointer<Double>, _ f: UnsafePointer<Double>, _ dynamics: LinearGaussianDynamics,
    _ K: UnsafePointer<Double>, _ k: UnsafePointer<Double>, noise: ControlNoise
  ) -> Int? {
    let factors: UnsafePointer<Double>
    let isPrecision: Bool
    switch noise {
    case .covarianceFactors(let L): (factors, isPrecision) = (L, false)
    case .precisionFactors(let L): (factors, isPrecision) = (L, true)
    }
    return dynamics.covariances.storage.withUnsafeBufferPointer { W in
      dynamics.initialMean.withUnsafeBufferPointer { mean in
        dynamics.initialCovariance.storage.withUnsafeBufferPointer { covariance in
          var arguments = mk_gaussian(
            state: Int64(n), control: Int64(m), horizon: Int64(T), transitions: F, offsets: f,
            process: W.baseAddress ?? F, gains: K, gain_offsets: k, noise: factors,
            noise_is_precision: isPrecision ? 1 : 0, initial_mean: mean.baseAddress,
            initial_covariance: covariance.baseAddress, means: means.pointer,
            controls: controls.pointer, covariances: covariances.pointer,
            divergences: isPrecision ? divergences.pointer : nil, scratch: scratch.pointer)
          let step = mk_gaussian_forward(Kernels.Variant.best.rawValue, &arguments)
          return step < 0 ? nil : Int(step)
        }
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
/// - Throws: `LQRError.marginalsNotFinite` when the closed loop explodes, `.inputNotFinite` with field and
///   time step where an input is NaN or infinite.
public func marginals(
  of controller: LinearGaussianController, under dynamics: LinearGaussianDynamics
) throws(LQRError) -> Marginals {
  let workspace = MarginalsWorkspace(n: dynamics.state, m: dynamics.control, T: dynamics.horizon)
  let failed = withDynamics(dynamics) { F, f in
    withController(controller) { K, k, L in
      workspace.forward(F, f, dynamics, K, k, noise: .covarianceFactors(L))
    }
  }
  if let step = failed {
    if let input = dynamics.nonFinite ?? controller.nonFinite { throw input.error }
    throw .marginalsNotFinite(step: step, dual: 0)
  }
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
    precondition(
      marginals.stateMeans.rows == n && marginals.controlMeans.rows == m
        && marginals.stateMeans.columns == T + 1 && controller.state == n
        && controller.control == m && controller.horizon == T,
      "marginals or a controller of other dimensions for a cost of \(n) × \(m) × \(T)")
    var result = constants
    let y = Scratch<Double>(d)
    let Cy = Scratch<Double>(d)
    // [C_xx; 2 C_ux + C_uu K] and its product with Σ_x, in turn: tr(C Σ_y) = tr(G Σ_x) + tr(C_uu C_t)
    // with G = C_xx + Kᵀ (2 C_ux + C_uu K).
    let G = Scratch<Double>(n * n)
    let H = Scratch<Double>(m * n)
    hessians.storage.withUnsafeBufferPointer { hessians in
      marginals.stateCovariances.storage.withUnsafeBufferPointer { covariances in
        controller.gains.storage.withUnsafeBufferPointer { gains in
          guard let hessians = hessians.baseAddress, let covariances = covariances.baseAddress
          else { return }
          for t in 0...T {
            let C = hessians + t * d * d
            let S = covariances + t * n * n
            for i in 0..<n { y.pointer[i] = marginals.stateMeans.storage[t * n + i] }
            for i in 0..<m {
              y.pointer[n + i] = t < T ? marginals.controlMeans.storage[t * m + i] : 0
            }
            Kernels.gemv(m: d, n: d, C, d, y.pointer, 0, Cy.pointer)
            for i in 0..<d {
              result[t] += y.pointer[i] * (0.5 * Cy.pointer[i] + gradients.storage[t * d + i])
            }
            for j in 0..<n { for i in 0..<n { G.pointer[i + n * j] = C[i + d * j] } }
            if t < T, let K = gains.baseAddress.map({ $0 + t * m * n }) {
              for j in 0..<n { for i in 0..<m { H.pointer[i + m * j] = 2 * C[n + i + d * j] } }
              Kernels.gemm(m: m, n: n, k: m, C + n + d * n, d, K, m, 1, H.pointer, m)
              Kernels.gemm(
                transposeA: true, m: n, n: n, k: m, K, m, H.pointer, m, 1, G.pointer, n)
              var sum = 0.0
              for j in 0..<m {
                for i in 0..<m {
                  sum +=
                    C[n + i + d * (n + j)] * controller.covariances.storage[(t * m + j) * m + i]
                }
              }
              result[t] += 0.5 * sum
            }
            var sum = 0.0
            for i in 0..<(n * n) { sum += G.pointer[i] * S[i] }
            result[t] += 0.5 * sum
          }
        }
      }
    }
    return result
  }
}
