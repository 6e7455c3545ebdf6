import Foundation
import GPSTestSupport
import Testing

@Suite("Asynchronous runs") struct AsynchronousRunTests {
  private let short = [
    "point-mass", "--samples", "2", "--set", "training.steps=20", "--set", "horizon=20",
  ]

  private func text(_ run: URL, _ name: String) throws -> String {
    try String(contentsOf: run.appendingPathComponent(name), encoding: .utf8)
  }

  private func rows(_ run: URL, _ name: String) throws -> [[String: Substring]] {
    let lines = try text(run, name).split(separator: "\n").map {
      $0.split(separator: ",", omittingEmptySubsequences: false)
    }
    return lines.dropFirst().map { row in
      Dictionary(uniqueKeysWithValues: zip(lines[0].map(String.init), row))
    }
  }

  @Test("A run without waiting leaves what any run leaves, and what its workers did", .slow)
  func run() throws {
    let here = try testFolder("asynchronous")
    let run = here.appendingPathComponent("run", isDirectory: true)
    let first = try gps(
      ["run"] + short + [
        "--schedule", "asynchronous", "--real-time", "100", "--workers", "3", "--iterations", "2",
        "--output", run.path,
      ])
    #expect(first.status == 0, "\(first.errors)")
    #expect(first.output.contains("mirrorDescent-asynchronous"))
    #expect(first.output.contains("utilization 0.") && first.output.contains("staleness "))
    // Longer, at another pace and with other workers.
    let second = try gps(
      ["resume", run.path, "--iterations", "3", "--workers", "2", "--real-time", "200"])
    #expect(second.status == 0, "\(second.errors)")
    let progress = try rows(run, "progress.csv")
    #expect(progress.map { $0["iteration"] } == ["0", "1", "2"])
    for row in progress {
      let busy = try #require(Double(row["utilization"] ?? ""))
      #expect(0 < busy && busy <= 1.001)
      let bound = try #require(Double(row["staleness_max"] ?? ""))
      #expect(bound <= 4)
    }
    let conditions = try rows(run, "conditions.csv")
    #expect(conditions.count == 3 * Set(conditions.map { $0["condition"] }).count)
    let workers = try rows(run, "workers.csv")
    #expect(Set(workers.compactMap { $0["iteration"] }) == ["0", "1", "2"])
    #expect(workers.contains { $0["worker"] == "network" && $0["activity"] == "training" })
    // A rollout of 20 × 0.05 s takes no less than that, divided by the pace.
    for row in workers where row["activity"] == "rollout" {
      let (start, end) = (
        try #require(Double(row["start_s"] ?? "")), try #require(Double(row["end_s"] ?? ""))
      )
      #expect(end - start >= 0.004)
    }
    let evaluation = try gps(["evaluate", run.path, "--rollouts", "1"])
    #expect(evaluation.status == 0, "\(evaluation.errors)")
    // The other schedule cannot go on with it.
    let other = try gps(
      ["run"] + short + ["--iterations", "3", "--resume", "--output", run.path])
    #expect(
      other.status == 64 && other.errors.contains("schedule: asynchronous"), "\(other.errors)")
  }

  @Test("Signals end a run without waiting too, with a checkpoint", .slow)
  func interrupted() throws {
    let run = try testFolder("asynchronous-signal").appendingPathComponent("run")
    let outcome = try gps(
      ["run"] + short + [
        "--schedule", "asynchronous", "--real-time", "10", "--workers", "2", "--iterations", "500",
        "--output", run.path,
      ], interruptAfter: "iteration 1 ")
    #expect(outcome.status == 130, "\(outcome.errors)")
    #expect(outcome.output.contains("interrupted; policy:"))
    let done = try rows(run, "progress.csv").count
    #expect((2..<20).contains(done))
    let again = try gps(["resume", run.path, "--iterations", "\(done + 1)", "--real-time", "100"])
    #expect(again.status == 0, "\(again.errors)")
    #expect(try rows(run, "progress.csv").count == done + 1)
  }

  @Test(
    "What does not go together is refused",
    arguments: [
      (["--schedule", "sometimes"], "algorithm.schedule: sometimes is not allowed"),
      (
        ["--schedule", "asynchronous", "--algorithm", "badmm"],
        "algorithm.schedule: asynchronous is"
      ),
      (
        ["--schedule", "asynchronous", "--set", "algorithm.retries=1"],
        "algorithm.retries: 1 is not allowed"
      ),
      (
        ["--set", "asynchronous.stalenessBound=-1"],
        "asynchronous.stalenessBound: -1 is not allowed"
      ),
      (["--set", "asynchronous.ageWeight=0"], "asynchronous.ageWeight: 0"),
      (["--real-time", "0"], "--real-time: 0.0 is not allowed"),
      (["--real-time", "1", "--real-time", "2"], "contradict each other"),
    ])
  func refused(options: [String], message: String) throws {
    let here = try testFolder("asynchronous-refused")
    let outcome = try gps(["run"] + short + options, in: here)
    #expect(outcome.status == 64)
    #expect(outcome.errors.contains(message), "\(outcome.errors)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: here.path) == [])
  }
}
