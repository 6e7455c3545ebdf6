import Foundation
import GPSTestSupport
import ShippedExperiments
import Testing

import GuidedPolicySearch
@testable import Runs

/// What a run left behind, less the times: equal for equal results.
struct Results: Equatable {
  var files: [String: Data] = [:]
  var progress: [[Substring]] = []
  var checkpoint = ""
  var summary: Summary

  init(of run: URL) throws {
    let folder = CheckpointFolder(in: run)
    checkpoint = try #require(folder.names.first).name
    summary = try JSONDecoder().decode(
      Summary.self, from: Data(contentsOf: run.appendingPathComponent("summary.json")))
    summary = summary.withoutTimes
    for name in [
      "experiment.yaml", "conditions.csv", "rollouts.csv", "trajectories.csv",
      "policy.safetensors", "policy-last.safetensors", "checkpoints/best.safetensors",
      "checkpoints/\(checkpoint)",
    ] {
      // Trajectory optimisation leaves neither a policy nor a best one.
      files[name] = try? Data(contentsOf: run.appendingPathComponent(name))
    }
    let text = try String(contentsOf: run.appendingPathComponent("progress.csv"), encoding: .utf8)
    let rows = text.split(separator: "\n").map {
      $0.split(separator: ",", omittingEmptySubsequences: false)
    }
    let kept = rows[0].indices.filter {
      !rows[0][$0].hasPrefix("seconds_") && rows[0][$0] != "utilization"
    }
    progress = rows.map { row in kept.map { row[$0] } }
  }

  /// Fails for each part that differs; whole files are no use in a message.
  func expectEqual(to other: Results, _ comment: Comment? = nil) {
    #expect(checkpoint == other.checkpoint, comment)
    #expect(summary == other.summary, comment)
    #expect(progress == other.progress, comment)
    #expect(files.keys.sorted() == other.files.keys.sorted(), comment)
    for (name, data) in files {
      let isEqual = data == other.files[name]
      #expect(isEqual, "\(name): \(comment?.rawValue ?? "")")
    }
  }
}

/// A short run that takes a moment.
private let short = [
  "point-mass", "--samples", "2", "--seed", "3", "--set", "training.steps=20", "--set",
  "horizon=20", "--quiet",
]

@Suite("Resuming") struct ResumeTests {
  private func url(_ name: String) -> URL { folder.appendingPathComponent(name, isDirectory: true) }

  /// The result of `short` with so many iterations that was never interrupted.
  private func uninterrupted(_ name: String, iterations: Int) throws -> Results {
    let run = try gps(["run"] + short + ["--iterations", "\(iterations)", "--output", name])
    #expect(run.status == 0 && run.faults.isEmpty)
    return try Results(of: url(name))
  }

  // MARK: - Every task, from every iteration

  @Test(
    "a shipped task goes on from each of its checkpoints, with other workers, where it has moved",
    .slow, .timeLimit(.minutes(30)),
    arguments: [
      ("point-mass", []), ("two-link-arm", []), ("cart-pole", []), ("peg-insertion", []),
      ("peg-insertion", ["algorithm.name=trajectoryOptimization"]),
      ("reacher", ["training.keepOptimizerState=true"]),
    ] as [(String, [String])])
  func shippedTasks(_ name: String, _ overrides: [String]) async throws {
    let file = try #require(try ShippedExperiments.file(named: name))
    let loaded = try Experiment.load(
      file,
      overrides: (["algorithm.iterations=3", "algorithm.samples=2", "training.steps=50"]
        + overrides).map { Experiment.Override($0) })
    let whole = url("whole-\(name)-\(overrides.count)")
    defer { try? FileManager.default.removeItem(at: whole) }
    func finish(_ learner: some Learner) async throws {
      _ = try await loaded.begin(learner, at: whole, echoesWarnings: false).run(
        workers: 2, schedule: CheckpointSchedule(every: 1, keep: 10))
    }
    try await finish(loaded.learner(workers: 2))
    let expected = try Results(of: whole)
    for done in 0..<3 {
      let part = url("part-\(name)-\(overrides.count)-\(done)")
      defer { try? FileManager.default.removeItem(at: part) }
      try FileManager.default.copyItem(at: whole, to: part)
      let checkpoints = CheckpointFolder(in: part)
      for (iteration, name) in checkpoints.names where iteration > done {
        unlink(checkpoints.path(name))
      }
      // As `gps resume` does: with nothing but the directory, model and all.
      let own = try Experiment.load(part.appendingPathComponent("experiment.yaml"))
      func goOn(_ learner: some Learner) async throws {
        let session = try own.resume(learner, at: part, echoesWarnings: false)
        #expect(session.iterationsDone == done)
        _ = try await session.run(workers: 1 + done)
      }
      try await goOn(own.learner(workers: 1 + done))
      try Results(of: part).expectEqual(to: expected, "\(name) from \(done)")
    }
  }

  // MARK: - Kills

  /// When a process is killed.
  private enum Moment: CaseIterable {
    /// After a random time.
    case whenever
    /// While a checkpoint is being written.
    case checkpoint
    /// While rows are being written.
    case rows
    /// Right after the last rows of an iteration.
    case iteration
  }

  private func size(_ path: String) -> Int {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_size) : 0
  }

  private func holdsDraft(_ folder: CheckpointFolder) -> Bool {
    let names = try? FileManager.default.contentsOfDirectory(atPath: folder.url.path)
    return names?.contains { $0.hasSuffix(".tmp") } == true
  }

  /// GPS_KILLS asks for more kills than the 40 of an ordinary test.
  @Test(
    "a run that is killed again and again ends as if it never had been", .slow,
    .timeLimit(.minutes(30)))
  func kills() throws {
    let wanted = max(40, Int(ProcessInfo.processInfo.environment["GPS_KILLS"] ?? "") ?? 0)
    // No process lives for more than three iterations before it is killed.
    let iterations = 3 * wanted + 10
    let expected = try uninterrupted("never-killed", iterations: iterations)
    let run = url("killed")
    let checkpoints = CheckpointFolder(in: run)
    let progress = run.appendingPathComponent("progress.csv").path
    let trajectories = run.appendingPathComponent("trajectories.csv").path
    var random = RandomStream(seed: 11)
    var (kills, drafts, ahead, torn) = (0, 0, 0, 0)
    var ends: [Int32] = []
    for start in 0... {
      let workers = ["--workers", "\(1 + start % 3)"]
      let process = Process()
      process.executableURL = program
      process.currentDirectoryURL = folder
      process.arguments =
        start.isMultiple(of: 2) || (try? RunDirectory.holdsCheckpoints(run)) != true
        ? ["run"] + short + workers
          + ["--iterations", "\(iterations)", "--output", "killed", "--resume"]
        : ["resume", "killed", "--quiet"] + workers
      process.standardOutput = FileHandle.nullDevice
      process.standardError = FileHandle.nullDevice
      try process.run()
      let moment = Moment.allCases[random.index(below: Moment.allCases.count)]
      let until = ContinuousClock.now + .microseconds(random.index(below: 150_000))
      let (rows, iterationsBefore) = (size(trajectories), size(progress))
      var grown = 0
      var last = iterationsBefore
      while process.isRunning && kills < wanted {
        let now = size(progress)
        if now > last { grown += 1 }
        last = now
        let isMoment =
          switch moment {
          case .whenever: ContinuousClock.now > until
          case .checkpoint: grown > start % 2 && holdsDraft(checkpoints)
          case .rows: size(trajectories) > rows
          case .iteration: now > iterationsBefore
          }
        if isMoment || grown > 2 {
          kill(process.processIdentifier, SIGKILL)
          break
        }
      }
      process.waitUntilExit()
      if process.terminationReason == .exit {
        ends.append(process.terminationStatus)
        // At the end, or because nobody killed it any more.
        if process.terminationStatus != 0 || kills >= wanted { break }
        continue
      }
      kills += 1
      if holdsDraft(checkpoints) { drafts += 1 }
      let done = checkpoints.names.first?.iteration ?? 0
      let lines = (try? Data(contentsOf: URL(fileURLWithPath: progress))) ?? Data()
      if lines.count(where: { $0 == 10 }) > done + 1 { ahead += 1 }
      for file in ["trajectories.csv", "rollouts.csv", "conditions.csv", "progress.csv"] {
        let data = (try? Data(contentsOf: run.appendingPathComponent(file))) ?? Data()
        if let last = data.last, last != 10 { torn += 1 }
      }
    }
    print(
      "\(kills) kills: \(drafts) in the middle of a checkpoint, \(ahead) between rows and "
        + "checkpoint, \(torn) torn rows")
    #expect(kills == wanted && ends.last == 0)
    #expect(drafts > 0 && ahead > 0)
    try Results(of: run).expectEqual(to: expected)
  }

  // MARK: - Signals

  @Test(
    "a termination request ends a run after its iteration, and it can go on", .slow,
    arguments: [SIGINT, SIGTERM])
  func signals(_ signal: Int32) throws {
    let expected = try uninterrupted("unsignalled-\(signal)", iterations: 60)
    let name = "signalled-\(signal)"
    var arguments = ["run"] + short + ["--iterations", "60", "--output", name]
    arguments.removeAll { $0 == "--quiet" }
    let stopped = try gps(arguments, interruptAfter: "iteration 2 ", by: signal)
    #expect(stopped.status == 128 + signal)
    #expect(stopped.errors.contains("stopping after this iteration; once more to stop at once"))
    let summary = try JSONDecoder().decode(
      Summary.self, from: Data(contentsOf: url(name).appendingPathComponent("summary.json")))
    #expect(summary.outcome == .interrupted)
    // Nothing is thrown away.
    let newest = try #require(CheckpointFolder(in: url(name)).names.first)
    #expect(newest.iteration == summary.iterations && summary.iterations >= 3)
    let resumed = try gps(["resume", name, "--quiet"])
    #expect(resumed.status == 0 && resumed.faults.isEmpty)
    try Results(of: url(name)).expectEqual(to: expected)
  }

  @Test func secondSignalEndsAtOnce() throws {
    // Training this long takes hours.
    let process = Process()
    process.executableURL = program
    process.currentDirectoryURL = folder
    let endless = short.map { $0 == "training.steps=20" ? "training.steps=1000000000" : $0 }
    process.arguments = ["run"] + endless + ["--output", "endless"]
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try process.run()
    for _ in 0..<2000 where (try? RunDirectory.holdsCheckpoints(url("endless"))) != true {
      usleep(10_000)
    }
    while process.isRunning {
      kill(process.processIdentifier, SIGTERM)
      usleep(100_000)
    }
    process.waitUntilExit()
    #expect(process.terminationReason == .exit && process.terminationStatus == 143)
  }

  /// `scripts/slurm-job` under a `scontrol` that only takes note.
  @Test(.slow) func jobThatRunsOutOfTimeIsRequeued() throws {
    let expected = try uninterrupted("unqueued", iterations: 60)
    let tools = url("tools")
    try FileManager.default.createDirectory(at: tools, withIntermediateDirectories: true)
    let control = tools.appendingPathComponent("scontrol")
    try "#!/bin/sh\necho \"$@\" >>\"$0.log\"\n".write(
      to: control, atomically: true, encoding: .utf8)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: control.path)
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../scripts/slurm-job").standardizedFileURL
    var statuses: [Int32] = []
    for attempt in 0..<3 {
      let process = Process()
      // Threads of the test runner block signals, and a shell would go on doing so.
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments =
        ["--default-signal=TERM", "bash", script.path] + short.dropLast()
        + ["--iterations", "60", "--output", "queued"]
      process.currentDirectoryURL = folder
      process.environment = ProcessInfo.processInfo.environment.merging([
        "GPS": program.path, "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "2",
        "PATH": "\(tools.path):/usr/bin:/bin",
      ]) { $1 }
      process.standardOutput = FileHandle.nullDevice
      process.standardError = FileHandle.nullDevice
      try process.run()
      if attempt < 2 {
        func done() -> Int { CheckpointFolder(in: url("queued")).names.first?.iteration ?? 0 }
        let before = done()
        for _ in 0..<20_000 where done() < before + 3 { usleep(1000) }
        kill(process.processIdentifier, SIGTERM)
      }
      process.waitUntilExit()
      statuses.append(process.terminationStatus)
    }
    #expect(statuses == [143, 143, 0])
    #expect(
      try String(contentsOf: tools.appendingPathComponent("scontrol.log"), encoding: .utf8)
        == "requeue 7\nrequeue 7\n")
    try Results(of: url("queued")).expectEqual(to: expected)
  }

  // MARK: - Refusals and endings

  @Test func aFinishedRunSaysSoAndCanBeMadeLonger() throws {
    var expected = try uninterrupted("five", iterations: 5)
    _ = try uninterrupted("three", iterations: 3)
    let again = try gps(["resume", "three"])
    #expect(again.status == 0)
    #expect(again.output.contains("; all iterations are done, --iterations asks for more\n"))
    #expect(again.output.contains("\npolicy: success rate "))
    let fewer = try gps(["resume", "three", "--iterations", "2"])
    #expect(fewer.status == 64)
    #expect(
      fewer.errors.hasSuffix("three: 3 iterations are done, so the run cannot end after 2\n"))
    let more = try gps(["resume", "three", "--iterations", "5", "--workers", "3"])
    #expect(more.status == 0)
    #expect(more.output.contains("; 3 iterations are done\n"))
    #expect(more.output.contains("iteration 3 (4/5): "))
    var longer = try Results(of: url("three"))
    // A checkpoint holds the experiment as it was then: of three iterations, if the best one was before.
    longer.files["checkpoints/best.safetensors"] = nil
    expected.files["checkpoints/best.safetensors"] = nil
    longer.expectEqual(to: expected)
  }

  @Test func damageIsToldAndTheOneBeforeTaken() throws {
    let expected = try uninterrupted("undamaged", iterations: 3)
    _ = try uninterrupted("damaged", iterations: 3)
    let checkpoints = CheckpointFolder(in: url("damaged"))
    func damage(_ name: String) throws {
      let file = try FileHandle(forUpdating: URL(fileURLWithPath: checkpoints.path(name)))
      try file.seek(toOffset: 5000)
      try file.write(contentsOf: Data("oops".utf8))
      try file.close()
    }
    try damage("iteration-000003.safetensors")
    let resumed = try gps(["resume", "damaged", "--quiet"])
    #expect(resumed.status == 0)
    #expect(resumed.errors.hasPrefix("gps: warning: "))
    #expect(resumed.errors.contains("iteration-000003.safetensors: "))
    #expect(resumed.errors.contains("; the checkpoint before it is taken\n"))
    #expect(resumed.faults.count == 1)
    try Results(of: url("damaged")).expectEqual(to: expected)

    for (_, name) in checkpoints.names { try damage(name) }
    try damage(CheckpointFolder.best)
    let refused = try gps(["resume", "damaged"])
    #expect(refused.status == 64 && refused.output.isEmpty)
    #expect(refused.errors.contains("checkpoints/iteration-000003.safetensors: "))
    #expect(refused.errors.split(separator: "\n").count == 1)
  }

  @Test func onlyOneProcessWrites() throws {
    let process = Process()
    process.executableURL = program
    process.currentDirectoryURL = folder
    process.arguments = ["run"] + short + ["--iterations", "1000000", "--output", "busy"]
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try process.run()
    for _ in 0..<2000 where (try? RunDirectory.holdsCheckpoints(url("busy"))) != true {
      usleep(10_000)
    }
    for arguments in [["resume", "busy"], ["run"] + short + ["--output", "busy", "--force"]] {
      let second = try gps(arguments)
      #expect(second.status == 64)
      #expect(second.errors.hasSuffix("busy is in use by another run\n"))
    }
    #expect(process.isRunning)
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    // The lock dies with its process.
    #expect(
      try gps(["run"] + short + ["--iterations", "1", "--output", "busy", "--force"]).status == 0)
  }

  @Test func resumingAnExperimentByName() throws {
    let arguments = ["run"] + short + ["--iterations", "2", "--output", "named", "--resume"]
    #expect(try gps(arguments).status == 0)
    #expect(try gps(arguments).status == 0)
    var changed = arguments
    let samples = try #require(arguments.firstIndex(of: "--samples"))
    changed[samples + 1] = "3"
    let other = try gps(changed)
    #expect(other.status == 64)
    #expect(other.errors.contains("it belongs to another experiment: it has \"samples: 2\""))
    #expect(try gps(["run"] + short + ["--resume"]).errors.contains("--resume needs --output"))
    // A directory of somebody else's is not taken for a run.
    let foreign = url("foreign")
    try FileManager.default.createDirectory(at: foreign, withIntermediateDirectories: true)
    try Data("x".utf8).write(to: foreign.appendingPathComponent("thesis.txt"))
    let refused = try gps(["run"] + short + ["--output", "foreign", "--resume"])
    #expect(refused.status == 64 && refused.errors.contains("is not empty"))
    #expect(try gps(["resume", "foreign"]).errors.hasPrefix("gps: foreign holds no checkpoint"))
    #expect(try gps(["resume", "nothing"]).errors == "gps: nothing: no such run directory\n")
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: foreign.path) == ["thesis.txt"])
  }

  // MARK: - Full disks

  @Test func aRunOnAFullDiskGoesOnWhenThereIsRoom() throws {
    let expected = try uninterrupted("roomy", iterations: 20)
    let arguments = ["run"] + short + ["--iterations", "20", "--output", "cramped"]
    // Limits on file size, in blocks of 512 bytes, stand for a full disk: first rows do not fit …
    let rows = try gps(arguments, shellPrefix: "ulimit -f 700;")
    #expect(rows.status == 70)
    #expect(rows.errors.contains("trajectories.csv: File too large ("))
    // … then a checkpoint, which is by now as large as it gets.
    let size = try #require(
      try FileManager.default.attributesOfItem(
        atPath: CheckpointFolder(in: url("cramped")).path(CheckpointFolder.best))[.size] as? Int)
    #expect(size < 700 * 512)
    _ = try gps(["resume", "cramped", "--quiet"], shellPrefix: "ulimit -f \((size - 1) / 512);")
    let resumed = try gps(["resume", "cramped", "--quiet"])
    #expect(resumed.status == 0 && resumed.faults.isEmpty)
    try Results(of: url("cramped")).expectEqual(to: expected)
  }

  private static let canMount: Bool = {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "unshare -m mount -t tmpfs none /tmp >/dev/null 2>&1"]
    return (try? process.run()) != nil
      && (process.waitUntilExit(), process.terminationStatus).1 == 0
  }()

  @Test("checkpoints and rows on a disk that is really full", .enabled(if: canMount))
  func fullDisk() throws {
    let expected = try uninterrupted("on-disk", iterations: 20)
    // The disk fills up at different places: with each size the run ends in another write.
    for size in [160, 400, 560, 700, 1000] {
      let script = """
        mkdir -p small && mount -t tmpfs -o size=\(size)k none small || exit 1
        "$0" run "$@" --iterations 20 --output small/run 2>first.err
        [ $? -eq 70 ] && grep -q '^gps: cannot write .*: No space left on device (make room there, or choose another place)$' first.err || exit 2
        [ $(grep -cv '^gps: warning: iteration ' first.err) -eq 1 ] || exit 3
        mount -o remount,size=64m none small || exit 4
        if ls small/run/checkpoints/iteration-*.safetensors >/dev/null 2>&1; then
          "$0" resume small/run --quiet >second.out 2>&1 || { cat second.out >&2; exit 5; }
        else
          "$0" run "$@" --iterations 20 --output small/run --resume >second.out 2>&1 || exit 6
        fi
        [ $(grep -cv '^gps: warning: iteration ' second.out) -eq 2 ] || exit 7
        rm -rf was-full && cp -r small/run was-full
        """
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = ["unshare", "-m", "sh", "-c", script, program.path] + short
      process.currentDirectoryURL = folder
      try process.run()
      process.waitUntilExit()
      #expect(process.terminationStatus == 0, "\(size) KiB")
      try Results(of: url("was-full")).expectEqual(to: expected, "\(size) KiB")
    }
  }

  // MARK: - Policies

  @Test func evaluatingCheckpointsAndWritingActions() throws {
    let run = try gps([
      "run", "peg-insertion", "--iterations", "1", "--samples", "2", "--set", "training.steps=20",
      "--quiet", "--output", "peg",
    ])
    #expect(run.status == 0)
    try FileManager.default.moveItem(at: url("peg"), to: url("moved"))
    var outputs: Set<String> = []
    for path in ["moved", "moved/policy.safetensors", "moved/checkpoints/best.safetensors"] {
      let evaluation = try gps([
        "evaluate", path, "--rollouts", "1", "--actions", "actions.csv",
      ])
      #expect(evaluation.status == 0, "\(path): \(evaluation.errors)")
      outputs.insert(evaluation.output)
    }
    #expect(outputs.count == 1)
    let rows = try String(
      contentsOf: folder.appendingPathComponent("actions.csv"), encoding: .utf8
    ).split(separator: "\n")
    let loaded = try Experiment.load(url("moved").appendingPathComponent("experiment.yaml"))
    let (task, dimensions) = (loaded.task, loaded.task.dimensions)
    #expect(
      rows.count == 1 + (task.conditions.count + task.testConditions.count) * dimensions.horizon)
    let policy = try PolicyFile<NeuralPolicy>(
      contentsOf: url("moved").appendingPathComponent("policy.safetensors")
    ).policy
    for row in [rows[1], rows[rows.count - 1]] {
      let numbers = row.split(separator: ",").dropFirst(4).map { Double($0) ?? .nan }
      let observation = Array(numbers.prefix(dimensions.observation))
      var action = [Double](repeating: .nan, count: dimensions.control)
      let noise = [Double](repeating: 0, count: dimensions.control)
      var workspace = policy.makeWorkspace()
      var target = action.mutableSpan
      policy.act(
        step: 0, state: observation.span, observation: observation.span, noise: noise.span,
        workspace: &workspace, action: &target)
      // What was done is within what the actuators can do.
      task.controlLimits?.clamp(&target)
      #expect(action == Array(numbers.suffix(dimensions.control)))
    }
    let before = try gps(["evaluate", "moved/checkpoints/iteration-000000.safetensors"])
    #expect(before.status == 64)
    #expect(before.errors.hasSuffix("this checkpoint holds no policy\n"))
  }
}
