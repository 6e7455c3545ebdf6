import Foundation
public import GPSCore
import LinearAlgebra

/// KL(p ‖ q) of two controllers' actions at every step, expected over p's states: T numbers [nats].
///
///   ½ [ tr(C_q⁻¹ C_p) − m + ln|C_q| − ln|C_p| + dᵀ C_q⁻¹ d + tr(C_q⁻¹ ΔK Σ_x ΔKᵀ) ]
///
/// with d = ΔK μ_x + Δk. Every term is computed from differences, so that two equal controllers give
/// exactly the rounding of their determinants and nothing of their gains. Of numbers that are not finite
/// the divergence is NaN.
public func klDivergences(
  from p: LinearGaussianController, to q: LinearGaussianController, over marginals: Marginals
) -> [Double] {
  let (n, m, T) = (p.state, p.control, p.horizon)
  precondition(
    q.state == n && q.control == m && q.horizon == T,
    "controllers of \(n) × \(m) × \(T) and \(q.state) × \(q.control) × \(q.horizon)")
  let workspace = KLWorkspace(n: n, m: m)
  return (0..<T).map { t in
    marginals.stateMeans.storage.withUnsafeBufferPointer { mu in
      marginals.stateCovariances.storage.withUnsafeBufferPointer { S in
        withController(p) { K, k, L in
          guard let mu = mu.baseAddress, let S = S.baseAddress else { return 0 }
          return workspace.divergence(
            K + t * m * n, k + t * m, L + t * m * m, q, t, mean: mu + t * n,
            covariance: S + t * n * n)
        }
      }
    }
  }
}

/// Scratch for one step's divergence.
struct KLWorkspace: ~Copyable {
  let n: Int
  let m: Int
  let dK: Scratch<Double>
  let dKS: Scratch<Double>
  let d: Scratch<Double>
  let whitened: Scratch<Double>

  init(n: Int, m: Int) {
    self.n = n
    self.m = m
    dK = Scratch(m * n)
    dKS = Scratch(m * n)
    d = Scratch(m)
    whitened = Scratch(m * max(n, m))
  }

  /// The divergence of step t, given p's K (m × n), k (m), and the lower factor L (m × m) of C_p.
  func divergence(
    _ K: UnsafePointer<Double>, _ k: UnsafePointer<Double>, _ L: UnsafePointer<Double>,
    _ q: LinearGaussianController, _ t: Int, mean: UnsafePointer<Double>,
    covariance: UnsafePointer<Double>
  ) -> Double {
    q.covarianceFactors.storage.withUnsafeBufferPointer { Lq_ in
      q.gains.storage.withUnsafeBufferPointer { Kq_ in
        q.offsets.storage.withUnsafeBufferPointer { kq_ in
          guard let Lq = Lq_.baseAddress, let Kq = Kq_.baseAddress, let kq = kq_.baseAddress else {
            return 0
          }
          return divergence(
            K, k, L, Kq + t * m * n, kq + t * m, Lq + t * m * m, mean, covariance)
        }
      }
    }
  }

  private func divergence(
    _ K: UnsafePointer<Double>, _ k: UnsafePointer<Double>, _ L: UnsafePointer<Double>,
    _ Kq: UnsafePointer<Double>, _ kq: UnsafePointer<Double>, _ Lq: UnsafePointer<Double>,
    _ mu: UnsafePointer<Double>, _ S: UnsafePointer<Double>
  ) -> Double {
    for i in 0..<(m * n) { dK.pointer[i] = K[i] - Kq[i] }
    for i in 0..<m { d.pointer[i] = k[i] - kq[i] }
    Kernels.gemv(m: m, n: n, dK.pointer, m, mu, 1, d.pointer)
    var sum = -Double(m)
    // tr(C_q⁻¹ C_p) = ‖L_q⁻¹ L_p‖², with zeros above L_p's diagonal
    for j in 0..<m { for i in 0..<m { whitened.pointer[i + m * j] = i < j ? 0 : L[i + m * j] } }
    Kernels.solveLower(n: m, r: m, Lq, m, whitened.pointer, m)
    for i in 0..<(m * m) { sum += whitened.pointer[i] * whitened.pointer[i] }
    // ln|C_q| − ln|C_p|
    for i in 0..<m { sum += 2 * (log(Lq[i + m * i]) - log(L[i + m * i])) }
    // dᵀ C_q⁻¹ d
    Kernels.solveLower(n: m, r: 1, Lq, m, d.pointer, m)
    for i in 0..<m { sum += d.pointer[i] * d.pointer[i] }
    // tr(C_q⁻¹ ΔK Σ ΔKᵀ) = ⟨L_q⁻¹ ΔK Σ, L_q⁻¹ ΔK⟩
    Kernels.solveLower(n: m, r: n, Lq, m, dK.pointer, m)
    Kernels.gemm(m: m, n: n, k: n, dK.pointer, m, S, n, 0, dKS.pointer, m)
    for i in 0..<(m * n) { sum += dKS.pointer[i] * dK.pointer[i] }
    // Rounding alone makes it negative; NaN stays NaN.
    return sum < 0 ? 0 : 0.5 * sum
  }
}
