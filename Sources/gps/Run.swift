import ArgumentParser
import Foundation
import GuidedPolicySearch
import ShippedExperiments

/// `gps run`.
struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs an experiment: one of `gps tasks`, or a file of your own.")

  @Argument(
    help: "A shipped experiment's name, or a YAML file.",
    completion: .custom { _, _, _ in (try? ShippedExperiments.names()) ?? [] })
  var experiment: String

  @Option(help: ArgumentHelp("Iterations (algorithm.iterations).", valueName: "n"))
  var iterations: Int?

  @Option(
    help: ArgumentHelp("Rollouts per condition and iteration (algorithm.samples).", valueName: "n"))
  var samples: Int?

  @Option(help: ArgumentHelp("Seed of all randomness (seed).", valueName: "n"))
  var seed: UInt64?

  @Option(
    help: ArgumentHelp("Concurrent workers; default: one per core.", valueName: "n"))
  var workers: Int?

  @Option(
    help: ArgumentHelp(
      "mirrorDescent or trajectoryOptimization (algorithm.name).", valueName: "name"),
    completion: .list(Algorithm.allCases.map(\.rawValue)))
  var algorithm: String?

  @Option(
    help: ArgumentHelp(
      "Run directory; default: runs/<task>-<date>-<seed> in the working directory.",
      valueName: "dir"), completion: .directory)
  var output: String?

  @Option(
    name: .customLong("set"), parsing: .singleValue,
    help: ArgumentHelp(
      "Override any setting of the file; may be repeated. See `gps options`.",
      valueName: "key.path=value"))
  var overrides: [String] = []

  @Flag(help: "Print the result alone.")
  var quiet = false

  @Flag(help: "Replace the run in an output directory that is not empty.")
  var force = false

  func validate() throws {
    if let workers, !(1...4096).contains(workers) {
      throw ValidationError("--workers: \(workers) is not allowed (must be between 1 and 4096)")
    }
  }

  func run() async throws {
    let loaded: LoadedExperiment
    do {
      loaded = try Experiment.load(experimentURL(experiment), overrides: allOverrides)
    } catch let failure as CommandFailure {
      throw failure
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
    let settings = loaded.experiment.search
    let url =
      output.map { URL(fileURLWithPath: $0, isDirectory: true) }
      ?? RunDirectory.standardURL(
        task: loaded.experiment.task, seed: loaded.experiment.seed,
        in: URL(fileURLWithPath: "runs", isDirectory: true))
    // A reader that went away (`gps run … | head`) must not end a run.
    signal(SIGPIPE, SIG_IGN)
    // A file that may not grow further is an error like a full disk.
    signal(SIGXFSZ, SIG_IGN)
    let workers = workers ?? max(1, ProcessInfo.processInfo.activeProcessorCount)
    let folder = displayPath(url)
    let (isQuiet, replaces) = (quiet, force)
    let (outcome, signalNumber) = await interruptible { () -> Result<Summary, any Error> in
      do {
        let directory = try loaded.makeRunDirectory(at: url, replacing: replaces)
        var printer = ProgressPrinter(
          iterations: settings.iterations, hasPolicy: settings.algorithm == .mirrorDescent,
          isQuiet: isQuiet)
        let task = loaded.task
        printer.begin(
          "\(task.name): \(settings.algorithm.rawValue), \(settings.iterations) iterations of "
            + "\(settings.samples) rollouts in \(task.conditions.count) conditions, "
            + "seed \(loaded.experiment.seed), \(workers) workers, in \(folder)")
        defer { printer.end() }
        return .success(
          try await loaded.run(in: directory, workers: workers) { printer.print($0) })
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

  /// The shorthands are overrides too, and so are judged like the file. `--set` comes last.
  private var allOverrides: [Experiment.Override] {
    func shorthand(_ option: String, _ path: String, _ value: (some Any)?) -> Experiment.Override? {
      value.map { Experiment.Override("\(path)=\($0)", source: "\(option) \($0)") }
    }
    return [
      shorthand("--iterations", "algorithm.iterations", iterations),
      shorthand("--samples", "algorithm.samples", samples),
      shorthand("--seed", "seed", seed),
      shorthand("--algorithm", "algorithm.name", algorithm),
    ].compactMap { $0 } + overrides.map { Experiment.Override($0) }
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
}

/// A path as the user would write it: relative where it lies below the working directory.
func displayPath(_ url: URL) -> String {
  let path = url.standardizedFileURL.path
  let here = FileManager.default.currentDirectoryPath
  return path.hasPrefix(here + "/") ? String(path.dropFirst(here.count + 1)) : path
}
