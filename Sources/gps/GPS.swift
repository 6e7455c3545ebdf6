import ArgumentParser
import CProgramStart
import Dispatch
import Foundation
@_spi(Programs) import GuidedPolicySearch
import ShippedExperiments

/// The command line: parse, load, run, print, exit code.
struct GPS: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gps",
    abstract: "Guided policy search: learns controllers for simulated systems.",
    discussion: """
      gps run peg-insertion     learns one of the experiments that `gps tasks` lists
      gps run my.yaml           learns your own; `gps options` explains every setting
      gps init robot.xml        writes a first experiment for a MuJoCo model
      gps check my.yaml         tries an experiment without learning

      Exit codes: 0 done, 64 bad usage or input, 70 run failed, 130 or 143 interrupted (gps resume
      goes on).
      """,
    version: ProgramVersion.current,
    subcommands: [
      Tasks.self, Init.self, CheckCommand.self, Run.self, Resume.self, Work.self, Optimize.self,
      Evaluate.self, Plot.self, ReportCommand.self, Video.self, Watch.self,
      Export.self, Options.self, Bench.self,
    ])
}

@main
enum Main {
  /// The first thread starts the command and waits for its end: it has nothing else to do than to take
  /// signals.
  static func main() {
    openStandardStreams()
    // In this order: what OpenBLAS has to say while it is loaded may still wait.
    unblockSignals()
    program_has_started()
    // A file that may not grow further is an error like a full disk.
    signal(SIGXFSZ, SIG_IGN)
    explainWantOfMemory()
    configureHeap()
    let command: any ParsableCommand
    do {
      try requireText()
      try requireDescriptors()
      command = try GPS.parseAsRoot()
      try requireAgreement(of: Array(CommandLine.arguments.dropFirst()))
      if !(command is any AsyncParsableCommand) {
        var command = command
        try command.run()
        try requireOutput()
        quit(ExitStatus.done.rawValue)
      }
      try requireStack()
      try requireThreads()
      try requireBuffers()
    } catch {
      end(error)
    }
    let isDone = DispatchSemaphore(value: 0)
    Task.detached {
      do {
        // Commands are values that parsing has made; this one has no other user.
        if var command = command as? any AsyncParsableCommand { try await command.run() }
        try requireOutput()
      } catch {
        end(error)
      }
      isDone.signal()
    }
    isDone.wait()
    quit(ExitStatus.done.rawValue)
  }

  /// Tells why the program ends, with the exit code that belongs to it.
  private static func end(_ error: any Error) -> Never {
    if let failure = error as? CommandFailure {
      printToStandardError("gps: \(failure.message)")
      quit(failure.status.rawValue)
    }
    // Usage, help and version: the parser knows the text and the code (64 for bad usage).
    let (text, code) = (GPS.fullMessage(for: error), GPS.exitCode(for: error))
    if !text.isEmpty {
      if code.isSuccess {
        put(text + "\n")
      } else {
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
          printToStandardError(String(line))
        }
      }
    }
    do throws(CommandFailure) { try requireOutput() } catch {
      printToStandardError("gps: \(error.message)")
      quit(error.status.rawValue)
    }
    quit(code.rawValue)
  }
}

/// Ends the program without what libraries do then: where memory is short, OpenBLAS waits for ever for its
/// threads.
private func quit(_ code: Int32) -> Never {
  fflush(nil)
  _exit(code)
}

/// The exit codes of the program (`sysexits.h`).
enum ExitStatus: Int32 {
  case done = 0
  case badInput = 64
  case runFailed = 70
  case interrupted = 130
}

/// A failure whose message is one sentence for the user.
struct CommandFailure: Error {
  var message: String
  var status: ExitStatus

  /// Bad input unless it is known to be something else.
  init(_ error: any Error, otherwise status: ExitStatus) {
    if let failure = error as? CommandFailure {
      self = failure
      return
    }
    message = "\(error)"
    self.status =
      switch error {
      case is SettingsError, is ShippedExperimentsError: .badInput
      case is UnknownDynamics, is InvalidOption: .badInput
      case RunDirectoryError.notEmpty, RunDirectoryError.cannotRead, RunDirectoryError.inUse,
        RunDirectoryError.noRun, RunDirectoryError.inputInside:
        .badInput
      case is CheckpointError: .badInput
      case RunDirectoryError.cannotWrite: .runFailed
      default: status
      }
  }

  init(_ message: String, _ status: ExitStatus) {
    self.message = message
    self.status = status
  }
}

/// A shipped experiment's file, or the file itself.
func experimentURL(_ nameOrPath: String) throws -> URL {
  let isPath =
    nameOrPath.contains("/") || nameOrPath.hasSuffix(".yaml") || nameOrPath.hasSuffix(".yml")
  if isPath { return PathParts.url(of: nameOrPath) }
  do {
    if let url = try ShippedExperiments.file(named: nameOrPath) { return url }
    let names = try ShippedExperiments.names().joined(separator: ", ")
    throw CommandFailure(
      "no experiment is called \"\(nameOrPath)\" (there are \(names); a file's name ends in .yaml)",
      .badInput)
  } catch let error as ShippedExperimentsError {
    throw CommandFailure(error, otherwise: .badInput)
  }
}
