import CMuJoCo
import CMuJoCoGuard

extension MuJoCoModel {
  /// Whether actuators have a state of their own.
  package var hasActivations: Bool { activationCount > 0 }

  /// The commands under which servos exert no force at a start: a position servo is told where it is, a
  /// velocity servo how fast. Other actuators get 0, which is what most rest at.
  ///
  /// - Parameter plantState: joint positions and velocities, and what else a start may hold.
  /// - Returns: m numbers, not limited to the controls' ranges.
  /// - Throws: `MuJoCoError` when the start cannot be simulated.
  package func restingControls(at plantState: [Double]) throws(MuJoCoError) -> [Double] {
    let log = try GuardLog(source: source)
    let (nq, nv) = (jointPositionCount, jointVelocityCount)
    let positions = Array(plantState[..<nq])
    let velocities = Array(plantState[nq..<nq + nv])
    let rest = Array(plantState[(nq + nv)...])
    var made: UnsafeMutablePointer<mjData>?
    defer { mj_deleteData(made) }
    guard mjguard_make_data(log.pointer, pointer, &made) == mjguard_ok, let data = made,
      mjguard_reset(
        log.pointer, pointer, data, positions, velocities, rest.isEmpty ? nil : rest, 0)
        == mjguard_ok
    else {
      let text = log.errorText
      throw .simulator(
        source: source, reason: text.isEmpty ? "the start cannot be simulated" : text)
    }
    let model = pointer.pointee
    var controls = [Double](repeating: 0, count: controlCount)
    for actuator in 0..<count(.actuator) where isServo(actuator) {
      let gain = model.actuator_gainprm[Int(mjNGAIN) * actuator]
      let bias = model.actuator_biasprm + Int(mjNBIAS) * actuator
      let output = Int(model.actuator_outadr[actuator])
      controls[Int(model.actuator_ctrladr[actuator])] =
        -(bias[0] + bias[1] * data.pointee.actuator_length[output]
        + bias[2] * data.pointee.actuator_velocity[output]) / gain
    }
    return controls
  }

  /// Whether an actuator's force is the difference between its command and where it is.
  private func isServo(_ actuator: Int) -> Bool {
    let model = pointer.pointee
    let dynamics = mjtDyn(rawValue: UInt32(model.actuator_dyntype[actuator]))
    return model.actuator_ctrlnum[actuator] == 1 && model.actuator_outnum[actuator] == 1
      && [mjDYN_NONE, mjDYN_FILTER, mjDYN_FILTEREXACT].contains(dynamics)
      && model.actuator_gaintype[actuator] == Int32(mjGAIN_FIXED.rawValue)
      && model.actuator_biastype[actuator] == Int32(mjBIAS_AFFINE.rawValue)
      && model.actuator_gainprm[Int(mjNGAIN) * actuator] != 0
  }
}
