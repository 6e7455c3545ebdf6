public import Foundation
import GPSCore
public import GlobalPolicy
import LinearAlgebra
import Logging
import Sim
import Statistics

extension LoadedExperiment {
  /// Begins a run directory for this experiment.
  ///
  /// - Parameters:
  ///   - url: where; made if it does not exist.
  ///   - replacing: whether files of an earlier run there may be replaced.
  ///   - echoesWarnings: whether warnings go to standard error too.
  /// - Returns: the directory, in which nothing but the experiment and headings stand.
  /// - Throws: `RunDirectoryError`.
  public func makeRunDirectory(
    at url: URL, replacing: Bool = false, echoesWarnings: Bool = true
  ) throws(RunDirectoryError) -> RunDirectory {
    let (yaml, attachments) = archive
    return try RunDirectory(
      at: url, experiment: yaml, attachments: attachments, signals: RunDirectory.Signals(task),
      replacing: replacing, echoesWarnings: echoesWarnings)
  }

  /// Searches, and writes every iteration into a run directory as it ends.
  ///
  /// A task that is cancelled ends the run early: what there is is written and returned.
  ///
  /// - Parameters:
  ///   - directory: from `makeRunDirectory`.
  ///   - workers: how much runs at once; results do not depend on it.
  ///   - onReport: called after each iteration.
  /// - Returns: what the run came to.
  /// - Throws: `SearchError`, `RunDirectoryError` or an error of the simulator's; the summary then
  ///   says so, if it can still be written.
  public func run(
    in directory: RunDirectory, workers: Int, onReport: (Report) -> Void = { _ in }
  ) async throws -> Summary {
    try await run(task, in: directory, workers: workers, onReport: onReport)
  }

  private func run(
    _ task: some ControlTask, in directory: RunDirectory, workers: Int, onReport: (Report) -> Void
  ) async throws -> Summary {
    var settings = experiment.search
    settings.workers = workers
    let search = PolicySearch(
      task: task, settings: settings, initialControllers: initialControllers,
      seed: experiment.seed)
    let clock = ContinuousClock()
    let start = clock.now
    let logger = directory.log.logger()
    let yaml = archive.yaml
    var summary = Summary(
      task: experiment.task, algorithm: settings.algorithm.rawValue, seed: experiment.seed,
      workers: workers, versions: .current)
    logger.info(
      "\(experiment.task): \(settings.algorithm.rawValue), seed \(experiment.seed), \(workers) workers"
    )
    do {
      for try await (state, report) in search.iterations(from: search.initialState) {
        for note in report.notes { logger.warning("iteration \(report.iteration): \(note)") }
        if let policy = state.policy {
          try directory.write(
            policy: PolicyFile(policy: policy, task: experiment.task, experiment: yaml).safetensors)
        }
        try directory.append(report)
        summary.add(report)
        summary.wallSeconds = start.duration(to: clock.now) / .seconds(1)
        try directory.write(summary: summary)
        onReport(report)
      }
      summary.outcome = .completed
    } catch is CancellationError {
      summary.outcome = .interrupted
    } catch {
      summary.outcome = .failed
      summary.failure = "\(error)"
      summary.wallSeconds = start.duration(to: clock.now) / .seconds(1)
      // Below the level that is echoed: the caller tells the user.
      logger.notice("failed: \(error)")
      // The first error is the one to report, even if the disk is full by now.
      try? directory.write(summary: summary)
      throw error
    }
    summary.wallSeconds = start.duration(to: clock.now) / .seconds(1)
    try directory.write(summary: summary)
    logger.info("\(summary.outcome.rawValue) after \(summary.iterations) iterations")
    return summary
  }

  /// Rolls out a trained policy in all conditions.
  ///
  /// - Parameters:
  ///   - policy: what acts.
  ///   - rollouts: per condition.
  ///   - seed: of initial states and noise.
  ///   - isNoisy: whether the policy's own noise is added.
  ///   - workers: how much runs at once.
  /// - Returns: costs and successes in the training conditions and, if there are any, in the test
  ///   conditions.
  /// - Throws: `PolicyFileError` if the policy does not fit the experiment, or an error of the
  ///   simulator's.
  public func evaluate(
    _ policy: NeuralPolicy, rollouts: Int, seed: UInt64, isNoisy: Bool, workers: Int
  ) async throws -> (training: Evaluation, test: Evaluation?) {
    try await evaluate(
      policy, on: task, rollouts: rollouts, seed: seed, isNoisy: isNoisy, workers: workers)
  }

  private func evaluate(
    _ policy: NeuralPolicy, on task: some ControlTask, rollouts: Int, seed: UInt64, isNoisy: Bool,
    workers: Int
  ) async throws -> (training: Evaluation, test: Evaluation?) {
    let dimensions = task.dimensions
    if policy.observation != dimensions.observation || policy.control != dimensions.control {
      throw PolicyFileError.invalid(
        path: "the policy",
        reason: "it maps \(policy.observation) observations to \(policy.control) controls, the "
          + "experiment has \(dimensions.observation) and \(dimensions.control)")
    }
    let stream = RandomStream(seed: seed)
    func judge(_ conditions: [Condition]) async throws -> Evaluation {
      try await evaluation(
        of: policy, on: task, in: conditions, iteration: 0, rollouts: rollouts,
        noise: isNoisy ? ExplorationNoise() : nil, initialStateNoise: true, stream: stream,
        workers: workers)
    }
    let training = try await judge(task.conditions)
    let test = task.testConditions.isEmpty ? nil : try await judge(task.testConditions)
    return (training, test)
  }
}

extension Summary.Versions {
  /// The versions in this process.
  public static var current: Summary.Versions {
    Summary.Versions(
      gps: ProgramVersion.current, swift: ProgramVersion.swift, mujoco: MuJoCoVersion.current,
      openblas: Kernels.blasVersion, kernels: Kernels.blasName)
  }
}
