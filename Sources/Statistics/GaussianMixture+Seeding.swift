import CMatrixKernels
import LinearAlgebra

extension GaussianMixture {
  /// Passes of Lloyd's algorithm between k-means++ and EM.
  private static let lloydPasses = 3

  /// A first mixture: k-means++, a few passes of k-means, and the clusters' moments, drawn towards
  /// the pooled covariance where a cluster has few points for its d dimensions.
  static func seeded(
    _ K: Int, for z: UnsafePointer<Double>, d: Int, count N: Int, floor: Double,
    stream: inout RandomStream
  ) -> GaussianMixture {
    let nearest = Scratch<Double>(N, repeating: .infinity)
    let distances = Scratch<Double>(N)
    let first = stream.index(below: N)
    var centers = [first].map { Array(UnsafeBufferPointer(start: z + $0 * d, count: d)) }
    extend(
      &centers, to: K, for: z, d: d, count: N, nearest: nearest.pointer,
      distances: distances.pointer, stream: &stream)

    let count = centers.count
    var means = Matrix(rows: d, columns: count)
    for (k, center) in centers.enumerated() { means.setColumn(k, to: center) }
    let home = Scratch<Int>(N, repeating: 0)
    var sizes = [Int](repeating: 0, count: count)
    for pass in 0...lloydPasses {
      means.storage.withUnsafeMutableBufferPointer { mu in
        guard let mu = mu.baseAddress else { return }
        for k in 0..<count {
          squaredDistances(z, N, d, from: mu + k * d, into: distances.pointer)
          for n in 0..<N where k == 0 || distances.pointer[n] < nearest.pointer[n] {
            (nearest.pointer[n], home.pointer[n]) = (distances.pointer[n], k)
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
    let columns = Scratch<Double>(d * ExpectationMaximization.chunk)
    let ones = Scratch<Double>(N, repeating: 1)
    let members = Scratch<Int32>(N, repeating: 0)
    means.storage.withUnsafeMutableBufferPointer { mu in
      covariances.storage.withUnsafeMutableBufferPointer { sigma in
        guard let mu = mu.baseAddress, let sigma = sigma.baseAddress else { return }
        for k in 0..<count where sizes[k] > 0 {
          var count = 0
          for n in 0..<N where home.pointer[n] == k {
            members.pointer[count] = Int32(n)
            count += 1
          }
          _ = scatter(
            of: z, d: d, count: count, points: members.pointer, weights: ones.pointer,
            mean: mu + k * d, columns: columns.pointer, scatter: sigma + k * d * d)
          for i in 0..<d * d {
            pooled[i] += sigma[k * d * d + i] / Double(N)
            sigma[k * d * d + i] /= Double(sizes[k])
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
  func resized(
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
    let distances = Scratch<Double>(N)
    for center in centers {
      squaredDistances(z, N, d, from: center, into: distances.pointer)
      for n in 0..<N { nearest.pointer[n] = min(nearest.pointer[n], distances.pointer[n]) }
    }
    Self.extend(
      &centers, to: K, for: z, d: d, count: N, nearest: nearest.pointer,
      distances: distances.pointer, stream: &stream)
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
  /// `nearest` holds those squared distances; the last centre's are taken in here. `distances` is scratch
  /// for N numbers.
  private static func extend(
    _ centers: inout [[Double]], to K: Int, for z: UnsafePointer<Double>, d: Int, count N: Int,
    nearest: UnsafeMutablePointer<Double>, distances: UnsafeMutablePointer<Double>,
    stream: inout RandomStream
  ) {
    while true {
      if let last = centers.last {
        squaredDistances(z, N, d, from: last, into: distances)
        for n in 0..<N { nearest[n] = min(nearest[n], distances[n]) }
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

/// The squared distances of N points (d × N) from a centre.
private func squaredDistances(
  _ z: UnsafePointer<Double>, _ N: Int, _ d: Int, from center: UnsafePointer<Double>,
  into distances: UnsafeMutablePointer<Double>
) {
  mk_squared_distances(
    Kernels.Variant.best.rawValue, Int64(d), Int64(N), z, center, distances)
}
