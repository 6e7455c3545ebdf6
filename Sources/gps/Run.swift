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

  @OptionGroup(title: "Running") var options: RunOptions

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

  @Flag(
    help: "Go on with the run in --output, if there is one; its experiment must be the same.")
  var resume = false

  @Flag(help: "Replace the run in an output directory that is not empty.")
  var force = false

  func validate() throws {
    if resume && output == nil { throw ValidationError("--resume needs --output") }
    if resume && force { throw ValidationError("--resume and --force exclude each other") }
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
    let url =
      output.map { URL(fileURLWithPath: $0, isDirectory: true) }
      ?? RunDirectory.standardURL(
        task: loaded.experiment.task, seed: loaded.experiment.seed,
        in: URL(fileURLWithPath: "runs", isDirectory: true))
    let (force, resume) = (force, resume)
    try await options.run(loaded, in: url) {
      if resume && RunDirectory.holdsCheckpoints(url) {
        let (directory, checkpoint) = try loaded.reopenRunDirectory(at: url)
        return (directory, checkpoint)
      }
      let replaces = force || resume && RunDirectory.isUnstarted(url)
      return (try loaded.makeRunDirectory(at: url, replacing: replaces), nil)
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
}

/// A path as the user would write it: relative where it lies below the working directory.
func displayPath(_ url: URL) -> String {
  let path = url.standardizedFileURL.path
  let here = FileManager.default.currentDirectoryPath
  return path.hasPrefix(here + "/") ? String(path.dropFirst(here.count + 1)) : path
}
