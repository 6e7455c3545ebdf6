package import Configuration
public import LinearAlgebra

/// A mixture of K normal distributions in d dimensions: Σ_k π_k N(μ_k, Σ_k).
public struct GaussianMixture: Sendable, Equatable, Codable {
  /// π: K numbers that add to 1, none of them negative.
  public let weights: [Double]
  /// μ: d × K, one mean a column.
  public let means: Matrix
  /// Σ: K matrices d × d, symmetric positive definite.
  public let covariances: MatrixSequence

  /// d.
  public var dimension: Int { means.rows }
  /// K.
  public var clusters: Int { weights.count }

  /// A mixture from its parts. Of numbers that make no mixture, fits and densities throw.
  public init(weights: [Double], means: Matrix, covariances: MatrixSequence) {
    precondition(
      !weights.isEmpty && means.columns == weights.count && covariances.count == weights.count
        && covariances.rows == means.rows && covariances.columns == means.rows,
      "\(weights.count) weights, \(means.rows) × \(means.columns) means and \(covariances.count) "
        + "covariances of \(covariances.rows) × \(covariances.columns)")
    self.weights = weights
    self.means = means
    self.covariances = covariances
  }

  /// A stored mixture.
  ///
  /// - Throws: `DecodingError` where the parts do not fit together or the weights are none.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    let weights = try values.decode([Double].self, forKey: .weights)
    let means = try values.decode(Matrix.self, forKey: .means)
    let covariances = try values.decode(MatrixSequence.self, forKey: .covariances)
    let (d, K) = (means.rows, weights.count)
    guard K > 0, means.columns == K, covariances.count == K, covariances.rows == d,
      covariances.columns == d
    else {
      throw DecodingError.dataCorrupted(
        DecodingError.Context(
          codingPath: decoder.codingPath,
          debugDescription: "\(K) weights, \(d) × \(means.columns) means and \(covariances.count) "
            + "covariances of \(covariances.rows) × \(covariances.columns)"))
    }
    self.init(weights: weights, means: means, covariances: covariances)
    do {
      try requireWeights()
    } catch {
      throw DecodingError.dataCorrupted(
        DecodingError.Context(codingPath: decoder.codingPath, debugDescription: "\(error)"))
    }
  }

  /// Refuses weights that are all 0, and any that is negative or not finite.
  func requireWeights() throws(StatisticsError) {
    guard weights.allSatisfy({ $0 >= 0 && $0.isFinite }), weights.contains(where: { $0 > 0 }) else {
      throw .weights(weights)
    }
  }

  /// How a mixture is fitted.
  public struct Options: Sendable, Equatable {
    /// Most clusters.
    public var maxClusters = 20
    /// Points per cluster: the number of clusters is points / minSamplesPerCluster, within bounds.
    public var minSamplesPerCluster = 40
    /// Most passes of EM.
    public var maxIterations = 50
    /// EM stops when the log-likelihood changes by less than this share of its magnitude (or of the
    /// number of points, if that is larger).
    public var tolerance = 1e-4
    /// What each pass adds to the variance of each dimension, as a share of that dimension's variance
    /// over the data.
    public var covarianceFloor = 1e-6

    /// The defaults.
    public init() {}

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options { try checked() }

    /// K for a number of points: clamp(⌊points / minSamplesPerCluster⌋, 2, maxClusters), but never
    /// more than one cluster for two points.
    public func clusters(forPoints points: Int) -> Int {
      let wanted = max(min(points / max(1, minSamplesPerCluster), maxClusters), 2)
      return max(1, min(wanted, maxClusters, points / 2))
    }
  }

  /// log Σ_k π_k N(x; μ_k, Σ_k) of each point [nats].
  ///
  /// - Parameter points: d × N, one point a column.
  /// - Returns: N numbers.
  /// - Throws: `StatisticsError.weights`, or `.component` when a covariance is not positive definite.
  public func logDensities(of points: Matrix) throws(StatisticsError) -> [Double] {
    let shares = try evaluated(at: points)
    return (0..<points.columns).map { shares.logDensity.pointer[$0] }
  }

  /// The probability of each cluster given each point: K × N, columns that add to 1.
  ///
  /// Probabilities below the rounding of 1 are returned as 0.
  ///
  /// - Parameter points: d × N, one point a column.
  /// - Returns: K × N.
  /// - Throws: `StatisticsError.weights`, or `.component` when a covariance is not positive definite.
  public func responsibilities(of points: Matrix) throws(StatisticsError) -> Matrix {
    let shares = try evaluated(at: points)
    var result = Matrix(rows: clusters, columns: points.columns)
    for n in 0..<points.columns {
      for entry in n * clusters..<n * clusters + Int(shares.count.pointer[n]) {
        result[Int(shares.cluster.pointer[entry]), n] = shares.share.pointer[entry]
      }
    }
    return result
  }

  private func evaluated(at points: Matrix) throws(StatisticsError) -> MixtureShares {
    precondition(points.rows == dimension, "\(points.rows) numbers a point for \(dimension)")
    let shares = MixtureShares(points: points.columns, clusters: clusters)
    try evaluate(points.storage, into: shares)
    return shares
  }

  /// The shares of points, d × N in one array.
  func evaluate(
    _ points: [Double], cutoff: Double = MixtureEvaluator.cutoff,
    into shares: borrowing MixtureShares
  ) throws(StatisticsError) {
    let evaluator = MixtureEvaluator(dimension: dimension, clusters: clusters, cutoff: cutoff)
    let workspace = MixtureEvaluator.Workspace(dimension: dimension, clusters: clusters)
    try evaluator.load(self, workspace)
    points.withUnsafeBufferPointer { z in
      guard let base = z.baseAddress else { return }
      evaluator.evaluate(base, 0..<z.count / dimension, into: shares, workspace)
    }
  }

  /// Mean and covariance of the mixture with other weights: μ = Σ_k w_k μ_k,
  /// Σ = Σ_k w_k (Σ_k + (μ_k − μ)(μ_k − μ)ᵀ), within plus between clusters.
  ///
  /// - Parameter weights: K numbers that add to 1.
  /// - Returns: d numbers and d × d.
  public func moments(weights: [Double]) -> (mean: [Double], covariance: Matrix) {
    precondition(weights.count == clusters, "\(weights.count) weights for \(clusters) clusters")
    let d = dimension
    var mean = [Double](repeating: 0, count: d)
    var covariance = Matrix(rows: d, columns: d)
    let columns = Scratch<Double>(d * clusters)
    means.storage.withUnsafeBufferPointer { mu in
      covariances.storage.withUnsafeBufferPointer { sigma in
        weights.withUnsafeBufferPointer { w in
          mean.withUnsafeMutableBufferPointer { mean in
            covariance.storage.withUnsafeMutableBufferPointer { out in
              guard let mu = mu.baseAddress, let sigma = sigma.baseAddress,
                let w = w.baseAddress, let mean = mean.baseAddress, let out = out.baseAddress
              else { return }
              Self.accumulateMoments(
                d: d, K: weights.count, means: mu, covariances: sigma,
                weights: w, factor: 1, mean: mean, columns: columns.pointer, onto: out)
              Kernels.mirrorLower(n: d, out, d)
            }
          }
        }
      }
    }
    return (mean, covariance)
  }

  /// Writes the mean and adds `factor` times the covariance to a lower triangle.
  ///
  /// - Parameters:
  ///   - d: numbers a point.
  ///   - K: clusters.
  ///   - means: d × K.
  ///   - covariances: K matrices d × d.
  ///   - weights: K numbers; clusters of weight 0 cost nothing.
  ///   - factor: what the covariance is multiplied by.
  ///   - mean: d numbers, written.
  ///   - columns: scratch, d × K.
  ///   - result: d × d, lower triangle added to.
  static func accumulateMoments(
    d: Int, K: Int, means: UnsafePointer<Double>, covariances: UnsafePointer<Double>,
    weights: UnsafePointer<Double>, factor: Double, mean: UnsafeMutablePointer<Double>,
    columns: UnsafeMutablePointer<Double>, onto result: UnsafeMutablePointer<Double>
  ) {
    for i in 0..<d { mean[i] = 0 }
    for k in 0..<K where weights[k] > 0 {
      for i in 0..<d { mean[i] += weights[k] * means[k * d + i] }
    }
    var active = 0
    for k in 0..<K where weights[k] > 0 {
      let w = factor * weights[k]
      let root = w.squareRoot()
      for i in 0..<d { columns[active * d + i] = root * (means[k * d + i] - mean[i]) }
      active += 1
      let sigma = covariances + k * d * d
      for j in 0..<d { for i in j..<d { result[i + d * j] += w * sigma[i + d * j] } }
    }
    Kernels.syrkLower(n: d, k: active, alpha: 1, columns, d, 1, result, d)
  }

  /// The mixture after an affine change of coordinates, one dimension at a time.
  func mapped(
    factors: [Double], mean: (_ value: Double, _ dimension: Int) -> Double
  ) -> GaussianMixture {
    precondition(factors.count == dimension, "\(factors.count) factors for \(dimension) dimensions")
    let d = dimension
    var means = self.means
    var covariances = self.covariances
    for k in 0..<clusters {
      for i in 0..<d { means[i, k] = mean(means[i, k], i) }
      for j in 0..<d {
        for i in 0..<d { covariances.storage[k * d * d + i + d * j] *= factors[i] * factors[j] }
      }
    }
    return GaussianMixture(weights: weights, means: means, covariances: covariances)
  }
}

extension GaussianMixture.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field("maxClusters", \.maxClusters, .atLeast(1), "Most clusters.")
    Field(
      "minSamplesPerCluster", \.minSamplesPerCluster, .atLeast(1),
      "Data points per cluster: decides the number of clusters.")
    Field("maxIterations", \.maxIterations, .atLeast(0), "Most passes of EM.")
    Field(
      "tolerance", \.tolerance, .belowOne,
      "EM stops when the log-likelihood changes by less than this share.")
    Field(
      "covarianceFloor", \.covarianceFloor, .share,
      "Added to each dimension's variance, as a share of that over the data.")
  }
}
