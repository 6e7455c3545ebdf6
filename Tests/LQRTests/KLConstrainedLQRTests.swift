import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import LQR

@Suite("KL-constrained step") struct KLConstrainedLQRTests {
  @Test(
    "reaches its bound within the tolerance, in few passes",
    arguments: [0.01, 0.3, 3.0, 30.0], [1e-6, 1.0, 1e6])
  func reachesBound(_ bound: Double, _ initialDual: Double) throws {
    var stream = RandomStream(seed: 31)
    let dynamics = RandomProblem.dynamics(state: 5, control: 2, horizon: 20, &stream)
    let cost = RandomProblem.cost(state: 5, control: 2, horizon: 20, &stream)
    let reference = try RandomProblem.controller(state: 5, control: 2, horizon: 20, &stream)
    let solution = try KLConstrainedLQR().improve(
      from: reference, cost: cost, dynamics: dynamics, bound: bound, initialDual: initialDual)
    #expect(solution.status == .converged)
    #expect(abs(solution.divergence - bound) <= 0.1 * bound)
    #expect(solution.passes <= 15)
    // The reported divergence and cost are those of the returned controller, computed anew.
    let marginals = try marginals(of: solution.controller, under: dynamics)
    let divergence = klDivergences(from: solution.controller, to: reference, over: marginals)
    #expect(abs(divergence.reduce(0, +) - solution.divergence) < 1e-6 * (1 + bound))
    let before = cost.expectations(
      over: try LQR.marginals(of: reference, under: dynamics), under: reference)
    #expect(solution.expectedCosts.reduce(0, +) < before.reduce(0, +))
  }

  /// One scalar step: x_1 = x_0 + u, cost ½ a u² + b u, reference N(0, s). The surrogate's minimiser is
  /// N(−b/η · C, C) with 1/C = a/η + 1/s, and KL = ½ (C/s − 1 − ln(C/s) + (b C/η)²/s): with a = 1,
  /// b = 2, s = 0.5, η = 1: C = 1/3, mean = −2/3, KL = ½ (2/3 − 1 + ln 1.5 + 8/9) = 0.480510….
  @Test("agrees with a case worked by hand")
  func workedByHand() throws {
    var F = MatrixSequence(rows: 1, columns: 2, count: 1)
    F[0] = Matrix([[1, 1]])
    let dynamics = LinearGaussianDynamics(
      transitions: F, offsets: Matrix(rows: 1, columns: 1),
      covariances: MatrixSequence(rows: 1, columns: 1, count: 1), initialMean: [3],
      initialCovariance: Matrix(rows: 1, columns: 1))
    var cost = QuadraticCost(state: 1, control: 1, horizon: 1)
    cost.hessians[0] = Matrix(diagonal: [0, 1])
    cost.gradients.setColumn(0, to: [0, 2])
    let reference = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 1, count: 1), offsets: Matrix(rows: 1, columns: 1),
      covariances: MatrixSequence(repeating: Matrix([[0.5]]), count: 1))
    var solver = KLConstrainedLQR()
    solver.options.tolerance = 1e-9
    solver.options.maxPasses = 60
    let bound = 0.5 * (2.0 / 3 - 1 + log(1.5) + 8.0 / 9)
    let solution = try solver.improve(
      from: reference, cost: cost, dynamics: dynamics, bound: bound, initialDual: 50)
    #expect(abs(solution.dual - 1) < 1e-6)
    #expect(abs(solution.controller.offsets[0, 0] + 2.0 / 3) < 1e-6)
    #expect(abs(solution.controller.gains[0][0, 0]) < 1e-9)
    #expect(abs(solution.controller.covariances[0][0, 0] - 1.0 / 3) < 1e-6)
  }

  /// No other controller with the same divergence is better: a step towards any random direction,
  /// scaled back to the same divergence, costs more.
  @Test("no perturbed controller within the bound has a lower expected cost")
  func optimality() throws {
    var stream = RandomStream(seed: 32)
    let dynamics = RandomProblem.dynamics(state: 3, control: 2, horizon: 6, &stream)
    let cost = RandomProblem.cost(state: 3, control: 2, horizon: 6, &stream)
    let reference = try RandomProblem.controller(state: 3, control: 2, horizon: 6, &stream)
    var solver = KLConstrainedLQR()
    solver.options.tolerance = 1e-6
    solver.options.maxPasses = 60
    let solution = try solver.improve(
      from: reference, cost: cost, dynamics: dynamics, bound: 2)
    func lagrangian(_ controller: LinearGaussianController) throws -> Double {
      let marginals = try marginals(of: controller, under: dynamics)
      return cost.expectations(over: marginals, under: controller).reduce(0, +)
        + solution.dual
        * klDivergences(from: controller, to: reference, over: marginals).reduce(0, +)
    }
    let best = try lagrangian(solution.controller)
    for size in [1e-3, 1e-2, 1e-1] {
      for _ in 0..<20 {
        var gains = solution.controller.gains
        var offsets = solution.controller.offsets
        var covariances = solution.controller.covariances
        for i in gains.storage.indices { gains.storage[i] += size * stream.normal() }
        for i in offsets.storage.indices { offsets.storage[i] += size * stream.normal() }
        for t in 0..<6 {
          let change = Matrix.identity(2) + RandomProblem.matrix(2, 2, scale: size, &stream)
          covariances[t] = (change * covariances[t] * change.transposed).symmetrized
        }
        let other = try LinearGaussianController(
          gains: gains, offsets: offsets, covariances: covariances)
        #expect(try lagrangian(other) > best)
      }
    }
  }

  @Test("an indefinite cost raises the dual until every Q_uu is positive definite")
  func indefiniteCost() throws {
    var stream = RandomStream(seed: 33)
    let dynamics = RandomProblem.dynamics(state: 3, control: 1, horizon: 10, &stream)
    var cost = RandomProblem.cost(state: 3, control: 1, horizon: 10, &stream)
    for t in 0...10 {
      var hessian = cost.hessians[t]
      hessian[0, 0] -= 20
      hessian[3, 3] -= 3
      cost.hessians[t] = hessian
    }
    let reference = try RandomProblem.controller(state: 3, control: 1, horizon: 10, &stream)
    let solution = try KLConstrainedLQR().improve(
      from: reference, cost: cost, dynamics: dynamics, bound: 1e4, initialDual: 1e-3)
    #expect(solution.indefinitePasses > 0)
    #expect(solution.divergence <= 1.1e4)
    #expect(solution.controller.gains.isFinite)
  }

  @Test("numbers that are not finite are refused by name")
  func notFinite() throws {
    var stream = RandomStream(seed: 34)
    let dynamics = RandomProblem.dynamics(state: 2, control: 1, horizon: 3, &stream)
    var cost = RandomProblem.cost(state: 2, control: 1, horizon: 3, &stream)
    cost.constants[1] = .nan
    let reference = try RandomProblem.controller(state: 2, control: 1, horizon: 3, &stream)
    #expect(throws: LQRError.inputNotFinite(field: "cost's constant", step: 1)) {
      try KLConstrainedLQR().improve(
        from: reference, cost: cost, dynamics: dynamics, bound: 1)
    }
  }

  /// Every part of every input, at every entry point.
  @Test(
    "a number that is not finite is named with its field and step",
    arguments: [Double.nan, .infinity])
  func everyInput(_ bad: Double) throws {
    var stream = RandomStream(seed: 35)
    let dynamics = RandomProblem.dynamics(state: 2, control: 1, horizon: 4, &stream)
    let cost = RandomProblem.cost(state: 2, control: 1, horizon: 4, &stream)
    let reference = try RandomProblem.controller(state: 2, control: 1, horizon: 4, &stream)
    func expect(
      _ field: String, _ step: Int?, cost: QuadraticCost? = nil, dynamics: LinearGaussianDynamics,
      inLQ: Bool, inMarginals: Bool
    ) throws {
      let error = LQRError.inputNotFinite(field: field, step: step)
      #expect(throws: error) {
        try KLConstrainedLQR().improve(
          from: reference, cost: cost ?? self.cost(&stream), dynamics: dynamics, bound: 1)
      }
      if inLQ {
        #expect(throws: error) {
          try solveLinearQuadratic(cost: cost ?? self.cost(&stream), dynamics: dynamics)
        }
      }
      if inMarginals {
        #expect(throws: error) { try marginals(of: reference, under: dynamics) }
        let observations = try ObservationModel(about: [
          Trajectory(
            states: Matrix(rows: 2, columns: 5), controls: Matrix(rows: 1, columns: 4),
            observations: Matrix(rows: 2, columns: 5))
        ])
        #expect(throws: error) {
          try TrajectorySampler(
            dynamics: dynamics, controller: reference, observations: observations)
        }
      }
    }
    for t in [0, 2, 3] {
      var wrong = cost
      wrong.hessians.storage[t * 9 + 4] = bad
      try expect(
        "cost's Hessian", t, cost: wrong, dynamics: dynamics, inLQ: true, inMarginals: false)
      wrong = cost
      wrong.gradients[1, t] = bad
      try expect(
        "cost's gradient", t, cost: wrong, dynamics: dynamics, inLQ: true, inMarginals: false)
      var model = dynamics
      model.transitions.storage[t * 6 + 3] = bad
      try expect("dynamics' transition", t, dynamics: model, inLQ: true, inMarginals: true)
      model = dynamics
      model.offsets[0, t] = bad
      try expect("dynamics' offset", t, dynamics: model, inLQ: true, inMarginals: true)
      model = dynamics
      model.covariances.storage[t * 4] = bad
      try expect("dynamics' covariance", t, dynamics: model, inLQ: false, inMarginals: true)
    }
    var model = dynamics
    model.initialMean[1] = bad
    try expect("mean of the initial state", nil, dynamics: model, inLQ: false, inMarginals: true)
    model = dynamics
    model.initialCovariance[0, 0] = bad
    try expect(
      "covariance of the initial state", nil, dynamics: model, inLQ: false, inMarginals: true)

    // A divergence of such numbers is no number, not 0.
    var states = try marginals(of: reference, under: dynamics)
    states.stateMeans[0, 2] = .nan
    let other = try RandomProblem.controller(state: 2, control: 1, horizon: 4, &stream)
    let divergences = klDivergences(from: other, to: reference, over: states)
    #expect(divergences.map(\.isNaN) == [false, false, true, false])
  }

  private func cost(_ stream: inout RandomStream) -> QuadraticCost {
    RandomProblem.cost(state: 2, control: 1, horizon: 4, &stream)
  }

  /// The optimum by the Riccati pass, whose own tests compare it with a dense solve; here the dense solve too:
  /// the controls of the mean trajectory minimise the cost over all T m of them.
  @Test(
    "without a bound that matters the optimum of the cost alone comes back",
    arguments: [Double.infinity, .greatestFiniteMagnitude, 1e300, 1e12], [1e-4, 1.0, 1e5])
  func noBound(_ bound: Double, _ scale: Double) throws {
    // Below 1e100 the smallest dual still weighs the reference, by 1e-8 of its precision.
    let tolerance = bound > 1e100 ? 1e-9 : 1e-6 / min(1, scale)
    let (n, m, T) = (3, 2, 8)
    var stream = RandomStream(seed: 36)
    let dynamics = RandomProblem.dynamics(state: n, control: m, horizon: T, &stream)
    var cost = RandomProblem.cost(state: n, control: m, horizon: T, &stream)
    for i in cost.hessians.storage.indices { cost.hessians.storage[i] *= scale }
    for i in cost.gradients.storage.indices { cost.gradients.storage[i] *= scale }
    let reference = try RandomProblem.controller(state: n, control: m, horizon: T, &stream)
    let solution = try KLConstrainedLQR().improve(
      from: reference, cost: cost, dynamics: dynamics, bound: bound, initialDual: 3)
    #expect(solution.status == .constraintInactive)
    let optimum = try solveLinearQuadratic(cost: cost, dynamics: dynamics)
    #expect(relativeError(solution.controller.gains.storage, optimum.gains.storage) < tolerance)
    #expect(relativeError(solution.controller.offsets.storage, optimum.offsets.storage) < tolerance)
    // The divergence is that of the controller, computed anew.
    let marginals = try marginals(of: solution.controller, under: dynamics)
    let divergence = klDivergences(from: solution.controller, to: reference, over: marginals)
      .reduce(0, +)
    #expect(abs(solution.divergence - divergence) < 1e-6 * divergence)

    // J(U) = ½ Uᵀ H U + gᵀ U + …, from J at unit controls: quadratic, so exact but for rounding.
    func J(_ U: [Double]) -> Double {
      var x = dynamics.initialMean
      var sum = 0.0
      for t in 0...T {
        let y = x + (t < T ? Array(U[t * m..<(t + 1) * m]) : [Double](repeating: 0, count: m))
        let Cy = cost.hessians[t] * y
        for i in 0..<(t < T ? n + m : n) { sum += y[i] * (0.5 * Cy[i] + cost.gradients[i, t]) }
        if t < T { x = zip(dynamics.transitions[t] * y, dynamics.offsets.column(t)).map(+) }
      }
      return sum / scale
    }
    let size = T * m
    func unit(_ i: Int) -> [Double] { (0..<size).map { $0 == i ? 1 : 0 } }
    let zero = J([Double](repeating: 0, count: size))
    let single = (0..<size).map { J(unit($0)) - zero }
    var H = Matrix(rows: size, columns: size)
    for i in 0..<size {
      for j in 0..<size {
        H[i, j] = J(zip(unit(i), unit(j)).map(+)) - zero - single[i] - single[j]
      }
    }
    let U = denseSolve(H, (0..<size).map { 0.5 * H[$0, $0] - single[$0] })
    #expect(relativeError(solution.marginals.controlMeans.storage, U) < 10 * tolerance)
  }

  @Test("without a bound an indefinite cost is still held by the reference")
  func noBoundIndefinite() throws {
    var stream = RandomStream(seed: 33)
    let dynamics = RandomProblem.dynamics(state: 3, control: 1, horizon: 10, &stream)
    var cost = RandomProblem.cost(state: 3, control: 1, horizon: 10, &stream)
    for t in 0...10 {
      var hessian = cost.hessians[t]
      hessian[3, 3] -= 3
      cost.hessians[t] = hessian
    }
    let reference = try RandomProblem.controller(state: 3, control: 1, horizon: 10, &stream)
    let solution = try KLConstrainedLQR().improve(
      from: reference, cost: cost, dynamics: dynamics, bound: .infinity)
    #expect(solution.indefinitePasses > 0 && solution.dual > 1e-3)
    #expect(solution.controller.gains.isFinite && solution.divergence.isFinite)
    #expect(solution.status != .converged)
  }

  @Test("the dual search solves analytic curves", arguments: [1.0, 1.5, 2.0], [1e-7, 1.0, 1e10])
  func dualSearch(_ power: Double, _ start: Double) {
    // KL(η) = 5 η^−power / (1 + η^−power/7), infeasible numerics below η = 0.01.
    var search = DualSearch(options: .init(), bound: 0.2, initialDual: start)
    while let dual = search.nextDual {
      if dual < 0.01 {
        search.recordFailure()
      } else {
        let r = pow(dual, -power)
        search.record(divergence: 5 * r / (1 + r / 7))
      }
    }
    #expect(search.finalStatus == .converged)
    #expect(abs(search.chosenDivergence - 0.2) <= 0.02)
    #expect(search.passes <= 16)
  }

  @Test("a constraint that is never active stops at the smallest dual")
  func inactive() {
    var search = DualSearch(options: .init(), bound: 10, initialDual: 1)
    while search.nextDual != nil { search.record(divergence: 0.5) }
    #expect(search.finalStatus == .constraintInactive)
    #expect(search.chosenDual.map { abs($0 / 1e-8 - 1) < 1e-6 } == true)
  }
}
