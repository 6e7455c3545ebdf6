import ArgumentParser
import GuidedPolicySearch
import ShippedExperiments

/// `gps tasks`.
struct Tasks: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lists the experiments that come with the toolkit.")

  @Flag(help: "Print the names alone, one per line.")
  var names = false

  func run() throws {
    do {
      let all = try ShippedExperiments.names()
      let width = all.map(\.count).max() ?? 0
      for name in all {
        if names {
          printLine(name)
          continue
        }
        guard let url = try ShippedExperiments.file(named: name) else { continue }
        let experiment = try Experiment.read(url)
        printLine(
          name + String(repeating: " ", count: width - name.count + 2) + experiment.description)
      }
    } catch {
      throw CommandFailure(error, otherwise: .badInput)
    }
  }
}

/// `gps options`.
struct Options: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Explains the settings of experiment files.")

  @Argument(help: "A setting, such as algorithm or system.mujoco; all if left out.")
  var setting: String?

  func run() throws {
    guard let text = Experiment.reference(of: setting ?? "") else {
      throw CommandFailure(
        "there is no setting \"\(setting ?? "")\"; `gps options` lists them all", .badInput)
    }
    put(text + "\n")
  }
}
