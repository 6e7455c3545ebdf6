import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@Suite struct GaussianTests {
  @Test func densityAndDivergenceAgreeWithSciPy() throws {
    for reference in try StatisticsFixture.load().gaussians {
      let d = reference.dimension
      let one = try Gaussian(
        mean: reference.mean,
        covariance: Matrix(rows: d, columns: d, columnMajor: reference.covariance))
      let other = try Gaussian(
        mean: reference.otherMean,
        covariance: Matrix(rows: d, columns: d, columnMajor: reference.otherCovariance))
      #expect(abs(one.logDensity(reference.point) - reference.logDensity) < 1e-11)
      #expect(abs(one.divergence(from: other) - reference.divergence) < 1e-11)
      #expect(abs(one.divergence(from: one)) < 1e-12)
    }
  }

  /// KL(p ‖ q) = E_p[log p − log q], and the draws have the moments they should.
  @Test func samplesAgreeWithDensityDivergenceAndMoments() throws {
    var stream = RandomStream(seed: 21)
    let p = try Gaussian(mean: [1, -2], covariance: Matrix([[2, 0.9], [0.9, 0.7]]))
    let q = try Gaussian(mean: [0.5, -1], covariance: Matrix([[1.5, -0.2], [-0.2, 1]]))
    let N = 100_000
    var sum = 0.0
    var squares = 0.0
    var mean = [0.0, 0.0]
    var second = Matrix(rows: 2, columns: 2)
    for _ in 0..<N {
      let x = p.sample(using: &stream)
      let ratio = p.logDensity(x) - q.logDensity(x)
      sum += ratio
      squares += ratio * ratio
      for i in 0..<2 {
        mean[i] += x[i] / Double(N)
        for j in 0..<2 { second[i, j] += (x[i] - p.mean[i]) * (x[j] - p.mean[j]) / Double(N) }
      }
    }
    let average = sum / Double(N)
    let error = ((squares / Double(N) - average * average) / Double(N)).squareRoot()
    #expect(abs(average - p.divergence(from: q)) < 5 * error)
    for i in 0..<2 {
      #expect(abs(mean[i] - p.mean[i]) < 5 * (p.covariance[i, i] / Double(N)).squareRoot())
      for j in 0..<2 {
        let variance =
          p.covariance[i, i] * p.covariance[j, j] + p.covariance[i, j] * p.covariance[i, j]
        #expect(
          abs(second[i, j] - p.covariance[i, j]) < 5 * (variance / Double(N)).squareRoot())
      }
    }
  }

  @Test func aSingularCovarianceIsRefused() {
    #expect(throws: LinearAlgebraError.notPositiveDefinite(leadingMinor: 2, size: 2)) {
      try Gaussian(mean: [0, 0], covariance: Matrix([[1, 1], [1, 1]]))
    }
    #expect(throws: LinearAlgebraError.self) {
      try Gaussian(mean: [0], covariance: Matrix([[.nan]]))
    }
  }
}

@Suite struct NormalInverseWishartTests {
  /// The fixture absorbs the points one by one, which conjugacy says gives the same.
  @Test func posteriorAgreesWithTheConjugateRecursion() throws {
    let reference = try StatisticsFixture.load().normalInverseWishart
    let d = reference.dimension
    let prior = NormalInverseWishart(
      mean: reference.prior.mean,
      scale: Matrix(rows: d, columns: d, columnMajor: reference.prior.scale),
      strength: reference.prior.strength, degrees: reference.prior.degrees)
    let points = Matrix(rows: d, columns: reference.count, columnMajor: reference.points)
    let posterior = prior.posterior(given: points)
    #expect(relativeError(posterior.mean, reference.mean) < 1e-13)
    #expect(relativeError(posterior.scale.storage, reference.scale) < 1e-13)
    #expect(posterior.strength == reference.strength && posterior.degrees == reference.degrees)

    let halves = prior.posterior(given: points[0..<d, 0..<3])
      .posterior(given: points[0..<d, 3..<reference.count])
    #expect(relativeError(halves.scale.storage, posterior.scale.storage) < 1e-13)
    #expect(prior.posterior(given: Matrix(rows: d, columns: 0)) == prior)
  }

  /// By hand: d = 1, μ0 = 0, Φ = 1, m = 1, n0 = 1, points 1 and 3. Mean 2, scatter 2, gap term
  /// (2 · 1 / 3) · 4 = 8/3, so Φ' = 17/3 over n0' = 3, and μ0' = 4/3.
  @Test func workedByHand() {
    let prior = NormalInverseWishart(mean: [0], scale: Matrix([[1]]), strength: 1, degrees: 1)
    let posterior = prior.posterior(given: Matrix([[1, 3]]))
    #expect(abs(posterior.covarianceEstimate[0, 0] - 17.0 / 9) < 1e-15)
    #expect(abs(posterior.mean[0] - 4.0 / 3) < 1e-15)
  }
}
