import ArgumentParser
import Foundation
import GuidedPolicySearch
import ShippedExperiments

/// Which experiment a command is about.
struct ExperimentSource: ParsableArguments {
  @Argument(
    help: "A shipped experiment's name, or a YAML file.",
    completion: .custom { _, _, _ in (try? ShippedExperiments.names()) ?? [] })
  var experiment: String

  @Option(
    name: .customLong("set"), parsing: .singleValue,
    help: ArgumentHelp(
      "Override any setting of the file; may be repeated. See `gps options`.",
      valueName: "key.path=value"))
  var overrides: [String] = []

  func validate() throws { try requirePath(experiment, "the experiment") }

  /// The experiment, with a command's shorthands and `--set` over what the file says.
  func load(shorthands: [Experiment.Override] = []) throws -> LoadedExperiment {
    let all = shorthands + overrides.map { Experiment.Override($0) }
    try requireAgreement(of: all)
    do {
      return try Experiment.load(experimentURL(experiment), overrides: all)
    } catch let failure as CommandFailure {
      throw failure
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
  }
}

/// What `gps run` and `gps optimize` have in common: which experiment, and where its results go.
struct ExperimentOptions: ParsableArguments {
  @OptionGroup var experiment: ExperimentSource

  @Option(
    help: ArgumentHelp(
      "Run directory; default: runs/<task>-<date>-<seed> in the working directory.",
      valueName: "dir"), completion: .directory)
  var output: String?

  @Flag(help: "Replace the run in an output directory that is not empty.")
  var force = false

  /// The experiment, with a command's shorthands and `--set` over what the file says.
  func load(shorthands: [Experiment.Override]) throws -> LoadedExperiment {
    try experiment.load(shorthands: shorthands)
  }

  /// Where the results of an experiment go: a folder that is named, or a new one.
  func runDirectory(of loaded: LoadedExperiment) throws -> URL {
    if let output { return PathParts.url(of: output, isFolder: true) }
    do {
      return try RunDirectory.claim(
        task: loaded.experiment.task, seed: loaded.experiment.seed,
        in: URL(fileURLWithPath: "runs", isDirectory: true))
    } catch {
      throw CommandFailure(error, otherwise: .runFailed)
    }
  }

  /// Checks what goes together.
  func validate(resuming: Bool) throws {
    if let output { try requirePath(output, "--output") }
    if resuming && output == nil { throw ValidationError("--resume needs --output") }
    if resuming && force { throw ValidationError("--resume and --force exclude each other") }
  }

  /// How a run in a directory begins.
  func start(in url: URL, resuming: Bool) throws -> RunOptions.Start {
    do {
      if try resuming && RunDirectory.holdsCheckpoints(url) { return .resumed }
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
    return .anew(replacing: force || resuming && RunDirectory.isUnstarted(url))
  }
}

/// What is at a path that the user named; nil if nothing is.
///
/// - Throws: `CommandFailure` where nobody can tell.
func status(of path: String) throws(CommandFailure) -> stat? {
  do throws(FileProblem) { return try RegularFile.status(of: path) } catch {
    throw CommandFailure("cannot read \(path): \(error)", .badInput)
  }
}

/// Checks that a path is not empty, as that of a shell's variable that is not set.
func requirePath(_ path: String, _ what: String) throws {
  if path.isEmpty { throw ValidationError("\(what): an empty path is not allowed") }
}

/// Checks that no setting is asked for twice with different values.
///
/// - Throws: `CommandFailure` that names both.
func requireAgreement(of overrides: [Experiment.Override]) throws {
  func parts(_ override: Experiment.Override) -> (path: [String], value: String)? {
    guard let equals = override.assignment.firstIndex(of: "=") else { return nil }
    // "00" selects the same item of a list as "0".
    let path = override.assignment[..<equals].split(separator: ".")
      .map { Int($0).map(String.init) ?? String($0) }
    let value = override.assignment[override.assignment.index(after: equals)...]
    return (path, value.trimmingCharacters(in: .whitespaces))
  }
  for (i, later) in overrides.enumerated() {
    for earlier in overrides[..<i] {
      guard let (path, value) = parts(later), let (other, otherValue) = parts(earlier) else {
        continue
      }
      // A section and a setting in it speak of the same thing; in this order the latter refines the
      // former.
      let isSame = path == other && !isEqual(value, otherValue)
      let isOverwritten = other.count > path.count && other.starts(with: path)
      if isSame || isOverwritten {
        throw CommandFailure(
          "\(earlier.source) and \(later.source) contradict each other: leave one of them out",
          .badInput)
      }
    }
  }
}

/// Whether two texts say the same, as words or as numbers.
private func isEqual(_ a: String, _ b: String) -> Bool {
  a == b || Double(a) != nil && Double(a) == Double(b)
}

/// Options of which one value counts.
private let singleOptions: Set = [
  "iterations", "samples", "seed", "algorithm", "schedule", "real-time", "output", "workers",
  "checkpoint-every", "keep", "rollouts", "draws", "horizon", "conditions", "actions", "onnx", "c",
  "refresh", "every", "iteration", "camera", "size", "cluster", "patience", "idle", "lease",
  // Of gps plot and gps bench.
  "format", "states", "controls", "batch", "hidden", "model", "repetitions",
]

/// Checks that no option is given twice with different values, of which the first would be lost without a
/// word.
///
/// - Parameter arguments: as typed, behind the program's name.
/// - Throws: `CommandFailure` that names both.
func requireAgreement(of arguments: [String]) throws(CommandFailure) {
  // A figure may show several states.
  let names = arguments.first == "plot" ? singleOptions.subtracting(["states"]) : singleOptions
  var given: [String: String] = [:]
  var index = 0
  while index < arguments.count && arguments[index] != "--" {
    defer { index += 1 }
    guard arguments[index].hasPrefix("--") else { continue }
    let parts = arguments[index].dropFirst(2).split(
      separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    guard let name = parts.first.map(String.init), names.contains(name) else { continue }
    if parts.count == 1 { index += 1 }
    guard let value = parts.count == 2 ? String(parts[1]) : arguments.dropFirst(index).first else {
      return
    }
    if let earlier = given[name], !isEqual(earlier, value) {
      throw CommandFailure(
        "--\(name) \(earlier) and --\(name) \(value) contradict each other: leave one of them out",
        .badInput)
    }
    given[name] = value
  }
}
