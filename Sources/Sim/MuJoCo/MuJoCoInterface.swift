import CMuJoCo
public import GPSCore

/// How a MuJoCo model is seen and driven: which of its numbers make the state and the observation,
/// which sites are the points of cost terms, and how long a control is held.
///
/// Everything named is resolved to indices when it is made, so that a plant only copies numbers.
public struct MuJoCoInterface: Sendable {
  /// The model, with the timestep it is stepped with.
  public let model: MuJoCoModel
  /// MuJoCo steps per control.
  public let substeps: Int
  /// What the state x is made of.
  public let state: [MuJoCoComponent]
  /// What the observation o is made of.
  public let observation: [MuJoCoComponent]
  /// Names of the points of cost terms, the tips of their axes included.
  public let points: [String]
  /// The mocap bodies that are controlled, after the actuators.
  public let mocapControls: [MocapControl]
  /// Numbers in a goal.
  public let goalDimension: Int
  /// A joint position or velocity beyond this magnitude fails the rollout [its own unit].
  public let stateLimit: Double
  /// n names with units.
  public let stateNames: [String]
  /// Entries of the state that are places and rotation vectors of free and ball joints.
  public let stateVectors: [StateVector]
  /// o names with units.
  public let observationNames: [String]
  /// m names: those of the actuators, then those of controlled mocap bodies.
  public let controlNames: [String]
  /// Bounds on the controls; nil if none is limited.
  public let controlLimits: ControlLimits?
  /// Where the positions and velocities of actuated hinges and slides are in the state.
  public let actuatedCoordinates: [ActuatedCoordinate]

  /// What was done beside what was asked for, in a sentence each.
  package let remarks: [String]

  let layout: MuJoCoLayout
  /// Whether plants compute the points' Jacobians, or leave them as they are.
  var readsPointJacobians = true

  /// m.
  public var controlCount: Int { controlNames.count }
  /// Seconds a control is held: timestep × substeps.
  public var controlPeriod: Double { model.timestep * Double(substeps) }

  /// How a model is seen and driven.
  ///
  /// - Parameters:
  ///   - model: the model.
  ///   - timestep: seconds of one MuJoCo step, if it shall differ from the model's own.
  ///   - substeps: MuJoCo steps per control.
  ///   - state: what the state is made of. The activations of actuators that have them join it: no state
  ///     without them tells what comes next.
  ///   - observation: what the observation is made of; the state's components if nil. It may tell
  ///     less than the state.
  ///   - points: what cost terms refer to: sites, or places fixed to sites, bodies and geoms.
  ///   - mocapControls: mocap bodies that are controlled, beside the actuators.
  ///   - goalDimension: numbers in a goal.
  ///   - stateLimit: a joint position or velocity beyond this magnitude fails the rollout.
  /// - Throws: `MuJoCoError` when a name is unknown, a number out of range, or there is nothing to control.
  public init(
    model: MuJoCoModel, timestep: Double? = nil, substeps: Int = 1, state: [MuJoCoComponent],
    observation: [MuJoCoComponent]? = nil, points: [MuJoCoPoint] = [],
    mocapControls: [MocapControl] = [], goalDimension: Int = 0, stateLimit: Double = 1e6
  ) throws(MuJoCoError) {
    guard model.controlCount > 0 || !mocapControls.isEmpty else {
      throw .noActuators(source: model.source)
    }
    guard substeps >= 1 else {
      throw .invalidValue(of: "substeps", value: "\(substeps)", allowed: "1 or more")
    }
    guard goalDimension >= 0 else {
      throw .invalidValue(of: "goalDimension", value: "\(goalDimension)", allowed: "0 or more")
    }
    guard stateLimit > 0 else {
      throw .invalidValue(of: "stateLimit", value: "\(stateLimit)", allowed: "a positive number")
    }
    let model =
      if let timestep { try model.withTimestep(timestep) } else { model }
    let addsActivations = model.activationCount > 0 && !state.contains(.actuatorActivations)
    let state = state + (addsActivations ? [.actuatorActivations] : [])
    remarks =
      addsActivations
      ? [
        "the actuators have activations (a muscle's, a filter's, an integrator's), which the state holds "
          + "too: actuatorActivations"
      ] : []
    var layout = MuJoCoLayout()
    let stateColumns = try layout.columns(
      of: state, model: model, goalDimension: goalDimension, list: "state")
    let observationColumns = try layout.columns(
      of: observation ?? state, model: model, goalDimension: goalDimension, list: "observation")
    guard !stateColumns.isEmpty else {
      throw .invalidValue(
        of: "state", value: "empty", allowed: "at least one component, such as jointPositions")
    }
    layout.state = stateColumns
    layout.observation = observationColumns
    let pointNames = try layout.findPoints(points, model: model)
    layout.findJacobianColumns(stateColumns, model: model)
    var controlNames = model.controlNames
    var controlLimits = model.controlLimits
    var taken = Set(controlNames)
    for control in mocapControls {
      try layout.add(control, from: controlNames.count, model: model)
      let limits = control.limits
      if controlLimits != nil || limits != .none(control.count) {
        let others = controlLimits ?? .none(controlNames.count)
        controlLimits = ControlLimits(
          lower: others.lower + limits.lower, upper: others.upper + limits.upper)
      }
      controlNames += control.names.map { unused($0, &taken) }
    }

    self.model = model
    self.substeps = substeps
    self.state = state
    self.observation = observation ?? state
    self.points = pointNames
    self.goalDimension = goalDimension
    self.stateLimit = stateLimit
    self.layout = layout
    stateNames = stateColumns.map(\.name)
    stateVectors = layout.vectors(in: stateColumns, model: model)
    observationNames = observationColumns.map(\.name)
    self.mocapControls = mocapControls
    self.controlNames = controlNames
    self.controlLimits = controlLimits
    actuatedCoordinates = MuJoCoLayout.actuatedCoordinates(stateColumns, model: model)
  }

  /// A new plant for one worker.
  ///
  /// - Throws: `MuJoCoError` when MuJoCo cannot make the model's data.
  public func makePlant() throws(MuJoCoError) -> MuJoCoPlant { try MuJoCoPlant(self) }

  /// What MuJoCo warns of, in the model and where some conditions start, and goes on all the same; a sentence
  /// each.
  package func warnings(in conditions: [Condition]) -> [String] {
    let warnings = model.warning.map { ["MuJoCo warns of the model: \($0)"] } ?? []
    // What cannot be simulated fails its rollouts with a reason of its own.
    guard let plant = try? makePlant() else { return warnings }
    for condition in conditions {
      guard (try? plant.reset(to: condition, plantState: condition.initialPlantState.span)) != nil,
        let singular = plant.singularInertia
      else { continue }
      let warning = "MuJoCo warns where condition '\(condition.name)' starts: \(singular)"
      // The compiler has stepped the model too, and may have met the same.
      return warnings.filter { !$0.contains("Inertia matrix") || $0.contains("; ") } + [warning]
    }
    return warnings
  }

  /// Checks everything about a condition that can be known before a rollout.
  ///
  /// - Throws: `MuJoCoError` naming the condition and what is wrong.
  public func validate(_ condition: Condition) throws(MuJoCoError) {
    let place = "condition '\(condition.name)'"
    let (nq, nv) = (model.jointPositionCount, model.jointVelocityCount)
    let count = nq + nv
    let parts = "\(nq) joint positions and \(nv) joint velocities"
    let actual = condition.initialPlantState.count
    guard actual == count || actual == count + model.startRestCount else {
      throw .wrongCount(
        of: "\(place), initial plant state", expected: count, actual: actual, reason: parts)
    }
    // Noise on a quaternion is a small rotation, of three numbers.
    let deviation = condition.initialPlantStateDeviation
    guard deviation.isEmpty || deviation.count == 2 * nv || deviation.count == actual - nq + nv
    else {
      throw .wrongCount(
        of: "\(place), deviation of the initial plant state", expected: 2 * nv,
        actual: deviation.count,
        reason: nq == nv
          ? parts : "as many for positions as for velocities: a quaternion's noise is a rotation")
    }
    if let bad = deviation.first(where: { !($0 >= 0 && $0.isFinite) }) {
      throw .invalidValue(
        of: "\(place), deviation of the initial plant state", value: "\(bad)",
        allowed: "finite numbers from 0")
    }
    guard condition.goal.count == goalDimension else {
      throw .wrongCount(
        of: "\(place), goal", expected: goalDimension, actual: condition.goal.count,
        reason: "the goal's dimension")
    }
    for (what, numbers) in [
      ("initial plant state", condition.initialPlantState), ("goal", condition.goal),
    ] {
      if let bad = numbers.first(where: { !$0.isFinite }) {
        throw .invalidValue(of: "\(place), \(what)", value: "\(bad)", allowed: "finite numbers")
      }
    }
    for joint in model.joints where joint.isQuaternion {
      let quaternion = condition.initialPlantState[joint.quaternion..<joint.quaternion + 4]
      if quaternion.allSatisfy({ abs($0) < 1e-9 }) {
        throw .invalidValue(
          of: "\(place), the quaternion of joint '\(joint.name)'", value: "zero",
          allowed: "a rotation (w, x, y, z), such as [1, 0, 0, 0]; it is normalised")
      }
    }
    for (body, offset) in condition.bodyOffsets.sorted(by: { $0.key < $1.key }) {
      _ = try displaceableBody(body)
      guard offset.count == 3 else {
        throw .wrongCount(
          of: "\(place), offset of body '\(body)'", expected: 3, actual: offset.count,
          reason: "x, y, z [m]")
      }
      if let bad = offset.first(where: { !$0.isFinite }) {
        throw .invalidValue(
          of: "\(place), offset of body '\(body)'", value: "\(bad)", allowed: "finite numbers")
      }
    }
    for (parameter, factor) in condition.modelFactors.sorted(by: { $0.key < $1.key }) {
      try model.check(factor, on: parameter)
    }
    guard let draws = condition.draws else { return }
    if let problem = condition.drawProblem {
      throw .invalidValue(
        of: "\(place), draws", value: problem, allowed: "what fits its start and its goal")
    }
    for body in draws.bodyOffsets.keys.sorted() + draws.goalBodies {
      _ = try displaceableBody(body)
    }
    for (parameter, bounds) in draws.modelFactors.sorted(by: { $0.key < $1.key }) {
      for factor in bounds { try model.check(factor, on: parameter) }
    }
  }

  /// The controls that a condition's start comes with, m numbers: for actuators zeros if it comes with none,
  /// for mocap bodies where the start has them.
  package func startControls(of condition: Condition) throws(MuJoCoError) -> [Double] {
    let start = condition.initialPlantState
    let count = model.jointPositionCount + model.jointVelocityCount
    let rest =
      start.count == count ? try model.startRest(keyframe: nil) : Array(start[count...])
    var controls = Array(rest[model.startControls])
    for (control, place) in zip(mocapControls, layout.mocaps) {
      let first = model.startMocapPositions.lowerBound + 3 * place.mocap
      let offset = condition.bodyOffsets[control.body] ?? [0, 0, 0]
      controls += zip(rest[first..<first + 3], offset).map(+)
      if place.rotates { controls += [0, 0, 0] }
    }
    return controls
  }

  /// The index of a body whose position in its parent's frame is the model's to change.
  func displaceableBody(_ name: String) throws(MuJoCoError) -> Int {
    let body = try model.index(.body, name)
    if body == 0 {
      throw .invalidValue(
        of: "offset of a body", value: "given for '\(name)'", allowed: "every body but the world")
    }
    let joint = Int(model.pointer.pointee.body_jntadr[body])
    if joint >= 0, model.joint(joint).type == mjJNT_FREE {
      throw .invalidValue(
        of: "offset of a body", value: "given for '\(name)', which has a free joint",
        allowed: "every body without one; set this one's joint positions instead")
    }
    return body
  }
}
