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
    inversion: .prefixedNo, exclusivity: .exclusive,
    help: "Use second derivatives of the dynamics (optimization.secondDerivatives).")
  var secondDerivatives: Bool?

  @OptionGroup(title: "Running") var options: RunOptions

  @Flag(
    help: "Go on with the run in --output, if there is one; its experiment must be the same.")
  var resume = false

  func validate() throws { try source.validate(resuming: resume) }

  func run() async throws {
    let loaded = try source.load(shorthands: shorthands)
    let learner: any Learner
    do {
      try loaded.requireMemory(isSampled: false, workers: options.workerCount)
      learner = try loaded.optimizer(workers: options.workerCount)
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
    let url = try source.runDirectory(of: loaded)
    try await options.run(
      loaded, by: learner, in: url, start: try source.start(in: url, resuming: resume)
    ) { report in
      // The last one has the rollouts of the feedback laws.
      if report.iteration == 0 || report.successRate == nil { return }
      for condition in report.conditions {
        guard
          case .word(let status) = condition.metrics.first(where: { $0.name == "status" })?.value
        else { continue }
        printLine(
          "\(condition.name): \(number(condition.metrics["iterations"])) iterations, cost "
            + "\(number(condition.metrics["cost"])), \(status)")
      }
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
