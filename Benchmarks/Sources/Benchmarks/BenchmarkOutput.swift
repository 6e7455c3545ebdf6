import Foundation

/// How lines are written.
public enum BenchmarkFormat: String, CaseIterable, Sendable {
  /// For people.
  case table
  /// One JSON object a line.
  case json
  /// Comma-separated values under one heading.
  case csv
}

/// Writes lines as they come.
public struct BenchmarkWriter: Sendable {
  /// How.
  public let format: BenchmarkFormat
  /// The program's version, in every JSON and CSV line.
  public let version: String

  /// A writer.
  public init(format: BenchmarkFormat, version: String) {
    self.format = format
    self.version = version
  }

  /// What stands before the first line; nil if nothing does.
  public var heading: String? {
    switch format {
    case .table:
      Self.row([
        "stage", "case", "threads", "median", "minimum", "reps", "GFlop/s", "peak", "rate", "sizes",
      ])
    case .json: nil
    case .csv: Self.columns.joined(separator: ",")
    }
  }

  /// One line.
  public func text(_ line: BenchmarkLine) -> String {
    switch format {
    case .table: tableRow(line)
    case .json: json(line)
    case .csv: csv(line)
    }
  }

  // MARK: Table

  private static let widths = [11, 27, 7, 10, 10, 4, 7, 5, 24]

  /// Cells in columns: names to the left, numbers to the right, the last one as long as it is.
  private static func row(_ cells: [String]) -> String {
    zip(cells, widths + [0]).enumerated().map { column, cell in
      let (text, width) = cell
      let gap = String(repeating: " ", count: max(0, width - text.count))
      return column < 2 || column == widths.count ? text + (width > 0 ? gap : "") : gap + text
    }.joined(separator: " ")
  }

  private func tableRow(_ line: BenchmarkLine) -> String {
    let sizes = line.sizes.map { "\($0.name) \($0.value)" }.joined(separator: ", ")
    if let failure = line.failure {
      return Self.row([line.stage, line.name, "\(line.threads)", "failed: \(failure) (\(sizes))"])
    }
    let rate = line.units.map { units in
      Self.number((line.unitsPerSecond ?? 0)) + " " + units.name.replacing("_", with: " ") + "/s"
    }
    let extras = line.extras.map {
      ", \($0.name.replacing("_", with: " ")) \(Self.number($0.value))"
    }
    return Self.row([
      line.stage, line.name, "\(line.threads)", Self.duration(line.median),
      Self.duration(line.minimum), "\(line.repetitions)",
      line.flopsPerSecond.map { String(format: "%.2f", 1e-9 * $0) } ?? "-",
      line.shareOfPeak.map { String(format: "%.0f%%", 100 * $0) } ?? "-", rate ?? "-",
      sizes + extras.joined(),
    ])
  }

  private static func number(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e6
      ? "\(Int(value))" : String(format: abs(value) < 1e6 ? "%.4g" : "%.0f", value)
  }

  private static func duration(_ seconds: Double) -> String {
    switch seconds {
    case ..<1e-3: String(format: "%.2f us", 1e6 * seconds)
    case ..<1: String(format: "%.3f ms", 1e3 * seconds)
    default: String(format: "%.3f s", seconds)
    }
  }

  // MARK: JSON and CSV

  private enum Value {
    case text(String)
    case number(Double?)
    case integer(Int)
  }

  /// The columns that every line has, in order; sizes and extras come between and after them.
  private func values(_ line: BenchmarkLine) -> [(name: String, value: Value)] {
    let ran = line.failure == nil
    return [
      ("peer", .text("gps")), ("version", .text(version)), ("stage", .text(line.stage)),
      ("case", .text(line.name)), ("threads", .integer(line.threads)),
      ("median_s", .number(ran ? line.median : nil)), ("min_s", .number(ran ? line.minimum : nil)),
      ("reps", .integer(line.repetitions)),
      ("gflops", .number(line.flopsPerSecond.map { 1e-9 * $0 })),
      ("peak_gflops", .number(line.peak.map { 1e-9 * $0 })),
      ("share_of_peak", .number(line.shareOfPeak)),
      ("check", .number(ran ? line.check : nil)),
    ]
  }

  private func json(_ line: BenchmarkLine) -> String {
    var fields: [String] = []
    for (name, value) in values(line) {
      switch value {
      case .text(let text): fields.append("\(Self.quoted(name)): \(Self.quoted(text))")
      case .integer(let number): fields.append("\(Self.quoted(name)): \(number)")
      case .number(let number):
        if let number, number.isFinite { fields.append("\(Self.quoted(name)): \(number)") }
      }
      if name == "case" {
        let sizes = line.sizes.map { size in
          "\(Self.quoted(size.name)): \(Int(size.value) != nil ? size.value : Self.quoted(size.value))"
        }
        fields.append("\"sizes\": {\(sizes.joined(separator: ", "))}")
      }
    }
    if let units = line.units, let rate = line.unitsPerSecond {
      fields.append("\(Self.quoted(units.name + "_per_s_median")): \(rate)")
      fields.append("\(Self.quoted(units.name + "_per_s_best")): \(units.count / line.minimum)")
    }
    if line.failure == nil {
      for extra in line.extras where extra.value.isFinite {
        fields.append("\(Self.quoted(extra.name)): \(extra.value)")
      }
    }
    if let failure = line.failure { fields.append("\"error\": \(Self.quoted(failure))") }
    return "{\(fields.joined(separator: ", "))}"
  }

  /// Sizes and rates that any case has; a case without one leaves its cell empty.
  private static let sizes = [
    "model", "task", "n", "nx", "nu", "T", "M", "N", "D", "K", "iters", "obs", "hidden", "act",
    "batch", "steps", "substeps", "rollouts", "iterations",
  ]
  private static let units = [
    "point_iterations", "fits", "samples", "actions", "steps", "rollouts",
  ]
  private static let extras = [
    "passes", "initial_loss", "final_loss", "share_of_bare_steps", "backward_passes",
    "peak_memory_mib", "success_rate", "cost", "converged", "trials", "per_step",
  ]
  static let columns =
    ["peer", "version", "stage", "case"] + sizes
    + [
      "threads", "median_s", "min_s", "reps", "gflops", "peak_gflops", "share_of_peak", "check",
    ] + units.map { "\($0)_per_s_median" } + extras + ["error"]

  private func csv(_ line: BenchmarkLine) -> String {
    var cells: [String: String] = [:]
    for size in line.sizes { cells[size.name] = size.value }
    for (name, value) in values(line) {
      switch value {
      case .text(let text): cells[name] = text
      case .integer(let number): cells[name] = "\(number)"
      case .number(let number): cells[name] = number.map { $0.isFinite ? "\($0)" : "" } ?? ""
      }
    }
    if let units = line.units, let rate = line.unitsPerSecond {
      cells[units.name + "_per_s_median"] = "\(rate)"
    }
    if line.failure == nil { for extra in line.extras { cells[extra.name] = "\(extra.value)" } }
    cells["error"] = line.failure
    precondition(
      cells.keys.allSatisfy(Self.columns.contains),
      "no column for \(cells.keys.filter { !Self.columns.contains($0) })")
    return Self.columns.map { name in
      let cell = cells[name] ?? ""
      return cell.contains { ",\"\n\r".contains($0) }
        ? "\"" + cell.replacing("\"", with: "\"\"") + "\"" : cell
    }.joined(separator: ",")
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case _ where scalar.value < 0x20: result += String(format: "\\u%04x", scalar.value)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
