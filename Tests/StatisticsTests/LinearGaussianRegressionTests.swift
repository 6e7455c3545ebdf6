import GPSTestSupport
import LinearAlgebra
import Testing

@testable import Statistics

@Suite struct LinearGaussianRegressionTests {
  @Test(arguments: 0..<3) func agreesWithNumPy(_ index: Int) throws {
    let reference = try StatisticsFixture.load().regressions[index]
    let (p, q) = (reference.inputs, reference.outputs)
    let d = p + q
    var points = MatrixSequence(rows: d, columns: reference.count, count: reference.steps)
    points.storage = reference.points
    var prior: MixturePrior?
    if let weights = reference.weights, let means = reference.means,
      let covariances = reference.mixtureCovariances
    {
      let K = weights.count
      prior = MixturePrior(
        whitening: try Whitening(of: points),
        mixture: GaussianMixture(
          weights: weights, means: Matrix(rows: d, columns: K, columnMajor: means),
          covariances: sequence(d, K, covariances)))
      #expect(relativeError(prior?.whitening.scale ?? [], reference.scale) < 1e-12)
      #expect(relativeError(prior?.whitening.center ?? [], reference.center) < 1e-12)
    }
    var options = LinearGaussianRegression.Options()
    options.strength = reference.strength
    options.regularization = reference.regularization
    options.covarianceFloor = reference.floor
    let fit = try LinearGaussianRegression(options: options).fit(
      points, inputCount: p, prior: prior)
    // Compared in whitened units: the data mixes six decades.
    let scale = reference.scale
    for t in 0..<reference.steps {
      for i in 0..<q {
        #expect(
          abs(fit.offsets[i, t] - reference.offsets[t * q + i])
            < 1e-7 * (scale[p + i] + abs(reference.offsets[t * q + i])))
        for j in 0..<p {
          let expected = reference.coefficients[t * q * p + i + q * j]
          #expect(
            abs(fit.coefficients[t][i, j] - expected)
              < 1e-7 * (scale[p + i] / scale[j] + abs(expected)))
        }
        for j in 0..<q {
          let expected = reference.covariances[t * q * q + i + q * j]
          #expect(
            abs(fit.covariances[t][i, j] - expected) < 1e-8 * scale[p + i] * scale[p + j])
        }
      }
    }
    #expect(fit.jitteredSteps == 0)
  }

  /// The prior of one step, from the public function, gives the regression's joint covariance.
  @Test func thePriorOfAStepIsTheNormalInverseWishartOfThatStep() throws {
    var stream = RandomStream(seed: 51)
    let points = linearData(p: 5, q: 4, N: 6, T: 8, noise: 0.1, &stream)
    let prior = try MixturePrior.fitted(to: flat(points), stream: &stream)
    var options = LinearGaussianRegression.Options()
    options.strength = 1.7
    options.regularization = 1e-6
    let fit = try LinearGaussianRegression(options: options).fit(
      points, inputCount: 5, prior: prior)
    for t in 0..<8 {
      let white = prior.whitening.whitened(points[t])
      let joint = try prior.normalInverseWishart(for: white, strength: 1.7)
        .posterior(given: white).covarianceEstimate
      var inputs = joint[0..<5, 0..<5]
      for i in 0..<5 { inputs[i, i] += 1e-6 * inputs[i, i] + 1e-12 }
      let F = try CholeskyFactor(inputs).solve(joint[0..<5, 5..<9]).transposed
      for i in 0..<4 {
        for j in 0..<5 {
          let raw = F[i, j] * prior.whitening.scale[5 + i] / prior.whitening.scale[j]
          #expect(abs(fit.coefficients[t][i, j] - raw) < 1e-8 * max(1, abs(raw)))
        }
      }
    }
  }

  /// With many samples and no noise the map itself comes back, with or without a prior.
  @Test(arguments: [false, true]) func noiseFreeDataIsPredictedExactly(_ withPrior: Bool) throws {
    var stream = RandomStream(seed: 52)
    let points = linearData(p: 5, q: 4, N: 40, T: 5, noise: 0, &stream)
    let prior = withPrior ? try MixturePrior.fitted(to: flat(points), stream: &stream) : nil
    var options = LinearGaussianRegression.Options()
    options.strength = 1e-3
    options.regularization = 1e-9
    let fit = try LinearGaussianRegression(options: options).fit(
      points, inputCount: 5, prior: prior)
    #expect(predictionError(fit, points, p: 5) < (withPrior ? 1e-2 : 1e-6))
    try expectSound(fit)
  }

  /// N = 1, N < d, N of duplicates: finite and positive semidefinite, with and without a prior.
  @Test(arguments: [1, 2, 5], [false, true])
  func fewOrEqualSamples(_ N: Int, _ withPrior: Bool) throws {
    var stream = RandomStream(seed: 53).child(.custom, N)
    var points = linearData(p: 9, q: 7, N: N, T: 20, noise: 0.05, &stream)
    for duplicates in [false, true] {
      if duplicates {
        for t in 0..<20 {
          var step = points[t]
          for n in 1..<max(1, N) { step.setColumn(n, to: step.column(0)) }
          points[t] = step
        }
      }
      let prior = withPrior ? try MixturePrior.fitted(to: flat(points), stream: &stream) : nil
      let fit = try LinearGaussianRegression().fit(points, inputCount: 9, prior: prior)
      try expectSound(fit)
      // The fit goes through the mean of its samples whatever the prior.
      for t in 0..<20 {
        let mean = (0..<16).map { i in (0..<N).reduce(0) { $0 + points[t][i, $1] } / Double(N) }
        let predicted = zip(fit.coefficients[t] * Array(mean[0..<9]), fit.offsets.column(t))
          .map { $0 + $1 }
        #expect(relativeError(predicted, Array(mean[9...])) < 1e-9)
      }
    }
  }

  /// Units do not matter: data in nano and giga units gives the same model in those units.
  @Test(arguments: [false, true]) func scalesFromNanoToGiga(_ withPrior: Bool) throws {
    var stream = RandomStream(seed: 54)
    let points = linearData(p: 4, q: 3, N: 7, T: 10, noise: 0.1, &stream)
    let factors = [1e-9, 1e9, 1, 1e-4, 1e9, 1e-9, 1e3]
    var scaled = points
    for e in scaled.storage.indices { scaled.storage[e] *= factors[e % 7] }
    var (one, two) = (RandomStream(seed: 55), RandomStream(seed: 55))
    let a = try LinearGaussianRegression().fit(
      points, inputCount: 4,
      prior: withPrior ? MixturePrior.fitted(to: flat(points), stream: &one) : nil)
    let b = try LinearGaussianRegression().fit(
      scaled, inputCount: 4,
      prior: withPrior ? MixturePrior.fitted(to: flat(scaled), stream: &two) : nil)
    try expectSound(b)
    for t in 0..<10 {
      for i in 0..<3 {
        for j in 0..<4 {
          let back = b.coefficients[t][i, j] * factors[j] / factors[4 + i]
          #expect(abs(a.coefficients[t][i, j] - back) < 1e-5 * max(1, abs(back)))
        }
        for j in 0..<3 {
          let back = b.covariances[t][i, j] / (factors[4 + i] * factors[4 + j])
          #expect(abs(a.covariances[t][i, j] - back) < 1e-6)
        }
      }
    }
  }

  /// Dimensions that never move, in every place and of every magnitude.
  @Test(arguments: [1, -3.7e9, 2.2e-9], [false, true])
  func constantDimensions(_ value: Double, _ withPrior: Bool) throws {
    func fit(_ value: Double) throws -> (LinearGaussianRegression.Fit, MatrixSequence) {
      var stream = RandomStream(seed: 56)
      var points = linearData(p: 4, q: 3, N: 5, T: 12, noise: 0.1, &stream)
      for t in 0..<12 {
        var step = points[t]
        for n in 0..<5 {
          step[2, n] = value
          step[5, n] = value
        }
        points[t] = step
      }
      let prior = withPrior ? try MixturePrior.fitted(to: flat(points), stream: &stream) : nil
      return (try LinearGaussianRegression().fit(points, inputCount: 4, prior: prior), points)
    }
    let (model, points) = try fit(value)
    try expectSound(model)
    let (withZero, _) = try fit(0)
    for t in 0..<12 {
      for i in 0..<3 {
        #expect(model.coefficients[t][i, 2] == 0)
        // Which constant it is makes no difference to what moves.
        for j in 0..<4 where i != 1 {
          #expect(abs(model.coefficients[t][i, j] - withZero.coefficients[t][i, j]) < 1e-9)
        }
      }
      for n in 0..<5 {
        let predicted = model.coefficients[t] * Array(points[t].column(n)[0..<4])
        #expect(abs(predicted[1] + model.offsets[1, t] - value) <= 1e-12 * abs(value))
      }
    }
  }

  /// An input that moves at one step by 1e-6 of what it moves at others, about where it is then, without
  /// noise: its coefficients are what they are.
  @Test(arguments: [(1, 0), (1e-3, 0), (1e-6, 0), (1e-9, 0), (1e-3, 1e3), (1e-6, 1e3)])
  func anInputThatHardlyMovesAtOneStep(_ share: Double, _ origin: Double) throws {
    var stream = RandomStream(seed: 58)
    let F = Matrix([[0.5, -2, 1], [0, 3, 0.25]])
    var points = MatrixSequence(rows: 5, columns: 30, count: 6)
    for t in 0..<6 {
      var step = Matrix(rows: 5, columns: 30)
      for n in 0..<30 {
        var y = stream.normals(3)
        y[1] = origin + (t == 3 ? 0.4 + share * y[1] : y[1])
        // Alone it decides over the second output at this step, so that what it does is seen.
        if t == 3 { y[2] *= share }
        step.setColumn(n, to: y + (F * y))
      }
      points[t] = step
    }
    var options = LinearGaussianRegression.Options()
    options.regularization = 1e-9
    let fit = try LinearGaussianRegression(options: options).fit(
      points, inputCount: 3, prior: nil)
    for t in 0..<6 {
      for j in 0..<3 {
        #expect(abs(fit.coefficients[t][1, j] - F[1, j]) < 1e-3, "step \(t), input \(j)")
      }
    }
  }

  @Test(arguments: [false, true]) func numbersThatAreNoneAreNamed(_ withPrior: Bool) throws {
    var stream = RandomStream(seed: 57)
    var points = linearData(p: 3, q: 2, N: 6, T: 8, noise: 0.1, &stream)
    let prior = withPrior ? try MixturePrior.fitted(to: flat(points), stream: &stream) : nil
    points.storage[(5 * 6 + 4) * 5 + 3] = -.infinity
    #expect(
      throws: StatisticsError.unusableValue(step: 5, point: 4, dimension: 3, value: -.infinity)
    ) { try LinearGaussianRegression().fit(points, inputCount: 3, prior: prior) }
    #expect(
      throws: StatisticsError.unusableValue(step: nil, point: 34, dimension: 3, value: -.infinity)
    ) { try Whitening(of: flat(points)) }
  }

  @Test func optionsNameWhatIsWrong() {
    var options = LinearGaussianRegression.Options()
    #expect(throws: Never.self) { try options.validated() }
    options.regularization = 0
    #expect(
      throws: InvalidOption(key: "regularization", value: "0.0", allowed: "in [1e-12, 1e3]")
    ) { try options.validated() }
    options = .init()
    options.strength = -.infinity
    #expect(throws: InvalidOption.self) { try options.validated() }
  }

  /// The largest error of a prediction on the data, in deviations of the output.
  private func predictionError(
    _ fit: LinearGaussianRegression.Fit, _ points: MatrixSequence, p: Int
  ) -> Double {
    let scale = (try? Whitening(of: points).scale) ?? []
    var largest = 0.0
    for t in 0..<points.count {
      for n in 0..<points.columns {
        let z = points[t].column(n)
        let predicted = fit.coefficients[t] * Array(z[0..<p])
        for i in 0..<points.rows - p {
          let error = abs(predicted[i] + fit.offsets[i, t] - z[p + i]) / scale[p + i]
          largest = max(largest, error)
        }
      }
    }
    return largest
  }

  private func expectSound(
    _ fit: LinearGaussianRegression.Fit, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #expect(
      fit.coefficients.isFinite && fit.offsets.isFinite && fit.covariances.isFinite,
      sourceLocation: sourceLocation)
    for t in 0..<fit.covariances.count {
      let C = fit.covariances[t]
      #expect(C == C.transposed, sourceLocation: sourceLocation)
      #expect(C.diagonal.allSatisfy { $0 > 0 }, sourceLocation: sourceLocation)
      // In units of its own deviations, so that an eigenvalue has a meaning.
      let s = C.diagonal.map { $0.squareRoot() }
      var correlation = C
      for j in 0..<s.count { for i in 0..<s.count { correlation[i, j] /= s[i] * s[j] } }
      let smallest = try correlation.symmetricEigen().values[0]
      #expect(smallest > -1e-10, sourceLocation: sourceLocation)
    }
  }
}

/// T steps of N points [y; F_t y + f_t + noise].
func linearData(
  p: Int, q: Int, N: Int, T: Int, noise: Double, _ stream: inout RandomStream
) -> MatrixSequence {
  var points = MatrixSequence(rows: p + q, columns: N, count: T)
  for t in 0..<T {
    let F = Matrix(rows: q, columns: p, columnMajor: stream.normals(q * p))
    let f = stream.normals(q)
    var step = Matrix(rows: p + q, columns: N)
    for n in 0..<N {
      let y = stream.normals(p)
      let v = F * y
      step.setColumn(n, to: y + (0..<q).map { v[$0] + f[$0] + noise * stream.normal() })
    }
    points[t] = step
  }
  return points
}

/// The points of all steps side by side.
func flat(_ points: MatrixSequence) -> Matrix {
  Matrix(
    rows: points.rows, columns: points.columns * points.count, columnMajor: points.storage)
}
