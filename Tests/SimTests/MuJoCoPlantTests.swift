import CMuJoCo
import Foundation
import GPSCore
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

@Suite struct MuJoCoPlantTests {
  static let positionsAndVelocities: [MuJoCoComponent] = [.jointPositions(), .jointVelocities()]

  // MARK: physics

  @Test func `a pendulum swings with the period of a small oscillation`() throws {
    let model = try MuJoCoModel(mjcf: pendulumText)
    let interface = try MuJoCoInterface(
      model: model, substeps: 5, state: Self.positionsAndVelocities)
    let plant = try interface.makePlant()
    let start = try model.plantState(jointPositions: [0.01])
    try plant.reset(Condition(name: "small", initialPlantState: start))
    #expect(interface.controlPeriod == 0.005)
    var crossings: [Double] = []
    var last = plant.state(2)
    for step in 1...2000 {
      try plant.step(control: [0.0].span)
      let now = plant.state(2)
      if last[0] < 0, now[0] >= 0 {
        let part = -last[0] / (now[0] - last[0])
        crossings.append((Double(step - 1) + part) * interface.controlPeriod)
      }
      last = now
    }
    let first = try #require(crossings.first)
    let final = try #require(crossings.last)
    let period = (final - first) / Double(crossings.count - 1)
    // 2π √(l/g), lengthened by θ²/16.
    let exact = 2 * Double.pi * (1 / 9.81).squareRoot() * (1 + 0.01 * 0.01 / 16)
    #expect(crossings.count == 5)
    #expect(abs(period / exact - 1) < 2e-5)
  }

  @Test func `a pendulum keeps its energy`() throws {
    let model = try MuJoCoModel(mjcf: pendulumText)
    let interface = try MuJoCoInterface(
      model: model, timestep: 1e-4, substeps: 100, state: Self.positionsAndVelocities)
    let plant = try interface.makePlant()
    try plant.reset(
      Condition(name: "raised", initialPlantState: try model.plantState(keyframe: "raised")))
    func energy() -> Double {
      let x = plant.state(2)
      return 0.5 * x[1] * x[1] + 9.81 * (1 - cos(x[0]))
    }
    let start = energy()
    for _ in 0..<300 {
      try plant.step(control: [0.0].span)
      #expect(abs(energy() / start - 1) < 1e-3)
    }
  }

  @Test(arguments: ["Euler", "implicit", "implicitfast", "RK4"])
  func `steps are those of MuJoCo's own loop, to the bit`(integrator: String) throws {
    let text = treeText.replacingOccurrences(of: "implicitfast", with: integrator)
    let model = try MuJoCoModel(mjcf: text)
    let interface = try MuJoCoInterface(
      model: model, substeps: 5, state: Self.positionsAndVelocities + [.actuatorActivations])
    let condition = Condition(name: "c", initialPlantState: try model.plantState())
    let nv = model.jointVelocityCount
    let states = try interface.makePlant().rollout(
      condition, steps: 40, state: 2 * nv + 1, control: 3)
    let isRotation = interface.stateNames.map {
      $0.hasSuffix(".rx_rad") || $0.hasSuffix(".ry_rad") || $0.hasSuffix(".rz_rad")
    }
    #expect(isRotation.filter { $0 }.count == 6)

    let data = try #require(mj_makeData(model.pointer))
    defer { mj_deleteData(data) }
    for step in 0...40 {
      let state =
        coordinates(model, data) + (0..<nv).map { data.pointee.qvel[$0] } + [data.pointee.act[0]]
      for (i, isRotation) in isRotation.enumerated() {
        #expect(abs(states[step][i] - state[i]) <= (isRotation ? 1e-12 : 0), "step \(step), \(i)")
      }
      for (i, u) in wave(step, count: 3).enumerated() { data.pointee.ctrl[i] = u }
      for _ in 0..<5 { mj_step(model.pointer, data) }
    }
    #expect(states[40] != states[0])
  }

  @Test func `a shorter timestep takes as many more substeps`() throws {
    let model = try MuJoCoModel(mjcf: pendulumText)
    let coarse = try MuJoCoInterface(
      model: model, substeps: 10, state: Self.positionsAndVelocities)
    let fine = try MuJoCoInterface(
      model: model, timestep: 0.0001, substeps: 100, state: Self.positionsAndVelocities)
    #expect(abs(coarse.controlPeriod - 0.01) < 1e-15 && abs(fine.controlPeriod - 0.01) < 1e-15)
    #expect(model.timestep == 0.001)
    let condition = Condition(
      name: "c", initialPlantState: try model.plantState(keyframe: "raised"))
    let a = try coarse.makePlant().rollout(condition, steps: 50, state: 2, control: 1)
    let b = try fine.makePlant().rollout(condition, steps: 50, state: 2, control: 1)
    #expect(expectClose(a[50], b[50], within: 0.02))
    #expect(a[50] != b[50])
  }

  // MARK: kinematics at the recorded state

  @Test(arguments: ["Euler", "RK4"])
  func `sites and sensors belong to the recorded joint angle`(integrator: String) throws {
    let text = pendulumText.replacingOccurrences(
      of: "timestep=\"0.001\"", with: "timestep=\"0.01\" integrator=\"\(integrator)\"")
    let interface = try MuJoCoInterface(
      model: MuJoCoModel(mjcf: text), substeps: 3,
      state: Self.positionsAndVelocities + [
        .sitePositions(sites: ["bob"]), .siteVelocities(sites: ["bob"]),
        .sitePositions(sites: ["bob"], relativeTo: "anchor"), .sensors(["angle", "where"]),
      ], points: ["bob"])
    let plant = try interface.makePlant()
    try plant.reset(
      Condition(name: "c", initialPlantState: try interface.model.plantState(keyframe: "raised")))
    for step in 0..<30 {
      let x = plant.state(15)
      let (angle, rate) = (x[0], x[1])
      let bob = [-sin(angle), 0, 2 - cos(angle)]
      #expect(expectClose(Array(x[2..<5]), bob, within: 1e-12))
      let velocity = [-rate * cos(angle), 0, rate * sin(angle)]
      #expect(expectClose(Array(x[5..<8]), velocity, within: 1e-12))
      #expect(expectClose(Array(x[8..<11]), [bob[0], 0, bob[2] - 2], within: 1e-12))
      #expect(x[11] == angle)
      #expect(expectClose(Array(x[12..<15]), bob, within: 1e-12))
      let (points, jacobian) = plant.points(1, state: 15)
      #expect(points == Array(x[2..<5]))
      #expect(
        expectClose((0..<3).map { jacobian[$0, 0] }, [-cos(angle), 0, sin(angle)], within: 1e-12))
      #expect(jacobian.storage[3...].allSatisfy { $0 == 0 })
      try plant.step(control: wave(step, count: 1).span)
    }
    #expect(
      interface.stateNames == [
        "joint_positions.hinge_rad", "joint_velocities.hinge_rad_per_s",
        "site_positions.bob.x_m", "site_positions.bob.y_m", "site_positions.bob.z_m",
        "site_velocities.bob.x_m_per_s", "site_velocities.bob.y_m_per_s",
        "site_velocities.bob.z_m_per_s", "site_positions.bob_from_anchor.x_m",
        "site_positions.bob_from_anchor.y_m", "site_positions.bob_from_anchor.z_m",
        "sensors.angle_rad", "sensors.where.x_m", "sensors.where.y_m", "sensors.where.z_m",
      ])
  }

  @Test func `velocities and forces are read at the recorded state`() throws {
    let model = try MuJoCoModel(mjcf: treeText)
    let interface = try MuJoCoInterface(
      model: model, substeps: 3,
      state: [
        .siteVelocities(sites: ["tip"]), .sensors(["tip_velocity", "felt", "pull"]),
        .siteVelocities(sites: ["tip"], relativeTo: "corner"), .jointPositions(),
        .jointVelocities(), .actuatorActivations,
      ])
    let plant = try interface.makePlant()
    let condition = Condition(name: "c", initialPlantState: try model.plantState())
    let n = interface.stateNames.count
    let states = try plant.rollout(condition, steps: 20, state: n, control: 3)
    let x = states[20]
    #expect(expectClose(Array(x[0..<3]), Array(x[3..<6]), within: 1e-12))
    #expect(x[9] == wave(19, count: 3)[1])
    // The same state set by hand, under the same control.
    let data = try #require(mj_makeData(model.pointer))
    defer { mj_deleteData(data) }
    // From pan, reach, wrist, x, y, z and turn of the flight, all zero in the reference but x, y, z = 1.
    var away = Array(x[13..<24])
    for i in 5..<8 { away[i] -= 1 }
    for i in 0..<13 { data.pointee.qpos[i] = model.pointer.pointee.qpos0[i] }
    mj_integratePos(model.pointer, data.pointee.qpos, away, 1)
    for i in 0..<11 { data.pointee.qvel[i] = x[24 + i] }
    data.pointee.act[0] = x[35]
    for i in 0..<3 { data.pointee.ctrl[i] = wave(19, count: 3)[i] }
    mj_forward(model.pointer, data)
    #expect(
      expectClose(Array(x[3..<10]), (0..<7).map { data.pointee.sensordata[$0] }, within: 1e-6))
    var corner = [Double](repeating: 0, count: 6)
    let site = Int32(try model.index(.site, "corner"))
    mj_objectVelocity(model.pointer, data, Int32(mjOBJ_SITE.rawValue), site, &corner, 0)
    #expect(expectClose(Array(x[10..<13]), (0..<3).map { x[$0] - corner[3 + $0] }, within: 1e-12))
  }

  // MARK: conditions

  @Test func `an observation may be blind, and the goal is a component`() throws {
    let model = try MuJoCoModel(mjcf: pendulumText)
    let interface = try MuJoCoInterface(
      model: model, state: Self.positionsAndVelocities + [.goal], observation: [.jointPositions()],
      goalDimension: 2)
    #expect(interface.stateNames.suffix(2) == ["goal.0", "goal.1"])
    #expect(interface.observationNames == ["joint_positions.hinge_rad"])
    let plant = try interface.makePlant()
    let start = try model.plantState(keyframe: "raised")
    #expect(start == [1.25, -0.5])
    try plant.reset(Condition(name: "c", initialPlantState: start, goal: [3, 4]))
    #expect(plant.state(4) == [1.25, -0.5, 3, 4])
    #expect(plant.observation(1) == [1.25])
    try plant.reset(Condition(name: "d", initialPlantState: start, goal: [5, 6]))
    try plant.step(control: [0.0].span)
    #expect(plant.state(4).suffix(2) == [5, 6])
  }

  /// A two-geom body that falls on a static shelf of several boxes, and a static wall beside it.
  static func shelfText(at position: String) -> String {
    """
    <mujoco>
      <option timestep="0.004"/>
      <worldbody>
        <geom type="plane" size="3 3 0.1"/>
        <body name="shelf" pos="\(position)">
          <geom type="box" size="0.1 0.1 0.05" pos="0.15 0 0"/>
          <geom type="box" size="0.1 0.1 0.05" pos="-0.15 0 0"/>
          <geom type="box" size="0.1 0.1 0.05" pos="0 0.2 0"/>
          <geom type="capsule" size="0.05 0.1" pos="0 -0.2 0"/>
          <site name="mark" pos="0 0 0.05"/>
        </body>
        <body name="post" pos="0.5 0.5 0.5">
          <body name="arm" pos="0 0 0.1">
            <joint name="swing" axis="0 1 0" damping="0.2"/>
            <geom type="capsule" fromto="0 0 0 -0.5 0 0" size="0.02"/>
          </body>
        </body>
        <body name="falling" pos="0.1 0.1 0.7">
          <freejoint name="flight"/>
          <geom type="box" size="0.05 0.05 0.05"/>
          <geom type="sphere" size="0.06" pos="0.1 0 0"/>
          <geom type="capsule" size="0.03 0.1" pos="-0.1 0 0"/>
        </body>
      </worldbody>
      <actuator><motor name="swing" joint="swing" gear="3"/></actuator>
    </mujoco>
    """
  }

  @Test func `a displaced body, collisions included, is one compiled at that place`() throws {
    let model = try MuJoCoModel(mjcf: Self.shelfText(at: "0 0 0.25"))
    let moved = try MuJoCoModel(mjcf: Self.shelfText(at: "0.125 -0.0625 0.375"))
    let components = Self.positionsAndVelocities + [.sitePositions(sites: ["mark"])]
    let interface = try MuJoCoInterface(model: model, substeps: 5, state: components)
    let other = try MuJoCoInterface(model: moved, substeps: 5, state: components)
    let start = try model.plantState()
    let home = Condition(name: "home", initialPlantState: start)
    let away = Condition(
      name: "away", initialPlantState: start, bodyOffsets: ["shelf": [0.125, -0.0625, 0.125]])
    let plant = try interface.makePlant()
    let n = interface.stateNames.count
    let reference = try plant.rollout(home, steps: 100, state: n, control: 1)
    let displaced = try plant.rollout(away, steps: 100, state: n, control: 1)
    #expect(displaced[0].suffix(3) == [0.125, -0.0625, 0.425])
    #expect(
      try displaced == other.makePlant().rollout(home, steps: 100, state: n, control: 1))
    #expect(displaced[100].prefix(8) != reference[100].prefix(8))
    // Neither accumulated from reset to reset, nor left behind in the shared model.
    for _ in 0..<3 {
      #expect(try plant.rollout(away, steps: 100, state: n, control: 1) == displaced)
    }
    #expect(try plant.rollout(home, steps: 100, state: n, control: 1) == reference)
    #expect(model.pointer.pointee.body_pos[3 * (try model.index(.body, "shelf")) + 2] == 0.25)
    let twice = Condition(
      name: "twice", initialPlantState: start,
      bodyOffsets: ["shelf": [0, 0, 0.5], "post": [0.25, 0, 0]])
    try plant.reset(twice)
    #expect(plant.state(n).suffix(3) == [0, 0, 0.25 + 0.5 + 0.05])
  }

  @Test func `two plants at work at once give the bytes of one alone`() async throws {
    let model = try MuJoCoModel(mjcf: Self.shelfText(at: "0 0 0.25"))
    let interface = try MuJoCoInterface(
      model: model, substeps: 5, state: Self.positionsAndVelocities)
    let start = try model.plantState()
    let conditions = (0..<12).map { i in
      Condition(
        name: "\(i)", initialPlantState: start,
        bodyOffsets: i % 3 == 0 ? [:] : ["shelf": [0.01 * Double(i), 0, 0]])
    }
    @Sendable func rollouts(workers: Int) async throws -> [[[Double]]] {
      try await parallelMap(
        12, workers: workers, makeContext: { try interface.makePlant() },
        body: { i, plant in
          try plant.rollout(conditions[i], steps: 60, state: 14, control: 1)
        })
    }
    let serial = try await rollouts(workers: 1)
    #expect(try await rollouts(workers: 2) == serial)
    #expect(try await rollouts(workers: 5) == serial)
    #expect(serial[1] != serial[2])
  }

  @Test func `quaternions of a noisy start are normalised`() throws {
    let model = try MuJoCoModel(mjcf: treeText)
    let interface = try MuJoCoInterface(model: model, state: [.jointPositions(joints: ["wrist"])])
    let plant = try interface.makePlant()
    var start = try model.plantState()
    start.replaceSubrange(2..<6, with: [1.1, 0.1, -0.2, 0.05])
    try plant.reset(Condition(name: "c", initialPlantState: start))
    // exp(r) is the quaternion divided by its length.
    let r = plant.state(4)
    let half = 0.5 * (r[0] * r[0] + r[1] * r[1] + r[2] * r[2]).squareRoot()
    let norm = (1.1 * 1.1 + 0.1 * 0.1 + 0.2 * 0.2 + 0.05 * 0.05).squareRoot()
    #expect(abs(cos(half) - 1.1 / norm) < 1e-12)
    #expect(abs(r[1] / (2 * half) * sin(half) + 0.2 / norm) < 1e-12)
  }

  @Test func `actuated coordinates point into the state`() throws {
    let model = try MuJoCoModel(mjcf: treeText)
    let interface = try MuJoCoInterface(
      model: model,
      state: [.jointVelocities(joints: ["pan"]), .jointPositions(joints: ["reach", "pan"])])
    #expect(
      interface.actuatedCoordinates == [
        ActuatedCoordinate(control: 0, position: 2, velocity: 0),
        ActuatedCoordinate(control: 1, position: 1, velocity: nil),
        ActuatedCoordinate(control: 2, position: 2, velocity: 0),
      ])
    #expect(interface.controlNames == ["pan", "reach", "lag"])
  }

  @Test func `trajectories hold the Jacobians of points for costs that need them`() async throws {
    let model = try MuJoCoModel(mjcf: pendulumText)
    let interface = try MuJoCoInterface(
      model: model, substeps: 5, state: [.jointPositions(), .jointVelocities()], points: ["bob"])
    let start = Condition(name: "c", initialPlantState: [1.25, -0.5])
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 2, count: 10), offsets: Matrix(rows: 1, columns: 10),
      covariances: MatrixSequence(repeating: .identity(1), count: 10))
    func trajectory(_ cost: SumCost) async throws -> Trajectory {
      let task = try MuJoCoTask(
        name: "pendulum", interface: interface, horizon: 10, conditions: [start], cost: cost,
        success: SuccessCriterion.all([]))
      let batches = try await collectRollouts(
        of: task, in: [start], under: [controller],
        plan: RolloutPlan(
          iteration: 0, samples: 1, workers: 1), stream: RandomStream(seed: 1))
      return try #require(batches[0].trajectories.first)
    }
    let effort = CostTerm.control(ControlCost(weights: [1]))
    let lean = try await trajectory(SumCost(effort))
    let full = try await trajectory(
      SumCost(effort, .point(PointCost(points: [0], target: .position([0, 0, 1])))))
    #expect(lean.states == full.states && lean.points == full.points)
    #expect(lean.pointJacobians.rows == 0 && full.pointJacobians.rows == 3)
    for t in 0...10 {
      // The bob hangs at (−sin q, ·, 2 − cos q) below the hinge: its derivative by q.
      let q = full.states[0, t]
      let derivative = full.pointJacobians[t].column(0)
      #expect(abs(derivative[0] + cos(q)) < 1e-9 && abs(derivative[2] - sin(q)) < 1e-9)
      #expect(full.pointJacobians[t].column(1) == [0, 0, 0])
    }
  }
}
