import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps init`.
struct Init: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a first experiment for a MuJoCo model.",
    discussion: """
      The file has comments and runs as it is: the model learns to hold its starts, which are its \
      keyframes or its reference configuration. Change its cost, goals and success to what you want.
      """)

  @Argument(
    help: ArgumentHelp(
      "A model that MuJoCo reads: MJCF, URDF, .mjb, .mjz or .zip.", valueName: "model"),
    completion: .file(extensions: ["xml", "urdf", "mjb", "mjz", "zip"]))
  var model: String

  @Option(
    help: ArgumentHelp(
      "The file to write; default: the model's name and .yaml, in the working directory.",
      valueName: "file"), completion: .file(extensions: ["yaml"]))
  var output: String?

  @Flag(help: "Replace the file if gps init has written it.")
  var force = false

  func validate() throws {
    try requirePath(model, "the model")
    if let output { try requirePath(output, "--output") }
    if let output, !output.hasSuffix(".yaml"), !output.hasSuffix(".yml") {
      throw ValidationError("--output: \"\(output)\" is not allowed (its name must end in .yaml)")
    }
  }

  func run() async throws {
    let model = PathParts.url(of: model)
    let file = PathParts.url(
      of: output ?? model.deletingPathExtension().lastPathComponent + ".yaml")
    let path = displayPath(file)
    let place: OutputFile
    // Before the work: where it cannot be written, it need not be done.
    do throws(RunDirectoryError) {
      place = try ExperimentDraft.file(path, model: model, replacing: force)
    } catch {
      throw CommandFailure("\(error)", .badInput)
    }
    let draft: ExperimentDraft
    do {
      draft = try await ExperimentDraft(
        model: model, in: file.deletingLastPathComponent(),
        workers: max(1, ProcessInfo.processInfo.activeProcessorCount))
      try draft.write(to: place)
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
    printLine("wrote \(path): \(draft.summary)")
    for remark in draft.remarks { printToStandardError("gps: warning: \(remark)") }
    printLine("next: gps check \(path), gps run \(path)")
  }
}
