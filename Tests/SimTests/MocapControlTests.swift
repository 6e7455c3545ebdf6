import CMuJoCo
import GPSCore
import LinearAlgebra
import Testing

@_spi(Benchmarks) @testable import Sim

@Suite("Mocap bodies as controls") struct MocapControlTests {
  /// A gripper welded to a mocap body, with a finger, and a cube.
  private func text(actuators: String) -> String {
    """
    <mujoco>
      <option timestep="0.004" integrator="implicitfast"/>
      <worldbody>
        <body name="hand" mocap="true" pos="0 0 1" quat="0.6 0 0.8 0"/>
        <body name="palm" pos="0 0 1" quat="0.6 0 0.8 0">
          <joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
          <joint name="z" type="slide" axis="0 0 1"/><joint name="turn" axis="0 0 1"/>
          <geom type="box" size="0.05 0.05 0.02" mass="0.5"/>
          <body name="finger" pos="0.05 0 -0.05">
            <joint name="grip" type="slide" axis="1 0 0" damping="1"/>
            <geom type="box" size="0.01 0.02 0.03" mass="0.1"/>
          </body>
        </body>
        <body name="other" mocap="true" pos="1 1 1"/>
      </worldbody>
      <equality><weld body1="hand" body2="palm" solref="0.02 1"/></equality>
      <contact><exclude body1="palm" body2="finger"/></contact>
      <actuator>\(actuators)</actuator>
      <keyframe><key name="up" mpos="0.1 0.2 1.3 0 0 0" mquat="1 0 0 0 1 0 0 0"/></keyframe>
    </mujoco>
    """
  }

  private let motor = "<motor name='finger' joint='grip' ctrlrange='-1 1'/>"

  private func interface(
    _ controls: [MocapControl], actuators: String? = nil, substeps: Int = 5
  ) throws -> MuJoCoInterface {
    try MuJoCoInterface(
      model: MuJoCoModel(mjcf: text(actuators: actuators ?? motor)), substeps: substeps,
      state: [.jointPositions(), .jointVelocities()], mocapControls: controls)
  }

  @Test("They come after the actuators, with names, bounds and the start's own numbers")
  func layout() throws {
    let interface = try interface([
      MocapControl(body: "hand", lower: [-1, -1, 0.5], upper: [1, 1, 2], rotationLimit: 0.5),
      MocapControl(body: "other"),
    ])
    #expect(
      interface.controlNames == [
        "finger", "hand.x_m", "hand.y_m", "hand.z_m", "hand.rx_rad", "hand.ry_rad", "hand.rz_rad",
        "other.x_m", "other.y_m", "other.z_m",
      ])
    let open = Double.infinity
    #expect(
      interface.controlLimits
        == ControlLimits(
          lower: [-1, -1, -1, 0.5, -0.5, -0.5, -0.5, -open, -open, -open],
          upper: [1, 1, 1, 2, 0.5, 0.5, 0.5, open, open, open]))
    let model = interface.model
    var condition = Condition(name: "c", initialPlantState: try model.plantState())
    #expect(try interface.startControls(of: condition) == [0, 0, 0, 1, 0, 0, 0, 1, 1, 1])
    condition.bodyOffsets = ["other": [0, 0, 0.5]]
    #expect(try interface.startControls(of: condition).suffix(3) == [1, 1, 1.5])
    let up = Condition(name: "u", initialPlantState: try model.plantState(keyframe: "up"))
    #expect(try interface.startControls(of: up) == [0, 0.1, 0.2, 1.3, 0, 0, 0, 0, 0, 0])
  }

  @Test("A rollout is MuJoCo's own loop with the body put in place, bit for bit")
  func rollout() throws {
    let interface = try interface([MocapControl(body: "hand", rotationLimit: 1)])
    let raw = interface.model.pointer
    let condition = Condition(name: "c", initialPlantState: try interface.model.plantState())
    let plant = try interface.makePlant()
    let data = try #require(mj_makeData(raw))
    defer { mj_deleteData(data) }
    for turn in 0..<2 {
      try plant.reset(condition)
      mj_resetData(raw, data)
      for t in 0..<25 {
        let w = wave(t, count: 7, scale: 0.1)
        let control = [w[0], w[1], w[2], 1 + w[3], w[4], w[5], w[6]]
        try plant.step(control: control.span)
        data.pointee.ctrl[0] = control[0]
        for i in 0..<3 { data.pointee.mocap_pos[i] = control[1 + i] }
        // The same rotation by MuJoCo's own functions.
        let angle = (w[4] * w[4] + w[5] * w[5] + w[6] * w[6]).squareRoot()
        var (rotation, target) = ([0.0, 0, 0, 0], [0.0, 0, 0, 0])
        mju_axisAngle2Quat(&rotation, [w[4] / angle, w[5] / angle, w[6] / angle], angle)
        mju_mulQuat(&target, rotation, [0.6, 0, 0.8, 0])
        let turned =
          Rotation(vector: SIMD3(w[4], w[5], w[6])) * Rotation(w: 0.6, v: SIMD3(0, 0.8, 0))
        let own = [turned.w, turned.v.x, turned.v.y, turned.v.z]
        #expect(expectClose(own, target, within: 1e-15))
        for i in 0..<4 { data.pointee.mocap_quat[i] = own[i] }
        for _ in 0..<5 { mj_step(raw, data) }
        let x = plant.state(10)
        for i in 0..<5 {
          #expect(x[i] == data.pointee.qpos[i] && x[5 + i] == data.pointee.qvel[i], "\(turn) \(t)")
        }
      }
      #expect(abs(plant.state(10)[2]) < 0.2, "the weld holds the palm against gravity")
    }
  }

  @Test("The benchmark's bare loop places the bodies too")
  func bareSteps() throws {
    let interface = try interface([MocapControl(body: "hand")])
    let condition = Condition(name: "c", initialPlantState: try interface.model.plantState())
    let controls = (0..<20).flatMap { t in
      let w = wave(t, count: 4, scale: 0.1)
      return [w[0], w[1], w[2], 1 + w[3]]
    }
    let plant = try interface.makePlant()
    try plant.reset(condition)
    for t in 0..<20 { try plant.step(control: Array(controls[4 * t..<4 * t + 4]).span) }
    let bare = try BareSteps(interface, condition: condition)
    bare.run(Matrix(rows: 4, columns: 20, columnMajor: controls))
    #expect(bare.largestGap(to: plant.state(10)) == 0)
  }

  @Test("A model without actuators is driven by mocap bodies alone, and refused without either")
  func withoutActuators() throws {
    let interface = try interface([MocapControl(body: "hand")], actuators: "")
    #expect(interface.controlCount == 3 && interface.controlLimits == nil)
    let condition = Condition(name: "c", initialPlantState: try interface.model.plantState())
    let plant = try interface.makePlant()
    try plant.reset(condition)
    for _ in 0..<100 { try plant.step(control: [0.3, 0.1, 1.2].span) }
    // The slides move along the palm's own axes.
    #expect(plant.state(10)[0..<3].reduce(0) { $0 + $1 * $1 } > 0.1)
    #expect {
      try self.interface([], actuators: "")
    } throws: {
      "\($0)".contains("no actuators") && "\($0)".contains("mocapControls")
    }
  }

  @Test("Known dynamics have the derivatives by a body's place")
  func knownDynamics() throws {
    let interface = try interface([MocapControl(body: "hand", upper: [1, 1, 1], rotationLimit: 1)])
    let condition = Condition(name: "c", initialPlantState: try interface.model.plantState())
    let dynamics = try MuJoCoDynamics(interface, in: condition)
    #expect(dynamics.control == 7 && !dynamics.usesTransitionDifferences)
    let x = [0.01, -0.02, 0.01, 0.05, 0.01, 0.1, -0.1, 0.05, 0.2, 0.01]
    let u = [0.3, 0.02, -0.01, 0.97, 0.05, -0.02, 0.01]
    let report = try DynamicsChecker(
      stateNames: interface.stateNames, controlNames: interface.controlNames
    ).check(dynamics, state: x, control: u)
    #expect(report.isCorrect, "\(report)")
    let F = try dynamics.linearization(x, u).F
    #expect(abs(F[5, 11]) + abs(F[7, 11]) > 0.1, "the palm follows the hand")
  }

  @Test(
    "What cannot be controlled is refused, with what can",
    arguments: [
      ([MocapControl(body: "palm")], "hand, other"),
      ([MocapControl(body: "hnad")], "hand"),
      ([MocapControl(body: "hand"), MocapControl(body: "hand")], "twice"),
      ([MocapControl(body: "hand", lower: [0, 0])], "3 numbers"),
      ([MocapControl(body: "hand", lower: [0, 0, 0], upper: [1, 0, 1])], "below upper in y"),
      ([MocapControl(body: "hand", rotationLimit: 4)], "3.14"),
    ])
  func refusals(controls: [MocapControl], words: String) throws {
    #expect {
      try interface(controls)
    } throws: {
      "\($0)".contains(words)
    }
  }
}
