// Flops of one pass of EM, counted as plain dense algebra that uses symmetry (N points, d dimensions, K
// clusters): the triangular product W (z − μ) and its square for every pair, N K (d² + 2d); moments of
// all points weighted by all shares, N K (d(d+1) + 2d); K Cholesky factors and their inverses, K · ⅔ d³.
// A pass that leaves out shares that are zero computes less than it is counted for.

import GuidedPolicySearch

extension BenchmarkRunner {
  /// Passes of EM in one fit.
  static let passes = 20

  static func mixtureFlops(d: Int, K: Int, N: Int) -> Double {
    let (d, K, N) = (Double(d), Double(K), Double(N))
    return N * K * (d * d + 2 * d) + N * K * (d * (d + 1) + 2 * d) + K * 2 / 3 * d * d * d
  }

  /// A fit of a mixture by a fixed number of passes.
  public mutating func timeMixture() async {
    let peak = await doublePeak()
    let (n, m) = stateControlSizes(default: [(26, 7)])[0]
    let N = (settings.samples ?? 20) * (settings.horizon ?? 100)
    let d = 2 * n + m
    var options = GaussianMixture.Options()
    let K = options.clusters(forPoints: N)
    options.maxIterations = Self.passes
    // A tolerance below zero is never met: every pass is done, even if nothing changes any more.
    (options.tolerance, options.covarianceFloor) = (-1, 1e-6)
    let (points, start) = BenchmarkInputs.clusteredPoints(d: d, K: K, N: N)
    for workers in threadCounts {
      // The workers of a search fit the mixtures of different conditions; so do these.
      let line = BenchmarkLine(
        .mixture, "em",
        sizes: [
          BenchmarkSize("D", d), BenchmarkSize("K", K), BenchmarkSize("N", N),
          BenchmarkSize("iters", Self.passes),
        ], threads: workers,
        flops: Double(Self.passes) * Self.mixtureFlops(d: d, K: K, N: N),
        units: BenchmarkUnits(name: "point_iterations", count: Double(N * Self.passes)))
      _ = await time(line, peak: peak) { [options] in
        var fit: GaussianMixture.Fit?
        return PreparedWork(
          run: {
            let fits = try await parallelMap(workers, workers: workers) { _ in
              var stream = RandomStream(seed: BenchmarkInputs.Seed.mixture)
              return try GaussianMixture.fitted(
                to: points, options: options, warmStart: start, stream: &stream)
            }
            fit = fits.first
          },
          check: {
            guard let fit, fit.iterations == Self.passes, fit.reseeded == 0 else {
              throw BenchmarkFailure(
                "\(fit?.iterations ?? 0) of \(Self.passes) passes, \(fit?.reseeded ?? 0) clusters lost"
              )
            }
            return try fit.mixture.logDensities(of: points).reduce(0, +) / Double(N)
          }, runsPerCall: Double(workers))
      }
    }
  }
}
