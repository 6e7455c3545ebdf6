import Foundation
import Testing

@testable import GuidedPolicySearch
@testable import Runs

private struct TemporaryFolder {
  let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent(
      "gps-tests-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  func text(_ name: String) throws -> String {
    try String(contentsOf: url.appendingPathComponent(name), encoding: .utf8)
  }

  func remove() { try? FileManager.default.removeItem(at: url) }
}

private func trajectory(offset: Double) -> Trajectory {
  Trajectory(
    states: Matrix(rows: 1, columns: 3, columnMajor: [offset, 0.1, 1e-300]),
    controls: Matrix(rows: 1, columns: 2, columnMajor: [1 / 3, -2]),
    observations: Matrix(rows: 1, columns: 3))
}

private func report(iteration: Int) -> Report {
  let batch = RolloutBatch(
    condition: 0, trajectories: [trajectory(offset: 1), trajectory(offset: 2)],
    discarded: [DiscardedRollout(sample: 1, attempt: 0, step: 7, reason: "it said \"no\", twice")])
  var condition = ConditionReport(
    name: "a, b", batch: batch, costs: [2, 4], successes: [true, false], margins: [0.5, -0.25])
  condition.metrics = [
    Metric("mean_cost", condition.meanCost), Metric("dual", 0.5), Metric("passes", 6),
    Metric("improvement", .nan), Metric("status", LocalOutcome.Status.converged),
  ]
  let evaluation = Evaluation(entries: [
    Evaluation.Entry(
      condition: "a, b", costs: [3], successes: [true],
      batch: RolloutBatch(condition: 0, trajectories: [trajectory(offset: 3)]))
  ])
  return Report(
    iteration: iteration, rollouts: 2,
    metrics: [Metric("loss", 0.25), Metric("policy_mean_cost", 3)], conditions: [condition],
    policy: evaluation, seconds: StageSeconds(["rollouts": 1.5], total: 2))
}

/// Columns in another order than the report's, and one more.
private let columns = Report.Columns(
  progress: ["policy_mean_cost", "test_mean_cost", "loss"].map { Metric.Column($0) },
  conditions: ["mean_cost", "improvement", "dual", "passes", "status", "absent"].map {
    Metric.Column($0)
  }, stages: ["dynamics", "rollouts"])

private func signals() throws -> RunDirectory.Signals {
  let experiment = """
    task: t
    system: {native: {model: pointMass, controlPeriod: 0.1}}
    horizon: 2
    conditions: {train: [{}]}
    cost: [{control: {}}]
    success: {stateWithin: {entries: [position], tolerance: 1}}
    initialController: {pd: {positionGains: 1, velocityGains: 1}}
    """
  var signals = RunDirectory.Signals(
    try Experiment.load(yaml: experiment, folder: URL(fileURLWithPath: "/")).task,
    columns: columns)
  signals.stateNames = ["angle_rad"]
  signals.controlNames = ["torque, Nm"]
  return signals
}

@Suite struct RunDirectoryTests {
  @Test func rowsOfAnIteration() throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let directory = try RunDirectory(
      at: folder.url, experiment: "task: t\n", signals: signals(), replacing: false)
    try directory.append(report(iteration: 0))

    #expect(
      try folder.text("progress.csv")
        == """
        iteration,rollouts,policy_mean_cost,test_mean_cost,loss,seconds_dynamics,seconds_rollouts,seconds_total
        0,2,3,,0.25,0,1.5,2

        """)
    #expect(
      try folder.text("conditions.csv") == """
        iteration,condition,mean_cost,improvement,dual,passes,status,absent
        0,"a, b",3,,0.5,6,converged,

        """)
    #expect(
      try folder.text("rollouts.csv") == """
        iteration,condition,sample,kind,cost,success,success_margin,attempts,reason,end_step
        0,"a, b",1,discarded,,,,1,"step 7: it said ""no"", twice",
        0,"a, b",0,training,2,1,0.5,1,,
        0,"a, b",1,training,4,0,-0.25,2,,
        0,"a, b",0,evaluation,3,1,,1,,

        """)
    let rows = try folder.text("trajectories.csv").split(separator: "\n")
    #expect(
      rows[0]
        == "iteration,condition,sample,kind,step,time_s,state.angle_rad,\"control.torque, Nm\"")
    #expect(rows[1] == "0,\"a, b\",0,training,0,0,1,0.3333333333333333")
    #expect(rows[3] == "0,\"a, b\",0,training,2,0.2,1e-300,")
    #expect(rows.count == 1 + 3 * 3)
    #expect(try folder.text("experiment.yaml") == "task: t\n")
  }

  @Test("A rollout's row says what its goal was, drawn or not, and the step at which it ended")
  func goalsAndEnds() throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    var signals = try signals()
    signals.conditions = [
      Condition(name: "a, b", initialPlantState: [0, 0, 0, 0], goal: [0.5, -2])
    ]
    let directory = try RunDirectory(
      at: folder.url, experiment: "", signals: signals, replacing: false)
    var report = report(iteration: 0)
    let drawn = Condition(name: "a, b", initialPlantState: [0, 0, 0, 0], goal: [0.25, 3])
    report.conditions[0].batch.trajectories[1].condition = drawn
    report.conditions[0].batch.trajectories[1].endStep = 1
    try directory.append(report)
    let rows = try folder.text("rollouts.csv").split(separator: "\n")
    #expect(rows[0].hasSuffix(",reason,end_step,goal.0,goal.1"))
    #expect(rows[1].hasSuffix("twice\",,,"))
    #expect(rows[2].hasSuffix(",1,,,0.5,-2"))
    #expect(rows[3].hasSuffix(",2,,1,0.25,3"))
    #expect(rows[4].hasSuffix(",1,,,0.5,-2"))
  }

  @Test func anExistingRunIsReplacedOnlyWhenAsked() throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let outside = folder.url.appendingPathComponent("outside.txt")
    try "precious".write(to: outside, atomically: true, encoding: .utf8)
    let run = folder.url.appendingPathComponent("run", isDirectory: true)
    do {
      let first = try RunDirectory(
        at: run, experiment: "", signals: signals(), replacing: false)
      try first.append(report(iteration: 0))
      try first.write(policy: Safetensors())
      try first.write(checkpoint: Safetensors(), iteration: 1, isBest: true, keeping: 1)
      // Not even --force takes the directory from a run that is under way.
      #expect(throws: RunDirectoryError.inUse(path: run.path)) {
        try RunDirectory(at: run, experiment: "", signals: signals(), replacing: true)
      }
      #expect(try first.url.checkResourceIsReachable())
    }
    #expect(throws: RunDirectoryError.notEmpty(path: run.path)) {
      try RunDirectory(at: run, experiment: "", signals: signals(), replacing: false)
    }
    // A link that leads out of the directory is replaced, not followed.
    let log = run.appendingPathComponent("log.txt")
    try FileManager.default.removeItem(at: log)
    try FileManager.default.createSymbolicLink(at: log, withDestinationURL: outside)
    let second = try RunDirectory(at: run, experiment: "", signals: signals(), replacing: true)
    second.log.logger().info("hello")
    #expect(try String(contentsOf: outside, encoding: .utf8) == "precious")
    #expect(
      !FileManager.default.fileExists(atPath: run.appendingPathComponent("policy.safetensors").path)
    )
    #expect(
      try String(contentsOf: run.appendingPathComponent("progress.csv"), encoding: .utf8)
        == "iteration,rollouts,policy_mean_cost,test_mean_cost,loss,"
        + "seconds_dynamics,seconds_rollouts,seconds_total\n")
    #expect(try String(contentsOf: log, encoding: .utf8).hasSuffix("info: hello\n"))
    #expect(CheckpointFolder(in: run).names.isEmpty)
  }

  @Test func aFileInTheWayIsAnError() throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let file = folder.url.appendingPathComponent("file")
    try "x".write(to: file, atomically: true, encoding: .utf8)
    let error = try #require(throws: RunDirectoryError.self) {
      try RunDirectory(at: file, experiment: "", signals: signals(), replacing: true)
    }
    #expect("\(error)".hasPrefix("cannot write \(file.path): "))
  }

  @Test func wholeFilesAreReplacedAtOnce() throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let path = folder.url.appendingPathComponent("f").path
    try CheckedFile.replace(path, with: Array("one".utf8))
    try CheckedFile.replace(path, with: Array("two".utf8))
    #expect(try folder.text("f") == "two")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["f"])
    #expect(throws: RunDirectoryError.self) {
      try CheckedFile.replace(folder.url.appendingPathComponent("missing/f").path, with: [])
    }
  }

  @Test func aFileCanHaveTwoNames() throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let (a, b) = (folder.url.appendingPathComponent("a"), folder.url.appendingPathComponent("b"))
    try CheckedFile.replace(a.path, with: Array("one".utf8))
    try CheckedFile.replace(b.path, with: Array("other".utf8))
    for _ in 0..<2 {  // the second time both are one file already
      #expect(try CheckedFile.replace(b.path, withLinkTo: a.path))
      #expect(try folder.text("b") == "one")
      #expect(
        Set(try FileManager.default.contentsOfDirectory(atPath: folder.url.path)) == ["a", "b"])
    }
    // Writing one anew leaves the other as it was.
    try CheckedFile.replace(a.path, with: Array("two".utf8))
    #expect(try folder.text("b") == "one")
    #expect(try !CheckedFile.replace(b.path, withLinkTo: a.path + "-missing"))
    #expect(try folder.text("b") == "one")
  }

  @Test func standardNamesDoNotLeadOut() throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let runs = folder.url.appendingPathComponent("runs")
    let url = try RunDirectory.claim(task: "../..//x y", seed: 3, in: runs)
    #expect(url.deletingLastPathComponent().path == runs.path)
    #expect(!url.lastPathComponent.hasPrefix("."))
    #expect(url.lastPathComponent.hasSuffix("-3"))
  }

  /// Of many runs that begin in the same second each gets a directory of its own.
  @Test func standardNamesAreClaimedOnce() async throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let (runs, date) = (folder.url.appendingPathComponent("a/b/runs"), Date.now)
    let urls = try await parallelMap(64, workers: 16, ownThreads: true, makeContext: {}) { _, _ in
      try RunDirectory.claim(task: "t", seed: 1, date: date, in: runs)
    }
    #expect(Set(urls.map(\.path)).count == 64)
    #expect(try FileManager.default.contentsOfDirectory(atPath: runs.path).count == 64)
  }

  @Test func onlyRunsOfOursAreReplaced() throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    let manager = FileManager.default
    /// Somebody else's files by their names, with what is in them.
    let folders: [[String: String]] = [
      ["experiment.yaml": "task: mine"],
      ["experiment.yaml": "task: mine", ".lock": ""],
      ["log.txt": "my own notes", ".lock": ""],
      ["progress.csv": "epoch,loss\n", ".lock": "", "log.txt": ""],
      ["progress.csv": "iteration,rollouts\n0,5\n", ".lock": "", "log.txt": ""],
      ["checkpoints/iteration-000001.safetensors": "mine", ".lock": ""],
      ["checkpoints/best.safetensors": "mine", ".lock": "4711\n"],
      ["policy.safetensors": "mine"],
    ]
    for (number, files) in folders.enumerated() {
      let url = folder.url.appendingPathComponent("\(number)")
      for (name, text) in files {
        let file = url.appendingPathComponent(name)
        try manager.createDirectory(
          at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try text.write(to: file, atomically: true, encoding: .utf8)
      }
      #expect(throws: RunDirectoryError.noRun(path: url.path), "\(files)") {
        try RunDirectory(at: url, experiment: "", signals: signals(), replacing: true)
      }
      #expect(!RunDirectory.isUnstarted(url) || files[".lock"] == nil, "\(files)")
      for (name, text) in files {
        #expect(
          try String(contentsOf: url.appendingPathComponent(name), encoding: .utf8) == text)
      }
    }
    // A run that has only just begun is one.
    let begun = folder.url.appendingPathComponent("begun")
    for replacing in [false, true, true] {
      _ = try RunDirectory(
        at: begun, experiment: "a: 1\n", signals: signals(), replacing: replacing)
      #expect(RunDirectory.isUnstarted(begun) && RunDirectory.isRun(begun))
    }
  }

  @Test func summaryHoldsWhatIsPromised() throws {
    var summary = Summary(
      task: "t", algorithm: "mirrorDescent", seed: .max, workers: 2,
      versions: Summary.Versions.current(mujoco: MuJoCoVersion.current))
    summary.add(report(iteration: 0))
    summary.add(report(iteration: 1))
    #expect(summary.iterations == 2 && summary.rollouts == 2 && summary.discardedRollouts == 2)
    #expect(summary.policy?.successRate == 1 && summary.policy?.meanCost == 3)
    #expect(summary.policy?.perCondition.map(\.condition) == ["a, b"])
    #expect(summary.successRate == 0.5 && summary.meanCost == 3)
    let read = try JSONDecoder().decode(Summary.self, from: JSONEncoder().encode(summary))
    #expect(read == summary)
    #expect(summary.versions.mujoco.hasPrefix("4."))
    #expect(summary.versions.openblas.contains("."))
  }
}
