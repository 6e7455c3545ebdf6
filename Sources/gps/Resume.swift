import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps resume`.
struct Resume: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Goes on with a run that was interrupted, or makes a run longer.",
    discussion: """
      The run goes on from its newest checkpoint that is whole. The results are those of a run that was
      never interrupted, byte for byte, whatever the number of workers.
      """)

  @Argument(help: ArgumentHelp("A run directory.", valueName: "run"), completion: .directory)
  var path: String

  @Option(
    help: ArgumentHelp("Iterations of the whole run; default: as before.", valueName: "n"))
  var iterations: Int?

  @OptionGroup(title: "Running") var options: RunOptions

  @OptionGroup(title: "Running") var pace: PaceOptions

  @OptionGroup(title: "Other machines") var cluster: ClusterOptions

  func validate() throws { try requirePath(path, "the run") }

  func run() async throws {
    let url = PathParts.url(of: path, isFolder: true)
    let loaded: LoadedExperiment
    do {
      guard let status = try status(of: path) else {
        throw CommandFailure("\(path): no such run directory", .badInput)
      }
      if status.st_mode & S_IFMT != S_IFDIR {
        throw CommandFailure(
          "\(path) is a file: gps resume wants the run's folder\(runFolder(around: url))",
          .badInput)
      }
      if try !RunDirectory.holdsCheckpoints(url) { throw CheckpointError.none(path: path) }
      loaded = try Experiment.load(
        url.appendingPathComponent(RunDirectory.FileName.experiment),
        overrides: iterations.map {
          [Experiment.Override("algorithm.iterations=\($0)", source: "--iterations \($0)")]
        } ?? [])
    } catch let failure as CommandFailure {
      throw failure
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
    let paced = try pace.applied(to: loaded)
    let (learner, end) = try cluster.learner(of: paced, workers: options.workerCount)
    defer { end() }
    try await options.run(paced, by: learner, in: url, start: .resumed)
  }
}

/// " (…)" with the run that a file is in; nothing if it is in none.
private func runFolder(around file: URL) -> String {
  var folder = file.deletingLastPathComponent()
  for _ in 0..<2 {
    if (try? RunDirectory.holdsCheckpoints(folder)) == true { return " (\(displayPath(folder)))" }
    folder = folder.deletingLastPathComponent()
  }
  return ""
}
