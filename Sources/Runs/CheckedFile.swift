import Configuration
import Foundation
package import GPSCore

/// A file that is appended to, every error of which is noticed.
///
/// An append that fails half-way is taken back, so that a file holds whole rows only.
package final class CheckedFile {
  package let path: String
  private let descriptor: Int32
  /// Bytes known to be in the file.
  private(set) var length = 0

  /// A new, empty file in the place of whatever was there (a link is replaced, never followed).
  package init(creating path: String) throws(RunDirectoryError) {
    if unlink(path) != 0 && errno != ENOENT {
      throw .cannotWrite(path: path, reason: writeProblem(errno))
    }
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644)
    if descriptor < 0 { throw .cannotWrite(path: path, reason: writeProblem(errno)) }
    self.path = path
    self.descriptor = descriptor
  }

  /// An existing file, cut off after so many bytes, at whose end to go on (a link is not followed).
  package init(appendingTo path: String, keeping length: Int) throws(RunDirectoryError) {
    // Without waiting, as opening a pipe would for its reader.
    let descriptor = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    if descriptor < 0 { throw .cannotWrite(path: path, reason: writeProblem(errno)) }
    var status = stat()
    if fstat(descriptor, &status) == 0, let kind = RegularFile.kind(of: status) {
      close(descriptor)
      throw .cannotWrite(
        path: path, reason: "it is a \(kind), not a file (remove it, or choose another place)")
    }
    if ftruncate(descriptor, off_t(length)) != 0 || lseek(descriptor, off_t(length), SEEK_SET) < 0 {
      let number = errno
      close(descriptor)
      throw .cannotWrite(path: path, reason: writeProblem(number))
    }
    self.path = path
    self.descriptor = descriptor
    self.length = length
  }

  deinit { close(descriptor) }

  /// Appends bytes; when this returns they have been handed to the system.
  package func append(_ bytes: [UInt8]) throws(RunDirectoryError) {
    var offset = 0
    while offset < bytes.count {
      let written = bytes.withUnsafeBytes { buffer in
        write(descriptor, buffer.baseAddress?.advanced(by: offset), buffer.count - offset)
      }
      if written < 0 {
        let number = errno
        if number == EINTR { continue }
        // Take back the part that was written; if even that fails, the error is the same.
        _ = ftruncate(descriptor, off_t(length))
        _ = lseek(descriptor, off_t(length), SEEK_SET)
        throw .cannotWrite(path: path, reason: writeProblem(number))
      }
      offset += written
    }
    length += bytes.count
  }

  /// Waits until the bytes are on the disk.
  package func synchronize() throws(RunDirectoryError) {
    if fsync(descriptor) != 0 && errno != EINVAL && errno != EROFS {
      throw .cannotWrite(path: path, reason: writeProblem(errno))
    }
  }

  /// What follows the name of a file that is not yet whole.
  package static let draftSuffix = ".tmp"

  /// Puts a whole file in place at once: a reader sees the old one or the new one, never a part.
  package static func replace(_ path: String, with bytes: [UInt8]) throws(RunDirectoryError) {
    try replace(path) { (file) throws(RunDirectoryError) in try file.append(bytes) }
  }

  /// The same with a sealed file, which is in memory a piece at a time.
  package static func replace(_ path: String, sealing file: Safetensors) throws(RunDirectoryError) {
    try replace(path) { (draft) throws(RunDirectoryError) in
      try file.forEachPiece(isSealed: true) { (piece) throws(RunDirectoryError) in
        try draft.append(piece)
      }
    }
  }

  private static func replace(
    _ path: String, writing write: (CheckedFile) throws(RunDirectoryError) -> Void
  ) throws(RunDirectoryError) {
    let draft = path + draftSuffix
    do {
      let file = try CheckedFile(creating: draft)
      try write(file)
      try file.synchronize()
    } catch {
      unlink(draft)
      throw error
    }
    try put(draft, inPlaceOf: path)
  }

  /// Puts another name of a whole file in place of whatever had it.
  ///
  /// - Returns: false, with nothing changed, if the file system keeps one name a file.
  package static func replace(
    _ path: String, withLinkTo original: String
  ) throws(RunDirectoryError) -> Bool {
    let draft = path + draftSuffix
    unlink(draft)
    if link(original, draft) != 0 { return false }
    try put(draft, inPlaceOf: path)
    // Renaming one name of a file to another of its names changes nothing.
    unlink(draft)
    return true
  }

  private static func put(_ draft: String, inPlaceOf path: String) throws(RunDirectoryError) {
    if rename(draft, path) != 0 {
      let number = errno
      unlink(draft)
      throw .cannotWrite(path: path, reason: writeProblem(number))
    }
    // The name itself must reach the disk too.
    let directory = open(PathParts.folder(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if directory >= 0 {
      _ = fsync(directory)
      close(directory)
    }
  }
}
