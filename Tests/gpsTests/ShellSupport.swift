import Foundation
import GPSTestSupport
import Testing

/// Runs a script of the shell in a folder, with the program as $GPS, and its output in two files there.
func shell(_ script: String, in here: URL) throws -> Outcome {
  let process = Process()
  // Threads of the test runner block signals, and a shell would go on doing so.
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  // Foundation starts processes at the ordinary priority, whatever this one was given.
  process.arguments = [
    "--default-signal=INT,TERM,PIPE", "nice", "-n",
    "\(max(0, getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)))",
    "/bin/bash", "-c", script,
  ]
  process.currentDirectoryURL = here
  process.environment = ProcessInfo.processInfo.environment.merging(["GPS": program.path]) { $1 }
  let id = UUID().uuidString
  let files = ["out", "err"].map { folder.appendingPathComponent("\($0)-\(id)") }
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  for file in files { _ = FileManager.default.createFile(atPath: file.path, contents: nil) }
  process.standardInput = FileHandle.nullDevice
  process.standardOutput = try FileHandle(forWritingTo: files[0])
  process.standardError = try FileHandle(forWritingTo: files[1])
  try process.run()
  process.waitUntilExit()
  let texts = try files.map { String(decoding: try Data(contentsOf: $0), as: UTF8.self) }
  for file in files { try FileManager.default.removeItem(at: file) }
  return Outcome(status: process.terminationStatus, output: texts[0], errors: texts[1])
}

extension Outcome {
  /// Lines on standard error, but for what a run says of its own learning: a short one says a lot.
  var faults: [Substring] {
    errors.split(separator: "\n").filter { !$0.hasPrefix("gps: warning: iteration ") }
  }
}

/// A folder of its own for each test.
func testFolder(_ name: String) throws -> URL {
  let url = folder.appendingPathComponent("\(name)-\(UUID().uuidString)", isDirectory: true)
  try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  return url
}

/// Settings of a run that takes a moment.
let tinyRun =
  "run point-mass --iterations 1 --samples 1 --set training.steps=3 --set horizon=10 --quiet"

/// How many tries a fuzz test makes: as the environment says, or a few.
func tries(_ name: String, default count: Int) -> Int {
  ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? count
}

extension String {
  /// Whether nothing in it moves a cursor, lines aside.
  var isPlain: Bool {
    unicodeScalars.allSatisfy { scalar in
      scalar == "\n"
        || ![.control, .format, .lineSeparator, .paragraphSeparator].contains(
          scalar.properties.generalCategory)
    }
  }
}
