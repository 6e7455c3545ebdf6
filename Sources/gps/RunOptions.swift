import ArgumentParser
import Foundation
import GuidedPolicySearch

/// What `gps run` and `gps resume` have in common.
struct RunOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Concurrent workers; default: one per core.", valueName: "n"))
  var workers: Int?

  @Option(help: ArgumentHelp("Iterations from one checkpoint to the next.", valueName: "n"))
  var checkpointEvery = 1

  @Option(
    help: ArgumentHelp(
      "Newest checkpoints to keep, beside that of the best policy.", valueName: "k"))
  var keep = 3

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

  /// Runs an experiment in the directory that `open` makes or opens, and ends with the exit code that
  /// tells how it went.
  func run(
    _ loaded: LoadedExperiment, in url: URL,
    open: @escaping @Sendable () throws -> (directory: RunDirectory, checkpoint: Checkpoint?)
  ) async throws {
    // A reader that went away (`gps run … | head`) must not end a run.
    signal(SIGPIPE, SIG_IGN)
    // A file that may not grow further is an error like a full disk.
    signal(SIGXFSZ, SIG_IGN)
    let workers = workers ?? max(1, ProcessInfo.processInfo.activeProcessorCount)
    let folder = displayPath(url)
    let isQuiet = quiet
    let schedule = CheckpointSchedule(every: checkpointEvery, keep: keep)
    let stop = StopRequest()
    let (outcome, signalNumber) = await interruptible(stopping: stop) {
      () -> Result<Summary, any Error> in
      do {
        let (directory, checkpoint) = try open()
        let settings = loaded.experiment.search
        var printer = ProgressPrinter(
          iterations: settings.iterations, done: checkpoint?.state.iteration ?? 0,
          hasPolicy: settings.algorithm == .mirrorDescent, isQuiet: isQuiet)
        printer.begin(headline(of: loaded, from: checkpoint, workers: workers, folder: folder))
        defer { printer.end() }
        return .success(
          try await loaded.run(
            in: directory, from: checkpoint, workers: workers, schedule: schedule,
            shouldStop: { stop.isMade }, onReport: { printer.print($0) }))
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
  }
}

private func headline(
  of loaded: LoadedExperiment, from checkpoint: Checkpoint?, workers: Int, folder: String
) -> String {
  let (settings, task) = (loaded.experiment.search, loaded.task)
  let total = settings.iterations
  let whence =
    switch checkpoint?.state.iteration {
    case nil: ""
    case total: "; all iterations are done, --iterations asks for more"
    case let done?: "; \(done) iterations are done"
    }
  return "\(task.name): \(settings.algorithm.rawValue), \(total) iterations of "
    + "\(settings.samples) rollouts in \(task.conditions.count) conditions, "
    + "seed \(loaded.experiment.seed), \(workers) workers, in \(folder)\(whence)"
}

private func printResult(_ summary: Summary, folder: String) {
  var line = summary.outcome == .interrupted ? "interrupted; " : ""
  if let policy = summary.policy {
    let succeeded = policy.perCondition.count { $0.successRate == 1 }
    line +=
      "policy: success rate \(percent(policy.successRate)) (\(succeeded) of "
      + "\(policy.perCondition.count) conditions), mean cost \(number(policy.meanCost))"
    if let test = summary.test { line += "; test conditions: \(percent(test.successRate))" }
  } else if summary.iterations > 0 {
    line +=
      "local controllers: success rate \(percent(summary.successRate)), "
      + "mean cost \(number(summary.meanCost))"
  } else {
    line += "no iteration was finished"
  }
  printLine(line)
  printLine("run directory: \(folder)")
}
