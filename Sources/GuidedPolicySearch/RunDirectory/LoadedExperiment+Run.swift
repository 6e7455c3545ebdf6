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

  /// Opens the directory of an earlier run of this experiment, and brings it to the newest checkpoint
  /// that can be used: what was written after that goes, and will be written again.
  ///
  /// - Parameters:
  ///   - url: where; the experiment may differ from the one there in its number of iterations.
  ///   - echoesWarnings: whether warnings go to standard error too.
  /// - Returns: the directory, and the checkpoint to pass to `run(in:from:)` with it.
  /// - Throws: `CheckpointError` if there is no checkpoint, none can be used or more iterations are
  ///   done than the experiment has; `RunDirectoryError`.
  public func reopenRunDirectory(
    at url: URL, echoesWarnings: Bool = true
  ) throws -> (directory: RunDirectory, checkpoint: Checkpoint) {
    let folder = CheckpointFolder(in: url)
    // Before the lock, which would leave a file in a directory that is none of ours.
    if !RunDirectory.holdsCheckpoints(url) { throw CheckpointError.none(path: url.path) }
    let lock = try RunLock(in: url)
    let (checkpoint, name, refused) = try folder.newest { $0.mismatch(with: self) }
    let done = checkpoint.state.iteration
    if done > experiment.search.iterations {
      throw CheckpointError.iterationsDone(
        path: url.path, done: done, asked: experiment.search.iterations)
    }
    let directory = try RunDirectory(
      reopening: url, lock: lock, keeping: done, signals: RunDirectory.Signals(task),
      echoesWarnings: echoesWarnings)
    let logger = directory.log.logger()
    for error in refused { logger.warning("\(error); the checkpoint before it is taken") }
    if checkpoint.program != ProgramVersion.current {
      logger.warning(
        """
        \(name) was written by version \(checkpoint.program), this is \(ProgramVersion.current): \
        results may differ from those of an uninterrupted run
        """)
    }
    let yaml = archivedExperiment.yaml
    try directory.write(experiment: yaml)
    if let policy = checkpoint.state.policy {
      try directory.write(
        policy: PolicyFile(policy: policy, task: experiment.task, experiment: yaml).safetensors)
    } else {
      directory.removePolicy()
    }
    logger.info("resumed after \(done) iterations from \(name)")
    return (directory, checkpoint)
  }

  /// Searches, and writes every iteration into a run directory as it ends.
  ///
  /// A task that is cancelled ends the run early: the iteration in flight is given up, and what there
  /// is is written and returned.
  ///
  /// - Parameters:
  ///   - directory: from `makeRunDirectory`, or from `reopenRunDirectory` together with `checkpoint`.
  ///   - checkpoint: where to go on; nil for the beginning. The results are those of a run that was
  ///     never interrupted.
  ///   - workers: how much runs at once; results do not depend on it.
  ///   - schedule: when to write checkpoints.
  ///   - shouldStop: asked after each iteration; true ends the run early.
  ///   - onReport: called after each iteration.
  /// - Returns: what the run came to.
  /// - Throws: `SearchError`, `RunDirectoryError` or an error of the simulator's; the summary then
  ///   says so, if it can still be written.
  public func run(
    in directory: RunDirectory, from checkpoint: Checkpoint? = nil, workers: Int,
    schedule: CheckpointSchedule = CheckpointSchedule(), shouldStop: () -> Bool = { false },
    onReport: (Report) -> Void = { _ in }
  ) async throws -> Summary {
    try await run(
      task, in: directory, from: checkpoint, workers: workers, schedule: schedule,
      shouldStop: shouldStop, onReport: onReport)
  }

  private func run(
    _ task: some ControlTask, in directory: RunDirectory, from checkpoint: Checkpoint?,
    workers: Int, schedule: CheckpointSchedule, shouldStop: () -> Bool,
    onReport: (Report) -> Void
  ) async throws -> Summary {
    var settings = experiment.search
    settings.workers = workers
    let search = PolicySearch(
      task: task, settings: settings, initialControllers: initialControllers,
      seed: experiment.seed)
    let clock = ContinuousClock()
    let start = clock.now
    let logger = directory.log.logger()
    var record = RunRecord(
      self, in: directory, schedule: schedule, from: checkpoint, initial: search.initialState)
    var summary = Summary(
      task: experiment.task, algorithm: settings.algorithm.rawValue, seed: experiment.seed,
      workers: workers, versions: .current)
    var earlierSeconds = 0.0
    if let earlier = checkpoint?.summary {
      if earlier.versions != summary.versions {
        logger.warning(
          """
          the run began with \(earlier.versions) and goes on with \(summary.versions): results may \
          differ from those of an uninterrupted run
          """)
      }
      let recorded = RunDirectory.recordedSeconds(
        in: directory.url.appendingPathComponent(RunDirectory.FileName.progress).path)
      summary = earlier
      summary.workers = workers
      summary.versions = .current
      summary.seconds = recorded.stages
      earlierSeconds = recorded.total
    }
    func elapsed() -> Double { earlierSeconds + start.duration(to: clock.now) / .seconds(1) }
    logger.info(
      "\(experiment.task): \(settings.algorithm.rawValue), seed \(experiment.seed), \(workers) workers"
    )
    do {
      // A run that is killed in its first iteration can be resumed too.
      if checkpoint == nil { try record.save(summary) }
      for try await (state, report) in search.iterations(
        from: checkpoint?.state ?? search.initialState)
      {
        for note in report.notes { logger.warning("iteration \(report.iteration): \(note)") }
        var next = summary
        next.add(report)
        next.wallSeconds = elapsed()
        try record.add(state, report, next)
        summary = next
        try directory.write(summary: summary)
        onReport(report)
        if shouldStop() { break }
      }
      summary.outcome =
        record.iteration >= settings.iterations ? .completed : .interrupted
      try record.saveIfNew()
    } catch is CancellationError {
      summary.outcome = .interrupted
      try record.saveIfNew()
    } catch {
      summary.outcome = .failed
      summary.failure = "\(error)"
      summary.wallSeconds = elapsed()
      // Below the level that is echoed: the caller tells the user.
      logger.notice("failed: \(error)")
      // The first error is the one to report, even if the disk is full by now.
      try? record.saveIfNew()
      try? directory.write(summary: summary)
      throw error
    }
    summary.wallSeconds = elapsed()
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
        noise: isNoisy ? ExplorationNoise() : nil, initialStateNoise: true,
        timeLimit: experiment.search.rollouts.timeLimit, stream: stream, workers: workers)
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
