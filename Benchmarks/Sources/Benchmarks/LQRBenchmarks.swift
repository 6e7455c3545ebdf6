// Flops of one step, counted as plain dense algebra that uses symmetry (n states, m controls, d = n + m):
//
//   backward  V F 2n²d · Fᵀ(V F) nd(d+1) · V f 2n², Fᵀ(…) 2nd · Cholesky m³/3 · two solves 2m²(n+1)
//             · Yᵀ Y mn(n+1), Yᵀ y 2mn
//   forward   K x + k 2mn · F y + f 2nd
//   marginals forward · A + B K 2n²m · (A + B K) Σ 2n³ · (…)(A + B K)ᵀ n²(n+1) · B L nm(m+1)
//             · (B L)(B L)ᵀ nm(n+1)
//
// A square-root form needs fewer: its share of the peak is then more than what it computes.

import GuidedPolicySearch

package enum LQRFlops {
  package static func backward(_ n: Int, _ m: Int) -> Double {
    let (n, m) = (Double(n), Double(m))
    let d = n + m
    return 2 * n * n * d + n * d * (d + 1) + 2 * n * n + 2 * n * d + m * m * m / 3
      + 2 * m * m * (n + 1) + m * n * (n + 1) + 2 * m * n
  }

  package static func forward(_ n: Int, _ m: Int) -> Double {
    let (n, m) = (Double(n), Double(m))
    return 2 * m * n + 2 * n * (n + m)
  }

  package static func marginals(_ n: Int, _ m: Int) -> Double {
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
      let solver = Reused(LinearQuadraticSolver(state: n, control: m, horizon: T))
      return PreparedWork(
        run: {
          try solver.value.solve(cost: cost, dynamics: dynamics)
          solver.value.simulate(dynamics, from: dynamics.initialMean)
        },
        check: {
          let solution = solver.value.solution
          return sumOfSquares(solution.gains.storage) + sumOfSquares(solution.offsets.storage)
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

/// Holds a solver for closures, which cannot capture what is not copyable.
private final class Reused {
  let value: LinearQuadraticSolver
  init(_ value: consuming LinearQuadraticSolver) { self.value = value }
}

func sumOfSquares(_ numbers: [Double]) -> Double { numbers.reduce(0) { $0 + $1 * $1 } }
