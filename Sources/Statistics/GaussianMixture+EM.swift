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
//
// Without a floor, or with one that rounding swallows, a cluster can shrink to a point or a plane, where the
// likelihood has no bound and rounding decides. A cluster whose new covariance has become singular to
// rounding (MixtureEvaluator.isSound) keeps the one it had: μ_k and π_k alone are then the M-step's, which
// raises the objective too, if by less (generalised EM, as in the paper, section 3).

import Foundation
public import LinearAlgebra

extension GaussianMixture {
  /// A fitted mixture and how the fit went.
  public struct Fit: Sendable {
    /// The mixture.
    public var mixture: GaussianMixture
    /// The log-likelihood of the data, less the floor's share, before each pass of EM and after the
    /// last [nats]. It never falls by more than rounding, whatever the floor, except in a pass after which
    /// a cluster that had lost its points was started again or dropped.
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
  /// - Throws: `StatisticsError.unusableValue` for data that is not finite, `.weights` for a warm start
  ///   without weights, `.component` for one without a Cholesky factor.
  public static func fitted(
    to points: Matrix, options: Options = Options(), warmStart: GaussianMixture? = nil,
    stream: inout RandomStream
  ) throws(StatisticsError) -> Fit {
    let whitening = try Whitening(of: points)
    let run = try prepared(
      for: points, in: whitening, options: options,
      warmStart: warmStart.map { whitening.whitened($0) }, stream: &stream)
    return unwhitened(try run.fit(), by: whitening, points: points.columns)
  }

  /// Fits a mixture by expectation maximisation on several workers; the same mixture for any number of
  /// them.
  ///
  /// - Parameters:
  ///   - points: d × N, N > 0, one point a column.
  ///   - options: how.
  ///   - warmStart: a mixture in d dimensions, such as that of the previous iteration.
  ///   - stream: where seeds are drawn from.
  ///   - workers: how many tasks share the work.
  /// - Returns: the mixture in the units of the data, with the course of the fit.
  /// - Throws: `StatisticsError`, as without workers.
  public static func fitted(
    to points: Matrix, options: Options = Options(), warmStart: GaussianMixture? = nil,
    stream: inout RandomStream, workers: Int
  ) async throws(StatisticsError) -> Fit {
    let whitening = try Whitening(of: points)
    let run = try prepared(
      for: points, in: whitening, options: options,
      warmStart: warmStart.map { whitening.whitened($0) }, stream: &stream)
    return unwhitened(
      try await run.fit(workers: workers), by: whitening, points: points.columns)
  }

  /// A run of EM in whitened coordinates, from a mixture in whitened coordinates if there is one.
  static func prepared(
    for points: Matrix, in whitening: Whitening, options: Options, warmStart: GaussianMixture?,
    stream: inout RandomStream
  ) throws(StatisticsError) -> ExpectationMaximization {
    try warmStart?.requireWeights()
    let (d, N) = (points.rows, points.columns)
    precondition(d > 0 && N > 0, "no points to fit a mixture to")
    precondition(
      (warmStart?.dimension ?? d) == d,
      "a warm start in \(warmStart?.dimension ?? d) dimensions for \(d)")
    let z = Scratch<Double>(d * N)
    whitening.whiten(points.storage, into: z.pointer)
    let K = options.clusters(forPoints: N)
    let start =
      if let warmStart {
        warmStart.resized(to: K, for: z.pointer, count: N, stream: &stream)
      } else {
        seeded(
          K, for: z.pointer, d: d, count: N, floor: options.covarianceFloor, stream: &stream)
      }
    return ExpectationMaximization(points: z, start: start, options: options)
  }

  private static func unwhitened(_ fit: Fit, by whitening: Whitening, points N: Int) -> Fit {
    var fit = fit
    fit.mixture = whitening.unwhitened(fit.mixture)
    // A density in the data's units is that in whitened ones over the product of the scales.
    let shift = Double(N) * whitening.scale.reduce(0) { $0 + log($1) }
    fit.objectives = fit.objectives.map { $0 - shift }
    return fit
  }
}
