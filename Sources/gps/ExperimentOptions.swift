import ArgumentParser
import Foundation
import GuidedPolicySearch
import ShippedExperiments

/// What `gps run` and `gps optimize` have in common: which experiment, and where its results go.
struct ExperimentOptions: ParsableArguments {
  @Argument(
    help: "A shipped experiment's name, or a YAML file.",
    completion: .custom { _, _, _ in (try? ShippedExperiments.names()) ?? [] })
  var experiment: String

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

  @Flag(help: "Replace the run in an output directory that is not empty.")
  var force = false

  /// The experiment, with a command's shorthands and then `--set` over what the file says.
  func load(shorthands: [Experiment.Override]) throws -> LoadedExperiment {
    do {
      return try Experiment.load(
        experimentURL(experiment),
        overrides: shorthands + overrides.map { Experiment.Override($0) })
    } catch let failure as CommandFailure {
      throw failure
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
  }

  /// Where the results of an experiment go.
  func runDirectory(of loaded: LoadedExperiment) -> URL {
    output.map { URL(fileURLWithPath: $0, isDirectory: true) }
      ?? RunDirectory.standardURL(
        task: loaded.experiment.task, seed: loaded.experiment.seed,
        in: URL(fileURLWithPath: "runs", isDirectory: true))
  }

  /// Checks what goes together.
  func validate(resuming: Bool) throws {
    if resuming && output == nil { throw ValidationError("--resume needs --output") }
    if resuming && force { throw ValidationError("--resume and --force exclude each other") }
  }

  /// How a run in a directory begins.
  func start(in url: URL, resuming: Bool) -> RunOptions.Start {
    if resuming && RunDirectory.holdsCheckpoints(url) { return .resumed }
    return .anew(replacing: force || resuming && RunDirectory.isUnstarted(url))
  }
}
