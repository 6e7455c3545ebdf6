import GuidedPolicySearch

extension BenchmarkRunner {
  /// Iterative LQR on the classical problems: times are of one iteration, line search and expansion
  /// included; `check` is the cost of given controls.
  public func timeILQR() async {
    await timeILQR(ClassicalProblems.pendulum(horizon: settings.horizon))
    await timeILQR(ClassicalProblems.cartPole(horizon: settings.horizon))
    await timeILQR(ClassicalProblems.acrobot(horizon: settings.horizon))
    await timeILQR(ClassicalProblems.quadrotor(horizon: settings.horizon))
    await timeILQR(ClassicalProblems.car(horizon: settings.horizon))
  }

  private func timeILQR<System>(_ problem: ClassicalProblem<System>) async {
    await timeILQR(problem, problem.name, ILQR.Options())
    // As other programs do it.
    var firstOrder = ILQR.Options()
    firstOrder.secondDerivatives = false
    await timeILQR(problem, problem.name + "_first_order", firstOrder)
  }

  private func timeILQR<System>(
    _ problem: ClassicalProblem<System>, _ name: String, _ options: ILQR.Options
  ) async {
    let line = BenchmarkLine(
      .ilqr, name,
      sizes: [
        BenchmarkSize("nx", problem.initialState.count),
        BenchmarkSize("nu", problem.controls.count),
        BenchmarkSize("T", problem.horizon),
      ])
    _ = await time(line) {
      // Every search is the same: the first one tells how many iterations there are to divide by. The
      // last direction, which promises nothing, is not in the log.
      let solution = try await problem.solve(options)
      let iterations = solution.iterations.count
      let directions = iterations + (solution.status == .converged ? 1 : 0)
      return PreparedWork(
        run: { _ = try await problem.solve(options) },
        check: { problem.costOfWave() },
        extras: {
          [
            ("iterations", Double(iterations)), ("cost", solution.cost),
            ("converged", solution.status == .converged ? 1 : 0),
            ("passes", Double(solution.iterations.reduce(0) { $0 + $1.passes })),
            ("trials", Double(solution.iterations.reduce(0) { $0 + $1.trials })),
          ]
        },
        runsPerCall: Double(directions))
    }
  }
}
