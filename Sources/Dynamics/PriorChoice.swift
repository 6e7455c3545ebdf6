import Foundation
import LinearAlgebra
import Statistics

// How much the mixture's word counts against that of the data, by what each predicts of rollouts that were
// left out. Where rollouts stay in a narrow tube the mixture over all steps outweighs what they say of
// the controls; where there are fewer of them than inputs, they say next to nothing without it.

extension LinearGaussianFitter {
  /// The prior strengths that are tried, as shares of the one asked for; 0 is no prior at all.
  static let strengthShares = [1, 0.1, 0.01, 0]
  /// Steps, spread over the horizon, whose rollouts are left out in turn.
  private static let heldOutSteps = 8

  /// The strength under which rollouts are predicted best by the others, and 0 for no prior.
  ///
  /// For every output the squared errors are summed over steps and rollouts; what is compared is the sum of
  /// their logarithms, the likelihood of the errors with the variances that fit them best.
  ///
  /// - Parameters:
  ///   - points: T matrices (2 n + m) × N.
  ///   - inputs: n + m.
  ///   - mixture: the prior.
  ///   - scale: of the outputs over the batch, against rounding.
  /// - Returns: a strength; that of the options where there are too few rollouts to leave any out.
  /// - Throws: `StatisticsError`.
  func strength(
    for points: MatrixSequence, inputs: Int, mixture: MixturePrior, scale: [Double]
  ) throws(StatisticsError) -> Double {
    let (d, N, T) = (points.rows, points.columns, points.count)
    let asked = options.regression.strength
    if N < 3 || asked == 0 { return asked }
    let steps = Set((0..<Self.heldOutSteps).map { ($0 * T + T / 2) / Self.heldOutSteps }).sorted()
    var best = (strength: asked, score: Double.infinity)
    for share in Self.strengthShares {
      var regression = LinearGaussianRegression(options: options.regression)
      regression.options.strength = share * asked
      var squares = [Double](repeating: 0, count: d - inputs)
      for n in 0..<N {
        var others = MatrixSequence(rows: d, columns: N - 1, count: steps.count)
        for (s, t) in steps.enumerated() {
          let (from, to) = (t * N * d, s * (N - 1) * d)
          others.storage.replaceSubrange(
            to..<to + n * d, with: points.storage[from..<from + n * d])
          others.storage.replaceSubrange(
            to + n * d..<to + (N - 1) * d,
            with: points.storage[from + (n + 1) * d..<from + N * d])
        }
        let fit = try regression.fit(
          others, inputCount: inputs, prior: share > 0 ? mixture : nil,
          priorFloor: options.mixture.covarianceFloor)
        for (s, t) in steps.enumerated() {
          let z = (t * N + n) * d
          for i in squares.indices {
            var error = fit.offsets[i, s] - points.storage[z + inputs + i]
            for j in 0..<inputs {
              error +=
                fit.coefficients.storage[(s * inputs + j) * squares.count + i]
                * points.storage[z + j]
            }
            squares[i] += error * error
          }
        }
      }
      let score = squares.indices.reduce(0) {
        $0 + log(squares[$1] / Double(steps.count * N) + 1e-20 * scale[$1] * scale[$1])
      }
      if score < best.score { best = (share * asked, score) }
    }
    return best.strength
  }
}
