import CMuJoCo
import GPSCore
import LinearAlgebra
import Testing

@_spi(Benchmarks) @testable import Sim

/// A link on a hinge, with what stands in the sections.
private func linkText(
  actuators: String, sensors: String = "", option: String = "", extra: String = ""
) -> String {
  """
  <mujoco>
    <option timestep="0.01" integrator="implicitfast">\(option)</option>
    <worldbody>
      <body name="link" pos="0 0 1">
        <joint name="j" axis="0 1 0" damping="0.1"/>
        <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="1"/>
        <site name="end" pos="0.3 0 0.02"/>
      </body>
      <site name="anchor" pos="-0.2 0 1.1"/>
      <site name="other" pos="-0.2 0 0.9"/>
    </worldbody>
    <tendon>
      <spatial name="above"><site site="anchor"/><site site="end"/></spatial>
      <spatial name="below"><site site="other"/><site site="end"/></spatial>
    </tendon>
    <actuator>\(actuators)</actuator>
    <sensor>\(sensors)</sensor>
    \(extra)
  </mujoco>
  """
}

private let muscles = """
  <muscle name="up" tendon="above" lengthrange="0.2 0.7" force="40"/>
  <muscle name="down" tendon="below" lengthrange="0.2 0.7" force="40"/>
  """

@Suite("MuJoCo hidden state") struct MuJoCoHiddenStateTests {
  private let state: [MuJoCoComponent] = [.jointPositions(), .jointVelocities()]

  private func interface(
    _ text: String, _ state: [MuJoCoComponent]? = nil, substeps: Int = 2
  ) throws -> MuJoCoInterface {
    try MuJoCoInterface(
      model: MuJoCoModel(mjcf: text), substeps: substeps, state: state ?? self.state)
  }

  private func condition(_ interface: MuJoCoInterface) throws -> Condition {
    Condition(name: "c", initialPlantState: try interface.model.plantState())
  }

  private func refusal(_ interface: MuJoCoInterface) throws -> String {
    do {
      _ = try MuJoCoDynamics(interface, in: condition(interface))
      return ""
    } catch { return "\(error)" }
  }

  private let delayed = linkText(
    actuators: """
      <motor name="late" joint="j" delay="0.04" nsample="6"/>
      <position name="smooth" joint="j" kp="3" delay="0.03" nsample="5" interp="linear"/>
      """,
    sensors: """
      <jointpos name="seen" joint="j" delay="0.03" nsample="5"/>
      <jointvel name="sampled" joint="j" interval="0.05" nsample="2"/>
      <actuatorfrc name="felt" actuator="late" delay="0.02" nsample="4"/>
      <clock name="now"/>
      """)

  @Test("Delayed controls and sensors that remember go through a rollout as in MuJoCo alone")
  func rollout() throws {
    let interface = try interface(delayed, state + [.sensors(["seen", "sampled", "felt"])])
    let model = interface.model.pointer
    let condition = try condition(interface)
    let plant = try interface.makePlant()
    let states = try plant.rollout(condition, steps: 40, state: 5, control: 2)
    let data = try #require(mj_makeData(model))
    defer { mj_deleteData(data) }
    for step in 0..<40 {
      let u = wave(step, count: 2)
      for i in 0..<2 { data.pointee.ctrl[i] = u[i] }
      for _ in 0..<2 { mj_step(model, data) }
      #expect(states[step + 1][0] == data.pointee.qpos[0], "\(step)")
      #expect(states[step + 1][1] == data.pointee.qvel[0], "\(step)")
    }
    // Sensors are read at the state they stand beside, MuJoCo's at the start of its last step.
    mj_forward(model, data)
    for i in 0..<3 { #expect(states[40][2 + i] == data.pointee.sensordata[i]) }
    #expect(abs(states[40][0] - states[40][2]) > 1e-4, "the reading is late")
    // The next rollout knows nothing of this one.
    #expect(try plant.rollout(condition, steps: 40, state: 5, control: 2) == states)
  }

  @Test("A rollout under delays is MuJoCo's own loop for as long as it goes")
  func bareSteps() throws {
    let interface = try interface(delayed)
    let condition = try condition(interface)
    let states = try interface.makePlant().rollout(condition, steps: 30, state: 2, control: 2)
    let bare = try BareSteps(interface, condition: condition)
    bare.run(Matrix(rows: 2, columns: 30, columnMajor: (0..<30).flatMap { wave($0, count: 2) }))
    #expect(bare.largestGap(to: states[30]) == 0)
  }

  @Test("Known dynamics refuse what no state can hold, by name")
  func refusals() throws {
    #expect(try refusal(interface(delayed)).contains("actuator 'late' (delay)"))
    let motor = "<motor name='m' joint='j'/>"
    let sensors = """
      <jointpos name="seen" joint="j" delay="0.03" nsample="5"/>
      <jointvel name="sampled" joint="j" interval="0.05" nsample="2"/>
      """
    let remembering = linkText(actuators: motor, sensors: sensors)
    // Only where the state shows them.
    #expect(try refusal(interface(remembering)) == "")
    for name in ["seen", "sampled"] {
      #expect(
        try refusal(interface(remembering, state + [.sensors([name])])).contains("'\(name)'"))
    }
    let asleep = linkText(actuators: motor, option: "<flag sleep='enable'/>")
    #expect(try refusal(interface(asleep)).contains("sleep"))
    #expect(try refusal(interface(linkText(actuators: motor))) == "")
  }

  @Test("A clock in the state is the time that the step starts from")
  func clock() throws {
    let interface = try interface(
      linkText(
        actuators: "<motor name='m' joint='j'/>",
        sensors: "<clock name='now'/><jointpos name='p' joint='j'/>"),
      [.sensors(["p", "now"])] + state)
    let dynamics = try MuJoCoDynamics(interface, in: condition(interface))
    let x = [9, 1.25, 0.3, -0.7]
    #expect(abs(try dynamics.stepped(x, [0.5])[1] - 1.27) < 1e-12)
    let F = try dynamics.linearization(x, [0.5]).F
    for j in 0..<5 {
      #expect(abs(F[1, j] - (j == 1 ? 1 : 0)) < 1e-7, "the clock by \(j)")
      #expect(F[j % 4, 0] == 0, "nothing by the sensor")
    }
    for i in [0, 2, 3] { #expect(F[i, 1] == 0, "\(i) by the clock") }
    // Along a rollout both agree, the clock included.
    let plant = try interface.makePlant()
    let states = try plant.rollout(condition(interface), steps: 20, state: 4, control: 1)
    for t in 0..<20 {
      let next = try dynamics.stepped(states[t], wave(t, count: 1))
      #expect(expectClose(next, states[t + 1], within: 1e-12))
    }
  }

  @Test("Activations join the state when it does not list them, and this is said")
  func joining() throws {
    let interface = try interface(linkText(actuators: muscles))
    #expect(
      interface.stateNames.suffix(2) == ["actuator_activations.up", "actuator_activations.down"])
    #expect(interface.observationNames.count == 4)
    #expect(interface.remarks.count == 1)
    let listed = try self.interface(
      linkText(actuators: muscles), [.actuatorActivations] + state)
    #expect(listed.stateNames.count == 4 && listed.remarks.isEmpty)
    let none = try self.interface(linkText(actuators: "<motor joint='j'/>"))
    #expect(none.stateNames.count == 2 && none.remarks.isEmpty)
    // What a policy sees stays what was asked for.
    let blind = try MuJoCoInterface(
      model: interface.model, state: state, observation: [.jointPositions()])
    #expect(blind.stateNames.count == 4 && blind.observationNames.count == 1)
  }

  @Test(
    "Known dynamics with activations are those of the plant, with their derivatives",
    arguments: [
      ("<general name='f' joint='j' dyntype='filter' dynprm='0.1' gainprm='2'/>", true),
      ("<general name='f' joint='j' dyntype='filterexact' dynprm='0.1' actearly='true'/>", true),
      ("<intvelocity name='i' joint='j' kp='5' actrange='-2 2'/>", true),
      ("<motor name='m' joint='j'/><general name='f' joint='j' dyntype='filter'/>", true),
      (muscles, false),
      (muscles.replacing("force=", with: "ctrlrange='0 1' force="), true),
    ])
  func activations(actuators: String, byTransition: Bool) throws {
    let interface = try interface(linkText(actuators: actuators), substeps: 3)
    let condition = try condition(interface)
    let dynamics = try MuJoCoDynamics(interface, in: condition)
    #expect(dynamics.usesTransitionDifferences == byTransition)
    let (n, m) = (dynamics.state, dynamics.control)
    func control(_ t: Int) -> [Double] { wave(t, count: m).map { 0.5 + 0.4 * $0 } }
    let plant = try interface.makePlant()
    try plant.reset(condition)
    let checker = DynamicsChecker(
      stateNames: interface.stateNames, controlNames: interface.controlNames)
    for t in 0..<12 {
      let x = plant.state(n)
      try plant.step(control: control(t).span)
      #expect(
        expectClose(try dynamics.stepped(x, control(t)), plant.state(n), within: 1e-12), "\(t)")
      if t % 4 == 3 {
        let report = try checker.check(dynamics, state: x, control: control(t))
        #expect(report.isCorrect, "\(report)")
      }
    }
  }

  @Test(
    "At its limit a control's derivative is that of the side where it acts",
    arguments: [muscles, muscles.replacing("force=", with: "ctrlrange='0 1' force=")])
  func atLimits(actuators: String) throws {
    let interface = try interface(linkText(actuators: actuators))
    let dynamics = try MuJoCoDynamics(interface, in: condition(interface))
    let x = [0.2, -0.3, 0.4, 0.6]
    let F = try dynamics.linearization(x, [0, 1]).F
    let h = 1e-6
    let rest = try dynamics.stepped(x, [0, 1])
    let ahead = try dynamics.stepped(x, [h, 1])
    let behind = try dynamics.stepped(x, [0, 1 - h])
    for i in 0..<4 {
      #expect(abs(F[i, 4] - (ahead[i] - rest[i]) / h) < 1e-5, "\(i)")
      #expect(abs(F[i, 5] - (rest[i] - behind[i]) / h) < 1e-5, "\(i)")
    }
    #expect(F[2, 4] > 1e-3 && F[3, 5] > 1e-3)
  }

  @Test("A keyframe's activations are where known dynamics begin")
  func keyframe() throws {
    let interface = try interface(
      linkText(
        actuators: muscles, extra: "<keyframe><key name='tense' act='0.7 0.1'/></keyframe>"))
    let model = interface.model
    let tense = Condition(name: "t", initialPlantState: try model.plantState(keyframe: "tense"))
    let dynamics = try MuJoCoDynamics(interface, in: tense)
    let plant = try interface.makePlant()
    try plant.reset(tense)
    #expect(plant.state(4) == [0, 0, 0.7, 0.1])
    let x = plant.state(4)
    try plant.step(control: [0.5, 0.5].span)
    #expect(expectClose(try dynamics.stepped(x, [0.5, 0.5]), plant.state(4), within: 1e-12))
  }
}
