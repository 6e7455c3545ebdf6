public import LinearAlgebra

/// What is known about a regression before the data of one time step is seen: a Gaussian mixture over
/// the points z = [inputs; outputs] of all steps, in whitened coordinates.
///
/// At a step, the prior of the joint distribution of z is normal-inverse-Wishart: the clusters are
/// weighted by their mean responsibility for that step's points, and the mixture's mean and full
/// covariance (within plus between clusters) under those weights become μ0 and Φ / n0. With
/// m = n0 = 1 the prior counts as one sample: its data came from other steps and other iterations,
/// where the distribution was another, so that it must not count as the many points it was made
/// from (Levine et al. 2016, arXiv 1504.00702, appendix A.3).
public struct MixturePrior: Sendable, Codable, Equatable {
  /// The change to whitened coordinates.
  public let whitening: Whitening
  /// The mixture, in whitened coordinates.
  public let mixture: GaussianMixture

  /// d, the numbers in a point.
  public var dimension: Int { whitening.dimension }

  /// A prior from its parts.
  public init(whitening: Whitening, mixture: GaussianMixture) {
    precondition(
      mixture.dimension == whitening.dimension,
      "a mixture in \(mixture.dimension) dimensions for \(whitening.dimension)")
    self.whitening = whitening
    self.mixture = mixture
  }

  /// A prior from data.
  ///
  /// - Parameters:
  ///   - points: d × count, count > 0, in the data's own units.
  ///   - options: of the mixture.
  ///   - warmStart: the prior of the previous iteration; its mixture is where EM starts.
  ///   - stream: where seeds are drawn from.
  /// - Returns: the prior.
  /// - Throws: `StatisticsError`.
  public static func fitted(
    to points: Matrix, options: GaussianMixture.Options = GaussianMixture.Options(),
    warmStart: MixturePrior? = nil, stream: inout RandomStream
  ) throws(StatisticsError) -> MixturePrior {
    let (whitening, run) = try prepared(
      for: points, options: options, warmStart: warmStart, stream: &stream)
    return MixturePrior(whitening: whitening, mixture: try run.fit().mixture)
  }

  /// A prior from data, fitted on several workers; the same prior for any number of them.
  ///
  /// - Parameters:
  ///   - points: d × count, count > 0, in the data's own units.
  ///   - options: of the mixture.
  ///   - warmStart: the prior of the previous iteration; its mixture is where EM starts.
  ///   - stream: where seeds are drawn from.
  ///   - workers: how many tasks share the work.
  /// - Returns: the prior.
  /// - Throws: `StatisticsError`.
  public static func fitted(
    to points: Matrix, options: GaussianMixture.Options = GaussianMixture.Options(),
    warmStart: MixturePrior? = nil, stream: inout RandomStream, workers: Int
  ) async throws(StatisticsError) -> MixturePrior {
    let (whitening, run) = try prepared(
      for: points, options: options, warmStart: warmStart, stream: &stream)
    return MixturePrior(
      whitening: whitening, mixture: try await run.fit(workers: workers).mixture)
  }

  private static func prepared(
    for points: Matrix, options: GaussianMixture.Options, warmStart: MixturePrior?,
    stream: inout RandomStream
  ) throws(StatisticsError) -> (Whitening, ExpectationMaximization) {
    let whitening = try Whitening(of: points)
    let start = warmStart.map { whitening.whitened($0.whitening.unwhitened($0.mixture)) }
    return (
      whitening,
      try GaussianMixture.prepared(
        for: points, in: whitening, options: options, warmStart: start, stream: &stream)
    )
  }

  /// The prior of the joint distribution of some points, in whitened coordinates.
  ///
  /// - Parameters:
  ///   - points: d × N, N > 0, whitened.
  ///   - strength: m = n0.
  /// - Returns: μ0, Φ, m and n0 in whitened coordinates.
  /// - Throws: `StatisticsError.component`.
  public func normalInverseWishart(
    for points: Matrix, strength: Double = 1
  ) throws(StatisticsError) -> NormalInverseWishart {
    let shares = try mixture.responsibilities(of: points)
    let weights = (0..<mixture.clusters).map { k in
      (0..<points.columns).reduce(0) { $0 + shares[k, $1] } / Double(points.columns)
    }
    let (mean, covariance) = mixture.moments(weights: weights)
    return NormalInverseWishart(
      mean: mean, scale: strength * covariance, strength: strength, degrees: strength)
  }
}
