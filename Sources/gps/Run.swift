import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps run`.
struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs an experiment: one of `gps tasks`, or a file of your own.")

  @OptionGroup var source: ExperimentOptions

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

  @Flag(
    help: "Go on with the run in --output, if there is one; its experiment must be the same.")
  var resume = false

  func validate() throws {
    if resume && source.output == nil { throw ValidationError("--resume needs --output") }
    if resume && source.force { throw ValidationError("--resume and --force exclude each other") }
  }

  func run() async throws {
    let loaded = try source.load(shorthands: shorthands)
    let url = source.runDirectory(of: loaded)
    let (force, resume) = (source.force, resume)
    try await options.run(loaded, in: url) {
      if resume && RunDirectory.holdsCheckpoints(url) {
        let (directory, checkpoint) = try loaded.reopenRunDirectory(at: url)
        return (directory, checkpoint)
      }
      let replaces = force || resume && RunDirectory.isUnstarted(url)
      return (try loaded.makeRunDirectory(at: url, replacing: replaces), nil)
    }
  }

  /// The shorthands are overrides too, and so are judged like the file.
  private var shorthands: [Experiment.Override] {
    func shorthand(_ option: String, _ path: String, _ value: (some Any)?) -> Experiment.Override? {
      value.map { Experiment.Override("\(path)=\($0)", source: "\(option) \($0)") }
    }
    return [
      shorthand("--iterations", "algorithm.iterations", iterations),
      shorthand("--samples", "algorithm.samples", samples),
      shorthand("--seed", "seed", seed),
      shorthand("--algorithm", "algorithm.name", algorithm),
    ].compactMap { $0 }
  }
}

/// A path as the user would write it: relative where it lies below the working directory.
func displayPath(_ url: URL) -> String {
  let path = url.standardizedFileURL.path
  let here = FileManager.default.currentDirectoryPath
  return path.hasPrefix(here + "/") ? String(path.dropFirst(here.count + 1)) : path
}
