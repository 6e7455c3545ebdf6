import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps evaluate`.
struct Evaluate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Rolls out a trained policy and prints its cost and success.")

  @Argument(
    help: ArgumentHelp(
      "A run directory, a policy file (policy.safetensors) or a checkpoint.", valueName: "run"),
    completion: .file())
  var path: String

  @Option(help: ArgumentHelp("Rollouts per condition; default: 10.", valueName: "n"))
  var rollouts: Int?

  @Option(
    help: ArgumentHelp(
      "Rollouts per condition, each with a draw of its own of all that conditions draw, once or often.",
      valueName: "n"))
  var draws: Int?

  @Option(
    help: ArgumentHelp("Control steps of a rollout; default: the experiment's.", valueName: "n"))
  var horizon: Int?

  @Option(
    help: ArgumentHelp(
      "Take the conditions of another experiment, or of a file with the key conditions alone.",
      valueName: "file"), completion: .file(extensions: ["yaml", "yml"]))
  var conditions: String?

  @Option(
    name: .customLong("set"), parsing: .singleValue,
    help: ArgumentHelp(
      "Override any setting of the experiment; may be repeated. See `gps options`.",
      valueName: "key.path=value"))
  var overrides: [String] = []

  @Option(help: ArgumentHelp("Seed of initial states and noise.", valueName: "n"))
  var seed: UInt64 = 0

  @Flag(help: "Add the policy's own noise to its actions.")
  var noise = false

  @Option(help: ArgumentHelp("Concurrent workers; default: one per core.", valueName: "n"))
  var workers: Int?

  @Option(
    help: ArgumentHelp(
      "Write what the policy saw and did, a row per control, to a CSV file.", valueName: "file"),
    completion: .file(extensions: ["csv"]))
  var actions: String?

  func validate() throws {
    try requirePath(path, "the run")
    if let actions { try requirePath(actions, "--actions") }
    for (name, count) in [("rollouts", rollouts), ("draws", draws)] {
      if let count, !(1...1_000_000).contains(count) {
        throw ValidationError("--\(name): \(count) is not allowed (must be 1 to 1000000)")
      }
    }
    if rollouts != nil && draws != nil {
      throw ValidationError("--rollouts and --draws exclude each other")
    }
    if let workers, !(1...4096).contains(workers) {
      throw ValidationError("--workers: \(workers) is not allowed (must be between 1 and 4096)")
    }
  }

  func run() async throws {
    try requireAgreement(of: allOverrides)
    let source = try TrainedPolicy(
      at: path, overrides: allOverrides, trial: trial, isTrial: isTrial)
    let (file, loaded) = (source.file, source.loaded)
    let count = workers ?? max(1, ProcessInfo.processInfo.activeProcessorCount)
    let (rollouts, seed, noise) = (draws ?? rollouts ?? 10, seed, noise)
    let learner: any Learner
    do {
      try loaded.requireMemory(
        evaluating: rollouts, option: draws == nil ? "--rollouts" : "--draws", workers: count,
        keepsRollouts: actions != nil)
      learner = try loaded.learner()
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
    // Before the work: where it cannot be written, it need not be done.
    let actionsFile = try actions.map { try source.output($0, option: "--actions") }
    let keepsRollouts = actions != nil
    let (outcome, signalNumber) = await interruptible {
      () -> Result<(training: Evaluation, test: Evaluation?), any Error> in
      do {
        return .success(
          try await loaded.evaluate(
            policyAt: file, of: learner, rollouts: rollouts, seed: seed, isNoisy: noise,
            workers: count, keepsRollouts: keepsRollouts))
      } catch {
        return .failure(error)
      }
    }
    do {
      let (training, test) = try outcome.get()
      if let actionsFile {
        try loaded.writeActions(of: [training] + (test.map { [$0] } ?? []), to: actionsFile)
      }
      printLine("\(loaded.experiment.task): \(rollouts) rollouts per condition, seed \(seed)")
      printTable(training)
      if let test {
        printLine("test conditions")
        printTable(test)
      }
      printLine(sentence(training))
      if let test { printLine("test conditions: " + sentence(test)) }
    } catch let error as RunDirectoryError {
      throw CommandFailure(error, otherwise: .runFailed)
    } catch is CancellationError {
      throw ExitCode(128 + (signalNumber ?? SIGINT))
    } catch let error as PolicyFileError {
      throw CommandFailure(error, otherwise: .badInput)
    } catch {
      throw CommandFailure(error, otherwise: .runFailed)
    }
  }

  private var allOverrides: [Experiment.Override] {
    (horizon.map { [Experiment.Override("horizon=\($0)", source: "--horizon \($0)")] } ?? [])
      + overrides.map { Experiment.Override($0) }
  }

  /// Whether anything of the experiment was asked to be other.
  private var isTrial: Bool { !allOverrides.isEmpty || conditions != nil || draws != nil }

  private var trial: Experiment.Trial {
    var trial = Experiment.Trial()
    trial.conditions = conditions.map { PathParts.url(of: $0) }
    trial.redraws = draws != nil
    return trial
  }

  private func sentence(_ evaluation: Evaluation) -> String {
    var parts: [String] = []
    if evaluation.successRate.isFinite {
      parts.append("success rate \(percent(evaluation.successRate))")
    }
    parts.append("mean cost \(number(evaluation.meanCost))")
    if let margin = evaluation.meanMargin { parts.append("mean margin \(number(margin))") }
    return parts.joined(separator: ", ")
  }

  private func printTable(_ evaluation: Evaluation) {
    let width = max(9, evaluation.entries.map(\.condition.count).max() ?? 0)
    let hasMargins = evaluation.meanMargin != nil
    func row(_ name: String, _ success: String, _ cost: String, _ margin: String) {
      printLine(
        name + String(repeating: " ", count: width - name.count)
          + String(repeating: " ", count: max(1, 9 - success.count)) + success
          + String(repeating: " ", count: max(1, 12 - cost.count)) + cost
          + (hasMargins
            ? String(repeating: " ", count: max(1, 14 - margin.count)) + margin : ""))
    }
    row("condition", "success", "mean cost", "mean margin")
    for entry in evaluation.entries {
      row(
        entry.condition, percent(entry.successRate),
        number(entry.costs.isEmpty ? nil : entry.meanCost), number(entry.meanMargin))
    }
    let failed = evaluation.entries.flatMap(\.batch.discarded)
    if let last = failed.last {
      printLine("\(failed.count) rollouts failed, the last because \(last.reason)")
    }
  }
}
