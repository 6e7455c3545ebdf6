import CMuJoCo
import GPSCore

/// Names resolved to indices.
struct MuJoCoLayout: Sendable {
  /// Where a number comes from.
  enum Source: Equatable, Sendable {
    case position, velocity, activation, sensor, goal
    /// Rotation vectors of the orientations in `rotations`, 3 numbers each.
    case rotation
    /// Positions of sites, bodies or geoms, 3 numbers each.
    case place(MuJoCoFrame)
    /// Rotation matrices of sites, bodies or geoms, 9 numbers each, row by row.
    case matrix(MuJoCoFrame)
    /// `subtree_com`, 3 numbers per body.
    case centerOfMass
    /// Sine and cosine of the joint positions in `angles`, 2 numbers each.
    case sinCos
    /// Angular, then linear velocities of what is in `moving`, 6 numbers each.
    case motion
    /// Linear, then angular momenta of the bodies in `momenta`, 6 numbers each.
    case momentum
    /// Contact forces on the bodies in `touched`, 3 numbers each.
    case contactForce
    /// Axes of the pairs in `relativeFrames`, 9 numbers each, axis by axis.
    case relativeAxis
  }

  /// One number of a state or an observation.
  struct Column: Sendable {
    var name: String
    var source: Source
    var index: Int
    /// Index of what is subtracted, or -1.
    var minus = -1
    /// Where that comes from, if from elsewhere.
    var minusSource: Source?

    func isSameNumber(as other: Column) -> Bool {
      source == other.source && index == other.index && minus == other.minus
        && minusSource == other.minusSource
    }
  }

  /// A site, body or geom by its number.
  struct Element: Equatable, Sendable {
    var frame: MuJoCoFrame
    var index: Int
  }

  /// One seen from another.
  struct RelativeFrame: Equatable, Sendable {
    var element: Element
    var base: Element
  }

  /// What a rotation vector tells.
  enum Orientation: Equatable, Sendable {
    /// A quaternion of a ball or free joint.
    case joint(Quaternion)
    /// A site, body or geom, in world axes or seen from another.
    case frame(Element, base: Element?)
  }

  /// A place fixed to a site, a body or a geom.
  struct Point: Sendable {
    var frame: MuJoCoFrame
    /// The number of the site, body or geom.
    var index: Int
    /// The number of the body that it belongs to.
    var body: Int32
    /// Where it is in the frame [m].
    var offset: SIMD3<Double>
  }

  /// A quaternion of a ball or free joint, shown by its rotation vector.
  struct Quaternion: Equatable, Sendable {
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
    var quaternion: Quaternion
    /// Its number among `rotations`.
    var slot: Int
    /// The first of its three columns in the state.
    var column: Int
  }

  /// A controlled mocap body.
  struct Mocap: Sendable {
    /// Its number among the mocap bodies.
    var mocap: Int
    /// The first of its three or six controls.
    var control: Int
    /// Whether there are six.
    var rotates: Bool
  }

  var state: [Column] = []
  var observation: [Column] = []
  var mocaps: [Mocap] = []
  var points: [Point] = []
  /// What has velocities that are needed.
  var moving: [Element] = []
  /// Bodies whose momenta, with all that hangs on them, are needed.
  var momenta: [Int32] = []
  /// Bodies on which contact forces are needed.
  var touched: [Int32] = []
  /// Addresses in qpos of angles whose sine and cosine are needed.
  var angles: [Int] = []
  /// Frames that are needed as they are seen from others.
  var relativeFrames: [RelativeFrame] = []
  var needsAccelerations = false
  /// Orientations whose rotation vectors are needed.
  var rotations: [Orientation] = []
  /// Which of them are in the state, and the first of their three columns there.
  var stateRotations: [(slot: Int, column: Int)] = []
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
      case .sinCos(let names):
        for joint in try Self.hinges(names, model) {
          let slot = Self.slot(joint.position, in: &angles)
          columns += ["sin", "cos"].enumerated().map {
            Column(name: "sin_cos.\(joint.name).\($1)", source: .sinCos, index: 2 * slot + $0)
          }
        }
      case .positions(let frame, let names, let other):
        columns += try vectors("positions", "_m", frame, names, other, model) { layout, element in
          (.place(element.frame), 3 * element.index)
        }
      case .velocities(let frame, let names, let other):
        columns += try vectors("velocities", "_m_per_s", frame, names, other, model) {
          (.motion, 6 * Self.slot($1, in: &$0.moving) + 3)
        }
      case .angularVelocities(let frame, let names, let other):
        columns += try vectors(
          "angular_velocities", "_rad_per_s", frame, names, other, model
        ) {
          (.motion, 6 * Self.slot($1, in: &$0.moving))
        }
      case .orientations(let frame, let names, let other, let form):
        columns += try orientations(form, frame, names, other, model)
      case .centersOfMass(let names):
        columns += try vectors("centers_of_mass", "_m", names, model) { (.centerOfMass, 3 * $1) }
      case .linearMomenta(let names):
        columns += try vectors("linear_momenta", "_kg_m_per_s", names, model) {
          (.momentum, 6 * Self.slot(Int32($1), in: &$0.momenta))
        }
      case .angularMomenta(let names):
        columns += try vectors("angular_momenta", "_kg_m2_per_s", names, model) {
          (.momentum, 6 * Self.slot(Int32($1), in: &$0.momenta) + 3)
        }
      case .contactForces(let names):
        needsAccelerations = true
        columns += try vectors("contact_forces", "_N", names, model) {
          (.contactForce, 3 * Self.slot(Int32($1), in: &$0.touched))
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

  /// The place of something in a list that it joins if it is not there yet.
  private static func slot<Item: Equatable>(_ item: Item, in list: inout [Item]) -> Int {
    if let slot = list.firstIndex(of: item) { return slot }
    list.append(item)
    return list.count - 1
  }

  private mutating func rotationSlot(_ joint: MuJoCoModel.Joint, _ model: MuJoCoModel) -> Int {
    let quaternion = Quaternion(
      dof: joint.velocity + joint.velocityCount - 3, position: joint.quaternion,
      reference: Rotation(model.pointer.pointee.qpos0 + joint.quaternion))
    return Self.slot(.joint(quaternion), in: &rotations)
  }

  /// What values are taken relative to: something of the same kind, or, if nothing is called so, a site,
  /// body or geom.
  private static func base(
    _ frame: MuJoCoFrame, _ name: String?, _ model: MuJoCoModel
  ) throws(MuJoCoError) -> Element? {
    guard let name else { return nil }
    for frame in [frame] + MuJoCoFrame.allCases {
      if let index = try? model.index(frame.kind, name) {
        return Element(frame: frame, index: index)
      }
    }
    return Element(frame: frame, index: try model.index(frame.kind, name))
  }

  /// x, y and z of something that sites, bodies or geoms have.
  private mutating func vectors(
    _ what: String, _ unit: String, _ frame: MuJoCoFrame, _ names: [String], _ other: String?,
    _ model: MuJoCoModel, _ place: (inout MuJoCoLayout, Element) -> (Source, Int)
  ) throws(MuJoCoError) -> [Column] {
    let base = try Self.base(frame, other, model).map { place(&self, $0) }
    var columns: [Column] = []
    for name in names {
      let element = Element(frame: frame, index: try model.index(frame.kind, name))
      let (source, first) = place(&self, element)
      let suffix = other.map { "_from_\($0)" } ?? ""
      for axis in 0..<3 {
        columns.append(
          Column(
            name: "\(frame.rawValue)_\(what).\(name)\(suffix).\(Self.axes[axis])\(unit)",
            source: source, index: first + axis, minus: base.map { $0.1 + axis } ?? -1,
            minusSource: base.flatMap { $0.0 == source ? nil : $0.0 }))
      }
    }
    return columns
  }

  /// x, y and z of something that bodies have.
  private mutating func vectors(
    _ what: String, _ unit: String, _ names: [String], _ model: MuJoCoModel,
    _ place: (inout MuJoCoLayout, Int) -> (Source, Int)
  ) throws(MuJoCoError) -> [Column] {
    var columns: [Column] = []
    for name in names {
      let (source, first) = place(&self, try model.index(.body, name))
      columns += Self.axes.enumerated().map {
        Column(name: "\(what).\(name).\($1)\(unit)", source: source, index: first + $0)
      }
    }
    return columns
  }

  private mutating func orientations(
    _ form: OrientationForm, _ frame: MuJoCoFrame, _ names: [String], _ other: String?,
    _ model: MuJoCoModel
  ) throws(MuJoCoError) -> [Column] {
    let base = try Self.base(frame, other, model)
    var columns: [Column] = []
    for name in names {
      let element = Element(frame: frame, index: try model.index(frame.kind, name))
      let start = "\(frame.rawValue)_orientations.\(name)" + (other.map { "_from_\($0)" } ?? "")
      if form == .rotationVector {
        let slot = Self.slot(.frame(element, base: base), in: &rotations)
        columns += Self.axes.enumerated().map {
          Column(name: "\(start).r\($1)_rad", source: .rotation, index: 3 * slot + $0)
        }
      }
      for axis in form.axisNumbers {
        for row in 0..<3 {
          let name = "\(start).\(Self.axes[axis])_axis.\(Self.axes[row])"
          if let base {
            let slot = Self.slot(
              RelativeFrame(element: element, base: base), in: &relativeFrames)
            columns.append(
              Column(name: name, source: .relativeAxis, index: 9 * slot + 3 * axis + row))
          } else {
            columns.append(
              Column(
                name: name, source: .matrix(frame), index: 9 * element.index + 3 * row + axis))
          }
        }
      }
    }
    return columns
  }

  /// Resolves points; returns their names.
  mutating func findPoints(
    _ points: [MuJoCoPoint], model: MuJoCoModel
  ) throws(MuJoCoError) -> [String] {
    var names: [String] = []
    for point in points {
      guard point.offset.count == 3, point.offset.allSatisfy(\.isFinite) else {
        throw .invalidValue(
          of: "offset of point '\(point.name ?? point.element)'", value: "\(point.offset)",
          allowed: "3 finite numbers: x, y, z [m]")
      }
      let index = try model.index(point.frame.kind, point.element)
      let body = model.body(of: point.frame, index)
      for (name, offset) in point.all {
        if names.contains(name) { throw .repeatedComponent(list: "list of points", name: name) }
        names.append(name)
        self.points.append(
          Point(frame: point.frame, index: index, body: Int32(body), offset: offset))
      }
    }
    return names
  }

  private static func joints(
    _ names: [String]?, _ model: MuJoCoModel
  ) throws(MuJoCoError) -> [MuJoCoModel.Joint] {
    guard let names else { return model.joints }
    var joints: [MuJoCoModel.Joint] = []
    for name in names { joints.append(model.joint(try model.index(.joint, name))) }
    return joints
  }

  private static func hinges(
    _ names: [String]?, _ model: MuJoCoModel
  ) throws(MuJoCoError) -> [MuJoCoModel.Joint] {
    let joints = try joints(names, model)
    if names != nil, let other = joints.first(where: { $0.type != mjJNT_HINGE }) {
      throw .invalidValue(
        of: "sinCos", value: "asked of joint '\(other.name)', which is no hinge",
        allowed: "hinges alone; take bodyOrientations for free and ball joints")
    }
    return joints.filter { $0.type == mjJNT_HINGE }
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

  /// Places and rotation vectors of free and ball joints in some columns: a state has all coordinates of one or
  /// none.
  func vectors(in columns: [Column], model: MuJoCoModel) -> [StateVector] {
    func three(_ source: Source, _ index: Int) -> Range<Int>? {
      columns.firstIndex { $0.source == source && $0.index == index && $0.minus < 0 }
        .map { $0..<$0 + 3 }
    }
    return model.joints.filter(\.isQuaternion).flatMap { joint in
      let turning = joint.velocity + joint.velocityCount - 3
      let slot = rotations.firstIndex {
        if case .joint(let quaternion) = $0 { quaternion.dof == turning } else { false }
      }
      let places = joint.type == mjJNT_FREE ? three(.position, joint.position) : nil
      return [
        places.map { StateVector($0, rates: three(.velocity, joint.velocity)) },
        slot.flatMap { three(.rotation, 3 * $0) }.map {
          StateVector($0, rates: three(.velocity, turning))
        },
      ].compactMap { $0 }
    }
  }

  private static func jointUnit(ofSensor sensor: Int, _ model: MuJoCoModel) -> String {
    model.joint(Int(model.pointer.pointee.sensor_objid[sensor])).unit
  }

  /// The degree of freedom that a joint's position is of; nil for other numbers.
  func dof(of column: Column, model: MuJoCoModel) -> Int? {
    switch column.source {
    case .rotation:
      guard case .joint(let quaternion) = rotations[column.index / 3] else { return nil }
      return quaternion.dof + column.index % 3
    case .position:
      guard let joint = model.joints.first(where: { $0.positions ~= column.index }) else {
        return nil
      }
      return joint.velocity + column.index - joint.position
    default: return nil
    }
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
    }
    for (slot, orientation) in rotations.enumerated() {
      guard let column = column(.rotation, 3 * slot) else { continue }
      stateRotations.append((slot, column))
      if case .joint(let quaternion) = orientation {
        jacobianRotations.append(
          JacobianRotation(
            dof: quaternion.dof, quaternion: quaternion, slot: slot, column: column))
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
