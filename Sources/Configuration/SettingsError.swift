/// What is wrong with an experiment file, where, and what is allowed there.
public struct SettingsError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Where the offending text stands.
  public enum Origin: Sendable, Equatable, CustomStringConvertible {
    /// In a file; lines and columns count from 1.
    case file(name: String, line: Int, column: Int)
    /// In an override, called what its source is called, e.g. "--set a.b=1".
    case override(String)
    /// In a file as a whole.
    case wholeFile(name: String)

    /// "peg.yaml:12:5", "--set a.b=1" or "peg.yaml".
    public var description: String {
      switch self {
      case .file(let name, let line, let column): "\(name):\(line):\(column)"
      case .override(let source): source
      case .wholeFile(let name): name
      }
    }
  }

  /// Where the offending text stands.
  public var origin: Origin
  /// The setting it belongs to, e.g. "algorithm.klStep"; empty for the file as a whole.
  public var path: String
  /// What is wrong and what is allowed, without the path.
  public var problem: String

  /// An error at a place.
  public init(origin: Origin, path: String, problem: String) {
    self.origin = origin
    self.path = path
    self.problem = problem
  }

  /// One sentence: place, setting, problem.
  public var description: String {
    path.isEmpty ? "\(origin): \(problem)" : "\(origin): \(path): \(problem)"
  }
}

extension SettingsError {
  /// "-1 is not allowed (must be more than 0)" at a place.
  package init(origin: Origin, path: String, value: String, allowed: String) {
    self.init(origin: origin, path: path, problem: "\(value) is not allowed (must be \(allowed))")
  }
}
