import ArgumentParser
import Foundation
import GuidedPolicySearch
import ShippedExperiments

/// `gps optimize`.
struct Optimize: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Optimises trajectories on known dynamics by iterative LQR.",
    discussion: """
      For each training condition a trajectory and a feedback law about it, from the initial
      controller's own trajectory on; no rollouts are drawn, nothing is learned. It needs a task whose
      dynamics are known, and writes the same kind of run directory as gps run.
      """)

  @Argument(
    help: "A shipped experiment's name, or a YAML file.",
    completion: .custom { _, _, _ in (try? ShippedExperiments.names()) ?? [] })
  var experiment: String

  @Option(
    help: ArgumentHelp("Most iterations (optimization.maxIterations).", valueName: "n"))
  var iterations: Int?

  @Flag(
    inversion: .prefixedNo,
    help: "Use second derivatives of the dynamics (optimization.secondDerivatives).")
  var secondDerivatives: Bool?

  @Option(help: ArgumentHelp("Concurrent workers; default: one per core.", valueName: "n"))
  var workers: Int?

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
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    let loaded: LoadedExperiment
    do {
      loaded = try Experiment.load(experimentURL(experiment), overrides: allOverrides)
      if try loaded.task.conditions.first.map({ try loaded.task.knownDynamics(in: $0) == nil })
        ?? true
      {
        throw OptimizationError.unknownDynamics(task: loaded.experiment.task)
      }
    } catch let failure as CommandFailure {
      throw failure
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
    let url =
      output.map { URL(fileURLWithPath: $0, isDirectory: true) }
      ?? RunDirectory.standardURL(
        task: loaded.experiment.task, seed: loaded.experiment.seed,
        in: URL(fileURLWithPath: "runs", isDirectory: true))
    let workers = workers ?? max(1, ProcessInfo.processInfo.activeProcessorCount)
    let (isQuiet, replaces) = (quiet, force)
    let (outcome, signalNumber) = await interruptible { () -> Result<Summary, any Error> in
      do {
        let directory = try loaded.makeRunDirectory(
          at: url, replacing: replaces, echoesWarnings: false)
        return .success(
          try await loaded.optimize(in: directory, workers: workers) { condition, solution in
            if isQuiet { return }
            printLine(
              "\(condition): \(solution.iterations.count) iterations, cost "
                + "\(number(solution.cost)), \(solution.status.rawValue)")
          })
      } catch {
        return .failure(error)
      }
    }
    do {
      let summary = try outcome.get()
      printLine(
        "feedback laws: success rate \(percent(summary.successRate)), "
          + "mean cost \(number(summary.meanCost))")
      printLine("run directory: \(displayPath(url))")
    } catch is CancellationError {
      throw ExitCode(128 + (signalNumber ?? SIGINT))
    } catch {
      throw CommandFailure(error, otherwise: .runFailed)
    }
  }

  private var allOverrides: [Experiment.Override] {
    (iterations.map {
      [Experiment.Override("optimization.maxIterations=\($0)", source: "--iterations \($0)")]
    } ?? [])
      + (secondDerivatives.map {
        [
          Experiment.Override(
            "optimization.secondDerivatives=\($0)",
            source: $0 ? "--second-derivatives" : "--no-second-derivatives")
        ]
      } ?? [])
      + overrides.map { Experiment.Override($0) }
  }
}
