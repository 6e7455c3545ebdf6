/// Why a run directory cannot be written or read.
public enum RunDirectoryError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The directory exists and holds something.
  case notEmpty(path: String)
  /// The directory holds something that is no run of this program, and so is not replaced.
  case noRun(path: String)
  /// What a run is made from lies in the directory that it would replace.
  case inputInside(path: String, directory: String)
  /// Another process writes to the directory.
  case inUse(path: String)
  /// The policy of an iteration holds what no policy file may: an infinity or a NaN.
  case unusablePolicy(iteration: Int, reason: String)
  /// A file or directory could not be made or written; what was written before is intact.
  case cannotWrite(path: String, reason: String)
  /// A file could not be read.
  case cannotRead(path: String, reason: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .notEmpty(let path):
      "\(path) exists and is not empty (choose another --output, or --force to replace it)"
    case .noRun(let path):
      "\(path) holds files but no run of this program, and --force replaces runs alone (choose another --output)"
    case .inputInside(let path, let directory):
      "\(path) is in \(directory), which the run would replace: copy it elsewhere first, or choose "
        + "another --output"
    case .inUse(let path): "\(path) is in use by another run"
    case .unusablePolicy(let iteration, let reason):
      "the policy of iteration \(iteration) cannot be used: \(reason)"
    case .cannotWrite(let path, let reason): "cannot write \(path): \(reason)"
    case .cannotRead(let path, let reason): "cannot read \(path): \(reason)"
    }
  }
}
