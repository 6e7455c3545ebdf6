import ArgumentParser
import Foundation

/// `gps bench`.
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Times the stages of the toolkit, one line per case.",
    discussion: """
      The benchmarks are a package of their own (Benchmarks in a checkout of the toolkit): scripts/gps \
      builds them when needed, and options pass through to them.
      """)

  @Argument(
    parsing: .captureForPassthrough,
    help: ArgumentHelp("Stages to time and options: gps bench --help.", valueName: "stage"))
  var arguments: [String] = []

  func run() throws {
    guard let checkout = Self.checkout() else {
      if arguments.contains("--help") || arguments.contains("-h") {
        throw CleanExit.helpRequest(self)
      }
      throw CommandFailure(
        "the benchmarks are not beside this program; set GPS_ROOT to a checkout of the toolkit",
        .badInput)
    }
    // What it becomes lives under the same limits.
    try requireThreads()
    try requireBuffers()
    try replaceProcess(
      by: checkout.appendingPathComponent("scripts/gps").path, ["bench"] + arguments)
  }

  /// `GPS_ROOT`, or the package in which this program was built, if the benchmarks are in it.
  private static func checkout() -> URL? {
    let manifest = "Benchmarks/Package.swift"
    if let root = ProcessInfo.processInfo.environment["GPS_ROOT"], !root.isEmpty {
      let url = URL(fileURLWithPath: root, isDirectory: true)
      let path = url.appendingPathComponent(manifest).path
      return FileManager.default.fileExists(atPath: path) ? url : nil
    }
    return folderAround { folder in
      FileManager.default.fileExists(atPath: folder.appendingPathComponent(manifest).path)
    }
  }
}

/// The nearest folder around this program of which something is true.
func folderAround(where isSought: (URL) -> Bool) -> URL? {
  var folder = Bundle.main.executableURL?.resolvingSymlinksInPath().deletingLastPathComponent()
  while let current = folder, current.path != "/" {
    if isSought(current) { return current }
    folder = current.deletingLastPathComponent()
  }
  return nil
}

/// Another program takes this process's place, so that its exit code and signals are this program's.
///
/// - Throws: `CommandFailure` if it cannot be run; otherwise this does not return.
func replaceProcess(by path: String, _ arguments: [String]) throws -> Never {
  var words = ([path] + arguments).map { strdup($0) as UnsafeMutablePointer<CChar>? }
  words.append(nil)
  execv(path, words)
  throw CommandFailure("cannot run \(path): \(String(cString: strerror(errno)))", .runFailed)
}
