import ArgumentParser
@_spi(Programs) import Benchmarks
import Foundation
@_spi(Programs) import GuidedPolicySearch
import ShippedExperiments
import Synchronization

/// `gps bench`: `gps` hands over to this program, which speaks in its name.
struct Bench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gps bench",
    abstract: "Times the stages of the toolkit, one line per case.",
    discussion: """
      Inputs are random with fixed seeds. Times are of one repetition, after a warm-up; "peak" is the \
      share of what 64 x 64 products reached in the same run. Options that are left out take the \
      defaults of each stage; an option applies to the stages that know its size.

      lqr        Riccati pass, marginals, KL-constrained step
      dynamics   dynamics fits with and without a mixture prior, and with EM
      mixture    20 passes of expectation maximisation; D = 2 states + controls, N = samples x horizon
      policy     training of the network, and one action
      rollout    rollouts beside MuJoCo's bare stepping loop; --model takes the reacher's place
      iteration  whole iterations of peg-insertion; --repetitions is their number
      derivatives  one step of each task's dynamics, its Jacobian and second derivatives
      ilqr       iterative LQR on classical problems, per iteration; --horizon makes them other ones
      """,
    version: ProgramVersion.current)

  @Argument(
    help: ArgumentHelp(
      "Stages to time: \(BenchmarkStage.allCases.map(\.rawValue).joined(separator: ", ")); all if "
        + "left out.", valueName: "stage"),
    completion: .list(BenchmarkStage.allCases.map(\.rawValue)))
  var stages: [String] = []

  @Option(help: ArgumentHelp("n, together with --controls (policy: observations).", valueName: "n"))
  var states: Int?

  @Option(help: ArgumentHelp("m, together with --states.", valueName: "n"))
  var controls: Int?

  @Option(help: ArgumentHelp("T, control steps.", valueName: "n"))
  var horizon: Int?

  @Option(help: ArgumentHelp("Rollouts per condition.", valueName: "n"))
  var samples: Int?

  @Option(help: ArgumentHelp("Conditions.", valueName: "n"))
  var conditions: Int?

  @Option(help: ArgumentHelp("Samples per minibatch.", valueName: "n"))
  var batch: Int?

  @Option(help: ArgumentHelp("Units of the hidden layers, such as 64-64.", valueName: "units"))
  var hidden: String?

  @Option(
    help: ArgumentHelp("The MuJoCo model to roll out (MJCF).", valueName: "file"),
    completion: .file(extensions: ["xml"]))
  var model: String?

  @Option(
    help: ArgumentHelp(
      "Threads; default: one, and one per core for cases that can use them.", valueName: "n"))
  var workers: Int?

  @Option(
    help: ArgumentHelp(
      "Timed repetitions; default: as many as fit in a second, 5 to 101.", valueName: "n"))
  var repetitions: Int?

  @Option(
    help: ArgumentHelp("table, json (one object a line) or csv.", valueName: "format"),
    completion: .list(BenchmarkFormat.allCases.map(\.rawValue)))
  var format = BenchmarkFormat.table.rawValue

  /// What an option may be, and which stages know it.
  private var sizes: [(option: String, value: Int?, most: Int, stages: [BenchmarkStage])] {
    [
      ("states", states, 1000, [.lqr, .dynamics, .mixture, .policy]),
      ("controls", controls, 1000, [.lqr, .dynamics, .mixture, .policy]),
      ("horizon", horizon, 100_000, BenchmarkStage.allCases),
      ("samples", samples, 100_000, [.dynamics, .mixture, .policy, .rollout, .iteration]),
      ("conditions", conditions, 100_000, [.dynamics, .policy, .rollout, .iteration]),
      ("batch", batch, 1 << 24, [.policy]),
      ("workers", workers, 4096, [.dynamics, .mixture, .policy, .rollout, .iteration]),
      ("repetitions", repetitions, 1_000_000, BenchmarkStage.allCases),
    ]
  }

  private var chosen: [BenchmarkStage] {
    stages.isEmpty ? BenchmarkStage.allCases : stages.compactMap(BenchmarkStage.init)
  }

  func validate() throws {
    for name in stages where BenchmarkStage(rawValue: name) == nil {
      let all = BenchmarkStage.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("there is no stage '\(name)' to time (there are \(all))")
    }
    if BenchmarkFormat(rawValue: format) == nil {
      throw ValidationError("--format: \(format) is not allowed (must be table, json or csv)")
    }
    for (option, value, most, known) in sizes {
      guard let value else { continue }
      if !(1...most).contains(value) {
        throw ValidationError(
          "--\(option): \(value) is not allowed (must be between 1 and \(most))")
      }
      try requireUse(of: option, by: known)
    }
    if (states == nil) != (controls == nil) {
      throw ValidationError("--states and --controls go together")
    }
    if hidden != nil {
      try requireUse(of: "hidden", by: [.policy, .rollout, .iteration])
      _ = try hiddenLayers()
    }
    if model != nil { try requireUse(of: "model", by: [.rollout]) }
  }

  private func requireUse(of option: String, by known: [BenchmarkStage]) throws {
    if !chosen.contains(where: known.contains) {
      throw ValidationError(
        "--\(option) means nothing to \(chosen.map(\.rawValue).joined(separator: ", "))")
    }
  }

  private func hiddenLayers() throws -> [Int]? {
    guard let hidden else { return nil }
    let units = hidden.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    let known = units.compactMap { $0 }.filter { (1...65536).contains($0) }
    if known.count != units.count {
      throw ValidationError(
        "--hidden: \(hidden) is not allowed (must be numbers between 1 and 65536, as in 64-64)")
    }
    return known
  }

  func run() async throws {
    var settings = BenchmarkSettings()
    settings.states = states
    settings.controls = controls
    settings.horizon = horizon
    settings.samples = samples
    settings.conditions = conditions
    settings.batch = batch
    settings.hidden = try hiddenLayers()
    settings.workers = workers
    settings.repetitions = repetitions

    let writer = BenchmarkWriter(
      format: BenchmarkFormat(rawValue: format) ?? .table, version: ProgramVersion.current)
    var failures = 0
    var runner = BenchmarkRunner(
      settings: settings, cores: max(1, ProcessInfo.processInfo.activeProcessorCount)
    ) { line in
      if line.failure != nil { failures += 1 }
      printLine(writer.text(line))
    }
    // What can be wrong with files is found before anything is timed.
    let rollouts = try chosen.contains(.rollout) ? taskToRollOut() : nil
    let search = try chosen.contains(.iteration) ? experimentToSearch(settings) : nil
    let differentiated = try chosen.contains(.derivatives) ? tasksToDifferentiate() : nil
    for stage in chosen {
      let need = runner.memoryNeed(of: stage, rolling: rollouts, searching: search)
      if let (option, problem) = need.problem(of: "the stage \(stage)") {
        throw BenchFailure(message: "\(option): \(problem)", exitCode: 64)
      }
    }
    if writer.format == .table {
      printLine(
        "BLAS \(Kernels.blasVersion) with \(Kernels.blasName) kernels, MuJoCo "
          + "\(MuJoCoVersion.current), Swift \(ProgramVersion.swift)")
    }
    if let heading = writer.heading { printLine(heading) }
    for stage in chosen {
      switch stage {
      case .lqr: await runner.timeLQR()
      case .dynamics: await runner.timeDynamics()
      case .mixture: await runner.timeMixture()
      case .policy: await runner.timePolicy()
      case .rollout: if let rollouts { await runner.timeRollouts(of: rollouts) }
      case .iteration: if let search { await runner.timeIterations(of: search) }
      case .derivatives: if let differentiated { await runner.timeDerivatives(of: differentiated) }
      case .ilqr: await runner.timeILQR()
      }
    }
    if failures > 0 {
      throw BenchFailure(
        message: "\(failures) \(failures == 1 ? "case" : "cases") failed", exitCode: 70)
    }
  }

  /// The reacher's task, or that of any model.
  private func taskToRollOut() throws -> any ControlTask {
    try readingInput {
      if let model {
        return try BenchmarkRunner.task(
          model: URL(fileURLWithPath: model), horizon: horizon ?? 100)
      }
      let length = horizon.map { Experiment.Override("horizon=\($0)", source: "--horizon \($0)") }
      return try Experiment.load(
        experiment("reacher"), overrides: length.map { [$0] } ?? []
      ).task
    }
  }

  /// The shipped tasks whose dynamics are known.
  private func tasksToDifferentiate() throws -> [any ControlTask] {
    try readingInput {
      try ["point-mass", "two-link-arm", "cart-pole", "reacher", "peg-insertion"].map {
        try Experiment.load(experiment($0), overrides: []).task
      }
    }
  }

  /// Peg-insertion, of other sizes if that is asked for.
  private func experimentToSearch(_ settings: BenchmarkSettings) throws -> LoadedExperiment {
    try readingInput {
      try BenchmarkRunner.experiment(at: experiment("peg-insertion"), settings: settings)
    }
  }

  private func experiment(_ name: String) throws -> URL {
    if let url = try ShippedExperiments.file(named: name) { return url }
    throw BenchFailure(message: "no experiment is called \"\(name)\"", exitCode: 64)
  }

  /// What goes wrong in there is the user's input: exit code 64.
  private func readingInput<Result>(_ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch let failure as BenchFailure {
      throw failure
    } catch {
      throw BenchFailure(message: "\(error)", exitCode: 64)
    }
  }
}

/// A failure whose message is one sentence for the user, and the program's exit code (`sysexits.h`).
struct BenchFailure: Error {
  var message: String
  var exitCode: Int32
}

@main
enum Main {
  static func main() async {
    signal(SIGXFSZ, SIG_IGN)
    explainWantOfMemory()
    limitMemory()
    configureHeap()
    do {
      let command = try Bench.parse()
      try await command.run()
      let problem = outputProblem.load(ordering: .relaxed)
      if problem != 0 {
        throw BenchFailure(
          message: "cannot write to standard output: \(String(cString: strerror(problem)))",
          exitCode: 70)
      }
    } catch let failure as BenchFailure {
      FileHandle.standardError.write(Data("gps: \(failure.message)\n".utf8))
      exit(failure.exitCode)
    } catch {
      // Usage, help and version: the parser knows the text and the code (64 for bad usage).
      Bench.exit(withError: error)
    }
  }
}

/// Sizes are the user's: memory that the machine does not have is denied, before the system ends other programs
/// for it.
private func limitMemory() {
  let text = (try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8)) ?? ""
  let line = text.split(separator: "\n").first { $0.hasPrefix("MemAvailable:") }
  guard let kilobytes = line?.split(separator: " ").compactMap({ rlim_t($0) }).first else { return }
  var limit = rlimit()
  let resource = __rlimit_resource_t(RLIMIT_DATA.rawValue)
  guard getrlimit(resource, &limit) == 0 else { return }
  limit.rlim_cur = min(limit.rlim_cur, kilobytes * 1024)
  setrlimit(resource, &limit)
}

/// Why standard output could not be written to; 0 if it could, or if nobody reads it any more.
private let outputProblem = Atomic<Int32>(0)

/// Writes a line to standard output at once; a reader that went away is no reason to stop.
private func printLine(_ line: String) {
  var bytes = Array((line + "\n").utf8)[...]
  while !bytes.isEmpty {
    let count = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
    if count < 0 && errno == EINTR { continue }
    if count < 0 {
      if errno != EPIPE { outputProblem.store(errno, ordering: .relaxed) }
      return
    }
    bytes = bytes.dropFirst(count)
  }
}
