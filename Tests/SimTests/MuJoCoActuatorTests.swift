import Foundation
import GPSCore
import LinearAlgebra
import Starts
import Testing

@testable import Sim

/// A body on a hinge, one on a ball joint, a tendon, a site, and the actuators of a test.
private func model(_ actuators: String, named joint: String = "hinge") -> String {
  """
  <mujoco>
    <option timestep="0.01" gravity="0 0 0" integrator="implicitfast"/>
    <worldbody>
      <body name="link">
        <joint name="\(joint)" axis="0 1 0" damping="0.05"/>
        <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="1"/>
        <site name="tip" pos="0.4 0 0"/>
      </body>
      <body name="head" pos="0 0 1">
        <joint name="ball" type="ball" damping="0.1"/>
        <geom type="box" size="0.1 0.2 0.3" mass="1"/>
        <site name="crank" pos="0.1 0 0"/>
      </body>
      <body name="block" pos="0 0 2">
        <joint name="slide" type="slide" axis="0 0 1" damping="1"/>
        <geom type="box" size="0.1 0.1 0.1" mass="1"/>
        <site name="slider" pos="0 0 0.2"/>
      </body>
    </worldbody>
    <tendon>
      <fixed name="cable"><joint joint="\(joint)" coef="1"/><joint joint="slide" coef="0.5"/></fixed>
    </tendon>
    <actuator>\(actuators)</actuator>
  </mujoco>
  """
}

@Suite("MuJoCo actuators") struct MuJoCoActuatorTests {
  private func interface(_ text: String) throws -> MuJoCoInterface {
    try MuJoCoInterface(
      model: MuJoCoModel(mjcf: text), state: [.jointPositions(), .jointVelocities()])
  }

  @Test(
    "Whatever an actuator acts on, its control moves the model, and only a hinge or slide is a coordinate",
    arguments: [
      ("<motor name='m' joint='hinge'/>", 1),
      ("<motor name='m' joint='slide'/>", 1),
      ("<motor name='m' jointinparent='slide'/>", 1),
      ("<position name='m' joint='hinge' kp='3'/>", 1),
      ("<velocity name='m' joint='hinge' kv='3'/>", 1),
      ("<general name='m' joint='hinge' dyntype='filter' dynprm='0.1' gainprm='2'/>", 1),
      ("<cylinder name='m' joint='slide' timeconst='0.1' area='3'/>", 1),
      (
        "<muscle name='m' joint='hinge' force='3' lengthrange='-1 1' ctrlrange='0 1' ctrllimited='true'/>",
        1
      ),
      ("<motor name='m' joint='ball' gear='0 1 0 0 0 0'/>", 0),
      ("<motor name='m' jointinparent='ball' gear='1 0 0 0 0 0'/>", 0),
      ("<motor name='m' tendon='cable'/>", 0),
      ("<position name='m' tendon='cable' kp='3'/>", 0),
      (
        "<muscle name='m' tendon='cable' force='3' lengthrange='-1 1' ctrlrange='0 1' ctrllimited='true'/>",
        0
      ),
      ("<motor name='m' site='tip' gear='0 0 1 0 0 0'/>", 0),
      ("<motor name='m' site='tip' refsite='crank' gear='0 0 1 0 0 0'/>", 0),
      ("<motor name='m' cranksite='crank' slidersite='slider' cranklength='2'/>", 0),
    ])
  func everyTransmission(_ actuator: String, _ coordinates: Int) throws {
    let interface = try interface(model(actuator))
    #expect(interface.controlNames == ["m"] && interface.model.controlCount == 1)
    #expect(interface.actuatedCoordinates.count == coordinates)
    let plant = try interface.makePlant()
    func end(_ control: Double) throws -> [Double] {
      try plant.reset(Condition(name: "c", initialPlantState: try interface.model.plantState()))
      for _ in 0..<10 { try plant.step(control: [control].span) }
      return plant.state(interface.stateNames.count)
    }
    #expect(try end(0.5) != end(0))
    let initial = InitialController.pd(.init(positionGains: [1], velocityGains: [0.1]))
    let task = try MuJoCoTask(
      name: "t", interface: interface, horizon: 5,
      conditions: [Condition(name: "c", initialPlantState: interface.model.plantState())],
      cost: NoCost(), success: GoalIsPositive())
    if coordinates == 1 {
      _ = try initial.controller(for: task, in: task.conditions[0])
    } else {
      #expect(throws: SimError.actuator(control: 0, missing: .coordinate)) {
        try initial.controller(for: task, in: task.conditions[0])
      }
    }
  }

  @Test("An adhesive body is a control too, though nothing touches it")
  func adhesion() throws {
    let interface = try interface(
      model("<adhesion name='m' body='block' ctrlrange='0 1' gain='3'/>"))
    #expect(interface.controlNames == ["m"] && interface.actuatedCoordinates.isEmpty)
    let plant = try interface.makePlant()
    try plant.reset(Condition(name: "c", initialPlantState: try interface.model.plantState()))
    try plant.step(control: [1].span)
  }

  @Test("No single coordinate is said in words")
  func sentence() {
    let text = "\(SimError.actuator(control: 2, missing: .coordinate))"
    #expect(text.contains("control 2 acts on no single hinge or slide"))
  }

  @Test(
    "The first controllers hold the start whichever way an actuator pushes",
    arguments: [
      ("<motor name='m' joint='hinge' gear='-1'/>", true),
      ("<motor name='m' joint='hinge' gear='1'/>", false),
      ("<general name='m' joint='hinge' gainprm='-1'/>", true),
      ("<general name='m' joint='hinge' gainprm='-1' gear='-1'/>", false),
      ("<general name='m' joint='hinge' gaintype='affine' gainprm='-2 0 0'/>", true),
    ])
  func directions(_ actuator: String, _ isReversed: Bool) throws {
    let interface = try interface(model(actuator))
    #expect(interface.actuatedCoordinates.map(\.isReversed) == [isReversed])
    let model = interface.model
    let start = try model.plantState(jointPositions: [0.3, 1, 0, 0, 0, 0])
    let task = try MuJoCoTask(
      name: "t", interface: interface, horizon: 300,
      conditions: [Condition(name: "c", initialPlantState: start)], cost: NoCost(),
      success: GoalIsPositive())
    for initial in [
      InitialController.pd(.init(positionGains: [2], velocityGains: [0.3])),
      .lqr(.init(gains: [0.06], stiffness: 30, velocityStiffness: 0.3)),
    ] {
      let controller = try initial.controller(for: task, in: task.conditions[0])
      // Started beside its position, the joint comes back to it.
      let plant = try interface.makePlant()
      var beside = start
      beside[0] += 0.1
      try plant.reset(Condition(name: "c", initialPlantState: beside))
      var x = plant.state(interface.stateNames.count)
      for t in 0..<300 {
        var u = controller.offsets[0, t]
        for i in x.indices { u += controller.gains[t][0, i] * x[i] }
        try plant.step(control: [u].span)
        x = plant.state(interface.stateNames.count)
      }
      #expect(abs(x[0] - 0.3) < 0.01, "\(x[0])")
    }
  }

  @Test("A muscle pulls: more control means a lesser position")
  func muscle() throws {
    let interface = try interface(
      model(
        "<muscle name='m' joint='hinge' force='3' lengthrange='-1 1' ctrlrange='0 1' ctrllimited='true'/>"
      ))
    #expect(interface.actuatedCoordinates.map(\.isReversed) == [true])
    let plant = try interface.makePlant()
    func end(_ control: Double) throws -> Double {
      try plant.reset(Condition(name: "c", initialPlantState: try interface.model.plantState()))
      for _ in 0..<20 { try plant.step(control: [control].span) }
      return plant.state(interface.stateNames.count)[0]
    }
    #expect(try end(1) < end(0))
  }

  @Test("A made-up name is no other element's")
  func madeUpNames() throws {
    let text = """
      <mujoco>
        <worldbody>
          <body>
            <joint axis="0 1 0"/><geom size="0.1" mass="1"/>
            <body pos="1 0 0"><joint name="joint_0" axis="0 1 0"/><geom size="0.1" mass="1"/></body>
            <body pos="2 0 0"><joint name="joint_0_" axis="0 0 1"/><geom size="0.1" mass="1"/>
              <site/><site name="site_0"/></body>
          </body>
          <body pos="0 0 3"><joint name="loose" type="ball"/><geom size="0.1" mass="1"/>
            <body pos="1 0 0"><joint name="loose.wx" axis="0 0 1"/><geom size="0.1" mass="1"/></body>
          </body>
        </worldbody>
        <actuator>
          <motor name="actuator_1" joint="joint_0"/><motor joint="joint_0_"/><motor joint="joint_0"/>
        </actuator>
        <sensor><jointpos joint="joint_0"/><jointpos name="sensor_0" joint="joint_0_"/></sensor>
      </mujoco>
      """
    let model = try MuJoCoModel(mjcf: text)
    for names in [
      model.jointNames, model.controlNames, model.sensorNames, model.siteNames, model.bodyNames,
    ] {
      #expect(Set(names).count == names.count, "\(names)")
    }
    #expect(model.controlNames == ["actuator_1", "actuator_1_", "actuator_2"])
    #expect(model.jointNames.prefix(3) == ["joint_0__", "joint_0", "joint_0_"])
    // By its name each is itself.
    for (i, name) in model.jointNames.enumerated() { #expect(try model.index(.joint, name) == i) }
    let interface = try MuJoCoInterface(
      model: model,
      state: [.jointPositions(), .jointVelocities(), .sensors(["sensor_0", "sensor_0_"])])
    #expect(Set(interface.stateNames).count == interface.stateNames.count)
    #expect(interface.stateNames.count == 7 + 7 + 2)
    // What is asked for twice is still refused.
    #expect(throws: MuJoCoError.self) {
      try MuJoCoInterface(
        model: model, state: [.jointPositions(), .jointPositions(joints: ["joint_0"])])
    }
  }

  @Test("A part's name that is another's whole name keeps the two apart")
  func partsOfNames() throws {
    let interface = try interface(
      """
      <mujoco>
        <worldbody>
          <body><joint name="flight" type="free"/><geom size="0.1" mass="1"/></body>
          <body><joint name="flight.x" type="slide" axis="1 0 0"/><geom size="0.1" mass="1"/></body>
        </worldbody>
        <actuator><motor name="m" joint="flight.x"/></actuator>
      </mujoco>
      """)
    #expect(Set(interface.stateNames).count == 6 + 1 + 6 + 1)
    #expect(interface.stateNames.filter { $0.hasPrefix("joint_positions.flight.x_m") }.count == 2)
  }
}

@Suite("MuJoCo keyframes") struct MuJoCoKeyframeTests {
  private let text = """
    <mujoco>
      <option timestep="0.01" gravity="0 0 0" integrator="implicitfast"/>
      <worldbody>
        <body name="link">
          <joint name="j" axis="0 1 0" damping="0.5"/>
          <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="1"/>
        </body>
        <body name="target" mocap="true" pos="0.5 0 0"><site name="target" pos="0 0 1"/></body>
      </worldbody>
      <actuator>
        <position name="servo" joint="j" kp="20" kv="2"/>
        <general name="lag" joint="j" dyntype="filter" dynprm="0.1"/>
      </actuator>
      <sensor><clock name="now"/></sensor>
      <keyframe>
        <key name="plain" qpos="1" qvel="0.5"/>
        <key name="home" time="3" qpos="1" act="0.25" ctrl="1 0.5" mpos="0 2 0" mquat="0 1 0 0"/>
      </keyframe>
    </mujoco>
    """

  private func interface(_ state: [MuJoCoComponent] = [.jointPositions()]) throws -> MuJoCoInterface
  {
    try MuJoCoInterface(model: MuJoCoModel(mjcf: text), state: state)
  }

  @Test("A keyframe of positions and velocities alone is those")
  func plain() throws {
    #expect(try interface().model.plantState(keyframe: "plain") == [1, 0.5])
  }

  @Test("Time, activations, controls and mocap poses of a keyframe are restored")
  func everything() throws {
    let interface = try interface([
      .jointPositions(), .jointVelocities(), .actuatorActivations, .sensors(["now"]),
      .sitePositions(sites: ["target"]),
    ])
    let start = try interface.model.plantState(keyframe: "home")
    #expect(start == [1, 0, 3, 0.25, 1, 0.5, 0, 2, 0, 0, 1, 0, 0])
    let condition = Condition(name: "home", initialPlantState: start)
    try interface.validate(condition)
    #expect(try interface.startControls(of: condition) == [1, 0.5])
    let plant = try interface.makePlant()
    try plant.reset(condition)
    // The mocap body is turned by half a turn about x, so that its site hangs below it.
    #expect(expectClose(plant.state(7), [1, 0, 0.25, 3, 0, 2, -1], within: 1e-12))
    try plant.step(control: [1, 0.25].span)
    let next = plant.state(7)
    #expect(abs(next[3] - 3.01) < 1e-9 && abs(next[2] - 0.25) < 1e-12)
    // The next start knows nothing of it.
    try plant.reset(Condition(name: "plain", initialPlantState: [1, 0.5]))
    #expect(expectClose(plant.state(7), [1, 0.5, 0, 0, 0.5, 0, 1], within: 1e-12))
    // A displacement is added to where the keyframe has a mocap body.
    try plant.reset(
      Condition(name: "home", initialPlantState: start, bodyOffsets: ["target": [0, 0, 0.5]]))
    #expect(expectClose(Array(plant.state(7)[4...]), [0, 2, -0.5], within: 1e-12))
  }

  @Test("A start with half of the rest is refused; noise may be on positions and velocities alone")
  func lengths() throws {
    let interface = try interface()
    let start = try interface.model.plantState(keyframe: "home")
    #expect(throws: MuJoCoError.self) {
      try interface.validate(Condition(name: "c", initialPlantState: Array(start.dropLast())))
    }
    var condition = Condition(name: "c", initialPlantState: start)
    condition.initialPlantStateDeviation = [0.1, 0.1]
    try interface.validate(condition)
    condition.initialPlantStateDeviation = [0.1, 0.1, 0.1]
    #expect(throws: MuJoCoError.self) { try interface.validate(condition) }
  }

  @Test("A servo that starts from a keyframe is held where the keyframe holds it")
  func servo() throws {
    let servo = try MuJoCoModel(
      mjcf: """
        <mujoco>
          <option timestep="0.01" gravity="0 0 0" integrator="implicitfast"/>
          <worldbody>
            <body name="link">
              <joint name="j" axis="0 1 0" damping="0.5"/>
              <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="1"/>
            </body>
          </worldbody>
          <actuator><position name="m" joint="j" kp="20" kv="2"/></actuator>
          <keyframe><key name="home" qpos="1" ctrl="1"/></keyframe>
        </mujoco>
        """)
    let interface = try MuJoCoInterface(
      model: servo, state: [.jointPositions(), .jointVelocities()])
    let condition = Condition(
      name: "home", initialPlantState: try servo.plantState(keyframe: "home"))
    let task = try MuJoCoTask(
      name: "t", interface: interface, horizon: 50, conditions: [condition], cost: NoCost(),
      success: GoalIsPositive())
    let controller = try InitialController.pd(.init(positionGains: [1], velocityGains: [0.1]))
      .controller(for: task, in: condition)
    let plant = try interface.makePlant()
    try plant.reset(condition)
    for t in 0..<50 {
      let x = plant.state(2)
      let u =
        controller.offsets[0, t] + controller.gains[t][0, 0] * x[0] + controller.gains[t][0, 1]
        * x[1]
      try plant.step(control: [u].span)
    }
    #expect(abs(plant.state(2)[0] - 1) < 1e-9)
  }

  @Test("Known dynamics start each step with the keyframe's mocap bodies where it has them")
  func knownDynamics() throws {
    let model = try MuJoCoModel(
      mjcf: """
        <mujoco>
          <option timestep="0.01" gravity="0 0 0" integrator="implicitfast"/>
          <worldbody>
            <body name="link">
              <joint name="j" axis="0 1 0" damping="0.5"/>
              <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="1"/>
            </body>
            <body name="hand" mocap="true" pos="0.4 0 0"/>
          </worldbody>
          <equality><connect body1="link" body2="hand" anchor="0.4 0 0"/></equality>
          <actuator><motor name="m" joint="j"/></actuator>
          <keyframe><key name="up" mpos="0.2 0 -0.2"/></keyframe>
        </mujoco>
        """)
    let interface = try MuJoCoInterface(
      model: model, state: [.jointPositions(), .jointVelocities()])
    let condition = Condition(name: "up", initialPlantState: try model.plantState(keyframe: "up"))
    let dynamics = try MuJoCoDynamics(interface, in: condition)
    var workspace = try dynamics.makeWorkspace()
    let plant = try interface.makePlant()
    try plant.reset(condition)
    try plant.step(control: [0.1].span)
    var next = [0.0, 0.0]
    var target = next.mutableSpan
    try dynamics.step([0, 0].span, [0.1].span, workspace: &workspace, into: &target)
    #expect(next == plant.state(2))
    #expect(next[1] > 0.1, "the hand pulls the link")
  }
}
