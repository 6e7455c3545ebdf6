public import Foundation

/// The experiments that come with the toolkit: one folder each, with the experiment file, the model
/// and a README.
public enum ShippedExperiments {
  /// The environment variable that names another folder of experiments.
  public static let environmentVariable = "GPS_EXPERIMENTS"

  /// The experiment file in each folder.
  public static let fileName = "experiment.yaml"

  /// The names of all experiments, sorted.
  ///
  /// - Throws: `ShippedExperimentsError` when the folder is not there.
  public static func names() throws(ShippedExperimentsError) -> [String] {
    let folder = try folder()
    let contents = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    return contents.filter {
      FileManager.default.fileExists(
        atPath: folder.appendingPathComponent($0).appendingPathComponent(fileName).path)
    }.sorted()
  }

  /// The experiment file of a name; nil if no experiment is called that.
  ///
  /// - Throws: `ShippedExperimentsError` when the folder is not there.
  public static func file(named name: String) throws(ShippedExperimentsError) -> URL? {
    guard try names().contains(name) else { return nil }
    return try folder().appendingPathComponent(name).appendingPathComponent(fileName)
  }

  /// The folder that holds the experiments.
  ///
  /// SwiftPM's own accessor ends the process when a program was moved away from its resources; this
  /// one looks beside the program and says what to do.
  ///
  /// - Throws: `ShippedExperimentsError` when it is neither beside the program nor named by
  ///   `GPS_EXPERIMENTS`.
  public static func folder() throws(ShippedExperimentsError) -> URL {
    let manager = FileManager.default
    func isFolder(_ url: URL) -> Bool {
      var isDirectory: ObjCBool = false
      return manager.fileExists(atPath: url.path, isDirectory: &isDirectory)
        && isDirectory.boolValue
    }
    if let path = ProcessInfo.processInfo.environment[environmentVariable], !path.isEmpty {
      let url = URL(fileURLWithPath: path, isDirectory: true)
      if isFolder(url) { return url }
      throw .noSuchFolder(path: path)
    }
    let bundle = "guided-policy-search_ShippedExperiments.resources"
    let candidates = [
      Bundle.main.executableURL?.resolvingSymlinksInPath().deletingLastPathComponent(),
      Bundle.main.bundleURL,
      Bundle.main.bundleURL.deletingLastPathComponent(),
    ]
    for case let candidate? in candidates {
      let url = candidate.appendingPathComponent(bundle, isDirectory: true)
      if isFolder(url) { return url }
    }
    throw .notBesideProgram(
      path: candidates.compactMap { $0 }.first?.appendingPathComponent(bundle).path ?? bundle)
  }
}

/// Why the shipped experiments cannot be found.
public enum ShippedExperimentsError: Error, Sendable, Equatable, CustomStringConvertible {
  /// `GPS_EXPERIMENTS` does not name a folder.
  case noSuchFolder(path: String)
  /// The folder is not where it was built.
  case notBesideProgram(path: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .noSuchFolder(let path):
      "\(ShippedExperiments.environmentVariable) is \"\(path)\", which is not a folder"
    case .notBesideProgram(let path):
      "the shipped experiments are not at \(path); "
        + "set \(ShippedExperiments.environmentVariable) to the folder that holds them"
    }
  }
}
