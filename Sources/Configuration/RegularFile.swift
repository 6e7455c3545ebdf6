package import Foundation

/// Why a file is not read: one clause, without its name.
package struct FileProblem: Error, Sendable, Equatable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}

/// Reads files of which it is known beforehand what they are and how large they may be: a pipe never
/// ends, a device might not, and a sparse file of a terabyte costs nobody anything but its reader.
package enum RegularFile {
  /// All bytes of a regular file.
  ///
  /// - Parameters:
  ///   - path: links are followed.
  ///   - limit: more bytes than that are refused before any is read.
  /// - Returns: its bytes.
  /// - Throws: `FileProblem`.
  package static func read(_ path: String, atMost limit: Int) throws(FileProblem) -> [UInt8] {
    let descriptor = try open(path)
    defer { close(descriptor) }
    var status = stat()
    if fstat(descriptor, &status) != 0 { throw FileProblem(systemReason(errno)) }
    let size = Int(status.st_size)
    func tooLarge(_ size: Int) -> FileProblem {
      FileProblem("\(size) bytes are too many (at most \(limit))")
    }
    if size > limit { throw tooLarge(size) }
    // The files of /proc tell no size.
    let capacity = max(size + 1, 1 << 16)
    var problem: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
      while count < capacity {
        let got = Foundation.read(
          descriptor, buffer.baseAddress?.advanced(by: count), capacity - count)
        if got < 0 && errno == EINTR { continue }
        if got < 0 { problem = errno }
        if got <= 0 { return }
        count += got
      }
    }
    if problem != 0 { throw FileProblem(systemReason(problem)) }
    if bytes.count == capacity { throw FileProblem("it grows while it is read") }
    if bytes.count > limit { throw tooLarge(bytes.count) }
    return bytes
  }

  /// The first bytes of a regular file; nil if there is none. A link is not followed.
  package static func beginning(of path: String, bytes: Int) -> [UInt8]? {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      let descriptor = try? open(path)
    else { return nil }
    defer { close(descriptor) }
    return [UInt8](unsafeUninitializedCapacity: bytes) { buffer, count in
      count = max(0, Foundation.read(descriptor, buffer.baseAddress, bytes))
    }
  }

  /// A descriptor of a regular file that is open for reading, to be closed by the caller.
  ///
  /// - Throws: `FileProblem` if there is none, or it is a folder, pipe, device or socket.
  package static func open(_ path: String) throws(FileProblem) -> Int32 {
    if path.utf8.isEmpty { throw FileProblem("an empty path names no file") }
    // Looked at first: opening some devices does something already.
    var status = stat()
    if fstatat(AT_FDCWD, path, &status, 0) != 0 { throw FileProblem(systemReason(errno)) }
    if let kind = kind(of: status) { throw FileProblem("it is a \(kind), not a file") }
    // Without waiting, as opening a pipe would for a writer if it came in between.
    let descriptor = Foundation.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    if descriptor < 0 { throw FileProblem(systemReason(errno)) }
    if fstat(descriptor, &status) != 0 {
      let number = errno
      close(descriptor)
      throw FileProblem(systemReason(number))
    }
    if let kind = kind(of: status) {
      close(descriptor)
      throw FileProblem("it is a \(kind), not a file")
    }
    return descriptor
  }

  /// What is at a path, links followed; nil if nothing is.
  ///
  /// - Throws: `FileProblem` where nobody can tell, as in a folder that may not be searched.
  package static func status(of path: String) throws(FileProblem) -> stat? {
    var status = stat()
    if fstatat(AT_FDCWD, path, &status, 0) == 0 { return status }
    if errno == ENOENT || errno == ENOTDIR { return nil }
    throw FileProblem(systemReason(errno))
  }

  /// "folder", "pipe", "device" or "socket"; nil for a regular file.
  package static func kind(of status: stat) -> String? {
    switch status.st_mode & S_IFMT {
    case S_IFREG: nil
    case S_IFDIR: "folder"
    case S_IFIFO: "pipe"
    case S_IFSOCK: "socket"
    case S_IFLNK: "link"
    default: "device"
    }
  }
}

/// Parts of paths, by their bytes: a mark that joins the character before it would hide a slash.
package enum PathParts {
  /// What stands between slashes, in order.
  package static func components(
    of path: String, omittingEmptySubsequences isShort: Bool = true
  ) -> [String] {
    path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: isShort).map {
      String(Substring($0))
    }
  }

  /// A path as a URL that leads where the system would go: behind a link, ".." is above the place that it leads to.
  /// (`URL(fileURLWithPath:)` takes "link/.." of a relative path for nothing, and "~" for the home folder.)
  ///
  /// - Parameters:
  ///   - path: absolute, or seen from `folder`.
  ///   - folder: absolute; the working directory if it is left out.
  ///   - isFolder: whether a folder is meant.
  /// - Returns: the URL, absolute, without ".".
  package static func url(
    of path: String, in folder: String = FileManager.default.currentDirectoryPath,
    isFolder: Bool = false
  ) -> URL {
    let whole = path.utf8.first == UInt8(ascii: "/") ? path : folder + "/" + path
    let parts = components(of: whole).filter { $0 != "." }
    return URL(fileURLWithPath: "/" + parts.joined(separator: "/"), isDirectory: isFolder)
  }

  /// The folder that the last component is in; "." where the path names none.
  package static func folder(of path: String) -> String {
    var rest = path.utf8[...]
    func dropSlashes() { while rest.last == UInt8(ascii: "/") { rest.removeLast() } }
    dropSlashes()
    guard let slash = rest.lastIndex(of: UInt8(ascii: "/")) else {
      return rest.isEmpty && !path.isEmpty ? "/" : "."
    }
    rest = rest[..<slash]
    dropSlashes()
    return rest.isEmpty ? "/" : String(Substring(rest))
  }
}

/// Places in texts that should be UTF-8.
package enum UTF8Text {
  /// Line and character in it, from 1, of the first byte that is not UTF-8.
  package static func firstFault(in bytes: [UInt8]) -> (line: Int, column: Int) {
    var (line, column) = (1, 1)
    var decoder = UTF8()
    var iterator = bytes.makeIterator()
    while case .scalarValue(let scalar) = decoder.decode(&iterator) {
      column += 1
      if scalar == "\n" { (line, column) = (line + 1, 1) }
    }
    return (line, column)
  }
}

/// The text for an error number of the C library, e.g. "No space left on device".
package func systemReason(_ number: Int32) -> String {
  // `strerror` may return a shared buffer; this one is ours.
  var buffer = [CChar](repeating: 0, count: 256)
  _ = strerror_r(number, &buffer, buffer.count)
  let text = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  return text.isEmpty ? "error \(number)" : text
}
