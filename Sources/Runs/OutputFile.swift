import Configuration
import Foundation

/// A file that a user names for something to be written to: whatever stands there stays what it is.
///
/// A regular file is replaced at once, so that a reader sees the old one or the new one; through a link,
/// the file that it leads to. A pipe or a device is written to. Anything else is refused.
public struct OutputFile: Sendable {
  /// As the user wrote it.
  public let path: String
  private let place: Place

  /// What may stand where a file is to be written.
  public enum Replacing: Sendable {
    /// Whatever can be written to.
    case anything
    /// Nothing, also in the moment of writing.
    case nothing
    /// A regular file that begins in this way.
    case beginning(@Sendable (_ bytes: [UInt8]) -> Bool)
  }

  private enum Place: Sendable {
    /// To be put there at once if there is nothing yet.
    case new(path: String)
    /// To be put there at once, with permissions to keep; nil for a new file.
    case regular(path: String, mode: mode_t?)
    /// Written to as it is: a pipe, or a device.
    case stream(isPipe: Bool)
    /// A stream of this process.
    case open(Int32)
  }

  /// Looks at a path, so that what cannot be written is told before there is anything to write.
  ///
  /// - Parameters:
  ///   - path: where to write.
  ///   - inputs: files that must not be written to.
  ///   - replacing: what may stand there.
  /// - Throws: `RunDirectoryError.cannotWrite`.
  public init(
    _ path: String, inputs: [String] = [], replacing: Replacing = .anything
  ) throws(RunDirectoryError) {
    func refuse(_ reason: String) -> RunDirectoryError { .cannotWrite(path: path, reason: reason) }
    self.path = path
    if path.isEmpty { throw refuse("an empty path names no file") }
    var status = stat()
    if stat(path, &status) != 0 {
      let number = errno
      var link = stat()
      if lstat(path, &link) == 0 {
        throw refuse("it is a link that leads nowhere (remove it, or choose another place)")
      }
      if number != ENOENT || path.hasSuffix("/") { throw refuse(writeProblem(number)) }
      if access(PathParts.folder(of: path), W_OK | X_OK) != 0 {
        throw refuse(writeProblem(errno))
      }
      if case .anything = replacing {
        place = .regular(path: path, mode: nil)
      } else {
        place = .new(path: path)
      }
      return
    }
    switch replacing {
    case .anything: break
    case .nothing:
      throw refuse("it exists already (choose another place, or --force to replace it)")
    case .beginning(let isOurs):
      guard let beginning = RegularFile.beginning(of: path, bytes: 4096), isOurs(beginning) else {
        throw refuse("what stands there was not made by this program (choose another place)")
      }
    }
    func isSame(_ other: stat) -> Bool {
      other.st_dev == status.st_dev && other.st_ino == status.st_ino
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG:
      for input in inputs {
        var other = stat()
        if stat(input, &other) == 0 && isSame(other) {
          throw refuse("it is an input, \(input) (choose another place)")
        }
      }
      for descriptor in STDOUT_FILENO...STDERR_FILENO {
        var other = stat()
        if fstat(descriptor, &other) == 0 && isSame(other) {
          place = .open(descriptor)
          return
        }
      }
      guard let target = realpath(path, nil) else { throw refuse(writeProblem(errno)) }
      defer { free(target) }
      if access(PathParts.folder(of: String(cString: target)), W_OK | X_OK) != 0 {
        throw refuse(writeProblem(errno))
      }
      place = .regular(path: String(cString: target), mode: status.st_mode & 0o7777)
    case S_IFIFO: place = .stream(isPipe: true)
    case S_IFCHR: place = .stream(isPipe: false)
    case S_IFDIR: throw refuse("it is a folder (name a file in it, or choose another place)")
    default:
      throw refuse(
        "it is neither a file, a pipe nor a device that takes text (choose another place)")
    }
  }

  /// Writes all of the file.
  ///
  /// - Throws: `RunDirectoryError.cannotWrite`; a regular file is then what it was.
  public func write(_ bytes: [UInt8]) throws(RunDirectoryError) {
    switch place {
    case .regular(let target, let mode):
      try replace(target, mode: mode, with: bytes) { rename($0, target) == 0 ? 0 : errno }
    case .new(let target):
      try replace(target, mode: nil, with: bytes) { draft in
        if link(draft, target) == 0 {
          unlink(draft)
          return 0
        }
        // Some file systems keep one name a file.
        if errno == EEXIST || access(target, F_OK) == 0 { return EEXIST }
        return rename(draft, target) == 0 ? 0 : errno
      }
    case .open(let descriptor): try write(bytes, to: descriptor)
    case .stream(let isPipe):
      let descriptor = try openStream(isPipe: isPipe)
      defer { close(descriptor) }
      try write(bytes, to: descriptor)
    }
  }

  /// By way of a file of another name, which is nobody else's and which `put` renames, or tells the number
  /// of the error.
  private func replace(
    _ target: String, mode: mode_t?, with bytes: [UInt8], put: (String) -> Int32
  ) throws(RunDirectoryError) {
    var name = Array((target + ".XXXXXX").utf8CString)
    let descriptor = mkstemp(&name)
    if descriptor < 0 { throw .cannotWrite(path: path, reason: writeProblem(errno)) }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    let draft = String(
      decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    defer { close(descriptor) }
    do throws(RunDirectoryError) {
      try write(bytes, to: descriptor)
      let mask = umask(0)
      umask(mask)
      if fchmod(descriptor, mode ?? 0o666 & ~mask) != 0
        || fsync(descriptor) != 0 && errno != EINVAL
      {
        throw RunDirectoryError.cannotWrite(path: path, reason: writeProblem(errno))
      }
      let problem = put(draft)
      if problem != 0 {
        throw RunDirectoryError.cannotWrite(path: path, reason: writeProblem(problem))
      }
    } catch {
      unlink(draft)
      throw error
    }
  }

  /// A pipe without a reader is waited for a while: whoever made it may just be starting one.
  private func openStream(isPipe: Bool) throws(RunDirectoryError) -> Int32 {
    for attempt in 0... {
      let descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
      if descriptor >= 0 {
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        return descriptor
      }
      if !isPipe || errno != ENXIO || attempt == 20 { break }
      usleep(100_000)
    }
    throw .cannotWrite(
      path: path,
      reason: isPipe && errno == ENXIO
        ? "nobody reads from this pipe (start its reader first)" : writeProblem(errno))
  }

  private func write(_ bytes: [UInt8], to descriptor: Int32) throws(RunDirectoryError) {
    // A reader that goes away is an error here, not a signal.
    signal(SIGPIPE, SIG_IGN)
    var offset = 0
    while offset < bytes.count {
      let written = bytes.withUnsafeBytes {
        Foundation.write(
          descriptor, $0.baseAddress?.advanced(by: offset), bytes.count - offset)
      }
      if written < 0 && errno == EINTR { continue }
      if written < 0 { throw .cannotWrite(path: path, reason: writeProblem(errno)) }
      offset += written
    }
  }
}
