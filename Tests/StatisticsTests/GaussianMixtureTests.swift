import Foundation
import GPSTestSupport
import LinearAlgebra
import Testing

@testable import Statistics

@Suite struct GaussianMixtureTests {
  @Test(arguments: 0..<4) func expectationMaximizationAgreesWithNumPy(_ index: Int) throws {
    let reference = try StatisticsFixture.load().em[index]
    let (d, K) = (reference.dimension, reference.clusters)
    let points = Matrix(rows: d, columns: reference.count, columnMajor: reference.points)
    let start = GaussianMixture(
      weights: [Double](repeating: 1 / Double(K), count: K),
      means: Matrix(rows: d, columns: K, columnMajor: reference.startMeans),
      covariances: sequence(d, K, reference.startCovariances))
    var options = GaussianMixture.Options()
    options.maxClusters = K
    options.minSamplesPerCluster = 1
    options.maxIterations = reference.passes
    options.tolerance = 0
    options.covarianceFloor = reference.floor
    var stream = RandomStream(seed: 0)
    let fit = try GaussianMixture.fitted(
      to: points, options: options, warmStart: start, stream: &stream)
    #expect(fit.iterations == reference.passes)
    #expect(relativeError(fit.objectives, reference.objectives) < 1e-8)
    #expect(relativeError(fit.mixture.weights, reference.weights) < 1e-6)
    // The data mixes units, so each dimension is compared by its own deviation.
    let scale = try Whitening(of: points).scale
    let means = Matrix(rows: d, columns: K, columnMajor: reference.means)
    let covariances = sequence(d, K, reference.covariances)
    for k in 0..<K {
      let sigma = fit.mixture.covariances[k]
      for i in 0..<d {
        #expect(abs(fit.mixture.means[i, k] - means[i, k]) < 1e-6 * scale[i])
        for j in 0..<d {
          #expect(abs(sigma[i, j] - covariances[k][i, j]) < 1e-6 * scale[i] * scale[j])
        }
      }
    }
    let logLikelihood = try fit.mixture.logDensities(of: points).reduce(0, +)
    #expect(abs(logLikelihood - reference.logLikelihood) < 1e-6 * abs(reference.logLikelihood))
  }

  /// Bands, bounds and cutoffs against the plain formula, at more dimensions than one band.
  @Test(arguments: [(3, 4), (16, 3), (17, 5), (40, 6)])
  func densitiesAndResponsibilitiesAgreeWithThePlainFormula(_ d: Int, _ K: Int) throws {
    var stream = RandomStream(seed: 31).child(.custom, d, K)
    // Overlapping clusters, so that several take part in a point.
    let mixture = randomMixture(d, K, spread: 0.2, &stream)
    let points = draw(600, from: mixture, &stream)
    let densities = try mixture.logDensities(of: points)
    let shares = try mixture.responsibilities(of: points)
    let components = try (0..<K).map {
      try Gaussian(mean: mixture.means.column($0), covariance: mixture.covariances[$0])
    }
    var mixed = 0
    for n in 0..<600 {
      let logs = (0..<K).map {
        log(mixture.weights[$0]) + components[$0].logDensity(points.column(n))
      }
      let largest = logs.max() ?? 0
      let total = largest + log(logs.reduce(0) { $0 + exp($1 - largest) })
      #expect(abs(densities[n] - total) < 1e-9 * max(1, abs(total)))
      for k in 0..<K { #expect(abs(shares[k, n] - exp(logs[k] - total)) < 1e-10) }
      if shares.column(n).filter({ $0 > 1e-3 }).count > 1 { mixed += 1 }
    }
    #expect(mixed > 60)
  }

  @Test(arguments: [(2, 3, 300), (8, 5, 400), (30, 4, 200)])
  func theObjectiveNeverFalls(_ d: Int, _ K: Int, _ N: Int) throws {
    var stream = RandomStream(seed: 32).child(.custom, d, K)
    let points = draw(N, from: randomMixture(d, K, spread: 1, &stream), &stream)
    var options = GaussianMixture.Options()
    options.maxClusters = 2 * K
    options.minSamplesPerCluster = 5
    options.tolerance = 0
    options.maxIterations = 60
    // With 200 points in 30 dimensions clusters are singular but for the floor.
    options.covarianceFloor = 1e-3
    let fit = try GaussianMixture.fitted(to: points, options: options, stream: &stream)
    #expect(fit.reseeded == 0 && fit.iterations > 1)
    for (before, after) in zip(fit.objectives, fit.objectives.dropFirst()) {
      #expect(after >= before - 1e-9 * abs(before))
    }
    #expect((fit.objectives.last ?? 0) > (fit.objectives.first ?? 0))
  }

  /// Without a floor clusters shrink to planes and points, where the likelihood has no bound.
  @Test(
    arguments: [(2, 3, 300), (8, 5, 400), (30, 4, 200), (3, 20, 60), (2, 15, 40)],
    [0, 1e-14, 1e-9])
  func theObjectiveNeverFallsWithoutAFloor(_ size: (Int, Int, Int), _ floor: Double) throws {
    let (d, K, N) = size
    var stream = RandomStream(seed: 42).child(.custom, d, K)
    var points = draw(N, from: randomMixture(d, min(K, 5), spread: 1, &stream), &stream)
    // Duplicates, and points on a line, on which a cluster can lie.
    for n in 0..<N / 5 { points.setColumn(n, to: points.column(0)) }
    for n in N / 5..<N / 3 { for i in 1..<d { points[i, n] = 0.3 } }
    var options = GaussianMixture.Options()
    options.maxClusters = 2 * K
    options.minSamplesPerCluster = 2
    options.tolerance = 0
    options.maxIterations = 80
    options.covarianceFloor = floor
    let fit = try GaussianMixture.fitted(to: points, options: options, stream: &stream)
    #expect(fit.iterations > 1)
    // Where a cluster was started again the objective may fall.
    if fit.reseeded == 0 {
      for (before, after) in zip(fit.objectives, fit.objectives.dropFirst()) {
        #expect(after >= before - 1e-6 * abs(before), "\(before) to \(after)")
      }
    }
    try expectSound(fit.mixture)
  }

  @Test func aMixtureWithoutWeightsIsRefused() throws {
    var stream = RandomStream(seed: 44)
    let points = Matrix(rows: 2, columns: 30, columnMajor: stream.normals(60))
    let whitening = try Whitening(of: points)
    for weights in [[0.0, 0], [.nan, 1], [-0.5, 1.5], [.infinity, 0]] {
      let mixture = GaussianMixture(
        weights: weights, means: Matrix([[0, 1], [0, 1]]),
        covariances: sequence(2, 2, [1, 0, 0, 1, 1, 0, 0, 1]))
      func expectRefusal(_ body: () throws -> Void) {
        #expect {
          try body()
        } throws: { error in
          guard case StatisticsError.weights = error else { return false }
          return true
        }
      }
      expectRefusal { _ = try mixture.logDensities(of: points) }
      expectRefusal { _ = try mixture.responsibilities(of: points) }
      for maxClusters in [1, 2, 5] {
        var options = GaussianMixture.Options()
        options.maxClusters = maxClusters
        options.minSamplesPerCluster = 3
        expectRefusal {
          var stream = RandomStream(seed: 1)
          _ = try GaussianMixture.fitted(
            to: points, options: options, warmStart: mixture, stream: &stream)
        }
      }
      let prior = MixturePrior(whitening: whitening, mixture: mixture)
      expectRefusal {
        var stream = RandomStream(seed: 1)
        _ = try MixturePrior.fitted(to: points, warmStart: prior, stream: &stream)
      }
      expectRefusal { _ = try prior.normalInverseWishart(for: points) }
      let step = MatrixSequence(repeating: points, count: 2)
      expectRefusal {
        _ = try LinearGaussianRegression().fit(step, inputCount: 1, prior: prior)
      }
      // Neither can one be read from a file.
      let coder = JSONEncoder()
      coder.nonConformingFloatEncodingStrategy = .convertToString(
        positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
      let decoder = JSONDecoder()
      decoder.nonConformingFloatDecodingStrategy = .convertFromString(
        positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
      let data = try coder.encode(mixture)
      #expect(throws: DecodingError.self) {
        try decoder.decode(GaussianMixture.self, from: data)
      }
    }
    let sound = randomMixture(2, 3, spread: 1, &stream)
    #expect(
      try JSONDecoder().decode(GaussianMixture.self, from: JSONEncoder().encode(sound)) == sound)
    var torn = try JSONEncoder().encode(sound)
    torn = Data(
      String(decoding: torn, as: UTF8.self).replacing("\"weights\":[", with: "\"weights\":[0.1,")
        .utf8)
    #expect(throws: DecodingError.self) {
      try JSONDecoder().decode(GaussianMixture.self, from: torn)
    }
  }

  @Test func wellSeparatedClustersAreFound() throws {
    var stream = RandomStream(seed: 33)
    let truth = GaussianMixture(
      weights: [0.5, 0.3, 0.2], means: Matrix([[0, 20, -20], [0, 5, 30]]),
      covariances: sequence(2, 3, [1, 0.5, 0.5, 1, 2, 0, 0, 0.5, 1, -0.3, -0.3, 3]))
    let points = draw(3000, from: truth, &stream)
    var options = GaussianMixture.Options()
    options.maxClusters = 3
    let fit = try GaussianMixture.fitted(to: points, options: options, stream: &stream)
    #expect(fit.isConverged)
    let order = (0..<3).sorted { fit.mixture.weights[$0] > fit.mixture.weights[$1] }
    for (k, found) in order.enumerated() {
      #expect(abs(fit.mixture.weights[found] - truth.weights[k]) < 0.04)
      #expect(relativeError(fit.mixture.means.column(found), truth.means.column(k)) < 0.1)
      #expect(
        relativeError(fit.mixture.covariances[found].storage, truth.covariances[k].storage) < 0.2)
    }
  }

  @Test func aWarmStartConvergesInFewPasses() throws {
    var stream = RandomStream(seed: 34)
    let truth = randomMixture(10, 6, spread: 3, &stream)
    var options = GaussianMixture.Options()
    options.maxClusters = 6
    let cold = try GaussianMixture.fitted(
      to: draw(900, from: truth, &stream), options: options, stream: &stream)
    let warm = try GaussianMixture.fitted(
      to: draw(900, from: truth, &stream), options: options, warmStart: cold.mixture,
      stream: &stream)
    #expect(warm.isConverged && warm.iterations < cold.iterations)
    // The same data again is at rest at once.
    let again = draw(900, from: truth, &stream)
    let first = try GaussianMixture.fitted(to: again, options: options, stream: &stream)
    let second = try GaussianMixture.fitted(
      to: again, options: options, warmStart: first.mixture, stream: &stream)
    #expect(second.isConverged && second.iterations <= 2)
  }

  @Test(arguments: [2, 9]) func aWarmStartTakesMoreOrFewerClusters(_ clusters: Int) throws {
    var stream = RandomStream(seed: 35)
    let truth = randomMixture(4, 5, spread: 3, &stream)
    let points = draw(500, from: truth, &stream)
    var options = GaussianMixture.Options()
    options.maxClusters = clusters
    let fit = try GaussianMixture.fitted(
      to: points, options: options, warmStart: truth, stream: &stream)
    #expect(fit.mixture.clusters == clusters)
    try expectSound(fit.mixture)
  }

  @Test func oneFarOutlier() throws {
    var stream = RandomStream(seed: 36)
    for dimension in [2, 59] {
      var points = draw(300, from: randomMixture(dimension, 3, spread: 1, &stream), &stream)
      for i in 0..<dimension { points[i, 17] = 1e4 }
      let fit = try GaussianMixture.fitted(to: points, stream: &stream)
      try expectSound(fit.mixture)
      #expect(fit.objectives.allSatisfy { $0.isFinite })
    }
  }

  @Test func duplicatesTakeNoMoreClustersThanThereArePoints() throws {
    var stream = RandomStream(seed: 37)
    var options = GaussianMixture.Options()
    options.minSamplesPerCluster = 2
    for distinct in [1, 2, 3] {
      var points = Matrix(rows: 4, columns: 60)
      for n in 0..<60 {
        points.setColumn(n, to: [Double(n % distinct), 1, -2, Double(n % distinct)])
      }
      let fit = try GaussianMixture.fitted(to: points, options: options, stream: &stream)
      #expect(fit.mixture.clusters <= distinct)
      try expectSound(fit.mixture)
    }
  }

  @Test func twentyClustersOnFortyPointsInFiftyNineDimensions() throws {
    var stream = RandomStream(seed: 38)
    var options = GaussianMixture.Options()
    options.minSamplesPerCluster = 2
    let points = Matrix(rows: 59, columns: 40, columnMajor: stream.normals(59 * 40))
    let fit = try GaussianMixture.fitted(to: points, options: options, stream: &stream)
    #expect(fit.mixture.clusters > 1 && fit.mixture.clusters <= 20)
    try expectSound(fit.mixture)
  }

  @Test func anEmptyClusterIsStartedAgain() throws {
    var stream = RandomStream(seed: 39)
    let truth = GaussianMixture(
      weights: [0.5, 0.5], means: Matrix([[-10, 10], [0, 0]]),
      covariances: sequence(2, 2, [1, 0, 0, 1, 1, 0, 0, 1]))
    let points = draw(200, from: truth, &stream)
    // The second cluster begins where no point is.
    let start = GaussianMixture(
      weights: [0.5, 0.5], means: Matrix([[0, 1e5], [0, 1e5]]),
      covariances: sequence(2, 2, [100, 0, 0, 1, 1e-4, 0, 0, 1e-4]))
    var options = GaussianMixture.Options()
    options.maxClusters = 2
    options.tolerance = 1e-8
    let fit = try GaussianMixture.fitted(
      to: points, options: options, warmStart: start, stream: &stream)
    #expect(fit.reseeded >= 1 && fit.mixture.clusters == 2)
    let centers = [fit.mixture.means[0, 0], fit.mixture.means[0, 1]].sorted()
    #expect(abs(centers[0] + 10) < 0.5 && abs(centers[1] - 10) < 0.5)
  }

  @Test func scalesFromNanoToGiga() throws {
    var stream = RandomStream(seed: 40)
    let truth = randomMixture(6, 3, spread: 4, &stream)
    let plain = draw(300, from: truth, &stream)
    let factors = [1e-9, 1e9, 1, 1e-3, 1e6, 1e-6]
    var scaled = plain
    for n in 0..<300 { for i in 0..<6 { scaled[i, n] *= factors[i] } }
    var (one, two) = (RandomStream(seed: 41), RandomStream(seed: 41))
    let a = try GaussianMixture.fitted(to: plain, stream: &one).mixture
    let b = try GaussianMixture.fitted(to: scaled, stream: &two).mixture
    try expectSound(b)
    #expect(relativeError(a.weights, b.weights) < 1e-6)
    for k in 0..<a.clusters {
      for i in 0..<6 { #expect(abs(a.means[i, k] - b.means[i, k] / factors[i]) < 1e-5) }
    }
  }

  @Test func pointsThatAreNoNumbersAreNamed() {
    var stream = RandomStream(seed: 42)
    for bad in [Double.nan, .infinity, 1e200] {
      var points = Matrix(rows: 2, columns: 50, repeating: 1)
      points[1, 7] = bad
      #expect {
        try GaussianMixture.fitted(to: points, stream: &stream)
      } throws: { error in
        guard
          case StatisticsError.unusableValue(step: nil, point: 7, dimension: 1, value: _) = error
        else {
          return false
        }
        return true
      }
    }
  }

  @Test func theNumberOfClustersFollowsTheNumberOfPoints() {
    var options = GaussianMixture.Options()
    options.minSamplesPerCluster = 40
    options.maxClusters = 20
    let expected = [1: 1, 3: 1, 4: 2, 79: 2, 119: 2, 120: 3, 799: 19, 800: 20, 5000: 20]
    for (points, clusters) in expected {
      #expect(options.clusters(forPoints: points) == clusters, "\(points) points")
    }
    options.maxClusters = 1
    #expect(options.clusters(forPoints: 1000) == 1)
  }

  @Test func optionsNameWhatIsWrong() {
    var options = GaussianMixture.Options()
    #expect(throws: Never.self) { try options.validated() }
    options.tolerance = -1
    #expect(
      throws: InvalidOption(key: "tolerance", value: "-1.0", allowed: "in [0, 1)")
    ) { try options.validated() }
    options = .init()
    options.maxClusters = 0
    #expect(throws: InvalidOption.self) { try options.validated() }
    options = .init()
    options.covarianceFloor = .nan
    #expect(throws: InvalidOption.self) { try options.validated() }
  }

  /// By hand: weights 1/4, 3/4, means 0 and 4, variances 1 and 2: mean 3, within 7/4, between 3.
  @Test func momentsWorkedByHand() {
    let mixture = GaussianMixture(
      weights: [0.5, 0.5], means: Matrix([[0, 4]]), covariances: sequence(1, 2, [1, 2]))
    let (mean, covariance) = mixture.moments(weights: [0.25, 0.75])
    #expect(mean == [3] && abs(covariance[0, 0] - 4.75) < 1e-15)
  }

  private func expectSound(
    _ mixture: GaussianMixture, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #expect(
      abs(mixture.weights.reduce(0, +) - 1) < 1e-12 && mixture.means.isFinite
        && mixture.covariances.isFinite, sourceLocation: sourceLocation)
    for k in 0..<mixture.clusters {
      let covariance = mixture.covariances[k]
      #expect(covariance == covariance.transposed, sourceLocation: sourceLocation)
      _ = try CholeskyFactor(covariance)
    }
  }
}

func randomMixture(
  _ d: Int, _ K: Int, spread: Double, _ stream: inout RandomStream
) -> GaussianMixture {
  var covariances = MatrixSequence(rows: d, columns: d, count: K)
  for k in 0..<K {
    let root = Matrix(rows: d, columns: d, columnMajor: stream.normals(d * d))
    covariances[k] = 0.3 * Matrix.identity(d) + (1 / Double(d)) * (root * root.transposed)
  }
  let raw = (0..<K).map { _ in 0.5 + stream.uniform() }
  return GaussianMixture(
    weights: raw.map { $0 / raw.reduce(0, +) },
    means: spread * Matrix(rows: d, columns: K, columnMajor: stream.normals(d * K)),
    covariances: covariances)
}

func draw(_ count: Int, from mixture: GaussianMixture, _ stream: inout RandomStream) -> Matrix {
  let factors = (0..<mixture.clusters).map {
    try? CholeskyFactor(mixture.covariances[$0]).lower
  }
  var points = Matrix(rows: mixture.dimension, columns: count)
  for n in 0..<count {
    var target = stream.uniform()
    var k = 0
    while k < mixture.clusters - 1 && target > mixture.weights[k] {
      target -= mixture.weights[k]
      k += 1
    }
    let noise = (factors[k] ?? .identity(mixture.dimension)) * stream.normals(mixture.dimension)
    points.setColumn(n, to: zip(mixture.means.column(k), noise).map { $0 + $1 })
  }
  return points
}
