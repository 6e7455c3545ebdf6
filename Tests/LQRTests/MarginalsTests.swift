import Foundation
import GPSCore
import GPSTestSupport
import LQR
import LinearAlgebra
import Statistics
import Testing

@Suite("Marginals and divergences") struct MarginalsTests {
  let dynamics: LinearGaussianDynamics
  let p: LinearGaussianController
  let q: LinearGaussianController
  let cost: QuadraticCost

  init() throws {
    var stream = RandomStream(seed: 21)
    dynamics = RandomProblem.dynamics(state: 3, control: 2, horizon: 5, &stream)
    p = try RandomProblem.controller(state: 3, control: 2, horizon: 5, &stream)
    q = try RandomProblem.controller(state: 3, control: 2, horizon: 5, &stream)
    cost = RandomProblem.cost(state: 3, control: 2, horizon: 5, &stream)
  }

  /// One sampled trajectory and the log-ratio of its actions under p and q at every step.
  func sample(_ stream: inout RandomStream) throws -> (
    states: [[Double]], controls: [[Double]], logRatios: [Double]
  ) {
    func draw(_ mean: [Double], _ covariance: Matrix) throws -> [Double] {
      zip(mean, try CholeskyFactor(covariance).lower * stream.normals(mean.count)).map(+)
    }
    func logDensity(_ controller: LinearGaussianController, _ t: Int, _ x: [Double], _ u: [Double])
      throws -> Double
    {
      let mean = zip(controller.gains[t] * x, controller.offsets.column(t)).map(+)
      let e = zip(u, mean).map(-)
      let factor = try CholeskyFactor(controller.covariances[t])
      return -0.5 * zip(e, factor.solve(e)).reduce(0) { $0 + $1.0 * $1.1 }
        - 0.5 * factor.logDeterminant
    }
    var states = [try draw(dynamics.initialMean, dynamics.initialCovariance)]
    var controls: [[Double]] = []
    var ratios: [Double] = []
    for t in 0..<5 {
      let x = states[t]
      let u = try draw(
        zip(p.gains[t] * x, p.offsets.column(t)).map(+), p.covariances[t])
      ratios.append(try logDensity(p, t, x, u) - logDensity(q, t, x, u))
      states.append(
        try draw(
          zip(dynamics.transitions[t] * (x + u), dynamics.offsets.column(t)).map(+),
          dynamics.covariances[t]))
      controls.append(u)
    }
    return (states, controls, ratios)
  }

  @Test("means, covariances, divergences and expected costs agree with Monte Carlo")
  func monteCarlo() throws {
    let marginals = try marginals(of: p, under: dynamics)
    let divergences = klDivergences(from: p, to: q, over: marginals)
    let expected = cost.expectations(over: marginals, under: p)
    let count = 40_000
    var stream = RandomStream(seed: 22)
    var meanSum = [Double](repeating: 0, count: 3)
    var productSum = Matrix(rows: 3, columns: 3)
    var ratioSum = [Double](repeating: 0, count: 5)
    var ratioSquares = ratioSum
    var costSum = [Double](repeating: 0, count: 6)
    var costSquares = costSum
    for _ in 0..<count {
      let (x, u, ratios) = try sample(&stream)
      for i in 0..<3 { meanSum[i] += x[5][i] }
      productSum += .outer(x[5], x[5])
      for t in 0..<5 {
        ratioSum[t] += ratios[t]
        ratioSquares[t] += ratios[t] * ratios[t]
      }
      for t in 0...5 {
        let y = x[t] + (t < 5 ? u[t] : [0, 0])
        let value =
          0.5 * cost.hessians[t].bilinear(y, y)
          + zip(cost.gradients.column(t), y).reduce(0) { $0 + $1.0 * $1.1 } + cost.constants[t]
        // At T the control's part of the cost is not used.
        costSum[t] += value
        costSquares[t] += value * value
      }
    }
    let N = Double(count)
    for i in 0..<3 {
      let deviation = marginals.stateCovariances[5][i, i].squareRoot()
      #expect(abs(meanSum[i] / N - marginals.stateMeans[i, 5]) < 5 * deviation / N.squareRoot())
      for j in 0..<3 {
        let second = productSum[i, j] / N - meanSum[i] / N * meanSum[j] / N
        let scale = deviation * marginals.stateCovariances[5][j, j].squareRoot()
        #expect(abs(second - marginals.stateCovariances[5][i, j]) < 8 * scale / N.squareRoot())
      }
    }
    func agrees(_ sum: Double, _ squares: Double, _ value: Double) -> Bool {
      let mean = sum / N
      let error = (max(0, squares / N - mean * mean) / N).squareRoot()
      return abs(mean - value) < 5 * error + 1e-12
    }
    for t in 0..<5 { #expect(agrees(ratioSum[t], ratioSquares[t], divergences[t])) }
    for t in 0...5 { #expect(agrees(costSum[t], costSquares[t], expected[t])) }
  }

  @Test("a controller does not diverge from itself, and always from another")
  func divergenceIsZeroOnlyForEqualControllers() throws {
    let marginals = try marginals(of: p, under: dynamics)
    for value in klDivergences(from: p, to: p, over: marginals) { #expect(value < 1e-12) }
    for value in klDivergences(from: p, to: q, over: marginals) { #expect(value > 1e-3) }
  }

  @Test("an exploding closed loop is an error with its step")
  func explosion() throws {
    var wild = dynamics
    for i in wild.transitions.storage.indices { wild.transitions.storage[i] *= 1e120 }
    #expect(throws: LQRError.self) { try LQR.marginals(of: p, under: wild) }
  }
}
