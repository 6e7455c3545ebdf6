import Configuration
import Foundation
import GPSCore

/// A run as some lines of text: curves of a character a number, verdicts, and the time that is left.
public enum RunWatch {
  /// The lines.
  ///
  /// - Parameters:
  ///   - run: as it stands.
  ///   - width: characters of a line, at least 40.
  /// - Returns: lines of no more characters than that.
  public static func lines(of run: RunReading, width: Int) -> [String] {
    let width = max(40, width)
    let done = run.iterationsDone
    var head = "\(run.task): \(run.algorithm), seed \(run.seed), \(run.stage.rawValue)"
    if done > 0 || run.stage == .running {
      head += ", \(done)" + (run.iterations > done ? " of \(run.iterations)" : "") + " iterations"
    }
    if let rollouts = run.rollouts.last { head += ", \(number(rollouts)) rollouts" }
    if done > 0 { head += ", \(duration(run.secondsDone))" }
    if let left = run.secondsLeft { head += ", \(duration(left)) left" }
    var lines = [head]
    if let failure = run.summary?.failure { lines.append("failed: \(failure)") }
    if done > 0 { lines.append(run.verdict) }

    let curves =
      run.costs.map { ("cost, \($0.name)", $0.values, number) }
      + run.successes.map { ("success, \($0.name)", $0.values, percent) }
    let conditions = run.conditionCurves
    // Names may be long; curves are as wide as what is left.
    let longest = (curves.map(\.0.count) + conditions.map { $0.name.count + 4 }).max() ?? 0
    let nameWidth = min(longest, width / 2)
    let curveWidth = max(8, min(60, width - nameWidth - 24))
    func row(_ name: String, _ values: [Double?], _ text: String) -> String {
      let name = String(visible(name).prefix(nameWidth))
      return name + String(repeating: " ", count: nameWidth - name.count + 2)
        + pad(sparkline(values, width: curveWidth), curveWidth) + "  " + text
    }
    if !curves.isEmpty { lines.append("") }
    for (name, values, format) in curves {
      let known = values.compactMap { $0 }
      lines.append(row(name, values, "\(format(known.first)) → \(format(known.last))"))
    }
    if !conditions.isEmpty { lines += ["", "conditions"] }
    for condition in conditions {
      let verdict = condition.success.map { $0 == 1 ? "✓ " : $0 == 0 ? "✗ " : "~ " } ?? "  "
      lines.append(
        row(
          "  " + verdict + condition.name, condition.cost,
          number(condition.cost.compactMap { $0 }.last)))
    }
    if !run.messages.isEmpty { lines += ["", "warnings"] }
    lines += run.messages.suffix(8).flatMap { wrapped($0.text, width: width) }
    return lines.map { String(visible($0).prefix(width)) }
  }

  /// A curve in one line: a bar for each number, or for the mean of several where there are more than fit.
  static func sparkline(_ values: [Double?], width: Int) -> String {
    let bars = Array("▁▂▃▄▅▆▇█")
    let count = min(values.count, width)
    let groups: [Double?] = (0..<count).map { column in
      let range = column * values.count / count..<(column + 1) * values.count / count
      let known = values[range].compactMap { $0 }
      return known.isEmpty ? nil : known.reduce(0) { $0 + $1 / Double(known.count) }
    }
    let known = groups.compactMap { $0 }
    guard let low = known.min(), let high = known.max() else { return "" }
    return String(
      groups.map { value -> Character in
        guard let value else { return " " }
        if !(high > low) { return bars[0] }
        // Halves: what is as far apart as numbers can be has no difference.
        let share = (value / 2 - low / 2) / (high / 2 - low / 2)
        return bars[min(bars.count - 1, Int(share * Double(bars.count)))]
      })
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  /// A sentence in lines, broken between words and set in.
  static func wrapped(_ text: String, width: Int) -> [String] {
    var lines: [String] = []
    var line = "  "
    for word in text.split(separator: " ") {
      let isFirst = line.allSatisfy { $0 == " " }
      if !isFirst && line.count + 1 + word.count > width {
        lines.append(line)
        line = "    " + word
      } else {
        line += (isFirst ? "" : " ") + word
      }
    }
    return lines + [line]
  }
}
