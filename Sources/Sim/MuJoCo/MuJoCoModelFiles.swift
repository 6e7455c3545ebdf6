import CMuJoCoGuard
import Configuration
package import Foundation
import GPSCore

/// The files that a MuJoCo model was compiled from, as they were read: includes, meshes, textures, height
/// fields, attached models and whatever else MuJoCo opened.
///
/// They can be kept elsewhere (`copy`) and compiled from there when the originals are gone: names are
/// relative to the innermost folder that holds all files, so that relative paths in them stay true. What
/// they refer to by absolute paths is found by the list (`listName`) beside the copy.
package struct MuJoCoModelFiles: Sendable {
  /// What each file holds, by its name relative to `folder`.
  package let contents: [String: [UInt8]]
  /// The name of the file with the model.
  package let main: String
  /// Where the files were read, absolute.
  package let folder: String
  /// Where they were read before they were copied to `folder`; `folder` itself if they are no copy.
  package let origin: String

  /// The folder of a copy.
  package static let copyName = "model"
  /// The list that stands beside the folder of a copy.
  package static let listName = "model.json"

  /// What tells this model from others: for each file, that with the model first, a line with the
  /// checksum of its contents in hexadecimal, a space and its name.
  package var identity: String {
    let others = contents.keys.filter { $0 != main }.sorted()
    return ([main] + others)
      .map { name in
        String(CRC64.checksum(of: (contents[name] ?? [])[...]), radix: 16) + " " + name
      }
      .joined(separator: "\n")
  }

  /// The name of the file with the model in the folder above a copy.
  package var copiedMain: String { Self.copyName + "/" + main }

  /// A copy: the files and their list, by their names in the folder above it.
  package var copy: [String: Data] {
    var copy: [String: Data] = [:]
    for (name, bytes) in contents { copy[Self.copyName + "/" + name] = Data(bytes) }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let list = List(model: main, origin: origin, files: contents.keys.sorted())
    // Texts alone: they can be written.
    copy[Self.listName] = try? encoder.encode(list) + Data("\n".utf8)
    return copy
  }

  /// Files of a copy that have changed where they were copied from; one that is no longer there has not.
  package var changedSinceCopied: [String] {
    if origin == folder { return [] }
    return contents.keys.sorted().filter { name in
      let own = contents[name]
      do throws(FileProblem) {
        return try RegularFile.read(origin + "/" + name, atMost: max(own?.count ?? 0, 1 << 20))
          != own
      } catch {
        var status = stat()
        // Too large now is changed, too.
        return stat(origin + "/" + name, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
      }
    }
  }

  /// What stands beside a copy.
  private struct List: Codable {
    /// The name of the file with the model.
    var model: String
    /// The folder that the files were copied from.
    var origin: String
    /// The names of all files.
    var files: [String]
  }

  /// Where a model is read.
  struct Location {
    /// The file with the model: absolute, without "." and "..".
    let path: String
    /// The folder of the copy that it belongs to, and where that was copied from.
    let copy: (folder: String, origin: String)?
    /// Files that are read from the copy, by where they were.
    let places: [(asked: String, actual: String)]

    init(of path: String) {
      var components: [String] = []
      var absolute =
        path.utf8.first == UInt8(ascii: "/")
        ? path : FileManager.default.currentDirectoryPath + "/" + path
      // What is above a link is not what is above the place that it leads to.
      if PathParts.components(of: path).contains(".."),
        let folder = realpath(PathParts.folder(of: absolute), nil)
      {
        absolute =
          String(cString: folder) + "/" + (PathParts.components(of: absolute).last ?? "")
        free(folder)
      }
      for component in PathParts.components(of: absolute) where component != "." {
        if component == ".." { _ = components.popLast() } else { components.append(component) }
      }
      self.path = "/" + components.joined(separator: "/")
      for (depth, component) in components.enumerated().dropLast().reversed()
      where component == copyName {
        let above = components[..<depth].map { "/" + $0 }.joined()
        guard let bytes = try? RegularFile.read(above + "/" + listName, atMost: 1 << 24),
          let list = try? JSONDecoder().decode(List.self, from: Data(bytes)),
          components[(depth + 1)...].joined(separator: "/") == list.model
        else { continue }
        let folder = above + "/" + copyName
        copy = (folder, list.origin)
        places = list.files.map {
          ((list.origin == "/" ? "" : list.origin) + "/" + $0, folder + "/" + $0)
        }
        return
      }
      copy = nil
      places = []
    }
  }

  /// The files of a list after the model was loaded.
  init(_ list: FileList, in location: Location) {
    let files = list.files
    // The innermost folder that holds all files.
    let folders = files.map { PathParts.components(of: $0.path).dropLast() }
    var common = Array(folders.first ?? [])
    for folder in folders { common = zip(common, folder).prefix { $0 == $1 }.map(\.0) }
    let computed = common.map { "/" + $0 }.joined()
    // A copy that holds all files is taken as a whole: names stay those of the original.
    let folder =
      if let copy = location.copy, (computed + "/").hasPrefix(copy.folder + "/") {
        copy.folder
      } else {
        computed
      }
    var contents: [String: [UInt8]] = [:]
    var main = ""
    for file in files {
      let name = String(Substring(file.path.utf8.dropFirst(folder.utf8.count + 1)))
      contents[name] = file.bytes
      if file.isMain { main = name }
    }
    self.contents = contents
    self.main = main
    self.folder = folder.isEmpty ? "/" : folder
    origin = location.copy?.folder == folder ? location.copy?.origin ?? folder : self.folder
  }
}

/// The list in which MuJoCo's reader notes what it reads.
final class FileList {
  let pointer: OpaquePointer

  init(source: String) throws(MuJoCoError) {
    guard let pointer = mjguard_make_files() else {
      throw .simulator(source: source, reason: "out of memory")
    }
    self.pointer = pointer
  }

  deinit { mjguard_free_files(pointer) }

  /// Puts a file that is nowhere on the disk at a path; for want of memory loading fails.
  func put(_ bytes: [UInt8], at path: String) {
    _ = mjguard_put_file(pointer, path, bytes, bytes.count)
  }

  /// Lets a file be read from another place.
  func place(_ asked: String, at actual: String) {
    _ = mjguard_place_file(pointer, asked, actual)
  }

  struct File {
    var path: String
    var bytes: [UInt8]
    var isMain: Bool
  }

  /// What has been read.
  var files: [File] {
    (0..<mjguard_file_count(pointer)).map { index in
      var count = 0
      let bytes = mjguard_file_bytes(pointer, index, &count)
      return File(
        path: String(cString: mjguard_file_path(pointer, index)),
        bytes: [UInt8](UnsafeRawBufferPointer(start: bytes, count: count)),
        isMain: mjguard_file_is_main(pointer, index) != 0)
    }
  }
}
