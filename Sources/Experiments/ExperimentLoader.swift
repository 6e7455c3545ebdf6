import Configuration
import Foundation
import GPSCore
import LinearAlgebra
import Sim
import Starts
import Statistics

/// Makes an experiment ready to run, and leads every complaint of the parts back to the place in the
/// file that caused it.
struct ExperimentLoader {
  let experiment: Experiment
  let tree: SettingsTree
  let folder: URL

  func load() throws(SettingsError) -> LoadedExperiment {
    do {
      let (task, model) = try experiment.system.base.task(self)
      return experiment.memory.isEmpty
        ? try finish(task, model: model) : try finish(remembering(task), model: model)
    } catch let error as SettingsError {
      throw error
    } catch let error as SimError {
      throw refuse(error)
    } catch {
      throw refuse("", problem: oneLine("\(error)"))
    }
  }

  private func remembering(_ task: some ControlTask) throws(InvalidOption) -> any ControlTask {
    try RememberingTask(task, memory: experiment.memory)
  }

  private func finish(
    _ task: some ControlTask, model: URL?
  ) throws(SettingsError) -> LoadedExperiment {
    // Several matrices of this size are kept per step and condition.
    let size = Double(task.dimensions.state + task.dimensions.control)
    let entries = size * size * Double(experiment.horizon) * Double(task.conditions.count)
    if entries > 1e8 {
      throw refuse(
        "horizon",
        problem:
          "too much memory: \(experiment.horizon) steps of \(task.conditions.count) conditions "
          + "with \(task.dimensions.state) states and \(task.dimensions.control) controls make "
          + "\(String(format: "%.3g", entries)) numbers for each matrix that is kept (at most 1e8)")
    }
    var controllers: [LinearGaussianController] = []
    let given: InitialController
    do throws(StartError) { given = try located(experiment.initialController).loaded() } catch {
      throw refuse("initialController.\(error.kind)", problem: oneLine(error.reason))
    }
    let start: InitialController
    let why: String?
    do { (start, why) = try given.chosen(for: task) } catch {
      throw refuse("conditions.train", problem: oneLine("\(error)"))
    }
    for condition in task.conditions {
      do {
        controllers.append(try start.controller(for: task, in: condition))
      } catch let error as SimError {
        throw refuse(error, below: "initialController")
      } catch let error as StartError {
        throw refuse("initialController.\(error.kind)", problem: oneLine(error.reason))
      } catch {
        throw refuse(
          "conditions.train", problem: "condition \"\(condition.name)\": \(oneLine("\(error)"))")
      }
    }
    if case .known = experiment.dynamics {
      for condition in task.conditions {
        if let draws = condition.draws,
          !(draws.bodyOffsets.isEmpty && draws.goalBodies.isEmpty && draws.modelFactors.isEmpty)
        {
          throw refuse(
            "dynamics", "known",
            "a fit: those of condition \"\(condition.name)\" are drawn anew in every rollout")
        }
        do {
          guard try task.knownDynamics(in: condition) == nil else { continue }
        } catch {
          throw refuse("dynamics", "known", "only where they are: \(oneLine("\(error)"))")
        }
        throw refuse("dynamics", "known", "a fit: the dynamics of this task are not known")
      }
    }
    return LoadedExperiment(
      experiment: experiment, task: task, initialControllers: controllers, start: (start, why),
      model: model,
      furtherInputs: located(experiment.initialController).file.map { [$0] } ?? [],
      demonstrations: start.contents.map { Data($0) })
  }

  /// An initial controller whose file is found from the experiment's folder.
  private func located(_ start: InitialController) -> InitialController {
    guard let file = start.file else { return start }
    return start.reading(PathParts.url(of: file, in: folder.path).path)
  }

  // MARK: - Errors

  func refuse(_ path: String, _ value: String, _ allowed: String) -> SettingsError {
    SettingsError(
      origin: tree.origin(of: path), path: path, value: tree.word(at: path) ?? value,
      allowed: allowed)
  }

  func refuse(_ path: String, problem: String) -> SettingsError {
    SettingsError(origin: tree.origin(of: path), path: path, problem: problem)
  }

  /// A complaint of the simulation module, whose keys follow the file's apart from brackets.
  private func refuse(_ error: SimError, below section: String = "") -> SettingsError {
    func path(_ key: String) -> String {
      join(section, key.replacing("[", with: ".").replacing("]", with: ""))
    }
    return switch error {
    case .option(let option): refuse(path(option.key), option.value, option.allowed)
    case .length(let key, let found, let expected):
      refuse(path(key), "a list of \(found)", "\(expected) numbers")
    case .goal(let key, let first, let count, let length):
      refuse(path(key), problem: SimError.goalProblem(first, count, length))
    case .index, .actuator, .controller: refuse(section, problem: "\(error)")
    }
  }

  // MARK: - Conditions

  /// The length of the goal, which is the same in all conditions.
  func goalDimension() throws(SettingsError) -> Int {
    let all =
      experiment.conditions.train.enumerated().map { ("conditions.train.\($0.offset)", $0.element) }
      + experiment.conditions.test.enumerated().map { ("conditions.test.\($0.offset)", $0.element) }
    let count = all.first?.1.nominalGoal.count ?? 0
    for (path, condition) in all {
      let own = condition.nominalGoal.count
      if own != count {
        throw refuse(
          "\(path).goal", "a list of \(own)", "\(count) numbers, as in the first condition")
      }
      if let mismatch = condition.draw.goal?.mismatch(with: count) {
        throw refuse("\(path).draw.goal", "of another length", mismatch)
      }
      if !condition.goalBodies.isEmpty && count < 3 {
        throw refuse("\(path).goalBodies", "given", "empty where goals have less than 3 numbers")
      }
      for (body, distribution) in condition.draw.bodyOffsets.sorted(by: { $0.key < $1.key }) {
        if let mismatch = distribution.mismatch(with: 3) {
          throw refuse("\(path).draw.bodyOffsets.\(body)", "of another length", mismatch)
        }
      }
    }
    return count
  }

  /// The conditions of both lists, made of settings, name and path; names are unique in each list,
  /// because files tell conditions apart by them.
  func conditions(
    _ make: (_ settings: ConditionSettings, _ name: String, _ path: String) throws -> Condition
  ) throws -> (train: [Condition], test: [Condition]) {
    _ = try goalDimension()
    func list(_ key: String, _ list: [ConditionSettings]) throws -> [Condition] {
      var conditions: [Condition] = []
      var names: Set<String> = []
      for (index, settings) in list.enumerated() {
        let path = "conditions.\(key).\(index)"
        var word = settings.name
        if word.isEmpty {
          word = "\(index)"
          while list.contains(where: { $0.name == word }) { word += "_" }
        }
        var made: Condition?
        for number in 0..<settings.count {
          let name = settings.count == 1 ? word : "\(word)-\(number)"
          if !names.insert(name).inserted {
            throw refuse(
              "\(path).name", abbreviated(name),
              "a name that no other condition of the list has")
          }
          var own = settings
          own.resetSeed = settings.resetSeed.map { $0 &+ UInt64(number) }
          var condition = try made ?? make(own, name, path)
          if settings.resetSeed == nil { made = condition }
          condition.name = name
          if settings.draw.every == .once {
            var stream = RandomStream(seed: settings.draw.seed)
              .child(.custom, key == "train" ? 0 : 1, index, number)
            condition = condition.drawn(from: &stream)
          }
          conditions.append(condition)
        }
      }
      return conditions
    }
    return (
      try list("train", experiment.conditions.train), try list("test", experiment.conditions.test)
    )
  }

  /// One number per entry of each part, where one number may stand for all; empty if all are zero.
  func deviation(
    _ parts: [(key: String, numbers: [Double], count: Int)], _ path: String
  ) throws(SettingsError) -> [Double] {
    var deviation: [Double] = []
    for (key, numbers, count) in parts {
      if numbers.count != count && numbers.count != 1 {
        throw refuse("\(path).\(key)", "a list of \(numbers.count)", "one number, or \(count)")
      }
      deviation +=
        numbers.count == count ? numbers : [Double](repeating: numbers[0], count: count)
    }
    return deviation.contains { $0 != 0 } ? deviation : []
  }
}

func oneLine(_ text: String) -> String {
  text.split(whereSeparator: \.isNewline).joined(separator: " ")
}
