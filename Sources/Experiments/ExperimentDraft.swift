import Configuration
public import Foundation
import GPSCore
import LinearAlgebra
public import Runs
import Sim
import Statistics

/// A first experiment on a MuJoCo model, as a file with comments: the model holds its starts.
///
/// Its numbers fit the model: how long a control is held, where rollouts start, what holds the start, how loud
/// exploration may be without the simulation becoming unstable.
public struct ExperimentDraft: Sendable {
  /// The file.
  public let yaml: String
  /// What the file is about, in one line.
  public let summary: String
  /// What MuJoCo warns of, and what could not be made good; a sentence each.
  public let remarks: [String]

  /// Drafts an experiment, and tries its first rollouts. Where one takes longer than some seconds the horizon is
  /// shorter, so that for such models the file depends on how fast the machine is.
  ///
  /// - Parameters:
  ///   - url: any model file that MuJoCo reads.
  ///   - folder: where the file will be: it names the model relative to there.
  ///   - workers: how many rollouts at once; the file does not depend on it.
  /// - Throws: `MuJoCoError` if the model cannot be used, `CancellationError`.
  public init(model url: URL, in folder: URL, workers: Int = 1) async throws {
    var draft = try Draft(model: url, in: folder)
    var remarks: [String] = []
    var trial = try await draft.trial(folder, workers)
    while let failure = trial, draft.lower(for: failure) {
      trial = try await draft.trial(folder, workers)
    }
    // Shorter rollouts may bear more noise.
    while trial == nil, let louder = draft.louder {
      guard try await louder.trial(folder, workers) == nil else { break }
      draft = louder
    }
    if let failure = trial {
      remarks.append(
        "a rollout fails even so, in condition \"\(failure.condition)\" at step \(failure.step): "
          + failure.reason)
    }
    yaml = draft.yaml
    summary = draft.summary
    self.remarks = draft.warnings + remarks
  }
}

/// What a draft decides.
private struct Draft {
  let model: MuJoCoModel
  let path: String
  let task: String
  let interface: MuJoCoInterface
  /// Mocap bodies that drive the model.
  let mocaps: [MocapControl]
  /// Seconds of one MuJoCo step.
  var timestep: Double
  var substeps: Int
  /// Seconds for which a control is held where nothing stands against it.
  let usualPeriod: Double
  let starts: [Start]
  /// Names of starts that were left out.
  let others: [String]
  /// The joints in the state, where they are not all of them.
  let joints: [String]?
  /// Half of each control's range; 1 where there are no limits.
  let scales: [Double]
  let limits: ControlLimits?
  var horizon: Int
  /// Standard deviation of the noise, a share of half of each control's range.
  var deviation: Double
  /// Why deviation, timestep and horizon are less than usual.
  var reason: String?
  /// Whether the horizon is less because rollouts take long.
  var isSlow = false
  /// Whether the horizon, or the time that a control is held, is less because longer rollouts fail.
  var isShort = false
  /// Before the simulation was made finer: its step, how many a control was held, and where a rollout failed;
  /// nil where that was not tried, or did not help.
  var coarse: (timestep: Double, substeps: Int, failure: Int)?

  struct Start {
    var name: String
    var keyframe: String?
    /// Joint positions as the state has them.
    var goal: [Double]
    /// What actuators are told, if the start says nothing itself: servos to rest there.
    var controls: [Double]?
  }

  struct Failure {
    var condition: String
    var step: Int
    var reason: String
    var isSlow: Bool { reason.contains("takes longer than") }
  }

  /// Seconds that a rollout of the trials may take.
  private static let patience = 5.0
  private static let usualDeviation = 0.3
  private static let (leastDeviation, leastHorizon) = (1e-3, 10)
  /// The least of all, for models that nothing else helps.
  private static let faintDeviation = 1e-12
  /// Timesteps are not made finer than this share of the model's own.
  private static let finest = 1.0 / 60
  /// What fits may take: steps times the cube of the numbers of one.
  private static let mostWork = 3e9
  /// Numbers that a state has where it cannot have all, unless those that actuators move are more.
  private static let fewNumbers = 120
  private static let mostStarts = 4
  private static let mostSubsteps = 40
  /// Seconds for which a control is held, at least a step of the simulation's.
  private static let controlPeriod = 0.02

  init(model url: URL, in folder: URL) throws {
    let model = try MuJoCoModel(contentsOf: url.path)
    path = relativePath(of: url, from: folder)
    task = String(url.deletingPathExtension().lastPathComponent.prefix(100))
    timestep = model.timestep
    substeps = Int(
      min(Double(Self.mostSubsteps), max(1, (Self.controlPeriod / model.timestep).rounded())))
    usualPeriod = timestep * Double(substeps)
    joints = try Self.joints(of: model)
    var components: [MuJoCoComponent] = [
      .jointPositions(joints: joints), .jointVelocities(joints: joints),
    ]
    if model.hasActivations { components.append(.actuatorActivations) }
    let keyframes = model.keyframeNames
    let names: [String?] = keyframes.isEmpty ? [nil] : Array(keyframes.prefix(Self.mostStarts))
    mocaps = try Self.mocaps(of: model, state: components, starts: names)
    let interface = try MuJoCoInterface(model: model, state: components, mocapControls: mocaps)
    let positions = interface.stateNames.count { $0.hasPrefix("joint_positions.") }
    starts = try names.map { try Self.start(at: $0, model, interface, positions) }
    others = Array(keyframes.dropFirst(Self.mostStarts))
    let limits = interface.controlLimits
    self.limits = limits
    scales = (0..<interface.controlCount).map { limits?.halfRange(of: $0) ?? 1 }
    deviation = Self.usualDeviation
    // Fits take time in proportion to the cube of the numbers of a step.
    let size = Double(interface.stateNames.count + interface.controlCount)
    horizon = min(100, max(Self.leastHorizon, Int(Self.mostWork / (size * size * size))))
    self.model = model
    self.interface = interface
  }

  /// The joints of the state: nil for all, unless even the shortest horizon would be too much work. Then those that
  /// actuators move, the others that hang together with them, and some of the rest, as far as there is room.
  private static func joints(of model: MuJoCoModel) throws -> [String]? {
    let others = model.activationCount + model.controlCount
    let most = Int(cbrt(mostWork / Double(leastHorizon)))
    if 2 * model.jointVelocityCount + others <= most { return nil }
    var (chosen, numbers) = (Set<Int>(), 0)
    for (rank, list) in try model.jointsByDrive().enumerated() {
      let room = (rank < 2 ? most - others : fewNumbers) - numbers
      let all = list.reduce(0) { $0 + 2 * model.degreesOfFreedom(ofJoint: $1) }
      // Where there is no room for all, evenly spread ones.
      let share = all <= room ? 1 : Double(max(0, room)) / Double(all)
      for (place, joint) in list.enumerated()
      where Int(Double(place + 1) * share) > Int(Double(place) * share) {
        chosen.insert(joint)
        numbers += 2 * model.degreesOfFreedom(ofJoint: joint)
      }
    }
    let names = model.jointNames
    return chosen.sorted().map { names[$0] }
  }

  private static func start(
    at keyframe: String?, _ model: MuJoCoModel, _ interface: MuJoCoInterface, _ positions: Int
  ) throws -> Start {
    let plantState =
      if let keyframe { try model.plantState(keyframe: keyframe) } else { try model.plantState() }
    let condition = Condition(name: keyframe ?? "reference", initialPlantState: plantState)
    let plant = try interface.makePlant()
    try plant.reset(to: condition, plantState: plantState.span)
    var state = [Double](repeating: 0, count: interface.stateNames.count)
    var target = state.mutableSpan
    plant.readState(into: &target)
    var start = Start(
      name: condition.name, keyframe: keyframe, goal: Array(state[..<positions]), controls: nil)
    // A keyframe that has controls means them.
    if try interface.startControls(of: condition).prefix(model.controlCount)
      .allSatisfy({ $0 == 0 })
    {
      start.controls = try model.restingControls(at: plantState).map {
        $0.magnitude > 1e-9 ? $0 : 0
      }
    }
    return start
  }

  /// The mocap bodies by which a model is driven: those that others are welded or connected to, and all of them
  /// where there are no actuators. Each may go a little farther than from start to start.
  private static func mocaps(
    of model: MuJoCoModel, state: [MuJoCoComponent], starts: [String?]
  ) throws -> [MocapControl] {
    let bodies = model.controlCount > 0 ? model.drivingMocapNames : model.mocapNames
    if bodies.isEmpty { return [] }
    let controls = bodies.map { MocapControl(body: $0) }
    let interface = try MuJoCoInterface(model: model, state: state, mocapControls: controls)
    let places = try starts.map { keyframe in
      let start =
        if let keyframe { try model.plantState(keyframe: keyframe) } else { try model.plantState() }
      let condition = Condition(name: "", initialPlantState: start)
      return Array(try interface.startControls(of: condition).suffix(3 * bodies.count))
    }
    let margin = 0.1 * model.extent
    func bound(_ i: Int, _ direction: Double) -> Double {
      let far = places.map { direction * $0[i] }.max() ?? 0
      return Double(short(direction * (far + margin))) ?? direction * (far + margin)
    }
    return bodies.indices.map { i in
      MocapControl(
        body: bodies[i], lower: (3 * i..<3 * i + 3).map { bound($0, -1) },
        upper: (3 * i..<3 * i + 3).map { bound($0, 1) })
    }
  }

  /// What MuJoCo warns of.
  var warnings: [String] {
    let conditions = starts.compactMap { start in
      (try? start.keyframe.map { try model.plantState(keyframe: $0) } ?? model.plantState()).map {
        Condition(name: start.name, initialPlantState: $0)
      }
    }
    let partial = joints.map {
      [
        "the state holds \($0.count) of \(model.jointNames.count) joints: fits of all would take too long"
      ]
    }
    return interface.warnings(in: conditions) + (partial ?? [])
  }

  // MARK: - Trials

  /// The rollouts of the first iteration, as a run takes them.
  ///
  /// - Returns: the failure that came first, if one fails.
  func trial(_ folder: URL, _ workers: Int) async throws -> Failure? {
    let loaded = try Experiment.load(yaml: yaml, name: task, folder: folder)
    return try await firstFailure(of: loaded, on: loaded.task, workers)
  }

  private func firstFailure(
    of loaded: LoadedExperiment, on task: some ControlTask, _ workers: Int
  ) async throws -> Failure? {
    let batches = try await loaded.firstRollouts(
      on: task, workers: workers,
      options: RolloutOptions(maxAttempts: 1, timeLimit: Self.patience))
    return batches.flatMap { batch in
      batch.discarded.map {
        Failure(
          condition: task.conditions[batch.condition].name, step: $0.step, reason: $0.reason)
      }
    }.min { $0.step < $1.step }
  }

  /// Explores less, then simulates in finer steps, then looks less far ahead; false if there is nothing left
  /// to lower.
  mutating func lower(for failure: Failure) -> Bool {
    if failure.isSlow {
      if horizon <= Self.leastHorizon && substeps == 1 { return false }
      isSlow = true
      let affordable = max(1, failure.step * 2 / 3)
      if affordable < Self.leastHorizon {
        substeps = max(1, substeps * affordable / Self.leastHorizon)
      }
      horizon = min(horizon - 1, max(Self.leastHorizon, affordable))
      return true
    }
    reason = failure.reason
    if deviation / 3 >= Self.leastDeviation {
      deviation /= 3
      return true
    }
    if !isShort, timestep > Self.finest * model.timestep {
      if coarse == nil { coarse = (timestep, substeps, failure.step) }
      timestep /= 4
      substeps *= 4
      return true
    }
    // What fails at the same time in finer steps is no fault of the steps: the system itself grows.
    if let coarse, !isShort, failure.step < 2 * max(1, coarse.failure) {
      (timestep, substeps) = (coarse.timestep, coarse.substeps)
      self.coarse = nil
    }
    isShort = true
    if horizon > Self.leastHorizon {
      horizon = max(Self.leastHorizon, min(failure.step, horizon / 2))
      return true
    }
    if substeps > 1 {
      substeps /= 2
      return true
    }
    deviation /= 10
    return deviation >= Self.faintDeviation
  }

  /// More noise, where less of it was not what kept rollouts from failing; nil if there is none to try.
  var louder: Draft? {
    guard isShort, deviation >= Self.leastDeviation, deviation < Self.usualDeviation / 2 else {
      return nil
    }
    var louder = self
    louder.deviation = min(Self.usualDeviation, 3 * deviation)
    return louder
  }

  // MARK: - Text

  var summary: String {
    let period = timestep * Double(substeps)
    return
      "\(counted(interface.stateNames.count, "state")), \(counted(interface.controlCount, "control")), "
      + "\(horizon) steps of \(short(period)) s from \(counted(starts.count, "start"))"
  }

  var yaml: String {
    let period = timestep * Double(substeps)
    let several = starts.count > 1
    let components =
      ["jointPositions", "jointVelocities"] + (model.hasActivations ? ["actuatorActivations"] : [])
    var lines = [
      "# A first experiment on \(comment(path)), \(ExperimentDraft.mark): the model learns to hold "
        + (several ? "each of its starts." : "its start."),
      "# `gps check FILE` shows what this comes to, `gps run FILE` learns it, `gps options` explains every "
        + "setting.",
      "task: \(word(task))",
      "description: \(word("\(task) holds \(several ? "each of its starts" : "its start")."))",
      "seed: 0",
      "",
      "system:",
      "  mujoco:",
      "    model: \(word(path))",
    ]
    if timestep != model.timestep {
      lines.append("    timestep: \(short(timestep))  # with the model's own, rollouts fail")
    }
    if !mocaps.isEmpty {
      lines.append(
        "    # Bodies that are placed, not simulated: x, y, z are controls, after those of actuators [m]."
      )
      lines.append("    mocapControls:")
      for mocap in mocaps {
        lines.append(
          "      - {body: \(word(mocap.body)), lower: \(numbers(mocap.lower ?? [])), "
            + "upper: \(numbers(mocap.upper ?? []))}")
      }
    }
    lines += [
      "    substeps: \(substeps)  # of \(short(timestep)) s: a control is held for \(short(period)) s"
        + (isShort && period < 0.75 * usualPeriod ? "; longer rollouts fail" : ""),
      "    # What local controllers see: \(counts).",
    ]
    if let joints {
      lines.append(
        "    # They are those of \(joints.count) of \(model.jointNames.count) joints: fits of all would take too long."
      )
      let names = wrapped("", joints.map(word), at: 8)
      func list(_ key: String, _ others: [String]) -> [String] {
        ["    \(key):"]
          + ["jointPositions", "jointVelocities"].flatMap {
            ["      - \($0):", "          joints: " + names[0]]
              + names.dropFirst().map { "    " + $0 }
          } + others.map { "      - \($0)" }
      }
      lines += list("state", Array(components.dropFirst(2)))
      lines.append("    # What the network sees; the state if this is left out.")
      if several { lines += list("observation", components.dropFirst(2) + ["goal"]) }
    } else {
      lines += [
        "    state: [\(components.joined(separator: ", "))]",
        "    # What the network sees; the state if this is left out.",
      ]
      let observation = "[\((components + (several ? ["goal"] : [])).joined(separator: ", "))]"
      lines.append("    \(several ? "" : "# ")observation: \(observation)")
    }
    let (sensors, sites) = (model.sensorNames, model.siteNames)
    if !sensors.isEmpty {
      lines.append(
        "    # The observation may have sensors too, as {sensors: [names]}: \(list(sensors))")
    }
    if !sites.isEmpty {
      lines += [
        "    # Sites that costs and success name as points: \(list(sites))",
        "    # points: [\(word(sites[0]))]",
      ]
    }
    lines += [
      "horizon: \(horizon)  # \(short(Double(horizon) * period)) s"
        + (isSlow
          ? "; longer ones take more than \(short(Self.patience)) s of computing"
          : isShort ? "; longer rollouts fail" : ""),
      "",
      "conditions:",
      "  # The goal is what costs and success call `goal`: here the joint positions at the start.",
      "  # Controls are those of the first rollouts, a keyframe's own if they are left out: servos are told to stay,",
      "  # and none is at its limit.",
      "  train:",
    ]
    for start in starts { lines += text(of: start) }
    if !others.isEmpty { lines.append("    # Other keyframes: \(list(others))") }
    lines += [
      "  # Some noise in where rollouts start makes the network robust:",
      "  # common: {positionDeviation: 0.01, velocityDeviation: 0.01}",
      "",
      "# What is minimised, summed over all steps; weights turn every unit into one number.",
      "cost:",
      "  - state: {entries: [jointPositions], target: goal, weights: 1}",
      "  - state: {entries: [jointVelocities], target: 0, weights: 0.01}",
    ]
    let effort = efforts
    if mocaps.isEmpty {
      lines.append("  # Effort: the end of a control's range costs 0.005.")
    } else if effort.contains(where: { $0 > 0 }) {
      lines.append(
        "  # Effort: the end of an actuator's range costs 0.005; where a mocap body is costs nothing."
      )
    }
    if let first = effort.first, effort.allSatisfy({ $0 == first }) {
      if first > 0 { lines.append("  - control: {weights: \(short(first))}") }
    } else {
      lines.append("  - control:")
      lines += wrapped("      weights: ", effort)
    }
    lines += [
      "",
      "# What counts as a success: at the end every joint is within 0.1 (rad or m) of the goal.",
      "success:",
      "  stateWithin: {entries: [jointPositions], target: goal, tolerance: 0.1, at: final}",
      "",
      "# The first rollouts: the same control all the time and noise, a share of half of each control's range.",
    ]
    if let reason, deviation < Self.usualDeviation {
      lines.append("# With more of it rollouts fail: \(comment(reason)).")
    }
    lines += [
      "initialController:",
      "  constant: {deviation: \(short(deviation))}",
      "",
      "algorithm:",
      "  name: mirrorDescent",
      "  iterations: 10",
      "  samples: 5  # rollouts per condition and iteration",
      "",
    ]
    return lines.joined(separator: "\n")
  }

  /// The weights of the controls.
  private var efforts: [Double] {
    scales.enumerated().map { i, scale in
      i < model.controlCount ? 0.01 / (scale * scale) : 0
    }
  }

  private var counts: String {
    let names = interface.stateNames
    return [
      ("joint_positions.", "position"), ("joint_velocities.", "velocity"),
      ("actuator_activations.", "activation"),
    ].compactMap { prefix, noun in
      let count = names.count { $0.hasPrefix(prefix) }
      if count == 0 { return nil }
      let plural = noun == "velocity" ? "velocities" : noun + "s"
      return "\(count) \(count == 1 ? noun : plural)"
    }.joined(separator: ", ")
  }

  private func text(of start: Start) -> [String] {
    var lines = ["    - name: \(word(start.name))"]
    if let keyframe = start.keyframe { lines.append("      keyframe: \(word(keyframe))") }
    lines += wrapped("      goal: ", start.goal)
    if let controls = start.controls.map(roomy), controls.contains(where: { $0 != 0 }) {
      lines += wrapped("      controls: ", controls)
    }
    return lines
  }

  /// Controls at a limit move away from it: half of their noise would be lost.
  private func roomy(_ controls: [Double]) -> [Double] {
    guard let limits else { return controls }
    return controls.indices.map { i in
      if !(limits.lower[i] < limits.upper[i]) { return controls[i] }
      let margin = deviation * scales[i]
      return min(max(controls[i], limits.lower[i] + margin), limits.upper[i] - margin)
    }
  }
}

// MARK: - Pieces of text

/// A text as it may stand in a file.
private func word(_ text: String) -> String {
  SettingsTree(.quoted(text)).yaml.trimmingCharacters(in: .newlines)
}

/// A text as it may stand in a comment.
private func comment(_ text: String) -> String {
  String(text.map { $0.isNewline || $0.unicodeScalars.contains { $0.value < 32 } ? " " : $0 })
}

/// The first names of a list, for a comment.
private func list(_ names: [String]) -> String {
  let (most, shown) = (12, names.prefix(12).map(word).joined(separator: ", "))
  return comment(shown) + (names.count > most ? " and \(names.count - most) more" : "")
}

/// A number with at most six digits.
private func short(_ number: Double) -> String {
  let text = String(format: "%.6g", number)
  return text == "-0" ? "0" : text
}

/// Numbers in brackets.
private func numbers(_ list: [Double]) -> String {
  let texts = list.map(short)
  return "[" + texts.joined(separator: ", ") + "]"
}

/// A list of numbers behind its key, on as many lines as it takes.
private func wrapped(_ key: String, _ list: [Double]) -> [String] {
  wrapped(key, list.map(short), at: key.prefix { $0 == " " }.count + 2)
}

/// A list behind its key, on as many lines as it takes, those after the first indented.
private func wrapped(_ key: String, _ list: [String], at indent: Int) -> [String] {
  let margin = String(repeating: " ", count: indent)
  var lines = [key + "["]
  for (index, item) in list.enumerated() {
    let text = item + (index + 1 < list.count ? "," : "")
    let last = lines[lines.count - 1]
    if index > 0 && last.count + text.count + 1 > 110 {
      lines.append(margin + text)
    } else {
      lines[lines.count - 1] = last + (index > 0 ? " " : "") + text
    }
  }
  lines[lines.count - 1] += "]"
  return lines
}

/// Where a file is, seen from a folder.
private func relativePath(of url: URL, from folder: URL) -> String {
  func real(_ folder: URL) -> [String] {
    guard let path = realpath(folder.path, nil) else { return folder.pathComponents }
    defer { free(path) }
    return URL(fileURLWithPath: String(cString: path), isDirectory: true).pathComponents
  }
  var (file, base) = (url.pathComponents, folder.pathComponents)
  // The way up is the system's, which links do not change.
  if !file.starts(with: base) || file.contains("..") {
    file = real(url.deletingLastPathComponent()) + [url.lastPathComponent]
    base = real(folder)
  }
  let common = zip(file, base).prefix { $0 == $1 }.count
  // Nothing in common but the root: the absolute path says more.
  if common <= 1 { return "/" + file.dropFirst().joined(separator: "/") }
  return (Array(repeating: "..", count: base.count - common) + file[common...])
    .joined(separator: "/")
}

extension ExperimentDraft {
  /// What the first line of a draft says.
  fileprivate static let mark = "written by `gps init`"

  /// Where a draft may be written: what stands there must be a draft, or nothing.
  ///
  /// - Parameters:
  ///   - path: the file.
  ///   - model: the model's file, which it must not be.
  ///   - replacing: whether another draft may be replaced.
  /// - Returns: the file, to be written to.
  /// - Throws: `RunDirectoryError.cannotWrite`.
  public static func file(
    _ path: String, model: URL, replacing: Bool
  ) throws(RunDirectoryError) -> OutputFile {
    try OutputFile(
      path, inputs: [model.path],
      replacing: replacing
        ? .beginning { bytes in
          let line = bytes.prefix { $0 != UInt8(ascii: "\n") }
          return line.starts(with: "# ".utf8)
            && String(decoding: line, as: UTF8.self).contains(mark)
        } : .nothing)
  }

  /// Writes the file, whole or not at all.
  ///
  /// - Throws: `RunDirectoryError.cannotWrite`.
  public func write(to file: OutputFile) throws(RunDirectoryError) {
    try file.write(Array(yaml.utf8))
  }
}
