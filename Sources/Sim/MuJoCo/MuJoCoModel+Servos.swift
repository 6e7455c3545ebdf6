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
    try atStart(plantState) { data in
      let model = pointer.pointee
      var controls = [Double](repeating: 0, count: controlCount)
      for actuator in 0..<count(.actuator) where isServo(actuator) {
        let gain = model.actuator_gainprm[Int(mjNGAIN) * actuator]
        let bias = model.actuator_biasprm + Int(mjNBIAS) * actuator
        let output = Int(model.actuator_outadr[actuator])
        controls[Int(model.actuator_ctrladr[actuator])] =
          -(bias[0] + bias[1] * data.actuator_length[output]
          + bias[2] * data.actuator_velocity[output]) / gain
      }
      return controls
    }
  }

  /// The numbers of the joints that actuators move in the reference configuration, of the others that hang together
  /// with them, and of all others.
  ///
  /// - Throws: `MuJoCoError` when the reference configuration cannot be simulated.
  package func jointsByDrive() throws(MuJoCoError) -> [[Int]] {
    let model = pointer.pointee
    let driven = try atStart(plantState()) { data in
      var driven: Set<Int> = []
      for output in 0..<Int(model.nout) {
        let first = Int(data.moment_rowadr[output])
        for entry in first..<first + Int(data.moment_rownnz[output])
        where data.actuator_moment[entry] != 0 {
          driven.insert(Int(model.dof_jntid[Int(data.moment_colind[entry])]))
        }
      }
      return driven
    }
    let tree = joints.map { Int(model.dof_treeid[$0.velocity]) }
    let trees = Set(driven.map { tree[$0] })
    let all = tree.indices
    return [
      driven.sorted(), all.filter { !driven.contains($0) && trees.contains(tree[$0]) },
      all.filter { !trees.contains(tree[$0]) },
    ]
  }

  /// How many degrees of freedom a joint has.
  package func degreesOfFreedom(ofJoint index: Int) -> Int { joint(index).velocityCount }

  /// What the simulation says where it has been put at a start.
  private func atStart<Result>(
    _ plantState: [Double], _ read: (mjData) -> Result
  ) throws(MuJoCoError) -> Result {
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
    return read(data.pointee)
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
