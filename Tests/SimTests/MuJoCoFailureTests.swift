import CMuJoCo
import CMuJoCoGuard
import Configuration
import Foundation
import GPSCore
import Testing

@testable import Sim

/// Nothing a model or a state can do ends the process or leaves a file behind.
@Suite struct MuJoCoFailureTests {
  /// Whether MuJoCo has written to its log since these tests began; it may have before.
  static var logFile: Bool { logSize() != earlierLogSize }
  private static let earlierLogSize = logSize()
  private static func logSize() -> Int? {
    var status = stat()
    return stat("MUJOCO_LOG.TXT", &status) == 0 ? Int(status.st_size) : nil
  }

  init() { _ = Self.earlierLogSize }

  func reason(_ body: () throws -> Void) -> String? {
    do {
      try body()
      return nil
    } catch { return "\(error)" }
  }

  @Test func `an error that MuJoCo raises comes back with its text`() throws {
    let log = try GuardLog(source: "test")
    #expect(mjguard_raise(log.pointer, "first line\n  and second") == mjguard_error)
    #expect(log.errorText.contains("first line and second"))
    // Again, from another thread, and nested state is left clean.
    let thread = Thread { [pointer = UInt(bitPattern: log.pointer)] in
      _ = mjguard_raise(OpaquePointer(bitPattern: pointer), "from a thread")
    }
    thread.start()
    while !thread.isFinished { usleep(1000) }
    #expect(log.errorText.contains("from a thread"))
    #expect(!Self.logFile)
  }

  /// Two hinges about one axis: their inertia matrix is singular, whatever the body weighs.
  private func doubled(_ actuator: String) -> String {
    """
    <mujoco>
      <worldbody><body>
        <joint name="outer" axis="0 0 1"/><joint name="inner" axis="0 0 1"/><geom size="0.1" pos="0.3 0 0"/>
      </body></worldbody>
      <tendon><fixed name="both"><joint joint="outer" coef="1"/><joint joint="inner" coef="1"/></fixed></tendon>
      <actuator><motor name="m" \(actuator)/></actuator>
    </mujoco>
    """
  }

  @Test("A nearly singular inertia is a warning in words; only what becomes of it fails a rollout")
  func singularInertia() throws {
    func interface(_ actuator: String) throws -> MuJoCoInterface {
      try MuJoCoInterface(
        model: MuJoCoModel(mjcf: doubled(actuator)), state: [.jointPositions(), .jointVelocities()])
    }
    let fine = try interface("tendon=\"both\"")
    let condition = Condition(name: "start", initialPlantState: [0, 0, 0, 0])
    let plant = try fine.makePlant()
    try plant.reset(condition)
    for _ in 0..<50 { try plant.step(control: [0.1].span) }
    #expect(plant.state(4).allSatisfy { $0.isFinite })
    let warnings = fine.warnings(in: [condition, condition])
    #expect(warnings.count == 1)
    #expect(
      warnings.first?.contains("condition 'start' starts: the inertia matrix is nearly singular")
        == true)
    #expect(warnings.first?.contains("armature") == true)
    // A torque that drives the two apart has nothing to push against.
    let torn = try interface("joint=\"inner\"").makePlant()
    try torn.reset(condition)
    let failure =
      reason { for _ in 0..<50 { try torn.step(control: [1.0].span) } } ?? ""
    #expect(failure.contains("the inertia matrix is nearly singular at joint"), "\(failure)")
  }

  @Test("An arena is room that need not be used: it counts apart, within a bound of its own")
  func arena() throws {
    func model(_ memory: String) throws -> MuJoCoModel {
      try MuJoCoModel(
        mjcf: """
          <mujoco><size memory="\(memory)"/><worldbody><body><joint/><geom size="0.1"/></body></worldbody>
          <actuator><motor joint="joint_0"/></actuator></mujoco>
          """.replacingOccurrences(of: "<joint/>", with: "<joint name=\"joint_0\"/>"))
    }
    let plant = try MuJoCoInterface(model: model("3G"), state: [.jointPositions()]).makePlant()
    try plant.reset(Condition(name: "c", initialPlantState: [0, 0]))
    try plant.step(control: [1.0].span)
    let refusal = reason { _ = try model("20G") } ?? ""
    #expect(refusal.contains("the size memory is 20480 MB (at most 8192)"), "\(refusal)")
  }

  @Test func `what cannot be loaded is named with its reason`() throws {
    func reasonOf(_ text: String) -> String {
      reason { _ = try MuJoCoModel(mjcf: text, name: "m") } ?? ""
    }
    let own = NSTemporaryDirectory() + "gps-folder-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: own, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: own) }
    #expect(throws: MuJoCoError.noSuchFile(path: own + "/model.xml")) {
      try MuJoCoModel(contentsOf: own + "/model.xml")
    }
    #expect(throws: MuJoCoError.unreadable(path: own)) { try MuJoCoModel(contentsOf: own) }
    #expect(reasonOf("<mujoco><worldbody>").hasPrefix("m: MuJoCo does not accept this model: "))
    let unknown = reasonOf("<mujoco>\n<worldbody>\n<bodi/></worldbody></mujoco>")
    #expect(unknown.contains("bodi") && unknown.contains("line 3") && !unknown.contains("\n"))
    #expect(
      reasonOf("<mujoco><worldbody><body><joint/></body></worldbody></mujoco>").contains("mass"))
    let still = """
      <mujoco><worldbody><body><joint name="a"/><geom size="1"/></body></worldbody></mujoco>
      """
    #expect(throws: MuJoCoError.noActuators(source: "m")) {
      try MuJoCoInterface(
        model: MuJoCoModel(mjcf: still, name: "m"), state: [.jointPositions()])
    }
    let file = NSTemporaryDirectory() + "gps-\(UUID().uuidString).xml"
    try "<mujoco><geom mesh='no.stl'/></mujoco>".write(
      toFile: file, atomically: true, encoding: .utf8)
    defer { try? FileManager.default.removeItem(atPath: file) }
    #expect(reason { _ = try MuJoCoModel(contentsOf: file) }?.contains(file) == true)
    try pendulumText.write(toFile: file, atomically: true, encoding: .utf8)
    #expect(try MuJoCoModel(contentsOf: file).source == file)
    #expect(!Self.logFile)
  }

  @Test func `unknown names are refused with the nearest that exist`() throws {
    let model = try MuJoCoModel(mjcf: treeText, name: "tree.xml")
    #expect(
      reason { _ = try MuJoCoInterface(model: model, state: [.jointPositions(joints: ["rech"])]) }
        == "tree.xml: no joint is named 'rech'; there is reach, pan, wrist, flight")
    for state in [
      MuJoCoComponent.sitePositions(sites: ["tipp"]),
      .siteVelocities(sites: ["tip"], relativeTo: "x"),
      .sensors(["felt", "touch"]), .jointVelocities(joints: ["tip"]),
    ] {
      #expect(
        reason { _ = try MuJoCoInterface(model: model, state: [state]) }?.contains("named") == true)
    }
    #expect(
      reason { _ = try model.plantState(keyframe: "home") }
        == "tree.xml: no keyframe is named 'home'; the model has none with a name")
    #expect(
      reason { _ = try MuJoCoInterface(model: model, state: [.jointPositions()], points: ["nib"]) }
        == "tree.xml: no site is named 'nib'; there is tip, corner")
    #expect(
      reason {
        _ = try MuJoCoInterface(
          model: model, state: [.jointPositions(), .jointPositions(joints: ["pan"])])
      } == "the state holds joint_positions.pan_rad twice; name every component once")
  }

  @Test func `a condition that does not fit is refused before anything runs`() throws {
    let model = try MuJoCoModel(mjcf: treeText, name: "tree.xml")
    let interface = try MuJoCoInterface(
      model: model, state: [.jointPositions(), .goal], goalDimension: 2)
    let start = try model.plantState()
    func task(_ conditions: [Condition], test: [Condition] = []) throws -> MuJoCoTask {
      try MuJoCoTask(
        name: "t", interface: interface, horizon: 7, conditions: conditions, testConditions: test,
        cost: NoCost(), success: GoalIsPositive())
    }
    let good = Condition(name: "a", initialPlantState: start, goal: [1, 2])
    let made = try task([good], test: [good])
    #expect(
      made.dimensions
        == Dimensions(state: 14, control: 3, observation: 14, horizon: 7, points: 0))
    #expect(made.stateNames.count == 14 && made.controlPeriod == 0.002)
    func reasonOf(_ change: (inout Condition) -> Void) -> String {
      var bad = good
      change(&bad)
      return reason { _ = try task([good], test: [bad]) } ?? ""
    }
    #expect(
      reasonOf { $0.initialPlantState.removeLast() }
        == "condition 'a', initial plant state: 23 numbers where 24 are needed "
        + "(13 joint positions and 11 joint velocities)")
    #expect(reasonOf { $0.goal = [1] }.contains("goal: 1 numbers where 2"))
    #expect(reasonOf { $0.goal = [1, .nan] }.contains("goal is nan"))
    #expect(reasonOf { $0.initialPlantStateDeviation = [1] }.contains("deviation"))
    #expect(
      reasonOf { $0.initialPlantStateDeviation = .init(repeating: 1, count: 24) }
        .contains("24 numbers where 22"))
    #expect(
      reasonOf { $0.initialPlantState.replaceSubrange(9..<13, with: [0, 0, 0, 0]) }
        .contains("the quaternion of joint 'flight' is zero"))
    #expect(
      reasonOf { $0.initialPlantStateDeviation = .init(repeating: -1, count: 22) }
        .contains("-1.0"))
    #expect(reasonOf { $0.bodyOffsets = ["frist": [0, 0, 0]] }.contains("there is first"))
    #expect(reasonOf { $0.bodyOffsets = ["first": [0, 0]] }.contains("2 numbers where 3"))
    #expect(reasonOf { $0.bodyOffsets = ["loose": [0, 0, 1]] }.contains("free joint"))
    #expect(reasonOf { $0.bodyOffsets = ["world": [0, 0, 1]] }.contains("world"))
    #expect(reason { _ = try task([]) }?.contains("at least one condition") == true)
    #expect(
      reason { _ = try MuJoCoInterface(model: model, substeps: 0, state: [.jointPositions()]) }
        != nil)
    #expect(
      reason { _ = try MuJoCoInterface(model: model, timestep: -1, state: [.jointPositions()]) }
        != nil)
    #expect(
      reason { _ = try MuJoCoInterface(model: model, state: [.goal]) }?.contains("goalDimension")
        == true)
    #expect(
      reason { _ = try model.plantState(jointPositions: [1, 2]) }?.contains("pan, reach") == true)
  }

  @Test func `a control that is not a number fails the rollout, and the plant lives on`() throws {
    let model = try MuJoCoModel(mjcf: pendulumText)
    let interface = try MuJoCoInterface(
      model: model, state: [.jointPositions(), .jointVelocities()])
    let plant = try interface.makePlant()
    let condition = Condition(
      name: "c", initialPlantState: try model.plantState(keyframe: "raised"))
    let before = try plant.rollout(condition, steps: 20, state: 2, control: 1)
    #expect(throws: PlantFailure("control 'torque' is nan")) {
      try plant.step(control: [Double.nan].span)
    }
    #expect(throws: PlantFailure("control 'torque' is inf")) {
      try plant.step(control: [Double.infinity].span)
    }
    #expect(try plant.rollout(condition, steps: 20, state: 2, control: 1) == before)
    #expect(
      reason { try plant.step(control: [1e11].span) }
        == "control 'torque' is not a number or beyond 1e10")
    #expect(try plant.rollout(condition, steps: 20, state: 2, control: 1) == before)
    var start = condition
    start.initialPlantState[0] = .infinity
    #expect(throws: PlantFailure("position of joint 'hinge' is inf")) { try plant.reset(start) }
  }

  @Test(arguments: ["Euler", "RK4"])
  func `a model that explodes fails the rollout instead of starting anew`(integrator: String) throws
  {
    let text = """
      <mujoco>
        <option timestep="0.01" integrator="\(integrator)"/>
        <worldbody>
          <geom type="plane" size="1 1 0.1"/>
          <body pos="0 0 0.1"><joint name="calm" type="slide" axis="0 0 1"/><geom size="0.1"/></body>
          <body pos="0 0.5 1">
            <joint name="wild" axis="0 1 0"/>
            <geom type="capsule" fromto="0 0 0 0.1 0 0" size="0.01" mass="1e-6"/>
          </body>
        </worldbody>
        <actuator><position name="servo" joint="wild" kp="1e7"/></actuator>
      </mujoco>
      """
    let model = try MuJoCoModel(mjcf: text)
    let interface = try MuJoCoInterface(
      model: model, substeps: 5, state: [.jointPositions(), .jointVelocities()])
    let plant = try interface.makePlant()
    let condition = Condition(name: "c", initialPlantState: try model.plantState())
    try plant.reset(condition)
    let text1 = reason { for _ in 0..<200 { try plant.step(control: [1.0].span) } }
    #expect(text1?.contains("of joint '") == true, "\(text1 ?? "no failure")")
    // The same failure again from the start: nothing was left behind.
    try plant.reset(condition)
    #expect(reason { for _ in 0..<200 { try plant.step(control: [1.0].span) } } == text1)
    let narrow = try MuJoCoInterface(
      model: model, state: [.jointPositions()], stateLimit: 10
    ).makePlant()
    try narrow.reset(condition)
    let limited = reason { for _ in 0..<200 { try narrow.step(control: [1.0].span) } }
    #expect(limited?.contains("beyond the limit of 10.0") == true, "\(limited ?? "none")")
    #expect(!Self.logFile)
  }

  /// Twelve boxes side by side on the ground, and a hinge to have something to control.
  static func pile(memory: String) -> String {
    let bodies = (0..<12).map {
      """
      <body pos="\(0.05 * Double($0 % 3)) \(0.05 * Double($0 / 3)) 0.05"><freejoint/>
      <geom type="box" size="0.05 0.05 0.05"/></body>
      """
    }
    return """
      <mujoco><size memory="\(memory)"/><worldbody><geom type="plane" size="5 5 1"/>
      \(bodies.joined())
      <body name="arm" pos="0 0 3"><joint name="arm"/><geom size="0.1"/></body></worldbody>
      <actuator><motor joint="arm"/></actuator></mujoco>
      """
  }

  @Test func `a model that runs out of memory fails the rollout, not the process`() throws {
    // Too little even for the compiler.
    #expect(
      reason { _ = try MuJoCoModel(mjcf: Self.pile(memory: "1K")) }?.contains("memory") == true)
    var failures: Set<String> = []
    for kilobytes in stride(from: 8, through: 120, by: 4) {
      guard let model = try? MuJoCoModel(mjcf: Self.pile(memory: "\(kilobytes)K")) else { continue }
      let interface = try MuJoCoInterface(model: model, state: [.jointPositions()])
      let plant = try interface.makePlant()
      let condition = Condition(name: "c", initialPlantState: try model.plantState())
      var reasons: [String?] = []
      for _ in 0..<2 {
        reasons.append(
          reason {
            try plant.reset(condition)
            for _ in 0..<20 { try plant.step(control: [0.0].span) }
          })
      }
      #expect(reasons[0] == reasons[1])
      if let reason = reasons[0] { failures.insert(reason) }
    }
    // Contacts or constraints left out, and scratch that could not be had.
    #expect(failures.contains { $0.hasPrefix("no room for more than") })
    #expect(failures.contains { $0.hasPrefix("MuJoCo error: mj_stackAlloc: out of memory") })
    #expect(!Self.logFile)
  }

  @Test func `after an error of MuJoCo the plant must be reset, and then works`() throws {
    // The error arises only where the boxes touch.
    let model = try MuJoCoModel(mjcf: Self.pile(memory: "20K"))
    let interface = try MuJoCoInterface(
      model: model, state: [.jointPositions(), .jointVelocities()])
    let n = interface.stateNames.count
    let plant = try interface.makePlant()
    let touching = Condition(name: "touching", initialPlantState: try model.plantState())
    var apart = touching
    for i in 0..<12 { apart.initialPlantState[7 * i + 2] += 1 + Double(i) }
    let before = try plant.rollout(apart, steps: 10, state: n, control: 1)
    for _ in 0..<3 {
      let failure = reason { try plant.reset(touching) }
      #expect(failure?.hasPrefix("MuJoCo error: mj_stackAlloc: out of memory") == true)
      #expect(reason { try plant.step(control: [0.0].span) }?.contains("not reset") == true)
      #expect(plant.state(n).allSatisfy { $0.isNaN })
      #expect(try plant.rollout(apart, steps: 10, state: n, control: 1) == before)
    }
  }

  @Test func `components read back what they write`() throws {
    let components: [MuJoCoComponent] = [
      .jointPositions(), .jointVelocities(joints: ["a"]),
      .sitePositions(sites: ["s", "t"], relativeTo: "u"), .siteVelocities(sites: ["s"]),
      .sensors(["k"]), .actuatorActivations, .goal,
    ]
    #expect(try writtenAndRead(components) == components)
    func read(_ text: String) throws -> [MuJoCoComponent] {
      try [MuJoCoComponent].codec.read(SettingsTree(yaml: text, name: "f"), "state")
    }
    #expect(
      try read("[jointPositions, {sitePositions: {sites: [tip]}}]")
        == [.jointPositions(), .sitePositions(sites: ["tip"])])
    for bad in ["[sensors]", "[jointPosition]", "[{goal: 1, sensors: []}]"] {
      #expect(throws: SettingsError.self) { try read(bad) }
    }
  }

  @Test func `the version is that of the library`() {
    #expect(MuJoCoVersion.current.split(separator: ".").count == 3)
  }
}
