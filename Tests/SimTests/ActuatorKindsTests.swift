import CMuJoCo
import Foundation
import GPSCore
import Testing

@testable import Sim

/// One actuator of each kind that MuJoCo has, on a scene with something for each to act on.
struct ActuatorKind: Sendable, CustomTestStringConvertible {
  let name: String
  let element: String
  var controls = 1
  var activations = 0
  /// Whether the state and the controls alone say what comes next.
  var isKnown = true
  var testDescription: String { name }

  static let all = [
    Self(name: "negative gear", element: "<motor joint='hinge' gear='-2'/>"),
    Self(name: "slide", element: "<motor joint='slide'/>"),
    Self(name: "ball joint", element: "<motor joint='ball' gear='0 0.1 1'/>"),
    Self(name: "ball joint in parent", element: "<motor jointinparent='ball' gear='0 1 0'/>"),
    Self(name: "free joint", element: "<motor joint='free' gear='0 0 1 0 0.1 0'/>"),
    Self(
      name: "position servo", element: "<position joint='hinge' kp='10' kv='1' ctrlrange='-1 1'/>"),
    Self(
      name: "position servo with time constant",
      element: "<position joint='hinge' kp='10' timeconst='0.05'/>", activations: 1),
    Self(name: "velocity servo", element: "<velocity joint='slide' kv='3'/>"),
    Self(
      name: "integrated velocity", element: "<intvelocity joint='hinge' kp='10' actrange='-1 1'/>",
      activations: 1),
    Self(name: "damper", element: "<damper joint='hinge' kv='3' ctrlrange='0 2'/>"),
    Self(
      name: "cylinder", element: "<cylinder joint='slide' timeconst='0.1' area='2'/>",
      activations: 1),
    Self(
      name: "muscle on a tendon",
      element: "<muscle tendon='cord' lengthrange='0.1 0.8' force='20'/>", activations: 1),
    Self(
      name: "muscle on a joint", element: "<muscle joint='hinge' lengthrange='-2 2' force='2'/>",
      activations: 1),
    Self(name: "adhesion", element: "<adhesion body='box' gain='3' ctrlrange='0 1'/>"),
    Self(name: "fixed tendon", element: "<motor tendon='fixed'/>"),
    Self(name: "spatial tendon", element: "<motor tendon='cord'/>"),
    Self(name: "thruster on a site", element: "<motor site='rotor' gear='0 0 1 0 0 0.02'/>"),
    Self(
      name: "site relative to another",
      element: "<position site='hand' refsite='wall' gear='1 0 0 0 0 0' kp='5'/>"),
    Self(
      name: "slider-crank",
      element: "<motor cranksite='rim' slidersite='axis' cranklength='0.6' gear='3'/>"),
    Self(
      name: "general",
      element: """
        <general joint='hinge' dyntype='filterexact' dynprm='0.05' gaintype='affine'
          gainprm='1 0.1 0.1' biastype='affine' biasprm='0 -1 -0.1'/>
        """, activations: 1),
    Self(
      name: "delayed", element: "<motor joint='hinge' delay='0.02' nsample='5'/>", isKnown: false),
    Self(
      name: "DC motor", element: "<dcmotor joint='hinge' motorconst='0.05 0.05' resistance='1'/>"),
    Self(name: "PID with two setpoints", element: "<pid joint='hinge' kp='3'/>", controls: 2),
    Self(name: "orientation servo", element: "<orientation joint='ball' kp='2'/>", controls: 3),
  ]

  var model: String {
    """
    <mujoco>
      <option timestep="0.005" integrator="implicitfast"/>
      <worldbody>
        <geom type="plane" size="2 2 0.1"/>
        <body name="a" pos="0 0 1">
          <joint name="hinge" axis="0 1 0" damping="0.1"/>
          <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" mass="0.5"/>
          <site name="tip" pos="0.3 0 0"/>
          <body name="b" pos="0.3 0 0">
            <joint name="ball" type="ball" damping="0.1"/>
            <geom type="box" size="0.05 0.03 0.02" pos="0.05 0 0" mass="0.2"/>
            <site name="hand" pos="0.05 0 0"/>
          </body>
        </body>
        <body name="cart" pos="0 1 1">
          <joint name="slide" type="slide" axis="1 0 0" damping="0.1"/>
          <geom size="0.05" mass="1"/>
        </body>
        <body name="wheel" pos="0.5 1 1">
          <joint name="crank" axis="0 1 0" damping="0.1"/>
          <geom type="cylinder" size="0.1 0.02" euler="90 0 0" mass="1"/>
          <site name="rim" pos="0 0 0.1"/>
        </body>
        <body name="box" pos="0 -1 0.05">
          <joint name="free" type="free"/>
          <geom type="box" size="0.05 0.05 0.05" mass="0.1"/>
          <site name="rotor"/>
        </body>
        <site name="wall" pos="-0.2 0 1.2"/>
        <site name="axis" pos="0 1 1" zaxis="1 0 0"/>
      </worldbody>
      <tendon>
        <fixed name="fixed"><joint joint="hinge" coef="1"/><joint joint="slide" coef="-0.5"/></fixed>
        <spatial name="cord"><site site="wall"/><site site="tip"/></spatial>
      </tendon>
      <actuator>\(element)</actuator>
    </mujoco>
    """
  }
}

@Suite("Every kind of actuator") struct ActuatorKindsTests {
  @Test("loads and rolls out as in MuJoCo alone, bit for bit", arguments: ActuatorKind.all)
  func rollout(kind: ActuatorKind) throws {
    let model = try MuJoCoModel(mjcf: kind.model)
    #expect(model.controlCount == kind.controls && model.activationCount == kind.activations)
    let interface = try MuJoCoInterface(
      model: model, substeps: 3,
      state: [.jointPositions(joints: ["hinge", "slide", "crank"]), .jointVelocities()])
    #expect(Set(interface.controlNames).count == kind.controls)
    let plant = try interface.makePlant()
    let condition = Condition(name: "c", initialPlantState: try model.plantState())
    let (n, m) = (interface.stateNames.count, kind.controls)
    let states = try plant.rollout(condition, steps: 40, state: n, control: m)
    let raw = model.pointer
    func bare(_ control: (Int) -> [Double]) throws -> [Double] {
      let data = try #require(mj_makeData(raw))
      defer { mj_deleteData(data) }
      for t in 0..<40 {
        let u = control(t)
        for i in 0..<m { data.pointee.ctrl[i] = u[i] }
        for _ in 0..<3 { mj_step(raw, data) }
      }
      // Hinges and slides, then all velocities, then activations.
      let positions = try ["hinge", "slide", "crank"].map {
        data.pointee.qpos[model.joint(try model.index(.joint, $0)).position]
      }
      return positions + (0..<model.jointVelocityCount).map { data.pointee.qvel[$0] }
        + (0..<model.activationCount).map { data.pointee.act[$0] }
    }
    let own = try bare { wave($0, count: m) }
    #expect(states[40] == own)
    #expect(try bare { _ in [Double](repeating: 0, count: m) } != own, "the control acts")
  }

  @Test("is part of known dynamics, or refused by name", arguments: ActuatorKind.all)
  func hidden(kind: ActuatorKind) throws {
    #expect((try MuJoCoModel(mjcf: kind.model).hiddenState == nil) == kind.isKnown)
  }
}

@Suite("Every kind of model file") struct ModelFileKindsTests {
  private let folder = URL(fileURLWithPath: NSTemporaryDirectory())
    .appendingPathComponent("gps-files-\(UUID().uuidString)")

  private func saved(_ name: String, _ write: (String) throws -> Void) throws -> MuJoCoModel {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let path = folder.appendingPathComponent(name).path
    try write(path)
    return try MuJoCoModel(contentsOf: path)
  }

  /// States after some steps.
  private func movement(of model: MuJoCoModel) throws -> [[Double]] {
    let interface = try MuJoCoInterface(
      model: model, substeps: 2, state: [.jointPositions(), .jointVelocities()])
    let condition = Condition(name: "c", initialPlantState: try model.plantState())
    return try interface.makePlant().rollout(
      condition, steps: 20, state: interface.stateNames.count, control: interface.controlCount)
  }

  @Test("A binary model moves as the one it was compiled from")
  func binary() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let original = try MuJoCoModel(mjcf: pendulumText)
    let binary = try saved("m.mjb") { mj_saveModel(original.pointer, $0, nil, 0) }
    #expect(try movement(of: binary) == movement(of: original))
    #expect(binary.jointNames == original.jointNames)
    #expect(binary.files.contents.keys.sorted() == ["m.mjb"])
  }

  @Test("A range that the compiler would have refused is refused in a binary model")
  func brokenRange() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    for (lower, upper) in [(1.0, -1.0), (.nan, 1), (.infinity, .infinity)] {
      let original = try MuJoCoModel(
        mjcf: pendulumText.replacing(
          "joint=\"hinge\"/></act", with: "joint=\"hinge\" ctrlrange=\"-1 1\"/></act"))
      #expect(original.controlLimits == ControlLimits(magnitudes: [1]))
      original.pointer.pointee.actuator_ctrlrange[0] = lower
      original.pointer.pointee.actuator_ctrlrange[1] = upper
      #expect {
        try saved("m.mjb") { mj_saveModel(original.pointer, $0, nil, 0) }
      } throws: {
        "\($0)".contains("a control's range is")
      }
    }
  }

  @Test("An archive holds a model and its files", arguments: ["mjz", "zip"])
  func archive(ending: String) throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let part = """
      <mujocoinclude>
        <body name="rod" pos="0 0 2">
          <joint name="hinge" axis="0 1 0"/>
          <inertial pos="0 0 -1" mass="1" diaginertia="1e-9 1e-9 1e-9"/>
        </body>
      </mujocoinclude>
      """
    let whole = """
      <mujoco>
        <option timestep="0.001"/>
        <worldbody><include file="parts/rod.xml"/></worldbody>
        <actuator><motor name="torque" joint="hinge"/></actuator>
      </mujoco>
      """
    let archive = try saved("arm.\(ending)") { path in
      try Data(zipArchive([("arm.xml", whole), ("parts/rod.xml", part)])).write(
        to: URL(fileURLWithPath: path))
    }
    #expect(archive.jointNames == ["hinge"] && archive.controlNames == ["torque"])
    #expect(try movement(of: archive) == movement(of: MuJoCoModel(mjcf: pendulumText)))
  }

  @Test("A URDF has no actuators of its own; an MJCF file that attaches it gives it some")
  func urdf() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let robot = """
      <robot name="r">
        <link name="base"/>
        <link name="rod">
          <inertial>
            <origin xyz="0 0 -1"/><mass value="1"/>
            <inertia ixx="1e-3" iyy="1e-3" izz="1e-3" ixy="0" ixz="0" iyz="0"/>
          </inertial>
        </link>
        <joint name="hinge" type="revolute">
          <parent link="base"/><child link="rod"/><axis xyz="0 1 0"/>
          <limit lower="-3" upper="3" effort="10" velocity="10"/>
        </joint>
      </robot>
      """
    let bare = try saved("robot.urdf") {
      try robot.write(toFile: $0, atomically: true, encoding: .utf8)
    }
    #expect(bare.jointNames == ["hinge"])
    if bare.controlCount == 0 {
      #expect(throws: MuJoCoError.noActuators(source: bare.source)) {
        try MuJoCoInterface(model: bare, state: [.jointPositions()])
      }
    }
    let scene = """
      <mujoco>
        <asset><model name="robot" file="robot.urdf"/></asset>
        <worldbody><frame><attach model="robot" body="rod" prefix="r_"/></frame></worldbody>
        <actuator><motor name="torque" joint="r_hinge"/></actuator>
      </mujoco>
      """
    let driven = try saved("scene.xml") {
      try scene.write(toFile: $0, atomically: true, encoding: .utf8)
    }
    #expect(driven.jointNames == ["r_hinge"] && driven.controlNames == ["torque"])
    #expect(driven.files.contents.keys.sorted() == ["robot.urdf", "scene.xml"])
  }
}

/// A zip archive of texts, stored as they are.
private func zipArchive(_ files: [(name: String, text: String)]) -> [UInt8] {
  func bytes(_ value: Int, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }
  func crc32(_ bytes: [UInt8]) -> Int {
    var crc: UInt32 = 0xFFFF_FFFF
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0xEDB8_8320 : crc >> 1 }
    }
    return Int(~crc)
  }
  var archive: [UInt8] = []
  var directory: [UInt8] = []
  for (name, text) in files {
    let (name, data) = (Array(name.utf8), Array(text.utf8))
    let common =
      bytes(20, 2) + bytes(0, 2) + bytes(0, 2) + bytes(0, 4) + bytes(crc32(data), 4)
      + bytes(data.count, 4) + bytes(data.count, 4) + bytes(name.count, 2) + bytes(0, 2)
    directory +=
      bytes(0x0201_4B50, 4) + bytes(20, 2) + common + bytes(0, 10) + bytes(archive.count, 4) + name
    archive += bytes(0x0403_4B50, 4) + common + name + data
  }
  return archive + directory + bytes(0x0605_4B50, 4) + bytes(0, 4) + bytes(files.count, 2)
    + bytes(files.count, 2) + bytes(directory.count, 4) + bytes(archive.count, 4) + bytes(0, 2)
}
