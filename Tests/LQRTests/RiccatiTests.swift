import GPSCore
import GPSTestSupport
import LQR
import LinearAlgebra
import Statistics
import Testing

@Suite("Riccati pass") struct RiccatiTests {
  /// The optimality conditions of the whole problem at once, as one dense linear system in all
  /// states, controls and multipliers of the dynamics.
  static func denseSolution(
    _ cost: QuadraticCost, _ dynamics: LinearGaussianDynamics, from x0: [Double]
  ) -> (states: [[Double]], controls: [[Double]]) {
    let (n, m, T) = (dynamics.state, dynamics.control, dynamics.horizon)
    let d = n + m
    // Unknowns: y_0 … y_{T-1} (d each), x_T (n), then multipliers of x_0 = given and of the dynamics.
    let primal = T * d + n
    let size = primal + (T + 1) * n
    var A = Matrix(rows: size, columns: size)
    var b = [Double](repeating: 0, count: size)
    for t in 0...T {
      let width = t < T ? d : n
      for i in 0..<width {
        b[t * d + i] = -cost.gradients[i, t]
        for j in 0..<width { A[t * d + i, t * d + j] = cost.hessians[t][i, j] }
      }
    }
    func constrain(_ row: Int, _ column: Int, _ value: Double) {
      A[row, column] += value
      A[column, row] += value
    }
    for i in 0..<n {
      constrain(primal + i, i, 1)
      b[primal + i] = x0[i]
    }
    for t in 0..<T {
      for i in 0..<n {
        let row = primal + (t + 1) * n + i
        for j in 0..<d { constrain(row, t * d + j, -dynamics.transitions[t][i, j]) }
        constrain(row, (t + 1) * d + i, 1)
        b[row] = dynamics.offsets[i, t]
      }
    }
    let z = denseSolve(A, b)
    return (
      (0...T).map { Array(z[$0 * d..<$0 * d + n]) },
      (0..<T).map { Array(z[$0 * d + n..<($0 + 1) * d]) }
    )
  }

  @Test(
    "agrees with a dense solve of the optimality conditions",
    arguments: [(1, 1, 1), (3, 2, 1), (2, 3, 5), (4, 2, 12), (6, 3, 8)])
  func matchesDenseSolve(_ n: Int, _ m: Int, _ T: Int) throws {
    var stream = RandomStream(seed: 11).child(.custom, n, m, T)
    let dynamics = RandomProblem.dynamics(state: n, control: m, horizon: T, &stream)
    let cost = RandomProblem.cost(state: n, control: m, horizon: T, &stream)
    let solution = try solveLinearQuadratic(cost: cost, dynamics: dynamics)
    let dense = Self.denseSolution(cost, dynamics, from: dynamics.initialMean)
    var x = dynamics.initialMean
    for t in 0..<T {
      let u = zip(solution.gains[t] * x, solution.offsets.column(t)).map(+)
      for i in 0..<m { #expect(abs(u[i] - dense.controls[t][i]) < 1e-9) }
      x = zip(dynamics.transitions[t] * (x + u), dynamics.offsets.column(t)).map(+)
      for i in 0..<n { #expect(abs(x[i] - dense.states[t + 1][i]) < 1e-9) }
    }
  }

  @Test("the value function's gradient is the multiplier of the initial state")
  func valueGradient() throws {
    var stream = RandomStream(seed: 12)
    let dynamics = RandomProblem.dynamics(state: 3, control: 2, horizon: 6, &stream)
    let cost = RandomProblem.cost(state: 3, control: 2, horizon: 6, &stream)
    let solution = try solveLinearQuadratic(cost: cost, dynamics: dynamics)
    // The optimal cost as a function of x_0 by the dense solve; its derivative by differences.
    func optimum(_ x0: [Double]) -> Double {
      let dense = Self.denseSolution(cost, dynamics, from: x0)
      return (0...6).reduce(0) { sum, t in
        let y = dense.states[t] + (t < 6 ? dense.controls[t] : [0, 0])
        let linear = zip(cost.gradients.column(t), y).reduce(0) { $0 + $1.0 * $1.1 }
        return sum + 0.5 * cost.hessians[t].bilinear(y, y) + linear
      }
    }
    let x0 = dynamics.initialMean
    let gradient = zip(solution.valueHessians[0] * x0, solution.valueGradients.column(0)).map(+)
    for i in 0..<3 {
      var (up, down) = (x0, x0)
      up[i] += 1e-4
      down[i] -= 1e-4
      #expect(abs((optimum(up) - optimum(down)) / 2e-4 - gradient[i]) < 1e-5)
    }
  }

  @Test("an indefinite Q_uu is an error that names the step and the eigenvalue")
  func indefinite() throws {
    var stream = RandomStream(seed: 13)
    let dynamics = RandomProblem.dynamics(state: 2, control: 1, horizon: 4, &stream)
    var cost = RandomProblem.cost(state: 2, control: 1, horizon: 4, &stream)
    var hessian = cost.hessians[2]
    hessian[2, 2] = -1e4
    cost.hessians[2] = hessian
    do {
      _ = try solveLinearQuadratic(cost: cost, dynamics: dynamics)
      Issue.record("no error")
    } catch {
      guard case .notPositiveDefinite(let step, let eigenvalue, _) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(step == 2)
      #expect(eigenvalue < -1e3)
    }
  }

  @Test("a horizon of zero has an empty solution")
  func emptyHorizon() throws {
    var stream = RandomStream(seed: 14)
    let dynamics = RandomProblem.dynamics(state: 2, control: 1, horizon: 0, &stream)
    let cost = RandomProblem.cost(state: 2, control: 1, horizon: 0, &stream)
    let solution = try solveLinearQuadratic(cost: cost, dynamics: dynamics)
    #expect(solution.gains.count == 0)
    #expect(solution.valueHessians[0] == cost.hessians[0][0..<2, 0..<2])
  }
}
