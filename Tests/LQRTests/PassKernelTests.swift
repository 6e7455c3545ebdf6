import CMatrixKernels
import Foundation
import GPSCore
import GPSTestSupport
import LQR
import LinearAlgebra
import Statistics
import Testing

/// The passes in every variant against the recursions written with `Matrix`, at sizes where controls,
/// states and the row of linear terms share a vector, end one, or start the next.
@Suite("Kernels of the passes") struct PassKernelTests {
  static let variants = Kernels.Variant.allCases.filter(\.isSupported)
  static let sizes = [
    (1, 1), (2, 5), (4, 2), (5, 2), (7, 8), (10, 2), (8, 8), (13, 9), (17, 16), (26, 7), (23, 17),
    (54, 21),
  ]
  static let T = 4

  struct Problem {
    let n: Int
    let m: Int
    let dynamics: LinearGaussianDynamics
    let cost: QuadraticCost

    /// V is indefinite at the end: nothing but Q_uu has to be positive definite.
    init(_ n: Int, _ m: Int) {
      (self.n, self.m) = (n, m)
      var stream = RandomStream(seed: 41).child(.custom, n, m)
      dynamics = RandomProblem.dynamics(state: n, control: m, horizon: T, &stream)
      var cost = RandomProblem.cost(state: n, control: m, horizon: T, &stream)
      var last = cost.hessians[T]
      last[0, 0] -= 0.5
      cost.hessians[T] = last
      self.cost = cost
    }
  }

  struct Solution {
    var K: [Double]
    var k: [Double]
    var L: [Double]
    var V: [Double]
    var v: [Double]
  }

  static func solve(
    _ problem: Problem, scale: Double, ridge: Double, variant: Kernels.Variant,
    states: UnsafeMutablePointer<Double>? = nil, controls: UnsafeMutablePointer<Double>? = nil
  ) -> (step: Int, Solution) {
    let (n, m) = (problem.n, problem.m)
    var s = Solution(
      K: .init(repeating: .nan, count: T * m * n), k: .init(repeating: .nan, count: T * m),
      L: .init(repeating: .nan, count: T * m * m),
      V: .init(repeating: .nan, count: (T + 1) * n * n),
      v: .init(repeating: .nan, count: (T + 1) * n))
    let scratch = Scratch<Double>(
      Int(mk_riccati_scratch(Int64(n), Int64(m))), repeating: .nan)
    var step = 0
    problem.cost.hessians.storage.withUnsafeBufferPointer { C in
      problem.cost.gradients.storage.withUnsafeBufferPointer { c in
        problem.dynamics.transitions.storage.withUnsafeBufferPointer { F in
          problem.dynamics.offsets.storage.withUnsafeBufferPointer { f in
            s.K.withUnsafeMutableBufferPointer { K in
              s.k.withUnsafeMutableBufferPointer { k in
                s.L.withUnsafeMutableBufferPointer { L in
                  s.V.withUnsafeMutableBufferPointer { V in
                    s.v.withUnsafeMutableBufferPointer { v in
                      var arguments = mk_riccati(
                        state: Int64(n), control: Int64(m), horizon: Int64(T),
                        hessians: C.baseAddress, gradients: c.baseAddress,
                        transitions: F.baseAddress, offsets: f.baseAddress, scale: scale,
                        ridge: ridge, gains: K.baseAddress, gain_offsets: k.baseAddress,
                        factors: L.baseAddress, value_hessians: V.baseAddress,
                        value_gradients: v.baseAddress, scratch: scratch.pointer)
                      step = Int(mk_riccati_backward(variant.rawValue, &arguments))
                      if let states, let controls {
                        mk_simulate(variant.rawValue, &arguments, states, controls)
                      }
                    }
                  }
                }
              }
            }
          }
        }
      }
    }
    return (step, s)
  }

  /// The recursion as it is written on paper.
  static func reference(_ problem: Problem, scale: Double, ridge: Double) throws -> Solution {
    let (n, m) = (problem.n, problem.m)
    var V = scale * problem.cost.hessians[T][0..<n, 0..<n]
    var v = (0..<n).map { scale * problem.cost.gradients[$0, T] }
    var s = Solution(K: [], k: [], L: [], V: V.storage, v: v)
    for t in (0..<T).reversed() {
      let F = problem.dynamics.transitions[t]
      let Vf = zip(V * problem.dynamics.offsets.column(t), v).map(+)
      var Q = scale * problem.cost.hessians[t] + F.transposed * (V * F)
      let q = zip(problem.cost.gradients.column(t), F.transposed * Vf).map { scale * $0 + $1 }
      for i in n..<n + m { Q[i, i] += ridge }
      let factor = try CholeskyFactor(Q[n..<n + m, n..<n + m])
      let K = -1 * factor.solve(Q[n..<n + m, 0..<n])
      let k = factor.solve(Array(q[n...])).map(-)
      V = (Q[0..<n, 0..<n] + Q[0..<n, n..<n + m] * K).symmetrized
      v = zip(q[..<n], Q[0..<n, n..<n + m] * k).map(+)
      s.K = K.storage + s.K
      s.k = k + s.k
      s.L = factor.lower.storage + s.L
      s.V = V.storage + s.V
      s.v = v + s.v
    }
    return s
  }

  @Test(arguments: variants, [(1.0, 0.0), (0.3, 1.0)])
  func backwardPass(_ variant: Kernels.Variant, _ weights: (scale: Double, ridge: Double)) throws {
    for (n, m) in Self.sizes {
      let problem = Problem(n, m)
      let (step, found) = Self.solve(
        problem, scale: weights.scale, ridge: weights.ridge, variant: variant)
      let expected = try Self.reference(problem, scale: weights.scale, ridge: weights.ridge)
      #expect(step == -1)
      #expect(relativeError(found.K, expected.K) < 1e-9, "K at \(n), \(m)")
      #expect(relativeError(found.k, expected.k) < 1e-9, "k at \(n), \(m)")
      #expect(relativeError(found.L, expected.L) < 1e-9, "L at \(n), \(m)")
      #expect(relativeError(found.V, expected.V) < 1e-9, "V at \(n), \(m)")
      #expect(relativeError(found.v, expected.v) < 1e-9, "v at \(n), \(m)")
      for t in 0...Self.T {
        for j in 0..<n {
          for i in 0..<j {
            #expect(found.V[(t * n + j) * n + i] == found.V[(t * n + i) * n + j])
          }
        }
      }
    }
  }

  @Test(arguments: variants)
  func simulation(_ variant: Kernels.Variant) throws {
    for (n, m) in Self.sizes {
      let problem = Problem(n, m)
      var states = Matrix(rows: n, columns: Self.T + 1, repeating: .nan)
      var controls = Matrix(rows: m, columns: Self.T, repeating: .nan)
      states.setColumn(0, to: problem.dynamics.initialMean)
      var gains: [Double] = []
      var offsets: [Double] = []
      states.storage.withUnsafeMutableBufferPointer { x in
        controls.storage.withUnsafeMutableBufferPointer { u in
          let solution = Self.solve(
            problem, scale: 1, ridge: 0, variant: variant, states: x.baseAddress,
            controls: u.baseAddress
          ).1
          (gains, offsets) = (solution.K, solution.k)
        }
      }
      let K = MatrixSequence(rows: m, columns: n, count: Self.T, columnMajor: gains)
      var x = problem.dynamics.initialMean
      for t in 0..<Self.T {
        let u = zip(K[t] * x, offsets[t * m..<(t + 1) * m]).map(+)
        x = zip(problem.dynamics.transitions[t] * (x + u), problem.dynamics.offsets.column(t)).map(
          +)
        #expect(relativeError(controls.column(t), u) < 1e-10, "u_\(t) at \(n), \(m)")
        #expect(relativeError(states.column(t + 1), x) < 1e-10, "x_\(t + 1) at \(n), \(m)")
      }
    }
  }

  @Test(
    "the step that fails is named, and Q_uu left where its factor would be", arguments: variants)
  func indefinite(_ variant: Kernels.Variant) throws {
    for (n, m) in [(4, 2), (5, 9), (26, 7)] {
      let problem = Problem(n, m)
      // A ridge that makes the smallest eigenvalue of the last step's Q_uu negative.
      let F = problem.dynamics.transitions[Self.T - 1]
      let V = problem.cost.hessians[Self.T][0..<n, 0..<n]
      var Quu = (problem.cost.hessians[Self.T - 1] + F.transposed * (V * F))[n..<n + m, n..<n + m]
      let ridge = -1.5 * (try Quu.symmetrized.symmetricEigen().values[m / 2])
      for i in 0..<m { Quu[i, i] += ridge }
      let (step, found) = Self.solve(problem, scale: 1, ridge: ridge, variant: variant)
      #expect(step == Self.T - 1)
      #expect(relativeError(Array(found.L.suffix(m * m)), Quu.storage) < 1e-12, "at \(n), \(m)")
    }
  }

  @Test(arguments: variants, [false, true])
  func marginals(_ variant: Kernels.Variant, _ isPrecision: Bool) throws {
    for (n, m) in Self.sizes {
      var stream = RandomStream(seed: 42).child(.custom, n, m)
      let dynamics = RandomProblem.dynamics(state: n, control: m, horizon: Self.T, &stream)
      let controller = try RandomProblem.controller(
        state: n, control: m, horizon: Self.T, &stream)
      var noise = controller.covarianceFactors
      if isPrecision {
        for t in 0..<Self.T { noise[t] = try CholeskyFactor(controller.precisions[t]).lower }
      }
      var means = Matrix(rows: n, columns: Self.T + 1, repeating: .nan)
      var controls = Matrix(rows: m, columns: Self.T, repeating: .nan)
      var covariances = MatrixSequence(rows: n, columns: n, count: Self.T + 1)
      var divergences = [Double](repeating: .nan, count: Self.T)
      let scratch = Scratch<Double>(
        Int(mk_gaussian_scratch(Int64(n), Int64(m))), repeating: .nan)
      var step = 0
      func run(
        _ means: UnsafeMutablePointer<Double>?, _ controls: UnsafeMutablePointer<Double>?,
        _ covariances: UnsafeMutablePointer<Double>?, _ divergences: UnsafeMutablePointer<Double>?
      ) {
        dynamics.transitions.storage.withUnsafeBufferPointer { F in
          dynamics.offsets.storage.withUnsafeBufferPointer { f in
            dynamics.covariances.storage.withUnsafeBufferPointer { W in
              controller.gains.storage.withUnsafeBufferPointer { K in
                controller.offsets.storage.withUnsafeBufferPointer { k in
                  noise.storage.withUnsafeBufferPointer { L in
                    dynamics.initialMean.withUnsafeBufferPointer { mean in
                      dynamics.initialCovariance.storage.withUnsafeBufferPointer { covariance in
                        var arguments = mk_gaussian(
                          state: Int64(n), control: Int64(m), horizon: Int64(Self.T),
                          transitions: F.baseAddress, offsets: f.baseAddress,
                          process: W.baseAddress, gains: K.baseAddress,
                          gain_offsets: k.baseAddress, noise: L.baseAddress,
                          noise_is_precision: isPrecision ? 1 : 0, initial_mean: mean.baseAddress,
                          initial_covariance: covariance.baseAddress, means: means,
                          controls: controls, covariances: covariances,
                          divergences: isPrecision ? divergences : nil, scratch: scratch.pointer)
                        step = Int(mk_gaussian_forward(variant.rawValue, &arguments))
                      }
                    }
                  }
                }
              }
            }
          }
        }
      }
      means.storage.withUnsafeMutableBufferPointer { a in
        controls.storage.withUnsafeMutableBufferPointer { b in
          covariances.storage.withUnsafeMutableBufferPointer { c in
            divergences.withUnsafeMutableBufferPointer { d in
              run(a.baseAddress, b.baseAddress, c.baseAddress, d.baseAddress)
            }
          }
        }
      }
      #expect(step == -1)
      var mean = dynamics.initialMean
      var S = dynamics.initialCovariance
      for t in 0..<Self.T {
        let K = controller.gains[t]
        let C = controller.covariances[t]
        let F = dynamics.transitions[t]
        let u = zip(K * mean, controller.offsets.column(t)).map(+)
        #expect(relativeError(controls.column(t), u) < 1e-10, "u_\(t) at \(n), \(m)")
        if isPrecision {
          // KL(N(K x + k, C) ‖ N(0, I)) over x ~ N(mean, S).
          let spread = (K * S * K.transposed).trace + C.trace - Double(m)
          let squares = u.reduce(0) { $0 + $1 * $1 }
          let expected = 0.5 * (spread + squares - (try CholeskyFactor(C).logDeterminant))
          #expect(abs(divergences[t] / expected - 1) < 1e-9, "KL_\(t) at \(n), \(m)")
        }
        var joint = Matrix(rows: n + m, columns: n + m)
        joint[0..<n, 0..<n] = S
        joint[n..<n + m, 0..<n] = K * S
        joint[0..<n, n..<n + m] = S * K.transposed
        joint[n..<n + m, n..<n + m] = K * S * K.transposed + C
        S = (F * joint * F.transposed + dynamics.covariances[t]).symmetrized
        mean = zip(F * (mean + u), dynamics.offsets.column(t)).map(+)
        #expect(relativeError(means.column(t + 1), mean) < 1e-10, "μ_\(t + 1) at \(n), \(m)")
        #expect(
          relativeError(covariances[t + 1].storage, S.storage) < 1e-9, "Σ_\(t + 1) at \(n), \(m)")
      }
    }
  }

  @Test("the solver's states and controls satisfy the dynamics and its own gains")
  func solver() throws {
    let problem = Problem(5, 2)
    let solver = LinearQuadraticSolver(state: 5, control: 2, horizon: Self.T)
    for shift in [0.0, 1.0] {  // the same memory twice
      var cost = problem.cost
      cost.gradients[0, 0] += shift
      try solver.solve(cost: cost, dynamics: problem.dynamics)
      solver.simulate(problem.dynamics, from: problem.dynamics.initialMean)
      let solution = solver.solution
      let again = try solveLinearQuadratic(cost: cost, dynamics: problem.dynamics)
      #expect(solution.gains == again.gains && solution.valueHessians == again.valueHessians)
      #expect(solver.states.column(0) == problem.dynamics.initialMean)
      for t in 0..<Self.T {
        let (x, u) = (solver.states.column(t), solver.controls.column(t))
        let expected = zip(solution.gains[t] * x, solution.offsets.column(t)).map(+)
        #expect(relativeError(u, expected) < 1e-12)
        let next = zip(
          problem.dynamics.transitions[t] * (x + u), problem.dynamics.offsets.column(t)
        )
        .map(+)
        #expect(relativeError(solver.states.column(t + 1), next) < 1e-12)
      }
    }
  }
}
