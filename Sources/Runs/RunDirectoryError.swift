import Foundation

/// Why a run directory cannot be written or read.
public enum RunDirectoryError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The directory exists and holds something.
  case notEmpty(path: String)
  /// Another process writes to the directory.
  case inUse(path: String)
  /// A file or directory could not be made or written; what was written before is intact.
  case cannotWrite(path: String, reason: String)
  /// A file could not be read.
  case cannotRead(path: String, reason: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .notEmpty(let path):
      "\(path) exists and is not empty (choose another --output, or --force to replace it)"
    case .inUse(let path): "\(path) is in use by another run"
    case .cannotWrite(let path, let reason): "cannot write \(path): \(reason)"
    case .cannotRead(let path, let reason): "cannot read \(path): \(reason)"
    }
  }
}

/// The text for an error number of the C library, e.g. "No space left on device".
func reason(of number: Int32) -> String {
  // `strerror` may return a shared buffer; this one is ours.
  var buffer = [CChar](repeating: 0, count: 256)
  _ = strerror_r(number, &buffer, buffer.count)
  let text = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  return text.isEmpty ? "error \(number)" : text
}
