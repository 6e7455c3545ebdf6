public import LinearAlgebra

/// Time-varying linear-Gaussian dynamics: p(x_{t+1} | x_t, u_t) = N(F_t y_t + f_t, Σ_t) with
/// y_t = [x_t; u_t] and F_t = [A_t B_t], and the distribution of the initial state.
public struct LinearGaussianDynamics: Sendable, Equatable {
  /// F_t: T matrices, n × (n + m).
  public var transitions: MatrixSequence
  /// f_t: n × T.
  public var offsets: Matrix
  /// Σ_t: T matrices, n × n, symmetric positive semidefinite.
  public var covariances: MatrixSequence
  /// Mean of x_0: n numbers.
  public var initialMean: [Double]
  /// Covariance of x_0: n × n.
  public var initialCovariance: Matrix

  /// n.
  public var state: Int { transitions.rows }
  /// m.
  public var control: Int { transitions.columns - transitions.rows }
  /// T.
  public var horizon: Int { transitions.count }

  /// Dynamics from their parts.
  public init(
    transitions: MatrixSequence, offsets: Matrix, covariances: MatrixSequence,
    initialMean: [Double], initialCovariance: Matrix
  ) {
    let n = transitions.rows
    precondition(
      transitions.columns > n && offsets.rows == n && offsets.columns == transitions.count
        && covariances.rows == n && covariances.columns == n
        && covariances.count == transitions.count && initialMean.count == n
        && initialCovariance.rows == n && initialCovariance.columns == n,
      "parts of different shapes for dynamics of \(n) states over \(transitions.count) steps")
    self.transitions = transitions
    self.offsets = offsets
    self.covariances = covariances
    self.initialMean = initialMean
    self.initialCovariance = initialCovariance
  }
}

/// A time-varying linear-Gaussian controller: p(u_t | x_t) = N(K_t x_t + k_t, C_t).
public struct LinearGaussianController: Sendable, Equatable {
  /// K_t: T matrices, m × n.
  public let gains: MatrixSequence
  /// k_t: m × T.
  public let offsets: Matrix
  /// C_t: T matrices, m × m, symmetric positive definite.
  public let covariances: MatrixSequence
  /// Lower Cholesky factors of C_t: T matrices, m × m.
  public let covarianceFactors: MatrixSequence
  /// C_t⁻¹: T matrices, m × m, symmetric.
  public let precisions: MatrixSequence

  /// n.
  public var state: Int { gains.columns }
  /// m.
  public var control: Int { gains.rows }
  /// T.
  public var horizon: Int { gains.count }

  /// A controller from gains, offsets and covariances.
  ///
  /// - Throws: `ControllerError` when a covariance is not positive definite or a number not finite.
  public init(
    gains: MatrixSequence, offsets: Matrix, covariances: MatrixSequence
  ) throws(ControllerError) {
    let m = gains.rows
    var factors = MatrixSequence(rows: m, columns: m, count: gains.count)
    var precisions = factors
    for t in 0..<gains.count {
      do {
        let factor = try CholeskyFactor(covariances[t])
        factors[t] = factor.lower
        precisions[t] = factor.inverse
      } catch {
        throw .covariance(step: t, error)
      }
    }
    try self.init(
      gains: gains, offsets: offsets, covariances: covariances, covarianceFactors: factors,
      precisions: precisions)
  }

  /// A controller whose covariance factors and precisions are known already.
  ///
  /// - Throws: `ControllerError` when a number is not finite.
  public init(
    gains: MatrixSequence, offsets: Matrix, covariances: MatrixSequence,
    covarianceFactors: MatrixSequence, precisions: MatrixSequence
  ) throws(ControllerError) {
    let (m, n, T) = (gains.rows, gains.columns, gains.count)
    precondition(
      offsets.rows == m && offsets.columns == T
        && [covariances, covarianceFactors, precisions].allSatisfy {
          $0.rows == m && $0.columns == m && $0.count == T
        }, "parts of different shapes for a controller of \(n) states over \(T) steps")
    if let entry = gains.storage.firstNonFinite {
      throw .notFinite(field: "gain", step: entry / max(1, m * n))
    }
    if let entry = offsets.storage.firstNonFinite {
      throw .notFinite(field: "offset", step: entry / max(1, m))
    }
    self.gains = gains
    self.offsets = offsets
    self.covariances = covariances
    self.covarianceFactors = covarianceFactors
    self.precisions = precisions
  }
}

/// Why numbers do not make a controller.
public enum ControllerError: Error, Sendable, Equatable, CustomStringConvertible {
  /// A covariance has no Cholesky factor.
  case covariance(step: Int, LinearAlgebraError)
  /// A number is NaN or infinite.
  case notFinite(field: String, step: Int)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .covariance(let step, let error): "controller covariance at step \(step): \(error)"
    case .notFinite(let field, let step): "controller \(field) at step \(step) is not finite"
    }
  }
}

extension LinearGaussianController: Policy {
  /// A local controller needs no scratch.
  public struct Workspace: Sendable {}

  /// A local controller needs no scratch.
  public func makeWorkspace() -> Workspace { Workspace() }

  /// Writes u = K_t x + k_t + L_t noise, where C_t = L_t L_tᵀ.
  public func act(
    step: Int, state: Span<Double>, observation: Span<Double>, noise: Span<Double>,
    workspace: inout Workspace, action: inout MutableSpan<Double>
  ) {
    let (m, n) = (control, self.state)
    gains.storage.withUnsafeBufferPointer { K in
      offsets.storage.withUnsafeBufferPointer { k in
        covarianceFactors.storage.withUnsafeBufferPointer { L in
          for i in 0..<m {
            var sum = k[step * m + i]
            for j in 0..<n { sum += K[step * m * n + i + m * j] * state[j] }
            for j in 0...i { sum += L[step * m * m + i + m * j] * noise[j] }
            action[i] = sum
          }
        }
      }
    }
  }
}

extension LinearGaussianController: Codable {}
extension LinearGaussianDynamics: Codable {}
