import CMuJoCo
import Foundation
import GPSCore
import LinearAlgebra

@testable import Sim

/// A point mass on a massless rod of 1 m that hangs from a hinge without friction.
let pendulumText = """
  <mujoco>
    <option timestep="0.001" gravity="0 0 -9.81"/>
    <worldbody>
      <body name="rod" pos="0 0 2">
        <joint name="hinge" type="hinge" axis="0 1 0"/>
        <inertial pos="0 0 -1" mass="1" diaginertia="1e-9 1e-9 1e-9"/>
        <site name="bob" pos="0 0 -1"/>
      </body>
      <site name="anchor" pos="0 0 2"/>
    </worldbody>
    <actuator><motor name="torque" joint="hinge"/></actuator>
    <sensor>
      <jointpos name="angle" joint="hinge"/>
      <framepos name="where" objtype="site" objname="bob"/>
    </sensor>
    <keyframe><key name="raised" qpos="1.25" qvel="-0.5"/></keyframe>
  </mujoco>
  """

/// Three links with a slide among the joints, a ball and a free body: every kind of joint.
let treeText = """
  <mujoco>
    <option timestep="0.002" integrator="implicitfast"/>
    <worldbody>
      <body name="first" pos="0.1 0.2 1">
        <joint name="pan" type="hinge" axis="0 0 1" damping="0.1"/>
        <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" contype="0" conaffinity="0"/>
        <body name="second" pos="0.4 0 0">
          <joint name="reach" type="slide" axis="1 0 0" damping="1"/>
          <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" contype="0" conaffinity="0"/>
          <body name="third" pos="0.3 0 0">
            <joint name="wrist" type="ball" damping="0.05"/>
            <geom type="box" pos="0.1 0.02 0" size="0.1 0.03 0.01" contype="0" conaffinity="0"/>
            <site name="tip" pos="0.2 0.03 0.01"/>
          </body>
        </body>
      </body>
      <body name="loose" pos="1 1 1">
        <joint name="flight" type="free"/>
        <geom type="box" size="0.05 0.1 0.15"/>
        <site name="corner" pos="0.05 0.1 0.15"/>
      </body>
    </worldbody>
    <actuator>
      <motor name="pan" joint="pan"/>
      <motor name="reach" joint="reach"/>
      <general name="lag" joint="pan" dyntype="filter" dynprm="0.1" gainprm="2"/>
    </actuator>
    <sensor>
      <framelinvel name="tip_velocity" objtype="site" objname="tip"/>
      <accelerometer name="felt" site="tip"/>
      <actuatorfrc name="pull" actuator="reach"/>
    </sensor>
  </mujoco>
  """

/// A control that depends on nothing but the step.
func wave(_ step: Int, count: Int, scale: Double = 1) -> [Double] {
  (0..<count).map { scale * sin(0.3 * Double(step) + Double($0)) }
}

extension MuJoCoPlant {
  func reset(_ condition: Condition) throws {
    try reset(to: condition, plantState: condition.initialPlantState.span)
  }

  func state(_ count: Int) -> [Double] {
    var state = [Double](repeating: -7, count: count)
    var span = state.mutableSpan
    readState(into: &span)
    return state
  }

  func observation(_ count: Int) -> [Double] {
    var observation = [Double](repeating: -7, count: count)
    var span = observation.mutableSpan
    readObservation(into: &span)
    return observation
  }

  func points(_ count: Int, state: Int) -> (positions: [Double], jacobians: Matrix) {
    var positions = [Double](repeating: -7, count: 3 * count)
    var jacobians = Matrix(rows: 3 * count, columns: state)
    var a = positions.mutableSpan
    var b = jacobians.storage.mutableSpan
    readPoints(positions: &a, jacobians: &b)
    return (positions, jacobians)
  }

  /// The states of one rollout, start included, under `wave`.
  func rollout(
    _ condition: Condition, steps: Int, state: Int, control: Int, scale: Double = 1
  ) throws -> [[Double]] {
    try reset(condition)
    var states = [self.state(state)]
    for step in 0..<steps {
      let u = wave(step, count: control, scale: scale)
      try self.step(control: u.span)
      states.append(self.state(state))
    }
    return states
  }
}

/// Joint positions as a state has them, by MuJoCo's own difference from its reference: for orientations
/// less than half a turn from it.
func coordinates(_ model: MuJoCoModel, _ data: UnsafePointer<mjData>) -> [Double] {
  var difference = [Double](repeating: 0, count: model.jointVelocityCount)
  mj_differentiatePos(
    model.pointer, &difference, 1, model.pointer.pointee.qpos0, data.pointee.qpos)
  for joint in model.joints where joint.type != mjJNT_BALL {
    for k in 0..<min(3, joint.velocityCount) {
      difference[joint.velocity + k] = data.pointee.qpos[joint.position + k]
    }
  }
  return difference
}

struct NoCost: Cost {
  func addValues(to: inout [Double], along: Trajectory, in: Condition) {}
  func addExpansion(to: inout CostExpansion, along: Trajectory, in: Condition) {}
}

struct GoalIsPositive: SuccessJudge {
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    condition.goal.allSatisfy { $0 > 0 }
  }
}

func expectClose(_ a: [Double], _ b: [Double], within tolerance: Double) -> Bool {
  a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) <= tolerance }
}
