import Foundation
import GuidedPolicySearch

/// A policy that a run has left, and the experiment that it belongs to.
struct TrainedPolicy {
  /// The policy's file, or a checkpoint.
  let file: URL
  /// The run directory, or the folder that the file is in.
  var directory: URL { folder(of: file) }
  /// The experiment.
  let loaded: LoadedExperiment

  /// Reads the experiment of a run, of a policy file or of a checkpoint.
  ///
  /// - Parameters:
  ///   - path: as the user wrote it.
  ///   - overrides: settings that are asked to be other than they were.
  ///   - trial: conditions that are asked to be other.
  ///   - isTrial: whether any of these is.
  /// - Throws: `CommandFailure`.
  init(
    at path: String, overrides: [Experiment.Override] = [],
    trial: Experiment.Trial = Experiment.Trial(), isTrial: Bool = false
  ) throws {
    guard let status = try status(of: path) else {
      throw CommandFailure("\(path): no such run directory or policy file", .badInput)
    }
    let url = PathParts.url(of: path)
    do {
      if status.st_mode & S_IFMT != S_IFDIR {
        file = url
        loaded = try Experiment.load(
          yaml: storedExperiment(at: url), name: url.lastPathComponent, folder: folder(of: url),
          overrides: overrides, trial: trial)
        return
      }
      file = url.appendingPathComponent(RunDirectory.FileName.policy)
      if try gps.status(of: file.path) == nil {
        throw CommandFailure("\(path) holds no policy (\(RunDirectory.FileName.policy))", .badInput)
      }
      loaded = try Experiment.load(
        url.appendingPathComponent(RunDirectory.FileName.experiment), overrides: overrides,
        trial: trial)
      // What was asked to be other is no news.
      if isTrial { return }
      if let change = RunDirectory.change(in: url, to: loaded) {
        printToStandardError("gps: warning: this is not what the run learned on: \(change)")
      } else if let other = try loaded.mismatch(with: storedExperiment(at: file)) {
        printToStandardError("gps: warning: the policy is not this run's: \(other)")
      }
    } catch let failure as CommandFailure {
      throw failure
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
  }

  /// A file to write to that is none of the run's own.
  ///
  /// - Parameters:
  ///   - path: as the user wrote it.
  ///   - option: where they did.
  /// - Returns: where it leads.
  /// - Throws: `CommandFailure`.
  func output(_ path: String, option: String) throws -> OutputFile {
    do {
      return try OutputFile(
        path, inputs: [file.path] + loaded.inputs + RunDirectory.files(in: folder(of: file)))
    } catch {
      throw CommandFailure("\(option): \(error)", .badInput)
    }
  }
}

/// Where a policy's experiment finds its model: beside it; beside their folder for checkpoints.
private func folder(of file: URL) -> URL {
  let folder = file.deletingLastPathComponent()
  return folder.lastPathComponent == RunDirectory.FileName.checkpoints
    ? folder.deletingLastPathComponent() : folder
}
