// The E-step of a Gaussian mixture: the share of each cluster in each point.
//
//   log p_kn = log π_k − ½ (d log 2π + log |Σ_k|) − ½ ‖W_k (z_n − μ_k)‖²  [− ½ φ tr Σ_k⁻¹],   W_k = L_k⁻¹
//   ℓ_n = log Σ_k p_kn,   r_kn = exp(log p_kn − ℓ_n)
//
//   | W_k | d × d | inverse of the lower Cholesky factor of Σ_k  |
//   | c_k |       | everything in log p_kn but the quadratic term |
//
// The term in brackets belongs to the covariance floor φ; see GaussianMixture+EM.swift. The kernels of
// CMatrixKernels do the work and say how most of it is avoided; here their parameters are prepared.

import CMatrixKernels
import Foundation
import LinearAlgebra

/// A mixture prepared for its E-step.
///
/// Different clusters may be set, and different points evaluated, by different workers at once.
struct MixtureEvaluator: ~Copyable {
  /// Shares below exp(−37) of the largest are below the rounding of 1.
  static let cutoff = 37.0

  let d: Int
  let K: Int
  /// c_k: K numbers, −∞ for a cluster of weight 0.
  private let constants: Scratch<Double>
  /// μ_k, each after the zeros that the kernels pad with.
  private let means: Scratch<Double>
  /// W_k, packed.
  private let whiteners: Scratch<Double>
  /// The last rows of all W_k, and these times μ_k.
  private let screens: Scratch<Double>
  private let offsets: Scratch<Double>
  private let padded: Int
  private let whitenerSize: Int
  private let cutoff: Double
  private let variant: Kernels.Variant

  /// Room for K clusters in d dimensions.
  init(
    dimension d: Int, clusters K: Int, cutoff: Double = MixtureEvaluator.cutoff,
    variant: Kernels.Variant = .best
  ) {
    self.d = d
    self.K = K
    self.cutoff = cutoff
    self.variant = variant
    padded = Int(mk_mixture_padded(Int64(d)))
    whitenerSize = Int(mk_mixture_whitener_size(Int64(d)))
    constants = Scratch(K)
    means = Scratch(K * padded)
    whiteners = Scratch(K * whitenerSize)
    screens = Scratch(Int(mk_mixture_screens_size(Int64(d), Int64(K))))
    offsets = Scratch(2 * K + 2)
  }

  /// What one worker needs to set clusters and evaluate points.
  struct Workspace: ~Copyable {
    fileprivate let factor: Scratch<Double>
    fileprivate let inverse: Scratch<Double>
    fileprivate let block: Scratch<Double>

    init(dimension d: Int, clusters K: Int) {
      factor = Scratch(d * d)
      inverse = Scratch(d * d)
      block = Scratch(Int(mk_mixture_scratch(Int64(d), Int64(K))))
    }
  }

  /// Takes over the parameters of a mixture.
  func load(_ mixture: GaussianMixture, _ workspace: borrowing Workspace) throws(StatisticsError) {
    try mixture.requireWeights()
    for k in 0..<K {
      let minor = mixture.covariances.storage.withUnsafeBufferPointer { sigma in
        mixture.means.storage.withUnsafeBufferPointer { mu -> Int in
          guard let sigma = sigma.baseAddress, let mu = mu.baseAddress else { return 0 }
          return set(
            k, weight: mixture.weights[k], mean: mu + k * d, covariance: sigma + k * d * d,
            floor: 0, workspace)
        }
      }
      if minor != 0 { throw .component(k, .notPositiveDefinite(leadingMinor: minor, size: d)) }
    }
  }

  /// Takes over the parameters of one cluster.
  ///
  /// - Parameters:
  ///   - k: which.
  ///   - weight: π_k; a cluster of weight 0 takes no part.
  ///   - mean: μ_k, d numbers.
  ///   - covariance: Σ_k, d × d, lower triangle; jitter relative to each variance (to the least that is
  ///     not 0, where one is 0) is added until it factors.
  ///   - floor: φ.
  ///   - workspace: of this worker.
  /// - Returns: 0, or the leading minor (from 1) for which Σ_k does not factor.
  func set(
    _ k: Int, weight: Double, mean: UnsafePointer<Double>, covariance: UnsafePointer<Double>,
    floor: Double, _ workspace: borrowing Workspace
  ) -> Int {
    let (L, W) = (workspace.factor.pointer, workspace.inverse.pointer)
    (means.pointer + (k + 1) * padded - d).update(from: mean, count: d)
    guard weight > 0 else {
      constants.pointer[k] = -.infinity
      return 0
    }
    var least = Double.infinity
    for i in 0..<d where covariance[i + d * i] > 0 { least = min(least, covariance[i + d * i]) }
    if least == .infinity { least = 1e-280 }
    var jitter = 0.0
    var attempt = 0
    while true {
      L.update(from: covariance, count: d * d)
      if jitter > 0 { for j in 0..<d { L[j + d * j] += jitter * max(L[j + d * j], least) } }
      let minor = Kernels.choleskyLower(n: d, L, d)
      if minor == 0 { break }
      if attempt == 10 { return minor }
      jitter = attempt == 0 ? 1e-12 : 10 * jitter
      attempt += 1
    }
    var halfLogDeterminant = 0.0
    for i in 0..<d { halfLogDeterminant += log(L[i + d * i]) }
    W.update(repeating: 0, count: d * d)
    for j in 0..<d { W[j + d * j] = 1 }
    // Nothing above the diagonal: some columns at a time, each from its first row that is not 0 on.
    let width = 16
    for j in stride(from: 0, to: d, by: width) {
      let corner = j + d * j
      Kernels.solveLower(n: d - j, r: min(width, d - j), L + corner, d, W + corner, d)
    }
    // tr Σ⁻¹ = ‖W‖².
    let penalty = floor > 0 ? 0.5 * floor * sumOfSquares(W, d * d) : 0
    constants.pointer[k] =
      log(weight) - 0.5 * Double(d) * log(2 * Double.pi) - halfLogDeterminant - penalty
    mk_mixture_pack(
      Int64(d), Int64(k), W, mean, whiteners.pointer + k * whitenerSize, screens.pointer,
      offsets.pointer)
    return 0
  }

  /// Whether densities under Σ (d × d, lower triangle) mean anything after rounding: whether it factors,
  /// and each dimension keeps a share of 1e-10 of its variance, and a deviation of 1e-10, when those
  /// before it are known.
  func isSound(_ covariance: UnsafePointer<Double>, _ workspace: borrowing Workspace) -> Bool {
    let L = workspace.factor.pointer
    L.update(from: covariance, count: d * d)
    if Kernels.choleskyLower(n: d, L, d) != 0 { return false }
    for j in 0..<d {
      let rest = L[j + d * j] * L[j + d * j]
      if !(rest >= 1e-10 * covariance[j + d * j] && rest >= 1e-20) { return false }
    }
    return true
  }

  /// Shares and log densities of some points.
  ///
  /// - Parameters:
  ///   - z: d × N.
  ///   - positions: which entries of `order` (or which points) to evaluate.
  ///   - order: numbers of points, best with points of one cluster side by side; nil for their own
  ///     order, all positions then.
  ///   - homesKnown: whether `shares` holds the points' homes in a similar mixture: a good start.
  ///   - shares: what is written, for the points evaluated.
  ///   - workspace: of this worker.
  func evaluate(
    _ z: UnsafePointer<Double>, _ positions: Range<Int>, order: UnsafePointer<Int32>? = nil,
    homesKnown: Bool = false, into shares: borrowing MixtureShares, _ workspace: borrowing Workspace
  ) {
    precondition(shares.clusters == K, "room for \(shares.clusters) clusters, not \(K)")
    var mixture = mk_mixture(
      dimension: Int64(d), clusters: Int64(K), constants: constants.pointer, means: means.pointer,
      whiteners: whiteners.pointer, screens: screens.pointer, offsets: offsets.pointer,
      cutoff: cutoff, homes_known: homesKnown ? 1 : 0)
    mk_mixture_shares(
      variant.rawValue, &mixture, Int64(positions.count), order.map { $0 + positions.lowerBound },
      z, workspace.block.pointer, shares.buffers)
  }
}

/// The clusters that have a share in each of N points, and the points' log densities.
struct MixtureShares: ~Copyable {
  /// K.
  let clusters: Int
  /// How many clusters have a share in a point: N.
  let count: Scratch<Int32>
  /// Their numbers, ascending, for point n from n K on.
  let cluster: Scratch<Int32>
  /// r_kn of each.
  let share: Scratch<Double>
  /// ℓ_n: N.
  let logDensity: Scratch<Double>
  /// The cluster of the largest share: N.
  let home: Scratch<Int32>

  /// Room for N points and K clusters.
  init(points N: Int, clusters K: Int) {
    clusters = K
    count = Scratch(N, repeating: 0)
    cluster = Scratch(N * K, repeating: 0)
    share = Scratch(N * K)
    logDensity = Scratch(N)
    home = Scratch(N, repeating: 0)
  }

  fileprivate var buffers: mk_mixture_result {
    mk_mixture_result(
      count: count.pointer, cluster: cluster.pointer, share: share.pointer,
      log_density: logDensity.pointer, home: home.pointer)
  }
}
