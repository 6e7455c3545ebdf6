import Foundation
import GuidedPolicySearch
import ShippedExperiments
import Testing

/// Runs the built program as a user would.
struct Outcome: Sendable {
  var status: Int32
  var output: String
  var errors: String
}

let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
  .deletingLastPathComponent().appendingPathComponent("gps")

let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
  "gps-cli-\(UUID().uuidString)", isDirectory: true)

// A marker is waited for in the output before the program is interrupted.
func gps(
  _ arguments: [String], environment: [String: String] = [:], shellPrefix: String = "",
  interruptAfter marker: String? = nil, by signal: Int32 = SIGINT, in workingFolder: URL? = nil
) throws -> Outcome {
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  let process = Process()
  if shellPrefix.isEmpty {
    process.executableURL = program
    process.arguments = arguments
  } else {
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", shellPrefix + " exec \"$0\" \"$@\"", program.path] + arguments
  }
  process.currentDirectoryURL = workingFolder ?? folder
  process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  let id = UUID().uuidString
  let outputURL = folder.appendingPathComponent("out-\(id)")
  let errorsURL = folder.appendingPathComponent("err-\(id)")
  for url in [outputURL, errorsURL] {
    _ = FileManager.default.createFile(atPath: url.path, contents: nil)
  }
  process.standardOutput = try FileHandle(forWritingTo: outputURL)
  process.standardError = try FileHandle(forWritingTo: errorsURL)
  func text(_ url: URL) throws -> String { try String(contentsOf: url, encoding: .utf8) }
  try process.run()
  if let marker {
    for _ in 0..<2000 where try !text(outputURL).contains(marker) && process.isRunning {
      usleep(10_000)
    }
    kill(process.processIdentifier, signal)
  }
  process.waitUntilExit()
  return Outcome(
    status: process.terminationStatus, output: try text(outputURL), errors: try text(errorsURL))
}

@Suite struct CommandLineTests {
  @Test func helpAndVersion() throws {
    let help = try gps(["--help"])
    #expect(help.status == 0)
    for word in [
      "tasks", "init", "check", "run", "resume", "work", "optimize", "evaluate", "plot", "report",
      "video", "watch", "export", "options", "bench",
    ] {
      #expect(help.output.contains("  \(word) "))
    }
    let version = try gps(["--version"])
    #expect(version.status == 0 && version.output == ProgramVersion.current + "\n")
    let completions = try gps(["--generate-completion-script", "bash"])
    #expect(completions.status == 0 && completions.output.contains("--iterations"))
  }

  @Test func everyShippedExperimentLoads() throws {
    let names = try ShippedExperiments.names()
    #expect(!names.isEmpty)
    for name in names {
      let url = try #require(try ShippedExperiments.file(named: name))
      let loaded = try Experiment.load(url)
      #expect(loaded.experiment.task == name)
      #expect(!loaded.experiment.description.isEmpty)
      #expect(try Experiment(yaml: loaded.experiment.yaml) == loaded.experiment)
    }
    let listed = try gps(["tasks", "--names"])
    #expect(listed.status == 0)
    #expect(listed.output.split(separator: "\n").map(String.init) == names)
    #expect(try gps(["tasks"]).output.split(separator: "\n").count == names.count)
  }

  @Test func movedProgramSaysWhatToDo() throws {
    let missing = folder.appendingPathComponent("missing-\(UUID().uuidString)").path
    let outcome = try gps(["tasks"], environment: ["GPS_EXPERIMENTS": missing])
    #expect(outcome.status == 64)
    #expect(
      outcome.errors == "gps: GPS_EXPERIMENTS is \"\(missing)\", which is not a folder\n")
  }

  @Test(arguments: [
    (["run"], "Missing expected argument '<experiment>'"),
    (["run", "point-mass", "--bogus"], "Unknown option '--bogus'"),
    (["run", "point-mass", "--workers", "0"], "--workers: 0 is not allowed"),
    (["run", "point-mass", "--seed", "x"], "is invalid for '--seed <n>'"),
    (["run", "nosuch"], "no experiment is called \"nosuch\" (there are "),
    (["run", "nosuch.yaml"], "nosuch.yaml: no such file"),
    (
      ["run", "point-mass", "--iterations", "0"],
      "gps: --iterations 0: algorithm.iterations: 0 is not"
    ),
    (["run", "point-mass", "--algorithm", "x"], "gps: --algorithm x: algorithm.name: x is not"),
    (["run", "point-mass", "--set", "a=1"], "gps: --set a=1: unknown key \"a\""),
    (["work"], "Missing expected argument '--cluster <url>'"),
    (
      ["work", "--cluster", "http://:pw@head"],
      "gps: --cluster: cluster: an address of another form is not allowed"
    ),
    (
      ["run", "point-mass", "--cluster", "redis://10.0.0.1:7000"],
      "gps: redis at 10.0.0.1:7000 is on another machine, and without a password"
    ),
    (
      ["run", "point-mass", "--schedule", "asynchronous", "--cluster", "redis://127.0.0.1:1"],
      "algorithm.schedule"
    ),
    (["evaluate", "nosuch"], "gps: nosuch: no such run directory or policy file"),
    (["evaluate", "/proc/self/status"], "gps: /proc/self/status: not a safetensors file"),
    (["options", "nosuch"], "there is no setting \"nosuch\""),
    (["plot"], "Missing expected argument"),
    (["frobnicate"], "Unexpected argument 'frobnicate'"),
  ])
  func badInputIsOneSentenceAndExits64(_ arguments: [String], _ message: String) throws {
    let outcome = try gps(arguments)
    #expect(outcome.status == 64)
    #expect(outcome.errors.contains(message))
    #expect(outcome.output.isEmpty)
    #expect(!FileManager.default.fileExists(atPath: folder.appendingPathComponent("runs").path))
  }

  @Test func runEvaluateAndRefuseToOverwrite() throws {
    let arguments = [
      "run", "point-mass", "--iterations", "2", "--samples", "3", "--seed", "4", "--workers", "2",
      "--set", "training.steps=20", "--output", "short",
    ]
    let run = try gps(arguments)
    #expect(run.status == 0)
    #expect(run.errors.split(separator: "\n").allSatisfy { $0.hasPrefix("gps: warning: ") })
    let lines = run.output.split(separator: "\n")
    #expect(lines.count == 5)
    #expect(lines[1].hasPrefix("iteration 0 (1/2): "))
    #expect(lines[3].hasPrefix("policy: success rate "))
    #expect(lines[4] == "run directory: short")
    let directory = folder.appendingPathComponent("short")
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted() == [
        ".lock", "checkpoints", "conditions.csv", "experiment.yaml", "log.txt",
        "policy-last.safetensors", "policy.safetensors", "progress.csv",
        "rollouts.csv", "summary.json", "trajectories.csv",
      ])
    let summary = try JSONDecoder().decode(
      Summary.self, from: Data(contentsOf: directory.appendingPathComponent("summary.json")))
    #expect(summary.outcome == .completed && summary.iterations == 2 && summary.seed == 4)
    let effective = try Experiment.read(directory.appendingPathComponent("experiment.yaml"))
    #expect(effective.search.samples == 3 && effective.training.steps == 20)

    let again = try gps(arguments)
    #expect(again.status == 64)
    #expect(
      again.errors.hasPrefix("gps: \(directory.path) exists and is not empty")
        || again.errors.contains("short exists and is not empty"))
    let forced = try gps(arguments + ["--force", "--quiet"])
    #expect(forced.status == 0)
    #expect(forced.output.split(separator: "\n").count == 2)

    for target in ["short", "short/policy.safetensors"] {
      let evaluation = try gps(["evaluate", target, "--rollouts", "2", "--seed", "1", "--noise"])
      #expect(evaluation.status == 0)
      #expect(evaluation.output.contains("success rate "))
    }
  }

  @Test("A policy is tried elsewhere: longer, from other starts, with other settings and draws")
  func trials() throws {
    let run = try gps([
      "run", "point-mass", "--iterations", "1", "--samples", "2", "--output", "tried", "--set",
      "training.steps=5",
    ])
    #expect(run.status == 0)
    func evaluate(_ arguments: String...) throws -> [String] {
      let outcome = try gps(["evaluate", "tried"] + arguments)
      #expect(outcome.status == 0, "\(arguments): \(outcome.errors)")
      return outcome.output.split(separator: "\n").map(String.init)
    }
    let usual = try evaluate("--rollouts", "2")
    #expect(usual.first == "point-mass: 2 rollouts per condition, seed 0")
    #expect(usual.last?.hasPrefix("success rate ") == true)
    #expect(usual.last?.contains(", mean margin ") == true)
    #expect(try evaluate("--rollouts", "2", "--horizon", "8") != usual)
    #expect(try evaluate("--rollouts", "2", "--set", "cost.0.control.weight=0") != usual)
    let silent = try evaluate("--rollouts", "2", "--set", "success=")
    #expect(silent.last?.hasPrefix("mean cost ") == true)

    let goal = try Experiment.load(
      folder.appendingPathComponent("tried/experiment.yaml")
    ).task.conditions[0].goal
    try """
    conditions:
      train:
        - {name: around, count: 4, goal: \(goal), draw: {goal: {disk: {radius: 0.1}}}}
    """.write(
      to: folder.appendingPathComponent("others.yaml"), atomically: true, encoding: .utf8)
    let others = try evaluate("--rollouts", "2", "--conditions", "others.yaml")
    #expect(others.count { $0.hasPrefix("around-") } == 4)
    let draws = try evaluate("--draws", "30", "--conditions", "others.yaml")
    #expect(draws.first == "point-mass: 30 rollouts per condition, seed 0")
    #expect(draws.count { $0.hasPrefix("around ") } == 1)
    #expect(try evaluate("--draws", "30", "--conditions", "others.yaml", "--workers", "3") == draws)

    for (arguments, message) in [
      (["--horizon", "0"], "gps: --horizon 0: horizon: 0 is not allowed"),
      (["--conditions", "nothing.yaml"], "nothing.yaml: no such file"),
      (["--conditions", "tried/summary.json"], "the key \"conditions\" is missing"),
      (["--rollouts", "2", "--draws", "2"], "--rollouts and --draws exclude each other"),
      (["--draws", "0"], "--draws: 0 is not allowed"),
      (["--set", "horizn=2"], "did you mean \"horizon\"?"),
    ] {
      let outcome = try gps(["evaluate", "tried"] + arguments)
      #expect(outcome.status == 64 && outcome.errors.contains(message), "\(outcome.errors)")
    }
  }

  @Test func interruptionWritesWhatThereIs() throws {
    let outcome = try gps(
      [
        "run", "point-mass", "--iterations", "100000", "--samples", "2", "--output", "long",
        "--set", "training.steps=5",
      ], interruptAfter: "iteration 2 ")
    #expect(outcome.status == 130)
    #expect(outcome.output.contains("interrupted; policy: success rate "))
    #expect(outcome.output.hasSuffix("run directory: long\n"))
    let directory = folder.appendingPathComponent("long")
    let summary = try JSONDecoder().decode(
      Summary.self, from: Data(contentsOf: directory.appendingPathComponent("summary.json")))
    #expect(summary.outcome == .interrupted && summary.iterations >= 3)
    let progress = try String(
      contentsOf: directory.appendingPathComponent("progress.csv"), encoding: .utf8)
    #expect(progress.split(separator: "\n").count == summary.iterations + 1)
    #expect(progress.hasSuffix("\n"))
  }

  @Test func fullDiskIsAFailureThatKeepsWhatWasWritten() throws {
    // A limit on file size stands for a full disk: write(2) fails the same way.
    let outcome = try gps(
      [
        "run", "point-mass", "--iterations", "20", "--samples", "2", "--output", "full",
        "--set", "training.steps=5",
      ], shellPrefix: "ulimit -f 800;")
    #expect(outcome.status == 70)
    #expect(outcome.errors.contains("cannot write "))
    #expect(outcome.errors.contains("trajectories.csv: File too large (raise the limit on"))
    #expect(outcome.faults.count == 1)
    let rows = try String(
      contentsOf: folder.appendingPathComponent("full/trajectories.csv"), encoding: .utf8)
    // Whole rows only, and whole iterations.
    #expect(rows.hasSuffix(",\n"))
    let summary = try JSONDecoder().decode(
      Summary.self,
      from: Data(contentsOf: folder.appendingPathComponent("full/summary.json")))
    #expect(summary.outcome == .failed)
    #expect(summary.failure?.contains("File too large") == true)
  }

  @Test func directoryThatCannotBeMadeIsAFailure() throws {
    let outcome = try gps(["run", "point-mass", "--output", "/proc/nothing/run"])
    #expect(outcome.status == 70)
    #expect(outcome.errors.hasPrefix("gps: cannot write /proc/nothing/run: "))
    #expect(outcome.errors.split(separator: "\n").count == 1)
  }

  @Test func plotPassesItsExitCodeOn() throws {
    let scripts = folder.appendingPathComponent("fake-scripts")
    try FileManager.default.createDirectory(at: scripts, withIntermediateDirectories: true)
    let script = scripts.appendingPathComponent("plot")
    try "#!/bin/sh\necho \"$@\"\nexit 3\n".write(to: script, atomically: true, encoding: .utf8)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: script.path)
    let outcome = try gps(
      ["plot", "a", "b c", "--dpi", "9"], environment: ["GPS_SCRIPTS": scripts.path])
    #expect(outcome.status == 3)
    #expect(outcome.output == "a b c --dpi 9\n")
  }

  @Test func optionsExplainSettings() throws {
    let outcome = try gps(["options", "algorithm"])
    #expect(outcome.status == 0)
    #expect(outcome.output.contains("klStep  (a number; default 1)"))
  }
}
