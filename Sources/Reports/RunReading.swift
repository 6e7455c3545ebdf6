import Configuration
import Experiments
public import Foundation
import GPSCore
public import Runs

/// What stands in a run directory at one moment, whether the run is over or going on.
public struct RunReading: Sendable {
  /// A warning or an error of the log.
  public struct Message: Sendable, Equatable {
    /// "warning" or "error".
    public let level: String
    /// One sentence, with what to do about it where that is known.
    public let text: String
  }

  /// How far a run has come.
  public enum Stage: String, Sendable {
    /// A process is writing to the directory.
    case running
    /// All iterations are done.
    case completed
    /// It was stopped before, or its process is gone.
    case interrupted
    /// It could not go on.
    case failed
  }

  /// The directory.
  public let url: URL
  /// The experiment's name.
  public let task: String
  /// One line for people; may be empty.
  public let summaryLine: String
  /// The seed of all randomness.
  public let seed: UInt64
  /// The effective experiment as YAML.
  public let experiment: String
  /// What was asked for, by name.
  let settings: Experiment
  /// How far it has come.
  public let stage: Stage
  /// What it came to; nil before the end of the first iteration.
  public let summary: Summary?
  /// One row per iteration.
  public let progress: RunTable
  /// One row per iteration and training condition.
  public let conditions: RunTable
  /// What the log warns of, in order.
  public let messages: [Message]
  /// Seconds since the last iteration ended; nil before the first.
  public let age: Double?
  /// The film of its policy, or the strip of pictures, if there is one and it is not too large for a page.
  let film: (type: String, bytes: [UInt8])?

  /// Reads a run directory.
  ///
  /// - Parameter url: where.
  /// - Throws: `RunDirectoryError`, or `SettingsError` for an experiment that cannot be read.
  public init(_ url: URL) throws {
    func path(_ name: String) -> String { url.appendingPathComponent(name).path }
    func bytes(_ name: String) throws(RunDirectoryError) -> [UInt8]? {
      do throws(FileProblem) {
        if try RegularFile.status(of: path(name)) == nil { return nil }
        return try RegularFile.read(path(name), atMost: 1 << 30)
      } catch {
        throw .cannotRead(path: path(name), reason: "\(error)")
      }
    }
    let name = RunDirectory.FileName.experiment
    guard let yaml = try bytes(name) else {
      throw RunDirectoryError.cannotRead(path: url.path, reason: "it holds no run (no \(name))")
    }
    self.url = url
    experiment = String(decoding: yaml, as: UTF8.self)
    settings = try Experiment(yaml: experiment, name: path(name))
    (task, summaryLine, seed) = (settings.task, settings.description, settings.seed)
    // The lock first: a run that ends meanwhile is then taken for one that goes on, and never the other way.
    let isRunning = RunDirectory.isInUse(url)
    progress = RunTable(csv: try bytes(RunDirectory.FileName.progress) ?? [])
    conditions = RunTable(csv: try bytes(RunDirectory.FileName.conditions) ?? [])
    summary = try bytes(RunDirectory.FileName.summary).flatMap {
      try? JSONDecoder().decode(Summary.self, from: Data($0))
    }
    stage =
      if isRunning { .running } else {
        switch summary?.outcome {
        case .completed: .completed
        case .failed: .failed
        case .interrupted, nil: .interrupted
        }
      }
    messages = Self.messages(in: try bytes(RunDirectory.FileName.log) ?? [])
    var film: (type: String, bytes: [UInt8])?
    for (name, type) in [
      (RunDirectory.FileName.filmStrip, "image/png"), (RunDirectory.FileName.film, "video/mp4"),
    ] {
      if let bytes = try? RegularFile.read(path(name), atMost: 1 << 24) { film = (type, bytes) }
    }
    self.film = film
    var status = stat()
    if !progress.rows.isEmpty, stat(path(RunDirectory.FileName.progress), &status) == 0 {
      age = max(0, Date.now.timeIntervalSince1970 - Double(status.st_mtim.tv_sec))
    } else {
      age = nil
    }
  }

  private static func messages(in log: [UInt8]) -> [Message] {
    String(decoding: log, as: UTF8.self).split(separator: "\n").compactMap { line in
      // "2026-01-31T12:00:00Z warning: …"
      let words = line.split(separator: " ", maxSplits: 2)
      guard words.count == 3, ["warning:", "error:"].contains(words[1]) else { return nil }
      return Message(level: String(words[1].dropLast()), text: visible(String(words[2])))
    }
  }
}

// MARK: - What several readers want to know

extension RunReading {
  /// The name of the directory.
  var name: String { url.standardizedFileURL.lastPathComponent }

  /// The algorithm's name.
  var algorithm: String {
    summary?.algorithm
      ?? (settings.localStep == "klLQR"
        ? settings.algorithm : "\(settings.algorithm)-\(settings.localStep)")
  }

  /// Iterations done.
  var iterationsDone: Int { progress.rows.count }

  /// Iterations of the whole run. A run of `gps optimize` ends when it has converged: it has as many as it has done.
  var iterations: Int {
    progress.has("policy_mean_cost") || progress.columns.isEmpty
      ? max(settings.search.iterations, iterationsDone) : iterationsDone
  }

  /// Seconds that the rest may take, if it takes as long as what is done; nil where nothing is known or nothing is left.
  var secondsLeft: Double? {
    if stage != .running || iterationsDone == 0 || iterationsDone >= iterations { return nil }
    let times = progress.numbers("seconds_total").compactMap { $0 }
    // A search of the start belongs to the first iteration alone.
    let start = progress.numbers("seconds_start").compactMap { $0 }.reduce(0, +)
    let each = (times.reduce(0, +) - start) / Double(max(1, times.count))
    return max(0, each * Double(iterations - iterationsDone) - min(age ?? 0, each))
  }

  /// Seconds that all iterations took.
  var secondsDone: Double {
    max(summary?.wallSeconds ?? 0, progress.numbers("seconds_total").compactMap { $0 }.reduce(0, +))
  }

  /// Rollouts up to each iteration.
  var rollouts: [Double] { progress.numbers("rollouts").map { $0 ?? 0 } }

  /// What curves are drawn over: what a learner's iterations cost, or their number where they cost no rollouts
  /// (`gps optimize`).
  var axis: (title: String, values: [Double]) {
    progress.has("policy_mean_cost")
      ? ("rollouts", rollouts) : ("iterations", progress.numbers("iteration").map { $0 ?? 0 })
  }

  /// What is drawn of a run, after each iteration.
  struct Curve {
    /// What it is, such as "network".
    var name: String
    var values: [Double?]
  }

  /// Cost of the rollouts, of the network without noise, and in the test conditions.
  var costs: [Curve] {
    curves([
      ("network without noise", progress.numbers("policy_mean_cost")),
      ("rollouts", progress.numbers("mean_cost")),
      ("test conditions", progress.numbers("test_mean_cost")),
    ])
  }

  /// The same of successes, from 0 to 1.
  var successes: [Curve] {
    curves([
      ("network without noise", progress.numbers("policy_success_rate")),
      (
        "rollouts",
        progress.has("success_rate")
          ? progress.numbers("success_rate") : meanOverConditions("success_rate")
      ),
      ("test conditions", progress.numbers("test_success_rate")),
    ])
  }

  private func curves(_ all: [(name: String, values: [Double?])]) -> [Curve] {
    all.filter { $0.values.contains { $0 != nil } }.map { Curve(name: $0.name, values: $0.values) }
  }

  private func meanOverConditions(_ column: String) -> [Double?] {
    progress.texts("iteration").map { iteration in
      let values = conditions.rows(where: "iteration", is: iteration).numbers(column).compactMap {
        $0
      }
      return values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }
  }

  /// The conditions' names, in order.
  var conditionNames: [String] {
    var seen: Set<String> = []
    return conditions.texts("condition").filter { seen.insert($0).inserted }
  }

  /// One condition: its cost after each iteration, and what is known of it by now.
  struct ConditionCurve {
    var name: String
    var cost: [Double?]
    /// From 0 to 1; nil where none is judged.
    var success: Double?
    /// Signed distance from the threshold of success.
    var margin: Double?
    var status: String
  }

  var conditionCurves: [ConditionCurve] {
    conditionNames.map { name in
      let rows = conditions.rows(where: "condition", is: name)
      func first(of columns: String...) -> [Double?] {
        for column in columns where rows.numbers(column).contains(where: { $0 != nil }) {
          return rows.numbers(column)
        }
        return rows.rows.map { _ in nil }
      }
      return ConditionCurve(
        name: name, cost: first(of: "policy_cost", "mean_cost", "cost"),
        success: first(of: "policy_success", "success_rate", "success").compactMap { $0 }.last,
        margin: first(of: "policy_success_margin", "success_margin").compactMap { $0 }.last,
        status: rows.texts("status").last ?? "")
    }
  }

  /// One sentence on what the run has come to.
  var verdict: String {
    if let policy = summary?.policy {
      var text = ""
      if let rate = policy.successRate {
        let whole = policy.perCondition.count { $0.successRate == 1 }
        text =
          "success \(percent(rate)) (\(whole) of \(counted(policy.perCondition.count, "condition"))), "
      }
      text +=
        "mean cost \(number(policy.meanCost)), by the network of iteration \(policy.iteration)"
      if let test = summary?.test {
        text +=
          "; test conditions: "
          + (test.successRate.map { percent($0) } ?? "mean cost \(number(test.meanCost))")
      }
      return text
    }
    guard let summary, summary.iterations > 0 else { return "no iteration is done yet" }
    return "local controllers: " + (summary.successRate.map { "success \(percent($0)), " } ?? "")
      + "mean cost \(number(summary.meanCost))"
  }
}
