public import Configuration
public import Foundation
public import GPSCore
import Runs
public import Starts

extension Experiment {
  /// A setting that replaces the file's.
  public typealias Override = SettingsOverride

  /// Reads an experiment file; nothing that it refers to is opened.
  ///
  /// - Parameters:
  ///   - url: the YAML file.
  ///   - overrides: applied in order before reading.
  /// - Returns: what the file says.
  /// - Throws: `SettingsError` with file, line, key, value and what is allowed.
  public static func read(
    _ url: URL, overrides: [Override] = []
  ) throws(SettingsError) -> Experiment {
    try parse(text(of: url), name: url.lastPathComponent, overrides: overrides).experiment
  }

  /// Reads an experiment from text.
  ///
  /// - Parameters:
  ///   - text: YAML.
  ///   - name: what errors call the file.
  ///   - overrides: applied in order before reading.
  /// - Throws: `SettingsError`.
  public init(
    yaml text: String, name: String = "experiment", overrides: [Override] = []
  ) throws(SettingsError) {
    self = try Self.parse(text, name: name, overrides: overrides).experiment
  }

  /// Reads an experiment file and makes it ready to run: models are loaded, names resolved, lengths
  /// compared.
  ///
  /// - Parameters:
  ///   - url: the YAML file; models are sought relative to its folder.
  ///   - overrides: applied in order before reading.
  /// - Returns: the experiment and its task.
  /// - Throws: `SettingsError` with file, line, key, value and what is allowed.
  public static func load(
    _ url: URL, overrides: [Override] = []
  ) throws(SettingsError) -> LoadedExperiment {
    try load(url, overrides: overrides, trial: Trial())
  }

  /// What of an experiment is other than when its policy was trained.
  public struct Trial: Sendable {
    /// A file whose conditions stand in for the experiment's own: another experiment, or a file with the
    /// key `conditions` alone; nil for the experiment's own.
    public var conditions: URL?
    /// Whether what conditions draw once is drawn for every rollout instead: one condition then stands
    /// for all that were made of it.
    public var redraws = false

    /// Nothing is other.
    public init() {}
  }

  /// Reads an experiment file and makes it ready for a trial of what was learned.
  ///
  /// - Parameters:
  ///   - url: the YAML file; models are sought relative to its folder.
  ///   - overrides: applied in order before reading, after the conditions were replaced.
  ///   - trial: what is other than in the file.
  /// - Returns: the experiment and its task.
  /// - Throws: `SettingsError` with file, line, key, value and what is allowed.
  public static func load(
    _ url: URL, overrides: [Override], trial: Trial
  ) throws(SettingsError) -> LoadedExperiment {
    var loaded = try load(
      yaml: text(of: url), name: url.lastPathComponent, folder: url.deletingLastPathComponent(),
      overrides: overrides, trial: trial)
    loaded.file = url
    return loaded
  }

  /// Makes an experiment given as text ready to run; models are sought relative to `folder`.
  ///
  /// - Throws: `SettingsError`.
  public static func load(
    yaml text: String, name: String = "experiment", folder: URL, overrides: [Override] = [],
    trial: Trial = Trial()
  ) throws(SettingsError) -> LoadedExperiment {
    var (experiment, tree) = try parse(
      text, name: name, overrides: overrides, conditions: trial.conditions)
    if trial.redraws { experiment.conditions.redraw() }
    var loaded = try ExperimentLoader(experiment: experiment, tree: tree, folder: folder).load()
    if let conditions = trial.conditions { loaded.furtherInputs.append(conditions.path) }
    return loaded
  }

  /// The experiment as a file, every default spelled out.
  public var yaml: String {
    SettingsTree(Self.codec.write(self)).yaml
  }

  /// What every setting means, as text; of all settings, or of those at a path.
  ///
  /// - Parameter path: such as "algorithm" or "system.mujoco"; empty for all.
  /// - Returns: nil if there is no such setting.
  public static func reference(of path: String = "") -> String? {
    var entries = codec.entries
    for component in path.split(separator: ".") {
      guard let entry = entries.first(where: { $0.key == component }) else { return nil }
      entries = entry.entries.isEmpty ? [entry] : entry.entries
    }
    return entries.lines().joined(separator: "\n")
  }

  private static func parse(
    _ text: String, name: String, overrides: [Override], conditions: URL? = nil
  ) throws(SettingsError) -> (experiment: Experiment, tree: SettingsTree) {
    var tree = try SettingsTree(yaml: text, name: name)
    guard case .mapping = tree.content else {
      throw SettingsError(
        origin: tree.origin, path: "", value: tree.summary, allowed: "a mapping of settings")
    }
    if let conditions {
      let other = try SettingsTree(
        yaml: Self.text(of: conditions), name: conditions.lastPathComponent)
      guard let replacement = other.child("conditions") else {
        throw SettingsError(
          origin: other.origin, path: "", problem: "the key \"conditions\" is missing")
      }
      try tree.replace("conditions", by: replacement)
    }
    for override in overrides { try tree.apply(override) }
    return (try schema.read(tree, ""), tree)
  }

  private static func text(of url: URL) throws(SettingsError) -> String {
    func refuse(_ problem: String) -> SettingsError {
      SettingsError(origin: .wholeFile(name: url.path), path: "", problem: problem)
    }
    let bytes: [UInt8]
    do throws(FileProblem) {
      bytes = try RegularFile.read(url.path, atMost: SettingsTree.maximumBytes)
    } catch {
      var status = stat()
      if stat(url.path, &status) != 0 && errno == ENOENT { throw refuse("no such file") }
      throw refuse("cannot be read as an experiment: \(error)")
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      let (line, column) = UTF8Text.firstFault(in: bytes)
      throw SettingsError(
        origin: .file(name: url.lastPathComponent, line: line, column: column), path: "",
        problem: "not UTF-8 text")
    }
    return text
  }
}

/// An experiment with its models loaded and its names resolved: ready to run.
public struct LoadedExperiment: Sendable {
  /// What the file says.
  public var experiment: Experiment
  /// What is controlled, from where, and how it is judged.
  public var task: any ControlTask
  /// The local controllers of iteration 0, one per training condition.
  public var initialControllers: [LinearGaussianController]
  /// What makes them, and why if that was left to the task.
  public var start: (made: InitialController, why: String?)
  /// The model file, absolute; nil for native systems.
  public var model: URL?
  /// The experiment file; nil for an experiment given as text.
  public internal(set) var file: URL?
  /// Files that were read beside the experiment and its model: demonstrations, conditions of a trial.
  var furtherInputs: [String] = []
  /// What the initial controllers were demonstrated by; nil for those that no file was needed for.
  var demonstrations: Data?
}
