import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import PathIntegral
import Statistics
import Testing

@Suite("Residual costs and their update") struct ResidualTests {
  /// A controller that some model-based step might have made.
  private func improved(_ start: LinearGaussianController, _ stream: inout RandomStream) throws
    -> LinearGaussianController
  {
    try RandomProblem.controller(
      state: start.state, control: start.control, horizon: start.horizon, &stream)
  }

  private func start(
    _ problem: Problem, _ stream: inout RandomStream
  ) throws -> LinearGaussianController {
    try RandomProblem.controller(state: 2, control: 1, horizon: problem.dynamics.horizon, &stream)
  }

  @Test(
    "with exact dynamics and a quadratic cost nothing is left, and the step's controller stays",
    arguments: PathIntegralUpdate.CovarianceAdaptation.allCases, [false, true])
  func everythingExplained(
    _ covariance: PathIntegralUpdate.CovarianceAdaptation, _ centersNoise: Bool
  ) throws {
    var stream = RandomStream(seed: 71)
    let problem = try Problem(horizon: 30, &stream)
    let old = try start(problem, &stream)
    let new = try improved(old, &stream)
    let rollouts = problem.rollouts(of: old, count: 12, &stream)
    let costs = rollouts.map { problem.cost.values(along: $0) }
    let modeled = try modeledCosts(
      of: rollouts, under: old, cost: problem.cost, dynamics: problem.dynamics)
    for (costs, modeled) in zip(costs, modeled) { #expect(relativeError(modeled, costs) < 1e-13) }
    let outcome = try PathIntegralUpdate(
      options: .init(covariance: covariance, centersNoise: centersNoise)
    ).residualUpdate(
      new, drawnFrom: old, rollouts: rollouts, costsToGo: costsToGo(costs),
      residualCostsToGo: residualCostsToGo(costs, modeled: modeled))
    #expect(outcome.controller == new)
    #expect(outcome.statuses.allSatisfy { $0 == .explained })
    #expect(outcome.divergences.allSatisfy { $0 == 0 })
    #expect(outcome.effectiveSampleSizes.allSatisfy { $0 == 12 })
    #expect(outcome.expectedImprovement == 0)
    #expect(residualRatios(costs, modeled: modeled).allSatisfy { $0 < 1e-13 })
  }

  @Test(
    "a model that explains nothing leaves PI²",
    arguments: PathIntegralUpdate.CovarianceAdaptation.allCases, [false, true])
  func nothingExplained(
    _ covariance: PathIntegralUpdate.CovarianceAdaptation, _ centersNoise: Bool
  ) throws {
    var stream = RandomStream(seed: 72)
    let problem = try Problem(horizon: 8, &stream)
    let old = try start(problem, &stream)
    let rollouts = problem.rollouts(of: old, count: 12, &stream)
    let costs = rollouts.map { problem.cost.values(along: $0) }
    // A constant cost: LQR has nothing to go by and keeps the controller.
    var flat = QuadraticCost(state: 2, control: 1, horizon: 8)
    flat.constants = flat.constants.map { _ in 0.25 }
    let modeled = try modeledCosts(
      of: rollouts, under: old, cost: flat, dynamics: problem.dynamics)
    let update = PathIntegralUpdate(
      options: try .init(covariance: covariance, centersNoise: centersNoise))
    let residual = try update.residualUpdate(
      old, drawnFrom: old, rollouts: rollouts, costsToGo: costsToGo(costs),
      residualCostsToGo: residualCostsToGo(costs, modeled: modeled))
    let plain = try update.improve(old, rollouts: rollouts, costsToGo: costsToGo(costs))
    #expect(
      relativeError(residual.controller.offsets.storage, plain.controller.offsets.storage) < 1e-11)
    #expect(
      relativeError(
        residual.controller.covariances.storage, plain.controller.covariances.storage) < 1e-11)
    #expect(relativeError(residual.temperatures, plain.temperatures) < 1e-11)
    #expect(abs(residual.expectedImprovement - plain.expectedImprovement) < 1e-11)
  }

  /// The noise of the rollouts, put through the new controller and weighted by hand.
  @Test("in between, the rollouts' noise moves the new controller by the residuals' weights")
  func inBetween() throws {
    var stream = RandomStream(seed: 73)
    let old = try RandomProblem.controller(state: 3, control: 2, horizon: 4, &stream)
    let new = try RandomProblem.controller(state: 3, control: 2, horizon: 4, &stream)
    let rollouts = (0..<9).map { _ in
      rollout(RandomProblem.matrix(3, 5, &stream), RandomProblem.matrix(2, 4, &stream))
    }
    let costs = RandomProblem.matrix(9, 4, scale: 5, &stream)
    let residuals = RandomProblem.matrix(9, 4, scale: 1, &stream)
    let outcome = try PathIntegralUpdate(options: .init(bound: 1, covariance: .none))
      .residualUpdate(
        new, drawnFrom: old, rollouts: rollouts, costsToGo: costs, residualCostsToGo: residuals)
    #expect(outcome.controller.gains == new.gains)
    for t in 0..<4 {
      let whole = try RelativeEntropyWeights(costs: costs.column(t), bound: 1)
      let weights = try RelativeEntropyWeights(
        costs: residuals.column(t), temperature: whole.temperature)
      #expect(outcome.statuses[t] == .withinBound && outcome.weightDivergences[t] < 1)
      #expect(outcome.temperatures[t] == whole.temperature)
      var expected = new.offsets.column(t)
      for (rollout, weight) in zip(rollouts, weights.weights) {
        let mean = zip(old.gains[t] * rollout.states.column(t), old.offsets.column(t)).map(+)
        let gap = zip(rollout.controls.column(t), mean).map { $0 - $1 }
        let noise = denseSolve(old.covarianceFactors[t], gap)
        let moved = new.covarianceFactors[t] * noise
        for i in 0..<2 { expected[i] += weight * moved[i] }
      }
      #expect(relativeError(outcome.controller.offsets.column(t), expected) < 1e-12)
    }
  }

  @Test("residuals larger than the costs stay within the bound")
  func boundHolds() throws {
    var stream = RandomStream(seed: 74)
    let old = try RandomProblem.controller(state: 2, control: 2, horizon: 5, &stream)
    let rollouts = (0..<20).map { _ in
      rollout(RandomProblem.matrix(2, 6, &stream), RandomProblem.matrix(2, 5, &stream))
    }
    let costs = RandomProblem.matrix(20, 5, &stream)
    let residuals = RandomProblem.matrix(20, 5, scale: 100, &stream)
    let outcome = try PathIntegralUpdate().residualUpdate(
      old, drawnFrom: old, rollouts: rollouts, costsToGo: costs, residualCostsToGo: residuals)
    #expect(outcome.weightDivergences.allSatisfy { abs($0 - 1) < 1e-10 })
    #expect(outcome.statuses.allSatisfy { $0 == .atBound })
  }

  @Test("with centred noise a small residual moves little, in proportion")
  func continuity() throws {
    var stream = RandomStream(seed: 75)
    let old = try RandomProblem.controller(state: 2, control: 1, horizon: 5, &stream)
    let rollouts = (0..<10).map { _ in
      rollout(RandomProblem.matrix(2, 6, &stream), RandomProblem.matrix(1, 5, &stream))
    }
    let costs = RandomProblem.matrix(10, 5, &stream)
    let residuals = RandomProblem.matrix(10, 5, &stream)
    let update = PathIntegralUpdate(options: try .init(covariance: .none, centersNoise: true))
    func shift(_ scale: Double) throws -> Double {
      let outcome = try update.residualUpdate(
        old, drawnFrom: old, rollouts: rollouts, costsToGo: costs,
        residualCostsToGo: scale * residuals)
      return (outcome.controller.offsets - old.offsets).largestMagnitude
    }
    let small = try shift(1e-5)
    #expect(small > 0 && small < 1e-3)
    #expect(abs(try shift(2e-5) / small - 2) < 1e-3)
  }

  /// x' = 2 x + u, the model says x' = x + u + ½; gain −1, x_0 = 1, controls 3 and −2 as drawn.
  @Test("the model's rollout has the noise of the real one and states of its own")
  func prediction() throws {
    let dynamics = LinearGaussianDynamics(
      transitions: MatrixSequence(repeating: Matrix([[1, 1]]), count: 2),
      offsets: Matrix([[0.5, 0.5]]), covariances: MatrixSequence(rows: 1, columns: 1, count: 2),
      initialMean: [0], initialCovariance: Matrix(rows: 1, columns: 1))
    let controller = try LinearGaussianController(
      gains: MatrixSequence(repeating: Matrix([[-1]]), count: 2), offsets: Matrix([[0.1, 0.2]]),
      covariances: MatrixSequence(repeating: Matrix([[1]]), count: 2))
    var cost = QuadraticCost(state: 1, control: 1, horizon: 2)
    for t in 0...2 { cost.hessians[t] = Matrix(diagonal: [2, 4]) }
    // x = 1, 5, 8. Model: x̂ = 1, 4.5, then û_1 = −2 − (4.5 − 5) = −1.5 and x̂_2 = 4.5 − 1.5 + 0.5 = 3.5.
    let real = rollout(Matrix([[1, 5, 8]]), Matrix([[3, -2]]))
    let modeled = try modeledCosts(of: [real], under: controller, cost: cost, dynamics: dynamics)
    #expect(modeled == [[1 + 18, 4.5 * 4.5 + 2 * 1.5 * 1.5, 3.5 * 3.5]])
    let costs = [cost.values(along: real)]
    #expect(costs == [[19, 33, 64]])
    let residual = try residualCostsToGo(costs, modeled: modeled)
    #expect(residual[0, 1] == 33 - 24.75 + 64 - 12.25)
    #expect(residual[0, 0] == residual[0, 1])
    let ratios = residualRatios(costs, modeled: modeled)
    #expect(abs(ratios[1] - 60 / 97) < 1e-15 && abs(ratios[0] - 60.0 / 116) < 1e-15)
  }

  @Test("a prediction that explodes is an error with sample and step")
  func explosion() throws {
    let dynamics = LinearGaussianDynamics(
      transitions: MatrixSequence(repeating: Matrix([[1e200, 1]]), count: 3),
      offsets: Matrix(rows: 1, columns: 3),
      covariances: MatrixSequence(rows: 1, columns: 1, count: 3), initialMean: [0],
      initialCovariance: Matrix(rows: 1, columns: 1))
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 1, count: 3), offsets: Matrix(rows: 1, columns: 3),
      covariances: MatrixSequence(repeating: Matrix([[1]]), count: 3))
    var cost = QuadraticCost(state: 1, control: 1, horizon: 3)
    for t in 0...3 { cost.hessians[t] = .identity(2) }
    let still = rollout(Matrix(rows: 1, columns: 4), Matrix(rows: 1, columns: 3))
    var moving = still
    moving.states[0, 0] = 1
    #expect(throws: PathIntegralError.predictionNotFinite(sample: 1, step: 1)) {
      try modeledCosts(of: [still, moving], under: controller, cost: cost, dynamics: dynamics)
    }
  }

  @Test("step sizes shrink where much is left, grow where little is, within their limits")
  func stepSizes() throws {
    var sizes = ResidualStepSizes(horizon: 4)
    sizes.adapt(to: [0.3, 0.1, 0.01, .infinity])
    #expect(sizes.multipliers == [0.5, 1, 2, 0.5])
    for _ in 0..<20 { sizes.adapt(to: [0.3, 0.2, 0.01, .nan]) }
    #expect(sizes.multipliers == [0.1, 1, 10, 0.1])
    let options = try ResidualStepSizes.Options(
      shrinkAbove: 0.5, growBelow: 0.4, factor: 3, smallest: 1, largest: 5)
    var other = ResidualStepSizes(horizon: 3)
    other.adapt(to: [0.6, 0.45, 0.3], options: options)
    #expect(other.multipliers == [1, 1, 3])
    other.adapt(to: [0.6, 0.45, 0.3], options: options)
    #expect(other.multipliers == [1, 1, 5])
    #expect(throws: InvalidOption.self) {
      try ResidualStepSizes.Options(shrinkAbove: 0.1, growBelow: 0.2)
    }
    #expect(throws: InvalidOption.self) { try ResidualStepSizes.Options(factor: 0.5) }
    #expect(throws: InvalidOption.self) { try ResidualStepSizes.Options(smallest: 0) }
    #expect(throws: InvalidOption.self) { try ResidualStepSizes.Options(largest: 0.5) }
    #expect(try ResidualStepSizes(multipliers: other.multipliers) == other)
    #expect(throws: InvalidOption.self) { try ResidualStepSizes(multipliers: [1, 0]) }
    #expect(residualRatios([[0, 0], [0, 0]], modeled: [[0, 0], [0, 0]]) == [0])
    #expect(residualRatios([[0, 0]], modeled: [[0, 1]]) == [.infinity])
  }
}
