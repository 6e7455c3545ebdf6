import Foundation
import GPSCore
import LinearAlgebra
import Testing

@testable import Sim

/// Two hinges and a slide, with friction, gravity and a site.
private let chainText = """
  <mujoco>
    <option timestep="0.004" integrator="INTEGRATOR"/>
    <worldbody>
      <body name="first" pos="0 0 1">
        <joint name="shoulder" type="hinge" axis="0 1 0" damping="0.1"/>
        <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" contype="0" conaffinity="0"/>
        <body name="second" pos="0.4 0 0">
          <joint name="elbow" type="hinge" axis="0 1 0" damping="0.1"/>
          <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" contype="0" conaffinity="0"/>
          <body name="third" pos="0.3 0 0">
            <joint name="reach" type="slide" axis="1 0 0" damping="1"/>
            <geom type="box" size="0.05 0.02 0.02" contype="0" conaffinity="0"/>
            <site name="tip" pos="0.05 0 0"/>
          </body>
        </body>
      </body>
    </worldbody>
    <actuator>
      <motor name="shoulder" joint="shoulder"/>
      <motor name="reach" joint="reach"/>
    </actuator>
  </mujoco>
  """

@Suite struct MuJoCoDynamicsTests {
  private let condition = Condition(name: "a", initialPlantState: [0, 0, 0, 0, 0, 0])

  private func dynamics(
    _ state: [MuJoCoComponent], integrator: String = "Euler", points: [MuJoCoPoint] = []
  ) throws -> MuJoCoDynamics {
    let model = try MuJoCoModel(
      mjcf: chainText.replacing("INTEGRATOR", with: integrator))
    return try MuJoCoDynamics(
      MuJoCoInterface(model: model, substeps: 5, state: state, points: points), in: condition)
  }

  private let x = [0.3, -0.8, 0.05, 0.5, -1, 0.2]
  private let u = [0.7, -0.4]

  @Test(
    "MuJoCo's differences, chained over substeps, are those of the whole plant",
    arguments: ["Euler", "implicit", "implicitfast"])
  func transition(integrator: String) throws {
    let dynamics = try dynamics([.jointPositions(), .jointVelocities()], integrator: integrator)
    #expect(dynamics.usesTransitionDifferences)
    let report = try DynamicsChecker(
      stateNames: dynamics.interface.stateNames, controlNames: dynamics.interface.controlNames
    ).check(dynamics, state: x, control: u)
    #expect(report.isCorrect, "\(report)")
    #expect(report.checkedEntries == 6 + 6 + 6 * 8)
  }

  @Test("The step is the plant's")
  func step() throws {
    let dynamics = try dynamics([.jointPositions(), .jointVelocities()])
    let plant = try dynamics.interface.makePlant()
    try plant.reset(to: condition, plantState: x.span)
    try plant.step(control: u.span)
    #expect(try dynamics.stepped(x, u) == plant.state(6))
    #expect(
      expectClose(try dynamics.linearization(x, u).next, plant.state(6), within: 1e-12))
  }

  @Test(
    "Points and their derivatives are those of the chain's kinematics, in either order of the state",
    arguments: [false, true])
  func points(velocitiesFirst: Bool) throws {
    let parts: [MuJoCoComponent] =
      velocitiesFirst
      ? [.jointVelocities(), .jointPositions()] : [.jointPositions(), .jointVelocities()]
    let dynamics = try dynamics(parts, points: ["tip"])
    let positions = velocitiesFirst ? 3 : 0
    let state = velocitiesFirst ? Array(x[3...] + x[..<3]) : x
    var workspace = try dynamics.makeWorkspace()
    // The second call finds the first one's scratch.
    for sign in [-1.0, 1] {
      let y = state.map { sign * $0 }
      let q = y[positions..<positions + 3].map { $0 }
      var p = [Double](repeating: .nan, count: 3)
      var J = [Double](repeating: .nan, count: 3 * 6)
      var target = p.mutableSpan
      var derivatives = J.mutableSpan
      try dynamics.locatePoints(
        y.span, workspace: &workspace, positions: &target, jacobians: &derivatives)
      // Turned by a about y, the x axis is (cos a, 0, −sin a), and its derivative (−sin a, 0, −cos a).
      func along(_ a: Double) -> [Double] { [cos(a), 0, -sin(a)] }
      func across(_ a: Double) -> [Double] { [-sin(a), 0, -cos(a)] }
      let (a, b, reach) = (q[0], q[0] + q[1], 0.35 + q[2])
      for i in 0..<3 {
        let place = [0, 0, 1][i] + 0.4 * along(a)[i] + reach * along(b)[i]
        #expect(abs(p[i] - place) < 1e-12)
        let byElbow = reach * across(b)[i]
        let expected = [0.4 * across(a)[i] + byElbow, byElbow, along(b)[i]]
        for j in 0..<6 {
          let own = j - positions
          let slope = (0..<3).contains(own) ? expected[own] : 0
          #expect(abs(J[i + 3 * j] - slope) < 1e-12, "\(i), \(j)")
        }
      }
    }
  }

  @Test("A state in another order, with sites, is linearised by differences of the plant")
  func sites() throws {
    let plain = try dynamics([.jointPositions(), .jointVelocities()]).linearization(x, u).F
    let dynamics = try dynamics([
      .sitePositions(sites: ["tip"]), .jointVelocities(), .jointPositions(),
    ])
    #expect(!dynamics.usesTransitionDifferences)
    let y = [9, 9, 9] + Array(x[3...]) + Array(x[..<3])
    let F = try dynamics.linearization(y, u).F
    // From (tip, v, q) to (q, v).
    let order = [6, 7, 8, 3, 4, 5]
    for i in 0..<6 {
      for j in 0..<6 { #expect(abs(F[order[i], order[j]] - plain[i, j]) < 1e-6) }
      for j in 0..<2 { #expect(abs(F[order[i], 9 + j] - plain[i, 6 + j]) < 1e-6) }
      // Nothing follows from where the tip was.
      for k in 0..<3 { #expect(F[order[i], k] == 0) }
    }
    // The tip after the step moves with the joints after it: rows are J_tip ∂q'/∂y.
    let plant = try dynamics.interface.makePlant()
    try plant.reset(to: condition, plantState: x.span)
    try plant.step(control: u.span)
    let interface = try MuJoCoInterface(
      model: dynamics.interface.model, substeps: 5, state: [.jointPositions(), .jointVelocities()],
      points: ["tip"])
    let other = try interface.makePlant()
    let after = plant.state(9)
    let start = Array(after[6...]) + Array(after[3..<6])
    try other.reset(to: condition, plantState: start.span)
    let J = other.points(1, state: 6).jacobians
    for axis in 0..<3 {
      for j in 0..<6 {
        let chained = (0..<3).reduce(0) { $0 + J[axis, $1] * plain[$1, j] }
        #expect(abs(F[axis, order[j]] - chained) < 1e-6)
      }
    }
  }

  @Test("What cannot be started from its state is refused with a reason")
  func refusals() throws {
    func refusal(_ text: String, _ state: [MuJoCoComponent], count: Int) throws -> String {
      let interface = try MuJoCoInterface(model: MuJoCoModel(mjcf: text), state: state)
      do {
        _ = try MuJoCoDynamics(
          interface,
          in: Condition(name: "a", initialPlantState: [Double](repeating: 0, count: count)))
        return ""
      } catch { return "\(error)" }
    }
    let chain = chainText.replacing("INTEGRATOR", with: "Euler")
    #expect(
      try refusal(chain, [.jointPositions()], count: 6).contains("velocity of joint 'shoulder'"))
    #expect(
      try refusal(
        treeText, [.jointPositions(joints: ["pan", "wrist"]), .jointVelocities()], count: 24
      ) != "")
  }

  @Test("The Runge-Kutta integrator, which MuJoCo does not difference, falls back on the plant")
  func rungeKutta() throws {
    let dynamics = try dynamics([.jointPositions(), .jointVelocities()], integrator: "RK4")
    #expect(!dynamics.usesTransitionDifferences)
    let report = try DynamicsChecker(
      stateNames: dynamics.interface.stateNames, controlNames: dynamics.interface.controlNames
    ).check(dynamics, state: x, control: u)
    #expect(report.isCorrect, "\(report)")
  }
}
