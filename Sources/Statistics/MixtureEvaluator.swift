// The E-step of a Gaussian mixture: the share of each cluster in each point.
//
//   log p_kn = log π_k − ½ (d log 2π + log |Σ_k|) − ½ ‖W_k (z_n − μ_k)‖²  [− ½ φ tr Σ_k⁻¹],   W_k = L_k⁻¹
//   ℓ_n = log Σ_k p_kn,   r_kn = exp(log p_kn − ℓ_n)
//
//   | W_k    | d × d | inverse of the lower Cholesky factor of Σ_k           |
//   | c_k    |       | everything in log p_kn but the quadratic term         |
//   | shares | N × K | first log p_kn, at the end r_kn; point index fastest  |
//
// The term in brackets belongs to the covariance floor φ; see GaussianMixture+EM.swift.
//
// Almost all shares are zero to working precision, and showing that is cheaper than computing them:
// a sum over the first rows of W_k (z_n − μ_k) bounds log p_kn from above. So the rows are taken in
// bands. The first band is computed for all pairs; then each point's most promising cluster is
// computed in full; then every other pair goes on, band by band, until its bound falls below the
// rounding of the best cluster found. Products with W_k, unlike solves with L_k, run near the
// machine's peak.

import Foundation
import LinearAlgebra

/// The E-step for one mixture, with its scratch.
struct MixtureEvaluator: ~Copyable {
  /// Rows of W_k in one band.
  static let band = 16
  /// Points in one product.
  static let block = 256
  /// Shares below exp(−37) of the largest are below the rounding of 1.
  static let cutoff = 37.0

  let d: Int
  let K: Int
  /// c_k: K numbers, −∞ for a cluster of weight 0.
  let constants: Scratch<Double>
  /// W_k: K matrices d × d, lower triangular.
  let whiteners: Scratch<Double>
  /// μ_k: d × K.
  let means: Scratch<Double>
  private let factor: Scratch<Double>
  private let centered: Scratch<Double>
  private let product: Scratch<Double>
  private let list: Scratch<Int>
  /// For each point, its most promising cluster and the sum of its shares.
  private let home: Scratch<Int>
  private let sums: Scratch<Double>
  private let capacity: Int

  /// Scratch for mixtures of K clusters in d dimensions and at most `capacity` points at a time.
  init(dimension d: Int, clusters K: Int, capacity: Int) {
    self.d = d
    self.K = K
    self.capacity = capacity
    constants = Scratch(K)
    whiteners = Scratch(K * d * d)
    means = Scratch(d * K)
    factor = Scratch(d * d)
    centered = Scratch(d * Self.block)
    product = Scratch(Self.band * Self.block)
    list = Scratch(Self.block, repeating: 0)
    home = Scratch(capacity, repeating: 0)
    sums = Scratch(capacity)
  }

  /// Takes over the parameters of a mixture.
  func load(_ mixture: GaussianMixture) throws(StatisticsError) {
    for k in 0..<K {
      let start = k * d * d
      let failure = mixture.covariances.storage.withUnsafeBufferPointer { sigma in
        mixture.means.storage.withUnsafeBufferPointer { mu -> LinearAlgebraError? in
          guard let sigma = sigma.baseAddress, let mu = mu.baseAddress else { return nil }
          return set(
            k, weight: mixture.weights[k], mean: mu + k * d, covariance: sigma + start, floor: 0)
        }
      }
      if let failure { throw .component(k, failure) }
    }
  }

  /// Takes over the parameters of one cluster.
  ///
  /// - Parameters:
  ///   - k: which.
  ///   - weight: π_k; a cluster of weight 0 takes no part.
  ///   - mean: μ_k, d numbers.
  ///   - covariance: Σ_k, d × d, lower triangle; jitter relative to its trace is added until it
  ///     factors.
  ///   - floor: φ.
  /// - Returns: why Σ_k does not factor, or nil.
  func set(
    _ k: Int, weight: Double, mean: UnsafePointer<Double>, covariance: UnsafePointer<Double>,
    floor: Double
  ) -> LinearAlgebraError? {
    let W = whiteners.pointer + k * d * d
    let L = factor.pointer
    for i in 0..<d { means.pointer[k * d + i] = mean[i] }
    guard weight > 0 else {
      constants.pointer[k] = -.infinity
      return nil
    }
    var trace = 0.0
    for i in 0..<d { trace += covariance[i + d * i] }
    var jitter = 0.0
    var attempt = 0
    while true {
      for j in 0..<d {
        for i in 0..<j { L[i + d * j] = 0 }
        for i in j..<d { L[i + d * j] = covariance[i + d * j] }
        L[j + d * j] += jitter
      }
      let minor = Kernels.choleskyLower(n: d, L, d)
      if minor == 0 { break }
      if attempt == 10 { return .notPositiveDefinite(leadingMinor: minor, size: d) }
      jitter = attempt == 0 ? max(1e-12 * trace / Double(d), 1e-300) : 10 * jitter
      attempt += 1
    }
    var halfLogDeterminant = 0.0
    for i in 0..<d { halfLogDeterminant += log(L[i + d * i]) }
    for j in 0..<d {
      for i in 0..<d { W[i + d * j] = 0 }
      W[j + d * j] = 1
    }
    Kernels.solveLower(n: d, r: d, L, d, W, d)
    // tr Σ⁻¹ = ‖W‖².
    let penalty = floor > 0 ? 0.5 * floor * sumOfSquares(W, d * d) : 0
    constants.pointer[k] =
      log(weight) - 0.5 * Double(d) * log(2 * Double.pi) - halfLogDeterminant - penalty
    return nil
  }

  /// Shares and log densities of points.
  ///
  /// - Parameters:
  ///   - z: d × N.
  ///   - N: how many points.
  ///   - shares: N × K, written.
  ///   - logDensities: ℓ_n, N numbers, written.
  func evaluate(
    _ z: UnsafePointer<Double>, count N: Int, shares: UnsafeMutablePointer<Double>,
    logDensities: UnsafeMutablePointer<Double>
  ) {
    precondition(N <= capacity, "\(N) points for scratch of \(capacity)")
    firstBand(z, N, shares)
    if d > Self.band { remainingBands(z, N, shares, best: logDensities) }
    normalize(N, shares, logDensities)
  }

  /// The bound on log p_kn from the first band, for all pairs; exact if there is no other band.
  private func firstBand(
    _ z: UnsafePointer<Double>, _ N: Int, _ logs: UnsafeMutablePointer<Double>
  ) {
    let rows = min(Self.band, d)
    for k in 0..<K {
      let constant = constants.pointer[k]
      let mu = means.pointer + k * d
      let out = logs + k * N
      if constant == -.infinity {
        for n in 0..<N { out[n] = -.infinity }
        continue
      }
      var start = 0
      while start < N {
        let count = min(Self.block, N - start)
        for q in 0..<count {
          let point = z + (start + q) * d
          for i in 0..<rows { centered.pointer[q * rows + i] = point[i] - mu[i] }
        }
        Kernels.gemm(
          m: rows, n: count, k: rows, whiteners.pointer + k * d * d, d, centered.pointer, rows, 0,
          product.pointer, rows)
        for q in 0..<count {
          out[start + q] = constant - 0.5 * sumOfSquares(product.pointer + q * rows, rows)
        }
        start += count
      }
    }
  }

  private func remainingBands(
    _ z: UnsafePointer<Double>, _ N: Int, _ logs: UnsafeMutablePointer<Double>,
    best: UnsafeMutablePointer<Double>
  ) {
    // The most promising cluster of each point, in full.
    for n in 0..<N {
      best[n] = logs[n]
      home.pointer[n] = 0
    }
    for k in 1..<max(1, K) {
      let bounds = logs + k * N
      for n in 0..<N where bounds[n] > best[n] {
        best[n] = bounds[n]
        home.pointer[n] = k
      }
    }
    for n in 0..<N { best[n] = -.infinity }
    for k in 0..<K {
      eachBlock(N, where: { home.pointer[$0] == k }) { goOn(k, $0, z, N, logs, best) }
    }
    for k in 0..<K where constants.pointer[k] > -.infinity {
      let bounds = logs + k * N
      eachBlock(N) { n in
        if home.pointer[n] == k { return false }
        if bounds[n] >= best[n] - Self.cutoff { return true }
        bounds[n] = -.infinity
        return false
      } body: {
        goOn(k, $0, z, N, logs, best)
      }
    }
  }

  /// Collects the indices that satisfy a condition into `list` and calls `body` with their number
  /// whenever a block is full.
  @inline(__always)
  private func eachBlock(
    _ N: Int, where condition: (Int) -> Bool, body: (_ count: Int) -> Void
  ) {
    var count = 0
    for n in 0..<N where condition(n) {
      list.pointer[count] = n
      count += 1
      if count == Self.block {
        body(count)
        count = 0
      }
    }
    if count > 0 { body(count) }
  }

  /// Adds the bands after the first to log p_kn of the points in `list`, dropping a point when its
  /// bound falls below the rounding of its best cluster.
  private func goOn(
    _ k: Int, _ count: Int, _ z: UnsafePointer<Double>, _ N: Int,
    _ logs: UnsafeMutablePointer<Double>, _ best: UnsafeMutablePointer<Double>
  ) {
    let values = logs + k * N
    let mu = means.pointer + k * d
    var live = count
    var r0 = Self.band
    while r0 < d && live > 0 {
      let r1 = min(r0 + Self.band, d)
      for q in 0..<live {
        let point = z + list.pointer[q] * d
        let column = centered.pointer + q * r1
        for i in 0..<r1 { column[i] = point[i] - mu[i] }
      }
      let rows = r1 - r0
      Kernels.gemm(
        m: rows, n: live, k: r1, whiteners.pointer + k * d * d + r0, d, centered.pointer, r1, 0,
        product.pointer, rows)
      var kept = 0
      for q in 0..<live {
        let n = list.pointer[q]
        let value = values[n] - 0.5 * sumOfSquares(product.pointer + q * rows, rows)
        if value >= best[n] - Self.cutoff {
          values[n] = value
          list.pointer[kept] = n
          kept += 1
        } else {
          values[n] = -.infinity
        }
      }
      live = kept
      r0 = r1
    }
    for q in 0..<live {
      let n = list.pointer[q]
      best[n] = max(best[n], values[n])
    }
  }

  /// ℓ_n = log Σ_k p_kn by the largest term, and the shares.
  private func normalize(
    _ N: Int, _ shares: UnsafeMutablePointer<Double>, _ logDensities: UnsafeMutablePointer<Double>
  ) {
    for n in 0..<N { logDensities[n] = shares[n] }
    for k in 1..<max(1, K) {
      for n in 0..<N { logDensities[n] = max(logDensities[n], shares[k * N + n]) }
    }
    for n in 0..<N { sums.pointer[n] = 0 }
    for k in 0..<K {
      let column = shares + k * N
      for n in 0..<N {
        let gap = column[n] - logDensities[n]
        // `gap` is NaN if the point is infinitely far from every cluster.
        let share = gap == 0 ? 1 : gap > -Self.cutoff ? exp(gap) : 0
        column[n] = share
        sums.pointer[n] += share
      }
    }
    for n in 0..<N where !(sums.pointer[n] > 0) {
      for k in 0..<K where constants.pointer[k] > -.infinity {
        shares[k * N + n] = 1
        sums.pointer[n] += 1
      }
    }
    for n in 0..<N { logDensities[n] += log(sums.pointer[n]) }
    for n in 0..<N { sums.pointer[n] = 1 / sums.pointer[n] }
    for k in 0..<K { for n in 0..<N { shares[k * N + n] *= sums.pointer[n] } }
  }
}
