import Foundation
import Testing

/// Runs the built program as `gps bench` does.
private func bench(
  _ arguments: [String], output: String? = nil
) throws -> (status: Int32, output: String, errors: String) {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("gps-bench")
  process.arguments = arguments
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
    "gps-bench-\(UUID().uuidString)", isDirectory: true)
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  process.currentDirectoryURL = folder
  let files = ["output", "errors"].map { folder.appendingPathComponent($0) }
  for file in files { _ = FileManager.default.createFile(atPath: file.path, contents: nil) }
  process.standardOutput = try FileHandle(
    forWritingTo: output.map { URL(fileURLWithPath: $0) } ?? files[0])
  process.standardError = try FileHandle(forWritingTo: files[1])
  try process.run()
  process.waitUntilExit()
  let texts = try files.map { String(decoding: try Data(contentsOf: $0), as: UTF8.self) }
  return (process.terminationStatus, texts[0], texts[1])
}

@Suite struct BenchTests {
  @Test(arguments: [
    (["nosuch"], "there is no stage 'nosuch' to time (there are lqr, dynamics, mixture, "),
    (["lqr", "--states", "4"], "--states and --controls go together"),
    (["lqr", "--states", "0", "--controls", "1"], "--states: 0 is not allowed"),
    (["lqr", "--batch", "25"], "--batch means nothing to lqr"),
    (["policy", "--model", "x.xml"], "--model means nothing to policy"),
    (["policy", "--hidden", "64-x"], "--hidden: 64-x is not allowed"),
    (["policy", "--hidden", "64-"], "--hidden: 64- is not allowed"),
    (["lqr", "--repetitions", "0"], "--repetitions: 0 is not allowed"),
    (["mixture", "--workers", "5000"], "--workers: 5000 is not allowed"),
    (["lqr", "--format", "xml"], "--format: xml is not allowed"),
    (["lqr", "--horizon", "x"], "is invalid for '--horizon <n>'"),
    (["rollout", "--model", "nosuch.xml"], "nosuch.xml"),
  ])
  func badUseIsOneSentenceAndExits64(_ arguments: [String], _ message: String) throws {
    let outcome = try bench(arguments)
    #expect(outcome.status == 64)
    #expect(outcome.errors.contains(message))
    #expect(outcome.output.isEmpty)
  }

  /// Refused at once: memory that is there is not even taken.
  @Test(arguments: [
    (["lqr", "--states", "1000", "--controls", "1000", "--horizon", "100000"], "--horizon"),
    (["dynamics", "--samples", "100000", "--conditions", "100000"], "--samples"),
    (["mixture", "--samples", "100000", "--horizon", "100000"], "--"),
    (["mixture", "--samples", "2000", "--workers", "4096"], "--workers"),
    (["policy", "--samples", "100000", "--horizon", "100000"], "--samples"),
    (["policy", "--states", "10", "--controls", "1000", "--horizon", "100000"], "--"),
    (["policy", "--hidden", "65536-65536"], "--hidden"),
    (["rollout", "--samples", "100000", "--conditions", "100000"], "--samples"),
    (["iteration", "--samples", "100000", "--horizon", "2000"], "algorithm.samples"),
  ])
  func whatMemoryCannotHoldIsRefused(_ arguments: [String], _ option: String) throws {
    let outcome = try bench(arguments)
    #expect(outcome.status == 64, "\(outcome.errors)")
    #expect(outcome.errors.hasPrefix("gps: " + option), "\(outcome.errors)")
    #expect(
      outcome.errors.contains(": too much memory: the stage \(arguments[0]) takes about ")
        && outcome.errors.contains(" GB, most of it for ")
        && outcome.errors.contains("; this machine allows "), "\(outcome.errors)")
    #expect(outcome.output.isEmpty)
  }

  @Test func aFullStandardOutputIsTold() throws {
    let outcome = try bench(
      ["lqr", "--states", "1", "--controls", "1", "--horizon", "2", "--repetitions", "1"],
      output: "/dev/full")
    #expect(outcome.status == 70)
    #expect(outcome.errors == "gps: cannot write to standard output: No space left on device\n")
  }

  @Test func helpSpeaksOfGPSBench() throws {
    let help = try bench(["--help"])
    #expect(
      help.status == 0 && help.output.contains("USAGE: gps bench [<stage> ...] [--states <n>]"))
    #expect(help.errors.isEmpty)
  }

  private static let small = [
    "lqr", "dynamics", "policy", "--states", "4", "--controls", "2", "--horizon", "10",
    "--samples", "5", "--conditions", "2", "--batch", "20", "--hidden", "8-8", "--workers", "1",
    "--repetitions", "1",
  ]

  @Test func jsonLinesAndCSVSayTheSame() throws {
    let json = try bench(Self.small + ["--format", "json"])
    #expect(json.status == 0 && json.errors.isEmpty)
    let objects = try json.output.split(separator: "\n").map {
      try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
    }
    let csv = try bench(Self.small + ["--format", "csv"])
    #expect(csv.status == 0)
    let rows = csv.output.split(separator: "\n").map {
      $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }
    let heading = try #require(rows.first)
    #expect(rows.count == objects.count + 1)
    #expect(Set(heading).count == heading.count)
    for (row, object) in zip(rows.dropFirst(), objects) {
      #expect(row.count == heading.count)
      let cells = Dictionary(uniqueKeysWithValues: zip(heading, row))
      for key in ["peer", "stage", "case"] { #expect(cells[key] == object[key] as? String) }
      let sizes = try #require(object["sizes"] as? [String: Any])
      for (name, value) in sizes { #expect(cells[name] == "\(value)") }
      // The work is the same in both runs, its time is not.
      if let check = object["check"] as? Double {
        let other = try #require(Double(cells["check"] ?? ""))
        #expect(abs(other - check) <= 1e-14 * abs(check))  // Foundation's JSON reader rounds
      }
      let median = try #require(object["median_s"] as? Double)
      #expect(median > 0 && Double(cells["median_s"] ?? "") ?? 0 > 0)
      #expect(object["reps"] as? Int == 1 && cells["reps"] == "1")
    }
    let cases = objects.compactMap { $0["case"] as? String }
    #expect(
      cases == [
        "product_double", "riccati", "marginals", "kl_step", "fit", "fit_mixture_prior",
        "fit_with_em", "product_single", "training", "action",
      ])
  }

  @Test func tableHasALinePerCase() throws {
    let outcome = try bench(Self.small)
    #expect(outcome.status == 0)
    let lines = outcome.output.split(separator: "\n")
    #expect(lines.count == 12)
    #expect(lines[0].hasPrefix("BLAS ") && lines[1].hasPrefix("stage       case "))
    #expect(lines[3].hasPrefix("lqr         riccati "))
    #expect(lines[3].hasSuffix("nx 4, nu 2, T 10"))
  }

  @Test func failedCaseIsReportedAndNotTimed() throws {
    let outcome = try bench([
      "policy", "--samples", "1", "--horizon", "5", "--conditions", "1", "--batch", "64",
      "--hidden", "8", "--workers", "1", "--repetitions", "1", "--format", "json",
    ])
    #expect(outcome.status == 70)
    #expect(outcome.errors == "gps: 1 case failed\n")
    let failed = outcome.output.split(separator: "\n").filter { $0.contains("\"error\"") }
    #expect(failed.count == 1)
    #expect(failed.first?.contains("5 samples are fewer than a batch of 64") == true)
    #expect(failed.first?.contains("median_s") == false)
  }

  @Test func iterationsReportEveryStage() throws {
    let outcome = try bench([
      "iteration", "--conditions", "3", "--samples", "2", "--horizon", "10", "--hidden",
      "8", "--workers", "1", "--repetitions", "2", "--format", "json",
    ])
    #expect(outcome.status == 0)
    let objects = try outcome.output.split(separator: "\n").map {
      try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
    }
    #expect(
      objects.compactMap { $0["case"] as? String } == [
        "iteration", "rollouts", "dynamics", "local_optimization", "global_policy", "evaluation",
        "run",
      ])
    let sizes = try #require(objects[0]["sizes"] as? [String: Any])
    #expect(sizes["M"] as? Int == 3 && sizes["N"] as? Int == 2 && sizes["T"] as? Int == 10)
    #expect(objects[0]["reps"] as? Int == 2)
    #expect(try #require(objects[0]["peak_memory_mib"] as? Double) > 1)
    #expect(try #require(objects[0]["backward_passes"] as? Double) >= 1)
  }
}
