import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps optimize`.
struct Optimize: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Optimises trajectories on known dynamics by iterative LQR.",
    discussion: """
      For each training condition a trajectory and a feedback law about it, from the initial
      controller's own trajectory on; no rollouts are drawn, nothing is learned. It needs a task whose
      dynamics are known, and writes the same kind of run directory as gps run.
      """)

  @OptionGroup var source: ExperimentOptions

  @Option(
    help: ArgumentHelp("Most iterations (optimization.maxIterations).", valueName: "n"))
  var iterations: Int?

  @Flag(
    inversion: .prefixedNo,
    help: "Use second derivatives of the dynamics (optimization.secondDerivatives).")
  var secondDerivatives: Bool?

  @Option(help: ArgumentHelp("Concurrent workers; default: one per core.", valueName: "n"))
  var workers: Int?

  @Flag(help: "Print the result alone.")
  var quiet = false

  func validate() throws {
    if let workers, !(1...4096).contains(workers) {
      throw ValidationError("--workers: \(workers) is not allowed (must be between 1 and 4096)")
    }
  }

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    let loaded = try source.load(shorthands: shorthands)
    do {
      if try loaded.task.conditions.first.map({ try loaded.task.knownDynamics(in: $0) == nil })
        ?? true
      {
        throw OptimizationError.unknownDynamics(task: loaded.experiment.task)
      }
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
    let url = source.runDirectory(of: loaded)
    let workers = workers ?? max(1, ProcessInfo.processInfo.activeProcessorCount)
    let (isQuiet, replaces) = (quiet, source.force)
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

  private var shorthands: [Experiment.Override] {
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
  }
}
