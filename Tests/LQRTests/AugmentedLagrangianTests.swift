import Foundation
import GPSCore
import GPSTestSupport
import LQR
import LinearAlgebra
import Statistics
import Testing

@Suite("Augmented Lagrangian") struct AugmentedLagrangianTests {
  private func random(
    _ m: Int, _ T: Int, _ stream: inout RandomStream
  ) throws -> AugmentedLagrangian {
    try AugmentedLagrangian(
      multipliers: RandomProblem.matrix(m, T, &stream),
      weights: stream.normals(T).map { 0.1 + $0 * $0 })
  }

  @Test("the penalty is the weighted negative log density and the multipliers' pull")
  func penalty() throws {
    var stream = RandomStream(seed: 81)
    let policy = try RandomProblem.controller(state: 3, control: 2, horizon: 4, &stream)
    let lagrangian = try random(2, 4, &stream)
    let penalty = lagrangian.penalty(for: policy)
    let states = RandomProblem.matrix(3, 5, &stream)
    let controls = RandomProblem.matrix(2, 4, &stream)
    let values = penalty.values(states: states, controls: controls)
    for t in 0..<4 {
      let u = controls.column(t)
      let mean = zip(policy.gains[t] * states.column(t), policy.offsets.column(t)).map(+)
      let density = try Gaussian(mean: mean, covariance: policy.covariances[t]).logDensity(u)
      let pull = (0..<2).reduce(0) { $0 + lagrangian.multipliers[$1, t] * (mean[$1] - u[$1]) }
      #expect(abs(values[t] - (pull - lagrangian.weights[t] * density)) < 1e-12)
      #expect(penalty.hessians[t] == penalty.hessians[t].symmetrized)
    }
    #expect(values[4] == 0)
  }

  /// f(μ) = ½ ν (μ − û)ᵀ C⁻¹ (μ − û) + λᵀ μ is minimised by Newton's method on its finite differences.
  @Test("the shifted target minimises the S-step's augmented Lagrangian")
  func targets() throws {
    var stream = RandomStream(seed: 82)
    let controller = try RandomProblem.controller(state: 2, control: 3, horizon: 3, &stream)
    let lagrangian = try random(3, 3, &stream)
    let offsets = lagrangian.targetOffsets(for: controller)
    for t in 0..<3 {
      let x = stream.normals(2)
      let û = zip(controller.gains[t] * x, controller.offsets.column(t)).map(+)
      func value(_ mean: [Double]) -> Double {
        let gap = zip(mean, û).map { $0 - $1 }
        let square = zip(gap, denseSolve(controller.covariances[t], gap)).reduce(0) {
          $0 + $1.0 * $1.1
        }
        return 0.5 * lagrangian.weights[t] * square
          + zip(lagrangian.multipliers.column(t), mean).reduce(0) { $0 + $1.0 * $1.1 }
      }
      var mean = [0.0, 0, 0]
      for _ in 0..<3 {
        func at(_ i: Int, _ j: Int, _ a: Double, _ b: Double) -> Double {
          var point = mean
          point[i] += a
          point[j] += b
          return value(point)
        }
        let h = 1e-2
        var hessian = Matrix(rows: 3, columns: 3)
        for i in 0..<3 {
          for j in 0..<3 {
            hessian[i, j] =
              (at(i, j, h, h) - at(i, j, h, -h) - at(i, j, -h, h) + at(i, j, -h, -h)) / (4 * h * h)
          }
        }
        let gradient = (0..<3).map { (at($0, $0, h, 0) - at($0, $0, -h, 0)) / (2 * h) }
        mean = zip(mean, denseSolve(hessian, gradient)).map { $0 - $1 }
      }
      let target = zip(controller.gains[t] * x, offsets.column(t)).map(+)
      #expect(relativeError(target, mean) < 1e-7)
    }
  }

  @Test("where the policy asks for more than the controller, both are drawn together")
  func signs() throws {
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 1, count: 1), offsets: Matrix([[1]]),
      covariances: MatrixSequence(repeating: Matrix([[0.5]]), count: 1))
    let policy = try LinearGaussianController(
      gains: MatrixSequence(repeating: Matrix([[2]]), count: 1), offsets: Matrix([[1]]),
      covariances: MatrixSequence(repeating: Matrix([[0.5]]), count: 1))
    var lagrangian = try AugmentedLagrangian(control: 1, horizon: 1, weight: 4)
    // At the mean state 3 the policy asks for 7, the controller for 1: λ = 0.1 · 4 · 2 · 6.
    try lagrangian.updateMultipliers(
      from: controller, to: policy, stateMeans: Matrix([[3, 0]]))
    #expect(abs(lagrangian.multipliers[0, 0] - 4.8) < 1e-14)
    // The target moves by α times the difference, against it.
    #expect(abs(lagrangian.targetOffsets(for: controller)[0, 0] - (1 - 0.6)) < 1e-14)
    // And the penalty's slope in u is that much lower.
    let plain = try AugmentedLagrangian(control: 1, horizon: 1, weight: 4).penalty(for: policy)
    let gap = lagrangian.penalty(for: policy).gradients[1, 0] - plain.gradients[1, 0]
    #expect(abs(gap + 4.8) < 1e-14)
  }

  @Test("weights follow the divergences: half a deviation above doubles, below halves")
  func weights() throws {
    var lagrangian = try AugmentedLagrangian(control: 1, horizon: 4, weight: 1)
    // Of 1, 2, 3, 6 the mean is 3 and the deviation √(14/4) = 1.87: over 3.94, under 2.06.
    try lagrangian.updateWeights(divergences: [1, 2, 3, 6])
    #expect(lagrangian.weights == [0.5, 0.5, 1, 2])
    try lagrangian.updateWeights(divergences: [7, 7, 7, 7])
    #expect(lagrangian.weights == [0.5, 0.5, 1, 2])
    try lagrangian.updateWeights(divergences: [0.1, 0.1, 0.1, 0.1])
    #expect(lagrangian.weights == [0.5, 0.5, 1, 2])
    let options = try AugmentedLagrangian.Options(smallestWeight: 0.25, largestWeight: 3)
    for _ in 0..<10 { try lagrangian.updateWeights(divergences: [1, 2, 3, 6], options: options) }
    #expect(lagrangian.weights == [0.25, 0.25, 1, 3])
    #expect(throws: LQRError.inputNotFinite(field: "divergences", step: 1)) {
      try lagrangian.updateWeights(divergences: [1, .nan, 3, 6])
    }
    #expect(throws: LQRError.inputNotFinite(field: "mean controls", step: 1)) {
      let controller = try LinearGaussianController(
        gains: MatrixSequence(repeating: Matrix([[1]]), count: 4),
        offsets: Matrix(rows: 1, columns: 4),
        covariances: MatrixSequence(repeating: Matrix([[1]]), count: 4))
      let policy = try LinearGaussianController(
        gains: MatrixSequence(repeating: Matrix([[2]]), count: 4),
        offsets: Matrix(rows: 1, columns: 4),
        covariances: MatrixSequence(repeating: Matrix([[1]]), count: 4))
      try lagrangian.updateMultipliers(
        from: controller, to: policy, stateMeans: Matrix([[0, .infinity, 0, 0]]))
    }
    #expect(lagrangian.multipliers == Matrix(rows: 1, columns: 4))
    #expect(throws: InvalidOption.self) {
      try AugmentedLagrangian(control: 1, horizon: 1, weight: 0)
    }
    #expect(throws: InvalidOption.self) {
      try AugmentedLagrangian(multipliers: Matrix([[.nan]]), weights: [1])
    }
    #expect(throws: InvalidOption.self) {
      try AugmentedLagrangian(multipliers: Matrix([[0]]), weights: [-1])
    }
    #expect(throws: InvalidOption.self) { try AugmentedLagrangian.Options(rate: -1) }
    #expect(throws: InvalidOption.self) { try AugmentedLagrangian.Options(deviations: .nan) }
    #expect(throws: InvalidOption.self) { try AugmentedLagrangian.Options(factor: 0.5) }
    #expect(throws: InvalidOption.self) { try AugmentedLagrangian.Options(smallestWeight: 0) }
    #expect(throws: InvalidOption.self) {
      try AugmentedLagrangian.Options(smallestWeight: 2, largestWeight: 1)
    }
  }

  struct Figures: Decodable {
    struct Constrained: Decodable {
      let horizon: Int
      let transition: [Double]
      let stateCost: [Double]
      let controlCost: [Double]
      let finalCost: [Double]
      let starts: [[Double]]
      let goals: [[Double]]
      let parameters: [Double]
      let cost: Double
    }
    let constrained: Constrained
  }

  /// Bregman ADMM on two linear-quadratic conditions that share one policy u = G x + g: C-step by LQR on
  /// the penalised cost, S-step by least squares to the shifted targets, multipliers by ascent.
  /// With `forgetsStates` the C-step is the paper's, without λᵀ K̄ x. What comes back are the policy's
  /// parameters and the largest difference of mean controls that is left.
  private func admm(
    _ figures: Figures.Constrained, options: AugmentedLagrangian.Options, passes: Int,
    adaptsWeights: Bool = false, forgetsStates: Bool = false
  ) throws -> (parameters: [Double], gap: Double) {
    let T = figures.horizon
    let Q = Matrix(rows: 2, columns: 2, columnMajor: figures.stateCost)
    let QT = Matrix(rows: 2, columns: 2, columnMajor: figures.finalCost)
    let problems = zip(figures.starts, figures.goals).map { start, goal in
      var cost = QuadraticCost(state: 2, control: 1, horizon: T)
      for t in 0...T {
        let W = t < T ? Q : QT
        cost.hessians[t][0..<2, 0..<2] = W
        if t < T { cost.hessians[t][2, 2] = figures.controlCost[0] }
        cost.gradients.setColumn(t, to: (W * goal).map { -$0 } + [0])
      }
      let dynamics = LinearGaussianDynamics(
        transitions: MatrixSequence(
          repeating: Matrix(rows: 2, columns: 3, columnMajor: figures.transition), count: T),
        offsets: Matrix(rows: 2, columns: T),
        covariances: MatrixSequence(repeating: 1e-3 * .identity(2), count: T), initialMean: start,
        initialCovariance: 1e-2 * .identity(2))
      return (cost: cost, dynamics: dynamics)
    }
    var lagrangians = try problems.map { _ in
      try AugmentedLagrangian(control: 1, horizon: T, weight: 0.5)
    }
    var parameters = [0.0, 0, 0]
    var gap = 0.0
    for pass in 0..<passes {
      func linearised() throws -> LinearGaussianController {
        try LinearGaussianController(
          gains: MatrixSequence(repeating: Matrix([[parameters[0], parameters[1]]]), count: T),
          offsets: Matrix(rows: 1, columns: T, repeating: parameters[2]),
          covariances: MatrixSequence(repeating: Matrix([[0.3]]), count: T))
      }
      var policy = try linearised()
      var normal = Matrix(rows: 3, columns: 3)
      var right = [0.0, 0, 0]
      var steps: [(LinearGaussianController, Marginals)] = []
      for (problem, lagrangian) in zip(problems, lagrangians) {
        var penalty = lagrangian.penalty(for: policy)
        if forgetsStates {
          for t in 0..<T {
            for j in 0..<2 {
              penalty.gradients[j, t] -= parameters[j] * lagrangian.multipliers[0, t]
            }
          }
        }
        let solution = try solveLinearQuadratic(
          cost: problem.cost + penalty, dynamics: problem.dynamics)
        // The maximum-entropy solution: entropy has the weight ν.
        var covariances = MatrixSequence(rows: 1, columns: 1, count: T)
        for t in 0..<T {
          let factor = solution.curvatureFactors[t][0, 0]
          covariances[t] = Matrix([[lagrangian.weights[t] / (factor * factor)]])
        }
        let controller = try LinearGaussianController(
          gains: solution.gains, offsets: solution.offsets, covariances: covariances)
        let marginals = try marginals(of: controller, under: problem.dynamics)
        steps.append((controller, marginals))
        let targets = lagrangian.targetOffsets(for: controller)
        for t in 0..<T {
          let x = marginals.stateMeans.column(t)
          let row = x + [1]
          let weight = lagrangian.weights[t] * controller.precisions[t][0, 0]
          let target = (controller.gains[t] * x)[0] + targets[0, t]
          normal += weight * Matrix.outer(row, row)
          for i in 0..<3 { right[i] += weight * target * row[i] }
        }
      }
      parameters = denseSolve(normal, right)
      policy = try linearised()
      gap = 0
      for (i, (controller, marginals)) in steps.enumerated() {
        try lagrangians[i].updateMultipliers(
          from: controller, to: policy, stateMeans: marginals.stateMeans, options: options)
        if adaptsWeights && pass < 20 {
          try lagrangians[i].updateWeights(
            divergences: klDivergences(from: controller, to: policy, over: marginals),
            options: options)
        }
        for t in 0..<T {
          let x = marginals.stateMeans.column(t)
          let asked = (policy.gains[t] * x)[0] + policy.offsets[0, t]
          gap = max(gap, abs(asked - marginals.controlMeans[0, t]))
        }
      }
    }
    return (parameters, gap)
  }

  @Test("dual ascent reaches the constrained optimum", arguments: [0.1, 0.5, 1.0], [false, true])
  func constrainedOptimum(_ rate: Double, _ adaptsWeights: Bool) throws {
    let figures = try Fixture.load("path_integral", as: Figures.self).constrained
    let result = try admm(
      figures, options: .init(rate: rate, smallestWeight: 0.1, largestWeight: 2), passes: 4000,
      adaptsWeights: adaptsWeights)
    #expect(result.gap < 1e-9)
    #expect(relativeError(result.parameters, figures.parameters) < 1e-5)
  }

  @Test("a penalty alone, or multipliers that forget the states, do not")
  func besideTheOptimum() throws {
    let figures = try Fixture.load("path_integral", as: Figures.self).constrained
    let penaltyAlone = try admm(figures, options: .init(rate: 0), passes: 2000)
    #expect(penaltyAlone.gap > 1e-2)
    let forgetful = try admm(
      figures, options: .init(rate: 0.5), passes: 4000, forgetsStates: true)
    #expect(forgetful.gap < 1e-9)
    #expect(relativeError(forgetful.parameters, figures.parameters) > 0.02)
  }
}
