import GPSCore
public import LQR
import LinearAlgebra
import Logging
import Sim
import Statistics

/// Why an experiment cannot be optimised with known dynamics.
public enum OptimizationError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The task does not know its dynamics.
  case unknownDynamics(task: String)
  /// Iterative LQR failed in a condition.
  case condition(String, reason: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .unknownDynamics(let task):
      "\(task): the dynamics are not known, only rollouts can tell them: use gps run"
    case .condition(let name, let reason): "condition \(name): \(reason)"
    }
  }
}

extension LoadedExperiment {
  /// Optimises a trajectory for every training condition on the known dynamics, and writes what it
  /// does into a run directory of the usual form: row 0 is the initial controller's own trajectory,
  /// row i what iteration i made of it, and the last row's rollouts follow the feedback laws that
  /// were found on the plant itself.
  ///
  /// - Parameters:
  ///   - directory: from `makeRunDirectory`.
  ///   - workers: how many conditions, and parts of one, at once; results do not depend on it.
  ///   - onSolution: called for each condition, in their order, when all are optimised.
  /// - Returns: what the run came to.
  /// - Throws: `OptimizationError`, `RunDirectoryError` or an error of the simulator's; the summary
  ///   then says so, if it can still be written. `CancellationError` when the task is cancelled.
  public func optimize(
    in directory: RunDirectory, workers: Int,
    onSolution: (_ condition: String, ILQR.Solution) -> Void = { _, _ in }
  ) async throws -> Summary {
    try await optimize(task, in: directory, workers: workers, onSolution: onSolution)
  }

  private func optimize(
    _ task: some ControlTask, in directory: RunDirectory, workers: Int,
    onSolution: (String, ILQR.Solution) -> Void
  ) async throws -> Summary {
    let clock = ContinuousClock()
    let start = clock.now
    let logger = directory.log.logger()
    var summary = Summary(
      task: experiment.task, algorithm: "ilqr", seed: experiment.seed, workers: workers,
      versions: .current)
    do {
      let guesses = try await noiseFreeRollouts(
        of: initialControllers, on: task, iteration: 0, workers: workers)
      let solutions = try await solutions(task, from: guesses, workers: workers)
      let optimized = clock.now
      let controllers = try solutions.map {
        try $0.controller(covariance: .identity(task.dimensions.control))
      }
      let results = try await noiseFreeRollouts(
        of: controllers, on: task, iteration: 1, workers: workers)
      let reports = reports(task, guesses, solutions, results)
      for var report in reports {
        if report.iteration == reports.count - 1 {
          report.seconds.localOptimization = (optimized - start).inSeconds
          report.seconds.total = (clock.now - start).inSeconds
        }
        try directory.append(report)
        summary.add(report)
      }
      for (condition, solution) in zip(task.conditions, solutions) {
        let line =
          "\(condition.name): \(solution.status.rawValue) after "
          + "\(solution.iterations.count) iterations, cost \(solution.cost)"
        if solution.status == .converged {
          logger.info("\(line)")
        } else {
          logger.warning("\(line)")
        }
        onSolution(condition.name, solution)
      }
      summary.outcome = .completed
    } catch {
      summary.outcome = error is CancellationError ? .interrupted : .failed
      summary.failure = error is CancellationError ? nil : "\(error)"
      summary.wallSeconds = (clock.now - start).inSeconds
      try? directory.write(summary: summary)
      throw error
    }
    summary.wallSeconds = (clock.now - start).inSeconds
    try directory.write(summary: summary)
    return summary
  }

  /// One noise-free rollout of each condition's controller.
  private func noiseFreeRollouts(
    of controllers: [LinearGaussianController], on task: some ControlTask, iteration: Int,
    workers: Int
  ) async throws -> [RolloutBatch] {
    try await collectRollouts(
      of: task, in: task.conditions, under: controllers,
      plan: RolloutPlan(
        iteration: iteration, samples: 1, purpose: .evaluation, noise: nil,
        initialStateNoise: false, options: RolloutOptions(maxAttempts: 1), workers: workers),
      stream: RandomStream(seed: experiment.seed))
  }

  private func solutions(
    _ task: some ControlTask, from guesses: [RolloutBatch], workers: Int
  ) async throws -> [ILQR.Solution] {
    let settings = experiment.optimization
    let ilqr = ILQR(options: settings.ilqr)
    // Conditions first; workers left over share the work within one.
    let inner = max(1, workers / task.conditions.count)
    return try await parallelMap(task.conditions.count, workers: workers) { i in
      let condition = task.conditions[i]
      guard let dynamics = try task.knownDynamics(in: condition) else {
        throw OptimizationError.unknownDynamics(task: experiment.task)
      }
      guard let guess = guesses[i].trajectories.first else {
        throw OptimizationError.condition(
          condition.name, reason: guesses[i].discarded.last?.reason ?? "no rollout")
      }
      do {
        return try await ilqr.optimize(
          dynamics, cost: task.cost, in: condition, from: guess.states.column(0),
          controls: guess.controls, limits: settings.controlLimits, workers: inner)
      } catch let error as ILQRError {
        throw OptimizationError.condition(condition.name, reason: "\(error)")
      }
    }
  }

  private func reports(
    _ task: some ControlTask, _ guesses: [RolloutBatch], _ solutions: [ILQR.Solution],
    _ results: [RolloutBatch]
  ) -> [Report] {
    let last = max(1, solutions.map(\.iterations.count).max() ?? 1)
    return (0...last).map { row in
      let batches = row == 0 ? guesses : row == last ? results : []
      let conditions = solutions.indices.map { i -> ConditionReport in
        let (condition, lines) = (task.conditions[i], solutions[i].iterations)
        let line = row == 0 || lines.isEmpty ? nil : lines[min(row, lines.count) - 1]
        let isOver = row >= lines.count
        var report = ConditionReport(
          name: condition.name, costs: (line?.cost).map { [$0] } ?? [], successes: [],
          predictedImprovement: row <= lines.count ? line?.predictedImprovement : nil,
          actualImprovement: row <= lines.count ? line?.actualImprovement : nil, divergence: 0,
          divergenceBound: 0, stepMultiplier: line?.step ?? 1, dual: line?.regularization ?? 0,
          passes: line?.passes ?? 0, status: isOver ? solutions[i].status.rawValue : "")
        if !batches.isEmpty {
          report.costs = batches[i].trajectories.map {
            task.cost.values(along: $0, in: condition).reduce(0, +)
          }
          report.successes = batches[i].trajectories.map { task.isSuccess($0, in: condition) }
        }
        return report
      }
      return Report(
        iteration: row, rollouts: row == last ? 2 * guesses.count : guesses.count,
        conditions: conditions, policy: nil, test: nil, distillationLoss: nil,
        seconds: StageSeconds(), notes: [], batches: batches)
    }
  }
}
