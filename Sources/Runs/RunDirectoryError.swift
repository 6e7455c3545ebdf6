import Configuration
import Foundation

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

/// Why something cannot be written, by an error number of the C library, and what helps.
package func writeProblem(_ number: Int32) -> String {
  let remedy =
    switch number {
    case ENOSPC, EDQUOT: "make room there, or choose another place"
    case EFBIG:
      "raise the limit on file sizes, ulimit -f, or choose a place that takes larger files"
    case EACCES, EPERM: "get the right to write there, or choose another place"
    case EMFILE, ENFILE: "raise the limit on open files, ulimit -n"
    case ENAMETOOLONG: "choose a shorter name"
    case ENOENT: "make the folder that it is to be in, or choose another place"
    case ENOTDIR: "a file stands where a folder should be: choose another place"
    default: "choose another place"
    }
  return systemReason(number) + " (\(remedy))"
}
