package import Configuration
import Foundation
import GPSCore
import Sim

/// An environment in a program of its own, which speaks the protocol of Documentation/Python.md.
public struct ProcessSettings: Sendable, Equatable {
  /// The program and its arguments.
  public var command: [String] = []
  /// What it is told about the environment when it starts.
  public var settings = FreeSettings()
  /// How it is run.
  public var options = ProcessOptions()

  /// The defaults; the command is for the caller to fill in.
  public init() {}
}

extension ProcessSettings: SystemKind {
  package static let schema = Schema<Self>(
    "process", "An environment in a program of its own (Documentation/Python.md).", Self()
  ) {
    Field(
      "command", \.command, .some("word: the program"),
      "The program and its arguments: [python3, environment.py]."
    ).required
    Field("settings", \.settings, "What the program is told when it starts: any mapping.")
    ProcessOptions.schema.fields(in: \.options)
  }

  func task(_ loader: ExperimentLoader) throws -> (task: any ControlTask, model: URL?) {
    let program = ProcessProgram(
      command: command, folder: options.location(in: loader.folder), settings: settings.json,
      deadline: options.deadline)
    return (try loader.task(program, options, key: "system.process", blames: "command"), nil)
  }
}

/// A Gymnasium environment, served by the Python package gps_gym.
public struct GymnasiumSettings: Sendable, Equatable {
  /// Its registered name; nil for one that `class` names.
  public var id: String?
  /// Where a class of one's own is: "file.py:Class" or "package.module:Class"; nil for one that `id` names.
  public var environmentClass: String?
  /// What it is made with.
  public var arguments = FreeSettings()
  /// The interpreter.
  public var python = "python3"
  /// How it is run.
  public var options = ProcessOptions()

  /// The defaults; `id` or `environmentClass` is for the caller to fill in.
  public init() {}
}

extension GymnasiumSettings: SystemKind {
  package static let schema = Schema<Self>(
    "gymnasium", "A Gymnasium environment (Documentation/Python.md).", Self()
  ) {
    Field("id", \.id, "Its registered name, such as Reacher-v5; null where class names it.")
    Field(
      "class", \.environmentClass,
      "A class of your own, \"file.py:Class\" or \"module:Class\"; null where id names it.")
    Field("arguments", \.arguments, "What it is made with: any mapping.")
    Field("python", \.python, "The Python that has gymnasium, and gps_gym if not from a checkout.")
    ProcessOptions.schema.fields(in: \.options)
  } rule: { settings throws(InvalidOption) in
    try InvalidOption.require(
      (settings.id == nil) != (settings.environmentClass == nil), "id", settings.id ?? "null",
      "given where class is null, and null where class is given")
    if let name = settings.environmentClass {
      try InvalidOption.require(
        name.contains(":"), "class", name, "\"file.py:Class\" or \"module:Class\"")
    }
  }

  func task(_ loader: ExperimentLoader) throws -> (task: any ControlTask, model: URL?) {
    let environment: [SettingsTree.Entry] = [
      id.map { SettingsTree.Entry(key: "id", content: .quoted($0)) },
      environmentClass.map { SettingsTree.Entry(key: "class", content: .quoted($0)) },
      SettingsTree.Entry(key: "arguments", content: arguments.content),
    ].compactMap { $0 }
    let program = ProcessProgram(
      command: [python, "-m", "gps_gym"], folder: options.location(in: loader.folder),
      settings: FreeSettings(.mapping(environment)).json, deadline: options.deadline)
    return (
      try loader.task(
        program, options, key: "system.gymnasium", blames: id == nil ? "class" : "id"), nil
    )
  }
}

/// How a program that serves an environment is run, and what its rollouts are.
public struct ProcessOptions: Sendable, Equatable {
  /// Its working folder, relative to the experiment file.
  public var folder = "."
  /// Seconds between two controls; nil for what the environment says.
  public var controlPeriod: Double?
  /// Seconds without an answer after which it is ended.
  public var deadline = 60.0
  /// The price of every step after the environment has ended a rollout.
  public var endCost = 0.0

  /// The defaults.
  public init() {}

  /// The absolute path of the working folder.
  func location(in base: URL) -> String {
    PathParts.url(of: folder, in: base.path).absoluteURL.standardizedFileURL.path
  }
}

extension ProcessOptions: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "folder", \.folder, "Working folder of the program, relative to this file.")
    Field(
      "controlPeriod", \.controlPeriod, .above(0),
      "Seconds between two controls; null for what the environment says.")
    Field(
      "deadline", \.deadline, .above(0),
      "Seconds without an answer after which the process is ended and the rollout has failed.")
    Field(
      "endCost", \.endCost, .notNegative,
      "What the reward term costs at every step after the environment has terminated a rollout.")
  }
}

/// A mapping in the words of another program, which is passed on as JSON.
public struct FreeSettings: Sendable, Equatable {
  let content: SettingsTree.Content

  /// Nothing.
  public init() { content = .mapping([]) }

  init(_ content: SettingsTree.Content) { self.content = content.withoutOrigins }

  /// As JSON, keys in their own order.
  public var json: String { content.json }
}

extension FreeSettings: Setting {
  package static var codec: Codec<FreeSettings> {
    let expects = "a mapping"
    return Codec(
      expects: expects,
      read: { (tree, path) throws(SettingsError) in
        guard case .mapping = tree.content else { throw wrongType(tree, path, expects) }
        return FreeSettings(tree.content)
      }, write: { $0.content })
  }
}

extension SettingsTree.Content {
  fileprivate var withoutOrigins: SettingsTree.Content {
    switch self {
    case .null, .plain, .quoted: self
    case .list(let items): .list(items.map { SettingsTree($0.content.withoutOrigins) })
    case .mapping(let entries):
      .mapping(
        entries.map { SettingsTree.Entry(key: $0.key, content: $0.value.content.withoutOrigins) })
    }
  }

  fileprivate var json: String {
    switch self {
    case .null: "null"
    case .plain(let text):
      // What YAML and JSON write in the same way.
      ["true", "false"].contains(text) || text.isJSONNumber ? text : quoted(text)
    case .quoted(let text): quoted(text)
    case .list(let items): "[\(items.map(\.content.json).joined(separator: ", "))]"
    case .mapping(let entries):
      "{"
        + entries.map { "\(quoted($0.key)): \($0.value.content.json)" }.joined(separator: ", ")
        + "}"
    }
  }

  private func quoted(_ text: String) -> String {
    // A list of one text, without its brackets: a text alone is no document of JSONEncoder's everywhere.
    let bytes = (try? JSONEncoder().encode([text])) ?? Data("[\"\"]".utf8)
    return String(decoding: bytes.dropFirst().dropLast(), as: UTF8.self)
  }
}

extension String {
  fileprivate var isJSONNumber: Bool {
    wholeMatch(of: /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/) != nil
  }
}

extension ExperimentLoader {
  /// The task around a program.
  ///
  /// - Parameters:
  ///   - program: started here for the first time.
  ///   - options: the rest of its settings.
  ///   - key: where they stand in the file.
  ///   - part: what of them is to blame if it does not start.
  /// - Returns: the task.
  /// - Throws: `SettingsError` or `SimError`.
  fileprivate func task(
    _ program: ProcessProgram, _ options: ProcessOptions, key: String, blames part: String
  ) throws -> any ControlTask {
    let system: ProcessSystem
    do throws(PlantFailure) {
      system = try ProcessSystem(
        program, horizon: experiment.horizon, controlPeriod: options.controlPeriod)
    } catch {
      throw refuse("\(key).\(part)", problem: oneLine(error.reason))
    }
    let conditions = try conditions { try condition($0, name: $1, path: $2, system) }
    do {
      return try ProcessTask(
        name: experiment.task, system: system, horizon: experiment.horizon,
        conditions: conditions.train, testConditions: conditions.test, cost: experiment.cost,
        success: experiment.success, termination: experiment.termination,
        endCost: options.endCost)
    } catch let error as any PlantProblem {
      throw refuse("\(key).\(part)", problem: oneLine(error.reason))
    }
  }

  /// Refuses what is for environments in other programs.
  func refuseProcessParts(of settings: ConditionSettings, _ path: String) throws(SettingsError) {
    for (part, isGiven) in settings.partsForProcesses where isGiven {
      throw refuse(
        "\(path).\(part)",
        problem: "is for environments in programs of their own (gymnasium, process)")
    }
  }

  private func condition(
    _ settings: ConditionSettings, name: String, path: String, _ system: ProcessSystem
  ) throws -> Condition {
    let n = system.stateNames.count
    for (part, isGiven) in settings.partsForModels where isGiven {
      throw refuse(
        "\(path).\(part)",
        problem: "is for MuJoCo models; an environment in a process has resetSeed, resetOptions, "
          + "state and draw.state")
    }
    let reset = EnvironmentReset(
      seed: settings.resetSeed ?? 0, options: settings.resetOptions.json)
    var condition = Condition(
      name: name, initialPlantState: settings.state ?? [], goal: settings.nominalGoal)
    condition.environmentReset = reset
    let deviation = try deviation(
      [("positionDeviation", settings.positionDeviation, n)], path)
    for (part, isGiven) in [
      ("state", settings.state != nil), ("positionDeviation", !deviation.isEmpty),
      ("draw.state", settings.draw.state != nil),
    ] where isGiven && !system.setsState {
      throw refuse(
        "\(path).\(part)",
        problem: "the environment cannot be put into a state: vary resetSeed or resetOptions "
          + "instead")
    }
    if let state = settings.state, state.count != n {
      throw refuse(
        "\(path).state", "a list of \(state.count)",
        "\(n) numbers (\(system.stateNames.joined(separator: ", ")))")
    }
    if let mismatch = settings.draw.state?.mismatch(with: n) {
      throw refuse("\(path).draw.state", "of another length", mismatch)
    }
    if settings.state == nil && (!deviation.isEmpty || settings.draw.state != nil) {
      do {
        condition.initialPlantState = try system.initialState(after: reset)
      } catch let error as any PlantProblem {
        throw refuse(path, problem: oneLine(error.reason))
      }
    }
    condition.initialPlantStateDeviation = deviation
    settings.complete(
      &condition,
      starts: settings.draw.state.map {
        [ConditionDraws.Start(first: 0, count: n, distribution: $0)]
      } ?? [])
    return condition
  }
}

/// What a process may throw.
private protocol PlantProblem: Error { var reason: String { get } }
extension PlantFailure: PlantProblem {}
extension RolloutFailure: PlantProblem {}

extension ConditionSettings {
  /// What is about parts of a MuJoCo model, and whether it is given.
  var partsForModels: [(part: String, isGiven: Bool)] {
    [
      ("keyframe", keyframe != nil), ("jointPositions", jointPositions != nil),
      ("jointVelocities", jointVelocities != nil), ("activations", activations != nil),
      ("controls", controls != nil), ("mocapPositions", !mocapPositions.isEmpty),
      ("mocapQuaternions", !mocapQuaternions.isEmpty), ("bodyOffsets", !bodyOffsets.isEmpty),
      ("velocityDeviation", velocityDeviation != [0]), ("goalBodies", !goalBodies.isEmpty),
      ("modelFactors", !modelFactors.isEmpty), ("draw.joints", !draw.joints.isEmpty),
      ("draw.bodyOffsets", !draw.bodyOffsets.isEmpty),
      ("draw.modelFactors", !draw.modelFactors.isEmpty),
    ]
  }

  /// What is about environments in other programs, and whether it is given.
  var partsForProcesses: [(part: String, isGiven: Bool)] {
    [("resetSeed", resetSeed != nil), ("resetOptions", resetOptions != FreeSettings())]
  }
}
