import CMuJoCo
import CMuJoCoGuard
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
  /// Numbers that a start may have beyond joint positions and velocities.
  private let restCount: Int

  /// Nil after MuJoCo raised an error: what it was working on is then in no defined state.
  private var data: UnsafeMutablePointer<mjData>?
  /// The model in use: the shared one, or the copy.
  private var model: UnsafePointer<mjModel>
  /// A copy of the model with displaced bodies, made when first needed.
  private var copy: UnsafeMutablePointer<mjModel>?
  /// The displacements in the copy; nil if there is no usable copy.
  private var copyOffsets: [String: [Double]]?

  private let initial: UnsafeMutablePointer<Double>
  private let goal: UnsafeMutablePointer<Double>
  private let siteVelocities: UnsafeMutablePointer<Double>
  private let jacobians: UnsafeMutablePointer<Double>
  /// The present rotation vectors of the quaternions that are shown, 3 numbers each.
  private let rotations: UnsafeMutablePointer<Double>
  private let quaternions: UnsafeMutableBufferPointer<MuJoCoLayout.Quaternion>
  /// What is subtracted from a number that is read as it is.
  private let zero: UnsafeMutablePointer<Double>
  /// Where the state's and the observation's numbers are, in the present data.
  private let state: UnsafeMutableBufferPointer<Place>
  private let observation: UnsafeMutableBufferPointer<Place>
  private let points: UnsafeMutableBufferPointer<Int32>
  private let velocitySites: UnsafeMutableBufferPointer<Int32>

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
    let canSplit =
      [mjINT_EULER, mjINT_RK4, mjINT_IMPLICIT, mjINT_IMPLICITFAST].contains {
        raw.opt.integrator == Int32($0.rawValue)
      } && raw.nhistory == 0 && raw.nplugin == 0
      && raw.opt.enableflags & Int32(mjENBL_SLEEP.rawValue) == 0
    stepping = canSplit ? mjguard_split : mjguard_whole
    restCount = interface.model.startRestCount
    initial = .allocate(capacity: nq + nv + restCount)
    goal = .allocate(capacity: interface.goalDimension)
    goal.initialize(repeating: 0, count: interface.goalDimension)
    siteVelocities = .allocate(capacity: 3 * layout.velocitySites.count)
    siteVelocities.initialize(repeating: 0, count: 3 * layout.velocitySites.count)
    jacobians = .allocate(capacity: 3 * nv * layout.points.count)
    jacobians.initialize(repeating: 0, count: 3 * nv * layout.points.count)
    rotations = .allocate(capacity: 3 * layout.rotations.count)
    rotations.initialize(repeating: 0, count: 3 * layout.rotations.count)
    quaternions = Self.buffer(layout.rotations)
    zero = .allocate(capacity: 1)
    zero.initialize(to: 0)
    let nowhere = Place(value: zero, minus: zero)
    state = Self.buffer(Array(repeating: nowhere, count: layout.state.count))
    observation = Self.buffer(Array(repeating: nowhere, count: layout.observation.count))
    points = Self.buffer(layout.points)
    velocitySites = Self.buffer(layout.velocitySites)
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
    siteVelocities.deallocate()
    jacobians.deallocate()
    rotations.deallocate()
    quaternions.deallocate()
    zero.deallocate()
    state.deallocate()
    observation.deallocate()
    points.deallocate()
    velocitySites.deallocate()
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
    let numbers: UnsafePointer<Double> =
      switch column.source {
      case .position: UnsafePointer(data.pointee.qpos)
      case .rotation: UnsafePointer(rotations)
      case .velocity: UnsafePointer(data.pointee.qvel)
      case .activation: UnsafePointer(data.pointee.act)
      case .sensor: UnsafePointer(data.pointee.sensordata)
      case .site: UnsafePointer(data.pointee.site_xpos)
      case .siteVelocity: UnsafePointer(siteVelocities)
      case .goal: UnsafePointer(goal)
      }
    return Place(
      value: numbers + column.index,
      minus: column.minus < 0 ? UnsafePointer(zero) : numbers + column.minus)
  }

  private func discardData() {
    if let data { mj_deleteData(data) }
    data = nil
  }

  /// Puts the system at the start of a rollout: displaces bodies from where the model has them, sets
  /// joint positions and velocities, and clears everything else, controls and activations included, unless
  /// the start holds them too (see `MuJoCoModel.plantState(keyframe:)`).
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
    try displaceBodies(condition.bodyOffsets)
    guard let data else { return }
    for i in condition.goal.indices { goal[i] = condition.goal[i] }
    for i in 0..<plantState.count { initial[i] = plantState[i] }
    if hasRest { displaceMocapBodies(condition.bodyOffsets) }
    try checkState(positions: initial, velocities: initial + nq)
    condition.initialPlantState.withUnsafeBufferPointer { start in
      let numbers = start.count < nq ? UnsafePointer(initial) : start.baseAddress
      if let numbers {
        for slot in quaternions.indices { setRotation(slot, orientation(slot, numbers).vector) }
      }
    }
    let result = mjguard_reset(
      log.pointer, model, data, initial, initial + nq, hasRest ? initial + nq + nv : nil,
      interface.layout.needsAccelerations ? 1 : 0)
    try finish(result)
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
    precondition(control.count == nu, "\(control.count) controls for \(nu)")
    guard let data else { throw PlantFailure("the plant was not reset after an error of MuJoCo") }
    guard let ctrl = data.pointee.ctrl else { return }
    for i in 0..<nu {
      let value = control[i]
      guard value.isFinite else {
        throw PlantFailure("control '\(interface.controlNames[i])' is \(value)")
      }
      ctrl[i] = value
    }
    let result = mjguard_step(
      log.pointer, model, data, stepping, Int32(truncatingIfNeeded: interface.substeps),
      interface.layout.needsAccelerations ? 1 : 0)
    try finish(result)
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

  /// What the quaternion of a slot says in joint positions, from its reference.
  private func orientation(_ slot: Int, _ positions: UnsafePointer<Double>) -> Rotation {
    let quaternion = quaternions[slot]
    return quaternion.reference.inverse * Rotation(positions + quaternion.position)
  }

  private func rotation(_ slot: Int) -> SIMD3<Double> {
    SIMD3(rotations[3 * slot], rotations[3 * slot + 1], rotations[3 * slot + 2])
  }

  private func setRotation(_ slot: Int, _ r: SIMD3<Double>) {
    for axis in 0..<3 { rotations[3 * slot + axis] = r[axis] }
  }

  /// Says which of the rotation vectors of its orientation the plant is at: those in a state.
  func setRotations(from state: Span<Double>) {
    interface.layout.jacobianRotations.withUnsafeBufferPointer { list in
      for q in list {
        setRotation(q.slot, SIMD3(state[q.column], state[q.column + 1], state[q.column + 2]))
      }
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
    for slot in quaternions.indices {
      setRotation(slot, orientation(slot, data.pointee.qpos).vector(near: rotation(slot)))
    }
    if velocitySites.count > 0 {
      let result = mjguard_site_velocities(
        log.pointer, model, data, velocitySites.baseAddress, Int32(velocitySites.count),
        siteVelocities)
      if result == mjguard_error { throw PlantFailure("MuJoCo error: \(log.errorText)") }
    }
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
    // The sign of a NaN means nothing.
    if value.isNaN { return start + "nan" }
    return value.isFinite
      ? start + "\(value) \(unit), beyond the limit of \(interface.stateLimit)"
      : start + "\(value)"
  }

  private func instability(_ data: UnsafePointer<mjData>) -> String {
    let type = mjguard_invalidating(data)
    let info = withUnsafeBytes(of: data.pointee.warning) {
      Int($0.bindMemory(to: mjWarningStat.self)[Int(type)].lastinfo)
    }
    func joint(ofVelocity dof: Int) -> String {
      interface.model.joints.first { $0.velocities ~= dof }?.name ?? "?"
    }
    let remedy = "; the simulation is unstable: shorten the timestep or lower the forces"
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
    case mjWARN_INERTIA:
      return "the inertia matrix is singular at joint '\(joint(ofVelocity: info))'; give its body "
        + "more mass, or the joint armature"
    case mjWARN_CONTACTFULL:
      return "no room for more than \(info) contacts; raise 'memory' in the model's <size>"
    case mjWARN_CNSTRFULL:
      return "no room for more constraints (\(info)); raise 'memory' in the model's <size>"
    default: return "MuJoCo warning \(type)" + remedy
    }
  }

  /// Makes the model in use have exactly these displacements from where the shared model has its
  /// bodies. They are never added to earlier ones: the copy starts from the shared model each time.
  private func displaceBodies(_ offsets: [String: [Double]]) throws {
    if offsets.isEmpty {
      model = UnsafePointer(interface.model.pointer)
      return
    }
    if copyOffsets != offsets {
      copyOffsets = nil
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
      // What MuJoCo derives from the positions of bodies: inverse inertias, lengths, bounding volumes.
      try attempt(mjguard_set_constants(log.pointer, copy, data))
      copyOffsets = offsets
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

  /// Writes the positions of the points and their derivatives by the joint positions in the state.
  public func readPoints(
    positions: inout MutableSpan<Double>, jacobians: inout MutableSpan<Double>
  ) {
    let rows = 3 * points.count
    positions.withUnsafeMutableBufferPointer { target in
      guard let data else { return target.update(repeating: .nan) }
      precondition(target.count == rows, "\(target.count) numbers for \(points.count) points")
      for p in 0..<points.count {
        for axis in 0..<3 {
          target[3 * p + axis] = data.pointee.site_xpos[3 * Int(points[p]) + axis]
        }
      }
    }
    if !interface.readsPointJacobians { return }
    jacobians.withUnsafeMutableBufferPointer { target in
      guard let data,
        mjguard_site_jacobians(
          log.pointer, model, data, points.baseAddress, Int32(points.count), self.jacobians)
          == mjguard_ok
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
