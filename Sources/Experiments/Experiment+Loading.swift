public import Configuration
public import Foundation
public import GPSCore
import Runs

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
    try load(
      yaml: text(of: url), name: url.lastPathComponent, folder: url.deletingLastPathComponent(),
      overrides: overrides)
  }

  /// Makes an experiment given as text ready to run; models are sought relative to `folder`.
  ///
  /// - Throws: `SettingsError`.
  public static func load(
    yaml text: String, name: String = "experiment", folder: URL, overrides: [Override] = []
  ) throws(SettingsError) -> LoadedExperiment {
    let (experiment, tree) = try parse(text, name: name, overrides: overrides)
    return try ExperimentLoader(experiment: experiment, tree: tree, folder: folder).load()
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
    _ text: String, name: String, overrides: [Override]
  ) throws(SettingsError) -> (experiment: Experiment, tree: SettingsTree) {
    var tree = try SettingsTree(yaml: text, name: name)
    guard case .mapping = tree.content else {
      throw SettingsError(
        origin: tree.origin, path: "", value: tree.summary, allowed: "a mapping of settings")
    }
    for override in overrides { try tree.apply(override) }
    return (try schema.read(tree, ""), tree)
  }

  private static func text(of url: URL) throws(SettingsError) -> String {
    func refuse(_ problem: String) -> SettingsError {
      SettingsError(origin: .wholeFile(name: url.path), path: "", problem: problem)
    }
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isDirectory) else {
      throw refuse("no such file")
    }
    if isDirectory.boolValue { throw refuse("this is a folder, not an experiment file") }
    let data: Data
    do {
      let handle = try FileHandle(forReadingFrom: url)
      defer { try? handle.close() }
      // One byte more than allowed is enough to know; a device or a film is never read whole.
      data = try handle.read(upToCount: SettingsTree.maximumBytes + 1) ?? Data()
    } catch {
      throw refuse("cannot be read: \(plainReason(error))")
    }
    if data.count > SettingsTree.maximumBytes {
      throw refuse("too large for an experiment (at most \(SettingsTree.maximumBytes) bytes)")
    }
    guard let text = String(data: data, encoding: .utf8) else {
      throw refuse("not UTF-8 text")
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
  /// The model file, absolute; nil for native systems.
  public var model: URL?
}
