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
      "\(Experiment.algorithms.joined(separator: ", ")) (algorithm.name).", valueName: "name"),
    completion: .list(Experiment.algorithms))
  var algorithm: String?

  @Option(
    help: ArgumentHelp(
      "\(Schedule.allCases.map(\.rawValue).joined(separator: ", ")) (algorithm.schedule).",
      valueName: "name"),
    completion: .list(Schedule.allCases.map(\.rawValue)))
  var schedule: String?

  @OptionGroup(title: "Running") var pace: PaceOptions

  @OptionGroup(title: "Other machines") var cluster: ClusterOptions

  @Flag(
    help: "Go on with the run in --output, if there is one; its experiment must be the same.")
  var resume = false

  func validate() throws { try source.validate(resuming: resume) }

  func run() async throws {
    let loaded = try pace.applied(to: source.load(shorthands: shorthands))
    let (learner, end) = try cluster.learner(of: loaded, workers: options.workerCount)
    defer { end() }
    let url = try source.runDirectory(of: loaded)
    try await options.run(
      loaded, by: learner, in: url,
      start: try source.start(in: url, resuming: resume))
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
      shorthand("--schedule", "algorithm.schedule", schedule),
    ].compactMap { $0 }
  }
}

/// What an experiment is learned with; settings that do not go together are bad input.
func learner(of loaded: LoadedExperiment, workers: Int) throws -> any Learner {
  do {
    try loaded.requireMemory(workers: workers)
    return try loaded.learner(workers: workers)
  } catch {
    throw CommandFailure(error, otherwise: .badInput)
  }
}

/// A path as the user would write it: relative where it lies below the working directory.
func displayPath(_ url: URL) -> String {
  let path = url.path
  let here = FileManager.default.currentDirectoryPath
  return path.hasPrefix(here + "/") ? String(path.dropFirst(here.count + 1)) : path
}
