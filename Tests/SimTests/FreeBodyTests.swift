import CMuJoCo
import Foundation
import GPSCore
import LinearAlgebra
import Statistics
import Testing

@_spi(Benchmarks) @testable import Sim

/// A body in free flight with given principal moments of inertia, and an arm that only has the motor.
func flightText(
  inertia: String = "0.02 0.03 0.05", gravity: Double = 9.81, integrator: String = "RK4",
  turned: String = "1 0 0 0"
) -> String {
  """
  <mujoco>
    <option timestep="0.001" gravity="0 0 \(-gravity)" integrator="\(integrator)"/>
    <worldbody>
      <body name="box" pos="0 0 1" quat="\(turned)">
        <joint name="flight" type="free"/>
        <inertial pos="0 0 0" mass="2" diaginertia="\(inertia)"/>
        <site name="corner" pos="0.1 0.2 0.3"/>
      </body>
      <body pos="5 0 0">
        <joint name="arm" axis="0 0 1"/><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
      </body>
    </worldbody>
    <actuator><motor name="motor" joint="arm"/></actuator>
  </mujoco>
  """
}

/// Free and ball joints in a tree, a weld and a tie between joints, and motors on some.
private let loopText = """
  <mujoco>
    <option timestep="0.002" integrator="INTEGRATOR"/>
    <worldbody>
      <body name="base" pos="0 0 2">
        <joint name="root" type="free"/>
        <geom type="box" size="0.2 0.1 0.05" contype="0" conaffinity="0"/>
        <body name="upper" pos="0.2 0 0" quat="0.8 0 0.6 0">
          <joint name="shoulder" type="ball" damping="0.05"/>
          <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.03" contype="0" conaffinity="0"/>
          <body name="lower" pos="0.3 0 0">
            <joint name="elbow" axis="0 1 0" damping="0.1"/>
            <geom type="capsule" fromto="0 0 0 0.25 0 0" size="0.02" contype="0" conaffinity="0"/>
            <site name="hand" pos="0.25 0.02 0.01"/>
          </body>
        </body>
        <body pos="-0.2 0 0">
          <joint name="left" axis="0 1 0" damping="0.1"/>
          <geom type="capsule" fromto="0 0 0 -0.2 0 0" size="0.02" contype="0" conaffinity="0"/>
        </body>
        <body pos="-0.2 0.05 0">
          <joint name="right" axis="0 1 0" damping="0.1"/>
          <geom type="capsule" fromto="0 0 0 -0.2 0 0" size="0.02" contype="0" conaffinity="0"/>
        </body>
      </body>
    </worldbody>
    <actuator>
      <motor name="elbow" joint="elbow"/>
      <motor name="shoulder" joint="shoulder" gear="0.3 1 0.2"/>
      <motor name="left" joint="left"/>
    </actuator>
    <equality>EQUALITY</equality>
  </mujoco>
  """

private let positionsAndVelocities: [MuJoCoComponent] = [.jointPositions(), .jointVelocities()]

@Suite("Free bodies and ball joints") struct FreeBodyTests {
  /// Positions, rotation vector, velocity and angular velocity of the flight; then the arm's.
  private func flight(
    _ text: String, positions: [Double], quaternion: Rotation = .identity, velocities: [Double],
    substeps: Int = 10, steps: Int
  ) throws -> [[Double]] {
    let interface = try MuJoCoInterface(
      model: MuJoCoModel(mjcf: text), substeps: substeps,
      state: [
        .jointPositions(joints: ["flight"]), .jointVelocities(joints: ["flight"]),
      ])
    #expect(
      interface.stateNames == [
        "joint_positions.flight.x_m", "joint_positions.flight.y_m", "joint_positions.flight.z_m",
        "joint_positions.flight.rx_rad", "joint_positions.flight.ry_rad",
        "joint_positions.flight.rz_rad", "joint_velocities.flight.x_m_per_s",
        "joint_velocities.flight.y_m_per_s", "joint_velocities.flight.z_m_per_s",
        "joint_velocities.flight.wx_rad_per_s", "joint_velocities.flight.wy_rad_per_s",
        "joint_velocities.flight.wz_rad_per_s",
      ])
    #expect(
      interface.stateVectors == [
        StateVector(0..<3, rates: 6..<9), StateVector(3..<6, rates: 9..<12),
      ])
    let q = quaternion
    let start = positions + [q.w, q.v.x, q.v.y, q.v.z, 0] + velocities + [0]
    let plant = try interface.makePlant()
    try plant.reset(Condition(name: "thrown", initialPlantState: start))
    var states = [plant.state(12)]
    for _ in 0..<steps {
      try plant.step(control: [0.0].span)
      states.append(plant.state(12))
    }
    return states
  }

  private func vector(_ x: [Double], _ first: Int) -> SIMD3<Double> {
    SIMD3(x[first], x[first + 1], x[first + 2])
  }

  @Test(
    "Vectors of the state are those of free and ball joints, with their rates where they are there")
  func vectors() throws {
    let model = try MuJoCoModel(
      mjcf: loopText.replacing("INTEGRATOR", with: "Euler").replacing("EQUALITY", with: ""))
    func vectors(_ state: [MuJoCoComponent]) throws -> [StateVector] {
      try MuJoCoInterface(model: model, state: state).stateVectors
    }
    // x, y, z and rotation of the root, the shoulder's rotation, three hinges; then as many velocities.
    #expect(
      try vectors(positionsAndVelocities) == [
        StateVector(0..<3, rates: 12..<15), StateVector(3..<6, rates: 15..<18),
        StateVector(6..<9, rates: 18..<21),
      ])
    #expect(
      try vectors([
        .jointVelocities(joints: ["shoulder"]), .jointPositions(joints: ["elbow", "shoulder"]),
      ])
        == [StateVector(4..<7, rates: 0..<3)])
    #expect(try vectors([.jointPositions(joints: ["left", "root"])]).map(\.rates) == [nil, nil])
    // What has three coordinates of another kind has been chosen.
    #expect(try vectors([.jointVelocities(), .sitePositions(sites: ["hand"])]).isEmpty)
  }

  @Test("A thrown box flies on a parabola and keeps its angular momentum in the world")
  func thrownBox() throws {
    let states = try flight(
      flightText(), positions: [0.1, 0.2, 1.5], velocities: [1, -2, 3, 2, 0.3, -1.5], steps: 100)
    let inertia = SIMD3(0.02, 0.03, 0.05)
    func momentum(_ x: [Double]) -> SIMD3<Double> {
      let axes = Rotation(vector: vector(x, 3)).axes
      let own = inertia * vector(x, 9)
      return own.x * axes.x + own.y * axes.y + own.z * axes.z
    }
    let first = momentum(states[0])
    for (step, x) in states.enumerated() {
      let t = 0.01 * Double(step)
      #expect(
        expectClose(
          Array(x[0..<3]), [0.1 + t, 0.2 - 2 * t, 1.5 + 3 * t - 0.5 * 9.81 * t * t], within: 1e-10))
      #expect(length(momentum(x) - first) < 1e-7 * length(first), "\(step)")
    }
    // It tumbles: this is not the momentum of a body at rest or turned about one axis.
    #expect(length(vector(states[100], 9) - vector(states[0], 9)) > 0.3)
  }

  @Test("A spinning top moves as Euler's solution says, its rotation vector beyond half a turn")
  func spinningTop() throws {
    // Symmetric about z, turned already, and about another reference than the world's axes.
    let start = Rotation(vector: SIMD3(0.4, -0.3, 0.2))
    let reference = Rotation(w: 0.8, v: SIMD3(0, 0.6, 0))
    let rate = SIMD3(0.6, 0.2, 4.0)
    let states = try flight(
      flightText(inertia: "0.03 0.03 0.05", turned: "0.8 0 0.6 0"), positions: [0, 0, 1],
      quaternion: start, velocities: [0, 0, 0, rate.x, rate.y, rate.z], steps: 140)
    let own = SIMD3(0.03, 0.03, 0.05) * rate
    let axes = start.axes
    let momentum = own.x * axes.x + own.y * axes.y + own.z * axes.z
    let spin = rate.z - own.z / 0.03
    var last = (reference.inverse * start).vector
    var largest = 0.0
    for (step, x) in states.enumerated() {
      let t = 0.01 * Double(step)
      // Precession about the momentum in the world, and spin about the own axis.
      let turned =
        Rotation(vector: t / 0.03 * momentum) * start * Rotation(vector: SIMD3(0, 0, spin * t))
      last = (reference.inverse * turned).vector(near: last)
      #expect(length(vector(x, 3) - last) < 1e-6, "\(step): \(x)")
      // In the body the rate turns about its axis.
      let body = Rotation(vector: SIMD3(0, 0, -spin * t)).axes
      let expected = rate.x * body.x + rate.y * body.y + rate.z * body.z
      #expect(length(vector(x, 9) - expected) < 1e-7, "\(step)")
      largest = max(largest, length(vector(x, 3)))
    }
    #expect(largest > 4)
  }

  @Test("A rotation vector begins at that of the condition's start, noise or not")
  func noisyHalfTurn() throws {
    let model = try MuJoCoModel(mjcf: flightText())
    let interface = try MuJoCoInterface(model: model, state: positionsAndVelocities)
    let plant = try interface.makePlant()
    let nominal = Rotation(vector: SIMD3(0, 0, .pi - 1e-3))
    var start = try model.plantState()
    for (i, number) in [nominal.w, nominal.v.x, nominal.v.y, nominal.v.z].enumerated() {
      start[3 + i] = number
    }
    let condition = Condition(name: "c", initialPlantState: start)
    for noise in [-0.3, -0.01, 0, 0.01, 0.3] {
      var displacement = [Double](repeating: 0, count: 14)
      displacement[5] = noise
      let moved = model.displaced(start, by: displacement)
      try plant.reset(to: condition, plantState: moved.span)
      let r = vector(plant.state(14), 3)
      #expect(length(r - SIMD3(0, 0, .pi - 1e-3 + noise)) < 1e-9, "\(noise)")
    }
  }

  @Test("Noise on a quaternion is a small rotation about the body's axes")
  func noise() throws {
    let model = try MuJoCoModel(mjcf: flightText())
    let interface = try MuJoCoInterface(model: model, state: positionsAndVelocities)
    var start = try model.plantState()
    let nominal = Rotation(vector: SIMD3(1, 0.5, -0.4))
    for (i, number) in [nominal.w, nominal.v.x, nominal.v.y, nominal.v.z].enumerated() {
      start[3 + i] = 2 * number  // not normalised
    }
    var condition = Condition(name: "c", initialPlantState: start)
    let deviation = (0..<14).map { 0.01 * Double($0 + 1) }
    condition.initialPlantStateDeviation = deviation
    let task = try MuJoCoTask(
      name: "t", interface: interface, horizon: 2, conditions: [condition], cost: NoCost(),
      success: SuccessCriterion.all([]))
    var sums = [Double](repeating: 0, count: 14)
    for sample in 0..<2000 {
      var stream = RandomStream(seed: 5).child(.rollout, 0, 0, sample, 0)
      var twin = stream
      let drawn = task.initialPlantState(of: condition, stream: &stream)
      #expect(abs(drawn[3...6].reduce(0) { $0 + $1 * $1 } - 1) < 1e-12)
      let turned = Rotation(w: drawn[3], v: SIMD3(drawn[4], drawn[5], drawn[6]))
      let turn = (nominal.inverse * turned).vector
      let others = Array(drawn[0..<3]) + [drawn[7]] + drawn[8...]
      let before = Array(start[0..<3]) + [start[7]] + start[8...]
      let differences = zip(others, before).map { $0 - $1 }
      let all = differences[0..<3] + [turn.x, turn.y, turn.z] + differences[3...]
      for (i, difference) in all.enumerated() {
        #expect(abs(difference - deviation[i] * twin.normal()) < 1e-9)
        sums[i] += difference * difference
      }
    }
    for i in 0..<14 { #expect(abs((sums[i] / 2000).squareRoot() / deviation[i] - 1) < 0.08) }
    #expect(!TaskChecker(task).check().problems.contains { $0.kind == .initialState })
  }

  // MARK: - Derivatives

  private func loop(integrator: String = "implicitfast", equality: Bool) throws -> MuJoCoModel {
    try MuJoCoModel(
      mjcf: loopText.replacing("INTEGRATOR", with: integrator).replacing(
        "EQUALITY", with: equality ? "<joint joint1='left' joint2='right'/>" : ""))
  }

  /// A state of the loop with rotation vectors of the given lengths.
  private func state(_ base: Double, _ shoulder: Double) -> [Double] {
    let (a, b) = (SIMD3(0.6, -0.64, 0.48), SIMD3(-0.48, 0.6, 0.64))
    let positions =
      [0.1, -0.2, 2.1] + (0..<3).map { base * a[$0] } + (0..<3).map { shoulder * b[$0] }
      + [0.4, 0.2, 0.25]
    return positions + (0..<12).map { 0.5 * sin(1.7 * Double($0)) }
  }

  private static let lengths: [(Double, Double)] = [(0, 0), (0.4, 1e-5), (1.5, 2.5), (3.3, 4.2)]

  @Test(
    "The linearisation is that of the whole plant: free, ball, with ties, beyond half a turn",
    arguments: [false, true], lengths)
  func linearization(equality: Bool, lengths: (Double, Double)) throws {
    let model = try loop(equality: equality)
    let dynamics = try MuJoCoDynamics(
      MuJoCoInterface(model: model, substeps: 4, state: positionsAndVelocities),
      in: Condition(name: "c", initialPlantState: try model.plantState()))
    #expect(dynamics.usesTransitionDifferences)
    let report = try DynamicsChecker(
      stateNames: dynamics.interface.stateNames, controlNames: dynamics.interface.controlNames
    ).check(dynamics, state: state(lengths.0, lengths.1), control: [0.7, -0.4, 0.5])
    #expect(report.isCorrect, "\(report)")
    #expect(report.checkedEntries == 24 + 24 + 24 * 27)
  }

  @Test("At the reference itself the linearisation is MuJoCo's own, number by number")
  func transitionAtReference() throws {
    let model = try loop(integrator: "Euler", equality: true)
    let dynamics = try MuJoCoDynamics(
      MuJoCoInterface(model: model, substeps: 1, state: positionsAndVelocities),
      in: Condition(name: "c", initialPlantState: try model.plantState()))
    // At rest in the reference, the tangent before the step is the state's own.
    var x = [Double](repeating: 0, count: 24)
    x[2] = 2
    let u = [0.0, 0, 0]
    let (next, F) = try dynamics.linearization(x, u)
    let data = try #require(mj_makeData(model.pointer))
    defer { mj_deleteData(data) }
    mj_forward(model.pointer, data)
    var (A, B) = ([Double](repeating: 0, count: 24 * 24), [Double](repeating: 0, count: 24 * 3))
    mjd_transitionFD(model.pointer, data, 1e-6, true, &A, &B, nil, nil)
    // After it the rotation is small, and its Jacobian within 1e-4 of the identity.
    #expect(next[3..<9].allSatisfy { abs($0) < 1e-4 })
    for i in 0..<24 {
      for j in 0..<24 { #expect(abs(F[i, j] - A[24 * i + j]) < 1e-4) }
      for j in 0..<3 { #expect(abs(F[i, 24 + j] - B[3 * i + j]) < 1e-4) }
    }
  }

  @Test(
    "Under Runge-Kutta's integrator, and with sites in the state, differences of the plant serve")
  func differences() throws {
    let model = try loop(integrator: "RK4", equality: false)
    for state in [
      positionsAndVelocities, positionsAndVelocities + [.sitePositions(sites: ["hand"])],
    ] {
      let dynamics = try MuJoCoDynamics(
        MuJoCoInterface(model: model, substeps: 2, state: state),
        in: Condition(name: "c", initialPlantState: try model.plantState()))
      #expect(!dynamics.usesTransitionDifferences)
      let x = self.state(3.3, 4.2) + [Double](repeating: 0, count: state.count == 3 ? 3 : 0)
      let report = try DynamicsChecker(
        stateNames: dynamics.interface.stateNames, controlNames: dynamics.interface.controlNames
      ).check(dynamics, state: x, control: [0.7, -0.4, 0.5])
      #expect(report.isCorrect, "\(report)")
    }
  }

  @Test("Activations beside a free joint: rollouts are MuJoCo's, and known dynamics have both")
  func activations() throws {
    let model = try MuJoCoModel(
      mjcf: """
        <mujoco>
          <option timestep="0.002"/>
          <worldbody>
            <body name="craft" pos="0 0 1" quat="0.8 0.6 0 0">
              <joint name="root" type="free"/>
              <geom type="box" size="0.2 0.1 0.05" mass="1"/>
              <site name="left" pos="-0.15 0 0"/><site name="right" pos="0.15 0.02 0"/>
              <body pos="0 0 -0.1">
                <joint name="tail" axis="0 1 0" damping="0.1"/>
                <geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.02"/>
              </body>
            </body>
          </worldbody>
          <actuator>
            <general name="left" site="left" gear="0 0 1 0 0 0.1" dyntype="filter" dynprm="0.05" gainprm="4"/>
            <general name="right" site="right" gear="0 0 1 0 0 -0.1" dyntype="filterexact" dynprm="0.02" gainprm="4"/>
            <motor name="tail" joint="tail"/>
          </actuator>
        </mujoco>
        """)
    let interface = try MuJoCoInterface(model: model, substeps: 5, state: positionsAndVelocities)
    #expect(interface.stateNames.count == 7 + 7 + 2)
    #expect(
      interface.stateNames.suffix(2) == ["actuator_activations.left", "actuator_activations.right"])
    let condition = Condition(name: "c", initialPlantState: try model.plantState())
    let plant = try interface.makePlant()
    try plant.reset(condition)
    var controls: [Double] = []
    for t in 0..<30 {
      let control = [1.2 + 0.3 * sin(0.3 * Double(t)), 1.1, 0.2 * cos(0.5 * Double(t))]
      controls += control
      try plant.step(control: control.span)
    }
    let x = plant.state(16)
    // It has turned, the tail swings, and both actuators have gone their way.
    #expect(length(vector(x, 3)) > 0.05 && x[14] > 0.5 && x[15] > 0.5 && x[14] != x[15])
    let bare = try BareSteps(interface, condition: condition)
    bare.run(Matrix(rows: 3, columns: 30, columnMajor: controls))
    #expect(try #require(bare.largestGap(to: x)) < 1e-14)

    let dynamics = try MuJoCoDynamics(interface, in: condition)
    let report = try DynamicsChecker(
      stateNames: interface.stateNames, controlNames: interface.controlNames
    ).check(dynamics, state: x, control: [1.3, 0.9, -0.1])
    #expect(report.isCorrect, "\(report)")
    // The next state is the plant's own.
    try plant.step(control: [1.3, 0.9, -0.1].span)
    #expect(
      expectClose(try dynamics.stepped(x, [1.3, 0.9, -0.1]), plant.state(16), within: 1e-9))
  }

  @Test("A step from a state and back again is the plant's, whole turns kept", arguments: lengths)
  func stepIsThePlants(lengths: (Double, Double)) throws {
    let model = try loop(equality: true)
    let dynamics = try MuJoCoDynamics(
      MuJoCoInterface(model: model, substeps: 4, state: positionsAndVelocities),
      in: Condition(name: "c", initialPlantState: try model.plantState()))
    let x = state(lengths.0, lengths.1)
    let next = try dynamics.stepped(x, [0.1, 0.2, 0.3])
    #expect(expectClose(Array(next[..<12]), Array(x[..<12]), within: 0.1))
    #expect(
      expectClose(try dynamics.linearization(x, [0.1, 0.2, 0.3]).next, next, within: 1e-12))
    // MuJoCo from the same start, its orientations by its own integration from the reference.
    let data = try #require(mj_makeData(model.pointer))
    defer { mj_deleteData(data) }
    var tangent = Array(x[..<12])
    for i in 0..<3 { tangent[i] -= model.pointer.pointee.qpos0[i] }
    mj_integratePos(model.pointer, data.pointee.qpos, tangent, 1)
    for i in 0..<12 { data.pointee.qvel[i] = x[12 + i] }
    for (i, u) in [0.1, 0.2, 0.3].enumerated() { data.pointee.ctrl[i] = u }
    for _ in 0..<4 { mj_step(model.pointer, data) }
    for (joint, place) in [("root", 3), ("shoulder", 6)] {
      let at = model.joint(try model.index(.joint, joint)).quaternion
      let q = Rotation(data.pointee.qpos + at)
      let reference = Rotation(model.pointer.pointee.qpos0 + at)
      let own = reference * Rotation(vector: vector(next, place))
      #expect(length((own.inverse * q).vector) < 1e-10)
    }
    for i in 0..<12 { #expect(abs(next[12 + i] - data.pointee.qvel[i]) < 1e-9) }
  }

  @Test("Points' Jacobians are derivatives by the state's own coordinates", arguments: lengths)
  func points(lengths: (Double, Double)) throws {
    let model = try loop(equality: false)
    // Velocities first and a joint in another place, so that columns are not in MuJoCo's order.
    let interface = try MuJoCoInterface(
      model: model, substeps: 4,
      state: [
        .jointVelocities(),
        .jointPositions(joints: ["elbow", "shoulder", "root", "left", "right"]),
      ], points: ["hand"])
    let dynamics = try MuJoCoDynamics(
      interface, in: Condition(name: "c", initialPlantState: try model.plantState()))
    let y = state(lengths.0, lengths.1)
    let x = Array(y[12...]) + [y[9]] + Array(y[6..<9]) + Array(y[..<6]) + Array(y[10..<12])
    var workspace = try dynamics.makeWorkspace()
    func locate(_ x: [Double]) throws -> (positions: [Double], J: [Double]) {
      var p = [Double](repeating: .nan, count: 3)
      var J = [Double](repeating: .nan, count: 3 * 24)
      var target = p.mutableSpan
      var derivatives = J.mutableSpan
      try dynamics.locatePoints(
        x.span, workspace: &workspace, positions: &target, jacobians: &derivatives)
      return (p, J)
    }
    let J = try locate(x).J
    for j in 0..<24 {
      var (above, below) = (x, x)
      above[j] += 1e-6
      below[j] -= 1e-6
      let slope = zip(try locate(above).positions, try locate(below).positions).map {
        ($0 - $1) / 2e-6
      }
      #expect(expectClose(Array(J[3 * j..<3 * j + 3]), slope, within: 1e-8), "\(j)")
      if j < 12 { #expect(J[3 * j..<3 * j + 3].allSatisfy { $0 == 0 }) }
    }
    #expect(J[36..<63].contains { abs($0) > 0.1 })
  }
}
