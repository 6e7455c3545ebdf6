import Foundation
import GuidedPolicySearch

/// Prints one line per iteration: a table on a terminal, sentences elsewhere.
struct ProgressPrinter {
  private let isTerminal: Bool
  private let isQuiet: Bool
  private let iterations: Int
  private let hasPolicy: Bool
  private let start = ContinuousClock.now
  private let doneBefore: Int
  private var done: Int

  /// - Parameters:
  ///   - iterations: of the whole run.
  ///   - done: those of an earlier process.
  ///   - hasPolicy: whether there is a network to tell of.
  ///   - isQuiet: whether nothing is printed.
  init(iterations: Int, done: Int, hasPolicy: Bool, isQuiet: Bool) {
    doneBefore = done
    self.done = done
    isTerminal = isatty(STDOUT_FILENO) == 1
    self.isQuiet = isQuiet
    self.iterations = iterations
    self.hasPolicy = hasPolicy
  }

  /// What is printed before the first iteration.
  func begin(_ headline: String) {
    if isQuiet { return }
    put(headline + "\n")
    if isTerminal {
      put(columns.map { pad($0.title, $0.width) }.joined(separator: " ") + "\n")
      if done < iterations { put("  iteration \(done + 1) of \(iterations) ...") }
    }
  }

  /// One iteration is done.
  mutating func print(_ report: Report) {
    done += 1
    if isQuiet { return }
    let elapsed = start.duration(to: .now) / .seconds(1)
    let left = elapsed / Double(done - doneBefore) * Double(iterations - done)
    if !isTerminal {
      put(sentence(report, left: left) + "\n")
      return
    }
    let row = columns.map { pad($0.value(report, left), $0.width) }.joined(separator: " ")
    // The transient line below the table is overwritten.
    put("\r\u{1B}[K" + row + "\n")
    if done < iterations { put("  iteration \(done + 1) of \(iterations) ...") }
  }

  /// The transient line goes.
  func end() {
    if isTerminal && !isQuiet { put("\r\u{1B}[K") }
  }

  private struct Column {
    var title: String
    var width: Int
    var value: (Report, Double) -> String
  }

  private var columns: [Column] {
    var columns = [
      Column(title: "iter", width: 5) { report, _ in "\(report.iteration)" },
      Column(title: "rollouts", width: 8) { report, _ in "\(report.rollouts)" },
      Column(title: "cost", width: 9) { report, _ in number(report.meanCost) },
      Column(title: "predicted", width: 9) { report, _ in number(report.predictedImprovement) },
      Column(title: "actual", width: 9) { report, _ in number(report.actualImprovement) },
      Column(title: "KL", width: 8) { report, _ in number(report.divergence) },
    ]
    if hasPolicy {
      columns += [
        Column(title: "policy", width: 9) { report, _ in number(report.policy?.meanCost) },
        Column(title: "success", width: 7) { report, _ in percent(report.policy?.successRate) },
      ]
    } else {
      columns.append(
        Column(title: "success", width: 7) { report, _ in percent(trainingSuccess(report)) })
    }
    columns += [
      Column(title: "roll s", width: 7) { report, _ in seconds(report.seconds.rollouts) },
      Column(title: "fit s", width: 6) { report, _ in seconds(report.seconds.dynamics) },
      Column(title: "local s", width: 7) { report, _ in seconds(report.seconds.localOptimization) },
    ]
    if hasPolicy {
      columns.append(
        Column(title: "net s", width: 6) { report, _ in seconds(report.seconds.globalPolicy) })
    }
    columns.append(Column(title: "left", width: 7) { _, left in duration(left) })
    return columns
  }

  private func sentence(_ report: Report, left: Double) -> String {
    var parts = [
      "iteration \(report.iteration) (\(done)/\(iterations)): \(report.rollouts) rollouts",
      "cost \(number(report.meanCost))",
      "predicted \(number(report.predictedImprovement))",
      "actual \(number(report.actualImprovement))",
      "KL \(number(report.divergence))",
    ]
    if let policy = report.policy {
      parts += [
        "policy cost \(number(policy.meanCost))", "success \(percent(policy.successRate))",
      ]
    } else {
      parts.append("success \(percent(trainingSuccess(report)))")
    }
    if let test = report.test { parts.append("test success \(percent(test.successRate))") }
    let stages = report.seconds
    parts.append(
      "\(seconds(stages.total)) s (rollouts \(seconds(stages.rollouts)), "
        + "dynamics \(seconds(stages.dynamics)), local \(seconds(stages.localOptimization)), "
        + "network \(seconds(stages.globalPolicy)))")
    parts.append("\(duration(left)) left")
    return parts.joined(separator: ", ")
  }

}

private func trainingSuccess(_ report: Report) -> Double? {
  let successes = report.conditions.flatMap(\.successes)
  return successes.isEmpty ? nil : Double(successes.count { $0 }) / Double(successes.count)
}

private func pad(_ text: String, _ width: Int) -> String {
  String(repeating: " ", count: max(0, width - text.count)) + text
}

/// Four significant digits, or a dash for nothing.
func number(_ value: Double?) -> String {
  guard let value, value.isFinite else { return "-" }
  return String(format: "%.4g", value)
}

func percent(_ value: Double?) -> String {
  guard let value, value.isFinite else { return "-" }
  return "\(Int((100 * value).rounded())) %"
}

func seconds(_ value: Double) -> String { String(format: "%.2f", value) }

func duration(_ value: Double) -> String {
  if value < 60 { return String(format: "%.0f s", value) }
  if value < 3600 { return String(format: "%.0f min", value / 60) }
  return String(format: "%.1f h", value / 3600)
}
