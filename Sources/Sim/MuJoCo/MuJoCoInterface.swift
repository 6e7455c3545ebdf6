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
  /// The sites that are the points of cost terms.
  public let points: [String]
  /// Numbers in a goal.
  public let goalDimension: Int
  /// A joint position or velocity beyond this magnitude fails the rollout [its own unit].
  public let stateLimit: Double
  /// n names with units.
  public let stateNames: [String]
  /// o names with units.
  public let observationNames: [String]
  /// m names: those of the actuators.
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
  ///   - points: sites that cost terms refer to.
  ///   - goalDimension: numbers in a goal.
  ///   - stateLimit: a joint position or velocity beyond this magnitude fails the rollout.
  /// - Throws: `MuJoCoError` when a name is unknown or a number out of range.
  public init(
    model: MuJoCoModel, timestep: Double? = nil, substeps: Int = 1, state: [MuJoCoComponent],
    observation: [MuJoCoComponent]? = nil, points: [String] = [], goalDimension: Int = 0,
    stateLimit: Double = 1e6
  ) throws(MuJoCoError) {
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
    for point in points { layout.points.append(Int32(try model.index(.site, point))) }
    layout.findJacobianColumns(stateColumns, model: model)

    self.model = model
    self.substeps = substeps
    self.state = state
    self.observation = observation ?? state
    self.points = points
    self.goalDimension = goalDimension
    self.stateLimit = stateLimit
    self.layout = layout
    stateNames = stateColumns.map(\.name)
    observationNames = observationColumns.map(\.name)
    controlNames = model.controlNames
    controlLimits = model.controlLimits
    actuatedCoordinates = MuJoCoLayout.actuatedCoordinates(stateColumns, model: model)
  }

  /// A new plant for one worker.
  ///
  /// - Throws: `MuJoCoError` when MuJoCo cannot make the model's data.
  public func makePlant() throws(MuJoCoError) -> MuJoCoPlant { try MuJoCoPlant(self) }

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
  }

  /// The controls that a condition's start comes with, m numbers; zeros if it comes with none.
  func startControls(of condition: Condition) -> [Double] {
    let rest = condition.initialPlantState.dropFirst(
      model.jointPositionCount + model.jointVelocityCount)
    guard rest.count == model.startRestCount else {
      return [Double](repeating: 0, count: model.controlCount)
    }
    return Array(Array(rest)[model.startControls])
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

/// Names resolved to indices.
struct MuJoCoLayout: Sendable {
  /// Where a number comes from.
  enum Source: Equatable, Sendable {
    case position, velocity, activation, sensor, goal
    /// Rotation vectors of the quaternions in `rotations`, 3 numbers each.
    case rotation
    /// `site_xpos`, 3 numbers per site.
    case site
    /// Velocities of the sites in `velocitySites`, 3 numbers each.
    case siteVelocity
  }

  /// One number of a state or an observation.
  struct Column: Sendable {
    var name: String
    var source: Source
    var index: Int
    /// Index of what is subtracted, or -1.
    var minus = -1

    func isSameNumber(as other: Column) -> Bool {
      source == other.source && index == other.index && minus == other.minus
    }
  }

  /// A quaternion of a ball or free joint, shown by its rotation vector.
  struct Quaternion: Sendable {
    /// First of its three velocity coordinates.
    var dof: Int
    /// Address of its w in qpos.
    var position: Int
    /// The orientation that has rotation vector zero: that of the model's reference configuration.
    var reference: Rotation
  }

  /// A velocity coordinate whose joint's positions are in the state: where its column is.
  struct JacobianColumn: Sendable {
    var dof: Int
    var column: Int
  }

  /// A quaternion whose rotation vector is in the state.
  struct JacobianRotation: Sendable {
    /// First of its three velocity coordinates.
    var dof: Int
    /// Its number among `rotations`.
    var slot: Int
    /// The first of its three columns in the state.
    var column: Int
  }

  var state: [Column] = []
  var observation: [Column] = []
  var points: [Int32] = []
  /// Sites whose velocities are needed.
  var velocitySites: [Int32] = []
  var needsAccelerations = false
  /// Quaternions whose rotation vectors are needed.
  var rotations: [Quaternion] = []
  var jacobianColumns: [JacobianColumn] = []
  var jacobianRotations: [JacobianRotation] = []

  static let axes = ["x", "y", "z"]

  /// The columns of a list of components.
  mutating func columns(
    of components: [MuJoCoComponent], model: MuJoCoModel, goalDimension: Int, list: String
  ) throws(MuJoCoError) -> [Column] {
    var columns: [Column] = []
    for component in components {
      switch component {
      case .jointPositions(let names):
        for joint in try Self.joints(names, model) {
          columns += positionColumns(joint, model)
        }
      case .jointVelocities(let names):
        for joint in try Self.joints(names, model) {
          columns += Self.velocitySuffixes(joint).enumerated().map {
            Column(
              name: "joint_velocities.\(joint.name)\($1)", source: .velocity,
              index: joint.velocity + $0)
          }
        }
      case .sitePositions(let sites, let other):
        let minus = if let other { try model.index(.site, other) } else { -1 }
        for site in sites {
          let index = try model.index(.site, site)
          let suffix = other.map { "_from_\($0)" } ?? ""
          for axis in 0..<3 {
            columns.append(
              Column(
                name: "site_positions.\(site)\(suffix).\(Self.axes[axis])_m", source: .site,
                index: 3 * index + axis, minus: minus < 0 ? -1 : 3 * minus + axis))
          }
        }
      case .siteVelocities(let sites, let other):
        let minus = if let other { velocitySlot(try model.index(.site, other)) } else { -1 }
        for site in sites {
          let slot = velocitySlot(try model.index(.site, site))
          let suffix = other.map { "_from_\($0)" } ?? ""
          for axis in 0..<3 {
            columns.append(
              Column(
                name: "site_velocities.\(site)\(suffix).\(Self.axes[axis])_m_per_s",
                source: .siteVelocity, index: 3 * slot + axis,
                minus: minus < 0 ? -1 : 3 * minus + axis))
          }
        }
      case .sensors(let names):
        for name in names {
          let sensor = try model.index(.sensor, name)
          let address = Int(model.pointer.pointee.sensor_adr[sensor])
          if model.pointer.pointee.sensor_needstage[sensor] == Int32(mjSTAGE_ACC.rawValue) {
            needsAccelerations = true
          }
          columns += Self.sensorSuffixes(sensor, model).enumerated().map {
            Column(name: "sensors.\(name)\($1)", source: .sensor, index: address + $0)
          }
        }
      case .actuatorActivations:
        for actuator in 0..<model.count(.actuator) {
          let count = Int(model.pointer.pointee.actuator_actnum[actuator])
          let name = model.name(.actuator, actuator)
          for k in 0..<max(0, count) {
            columns.append(
              Column(
                name: "actuator_activations.\(name)" + (count > 1 ? ".\(k)" : ""),
                source: .activation,
                index: Int(model.pointer.pointee.actuator_actadr[actuator]) + k))
          }
        }
      case .goal:
        guard goalDimension > 0 else {
          throw .invalidValue(
            of: "goalDimension", value: "0", allowed: "1 or more where the \(list) holds the goal")
        }
        columns += (0..<goalDimension).map { Column(name: "goal.\($0)", source: .goal, index: $0) }
      }
    }
    // Two numbers can come by one name: that of a part of the one may be the whole of the other's.
    var taken: Set<String> = []
    for i in columns.indices {
      if let same = columns[..<i].first(where: { $0.isSameNumber(as: columns[i]) }) {
        throw .repeatedComponent(list: list, name: same.name)
      }
      columns[i].name = unused(columns[i].name, &taken)
    }
    return columns
  }

  /// One number for each of a joint's degrees of freedom: positions as they are, and the rotation vector
  /// for a quaternion.
  private mutating func positionColumns(
    _ joint: MuJoCoModel.Joint, _ model: MuJoCoModel
  ) -> [Column] {
    let name = "joint_positions.\(joint.name)"
    guard joint.isQuaternion else {
      return [Column(name: "\(name)_\(joint.unit)", source: .position, index: joint.position)]
    }
    let slot = rotationSlot(joint, model)
    return
      (joint.type == mjJNT_FREE
      ? (0..<3).map {
        Column(
          name: "\(name).\(Self.axes[$0])_m", source: .position, index: joint.position + $0)
      } : [])
      + (0..<3).map {
        Column(name: "\(name).r\(Self.axes[$0])_rad", source: .rotation, index: 3 * slot + $0)
      }
  }

  private mutating func rotationSlot(_ joint: MuJoCoModel.Joint, _ model: MuJoCoModel) -> Int {
    if let slot = rotations.firstIndex(where: { $0.position == joint.quaternion }) { return slot }
    rotations.append(
      Quaternion(
        dof: joint.velocity + joint.velocityCount - 3, position: joint.quaternion,
        reference: Rotation(model.pointer.pointee.qpos0 + joint.quaternion)))
    return rotations.count - 1
  }

  private mutating func velocitySlot(_ site: Int) -> Int {
    if let slot = velocitySites.firstIndex(of: Int32(site)) { return slot }
    velocitySites.append(Int32(site))
    return velocitySites.count - 1
  }

  private static func joints(
    _ names: [String]?, _ model: MuJoCoModel
  ) throws(MuJoCoError) -> [MuJoCoModel.Joint] {
    guard let names else { return model.joints }
    var joints: [MuJoCoModel.Joint] = []
    for name in names { joints.append(model.joint(try model.index(.joint, name))) }
    return joints
  }

  private static func velocitySuffixes(_ joint: MuJoCoModel.Joint) -> [String] {
    let rotation = axes.map { ".w\($0)_rad_per_s" }
    return switch joint.type {
    case mjJNT_FREE: axes.map { ".\($0)_m_per_s" } + rotation
    case mjJNT_BALL: rotation
    default: ["_\(joint.unit)_per_s"]
    }
  }

  private static func sensorSuffixes(_ sensor: Int, _ model: MuJoCoModel) -> [String] {
    let dimension = Int(model.pointer.pointee.sensor_dim[sensor])
    let unit =
      switch mjtSensor(rawValue: UInt32(model.pointer.pointee.sensor_type[sensor])) {
      case mjSENS_TOUCH, mjSENS_FORCE: "_N"
      case mjSENS_TORQUE: "_N_m"
      case mjSENS_ACCELEROMETER, mjSENS_FRAMELINACC: "_m_per_s2"
      case mjSENS_VELOCIMETER, mjSENS_FRAMELINVEL, mjSENS_SUBTREELINVEL: "_m_per_s"
      case mjSENS_GYRO, mjSENS_FRAMEANGVEL, mjSENS_BALLANGVEL: "_rad_per_s"
      case mjSENS_FRAMEANGACC: "_rad_per_s2"
      case mjSENS_FRAMEPOS, mjSENS_SUBTREECOM, mjSENS_RANGEFINDER, mjSENS_GEOMDIST: "_m"
      case mjSENS_E_POTENTIAL, mjSENS_E_KINETIC: "_J"
      case mjSENS_CLOCK: "_s"
      case mjSENS_JOINTPOS: "_\(jointUnit(ofSensor: sensor, model))"
      case mjSENS_JOINTVEL: "_\(jointUnit(ofSensor: sensor, model))_per_s"
      default: ""
      }
    return switch dimension {
    case 1: [unit]
    case 3: axes.map { ".\($0)\(unit)" }
    default: (0..<dimension).map { ".\($0)\(unit)" }
    }
  }

  private static func jointUnit(ofSensor sensor: Int, _ model: MuJoCoModel) -> String {
    model.joint(Int(model.pointer.pointee.sensor_objid[sensor])).unit
  }

  /// The degree of freedom that a joint's position is of.
  func dof(of column: Column, model: MuJoCoModel) -> Int {
    if column.source == .rotation { return rotations[column.index / 3].dof + column.index % 3 }
    guard let joint = model.joints.first(where: { $0.positions ~= column.index }) else { return 0 }
    return joint.velocity + column.index - joint.position
  }

  /// Finds the state's columns by which the points' positions are differentiated.
  mutating func findJacobianColumns(_ columns: [Column], model: MuJoCoModel) {
    func column(_ source: Source, _ index: Int) -> Int? {
      columns.firstIndex { $0.source == source && $0.index == index && $0.minus < 0 }
    }
    for joint in model.joints {
      // A hinge's or slide's rate is the velocity itself, and so are the first three of a free joint.
      let direct = joint.isQuaternion ? joint.velocityCount - 3 : joint.velocityCount
      for k in 0..<direct {
        guard let column = column(.position, joint.position + k) else { continue }
        jacobianColumns.append(JacobianColumn(dof: joint.velocity + k, column: column))
      }
      if joint.isQuaternion,
        let slot = rotations.firstIndex(where: { $0.position == joint.quaternion }),
        let column = column(.rotation, 3 * slot)
      {
        jacobianRotations.append(
          JacobianRotation(dof: joint.velocity + direct, slot: slot, column: column))
      }
    }
  }

  /// Whether more control means less force along the actuator's joint.
  private static func isReversed(_ actuator: Int, _ model: mjModel) -> Bool {
    let gain =
      switch mjtGain(rawValue: UInt32(model.actuator_gaintype[actuator])) {
      case mjGAIN_FIXED, mjGAIN_AFFINE: model.actuator_gainprm[Int(mjNGAIN) * actuator]
      // It pulls: its force is negative, however much it is excited.
      case mjGAIN_MUSCLE: -1.0
      default: 1.0
      }
    return gain * model.actuator_gear[6 * actuator] < 0
  }

  /// Where the coordinates driven by actuators on hinges and slides are; tendons, sites, bodies,
  /// slider-cranks and ball joints are no coordinates.
  static func actuatedCoordinates(
    _ columns: [Column], model: MuJoCoModel
  ) -> [ActuatedCoordinate] {
    var result: [ActuatedCoordinate] = []
    let raw = model.pointer.pointee
    for actuator in 0..<model.count(.actuator) {
      let transmission = mjtTrn(rawValue: UInt32(raw.actuator_trntype[actuator]))
      guard transmission == mjTRN_JOINT || transmission == mjTRN_JOINTINPARENT,
        raw.actuator_ctrlnum[actuator] == 1
      else { continue }
      let joint = model.joint(Int(raw.actuator_trnid[2 * actuator]))
      guard !joint.isQuaternion else { continue }
      result.append(
        ActuatedCoordinate(
          control: Int(raw.actuator_ctrladr[actuator]),
          position: columns.firstIndex {
            $0.source == .position && $0.index == joint.position
          },
          velocity: columns.firstIndex {
            $0.source == .velocity && $0.index == joint.velocity
          },
          isReversed: isReversed(actuator, raw)))
    }
    return result
  }
}
