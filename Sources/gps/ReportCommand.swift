import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps report`.
struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Writes a page about one or several runs.",
    discussion: """
      One HTML file that needs nothing else: how it went, per condition, warnings, times, what was asked for, how to \
      repeat it. Runs that differ in their seed alone are drawn as one curve with its range.
      """)

  @Argument(help: ArgumentHelp("Run directories.", valueName: "run"), completion: .directory)
  var runs: [String]

  @Option(
    help: ArgumentHelp(
      "The page; default: report.html in the run directory, or here for several runs.",
      valueName: "file"),
    completion: .file(extensions: ["html"]))
  var output: String?

  @Option(
    help: ArgumentHelp(
      "Write the page again every so many seconds, as long as one of the runs is going on; browsers follow.",
      valueName: "s"))
  var refresh: Int?

  func validate() throws {
    for run in runs { try requirePath(run, "the run") }
    if let output { try requirePath(output, "--output") }
    if let refresh, !(1...86400).contains(refresh) {
      throw ValidationError("--refresh: \(refresh) is not allowed (must be 1 to 86400)")
    }
  }

  func run() throws {
    // A reader that goes away is an error of writing.
    signal(SIGPIPE, SIG_IGN)
    var readings = try runs.map(reading)
    let path =
      output
      ?? (runs.count == 1
        ? readings[0].url.appendingPathComponent(RunDirectory.FileName.report).path
        : RunDirectory.FileName.report)
    let beginning = RunReport.beginning
    func write(_ page: RunReport) throws {
      do {
        // Nobody asked for this name: what somebody else has put there stays.
        let file = try OutputFile(
          path, inputs: readings.flatMap { RunDirectory.files(in: $0.url) },
          replacing: output == nil ? .beginning { $0.starts(with: beginning) } : .anything)
        do { try file.write(page.html) } catch {
          throw CommandFailure(error, otherwise: .runFailed)
        }
      } catch let failure as CommandFailure {
        throw failure
      } catch {
        throw CommandFailure("--output: \(error)", .badInput)
      }
    }
    while true {
      let goesOn = refresh != nil && readings.contains { $0.stage == .running }
      try write(RunReport(of: readings, refresh: goesOn ? refresh : nil))
      guard goesOn, let refresh else { break }
      sleep(UInt32(refresh))
      readings = try runs.map(reading)
    }
    if output == nil { printLine("report: \(displayPath(PathParts.url(of: path)))") }
  }
}

/// What stands in a run directory.
///
/// - Throws: `CommandFailure` if there is none that can be read.
func reading(_ path: String) throws -> RunReading {
  guard let status = try status(of: path) else {
    throw CommandFailure("\(path): no such run directory", .badInput)
  }
  if status.st_mode & S_IFMT != S_IFDIR {
    throw CommandFailure("\(path) is a file: a run's folder is wanted", .badInput)
  }
  do {
    return try RunReading(PathParts.url(of: path, isFolder: true))
  } catch {
    throw CommandFailure(error, otherwise: .badInput)
  }
}
