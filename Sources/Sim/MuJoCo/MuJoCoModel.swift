import CMuJoCo
import CMuJoCoGuard
import Configuration
import Foundation
public import GPSCore

/// The MuJoCo library in use.
public enum MuJoCoVersion {
  /// For instance "4.0.0".
  public static var current: String { String(cString: mj_versionString()) }
}

// Sendable: the model is written only in the initialisers and in `withTimestep`, before any other code
// can see it; every later access, here and in the plants, reads. Plants that displace bodies edit
// copies of their own.
/// A compiled MuJoCo model, shared for reading by every plant of a task.
///
/// Automatic resets are switched off, so that a state that cannot be simulated fails the rollout
/// instead of silently starting another.
public final class MuJoCoModel: @unchecked Sendable {
  /// The file's path, or the name given to a model made from text.
  public let source: String
  /// What the model's reader and compiler warned of, if they did; several warnings with "; " between them.
  public let warning: String?
  /// What it was compiled from.
  package let files: MuJoCoModelFiles
  let pointer: UnsafeMutablePointer<mjModel>

  /// Loads any model file that MuJoCo reads: MJCF or URDF, a binary model (`.mjb`), or an archive of a
  /// model and its files (`.mjz`, `.zip`).
  ///
  /// The copy of a model in a run directory is read from that directory alone.
  ///
  /// - Throws: `MuJoCoError` when there is no such file, or MuJoCo refuses it.
  public convenience init(contentsOf path: String) throws(MuJoCoError) {
    let status: stat?
    do throws(FileProblem) { status = try RegularFile.status(of: path) } catch {
      throw .unreadable(path: path)
    }
    guard let status else { throw .noSuchFile(path: path) }
    // A pipe would never end, a device might not.
    if RegularFile.kind(of: status) != nil || access(path, R_OK) != 0 {
      throw .unreadable(path: path)
    }
    let location = MuJoCoModelFiles.Location(of: path)
    let list = try FileList(source: path)
    for (asked, actual) in location.places { list.place(asked, at: actual) }
    try self.init(
      source: path,
      load: { log, model in mjguard_load(log, location.path, list.pointer, &model) },
      files: { MuJoCoModelFiles(list, in: location) })
  }

  /// Compiles a model given as MJCF text.
  ///
  /// - Parameters:
  ///   - mjcf: the text; files it refers to are sought in the working folder.
  ///   - name: what errors call it.
  /// - Throws: `MuJoCoError` when MuJoCo refuses it.
  public convenience init(mjcf: String, name: String = "model") throws(MuJoCoError) {
    let location = MuJoCoModelFiles.Location(of: "model.xml")
    let list = try FileList(source: name)
    list.put(Array(mjcf.utf8), at: location.path)
    try self.init(
      source: name,
      load: { log, model in mjguard_load(log, location.path, list.pointer, &model) },
      files: { MuJoCoModelFiles(list, in: location) })
  }

  /// The same model with another timestep [s].
  ///
  /// - Throws: `MuJoCoError` when the timestep is not positive or memory is short.
  public func withTimestep(_ timestep: Double) throws(MuJoCoError) -> MuJoCoModel {
    guard timestep > 0, timestep.isFinite else {
      throw .invalidValue(of: "timestep", value: "\(timestep)", allowed: "a positive number [s]")
    }
    let (original, files) = (pointer, files)
    let copy = try MuJoCoModel(
      source: source, load: { log, model in mjguard_copy_model(log, &model, original) },
      files: { files }, warning: warning)
    copy.pointer.pointee.opt.timestep = timestep
    return copy
  }

  private init(
    source: String,
    load: (OpaquePointer, inout UnsafeMutablePointer<mjModel>?) -> mjguard_result,
    files: () -> MuJoCoModelFiles, warning: String? = nil
  ) throws(MuJoCoError) {
    let log = try GuardLog(source: source)
    var model: UnsafeMutablePointer<mjModel>?
    guard load(log.pointer, &model) == mjguard_ok, let model else {
      throw .invalidModel(source: source, reason: log.errorText)
    }
    // MuJoCo takes a NaN for "not given", and warns; a model that says so is not what was meant.
    let reason = log.warningText.contains("'NaN'") ? "it contains a NaN" : Self.badNumber(in: model)
    if let reason {
      mj_deleteModel(model)
      throw .invalidModel(source: source, reason: reason)
    }
    model.pointee.opt.disableflags |= Int32(mjDSBL_AUTORESET.rawValue)
    self.source = source
    self.files = files()
    pointer = model
    self.warning = log.warningCount > 0 ? log.warningText : warning
  }

  deinit { mj_deleteModel(pointer) }

  /// What MuJoCo's reader lets pass but nothing can be simulated with; nil if all is well.
  private static func badNumber(in pointer: UnsafeMutablePointer<mjModel>) -> String? {
    let model = pointer.pointee
    if !(model.opt.timestep > 0 && model.opt.timestep.isFinite) {
      return "the timestep is \(model.opt.timestep)"
    }
    let (bodies, joints, dofs) = (Int(model.nbody), Int(model.njnt), Int(model.nv))
    let gravity = model.opt.gravity
    if !(gravity.0 + gravity.1 + gravity.2).isFinite { return "gravity is not finite" }
    let fields: [(String, UnsafeMutablePointer<Double>?, Int)] = [
      ("a joint's reference position", model.qpos0, Int(model.nq)),
      ("a body's position", model.body_pos, 3 * bodies),
      ("a body's orientation", model.body_quat, 4 * bodies),
      ("a body's centre of mass", model.body_ipos, 3 * bodies),
      ("a body's mass", model.body_mass, bodies),
      ("a body's inertia", model.body_inertia, 3 * bodies),
      ("a joint's anchor", model.jnt_pos, 3 * joints),
      ("a joint's axis", model.jnt_axis, 3 * joints),
      ("a joint's stiffness", model.jnt_stiffness, joints),
      ("a joint's friction", model.dof_frictionloss, dofs),
      ("a joint's armature", model.dof_armature, dofs),
      ("a joint's damping", model.dof_damping, dofs),
      ("a geom's position", model.geom_pos, 3 * Int(model.ngeom)),
      ("a site's position", model.site_pos, 3 * Int(model.nsite)),
      ("an actuator's gear", model.actuator_gear, 6 * Int(model.nactuator)),
      ("an actuator's gain", model.actuator_gainprm, Int(mjNGAIN) * Int(model.nactuator)),
    ]
    for (name, numbers, count) in fields {
      guard let numbers else { continue }
      for i in 0..<count where !numbers[i].isFinite { return "\(name) is not finite" }
    }
    for i in 0..<Int(model.nhfielddata) where !model.hfield_data[i].isFinite {
      return "an elevation of a height field is not finite"
    }
    // One side may be open. A binary model can hold what the compiler would have refused.
    for i in 0..<Int(model.nu) where model.actuator_ctrllimited[i] {
      let (lower, upper) = (model.actuator_ctrlrange[2 * i], model.actuator_ctrlrange[2 * i + 1])
      if !(lower <= upper && lower < .infinity && upper > -.infinity) {
        return "a control's range is [\(lower), \(upper)]"
      }
    }
    return nil
  }
}

extension MuJoCoModel {
  /// Seconds of one MuJoCo step.
  public var timestep: Double { pointer.pointee.opt.timestep }
  /// How many numbers give the joint positions (a ball joint takes 4, a free joint 7).
  public var jointPositionCount: Int { Int(pointer.pointee.nq) }
  /// How many numbers give the joint velocities (a ball joint takes 3, a free joint 6).
  public var jointVelocityCount: Int { Int(pointer.pointee.nv) }
  /// How many controls the actuators have.
  public var controlCount: Int { Int(pointer.pointee.nu) }
  /// The range of each control where the model limits it (`ctrlrange`); a muscle's excitation lies
  /// between 0 and 1 besides. Nil if no control is limited.
  ///
  /// Limits of forces and activations (`forcerange`, `actrange`) bound what a control leads to and not
  /// the control itself: MuJoCo keeps them inside the simulation.
  public var controlLimits: ControlLimits? {
    let model = pointer.pointee
    var limits = controlRanges
    for actuator in 0..<count(.actuator)
    where model.actuator_dyntype[actuator] == Int32(mjDYN_MUSCLE.rawValue) {
      let i = Int(model.actuator_ctrladr[actuator])
      var own = limits ?? .none(controlCount)
      own.lower[i] = min(max(own.lower[i], 0), 1)
      own.upper[i] = min(max(own.upper[i], 0), 1)
      limits = own
    }
    return limits
  }

  /// The range of each control where the model limits it; nil if it limits none.
  private var controlRanges: ControlLimits? {
    let model = pointer.pointee
    if model.opt.disableflags & Int32(mjDSBL_CLAMPCTRL.rawValue) != 0 { return nil }
    let limited = (0..<controlCount).filter { model.actuator_ctrllimited[$0] }
    if limited.isEmpty { return nil }
    var limits = ControlLimits.none(controlCount)
    for i in limited {
      limits.lower[i] = model.actuator_ctrlrange[2 * i]
      limits.upper[i] = model.actuator_ctrlrange[2 * i + 1]
    }
    return limits
  }
  /// Numbers of state that actuators have of their own.
  package var activationCount: Int { Int(pointer.pointee.na) }
  /// Whether MuJoCo's own finite differences of a step apply. They keep within control ranges, and know
  /// nothing of the bounds that a muscle has without one.
  var canTransitionByDifferences: Bool {
    let model = pointer.pointee
    return model.opt.integrator != Int32(mjINT_RK4.rawValue) && model.nhistory == 0
      && model.nplugin == 0 && controlLimits == controlRanges
  }

  /// What the next step depends on beside positions, velocities and activations, and no state can hold;
  /// nil if there is nothing.
  var hiddenState: String? {
    let model = pointer.pointee
    for i in 0..<count(.actuator) where model.actuator_delay[i] > 0 {
      return "the delayed controls of actuator '\(name(.actuator, i))' (delay)"
    }
    if model.npluginstate > 0 { return "the memory of its plugins" }
    if model.opt.enableflags & Int32(mjENBL_SLEEP.rawValue) != 0 {
      return "which bodies sleep (<flag sleep>)"
    }
    return nil
  }

  /// The sensor that a number of `sensordata` belongs to.
  func sensor(at address: Int) -> Int {
    let model = pointer.pointee
    return (0..<count(.sensor)).first {
      let first = Int(model.sensor_adr[$0])
      return (first..<first + Int(model.sensor_dim[$0])).contains(address)
    } ?? 0
  }

  /// Whether a sensor tells the time, however late it is.
  func isClock(sensor: Int) -> Bool {
    let model = pointer.pointee
    return model.sensor_type[sensor] == Int32(mjSENS_CLOCK.rawValue)
      && model.sensor_cutoff[sensor] == 0
  }

  /// Whether a sensor's reading depends on more than the present: it is delayed, or read at intervals.
  func remembers(sensor: Int) -> Bool {
    let model = pointer.pointee
    return model.sensor_delay[sensor] > 0 || model.sensor_interval[2 * sensor] > 0
  }
  /// Joints by their names, in the model's order; one without a name is called by its number.
  public var jointNames: [String] { names(.joint) }
  /// Bodies by their names, "world" first.
  public var bodyNames: [String] { names(.body) }
  /// Sites by their names.
  public var siteNames: [String] { names(.site) }
  /// Sensors by their names.
  public var sensorNames: [String] { names(.sensor) }
  /// Keyframes by their names.
  public var keyframeNames: [String] { names(.keyframe) }
  /// Controls by the names of their actuators, numbered where one actuator takes several.
  public var controlNames: [String] {
    let model = pointer.pointee
    let names = names(.actuator)
    var taken = Set(names)
    var result: [String] = []
    for (actuator, name) in names.enumerated() {
      let count = Int(model.actuator_ctrlnum[actuator])
      result += count == 1 ? [name] : (0..<count).map { unused("\(name).\($0)", &taken) }
    }
    return result
  }

  /// A plant state moved by numbers for the degrees of freedom of its positions, then of its velocities,
  /// then for what follows; orientations are turned about the bodies' own axes.
  func displaced(_ plantState: [Double], by displacement: [Double]) -> [Double] {
    var moved = plantState
    let (nq, nv) = (jointPositionCount, jointVelocityCount)
    for joint in joints where joint.velocities.upperBound <= displacement.count {
      let direct = joint.isQuaternion ? joint.velocityCount - 3 : joint.velocityCount
      for k in 0..<direct { moved[joint.position + k] += displacement[joint.velocity + k] }
      guard joint.isQuaternion else { continue }
      let (at, from) = (joint.quaternion, joint.velocity + direct)
      let turn = SIMD3(displacement[from], displacement[from + 1], displacement[from + 2])
      let turned =
        Rotation(w: moved[at], v: SIMD3(moved[at + 1], moved[at + 2], moved[at + 3]))
        * Rotation(vector: turn)
      moved[at] = turned.w
      for axis in 0..<3 { moved[at + 1 + axis] = turned.v[axis] }
    }
    for i in nv..<max(nv, displacement.count) { moved[nq - nv + i] += displacement[i] }
    return moved
  }

  /// How many numbers a start may have beyond joint positions and velocities.
  public var startRestCount: Int { Int(mj_stateSize(pointer, mjguard_rest)) }

  /// Where among those numbers the activations are, after the time.
  var startActivations: Range<Int> { 1..<1 + activationCount }
  /// Where among those numbers the controls are.
  var startControls: Range<Int> { 1 + activationCount..<1 + activationCount + controlCount }
  /// Where among those numbers the positions of mocap bodies are, three each.
  var startMocapPositions: Range<Int> {
    startControls.upperBound..<startControls.upperBound + 3 * Int(pointer.pointee.nmocap)
  }
  /// Where among those numbers the quaternions of mocap bodies are, four each.
  var startMocapQuaternions: Range<Int> {
    let first = startMocapPositions.upperBound
    return first..<first + 4 * Int(pointer.pointee.nmocap)
  }

  func startRest(keyframe: Int?) throws(MuJoCoError) -> [Double] {
    let log = try GuardLog(source: source)
    var data: UnsafeMutablePointer<mjData>?
    var rest = [Double](repeating: 0, count: startRestCount)
    defer { mj_deleteData(data) }
    guard mjguard_make_data(log.pointer, pointer, &data) == mjguard_ok, let made = data,
      mjguard_read_rest(log.pointer, pointer, made, Int32(keyframe ?? -1), &rest) == mjguard_ok
    else {
      // After an error the data is in no defined state, but it can be deleted.
      throw .simulator(source: source, reason: log.errorText)
    }
    return rest
  }

  /// Bytes that a plant takes, but for what contacts take of its arena.
  ///
  /// - Parameter hasOwnModel: whether it changes the model, and so has one of its own.
  /// - Returns: 0 where its data cannot be made.
  package func plantBytes(hasOwnModel: Bool) -> Int {
    var data: UnsafeMutablePointer<mjData>?
    defer { mj_deleteData(data) }
    guard let log = try? GuardLog(source: source),
      mjguard_make_data(log.pointer, pointer, &data) == mjguard_ok, let made = data
    else { return 0 }
    return Int(made.pointee.nbuffer) + (hasOwnModel ? Int(mj_sizeModel(pointer)) : 0)
  }

  /// The numbers a plant is reset to: joint positions, then joint velocities, in the model's order.
  ///
  /// Where anything else differs from what a reset model has, `startRestCount` more numbers follow: the time,
  /// activations, controls, positions and orientations of mocap bodies, and plastic deformations. A keyframe
  /// says nothing of delayed controls, delayed sensors and plugins: they start as in a reset model.
  ///
  /// - Parameters:
  ///   - keyframe: the keyframe that gives all numbers which are not given here; nil for the model's
  ///     reference configuration, at rest.
  ///   - jointPositions: nq numbers.
  ///   - jointVelocities: nv numbers.
  ///   - activations: a number for each activation, in the order of the actuators.
  ///   - controls: the controls before the first step, which an initial controller takes for those that hold
  ///     the start; a number for each control of the model's actuators.
  ///   - mocapPositions: x, y, z of mocap bodies by their names [m].
  ///   - mocapQuaternions: w, x, y, z of mocap bodies by their names; they are normalised.
  /// - Returns: all of them in one list.
  /// - Throws: `MuJoCoError` when there is no such keyframe or body, a list has the wrong length, a number is
  ///   not finite, or memory is short.
  public func plantState(
    keyframe: String? = nil, jointPositions: [Double]? = nil, jointVelocities: [Double]? = nil,
    activations: [Double]? = nil, controls: [Double]? = nil,
    mocapPositions: [String: [Double]] = [:], mocapQuaternions: [String: [Double]] = [:]
  ) throws(MuJoCoError) -> [Double] {
    let model = pointer.pointee
    let (nq, nv) = (jointPositionCount, jointVelocityCount)
    var positions = Array(UnsafeBufferPointer(start: model.qpos0, count: nq))
    var velocities = [Double](repeating: 0, count: nv)
    let reset = try startRest(keyframe: nil)
    var rest = reset
    if let keyframe {
      let key = try index(.keyframe, keyframe)
      positions = Array(UnsafeBufferPointer(start: model.key_qpos + key * nq, count: nq))
      velocities = Array(UnsafeBufferPointer(start: model.key_qvel + key * nv, count: nv))
      rest = try startRest(keyframe: key)
    }
    if let jointPositions {
      let joints = "the joints are \(jointNames.joined(separator: ", "))"
      positions = try Self.checked(jointPositions, nq, "joint positions", joints)
    }
    if let jointVelocities {
      let joints = "the joints are \(jointNames.joined(separator: ", "))"
      velocities = try Self.checked(jointVelocities, nv, "joint velocities", joints)
    }
    if let activations {
      rest.replaceSubrange(
        startActivations,
        with: try Self.checked(
          activations, activationCount, "activations", "one for each that an actuator has"))
    }
    if let controls {
      rest.replaceSubrange(
        startControls,
        with: try Self.checked(
          controls, controlCount, "controls",
          "the controls are \(controlNames.joined(separator: ", "))"))
    }
    for (name, position) in mocapPositions.sorted(by: { $0.key < $1.key }) {
      let first = startMocapPositions.lowerBound + 3 * (try mocap(name))
      rest.replaceSubrange(
        first..<first + 3,
        with: try Self.checked(position, 3, "position of mocap body '\(name)'", "x, y, z [m]"))
    }
    for (name, quaternion) in mocapQuaternions.sorted(by: { $0.key < $1.key }) {
      let first = startMocapQuaternions.lowerBound + 4 * (try mocap(name))
      let what = "quaternion of mocap body '\(name)'"
      let numbers = try Self.checked(quaternion, 4, what, "w, x, y, z")
      let length = numbers.reduce(0) { $0 + $1 * $1 }.squareRoot()
      guard length > 1e-9, length.isFinite else {
        throw .invalidValue(of: what, value: "\(numbers)", allowed: "four numbers, not all zero")
      }
      rest.replaceSubrange(first..<first + 4, with: numbers.map { $0 / length })
    }
    return positions + velocities + (rest == reset ? [] : rest)
  }

  private static func checked(
    _ numbers: [Double], _ count: Int, _ what: String, _ reason: String
  ) throws(MuJoCoError) -> [Double] {
    guard numbers.count == count else {
      throw .wrongCount(of: what, expected: count, actual: numbers.count, reason: reason)
    }
    if let bad = numbers.first(where: { !$0.isFinite }) {
      throw .invalidValue(of: what, value: "\(bad)", allowed: "finite numbers")
    }
    return numbers
  }

  /// The number of a mocap body among the model's mocap bodies.
  func mocap(_ name: String) throws(MuJoCoError) -> Int {
    let mocap = Int(pointer.pointee.body_mocapid[try index(.body, name)])
    guard mocap >= 0 else {
      let names = mocapNames
      throw .invalidValue(
        of: "a mocap body", value: "'\(name)', which is none",
        allowed: names.isEmpty
          ? "a body with mocap=\"true\", of which the model has none"
          : "one of \(names.joined(separator: ", "))")
    }
    return mocap
  }

  /// Mocap bodies that others are welded or connected to, by their names.
  package var drivingMocapNames: [String] {
    let model = pointer.pointee
    let kinds = [mjEQ_CONNECT, mjEQ_WELD].map { Int32($0.rawValue) }
    var driving: Set<Int> = []
    for i in 0..<Int(model.neq) where kinds.contains(model.eq_type[i]) && model.eq_active0[i] {
      for object in [Int(model.eq_obj1id[i]), Int(model.eq_obj2id[i])] where object >= 0 {
        let isSite = model.eq_objtype[i] == Int32(mjOBJ_SITE.rawValue)
        driving.insert(isSite ? Int(model.site_bodyid[object]) : object)
      }
    }
    return driving.filter { model.body_mocapid[$0] >= 0 }.sorted().map { name(.body, $0) }
  }

  /// How large the model is [m].
  package var extent: Double { pointer.pointee.stat.extent }

  /// Mocap bodies by their names, in the model's order.
  public var mocapNames: [String] {
    (0..<count(.body)).filter { pointer.pointee.body_mocapid[$0] >= 0 }.map { name(.body, $0) }
  }
}

extension MuJoCoModel {
  /// A kind of named element.
  enum Kind: String {
    case joint, body, site, geom, sensor, keyframe, actuator

    var object: mjtObj {
      switch self {
      case .joint: mjOBJ_JOINT
      case .body: mjOBJ_BODY
      case .site: mjOBJ_SITE
      case .geom: mjOBJ_GEOM
      case .sensor: mjOBJ_SENSOR
      case .keyframe: mjOBJ_KEY
      case .actuator: mjOBJ_ACTUATOR
      }
    }
  }

  func count(_ kind: Kind) -> Int {
    let model = pointer.pointee
    return switch kind {
    case .joint: Int(model.njnt)
    case .body: Int(model.nbody)
    case .site: Int(model.nsite)
    case .geom: Int(model.ngeom)
    case .sensor: Int(model.nsensor)
    case .keyframe: Int(model.nkey)
    case .actuator: Int(model.nactuator)
    }
  }

  /// The name of an element; one without a name gets its kind and number, and as many underscores as make
  /// it no other's.
  func name(_ kind: Kind, _ index: Int) -> String {
    let object = Int32(kind.object.rawValue)
    if let name = mj_id2name(pointer, object, Int32(index)), name.pointee != 0 {
      return String(cString: name)
    }
    var name = "\(kind.rawValue)_\(index)"
    while mj_name2id(pointer, object, name) >= 0 { name += "_" }
    return name
  }

  func names(_ kind: Kind) -> [String] { (0..<count(kind)).map { name(kind, $0) } }

  func index(_ kind: Kind, _ name: String) throws(MuJoCoError) -> Int {
    let names = names(kind)
    guard let index = names.firstIndex(of: name) else {
      throw .unknownName(
        kind: kind.rawValue, name: name, source: source,
        available: nearestNames(to: name, among: names))
    }
    return index
  }

  /// The number of the body that something belongs to.
  func body(of frame: MuJoCoFrame, _ index: Int) -> Int {
    switch frame {
    case .body: index
    case .site: Int(pointer.pointee.site_bodyid[index])
    case .geom: Int(pointer.pointee.geom_bodyid[index])
    }
  }

  /// A joint and where its numbers are.
  struct Joint {
    let index: Int
    let name: String
    let type: mjtJoint
    /// Address of its first position in qpos, and how many there are.
    let position: Int
    let positionCount: Int
    /// Address of its first velocity in qvel, and how many there are.
    let velocity: Int
    let velocityCount: Int

    var isQuaternion: Bool { type == mjJNT_FREE || type == mjJNT_BALL }
    /// Address of its quaternion in qpos, if it has one: after a free joint's x, y, z.
    var quaternion: Int { position + positionCount - 4 }
    /// Where its positions are in qpos.
    var positions: Range<Int> { position..<position + positionCount }
    /// Where its velocities are in qvel.
    var velocities: Range<Int> { velocity..<velocity + velocityCount }
    /// Unit of a hinge or a slide; the numbers of other joints differ in theirs.
    var unit: String {
      switch type {
      case mjJNT_SLIDE: "m"
      case mjJNT_HINGE: "rad"
      default: ""
      }
    }
  }

  func joint(_ index: Int) -> Joint {
    let model = pointer.pointee
    let type = mjtJoint(rawValue: UInt32(model.jnt_type[index]))
    let (positions, velocities) =
      switch type {
      case mjJNT_FREE: (7, 6)
      case mjJNT_BALL: (4, 3)
      default: (1, 1)
      }
    return Joint(
      index: index, name: name(.joint, index), type: type,
      position: Int(model.jnt_qposadr[index]), positionCount: positions,
      velocity: Int(model.jnt_dofadr[index]), velocityCount: velocities)
  }

  var joints: [Joint] { (0..<count(.joint)).map(joint) }
}

/// A name with as many underscores as make it none of those taken, to which it is added.
func unused(_ name: String, _ taken: inout Set<String>) -> String {
  var name = name
  while !taken.insert(name).inserted { name += "_" }
  return name
}

/// Where the errors and warnings of guarded calls go; owned by one model or plant.
final class GuardLog {
  let pointer: OpaquePointer

  init(source: String) throws(MuJoCoError) {
    guard let pointer = mjguard_make_log() else {
      throw .simulator(source: source, reason: "out of memory")
    }
    self.pointer = pointer
  }

  var errorText: String { String(cString: mjguard_error_text(pointer)) }
  var warningText: String { String(cString: mjguard_warning_text(pointer)) }
  var warningCount: Int { mjguard_warning_count(pointer) }

  deinit { mjguard_free_log(pointer) }
}
