import CMuJoCo
import CMuJoCoGuard
import Foundation
public import GPSCore

/// A MuJoCo model that can be reset and stepped; owns the simulation's data.
///
/// What it reports, kinematics, sensors and Jacobians included, belongs to the very joint positions
/// and velocities it reports, not to those of one MuJoCo step before.
public final class MuJoCoPlant: Plant {
  private let interface: MuJoCoInterface
  private let log: GuardLog
  private let stepping: mjguard_stepping
  private let (nq, nv, nu): (Int, Int, Int)
  /// m: the actuators' controls and those of mocap bodies.
  private let controlCount: Int
  /// Numbers that a start may have beyond joint positions and velocities.
  private let restCount: Int

  /// Nil after MuJoCo raised an error: what it was working on is then in no defined state.
  private(set) var data: UnsafeMutablePointer<mjData>?
  /// The model in use: the shared one, or the copy.
  private(set) var model: UnsafePointer<mjModel>
  /// A copy of the model with displaced bodies and scaled parameters, made when first needed.
  private var copy: UnsafeMutablePointer<mjModel>?
  /// What is changed in the copy; nil if there is no usable copy.
  private var copyChanges: (offsets: [String: [Double]], factors: [ModelParameter: Double])?

  private let initial: UnsafeMutablePointer<Double>
  private let goal: UnsafeMutablePointer<Double>
  /// What is computed from the data, one after the other: see `DerivedPlaces`.
  private let derived: UnsafeMutablePointer<Double>
  private let places: DerivedPlaces
  private let jacobians: UnsafeMutablePointer<Double>
  /// The present rotation vectors of the quaternions that are shown, 3 numbers each.
  private let rotations: UnsafeMutablePointer<Double>
  private let orientations: UnsafeMutableBufferPointer<MuJoCoLayout.Orientation>
  /// Whether a rotation vector is of a frame, for which a start has to be simulated.
  private let turnsFrames: Bool
  /// What is subtracted from a number that is read as it is.
  private let zero: UnsafeMutablePointer<Double>
  /// Where the state's and the observation's numbers are, in the present data.
  private let state: UnsafeMutableBufferPointer<Place>
  private let observation: UnsafeMutableBufferPointer<Place>
  private let points: UnsafeMutableBufferPointer<MuJoCoLayout.Point>
  private let pointBodies: UnsafeMutableBufferPointer<Int32>
  private let pointPositions: UnsafeMutablePointer<Double>
  private let objectTypes: UnsafeMutableBufferPointer<Int32>
  private let objects: UnsafeMutableBufferPointer<Int32>
  private let momenta: UnsafeMutableBufferPointer<Int32>
  private let touched: UnsafeMutableBufferPointer<Int32>
  private let angles: UnsafeMutableBufferPointer<Int>
  private let relativeFrames: UnsafeMutableBufferPointer<MuJoCoLayout.RelativeFrame>

  /// The controlled mocap bodies, and their orientations at the start, four numbers each.
  private let mocaps: UnsafeMutableBufferPointer<MuJoCoLayout.Mocap>
  private let mocapOrientations: UnsafeMutablePointer<Double>

  /// Where each kind of derived number begins.
  private struct DerivedPlaces {
    var momenta: Int
    var forces: Int
    var sinCos: Int
    var axes: Int
    var count: Int

    init(_ layout: MuJoCoLayout) {
      momenta = 6 * layout.moving.count
      forces = momenta + 6 * layout.momenta.count
      sinCos = forces + 3 * layout.touched.count
      axes = sinCos + 2 * layout.angles.count
      count = axes + 9 * layout.relativeFrames.count
    }
  }

  /// Where one number is: `value` less `minus`.
  private struct Place {
    var value: UnsafePointer<Double>
    var minus: UnsafePointer<Double>
  }

  init(_ interface: MuJoCoInterface) throws(MuJoCoError) {
    let shared = UnsafePointer(interface.model.pointer)
    let raw = shared.pointee
    let layout = interface.layout
    self.interface = interface
    log = try GuardLog(source: interface.model.source)
    model = shared
    (nq, nv, nu) = (Int(raw.nq), Int(raw.nv), Int(raw.nu))
    controlCount = interface.controlCount
    let canSplit =
      [mjINT_EULER, mjINT_RK4, mjINT_IMPLICIT, mjINT_IMPLICITFAST].contains {
        raw.opt.integrator == Int32($0.rawValue)
      } && raw.nhistory == 0 && raw.nplugin == 0
      && raw.opt.enableflags & Int32(mjENBL_SLEEP.rawValue) == 0
    // A mocap body's place is part of the positions, which the first half of a step begins with.
    stepping = canSplit && layout.mocaps.isEmpty ? mjguard_split : mjguard_whole
    restCount = interface.model.startRestCount
    initial = .allocate(capacity: nq + nv + restCount)
    goal = .allocate(capacity: interface.goalDimension)
    goal.initialize(repeating: 0, count: interface.goalDimension)
    places = DerivedPlaces(layout)
    derived = .allocate(capacity: places.count)
    derived.initialize(repeating: 0, count: places.count)
    jacobians = .allocate(capacity: 3 * nv * layout.points.count)
    jacobians.initialize(repeating: 0, count: 3 * nv * layout.points.count)
    rotations = .allocate(capacity: 3 * layout.rotations.count)
    rotations.initialize(repeating: 0, count: 3 * layout.rotations.count)
    orientations = Self.buffer(layout.rotations)
    turnsFrames = layout.rotations.contains { if case .frame = $0 { true } else { false } }
    zero = .allocate(capacity: 1)
    zero.initialize(to: 0)
    let nowhere = Place(value: zero, minus: zero)
    state = Self.buffer(Array(repeating: nowhere, count: layout.state.count))
    observation = Self.buffer(Array(repeating: nowhere, count: layout.observation.count))
    mocaps = Self.buffer(layout.mocaps)
    mocapOrientations = .allocate(capacity: 4 * layout.mocaps.count)
    mocapOrientations.initialize(repeating: 0, count: 4 * layout.mocaps.count)
    points = Self.buffer(layout.points)
    pointBodies = Self.buffer(layout.points.map(\.body))
    pointPositions = .allocate(capacity: 3 * layout.points.count)
    pointPositions.initialize(repeating: 0, count: 3 * layout.points.count)
    objectTypes = Self.buffer(layout.moving.map { Int32($0.frame.object.rawValue) })
    objects = Self.buffer(layout.moving.map { Int32($0.index) })
    momenta = Self.buffer(layout.momenta)
    touched = Self.buffer(layout.touched)
    angles = Self.buffer(layout.angles)
    relativeFrames = Self.buffer(layout.relativeFrames)
    try makeData()
  }

  private static func buffer<T>(_ list: [T]) -> UnsafeMutableBufferPointer<T> {
    let buffer = UnsafeMutableBufferPointer<T>.allocate(capacity: list.count)
    _ = buffer.initialize(from: list)
    return buffer
  }

  deinit {
    if let data { mj_deleteData(data) }
    if let copy { mj_deleteModel(copy) }
    initial.deallocate()
    goal.deallocate()
    derived.deallocate()
    jacobians.deallocate()
    rotations.deallocate()
    orientations.deallocate()
    zero.deallocate()
    state.deallocate()
    observation.deallocate()
    mocaps.deallocate()
    mocapOrientations.deallocate()
    points.deallocate()
    pointBodies.deallocate()
    pointPositions.deallocate()
    objectTypes.deallocate()
    objects.deallocate()
    momenta.deallocate()
    touched.deallocate()
    angles.deallocate()
    relativeFrames.deallocate()
  }

  /// How many warnings MuJoCo has logged that did not fail a rollout, since the plant was made.
  public var warningCount: Int { log.warningCount }

  /// The text of the last warning MuJoCo logged, if it logged one.
  public var lastWarning: String? { log.warningCount > 0 ? log.warningText : nil }

  private func makeData() throws(MuJoCoError) {
    // Through a local variable: while no access to `data` lasts longer than a load or a store, the
    // compiler need not check at run time, in every step, that accesses do not overlap.
    var made: UnsafeMutablePointer<mjData>?
    let result = mjguard_make_data(log.pointer, model, &made)
    data = made
    guard result == mjguard_ok else {
      throw .simulator(source: interface.model.source, reason: log.errorText)
    }
    // Fixed for as long as the data lives, so that a step only copies numbers.
    for (i, column) in interface.layout.state.enumerated() { state[i] = place(of: column) }
    for (i, column) in interface.layout.observation.enumerated() {
      observation[i] = place(of: column)
    }
  }

  private func place(of column: MuJoCoLayout.Column) -> Place {
    guard let data else { return Place(value: zero, minus: zero) }
    let numbers = numbers(of: column.source, data)
    return Place(
      value: numbers + column.index,
      minus: column.minus < 0
        ? UnsafePointer(zero)
        : (column.minusSource.map { self.numbers(of: $0, data) } ?? numbers) + column.minus)
  }

  private func numbers(
    of source: MuJoCoLayout.Source, _ data: UnsafePointer<mjData>
  ) -> UnsafePointer<Double> {
    switch source {
    case .position: UnsafePointer(data.pointee.qpos)
    case .rotation: UnsafePointer(rotations)
    case .velocity: UnsafePointer(data.pointee.qvel)
    case .activation: UnsafePointer(data.pointee.act)
    case .sensor: UnsafePointer(data.pointee.sensordata)
    case .place(let frame): data.frames(frame).positions
    case .matrix(let frame): data.frames(frame).matrices
    case .centerOfMass: UnsafePointer(data.pointee.subtree_com)
    case .motion: UnsafePointer(derived)
    case .momentum: UnsafePointer(derived + places.momenta)
    case .contactForce: UnsafePointer(derived + places.forces)
    case .sinCos: UnsafePointer(derived + places.sinCos)
    case .relativeAxis: UnsafePointer(derived + places.axes)
    case .goal: UnsafePointer(goal)
    }
  }

  private func discardData() {
    if let data { mj_deleteData(data) }
    data = nil
  }

  /// Puts the system at the start of a rollout: displaces bodies from where the model has them, scales its
  /// parameters, sets
  /// joint positions and velocities, and clears everything else, controls and activations included, unless
  /// the start holds them too (see `MuJoCoModel.plantState`).
  ///
  /// Quaternions are normalised. A rotation vector begins as the one nearest to that of the condition's
  /// own start, which is of at most half a turn: noise does not make it jump.
  ///
  /// - Throws: `PlantFailure` when the numbers cannot be simulated, `MuJoCoError` when the condition
  ///   does not fit the model.
  public func reset(to condition: Condition, plantState: Span<Double>) throws {
    let hasRest = plantState.count == nq + nv + restCount
    precondition(
      hasRest || plantState.count == nq + nv,
      "\(plantState.count) numbers for \(nq) joint positions and \(nv) joint velocities")
    precondition(
      condition.goal.count == interface.goalDimension,
      "a goal of \(condition.goal.count) numbers for \(interface.goalDimension)")
    if data == nil { try makeData() }
    try changeModel(condition.bodyOffsets, condition.modelFactors)
    guard let data else { return }
    for i in condition.goal.indices { goal[i] = condition.goal[i] }
    for i in 0..<plantState.count { initial[i] = plantState[i] }
    if hasRest { displaceMocapBodies(condition.bodyOffsets) }
    try checkState(positions: initial, velocities: initial + nq)
    // Without noise, a rotation vector is of at most half a turn.
    for slot in orientations.indices { setRotation(slot, .zero) }
    if !orientations.isEmpty, condition.initialPlantState.count >= nq + nv {
      try condition.initialPlantState.withUnsafeBufferPointer { start in
        guard let start = start.baseAddress else { return }
        if turnsFrames {
          try finish(reset(data, start, start + nq, hasRest))
        } else {
          turn(data, by: start)
        }
      }
    }
    try finish(reset(data, initial, initial + nq, hasRest))
    if mocaps.count > 0, let quaternions = data.pointee.mocap_quat {
      for i in 0..<mocaps.count {
        (mocapOrientations + 4 * i).update(from: quaternions + 4 * mocaps[i].mocap, count: 4)
      }
    }
  }

  private func reset(
    _ data: UnsafeMutablePointer<mjData>, _ positions: UnsafePointer<Double>,
    _ velocities: UnsafePointer<Double>, _ hasRest: Bool
  ) -> mjguard_result {
    mjguard_reset(
      log.pointer, model, data, positions, velocities, hasRest ? initial + nq + nv : nil,
      interface.layout.needsAccelerations ? 1 : 0)
  }

  /// Displaces the mocap bodies in the numbers that the plant is about to be reset to.
  private func displaceMocapBodies(_ offsets: [String: [Double]]) {
    let model = interface.model
    let positions = initial + nq + nv + model.startMocapPositions.lowerBound
    for (name, offset) in offsets {
      guard let body = try? interface.displaceableBody(name) else { continue }
      let mocap = Int(model.pointer.pointee.body_mocapid[body])
      if mocap < 0 { continue }
      for axis in 0..<3 { positions[3 * mocap + axis] += offset[axis] }
    }
  }

  /// Holds the control for the interface's number of MuJoCo steps.
  ///
  /// MuJoCo itself clamps controls to their ranges where the model asks for it.
  ///
  /// - Throws: `PlantFailure` when a control is not finite, the simulation becomes unstable, a joint
  ///   leaves the limit, or MuJoCo raises an error; the plant must then be reset.
  public func step(control: Span<Double>) throws {
    precondition(control.count == controlCount, "\(control.count) controls for \(controlCount)")
    guard let data else { throw PlantFailure("the plant was not reset after an error of MuJoCo") }
    for i in 0..<controlCount where !control[i].isFinite {
      throw PlantFailure("control '\(interface.controlNames[i])' is \(control[i])")
    }
    if nu > 0, let ctrl = data.pointee.ctrl { for i in 0..<nu { ctrl[i] = control[i] } }
    place(mocaps, under: control, in: data)
    let result = mjguard_step(
      log.pointer, model, data, stepping, Int32(truncatingIfNeeded: interface.substeps),
      interface.layout.needsAccelerations ? 1 : 0)
    try finish(result)
  }

  /// Puts the controlled mocap bodies where their controls want them.
  private func place(
    _ mocaps: UnsafeMutableBufferPointer<MuJoCoLayout.Mocap>, under control: Span<Double>,
    in data: UnsafeMutablePointer<mjData>
  ) {
    guard mocaps.count > 0, let positions = data.pointee.mocap_pos,
      let quaternions = data.pointee.mocap_quat
    else { return }
    for i in 0..<mocaps.count {
      let (mocap, first) = (mocaps[i].mocap, mocaps[i].control)
      for axis in 0..<3 { positions[3 * mocap + axis] = control[first + axis] }
      if mocaps[i].rotates {
        let turn = SIMD3(control[first + 3], control[first + 4], control[first + 5])
        let turned = Rotation(vector: turn) * Rotation(mocapOrientations + 4 * i)
        quaternions[4 * mocap] = turned.w
        for axis in 0..<3 { quaternions[4 * mocap + 1 + axis] = turned.v[axis] }
      }
    }
  }

  /// Steps like `step`, and writes the derivative of joint positions, velocities and activations after
  /// the step by those before and by the controls, by MuJoCo's finite differences.
  ///
  /// - Parameters:
  ///   - control: m numbers.
  ///   - transition: A (s × s), then B (s × m), row-major, with s = nq + nv + na; written.
  ///   - scratch: s (2 s + m) numbers.
  /// - Throws: `PlantFailure`, as `step` does.
  func transition(
    control: Span<Double>, into transition: inout [Double], scratch: inout [Double]
  ) throws(PlantFailure) {
    guard let data, let ctrl = data.pointee.ctrl else {
      throw PlantFailure("the plant was not reset after an error of MuJoCo")
    }
    for i in 0..<nu { ctrl[i] = control[i] }
    let result = mjguard_transition(
      log.pointer, model, data, Int32(truncatingIfNeeded: interface.substeps), &transition,
      &scratch, interface.layout.needsAccelerations ? 1 : 0)
    try finish(result)
  }

  /// Brings the rotation vectors to the present orientations, each to the nearest to the one before;
  /// joints' are read from `positions`.
  private func turn(_ data: UnsafePointer<mjData>, by positions: UnsafePointer<Double>) {
    for slot in orientations.indices {
      let now: Rotation
      switch orientations[slot] {
      case .joint(let quaternion):
        now = quaternion.reference.inverse * Rotation(positions + quaternion.position)
      case .frame(let element, let base):
        let own = Self.rotation(of: element, data)
        now = base.map { Self.rotation(of: $0, data).inverse * own } ?? own
      }
      setRotation(slot, now.vector(near: rotation(slot)))
    }
  }

  private static func rotation(
    of element: MuJoCoLayout.Element, _ data: UnsafePointer<mjData>
  ) -> Rotation {
    Rotation(matrix: data.frames(element.frame).matrices + 9 * element.index)
  }

  /// Computes what is shown and not in the data.
  private func derive(_ data: UnsafeMutablePointer<mjData>) throws(PlantFailure) {
    let seen = UnsafePointer(data)
    if !objects.isEmpty {
      try attemptStep(
        mjguard_object_velocities(
          log.pointer, model, data, objectTypes.baseAddress, objects.baseAddress,
          Int32(objects.count), derived))
    }
    if !momenta.isEmpty {
      try attemptStep(
        mjguard_subtree_momenta(
          log.pointer, model, data, momenta.baseAddress, Int32(momenta.count),
          derived + places.momenta))
    }
    if !touched.isEmpty {
      try attemptStep(
        mjguard_contact_forces(
          log.pointer, model, data, touched.baseAddress, Int32(touched.count),
          derived + places.forces))
    }
    for (i, angle) in angles.enumerated() {
      let value = data.pointee.qpos[angle]
      derived[places.sinCos + 2 * i] = sin(value)
      derived[places.sinCos + 2 * i + 1] = cos(value)
    }
    for (i, pair) in relativeFrames.enumerated() {
      let own = seen.frames(pair.element.frame).matrices + 9 * pair.element.index
      let base = seen.frames(pair.base.frame).matrices + 9 * pair.base.index
      for axis in 0..<3 {
        for row in 0..<3 {
          var sum = 0.0
          for k in 0..<3 { sum += base[3 * k + row] * own[3 * k + axis] }
          derived[places.axes + 9 * i + 3 * axis + row] = sum
        }
      }
    }
  }

  private func attemptStep(_ result: mjguard_result) throws(PlantFailure) {
    if result == mjguard_error { throw PlantFailure("MuJoCo error: \(log.errorText)") }
  }

  private func rotation(_ slot: Int) -> SIMD3<Double> {
    SIMD3(rotations[3 * slot], rotations[3 * slot + 1], rotations[3 * slot + 2])
  }

  private func setRotation(_ slot: Int, _ r: SIMD3<Double>) {
    for axis in 0..<3 { rotations[3 * slot + axis] = r[axis] }
  }

  /// Says which of the rotation vectors of its orientation the plant is at: those in a state.
  func setRotations(from state: Span<Double>) {
    for (slot, column) in interface.layout.stateRotations {
      setRotation(slot, SIMD3(state[column], state[column + 1], state[column + 2]))
    }
  }

  /// Turns the result of a guarded call into a failure, if it is one, and completes the kinematics.
  private func finish(_ result: mjguard_result) throws(PlantFailure) {
    guard result != mjguard_error, let data else {
      let text = log.errorText
      discardData()
      throw PlantFailure("MuJoCo error: \(text)")
    }
    try checkState(positions: data.pointee.qpos, velocities: data.pointee.qvel)
    if result == mjguard_unstable { throw PlantFailure(instability(data)) }
    turn(data, by: data.pointee.qpos)
    try derive(data)
  }

  /// Fails unless every number is finite and within the limit.
  private func checkState(
    positions: UnsafePointer<Double>, velocities: UnsafePointer<Double>
  ) throws(PlantFailure) {
    let limit = interface.stateLimit
    // A NaN fails the comparison too.
    for i in 0..<nq where !(abs(positions[i]) <= limit) {
      let joint = interface.model.joints.first { $0.positions ~= i }
      throw PlantFailure(excess("position", of: joint, positions[i], unit: joint?.unit ?? ""))
    }
    for i in 0..<nv where !(abs(velocities[i]) <= limit) {
      let joint = interface.model.joints.first { $0.velocities ~= i }
      let unit = (joint?.unit).map { "\($0)/s" } ?? ""
      throw PlantFailure(excess("velocity", of: joint, velocities[i], unit: unit))
    }
  }

  private func excess(
    _ what: String, of joint: MuJoCoModel.Joint?, _ value: Double, unit: String
  ) -> String {
    let start = "\(what) of joint '\(joint?.name ?? "?")' is "
    let cause = singularInertia.map { "; \($0)" } ?? ""
    // The sign of a NaN means nothing.
    if value.isNaN { return start + "nan" + cause }
    return value.isFinite
      ? start + "\(value) \(unit), beyond the limit of \(interface.stateLimit)" + cause
      : start + "\(value)" + cause
  }

  private func instability(_ data: UnsafePointer<mjData>) -> String {
    let type = mjguard_invalidating(data)
    let info = withUnsafeBytes(of: data.pointee.warning) {
      Int($0.bindMemory(to: mjWarningStat.self)[Int(type)].lastinfo)
    }
    let remedy =
      singularInertia.map { "; the simulation is unstable: \($0)" }
      ?? "; the simulation is unstable: shorten the timestep or lower the forces"
    switch mjtWarning(rawValue: UInt32(type)) {
    case mjWARN_BADQPOS: return "a joint position is not a number or beyond 1e10" + remedy
    case mjWARN_BADQVEL:
      return "velocity of joint '\(joint(ofVelocity: info))' is not a number or beyond 1e10"
        + remedy
    case mjWARN_BADQACC:
      return "acceleration of joint '\(joint(ofVelocity: info))' is not a number or beyond 1e10"
        + remedy
    case mjWARN_BADCTRL:
      return
        "control '\(interface.controlNames.indices.contains(info) ? interface.controlNames[info] : "?")'"
        + " is not a number or beyond 1e10"
    case mjWARN_CONTACTFULL:
      return "no room for more than \(info) contacts; raise 'memory' in the model's <size>"
    case mjWARN_CNSTRFULL:
      return "no room for more constraints (\(info)); raise 'memory' in the model's <size>"
    default: return "MuJoCo warning \(type)" + remedy
    }
  }

  private func joint(ofVelocity dof: Int) -> String {
    interface.model.joints.first { $0.velocities ~= dof }?.name ?? "?"
  }

  /// Where the inertia matrix has been nearly singular since the last reset, and what helps, in a clause; nil
  /// if it was not. MuJoCo goes on, with accelerations that may be huge.
  var singularInertia: String? {
    guard let data else { return nil }
    let inertia = withUnsafeBytes(of: data.pointee.warning) {
      $0.bindMemory(to: mjWarningStat.self)[Int(mjWARN_INERTIA.rawValue)]
    }
    if inertia.number == 0 { return nil }
    return "the inertia matrix is nearly singular at joint "
      + "'\(joint(ofVelocity: Int(inertia.lastinfo)))'; give its body more mass, or the joint armature"
  }

  /// Makes the model in use have exactly these displacements from where the shared model has its
  /// bodies, and these factors on its parameters. They never come on top of earlier ones: the copy starts
  /// from the shared model each time.
  private func changeModel(
    _ offsets: [String: [Double]], _ factors: [ModelParameter: Double]
  ) throws {
    if offsets.isEmpty && factors.isEmpty {
      model = UnsafePointer(interface.model.pointer)
      return
    }
    if copyChanges?.offsets != offsets || copyChanges?.factors != factors {
      copyChanges = nil
      var copied = copy
      let result = mjguard_copy_model(log.pointer, &copied, interface.model.pointer)
      copy = copied
      try attempt(result)
      guard let copy, let data else { return }
      for (name, offset) in offsets {
        let body = try interface.displaceableBody(name)
        guard offset.count == 3 else {
          throw MuJoCoError.wrongCount(
            of: "offset of body '\(name)'", expected: 3, actual: offset.count, reason: "x, y, z [m]"
          )
        }
        for axis in 0..<3 { copy.pointee.body_pos[3 * body + axis] += offset[axis] }
      }
      try interface.model.scale(copy, by: factors)
      // What MuJoCo derives from these: inverse inertias, lengths, bounding volumes.
      try attempt(mjguard_set_constants(log.pointer, copy, data))
      copyChanges = (offsets, factors)
    }
    if let copy { model = UnsafePointer(copy) }
  }

  private func attempt(_ result: mjguard_result) throws(MuJoCoError) {
    if result == mjguard_ok { return }
    discardData()
    throw .simulator(source: interface.model.source, reason: log.errorText)
  }

  /// Writes the present state x.
  public func readState(into state: inout MutableSpan<Double>) {
    state.withUnsafeMutableBufferPointer { read(self.state, into: $0) }
  }

  /// Writes the present observation.
  public func readObservation(into observation: inout MutableSpan<Double>) {
    observation.withUnsafeMutableBufferPointer { read(self.observation, into: $0) }
  }

  private func read(
    _ places: UnsafeMutableBufferPointer<Place>,
    into target: UnsafeMutableBufferPointer<Double>
  ) {
    if data == nil { return target.update(repeating: .nan) }
    precondition(
      target.count == places.count, "\(places.count) numbers for room for \(target.count)")
    for i in 0..<places.count { target[i] = places[i].value.pointee - places[i].minus.pointee }
  }

  /// Where a point is in the world.
  private static func place(
    of point: MuJoCoLayout.Point, _ data: UnsafePointer<mjData>
  ) -> SIMD3<Double> {
    let (positions, matrices) = data.frames(point.frame)
    let origin = positions + 3 * point.index
    let place = SIMD3(origin[0], origin[1], origin[2])
    if point.offset == .zero { return place }
    let m = matrices + 9 * point.index
    let o = point.offset
    return place
      + SIMD3(
        m[0] * o.x + m[1] * o.y + m[2] * o.z, m[3] * o.x + m[4] * o.y + m[5] * o.z,
        m[6] * o.x + m[7] * o.y + m[8] * o.z)
  }

  /// Writes the positions of the points and their derivatives by the joint positions in the state.
  public func readPoints(
    positions: inout MutableSpan<Double>, jacobians: inout MutableSpan<Double>
  ) {
    let rows = 3 * points.count
    positions.withUnsafeMutableBufferPointer { target in
      guard let data else { return target.update(repeating: .nan) }
      precondition(target.count == rows, "\(target.count) numbers for \(points.count) points")
      for (p, point) in points.enumerated() {
        let place = Self.place(of: point, data)
        for axis in 0..<3 {
          pointPositions[3 * p + axis] = place[axis]
          target[3 * p + axis] = place[axis]
        }
      }
    }
    if !interface.readsPointJacobians { return }
    jacobians.withUnsafeMutableBufferPointer { target in
      guard let data,
        mjguard_point_jacobians(
          log.pointer, model, data, pointBodies.baseAddress, pointPositions, Int32(points.count),
          self.jacobians) == mjguard_ok
      else { return target.update(repeating: .nan) }
      let J = self.jacobians  // point, axis, velocity coordinate
      target.update(repeating: 0)
      interface.layout.jacobianColumns.withUnsafeBufferPointer { columns in
        for c in columns {
          for row in 0..<rows { target[row + rows * c.column] = J[row * nv + c.dof] }
        }
      }
      interface.layout.jacobianRotations.withUnsafeBufferPointer { list in
        for q in list {
          // From the angular velocity in the body's axes to the rate of the rotation vector.
          let turning = Rotation.rightJacobian(rotation(q.slot))
          for row in 0..<rows {
            let own = J + (row * nv + q.dof)
            let slope = turning.transposed(times: SIMD3(own[0], own[1], own[2]))
            for axis in 0..<3 { target[row + rows * (q.column + axis)] = slope[axis] }
          }
        }
      }
    }
  }
}

extension MuJoCoFrame {
  /// A body's own frame, not that of its inertia.
  var object: mjtObj {
    switch self {
    case .site: mjOBJ_SITE
    case .body: mjOBJ_XBODY
    case .geom: mjOBJ_GEOM
    }
  }
}

extension UnsafePointer<mjData> {
  /// Positions (3 numbers each) and rotation matrices (9, row by row) of all frames of a kind.
  func frames(
    _ frame: MuJoCoFrame
  ) -> (positions: UnsafePointer<Double>, matrices: UnsafePointer<Double>) {
    switch frame {
    case .site: (UnsafePointer<Double>(pointee.site_xpos), UnsafePointer<Double>(pointee.site_xmat))
    case .body: (UnsafePointer<Double>(pointee.xpos), UnsafePointer<Double>(pointee.xmat))
    case .geom: (UnsafePointer<Double>(pointee.geom_xpos), UnsafePointer<Double>(pointee.geom_xmat))
    }
  }
}
