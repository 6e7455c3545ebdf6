import Configuration
import Foundation

/// Folders, with the system's own reasons for what cannot be.
enum Folder {
  /// Makes a folder and those above it, if they are not there.
  static func make(_ path: String) throws(RunDirectoryError) {
    if path.isEmpty { throw .cannotWrite(path: path, reason: "an empty path names no folder") }
    var made = path.hasPrefix("/") ? "/" : ""
    for component in PathParts.components(of: path) {
      made += component + "/"
      if mkdir(made, 0o777) == 0 || errno == EEXIST { continue }
      let number = errno
      // Where nothing can be made, such as /proc, what is asked for may be there all the same.
      var status = stat()
      if stat(made, &status) != 0 { throw .cannotWrite(path: path, reason: writeProblem(number)) }
    }
    var status = stat()
    if stat(path, &status) != 0 { throw .cannotWrite(path: path, reason: writeProblem(errno)) }
    if status.st_mode & S_IFMT != S_IFDIR {
      throw .cannotWrite(
        path: path,
        reason:
          "it is a \(RegularFile.kind(of: status) ?? "file"), not a folder (choose another place)")
    }
  }

  /// Makes a folder that is not there yet, in one step: of several that try, one succeeds.
  ///
  /// - Returns: whether it is new.
  static func makeNew(_ path: String) throws(RunDirectoryError) -> Bool {
    if mkdir(path, 0o777) == 0 { return true }
    if errno == EEXIST { return false }
    throw .cannotWrite(path: path, reason: writeProblem(errno))
  }

  /// The first of some files that lies in a folder, or in one below it; nil if none does.
  static func holds(anyOf files: [String], in folder: String) -> String? {
    func resolved(_ path: String) -> String? {
      guard let text = realpath(path, nil) else { return nil }
      defer { free(text) }
      return String(cString: text)
    }
    guard let folder = resolved(folder) else { return nil }
    return files.first { file in
      resolved(file).map { $0.hasPrefix(folder == "/" ? folder : folder + "/") } ?? false
    }
  }

  /// What is in a folder, in no order.
  static func names(in path: String) throws(RunDirectoryError) -> [String] {
    guard let folder = opendir(path) else {
      throw .cannotRead(path: path, reason: systemReason(errno))
    }
    defer { closedir(folder) }
    var names: [String] = []
    errno = 0
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
      errno = 0
    }
    if errno != 0 { throw .cannotRead(path: path, reason: systemReason(errno)) }
    return names
  }
}
