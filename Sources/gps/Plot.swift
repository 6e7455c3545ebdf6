import ArgumentParser
import Foundation

/// `gps plot`.
struct Plot: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Draws figures of one or several runs.",
    discussion: "Runs scripts/plot, which needs Python with Matplotlib; options pass through to it."
  )

  @Argument(
    parsing: .captureForPassthrough,
    help: ArgumentHelp("Run directories and options of scripts/plot.", valueName: "run"),
    completion: .directory)
  var arguments: [String] = []

  func run() throws {
    if arguments.contains("--help") || arguments.contains("-h"), (try? script()) == nil {
      throw CleanExit.helpRequest(self)
    }
    if arguments.isEmpty { throw ValidationError("Missing expected argument '<run> ...'") }
    let script = try script()
    try replaceProcess(by: script, arguments)
  }

  /// `scripts/plot` in `GPS_SCRIPTS`, or in the package in which this program was built.
  private func script() throws -> String {
    let manager = FileManager.default
    if let folder = ProcessInfo.processInfo.environment["GPS_SCRIPTS"], !folder.isEmpty {
      let path = (folder as NSString).appendingPathComponent("plot")
      if manager.isExecutableFile(atPath: path) { return path }
      throw CommandFailure("GPS_SCRIPTS is \"\(folder)\", which holds no plot script", .badInput)
    }
    if let folder = folderAround(where: {
      manager.isExecutableFile(atPath: $0.path + "/scripts/plot")
    }) {
      return folder.appendingPathComponent("scripts/plot").path
    }
    throw CommandFailure(
      "scripts/plot is not beside this program; set GPS_SCRIPTS to the folder that holds it",
      .badInput)
  }
}
