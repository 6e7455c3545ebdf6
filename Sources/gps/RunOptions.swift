import ArgumentParser
import Foundation
import GuidedPolicySearch

/// What `gps run`, `gps resume` and `gps optimize` have in common.
struct RunOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Concurrent workers; default: one per core.", valueName: "n"))
  var workers: Int?

  @Option(help: ArgumentHelp("Iterations from one checkpoint to the next.", valueName: "n"))
  var checkpointEvery = 1

  @Option(
    help: ArgumentHelp(
      "Newest checkpoints to keep, beside that of the best policy.", valueName: "k"))
  var keep = 3

  @Flag(help: "Write event files for TensorBoard, into tensorboard/ of the run directory.")
  var tensorboard = false

  @Flag(help: "Print the result alone.")
  var quiet = false

  func validate() throws {
    if let workers, !(1...4096).contains(workers) {
      throw ValidationError("--workers: \(workers) is not allowed (must be between 1 and 4096)")
    }
    for (option, value) in [("--checkpoint-every", checkpointEvery), ("--keep", keep)]
    where value < 1 {
      throw ValidationError("\(option): \(value) is not allowed (must be at least 1)")
    }
  }

  /// How many run at once.
  var workerCount: Int { workers ?? max(1, ProcessInfo.processInfo.activeProcessorCount) }

  /// How the run in a directory begins.
  enum Start: Sendable {
    /// With the first iteration; whatever run is there may be replaced or not.
    case anew(replacing: Bool)
    /// With the newest checkpoint.
    case resumed
  }

  /// Learns in a directory, and ends with the exit code that tells how it went.
  func run(
    _ loaded: LoadedExperiment, by learner: some Learner, in url: URL, start: Start,
    onReport: @escaping @Sendable (Report) -> Void = { _ in }
  ) async throws {
    // A reader that went away (`gps run … | head`) must not end a run.
    signal(SIGPIPE, SIG_IGN)
    let (workers, isQuiet, folder) = (workerCount, quiet, displayPath(url))
    let schedule = CheckpointSchedule(every: checkpointEvery, keep: keep)
    let (stop, isOnBoard) = (StopRequest(), tensorboard)
    let (outcome, signalNumber) = await interruptible(stopping: stop) {
      () -> Result<Summary, any Error> in
      do {
        let session =
          switch start {
          case .anew(let replacing):
            try loaded.begin(learner, at: url, replacing: replacing)
          case .resumed: try loaded.resume(learner, at: url)
          }
        var printer = ProgressPrinter(of: learner, done: session.iterationsDone, isQuiet: isQuiet)
        printer.begin(headline(of: loaded, session, workers: workers, folder: folder))
        defer { printer.end() }
        var board = try isOnBoard ? eventFile(of: loaded, session, in: url) : nil
        defer { board?.end() }
        let summary = try await session.run(
          workers: workers, schedule: schedule, shouldStop: { stop.isMade },
          onReport: { report in
            stop.note(iteration: report.seconds.total - report.seconds["start"])
            printer.print(report)
            board?.append(report)
            if !isQuiet { onReport(report) }
          })
        board?.outcome = summary.outcome
        return .success(summary)
      } catch {
        return .failure(error)
      }
    }
    let summary: Summary
    do {
      summary = try outcome.get()
    } catch {
      throw CommandFailure(error, otherwise: .runFailed)
    }
    printResult(summary, folder: folder)
    if summary.outcome == .interrupted {
      throw ExitCode(128 + (signalNumber ?? SIGINT))
    }
    try requireOutput()
  }
}

/// How fast rollouts are.
struct PaceOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Let each rollout take as long as on a robot that is so many times faster (1: real time); by default "
        + "rollouts are as fast as they can be computed.", valueName: "factor"))
  var realTime: Double?

  func validate() throws {
    if let realTime, !(1e-3...1e6).contains(realTime) {
      throw ValidationError(
        "--real-time: \(realTime) is not allowed (must be between 0.001 and 1000000)")
    }
  }

  /// An experiment whose rollouts take their time.
  func applied(to loaded: LoadedExperiment) throws -> LoadedExperiment {
    guard let realTime else { return loaded }
    var loaded = loaded
    loaded.task = try loaded.task.inRealTime(factor: realTime)
    return loaded
  }
}

private func headline<L: Learner>(
  of loaded: LoadedExperiment, _ session: RunSession<L>, workers: Int, folder: String
) -> String {
  let (settings, task, total) = (loaded.experiment.search, loaded.task, session.learner.iterations)
  let whence =
    switch session.iterationsDone {
    case 0: ""
    case total: "; all iterations are done, --iterations asks for more"
    case let done: "; \(done) iterations are done"
    }
  return "\(task.name): \(session.learner.name), \(total) iterations of "
    + "\(settings.samples) rollouts in \(task.conditions.count) conditions, "
    + "seed \(loaded.experiment.seed), \(workers) workers, in \(folder)\(whence)"
}

private func printResult(_ summary: Summary, folder: String) {
  var line = summary.outcome == .interrupted ? "interrupted; " : ""
  if let policy = summary.policy {
    line += "policy: "
    if let rate = policy.successRate {
      let succeeded = policy.perCondition.count { $0.successRate == 1 }
      line +=
        "success rate \(percent(rate)) (\(succeeded) of \(policy.perCondition.count) conditions), "
    }
    line += "mean cost \(number(policy.meanCost))"
    line += " (iteration \(policy.iteration), the best by noise-free rollouts"
    if let last = summary.lastPolicy, last.iteration != policy.iteration {
      line += "; the last one: "
      line += last.successRate.map { "\(percent($0)), " } ?? ""
      line += number(last.meanCost)
    }
    line += ")"
    if let test = summary.test {
      line +=
        "; test conditions: "
        + (test.successRate.map { percent($0) } ?? "mean cost \(number(test.meanCost))")
    }
  } else if summary.iterations > 0 {
    line +=
      "local controllers: "
      + (summary.successRate.map { "success rate \(percent($0)), " } ?? "")
      + "mean cost \(number(summary.meanCost))"
  } else {
    line += "no iteration was finished"
  }
  printLine(line)
  printLine("run directory: \(folder)")
}

private func eventFile<L: Learner>(
  of loaded: LoadedExperiment, _ session: RunSession<L>, in url: URL
) throws -> EventFile {
  func log(of task: some ControlTask) throws -> TensorBoardLog {
    try TensorBoardLog(
      in: url, task, learner: session.learner, experiment: loaded.archivedYAML,
      done: session.iterationsDone)
  }
  return EventFile(log: try log(of: loaded.task))
}

/// What TensorBoard reads. A run that learns does not end because it cannot be written: that is said, once.
private struct EventFile {
  private var log: TensorBoardLog?
  /// How the run ended; one that threw has failed.
  var outcome = Summary.Outcome.failed

  init(log: TensorBoardLog) { self.log = log }

  mutating func append(_ report: Report) { write { try $0.append(report) } }

  mutating func end() { write { [outcome] log in try log.end(outcome) } }

  private mutating func write(_ body: (TensorBoardLog) throws -> Void) {
    guard let log else { return }
    do {
      try body(log)
    } catch {
      printToStandardError(
        "gps: warning: \(error); nothing more is written for TensorBoard", afterBreak: true)
      self.log = nil
    }
  }
}
