package import Configuration
import Foundation
import GPSCore
public import Sim

/// A MuJoCo model and how it is seen and driven.
public struct MuJoCoSettings: Sendable, Equatable {
  /// Path of the model file, relative to the experiment file.
  public var model = ""
  /// Seconds of one MuJoCo step; nil for the model's own.
  public var timestep: Double?
  /// MuJoCo steps per control.
  public var substeps = 1
  /// What the state is made of.
  public var state: [MuJoCoComponent] = []
  /// What the observation is made of; nil for the state's components.
  public var observation: [MuJoCoComponent]?
  /// What costs and success refer to: sites, or places fixed to sites, bodies and geoms.
  public var points: [MuJoCoPoint] = []
  /// Mocap bodies that are controlled, after the actuators.
  public var mocapControls: [MocapControl] = []
  /// A joint position or velocity beyond this magnitude fails the rollout.
  public var stateLimit = 1e6

  /// The defaults; model and state are for the caller to fill in.
  public init() {}
}

extension MuJoCoSettings: SystemKind {
  package static let schema = Schema<Self>("mujoco", "A MuJoCo model.", Self()) {
    Field(
      "model", \.model,
      "Model file, relative to this file: MJCF or URDF, or a binary model (.mjb), or an archive (.mjz, .zip)."
    ).required
    Field(
      "timestep", \.timestep, .above(0), "Seconds of one MuJoCo step; null for the model's own.")
    Field(
      "substeps", \.substeps, .between(1, 1_000_000),
      "MuJoCo steps per control: the control period is timestep times substeps.")
    Field(
      "state", \.state, .some("component, such as jointPositions"), "What the state is made of."
    ).required
    Field(
      "observation", \.observation,
      "What the policy sees; null for the state's components. It may tell less than the state.")
    Field(
      "points", \.points,
      "What costs and success refer to by name: sites, or places fixed to sites, bodies and geoms.")
    Field(
      "mocapControls", \.mocapControls,
      "Mocap bodies that are controlled, after the actuators: x, y, z of each, and with a rotationLimit "
        + "its orientation.")
    Field(
      "stateLimit", \.stateLimit, .above(0),
      "A joint position or velocity beyond this magnitude fails the rollout.")
  }

  func task(_ loader: ExperimentLoader) throws -> (task: any ControlTask, model: URL?) {
    let url = PathParts.url(of: model, in: loader.folder.path)
    let goal = try loader.goalDimension()
    for (key, components) in [("state", state), ("observation", observation ?? [])] {
      if goal == 0, let index = components.firstIndex(of: .goal) {
        throw loader.refuse(
          "system.mujoco.\(key).\(index)", problem: "the conditions have no goal to observe")
      }
    }
    let interface: MuJoCoInterface
    do {
      interface = try MuJoCoInterface(
        model: MuJoCoModel(contentsOf: url.path), timestep: timestep, substeps: substeps,
        state: state, observation: observation, points: points, mocapControls: mocapControls,
        goalDimension: goal, stateLimit: stateLimit)
    } catch {
      throw loader.refuse(error, "system.mujoco")
    }
    let conditions = try loader.conditions {
      try condition($0, name: $1, path: $2, interface, loader)
    }
    do {
      let experiment = loader.experiment
      let task = try MuJoCoTask(
        name: experiment.task, interface: interface, horizon: experiment.horizon,
        conditions: conditions.train, testConditions: conditions.test, cost: experiment.cost,
        success: experiment.success, termination: experiment.termination)
      return (task, url)
    } catch .task(let error) {
      throw error
    } catch {
      throw loader.refuse(error, "conditions")
    }
  }

  private func condition(
    _ settings: ConditionSettings, name: String, path: String, _ interface: MuJoCoInterface,
    _ loader: ExperimentLoader
  ) throws -> Condition {
    let model = interface.model
    let (nq, nv) = (model.jointPositionCount, model.jointVelocityCount)
    if settings.state != nil {
      throw loader.refuse(
        "\(path).state", problem: "a MuJoCo model starts from keyframe or jointPositions")
    }
    try loader.refuseProcessParts(of: settings, path)
    let joints = "the joints are \(model.jointNames.joined(separator: ", "))"
    for (part, numbers, count, names) in [
      ("jointPositions", settings.jointPositions, nq, joints),
      ("jointVelocities", settings.jointVelocities, nv, joints),
      (
        "activations", settings.activations, model.activationCount,
        "one for each that an actuator has"
      ),
      (
        "controls", settings.controls, model.controlCount,
        "the controls are \(model.controlNames.joined(separator: ", "))"
      ),
    ] {
      if let numbers, numbers.count != count {
        throw loader.refuse(
          "\(path).\(part)", "a list of \(numbers.count)",
          count == 0 ? "null: the model has none" : "\(count) numbers (\(names))")
      }
    }
    do {
      var condition = Condition(
        name: name,
        initialPlantState: try model.plantState(
          keyframe: settings.keyframe, jointPositions: settings.jointPositions,
          jointVelocities: settings.jointVelocities, activations: settings.activations,
          controls: settings.controls, mocapPositions: settings.mocapPositions,
          mocapQuaternions: settings.mocapQuaternions),
        bodyOffsets: settings.bodyOffsets, goal: settings.nominalGoal)
      condition.initialPlantStateDeviation = try loader.deviation(
        [
          ("positionDeviation", settings.positionDeviation, nv),
          ("velocityDeviation", settings.velocityDeviation, nv),
        ], path)
      settings.complete(
        &condition, starts: try starts(settings.draw.joints, path, interface, loader))
      try interface.validate(condition)
      return condition
    } catch let error as MuJoCoError {
      // What holds for all conditions stands in `common`.
      if case .unknownName(_, let name, _, _) = error,
        loader.tree.path(ofName: name, below: path) == nil
      {
        throw loader.refuse(error, "conditions.common")
      }
      throw loader.refuse(error, path)
    }
  }
}

extension MuJoCoSettings {
  /// Where among the numbers of a start the positions of drawn joints are.
  private func starts(
    _ joints: [String: VectorDistribution], _ path: String, _ interface: MuJoCoInterface,
    _ loader: ExperimentLoader
  ) throws -> [ConditionDraws.Start] {
    try joints.sorted { $0.key < $1.key }.map { name, distribution in
      let place = "\(path).draw.joints.\(name)"
      let range = try interface.model.drawablePositions(ofJoint: name)
      if let mismatch = distribution.mismatch(with: range.count) {
        throw loader.refuse(place, "of another length", mismatch)
      }
      return ConditionDraws.Start(
        first: range.lowerBound, count: range.count, distribution: distribution)
    }
  }
}

extension ExperimentLoader {
  /// A complaint about a MuJoCo model: names are sought in the file, the rest belongs to `path`.
  fileprivate func refuse(_ error: MuJoCoError, _ path: String) -> SettingsError {
    switch error {
    case .unknownName(let kind, let name, _, let available):
      return refuse(
        tree.path(ofName: name, below: path) ?? path,
        problem: "the model has no \(kind) \"\(abbreviated(name))\" "
          + (available.isEmpty
            ? "(it has none with a name)"
            : "(it has \(available.prefix(12).joined(separator: ", "))"
              + (available.count > 12 ? " and \(available.count - 12) more)" : ")")))
    case .noSuchFile(let path):
      return refuse(
        "system.mujoco.model", problem: "no such file: \(path) (relative to the experiment file)")
    case .unreadable, .invalidModel, .noActuators:
      return refuse("system.mujoco.model", problem: oneLine("\(error)"))
    default:
      return refuse(path, problem: oneLine("\(error)"))
    }
  }
}

extension SettingsTree {
  /// The path of the first word or key of that name at or below a path.
  fileprivate func path(ofName name: String, below start: String) -> String? {
    var node = self
    for component in start.split(separator: ".") {
      guard let next = node.child(String(component)) else { return nil }
      node = next
    }
    return node.search(name, start)
  }

  private func search(_ name: String, _ path: String) -> String? {
    switch content {
    case .null: return nil
    case .plain(let text), .quoted(let text): return text == name ? path : nil
    case .list(let items):
      return items.enumerated().lazy.compactMap { $1.search(name, join(path, "\($0)")) }.first
    case .mapping(let entries):
      return entries.lazy.compactMap { entry in
        let path = join(path, entry.key)
        return entry.key == name ? path : entry.value.search(name, path)
      }.first
    }
  }
}
