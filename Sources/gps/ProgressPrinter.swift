import Foundation
import GuidedPolicySearch

/// Prints one line per iteration: a table on a terminal, sentences elsewhere.
struct ProgressPrinter {
  private let isTerminal: Bool
  private let isQuiet: Bool
  private let iterations: Int
  private let learned: Report.Columns
  private let start = ContinuousClock.now
  private let doneBefore: Int
  private var done: Int

  /// - Parameters:
  ///   - learner: whose reports are printed.
  ///   - done: iterations of an earlier process.
  ///   - isQuiet: whether nothing is printed.
  init(of learner: some Learner, done: Int, isQuiet: Bool) {
    doneBefore = done
    self.done = done
    isTerminal = isatty(STDOUT_FILENO) == 1
    self.isQuiet = isQuiet
    iterations = learner.iterations
    learned = learner.columns
  }

  /// What is printed before the first iteration.
  func begin(_ headline: String) {
    if isQuiet { return }
    printLine(headline)
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
    [
      Column(title: "iter", width: 5) { report, _ in "\(report.iteration)" },
      Column(title: "rollouts", width: 8) { report, _ in "\(report.rollouts)" },
    ]
      + learned.progress.compactMap { column in
        column.title.map { title in
          Column(title: title, width: 9) { report, _ in number(report.metrics[column.name]) }
        }
      } + [
        Column(title: "success", width: 7) { report, _ in
          percent(report.policy?.successRate ?? report.successRate)
        }
      ]
      + learned.stages.map { stage in
        let title = (Self.shortNames[stage] ?? stage) + " s"
        return Column(title: title, width: max(6, title.count)) { report, _ in
          seconds(report.seconds[stage])
        }
      } + [Column(title: "left", width: 7) { _, left in duration(left) }]
  }

  /// Stages in few letters, for the headings of a table.
  private static let shortNames = [
    "rollouts": "roll", "dynamics": "fit", "local_optimization": "local", "global_policy": "net",
    "evaluation": "eval",
  ]

  private func sentence(_ report: Report, left: Double) -> String {
    var parts = [
      "iteration \(report.iteration) (\(done)/\(iterations)): \(report.rollouts) rollouts"
    ]
    for column in learned.progress {
      if let title = column.title {
        parts.append(
          "\(title == "policy" ? "policy cost" : title) \(number(report.metrics[column.name]))")
      }
    }
    parts.append("success \(percent(report.policy?.successRate ?? report.successRate))")
    if let test = report.test { parts.append("test success \(percent(test.successRate))") }
    let stages = learned.stages.map {
      "\($0.replacing("_", with: " ")) \(seconds(report.seconds[$0]))"
    }
    parts.append("\(seconds(report.seconds.total)) s (\(stages.joined(separator: ", ")))")
    parts.append("\(duration(left)) left")
    return parts.joined(separator: ", ")
  }
}

private func pad(_ text: String, _ width: Int) -> String {
  String(repeating: " ", count: max(0, width - text.count)) + text
}

func number(_ value: Double?) -> String { Written.number(value) }
func percent(_ value: Double?) -> String { Written.percent(value) }
func duration(_ value: Double) -> String { Written.duration(value) }
func seconds(_ value: Double) -> String { String(format: "%.2f", value) }
