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
    #expect(throws: LQRError.inputNotFinite(field: "cost")) {
      try KLConstrainedLQR().improve(
        from: reference, cost: cost, dynamics: dynamics, bound: 1)
    }
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
