// Flops of one step, counted as plain dense algebra that uses symmetry (n states, m controls, d = n + m):
//
//   backward  V F 2n²d · Fᵀ(V F) nd(d+1) · V f 2n², Fᵀ(…) 2nd · Cholesky m³/3 · two solves 2m²(n+1)
//             · Yᵀ Y mn(n+1), Yᵀ y 2mn
//   forward   K x + k 2mn · F y + f 2nd
//   marginals forward · A + B K 2n²m · (A + B K) Σ 2n³ · (…)(A + B K)ᵀ n²(n+1) · B L nm(m+1)
//             · (B L)(B L)ᵀ nm(n+1)
//
// A square-root form needs fewer: its share of the peak is then more than what it computes.

import GPSCore
import LQR
import LinearAlgebra

enum LQRFlops {
  static func backward(_ n: Int, _ m: Int) -> Double {
    let (n, m) = (Double(n), Double(m))
    let d = n + m
    return 2 * n * n * d + n * d * (d + 1) + 2 * n * n + 2 * n * d + m * m * m / 3
      + 2 * m * m * (n + 1) + m * n * (n + 1) + 2 * m * n
  }

  static func forward(_ n: Int, _ m: Int) -> Double {
    let (n, m) = (Double(n), Double(m))
    return 2 * m * n + 2 * n * (n + m)
  }

  static func marginals(_ n: Int, _ m: Int) -> Double {
    let own = forward(n, m)
    let (n, m) = (Double(n), Double(m))
    return own + 2 * n * n * m + 2 * n * n * n + n * n * (n + 1) + n * m * (m + 1)
      + n * m * (n + 1)
  }
}

extension BenchmarkRunner {
  /// Riccati pass with its trajectory, marginals, and the KL-constrained step, for each size.
  public mutating func timeLQR() async {
    let peak = await doublePeak()
    for (n, m) in stateControlSizes(default: [(4, 2), (10, 2), (26, 7), (54, 21), (100, 30)]) {
      await timeLQR(n: n, m: m, T: settings.horizon ?? 100, peak: peak)
    }
  }

  private func timeLQR(n: Int, m: Int, T: Int, peak: Double?) async {
    let sizes = [BenchmarkSize("nx", n), BenchmarkSize("nu", m), BenchmarkSize("T", T)]
    let (cost, dynamics) = BenchmarkInputs.linearQuadratic(n: n, m: m, T: T)
    let steps = Double(T)

    // Gains, offsets, value function, and the trajectory from the mean initial state.
    let riccati = BenchmarkLine(
      .lqr, "riccati", sizes: sizes,
      flops: steps * (LQRFlops.backward(n, m) + LQRFlops.forward(n, m)))
    _ = await time(riccati, peak: peak) {
      var solution: LQSolution?
      var path = MeanPath(n: n, m: m, T: T)
      return PreparedWork(
        run: {
          let solved = try solveLinearQuadratic(cost: cost, dynamics: dynamics)
          path.follow(gains: solved.gains, offsets: solved.offsets, under: dynamics)
          solution = solved
        },
        check: {
          solution.map { sumOfSquares($0.gains.storage) + sumOfSquares($0.offsets.storage) }
        })
    }

    let marginalsLine = BenchmarkLine(
      .lqr, "marginals", sizes: sizes, flops: steps * LQRFlops.marginals(n, m))
    _ = await time(marginalsLine, peak: peak) {
      let solution = try solveLinearQuadratic(cost: cost, dynamics: dynamics)
      let controller = try LinearGaussianController(
        gains: solution.gains, offsets: solution.offsets,
        covariances: MatrixSequence(repeating: 0.1 * .identity(m), count: T))
      var result: Marginals?
      return PreparedWork(
        run: { result = try marginals(of: controller, under: dynamics) },
        check: {
          result.map { result in
            sumOfSquares(result.stateMeans.storage)
              + (0...T).reduce(0) { $0 + result.stateCovariances[$1].trace }
          }
        })
    }

    // From the initial controller, and from a warm dual: the whole search, as in an iteration.
    let step = BenchmarkLine(.lqr, "kl_step", sizes: sizes)
    _ = await time(step) {
      let reference = try BenchmarkInputs.idleController(n: n, m: m, T: T)
      var solution: KLConstrainedLQR.Solution?
      return PreparedWork(
        run: {
          solution = try KLConstrainedLQR().improve(
            from: reference, cost: cost, dynamics: dynamics, bound: steps)
        },
        check: { solution?.divergence },
        extras: {
          guard let solution, solution.status == .converged else {
            throw BenchmarkFailure("the search for the dual did not converge")
          }
          return [("passes", Double(solution.passes))]
        })
    }
  }
}

/// The trajectory of a controller's mean actions under the dynamics' means.
private struct MeanPath {
  /// n × (T + 1) and m × T.
  var states: [Double]
  var controls: [Double]

  init(n: Int, m: Int, T: Int) {
    states = [Double](repeating: 0, count: n * (T + 1))
    controls = [Double](repeating: 0, count: m * T)
  }

  mutating func follow(
    gains: MatrixSequence, offsets: Matrix, under dynamics: LinearGaussianDynamics
  ) {
    let (n, m, T) = (dynamics.state, dynamics.control, dynamics.horizon)
    for i in 0..<n { states[i] = dynamics.initialMean[i] }
    states.withUnsafeMutableBufferPointer { x in
      controls.withUnsafeMutableBufferPointer { u in
        gains.storage.withUnsafeBufferPointer { K in
          offsets.storage.withUnsafeBufferPointer { k in
            dynamics.transitions.storage.withUnsafeBufferPointer { F in
              dynamics.offsets.storage.withUnsafeBufferPointer { f in
                guard let x = x.baseAddress, let u = u.baseAddress, let K = K.baseAddress,
                  let k = k.baseAddress, let F = F.baseAddress, let f = f.baseAddress
                else { return }
                for t in 0..<T {
                  let (here, next, action) = (x + t * n, x + (t + 1) * n, u + t * m)
                  action.update(from: k + t * m, count: m)
                  Kernels.gemv(m: m, n: n, K + t * m * n, m, here, 1, action)
                  next.update(from: f + t * n, count: n)
                  Kernels.gemv(m: n, n: n, F + t * n * (n + m), n, here, 1, next)
                  Kernels.gemv(m: n, n: m, F + t * n * (n + m) + n * n, n, action, 1, next)
                }
              }
            }
          }
        }
      }
    }
  }
}

func sumOfSquares(_ numbers: [Double]) -> Double { numbers.reduce(0) { $0 + $1 * $1 } }
