import GuidedPolicySearch

extension BenchmarkRunner {
  /// Dynamics fits: alone, with a mixture prior that is given, and with EM.
  public func timeDynamics() async {
    let (n, m) = stateControlSizes(default: [(26, 7)])[0]
    let (T, N, M) = (settings.horizon ?? 100, settings.samples ?? 10, settings.conditions ?? 4)
    let K = GaussianMixture.Options().clusters(forPoints: 20 * T)
    let trajectories = BenchmarkInputs.trajectories(n: n, m: m, T: T, N: N, M: M)
    let points = trajectories.map(BenchmarkInputs.points)
    let sizes = [
      BenchmarkSize("nx", n), BenchmarkSize("nu", m), BenchmarkSize("M", M),
      BenchmarkSize("T", T), BenchmarkSize("N", N),
    ]
    let fits = BenchmarkUnits(name: "fits", count: Double(M * T))

    for workers in threadCounts {
      _ = await time(
        BenchmarkLine(.dynamics, "fit", sizes: sizes, threads: workers, units: fits)
      ) {
        try await regression(of: points, priors: nil, inputs: n + m, workers: workers)
      }
      let mixtureSizes = sizes + [BenchmarkSize("K", K)]
      _ = await time(
        BenchmarkLine(
          .dynamics, "fit_mixture_prior", sizes: mixtureSizes, threads: workers, units: fits)
      ) {
        let priors = try points.map { try BenchmarkInputs.pooledPrior(of: $0, clusters: K) }
        return try await regression(of: points, priors: priors, inputs: n + m, workers: workers)
      }
      // The whole of the stage: the mixture too, warm-started as from the second iteration on.
      _ = await time(
        BenchmarkLine(.dynamics, "fit_with_em", sizes: sizes, threads: workers, units: fits)
      ) {
        let fitter = LinearGaussianFitter()
        let stream = RandomStream(seed: BenchmarkInputs.Seed.dynamics)
        let priors = try await parallelMap(M, workers: workers) { i in
          try fitter.fit(
            trajectories[i], updating: DynamicsPrior(), condition: i,
            stream: stream.child(.mixture, i)
          ).prior
        }
        var norm: Double?
        return PreparedWork(
          run: {
            let fitted = try await parallelMap(M, workers: workers) { i in
              try fitter.fit(
                trajectories[i], updating: priors[i], condition: i,
                stream: stream.child(.mixture, i)
              ).dynamics
            }
            norm = fitted.reduce(0) { $0 + sumOfSquares($1.transitions.storage) }
          }, check: { norm })
      }
    }
  }

  private func regression(
    of points: [MatrixSequence], priors: [MixturePrior]?, inputs: Int, workers: Int
  ) async throws -> PreparedWork {
    var norm: Double?
    return PreparedWork(
      run: {
        let fits = try await parallelMap(points.count, workers: workers) { i in
          try LinearGaussianRegression().fit(
            points[i], inputCount: inputs, prior: priors?[i])
        }
        norm = fits.reduce(0) { $0 + sumOfSquares($1.coefficients.storage) }
      }, check: { norm })
  }
}
