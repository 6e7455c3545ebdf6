// The conjugate prior of a normal distribution with unknown mean and covariance.
//
//   Σ ~ inverse Wishart(Φ, n0),   μ | Σ ~ N(μ0, Σ / m)
//
// Given N points z with mean z̄ and scatter S = Σ_n (z_n − z̄)(z_n − z̄)ᵀ, the posterior is of the same
// kind with
//
//   m' = m + N,  n0' = n0 + N,  μ0' = (m μ0 + N z̄) / (m + N)
//   Φ' = Φ + S + (N m / (N + m)) (z̄ − μ0)(z̄ − μ0)ᵀ
//
// and the covariance estimate that guided policy search uses is Φ' / n0' (Levine et al. 2016,
// arXiv 1504.00702, appendix A.3; Gelman et al., Bayesian Data Analysis, section 3.6).

public import LinearAlgebra

/// The normal-inverse-Wishart distribution of an unknown mean and covariance in d dimensions.
public struct NormalInverseWishart: Sendable, Equatable {
  /// μ0: d numbers.
  public var mean: [Double]
  /// Φ: d × d, symmetric positive semidefinite; about n0 times a covariance.
  public var scale: Matrix
  /// m, the number of points the mean counts for.
  public var strength: Double
  /// n0, the number of points the covariance counts for.
  public var degrees: Double

  /// d.
  public var dimension: Int { mean.count }

  /// A prior from its four parameters.
  public init(mean: [Double], scale: Matrix, strength: Double, degrees: Double) {
    precondition(
      scale.rows == mean.count && scale.columns == mean.count,
      "a \(scale.rows) × \(scale.columns) scale for a mean of \(mean.count)")
    precondition(strength >= 0 && degrees >= 0, "negative strength \(strength) or \(degrees)")
    self.mean = mean
    self.scale = scale
    self.strength = strength
    self.degrees = degrees
  }

  /// The estimate Φ / n0 of the covariance (LFDA16, A.3); not the mode, whose denominator is
  /// n0 + d + 2.
  public var covarianceEstimate: Matrix { (1 / degrees) * scale }

  /// The posterior given points.
  ///
  /// - Parameter points: d × N, one point a column.
  /// - Returns: the distribution with m + N and n0 + N.
  public func posterior(given points: Matrix) -> NormalInverseWishart {
    precondition(
      points.rows == dimension, "\(points.rows) numbers a point for a prior in \(dimension)")
    let (d, N) = (dimension, points.columns)
    if N == 0 { return self }
    var result = self
    let sampleMean = Scratch<Double>(d)
    let columns = Scratch<Double>(d * (N + 1))
    points.storage.withUnsafeBufferPointer { z in
      mean.withUnsafeBufferPointer { mu0 in
        result.scale.storage.withUnsafeMutableBufferPointer { phi in
          guard let z = z.baseAddress, let mu0 = mu0.baseAddress, let phi = phi.baseAddress else {
            return
          }
          let count = Self.fillColumns(
            d: d, N: N, z, prior: mu0, strength: strength, factor: 1,
            sampleMean: sampleMean.pointer, columns: columns.pointer)
          Kernels.syrkLower(n: d, k: count, alpha: 1, columns.pointer, d, 1, phi, d)
          Kernels.mirrorLower(n: d, phi, d)
        }
      }
    }
    let total = strength + Double(N)
    result.mean = (0..<d).map {
      (strength * mean[$0] + Double(N) * sampleMean.pointer[$0]) / total
    }
    result.strength = total
    result.degrees = degrees + Double(N)
    return result
  }

  /// Writes z̄, and columns c for which Σ c cᵀ = factor · (S + (N m / (N + m)) (z̄ − μ0)(z̄ − μ0)ᵀ).
  ///
  /// The one implementation of the formula, on buffers, for hot loops.
  ///
  /// - Parameters:
  ///   - d: numbers a point.
  ///   - N: points, at least 1.
  ///   - z: d × N.
  ///   - mu0: d numbers; not read if `strength` is 0.
  ///   - strength: m.
  ///   - factor: what the sum is multiplied by.
  ///   - sampleMean: d numbers, written.
  ///   - columns: d × (N + 1), written.
  /// - Returns: how many columns.
  static func fillColumns(
    d: Int, N: Int, _ z: UnsafePointer<Double>, prior mu0: UnsafePointer<Double>,
    strength: Double, factor: Double, sampleMean: UnsafeMutablePointer<Double>,
    columns: UnsafeMutablePointer<Double>
  ) -> Int {
    // Means about the first point: exact when all points agree.
    for i in 0..<d { sampleMean[i] = 0 }
    for n in 1..<max(1, N) { for i in 0..<d { sampleMean[i] += z[n * d + i] - z[i] } }
    for i in 0..<d { sampleMean[i] = z[i] + sampleMean[i] / Double(N) }
    let root = factor.squareRoot()
    for n in 0..<N { for i in 0..<d { columns[n * d + i] = root * (z[n * d + i] - sampleMean[i]) } }
    if strength == 0 { return N }
    let weight = (factor * Double(N) * strength / (Double(N) + strength)).squareRoot()
    for i in 0..<d { columns[N * d + i] = weight * (sampleMean[i] - mu0[i]) }
    return N + 1
  }
}
