// Expectation maximisation for a Gaussian mixture (Dempster, Laird and Rubin 1977).
//
//   E:  r_kn = π_k N(z_n; μ_k, Σ_k) / Σ_j π_j N(z_n; μ_j, Σ_j)            (MixtureEvaluator)
//   M:  N_k = Σ_n r_kn,  π_k = N_k / N,  μ_k = Σ_n r_kn z_n / N_k,
//       Σ_k = Σ_n r_kn (z_n − μ_k)(z_n − μ_k)ᵀ / N_k + φ I                (second moments about μ_k)
//
// all in whitened coordinates, so that the floor φ is relative to the data's own variance.
//
// What is maximised. Adding φ I is the exact M-step for data blurred by N(0, φ I), that is, for
// E log N(z_n + noise; μ_k, Σ_k) = log N(z_n; μ_k, Σ_k) − ½ φ tr Σ_k⁻¹ in place of log N. With that
// term in the E-step too, the objective Σ_n log Σ_k π_k exp(…) cannot fall in any pass; without it,
// a floor makes the likelihood of nearly singular clusters fall now and then. For clusters with
// variances far above φ the term vanishes.

import Foundation
public import LinearAlgebra

extension GaussianMixture {
  /// A fitted mixture and how the fit went.
  public struct Fit: Sendable {
    /// The mixture.
    public var mixture: GaussianMixture
    /// The log-likelihood of the data, less the floor's share, before each pass of EM and after the
    /// last [nats]; never falls, except where a cluster was re-seeded.
    public var objectives: [Double]
    /// Passes of EM.
    public var iterations: Int { objectives.count - 1 }
    /// Whether the objective came to rest before the passes ran out.
    public var isConverged: Bool
    /// Clusters that had lost all their points and were started again elsewhere.
    public var reseeded: Int
  }

  /// Fits a mixture by expectation maximisation.
  ///
  /// Starts from `warmStart` as it is (clusters are added by k-means++ or the lightest dropped if its
  /// number is not the one the options ask for), or from k-means++ (Arthur and Vassilvitskii 2007).
  /// Fewer clusters than asked for come back when the data has fewer distinct points.
  ///
  /// - Parameters:
  ///   - points: d × N, N > 0, one point a column.
  ///   - options: how.
  ///   - warmStart: a mixture in d dimensions, such as that of the previous iteration.
  ///   - stream: where seeds are drawn from.
  /// - Returns: the mixture in the units of the data, with the course of the fit.
  /// - Throws: `StatisticsError.unusableValue` for data that is not finite,
  ///   `StatisticsError.component` for a warm start without a Cholesky factor.
  public static func fitted(
    to points: Matrix, options: Options = Options(), warmStart: GaussianMixture? = nil,
    stream: inout RandomStream
  ) throws(StatisticsError) -> Fit {
    let whitening = try Whitening(of: points)
    var fit = try fittedWhitened(
      to: whitening.whitened(points), options: options,
      warmStart: warmStart.map { whitening.whitened($0) }, stream: &stream)
    fit.mixture = whitening.unwhitened(fit.mixture)
    // A density in the data's units is that in whitened ones over the product of the scales.
    let shift = Double(points.columns) * whitening.scale.reduce(0) { $0 + log($1) }
    fit.objectives = fit.objectives.map { $0 - shift }
    return fit
  }

  /// `fitted` for points that are whitened already; the mixture is in whitened coordinates.
  static func fittedWhitened(
    to points: Matrix, options: Options, warmStart: GaussianMixture?, stream: inout RandomStream
  ) throws(StatisticsError) -> Fit {
    let (d, N) = (points.rows, points.columns)
    precondition(d > 0 && N > 0, "no points to fit a mixture to")
    precondition(
      (warmStart?.dimension ?? d) == d,
      "a warm start in \(warmStart?.dimension ?? d) dimensions for \(d)")
    let K = options.clusters(forPoints: N)
    return try points.storage.withUnsafeBufferPointer {
      (buffer) throws(StatisticsError) -> Fit in
      guard let z = buffer.baseAddress else { preconditionFailure("no points") }
      let initial =
        if let warmStart {
          warmStart.resized(to: K, for: z, count: N, stream: &stream)
        } else {
          seeded(K, for: z, d: d, count: N, floor: options.covarianceFloor, stream: &stream)
        }
      let run = ExpectationMaximization(points: z, count: N, start: initial)
      return try run.fit(options)
    }
  }
}

/// One run of EM with its scratch.
private struct ExpectationMaximization: ~Copyable {
  let d: Int
  let N: Int
  let K: Int
  let z: UnsafePointer<Double>
  let weights: Scratch<Double>
  let means: Scratch<Double>
  let covariances: Scratch<Double>
  let evaluator: MixtureEvaluator
  /// N × K.
  let shares: Scratch<Double>
  let logDensities: Scratch<Double>
  let accumulator: MomentAccumulator

  init(points z: UnsafePointer<Double>, count N: Int, start: GaussianMixture) {
    (d, self.N, K, self.z) = (start.dimension, N, start.clusters, z)
    weights = Scratch(K)
    means = Scratch(d * K)
    covariances = Scratch(d * d * K)
    evaluator = MixtureEvaluator(dimension: d, clusters: K, capacity: N)
    shares = Scratch(N * K)
    logDensities = Scratch(N)
    accumulator = MomentAccumulator(dimension: d)
    for k in 0..<K { weights.pointer[k] = start.weights[k] }
    for i in 0..<d * K { means.pointer[i] = start.means.storage[i] }
    for i in 0..<d * d * K { covariances.pointer[i] = start.covariances.storage[i] }
  }

  func fit(_ options: GaussianMixture.Options) throws(StatisticsError) -> GaussianMixture.Fit {
    var objectives: [Double] = []
    objectives.reserveCapacity(options.maxIterations + 1)
    var reseeded = 0
    var isConverged = false
    var rested = true
    for pass in 0...options.maxIterations {
      for k in 0..<K {
        let failure = evaluator.set(
          k, weight: weights.pointer[k], mean: means.pointer + k * d,
          covariance: covariances.pointer + k * d * d, floor: options.covarianceFloor)
        if let failure { throw .component(k, failure) }
      }
      evaluator.evaluate(z, count: N, shares: shares.pointer, logDensities: logDensities.pointer)
      var objective = 0.0
      for n in 0..<N { objective += logDensities.pointer[n] }
      if let last = objectives.last, rested {
        let scale = max(abs(objective), Double(N))
        isConverged = abs(objective - last) <= options.tolerance * scale
      }
      objectives.append(objective)
      if isConverged || pass == options.maxIterations { break }
      let empty = maximize(floor: options.covarianceFloor)
      rested = empty.isEmpty
      if !empty.isEmpty {
        // Each cluster gets one new start on average; after that an empty one is dropped.
        reseed(empty, atMost: K - reseeded)
        reseeded += min(empty.count, K - reseeded)
      }
    }
    return GaussianMixture.Fit(
      mixture: mixture(), objectives: objectives, isConverged: isConverged, reseeded: reseeded)
  }

  /// The M-step; returns the clusters that hold less than half a point.
  private func maximize(floor: Double) -> [Int] {
    var empty: [Int] = []
    for k in 0..<K where weights.pointer[k] > 0 {
      let mass = accumulator.moments(
        of: z, count: N, weights: shares.pointer + k * N, mean: means.pointer + k * d,
        covariance: covariances.pointer + k * d * d)
      weights.pointer[k] = mass / Double(N)
      if mass < 0.5 {
        empty.append(k)
        continue
      }
      for i in 0..<d { covariances.pointer[k * d * d + i + d * i] += floor }
    }
    return empty
  }

  /// Puts empty clusters where the data is explained worst, with the mean covariance of the others.
  private func reseed(_ empty: [Int], atMost limit: Int) {
    for k in empty { weights.pointer[k] = 0 }
    let pooled = Scratch<Double>(d * d)
    for k in 0..<K where weights.pointer[k] > 0 {
      for i in 0..<d * d {
        pooled.pointer[i] += weights.pointer[k] * covariances.pointer[k * d * d + i]
      }
    }
    for k in empty.prefix(max(0, limit)) {
      var worst = 0
      for n in 1..<N where logDensities.pointer[n] < logDensities.pointer[worst] { worst = n }
      logDensities.pointer[worst] = .infinity
      for i in 0..<d { means.pointer[k * d + i] = z[worst * d + i] }
      for i in 0..<d * d { covariances.pointer[k * d * d + i] = pooled.pointer[i] }
      weights.pointer[k] = 1 / Double(N)
    }
    var total = 0.0
    for k in 0..<K { total += weights.pointer[k] }
    for k in 0..<K { weights.pointer[k] /= total }
  }

  /// The present parameters, dropped clusters left out.
  private func mixture() -> GaussianMixture {
    let kept = (0..<K).filter { weights.pointer[$0] > 0 }
    var means = Matrix(rows: d, columns: kept.count)
    var covariances = MatrixSequence(rows: d, columns: d, count: kept.count)
    var total = 0.0
    for k in kept { total += weights.pointer[k] }
    for (target, k) in kept.enumerated() {
      for i in 0..<d { means[i, target] = self.means.pointer[k * d + i] }
      for j in 0..<d {
        for i in 0..<d {
          // Only lower triangles are kept up to date.
          let lower = k * d * d + max(i, j) + d * min(i, j)
          covariances.storage[target * d * d + i + d * j] = self.covariances.pointer[lower]
        }
      }
    }
    return GaussianMixture(
      weights: kept.map { weights.pointer[$0] / total }, means: means, covariances: covariances)
  }
}

/// Weighted means and centred second moments; points of weight 0 cost nothing.
private struct MomentAccumulator: ~Copyable {
  static let block = 256
  let d: Int
  private let columns: Scratch<Double>

  init(dimension: Int) {
    d = dimension
    columns = Scratch(dimension * Self.block)
  }

  /// Writes the mean, and the covariance's lower triangle; both stay as they are if no point has
  /// weight.
  ///
  /// - Returns: the sum of the weights.
  func moments(
    of z: UnsafePointer<Double>, count N: Int, weights: UnsafePointer<Double>,
    mean: UnsafeMutablePointer<Double>, covariance: UnsafeMutablePointer<Double>
  ) -> Double {
    var mass = 0.0
    for n in 0..<N { mass += weights[n] }
    if !(mass > 0) { return 0 }
    for i in 0..<d { mean[i] = 0 }
    for n in 0..<N where weights[n] > 0 {
      let share = weights[n] / mass
      let point = z + n * d
      for i in 0..<d { mean[i] += share * point[i] }
    }
    var filled = 0
    var keep = 0.0
    for n in 0..<N where weights[n] > 0 {
      let root = (weights[n] / mass).squareRoot()
      let point = z + n * d
      let column = columns.pointer + filled * d
      for i in 0..<d { column[i] = root * (point[i] - mean[i]) }
      filled += 1
      if filled == Self.block {
        Kernels.syrkLower(n: d, k: filled, alpha: 1, columns.pointer, d, keep, covariance, d)
        keep = 1
        filled = 0
      }
    }
    if filled > 0 || keep == 0 {
      Kernels.syrkLower(n: d, k: filled, alpha: 1, columns.pointer, d, keep, covariance, d)
    }
    return mass
  }
}

extension GaussianMixture {
  /// Passes of Lloyd's algorithm between k-means++ and EM.
  private static let lloydPasses = 3

  /// A first mixture: k-means++, a few passes of k-means, and the clusters' moments, drawn towards
  /// the pooled covariance where a cluster has few points for its d dimensions.
  private static func seeded(
    _ K: Int, for z: UnsafePointer<Double>, d: Int, count N: Int, floor: Double,
    stream: inout RandomStream
  ) -> GaussianMixture {
    let nearest = Scratch<Double>(N, repeating: .infinity)
    let first = stream.index(below: N)
    var centers = [first].map { Array(UnsafeBufferPointer(start: z + $0 * d, count: d)) }
    extend(&centers, to: K, for: z, d: d, count: N, nearest: nearest.pointer, stream: &stream)

    let count = centers.count
    var means = Matrix(rows: d, columns: count)
    for (k, center) in centers.enumerated() { means.setColumn(k, to: center) }
    let home = Scratch<Int>(N, repeating: 0)
    var sizes = [Int](repeating: 0, count: count)
    for pass in 0...lloydPasses {
      means.storage.withUnsafeMutableBufferPointer { mu in
        guard let mu = mu.baseAddress else { return }
        for n in 0..<N {
          var smallest = Double.infinity
          for k in 0..<count {
            let distance = squaredDistance(z + n * d, mu + k * d, d)
            if distance < smallest { (smallest, home.pointer[n]) = (distance, k) }
          }
        }
        for k in 0..<count { sizes[k] = 0 }
        for n in 0..<N { sizes[home.pointer[n]] += 1 }
        if pass == lloydPasses { return }
        for k in 0..<count where sizes[k] > 0 { for i in 0..<d { mu[k * d + i] = 0 } }
        for n in 0..<N {
          let k = home.pointer[n]
          for i in 0..<d { mu[k * d + i] += z[n * d + i] / Double(sizes[k]) }
        }
      }
    }

    var covariances = MatrixSequence(rows: d, columns: d, count: count)
    var pooled = [Double](repeating: 0, count: d * d)
    let membership = Scratch<Double>(N)
    let accumulator = MomentAccumulator(dimension: d)
    means.storage.withUnsafeMutableBufferPointer { mu in
      covariances.storage.withUnsafeMutableBufferPointer { sigma in
        guard let mu = mu.baseAddress, let sigma = sigma.baseAddress else { return }
        for k in 0..<count where sizes[k] > 0 {
          for n in 0..<N { membership.pointer[n] = home.pointer[n] == k ? 1 : 0 }
          _ = accumulator.moments(
            of: z, count: N, weights: membership.pointer, mean: mu + k * d,
            covariance: sigma + k * d * d)
          for i in 0..<d * d {
            pooled[i] += Double(sizes[k]) / Double(N) * sigma[k * d * d + i]
          }
        }
        for k in 0..<count {
          let trust = Double(sizes[k]) / Double(sizes[k] + d)
          for i in 0..<d * d {
            sigma[k * d * d + i] = trust * sigma[k * d * d + i] + (1 - trust) * pooled[i]
          }
          for i in 0..<d { sigma[k * d * d + i + d * i] += max(floor, 1e-12) }
        }
      }
    }
    let kept = (0..<count).filter { sizes[$0] > 0 }
    return GaussianMixture(
      weights: sizes.map { Double($0) / Double(N) }, means: means, covariances: covariances
    ).restricted(to: kept)
  }

  /// The mixture with K clusters: the heaviest of its own, and further ones from k-means++ with the
  /// mean covariance of its own.
  private func resized(
    to K: Int, for z: UnsafePointer<Double>, count N: Int, stream: inout RandomStream
  ) -> GaussianMixture {
    if clusters == K { return self }
    if clusters > K {
      // Ties go to the earlier cluster, and the order of those kept does not change.
      let heaviest = (0..<clusters).sorted { (weights[$0], $1) > (weights[$1], $0) }.prefix(K)
      return restricted(to: heaviest.sorted())
    }
    let d = dimension
    let nearest = Scratch<Double>(N, repeating: .infinity)
    var centers = (0..<clusters).map { self.means.column($0) }
    for center in centers {
      for n in 0..<N {
        nearest.pointer[n] = min(nearest.pointer[n], squaredDistance(z + n * d, center, d))
      }
    }
    Self.extend(&centers, to: K, for: z, d: d, count: N, nearest: nearest.pointer, stream: &stream)
    let pooled = moments(weights: weights).covariance
    var means = Matrix(rows: d, columns: centers.count)
    var covariances = MatrixSequence(rows: d, columns: d, count: centers.count)
    for (k, center) in centers.enumerated() {
      means.setColumn(k, to: center)
      covariances[k] = k < clusters ? self.covariances[k] : (1 / Double(K)) * pooled
    }
    let share = 1 / Double(centers.count)
    let old = Double(clusters) / Double(centers.count)
    return GaussianMixture(
      weights: (0..<centers.count).map { $0 < clusters ? old * weights[$0] : share },
      means: means, covariances: covariances)
  }

  /// Adds centres by k-means++: each a point drawn with probability proportional to its squared
  /// distance from the nearest centre. Stops when every point is a centre.
  ///
  /// `nearest` holds those squared distances; the last centre's are taken in here.
  private static func extend(
    _ centers: inout [[Double]], to K: Int, for z: UnsafePointer<Double>, d: Int, count N: Int,
    nearest: UnsafeMutablePointer<Double>, stream: inout RandomStream
  ) {
    while true {
      if let last = centers.last {
        for n in 0..<N { nearest[n] = min(nearest[n], squaredDistance(z + n * d, last, d)) }
      }
      if centers.count >= K { return }
      var total = 0.0
      for n in 0..<N { total += nearest[n] }
      // Below this, what is left are duplicates: the points have deviation 1.
      if total <= 1e-20 * Double(N * d) { return }
      var target = stream.uniform() * total
      var chosen = N - 1
      for n in 0..<N {
        target -= nearest[n]
        if target <= 0 {
          chosen = n
          break
        }
      }
      // Rounding may leave the walk on a point that is a centre already.
      if nearest[chosen] == 0 {
        for n in 0..<N where nearest[n] > nearest[chosen] { chosen = n }
      }
      centers.append(Array(UnsafeBufferPointer(start: z + chosen * d, count: d)))
    }
  }

  /// The mixture of some of its clusters.
  private func restricted(to kept: [Int]) -> GaussianMixture {
    if kept.count == clusters { return self }
    var means = Matrix(rows: dimension, columns: kept.count)
    var covariances = MatrixSequence(rows: dimension, columns: dimension, count: kept.count)
    for (target, k) in kept.enumerated() {
      means.setColumn(target, to: self.means.column(k))
      covariances[target] = self.covariances[k]
    }
    let total = kept.reduce(0) { $0 + weights[$1] }
    return GaussianMixture(
      weights: kept.map { weights[$0] / total }, means: means, covariances: covariances)
  }
}
