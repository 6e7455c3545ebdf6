import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps export`.
struct Export: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a trained policy in forms that other programs use: ONNX, C.",
    discussion: """
      Observation in, action out, in the task's own units and order: normaliser, network and the limits of \
      the controls, without the policy's noise.
      """)

  @Argument(
    help: ArgumentHelp(
      "A run directory, a policy file (policy.safetensors) or a checkpoint.", valueName: "run"),
    completion: .file())
  var path: String

  @Option(
    help: ArgumentHelp(
      "Write an ONNX model: observation (N × o) to action (N × m).",
      valueName: "file"), completion: .file(extensions: ["onnx"]))
  var onnx: String?

  @Option(
    help: ArgumentHelp(
      "Write a C header with the weights and a function act(observation, action).",
      valueName: "file"), completion: .file(extensions: ["h"]))
  var c: String?

  @Flag(help: "The ONNX model in single precision, for runtimes that have no other.")
  var single = false

  func validate() throws {
    try requirePath(path, "the run")
    for (path, option) in outputs { try requirePath(path, option) }
    if outputs.isEmpty { throw ValidationError("Nothing to write: name a file with --onnx or --c") }
    if single && onnx == nil {
      throw ValidationError("--single is for --onnx (in C, define GPS_SINGLE)")
    }
    if let onnx, let c, place(onnx) == place(c) {
      throw ValidationError("--onnx and --c name the same file, \(c)")
    }
  }

  func run() throws {
    // A reader that goes away is an error of writing.
    signal(SIGPIPE, SIG_IGN)
    let source = try TrainedPolicy(at: path)
    // Before the work: where it cannot be written, it need not be done.
    let files = try outputs.map { try source.output($0.path, option: $0.option) }
    do {
      let policy = try PolicyFile<NeuralPolicy>(contentsOf: source.file).policy
      let exported = try export(policy, of: source.loaded.task)
      for (file, output) in zip(files, outputs) {
        try file.write(
          output.option == "--onnx" ? exported.onnx(single ? .single : .double) : exported.c)
      }
    } catch let error as PolicyFileError {
      throw CommandFailure(error, otherwise: .badInput)
    } catch {
      throw CommandFailure(error, otherwise: .runFailed)
    }
  }

  private func export(_ policy: NeuralPolicy, of task: some ControlTask) throws -> ExportedPolicy {
    if let problem = policy.mismatch(with: task.dimensions) {
      throw PolicyFileError.invalid(path: path, reason: problem)
    }
    return ExportedPolicy(policy, of: task)
  }

  private var outputs: [(path: String, option: String)] {
    (onnx.map { [($0, "--onnx")] } ?? []) + (c.map { [($0, "--c")] } ?? [])
  }

  /// What a path leads to, whether it is there or not.
  private func place(_ path: String) -> String {
    func real(_ path: String) -> String? {
      guard let text = realpath(path, nil) else { return nil }
      defer { free(text) }
      return String(cString: text)
    }
    let name = PathParts.components(of: path).last ?? ""
    return real(path) ?? (real(PathParts.folder(of: path)) ?? "") + "/" + name
  }
}
