import CMuJoCo
import Configuration
import Foundation
import GPSCore
import Testing

@testable import Sim

/// A free body with an arm of two joints over a floor, on which a crate rests.
private let text = """
  <mujoco>
    <option timestep="0.002" gravity="0 0 -10"/>
    <worldbody>
      <geom name="floor" type="plane" size="5 5 0.1"/>
      <body name="base" pos="0 0 3" quat="0.8 0 0.6 0">
        <joint name="root" type="free"/>
        <geom name="plate" type="box" size="0.2 0.1 0.05" mass="3"/>
        <site name="eye" pos="0.1 0.1 0" euler="10 20 30"/>
        <body name="arm" pos="0.2 0 0">
          <joint name="pan" axis="0 0 1"/>
          <geom name="link" type="capsule" fromto="0 0 0 0.3 0 0" size="0.03" mass="1"/>
          <body name="hand" pos="0.3 0 0">
            <joint name="reach" type="slide" axis="1 0 0"/>
            <geom name="palm" size="0.04" mass="0.5" pos="0.02 0 0"/>
            <site name="tip" pos="0.05 0 0"/>
          </body>
        </body>
      </body>
      <body name="crate" pos="1 1 0.1">
        <joint name="slide" type="slide" axis="0 0 1"/>
        <geom name="box" type="box" size="0.1 0.1 0.1" mass="2"/>
      </body>
    </worldbody>
    <actuator><motor name="pan" joint="pan"/><motor name="reach" joint="reach"/></actuator>
  </mujoco>
  """

@Suite("Components of a state or an observation") struct MuJoCoComponentTests {
  /// The plant after some steps, and MuJoCo's own data in the same state.
  private func run(
    _ components: [MuJoCoComponent], steps: Int = 50,
    _ check: (_ numbers: [String: Double], MuJoCoModel, UnsafeMutablePointer<mjData>) throws -> Void
  ) throws {
    let model = try MuJoCoModel(mjcf: text)
    let interface = try MuJoCoInterface(
      model: model, substeps: 4, state: [.jointPositions(), .jointVelocities()],
      observation: components)
    var start = try model.plantState()
    for i in 0..<model.jointVelocityCount - 1 {
      start[model.jointPositionCount + i] = cos(Double(i)) * 2
    }
    let plant = try interface.makePlant()
    try plant.reset(Condition(name: "c", initialPlantState: start))
    let data = try #require(mj_makeData(model.pointer))
    defer { mj_deleteData(data) }
    for i in 0..<model.jointPositionCount { data.pointee.qpos[i] = start[i] }
    for i in 0..<model.jointVelocityCount {
      data.pointee.qvel[i] = start[model.jointPositionCount + i]
    }
    for step in 0..<steps {
      try plant.step(control: wave(step, count: 2).span)
      for (i, u) in wave(step, count: 2).enumerated() { data.pointee.ctrl[i] = u }
      for _ in 0..<4 { mj_step(model.pointer, data) }
    }
    mj_forward(model.pointer, data)
    let numbers = plant.observation(interface.observationNames.count)
    #expect(Set(interface.observationNames).count == numbers.count)
    try check(
      Dictionary(uniqueKeysWithValues: zip(interface.observationNames, numbers)), model, data)
  }

  private static let axes = ["x", "y", "z"]

  @Test(
    "Positions and orientations are MuJoCo's, of sites, bodies and geoms",
    arguments: MuJoCoFrame.allCases)
  func frames(frame: MuJoCoFrame) throws {
    let name = [MuJoCoFrame.site: "eye", .body: "hand", .geom: "link"][frame] ?? ""
    try run([
      .positions(frame, [name]), .orientations(frame, [name], as: .axes),
      .orientations(frame, [name]), .positions(frame, [name], relativeTo: "tip"),
      .orientations(frame, [name], relativeTo: "crate", as: .twoAxes),
      .orientations(frame, [name], relativeTo: "tip", as: .zAxis),
    ]) { numbers, model, data in
      let index = try model.index(frame.kind, name)
      let tip = try model.index(.site, "tip")
      let frames = UnsafePointer(data).frames(frame)
      let own = (0..<9).map { frames.matrices[9 * index + $0] }
      let base = (0..<9).map { data.pointee.site_xmat[9 * tip + $0] }
      let start = "\(frame.rawValue)_"
      for (i, axis) in Self.axes.enumerated() {
        let place = frames.positions[3 * index + i]
        #expect(abs((numbers["\(start)positions.\(name).\(axis)_m"] ?? .nan) - place) < 1e-9)
        #expect(
          abs(
            (numbers["\(start)positions.\(name)_from_tip.\(axis)_m"] ?? .nan) - place
              + data.pointee.site_xpos[3 * tip + i]) < 1e-9)
        for (j, other) in Self.axes.enumerated() {
          let entry = "\(start)orientations.\(name).\(other)_axis.\(axis)"
          #expect(abs((numbers[entry] ?? .nan) - own[3 * i + j]) < 1e-9, "\(entry)")
          // The crate never turns.
          let told = numbers["\(start)orientations.\(name)_from_crate.\(other)_axis.\(axis)"]
          #expect(other == "z" ? told == nil : abs((told ?? .nan) - own[3 * i + j]) < 1e-9)
        }
        // Rᵀ_tip z
        let seen = (0..<3).reduce(0) { $0 + base[3 * $1 + i] * own[3 * $1 + 2] }
        let entry = "\(start)orientations.\(name)_from_tip.z_axis.\(axis)"
        #expect(abs((numbers[entry] ?? .nan) - seen) < 1e-9)
      }
      let r = SIMD3(
        Self.axes.map { numbers["\(start)orientations.\(name).r\($0)_rad"] ?? .nan })
      let turned = Rotation(vector: r).axes
      for row in 0..<3 {
        #expect(abs(turned.x[row] - own[3 * row]) < 1e-9)
        #expect(abs(turned.y[row] - own[3 * row + 1]) < 1e-9)
      }
    }
  }

  @Test("Velocities are derivatives of positions and orientations", arguments: MuJoCoFrame.allCases)
  func velocities(frame: MuJoCoFrame) throws {
    let name = [MuJoCoFrame.site: "tip", .body: "hand", .geom: "palm"][frame] ?? ""
    try run([
      .velocities(frame, [name]), .angularVelocities(frame, [name]),
      .velocities(frame, [name], relativeTo: "base"),
    ]) { numbers, model, data in
      let index = try model.index(frame.kind, name)
      let h = 1e-6
      // MuJoCo's own kinematics a moment later, and a moment before.
      func moment(_ h: Double) throws -> (place: [Double], turned: Rotation, base: [Double]) {
        let other = try #require(mj_copyData(nil, model.pointer, data))
        defer { mj_deleteData(other) }
        mj_integratePos(model.pointer, other.pointee.qpos, data.pointee.qvel, h)
        mj_kinematics(model.pointer, other)
        let frames = UnsafePointer(other).frames(frame)
        let base = try model.index(.body, "base")
        return (
          (0..<3).map { frames.positions[3 * index + $0] },
          Rotation(matrix: frames.matrices + 9 * index),
          (0..<3).map { other.pointee.xpos[3 * base + $0] }
        )
      }
      let (after, before) = (try moment(h), try moment(-h))
      // In the world: exp(ω 2h) R⁻ = R⁺.
      let spin = (after.turned * before.turned.inverse).vector / (2 * h)
      for (i, axis) in Self.axes.enumerated() {
        let rate = (after.place[i] - before.place[i]) / (2 * h)
        let base = (after.base[i] - before.base[i]) / (2 * h)
        let start = "\(frame.rawValue)_"
        let own = numbers["\(start)velocities.\(name).\(axis)_m_per_s"] ?? .nan
        #expect(abs(own - rate) < 1e-6)
        let relative = numbers["\(start)velocities.\(name)_from_base.\(axis)_m_per_s"] ?? .nan
        #expect(abs(relative - rate + base) < 1e-6)
        let angular = numbers["\(start)angular_velocities.\(name).\(axis)_rad_per_s"] ?? .nan
        #expect(abs(angular - spin[i]) < 1e-6)
      }
    }
  }

  @Test("Centres of mass and momenta are sums over bodies; the floor carries the crate")
  func masses() throws {
    try run(
      [
        .centersOfMass(bodies: ["base", "hand"]), .linearMomenta(bodies: ["base", "arm"]),
        .angularMomenta(bodies: ["base"]), .contactForces(bodies: ["crate", "base", "world"]),
        .sinCos(),
      ], steps: 40
    ) { numbers, model, data in
      func number(_ name: String) -> Double { numbers[name] ?? .nan }
      let bodies = try ["base", "arm", "hand"].map { try model.index(.body, $0) }
      var (mass, centre, momentum) = (0.0, SIMD3<Double>.zero, SIMD3<Double>.zero)
      var parts:
        [(mass: Double, place: SIMD3<Double>, velocity: SIMD3<Double>, spin: SIMD3<Double>)] = []
      for body in bodies {
        let m = model.pointer.pointee.body_mass[body]
        let place = SIMD3((0..<3).map { data.pointee.xipos[3 * body + $0] })
        var both = [Double](repeating: 0, count: 6)
        mj_objectVelocity(
          model.pointer, data, Int32(mjOBJ_BODY.rawValue), Int32(body), &both, 0)
        let velocity = SIMD3(both[3...])
        // R I Rᵀ ω about the body's own centre.
        let R = (0..<9).map { data.pointee.ximat[9 * body + $0] }
        let I = (0..<3).map { model.pointer.pointee.body_inertia[3 * body + $0] }
        var spin = SIMD3<Double>.zero
        for k in 0..<3 {
          let own = (0..<3).reduce(0.0) { $0 + R[3 * $1 + k] * both[$1] }
          for row in 0..<3 { spin[row] += R[3 * row + k] * I[k] * own }
        }
        parts.append((m, place, velocity, spin))
        mass += m
        centre += m * place
        momentum += m * velocity
      }
      centre /= mass
      var angular = SIMD3<Double>.zero
      for part in parts {
        angular += part.spin + part.mass * cross(part.place - centre, part.velocity)
      }
      let arm = parts[1].mass * parts[1].velocity + parts[2].mass * parts[2].velocity
      for (i, axis) in Self.axes.enumerated() {
        #expect(abs(number("centers_of_mass.base.\(axis)_m") - centre[i]) < 1e-9)
        #expect(abs(number("centers_of_mass.hand.\(axis)_m") - parts[2].place[i]) < 1e-9)
        #expect(abs(number("linear_momenta.base.\(axis)_kg_m_per_s") - momentum[i]) < 1e-8)
        #expect(abs(number("linear_momenta.arm.\(axis)_kg_m_per_s") - arm[i]) < 1e-8)
        #expect(abs(number("angular_momenta.base.\(axis)_kg_m2_per_s") - angular[i]) < 1e-8)
        #expect(number("contact_forces.base.\(axis)_N") == 0)
        #expect(
          number("contact_forces.world.\(axis)_N") == -number("contact_forces.crate.\(axis)_N"))
      }
      // The crate rests: its weight, upwards.
      #expect(abs(number("contact_forces.crate.z_N") - 20) < 0.2)
      #expect(abs(number("contact_forces.crate.x_N")) < 0.1)
      let pan = data.pointee.qpos[model.joint(try model.index(.joint, "pan")).position]
      #expect(abs(number("sin_cos.pan.sin") - sin(pan)) < 1e-9)
      #expect(abs(number("sin_cos.pan.cos") - cos(pan)) < 1e-9)
      #expect(numbers.keys.filter { $0.hasPrefix("sin_cos") }.count == 2)
    }
  }

  @Test("A body's rotation vector goes on past half a turn, from the start without noise")
  func continuity() throws {
    let model = try MuJoCoModel(mjcf: flightText(gravity: 0))
    let interface = try MuJoCoInterface(
      model: model, substeps: 10, state: [.orientations(.body, ["box"])])
    let plant = try interface.makePlant()
    var start = try model.plantState()
    let nominal = Rotation(vector: SIMD3(0, 0, .pi - 0.01))
    start.replaceSubrange(3..<7, with: [nominal.w, nominal.v.x, nominal.v.y, nominal.v.z])
    start[13] = 4
    var noise = [Double](repeating: 0, count: 14)
    noise[5] = 0.05
    try plant.reset(
      to: Condition(name: "c", initialPlantState: start),
      plantState: model.displaced(start, by: noise).span)
    for step in 0..<70 {
      let r = plant.state(3)
      #expect(abs(r[2] - (.pi + 0.04 + 0.04 * Double(step))) < 1e-9 && abs(r[0]) < 1e-9)
      try plant.step(control: [0.0].span)
    }
  }

  @Test("Points are places fixed to sites, bodies and geoms, with or without axes")
  func points() throws {
    let model = try MuJoCoModel(mjcf: text)
    let interface = try MuJoCoInterface(
      model: model, state: [.jointPositions(), .jointVelocities()],
      points: [
        "eye", MuJoCoPoint(.body, "hand", offset: [0.1, 0.2, 0.3], name: "corner"),
        MuJoCoPoint(.geom, "link", axes: true),
      ])
    #expect(interface.points == ["eye", "corner", "link", "link.x", "link.y", "link.z"])
    let dynamics = try MuJoCoDynamics(
      interface, in: Condition(name: "c", initialPlantState: try model.plantState()))
    var x = (0..<18).map { 0.5 * sin(Double($0) + 1) }
    x[3] = 3.3
    var workspace = try dynamics.makeWorkspace()
    func locate(_ x: [Double]) throws -> (positions: [Double], jacobians: [Double]) {
      var (p, J) = ([Double](repeating: 0, count: 18), [Double](repeating: 0, count: 18 * 18))
      var target = p.mutableSpan
      var slopes = J.mutableSpan
      try dynamics.locatePoints(
        x.span, workspace: &workspace, positions: &target, jacobians: &slopes)
      return (p, J)
    }
    let (positions, J) = try locate(x)
    // Two points of one body keep their distance, unit vectors their length.
    for axis in 3..<6 {
      let tip = (0..<3).map { positions[3 * axis + $0] - positions[6 + $0] }
      #expect(abs(tip.reduce(0) { $0 + $1 * $1 } - 1) < 1e-12)
    }
    for j in 0..<18 {
      var (above, below) = (x, x)
      above[j] += 1e-6
      below[j] -= 1e-6
      let slope = zip(try locate(above).positions, try locate(below).positions).map {
        ($0 - $1) / 2e-6
      }
      #expect(expectClose(Array(J[18 * j..<18 * (j + 1)]), slope, within: 1e-8), "\(j)")
    }
    func reason(_ points: [MuJoCoPoint]) -> String {
      do {
        _ = try MuJoCoInterface(model: model, state: [.jointPositions()], points: points)
        return ""
      } catch { return "\(error)" }
    }
    #expect(reason(["eye", "eye"]).contains("holds eye twice"))
    #expect(reason([MuJoCoPoint(.geom, "lin")]).contains("no geom is named 'lin'; there is link"))
    #expect(reason([MuJoCoPoint(.body, "hand", offset: [1])]).contains("offset of point 'hand'"))
  }

  @Test("What a component cannot be is refused by name")
  func refusals() throws {
    let model = try MuJoCoModel(mjcf: text)
    func reason(_ component: MuJoCoComponent) -> String {
      do {
        _ = try MuJoCoInterface(model: model, state: [component])
        return ""
      } catch { return "\(error)" }
    }
    #expect(reason(.sinCos(joints: ["reach"])).contains("'reach', which is no hinge"))
    #expect(reason(.positions(.body, ["hnd"])).contains("no body is named 'hnd'; there is hand"))
    #expect(reason(.positions(.geom, ["palm"], relativeTo: "ey")).contains("no geom is named 'ey'"))
    #expect(reason(.contactForces(bodies: ["crat"])).contains("crate"))
  }

  @Test("Components are written as they are read")
  func files() throws {
    let components: [MuJoCoComponent] = [
      .jointPositions(), .sinCos(joints: ["pan"]), .positions(.body, ["hand"], relativeTo: "eye"),
      .orientations(.geom, ["palm"], as: .twoAxes), .orientations(.body, ["base"]),
      .velocities(.geom, ["palm"]), .angularVelocities(.body, ["base"]),
      .centersOfMass(bodies: ["base"]), .linearMomenta(bodies: ["base"]),
      .angularMomenta(bodies: ["base"]), .contactForces(bodies: ["crate"]), .goal,
    ]
    let codec = [MuJoCoComponent].codec
    #expect(try codec.read(SettingsTree(codec.write(components)), "state") == components)
    let points = [
      "eye", MuJoCoPoint(.body, "hand", offset: [0, 0, 1], name: "n"),
      MuJoCoPoint(.geom, "palm", axes: true), MuJoCoPoint(.site, "tip", axes: true),
    ]
    let list = [MuJoCoPoint].codec
    #expect(try list.read(SettingsTree(list.write(points)), "points") == points)
  }
}
