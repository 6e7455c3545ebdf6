public import Foundation
public import GPSCore
import Logging

/// A learner's run in a directory: begun, or gone on with from its newest checkpoint.
public struct RunSession<L: Learner> {
  /// Who learns.
  public let learner: L
  /// What it is a run of.
  public let source: any RunSource
  /// Where it is written down.
  public let directory: RunDirectory
  /// Where to go on; nil for the beginning.
  let checkpoint: Checkpoint<L.State>?

  /// Iterations that earlier processes have done.
  public var iterationsDone: Int { checkpoint?.state.iteration ?? 0 }

  /// Begins a run.
  ///
  /// - Parameters:
  ///   - learner: who learns.
  ///   - task: what, for the columns of CSV files.
  ///   - source: what the directory keeps of it.
  ///   - url: where; made if it does not exist.
  ///   - replacing: whether files of an earlier run there may be replaced.
  ///   - echoesWarnings: whether warnings go to standard error too.
  /// - Throws: `RunDirectoryError`.
  public init(
    beginning learner: L, on task: some ControlTask, of source: some RunSource, at url: URL,
    replacing: Bool = false, echoesWarnings: Bool = true
  ) throws(RunDirectoryError) {
    self.learner = learner
    self.source = source
    checkpoint = nil
    if replacing, let input = Folder.holds(anyOf: source.inputs, in: url.path) {
      throw .inputInside(path: input, directory: url.path)
    }
    directory = try RunDirectory(
      at: url, experiment: source.archivedYAML, attachments: source.attachments,
      signals: RunDirectory.Signals(task, columns: learner.columns), replacing: replacing,
      echoesWarnings: echoesWarnings)
    for remark in source.remarks { directory.log.logger().warning("\(remark)") }
  }

  /// Goes on with an earlier run from the newest checkpoint that can be used: what was written after that
  /// goes, and will be written again. The results are those of a run that was never interrupted.
  ///
  /// - Parameters:
  ///   - learner: may differ from that of the run in its number of iterations.
  ///   - task: what it learns.
  ///   - source: what the run is to be a run of.
  ///   - url: where it is.
  ///   - echoesWarnings: whether warnings go to standard error too.
  /// - Throws: `CheckpointError` if there is no checkpoint, none can be used or more iterations are
  ///   done than the learner has; `RunDirectoryError`.
  public init(
    resuming learner: L, on task: some ControlTask, of source: some RunSource, at url: URL,
    echoesWarnings: Bool = true
  ) throws {
    let folder = CheckpointFolder(in: url)
    // Before the lock, which would leave a file in a directory that is none of ours.
    if try !RunDirectory.holdsCheckpoints(url) { throw CheckpointError.none(path: url.path) }
    let lock = try RunLock(in: url)
    let found: (checkpoint: Checkpoint<L.State>, name: String, refused: [CheckpointError])
    var isReadable = false
    do {
      found = try folder.newest { checkpoint in
        isReadable = true
        return checkpoint.mismatch(with: learner, of: source)
      }
    } catch {
      // A state of another learner cannot even be read: what makes it another says more.
      guard !isReadable, let change = RunDirectory.change(in: url, to: source) else { throw error }
      throw CheckpointError.invalid(path: folder.url.path, reason: change)
    }
    let (checkpoint, name, refused) = found
    let done = checkpoint.state.iteration
    if done > learner.iterations {
      throw CheckpointError.iterationsDone(path: url.path, done: done, asked: learner.iterations)
    }
    directory = try RunDirectory(
      reopening: url, lock: lock, keeping: done,
      signals: RunDirectory.Signals(task, columns: learner.columns),
      echoesWarnings: echoesWarnings)
    self.learner = learner
    self.source = source
    self.checkpoint = checkpoint
    let logger = directory.log.logger()
    for error in refused { logger.warning("\(error); the checkpoint before it is taken") }
    for remark in source.remarks { logger.warning("\(remark)") }
    if checkpoint.program != ProgramVersion.current {
      logger.warning(
        """
        \(name) was written by version \(checkpoint.program), this is \(ProgramVersion.current): \
        results may differ from those of an uninterrupted run
        """)
    }
    try directory.write(experiment: source.archivedYAML)
    try directory.writePolicies(of: checkpoint.state, by: learner, source)
    logger.info("resumed after \(done) iterations from \(name)")
  }

  /// Learns, and writes every iteration down as it ends.
  ///
  /// A task that is cancelled ends the run early: the iteration in flight is given up, and what there
  /// is is written and returned.
  ///
  /// - Parameters:
  ///   - workers: how many the learner uses, for the summary; results do not depend on it.
  ///   - schedule: when to write checkpoints.
  ///   - shouldStop: asked after each iteration; true ends the run early.
  ///   - onReport: called after each iteration, as `shouldStop`, in the caller's isolation.
  /// - Returns: what the run came to.
  /// - Throws: what the learner throws, or `RunDirectoryError`; the summary then says so, if it can
  ///   still be written.
  nonisolated(nonsending) public func run(
    workers: Int, schedule: CheckpointSchedule = CheckpointSchedule(),
    shouldStop: () -> Bool = { false }, onReport: (Report) -> Void = { _ in }
  ) async throws -> Summary {
    let summary: Summary
    do {
      summary = try await learn(
        workers: workers, schedule: schedule, shouldStop: shouldStop, onReport: onReport)
    } catch {
      await learner.pause()
      throw error
    }
    await learner.pause()
    return summary
  }

  nonisolated(nonsending) private func learn(
    workers: Int, schedule: CheckpointSchedule, shouldStop: () -> Bool, onReport: (Report) -> Void
  ) async throws -> Summary {
    let clock = ContinuousClock()
    let start = clock.now
    let logger = directory.log.logger()
    var record = RunRecord(
      learner, of: source, in: directory, schedule: schedule, from: checkpoint)
    let versions = Summary.Versions.current(mujoco: source.simulatorVersion)
    var summary = Summary(
      task: source.taskName, algorithm: learner.name, seed: source.seed, workers: workers,
      versions: versions)
    var earlierSeconds = 0.0
    if let earlier = checkpoint?.summary {
      if earlier.versions != versions {
        logger.warning(
          """
          the run began with \(earlier.versions) and goes on with \(versions): results may \
          differ from those of an uninterrupted run
          """)
      }
      let recorded = directory.recordedSeconds
      summary = earlier
      summary.workers = workers
      summary.versions = versions
      summary.seconds = recorded.stages
      earlierSeconds = recorded.total
    }
    func elapsed() -> Double { earlierSeconds + start.duration(to: clock.now) / .seconds(1) }
    logger.info("\(source.taskName): \(learner.name), seed \(source.seed), \(workers) workers")
    do {
      // A run that is killed in its first iteration can be resumed too.
      if checkpoint == nil { try record.save(summary) }
      for try await (state, report) in learner.iterations(from: checkpoint?.state) {
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
      summary.outcome = record.isFinished ? .completed : .interrupted
      try record.saveIfNew()
    } catch is CancellationError {
      summary.outcome = .interrupted
      try record.saveIfNew()
    } catch {
      if let failed = error as? any FailedIteration {
        // The rollouts that failed and why stand in the files, for that is when they are needed most.
        try? directory.append(failed.report, isWhole: false)
        summary.discardedRollouts += failed.report.discardedRollouts
      }
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
}
