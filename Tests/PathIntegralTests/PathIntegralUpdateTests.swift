import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import PathIntegral
import Statistics
import Testing

@Suite("Path integral update") struct PathIntegralUpdateTests {
  struct Figures: Decodable {
    struct Case: Decodable {
      let state: Int
      let control: Int
      let horizon: Int
      let count: Int
      let bound: Double
      let covariance: PathIntegralUpdate.CovarianceAdaptation
      let damping: Double
      let floor: Double
      let centersNoise: Bool
      let gains: [Double]
      let offsets: [Double]
      let covariances: [Double]
      let states: [[Double]]
      let controls: [[Double]]
      let costs: [[Double]]
      let newOffsets: [Double]
      let newCovariances: [Double]
      let temperatures: [Double]
      let effectiveSampleSizes: [Double]
      let divergences: [Double]
      let expectedImprovement: Double
    }
    let updates: [Case]
  }

  @Test("agrees with NumPy", arguments: 0..<5)
  func agreesWithNumPy(_ index: Int) throws {
    let figures = try Fixture.load("path_integral", as: Figures.self).updates[index]
    let (n, m, T) = (figures.state, figures.control, figures.horizon)
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: m, columns: n, count: T, columnMajor: figures.gains),
      offsets: Matrix(rows: m, columns: T, columnMajor: figures.offsets),
      covariances: MatrixSequence(rows: m, columns: m, count: T, columnMajor: figures.covariances))
    let rollouts = zip(figures.states, figures.controls).map {
      rollout(
        Matrix(rows: n, columns: T + 1, columnMajor: $0),
        Matrix(rows: m, columns: T, columnMajor: $1))
    }
    let update = PathIntegralUpdate(
      options: try .init(
        bound: figures.bound, temperatureFloor: 1e-6, covariance: figures.covariance,
        covarianceDamping: figures.damping, covarianceFloor: figures.floor,
        centersNoise: figures.centersNoise))
    let outcome = try update.improve(
      controller, rollouts: rollouts, costsToGo: costsToGo(figures.costs))
    #expect(outcome.controller.gains == controller.gains)
    #expect(relativeError(outcome.temperatures, figures.temperatures) < 1e-6)
    #expect(relativeError(outcome.effectiveSampleSizes, figures.effectiveSampleSizes) < 1e-6)
    #expect(relativeError(outcome.divergences, figures.divergences) < 1e-6)
    #expect(abs(outcome.expectedImprovement / figures.expectedImprovement - 1) < 1e-6)
    for t in 0..<T {
      // Each control in its own unit.
      let expected = Array(figures.newOffsets[m * t..<m * (t + 1)])
      let covariance = Matrix(
        rows: m, columns: m,
        columnMajor: Array(figures.newCovariances[m * m * t..<m * m * (t + 1)]))
      let scale = controller.covariances[t].diagonal.map { $0.squareRoot() }
      for i in 0..<m {
        #expect(abs(outcome.controller.offsets[i, t] - expected[i]) < 1e-6 * scale[i])
        for j in 0..<m {
          let gap = outcome.controller.covariances[t][i, j] - covariance[i, j]
          #expect(abs(gap) < 1e-6 * scale[i] * scale[j])
        }
      }
    }
    expectConsistent(outcome.controller)
    #expect(outcome.statuses.count == T && outcome.statuses.allSatisfy { $0 == .atBound })
  }

  @Test("neither a constant nor a factor on the costs changes the controller")
  func invariance() throws {
    var stream = RandomStream(seed: 61)
    let problem = try Problem(horizon: 6, &stream)
    let rollouts = problem.rollouts(of: problem.start, count: 15, &stream)
    let costs = try costsToGo(rollouts.map { problem.cost.values(along: $0) })
    for covariance in PathIntegralUpdate.CovarianceAdaptation.allCases {
      let update = PathIntegralUpdate(options: try .init(bound: 1, covariance: covariance))
      let plain = try update.improve(problem.start, rollouts: rollouts, costsToGo: costs).controller
      let doubled = try update.improve(
        problem.start, rollouts: rollouts, costsToGo: 2 * costs
      ).controller
      #expect(doubled == plain)
      let shift = Matrix(rows: costs.rows, columns: costs.columns, repeating: 37)
      for other in [10 * costs, costs + shift] {
        let other = try update.improve(
          problem.start, rollouts: rollouts, costsToGo: other
        ).controller
        #expect(relativeError(other.offsets.storage, plain.offsets.storage) < 1e-12)
        #expect(relativeError(other.covariances.storage, plain.covariances.storage) < 1e-12)
      }
    }
  }

  /// Without noise in plant and start the mean trajectory under fixed gains can be any, so that the best
  /// offsets cost what LQR's optimum costs.
  @Test(
    "many rollouts, repeated, come to LQR's cost",
    arguments: PathIntegralUpdate.CovarianceAdaptation.allCases, [false, true])
  func convergence(
    _ covariance: PathIntegralUpdate.CovarianceAdaptation, _ centersNoise: Bool
  ) throws {
    var stream = RandomStream(seed: 62)
    let problem = try Problem(horizon: 10, &stream)
    let optimum = problem.optimalCost
    let update = PathIntegralUpdate(
      options: try .init(bound: 1, covariance: covariance, centersNoise: centersNoise))
    var controller = problem.start
    let first = problem.meanCost(of: controller)
    #expect(first > 3 * optimum)
    for _ in 0..<60 {
      let rollouts = problem.rollouts(of: controller, count: 200, &stream)
      let outcome = try update.improve(
        controller, rollouts: rollouts,
        costsToGo: costsToGo(rollouts.map { problem.cost.values(along: $0) }))
      #expect(outcome.expectedImprovement > 0)
      controller = outcome.controller
    }
    let last = problem.meanCost(of: controller)
    #expect(last >= optimum * (1 - 1e-9))
    // Noise that stays leaves a mean estimated from some 70 samples.
    #expect(last - optimum < (covariance == .none ? 0.05 : 0.01) * (first - optimum))
    if covariance != .none {
      #expect(controller.covariances[0][0, 0] < 0.3 * problem.start.covariances[0][0, 0])
    }
  }

  @Test("rollouts of one cost: the plain mean, nothing at all if the noise is centred")
  func indifferent() throws {
    var stream = RandomStream(seed: 63)
    let problem = try Problem(horizon: 3, &stream)
    let rollouts = problem.rollouts(of: problem.start, count: 4, &stream)
    let costs = Matrix(rows: 4, columns: 3, repeating: 5)
    let plain = try PathIntegralUpdate(options: .init(bound: 1, covariance: .none)).improve(
      problem.start, rollouts: rollouts, costsToGo: costs)
    #expect(plain.statuses == [.indifferent, .indifferent, .indifferent])
    #expect(plain.expectedImprovement == 0)
    for t in 0..<3 {
      let mean = rollouts.reduce(0) { $0 + $1.controls[0, t] / 4 }  // the gains are 0
      #expect(abs(plain.controller.offsets[0, t] - mean) < 1e-12)
    }
    let centred = try PathIntegralUpdate(
      options: .init(bound: 1, covariance: .none, centersNoise: true)
    ).improve(problem.start, rollouts: rollouts, costsToGo: costs)
    #expect(centred.controller == problem.start)
    #expect(centred.divergences == [0, 0, 0])
  }

  @Test("the covariance stays positive definite with fewer rollouts than controls")
  func fewRollouts() throws {
    var stream = RandomStream(seed: 64)
    let start = try RandomProblem.controller(state: 2, control: 5, horizon: 4, &stream)
    for count in [1, 2, 3] {
      let rollouts = (0..<count).map { _ in
        rollout(RandomProblem.matrix(2, 5, &stream), RandomProblem.matrix(5, 4, &stream))
      }
      let costs = RandomProblem.matrix(count, 4, &stream)
      for covariance in PathIntegralUpdate.CovarianceAdaptation.allCases {
        let outcome = try PathIntegralUpdate(
          options: .init(bound: .infinity, covariance: covariance, covarianceFloor: 0.01)
        ).improve(start, rollouts: rollouts, costsToGo: costs)
        expectConsistent(outcome.controller)
        #expect(outcome.divergences.allSatisfy { $0 >= 0 && $0.isFinite })
        for t in 0..<4 {
          // No direction has lost more than the floor allows: C_new − (floor − δ) C_old factors.
          let rest = outcome.controller.covariances[t] - 0.00999 * start.covariances[t]
          #expect(throws: Never.self) { try CholeskyFactor(rest.symmetrized) }
        }
      }
    }
  }

  @Test("what is not finite is an error with sample and step; options are checked")
  func errors() throws {
    var stream = RandomStream(seed: 65)
    let problem = try Problem(horizon: 3, &stream)
    let rollouts = problem.rollouts(of: problem.start, count: 3, &stream)
    #expect(throws: PathIntegralError.costNotFinite(sample: 1, step: 2, value: .infinity)) {
      try costsToGo([[0, 0, 0, 0], [0, 0, .infinity, 0], [0, 0, 0, 0]])
    }
    #expect(throws: PathIntegralError.costNotFinite(sample: 0, step: 1, value: .infinity)) {
      try costsToGo([[0, 1e308, 1e308, 0]])
    }
    var costs = Matrix(rows: 3, columns: 3)
    costs[2, 1] = -.infinity
    #expect(throws: PathIntegralError.costNotFinite(sample: 2, step: 1, value: -.infinity)) {
      try PathIntegralUpdate().improve(problem.start, rollouts: rollouts, costsToGo: costs)
    }
    var wild = rollouts
    wild[1].controls[0, 2] = .nan
    #expect(throws: PathIntegralError.noiseNotFinite(sample: 1, step: 2)) {
      try PathIntegralUpdate().improve(
        problem.start, rollouts: wild, costsToGo: Matrix(rows: 3, columns: 3))
    }
    for (key, make) in [
      ("bound", { () throws(InvalidOption) in try PathIntegralUpdate.Options(bound: 0) }),
      ("bound", { () throws(InvalidOption) in try PathIntegralUpdate.Options(bound: .nan) }),
      (
        "temperatureFloor",
        { () throws(InvalidOption) in try PathIntegralUpdate.Options(temperatureFloor: 0) }
      ),
      (
        "covarianceDamping",
        { () throws(InvalidOption) in try PathIntegralUpdate.Options(covarianceDamping: 0.5) }
      ),
      (
        "covarianceFloor",
        { () throws(InvalidOption) in try PathIntegralUpdate.Options(covarianceFloor: 1.5) }
      ),
    ] {
      do {
        _ = try make()
        Issue.record("\(key) was accepted")
      } catch {
        #expect(error.key == key)
      }
    }
  }
}

/// A rollout without observations.
func rollout(_ states: Matrix, _ controls: Matrix) -> Trajectory {
  Trajectory(
    states: states, controls: controls, observations: Matrix(rows: 0, columns: states.columns))
}

/// Factors and precisions are those of the covariances.
func expectConsistent(_ controller: LinearGaussianController) {
  for t in 0..<controller.horizon {
    let C = controller.covariances[t]
    let L = controller.covarianceFactors[t]
    #expect((L * L.transposed - C).largestMagnitude < 1e-12 * C.largestMagnitude)
    let identity = C * controller.precisions[t]
    #expect((identity - .identity(controller.control)).largestMagnitude < 1e-8)
    #expect(C == C.symmetrized)
  }
}

/// A mass on a line that is to come to rest at 0: without noise but for the controls'.
struct Problem {
  let dynamics: LinearGaussianDynamics
  let cost: QuadraticCost
  let start: LinearGaussianController

  init(horizon T: Int, _ stream: inout RandomStream) throws {
    dynamics = LinearGaussianDynamics(
      transitions: MatrixSequence(repeating: Matrix([[1, 0.2, 0.02], [0, 1, 0.2]]), count: T),
      offsets: Matrix(rows: 2, columns: T),
      covariances: MatrixSequence(rows: 2, columns: 2, count: T), initialMean: [1, 0.5],
      initialCovariance: Matrix(rows: 2, columns: 2))
    var cost = QuadraticCost(state: 2, control: 1, horizon: T)
    for t in 0..<T { cost.hessians[t] = Matrix(diagonal: [1, 0.1, 0.05]) }
    cost.hessians[T] = Matrix(diagonal: [10, 1, 0])
    self.cost = cost
    start = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 2, count: T), offsets: Matrix(rows: 1, columns: T),
      covariances: MatrixSequence(repeating: Matrix([[1]]), count: T))
  }

  func rollouts(
    of controller: LinearGaussianController, count: Int, noise: Double = 1,
    _ stream: inout RandomStream
  ) -> [Trajectory] {
    (0..<count).map { _ in
      let T = dynamics.horizon
      var states = Matrix(rows: 2, columns: T + 1)
      var controls = Matrix(rows: 1, columns: T)
      states.setColumn(0, to: dynamics.initialMean)
      for t in 0..<T {
        let x = states.column(t)
        let deviation = controller.covarianceFactors[t][0, 0] * noise
        controls[0, t] =
          (controller.gains[t] * x)[0] + controller.offsets[0, t] + deviation * stream.normal()
        let next = dynamics.transitions[t] * (x + controls.column(t))
        states.setColumn(t + 1, to: zip(next, dynamics.offsets.column(t)).map { $0 + $1 })
      }
      return rollout(states, controls)
    }
  }

  /// The cost without noise.
  func meanCost(of controller: LinearGaussianController) -> Double {
    var stream = RandomStream(seed: 0)
    let mean = rollouts(of: controller, count: 1, noise: 0, &stream)[0]
    return cost.values(along: mean).reduce(0, +)
  }

  /// ½ x_0ᵀ V x_0 by the textbook's recursion.
  var optimalCost: Double {
    let T = dynamics.horizon
    var V = cost.hessians[T][0..<2, 0..<2]
    for t in stride(from: T - 1, through: 0, by: -1) {
      let F = dynamics.transitions[t]
      let Q = cost.hessians[t] + F.transposed * V * F
      let Quu = Q[2, 2]
      var next = Q[0..<2, 0..<2]
      for i in 0..<2 { for j in 0..<2 { next[i, j] -= Q[i, 2] * Q[2, j] / Quu } }
      V = next
    }
    return 0.5 * V.bilinear(dynamics.initialMean, dynamics.initialMean)
  }
}
