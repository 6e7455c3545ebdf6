import ArgumentParser
import Foundation
import GuidedPolicySearch

/// `gps check`.
struct CheckCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Tries an experiment without learning: names, sizes, limits, first cost, warnings.",
    discussion: """
      Reads the file, takes one rollout of the initial controller without noise and the rollouts of the \
      first iteration, and writes nothing. Exit code 0 says that it can run.
      """)

  @OptionGroup var source: ExperimentSource

  @Option(help: ArgumentHelp("Concurrent workers; default: one per core.", valueName: "n"))
  var workers: Int?

  func validate() throws {
    if let workers, !(1...4096).contains(workers) {
      throw ValidationError("--workers: \(workers) is not allowed (must be between 1 and 4096)")
    }
  }

  func run() async throws {
    let loaded = try source.load()
    let workers = workers ?? max(1, ProcessInfo.processInfo.activeProcessorCount)
    let check: ExperimentCheck
    do {
      try loaded.requireMemory(workers: workers)
      check = try await loaded.check(workers: workers)
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
    let task = loaded.experiment
    printLine(task.task + (task.description.isEmpty ? "" : ": \(task.description)"))
    let width = check.facts.map(\.name.count).max() ?? 0
    for (name, value) in check.facts {
      printLine("  " + name + String(repeating: " ", count: width - name.count + 2) + value)
    }
    for table in check.tables { print(table) }
    printLine("")
    for warning in check.warnings { printLine("warning: \(warning)") }
    if check.problems.isEmpty {
      printLine(
        "it can run"
          + (check.warnings.isEmpty ? "" : ", with \(counted(check.warnings.count, "warning"))"))
      return
    }
    throw CommandFailure(
      "\(source.experiment) cannot run: " + check.problems.joined(separator: "; "), .badInput)
  }

  private func counted(_ count: Int, _ noun: String) -> String {
    "\(count) \(noun)\(count == 1 ? "" : "s")"
  }

  private func print(_ table: ExperimentCheck.Table) {
    printLine("")
    printLine(table.title)
    let rows = [table.columns] + table.rows
    let widths = table.columns.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    for row in rows {
      var line = " "
      for (column, text) in row.enumerated() {
        let gap = String(repeating: " ", count: widths[column] - text.count)
        line += column == 0 ? " \(text)\(gap)" : "  \(gap)\(text)"
      }
      printLine(line)
    }
  }
}
