import CMuJoCo
import CMuJoCoGuard
public import GPSCore
public import LinearAlgebra

/// MuJoCo's own stepping loop and nothing else: what rollouts are measured against.
///
/// For controls that a plant has been through before without an error: nothing is guarded here.
@_spi(Benchmarks) public final class BareSteps {
  private let substeps: Int
  private let controlCount: Int
  private let mocaps: [MuJoCoLayout.Mocap]
  private let model: UnsafeMutablePointer<mjModel>
  private let data: UnsafeMutablePointer<mjData>
  private let initial: [Double]
  private let joints: [MuJoCoModel.Joint]
  /// Whether states begin with the positions of all joints.
  private let comparesPositions: Bool

  /// The loop for the rollouts of one condition, its bodies displaced.
  public init(_ interface: MuJoCoInterface, condition: Condition) throws(MuJoCoError) {
    try interface.validate(condition)
    (substeps, controlCount) = (interface.substeps, interface.controlCount)
    mocaps = interface.layout.mocaps
    joints = interface.model.joints
    comparesPositions = interface.state.first == .jointPositions()
    var initial = condition.initialPlantState
    var displaced: [(body: Int, offset: [Double])] = []
    for (name, offset) in condition.bodyOffsets {
      displaced.append((try interface.displaceableBody(name), offset))
    }
    guard let model = mj_copyModel(nil, interface.model.pointer), let data = mj_makeData(model)
    else { throw .simulator(source: interface.model.source, reason: "out of memory") }
    let mocapPositions =
      initial.count - interface.model.startRestCount
      + interface.model.startMocapPositions.lowerBound
    for (body, offset) in displaced {
      let mocap = Int(model.pointee.body_mocapid[body])
      for axis in 0..<3 {
        model.pointee.body_pos[3 * body + axis] += offset[axis]
        if mocap >= 0 && initial.count > Int(model.pointee.nq + model.pointee.nv) {
          initial[mocapPositions + 3 * mocap + axis] += offset[axis]
        }
      }
    }
    self.initial = initial
    try interface.model.scale(model, by: condition.modelFactors)
    if !displaced.isEmpty || !condition.modelFactors.isEmpty { mj_setConst(model, data) }
    (self.model, self.data) = (model, data)
  }

  deinit {
    mj_deleteData(data)
    mj_deleteModel(model)
  }

  /// Resets, and steps through the controls (m × T) without noise in the initial state. Controlled mocap
  /// bodies keep their orientations.
  public func run(_ controls: Matrix) {
    let (nq, nv, nu) = (Int(model.pointee.nq), Int(model.pointee.nv), Int(model.pointee.nu))
    mj_resetData(model, data)
    initial.withUnsafeBufferPointer { initial in
      guard let start = initial.baseAddress else { return }
      data.pointee.qpos.update(from: start, count: nq)
      data.pointee.qvel.update(from: start + nq, count: nv)
      if initial.count > nq + nv { mj_setState(model, data, start + nq + nv, mjguard_rest) }
    }
    controls.storage.withUnsafeBufferPointer { controls in
      guard let u = controls.baseAddress else { return }
      for t in 0..<controls.count / controlCount {
        if nu > 0 { data.pointee.ctrl.update(from: u + t * controlCount, count: nu) }
        for place in mocaps {
          (data.pointee.mocap_pos + 3 * place.mocap)
            .update(from: u + t * controlCount + place.control, count: 3)
        }
        for _ in 0..<substeps { mj_step(model, data) }
      }
    }
  }

  /// The largest difference between the present joint positions and those that a state begins with, that of
  /// orientations as a rotation vector; nil if it does not begin with those of all joints.
  public func largestGap(to state: [Double]) -> Double? {
    guard comparesPositions else { return nil }
    var largest = 0.0
    for joint in joints {
      let direct = joint.isQuaternion ? joint.velocityCount - 3 : joint.velocityCount
      for k in 0..<direct {
        let gap = data.pointee.qpos[joint.position + k] - state[joint.velocity + k]
        largest = max(largest, abs(gap))
      }
      if !joint.isQuaternion { continue }
      let first = joint.velocity + direct
      let expected =
        Rotation(model.pointee.qpos0 + joint.quaternion)
        * Rotation(vector: SIMD3(state[first], state[first + 1], state[first + 2]))
      let gap = (expected.inverse * Rotation(data.pointee.qpos + joint.quaternion))
        .vector(near: .zero)
      for axis in 0..<3 { largest = max(largest, abs(gap[axis])) }
    }
    return largest
  }
}
