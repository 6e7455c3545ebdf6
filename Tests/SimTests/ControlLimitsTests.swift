import CMuJoCo
import Differentiation
import GPSCore
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

@Suite("Control limits") struct ControlLimitsTests {
  /// Two hinges; the actuators are the test's.
  private func model(_ actuators: String, _ option: String = "") throws -> MuJoCoModel {
    try MuJoCoModel(
      mjcf: """
        <mujoco>
          <option timestep="0.01" gravity="0 0 0" integrator="implicitfast">\(option)</option>
          <worldbody>
            <body>
              <joint name="a" axis="0 1 0" damping="0.5"/>
              <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="1"/>
              <body pos="0.4 0 0">
                <joint name="b" axis="0 1 0" damping="0.5"/>
                <geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="1"/>
              </body>
            </body>
          </worldbody>
          <actuator>\(actuators)</actuator>
        </mujoco>
        """)
  }

  @Test("Limits are the model's control ranges; what has none is open")
  func ranges() throws {
    let limits = try #require(
      try model(
        """
        <motor joint="a" ctrlrange="-1 2"/>
        <motor joint="b"/>
        <motor joint="b" ctrlrange="-3 3" ctrllimited="false"/>
        """
      ).controlLimits)
    #expect(limits.lower == [-1, -.infinity, -.infinity])
    #expect(limits.upper == [2, .infinity, .infinity])
    #expect(try model("<motor joint='a'/>").controlLimits == nil)
    // Where MuJoCo does not clamp, nothing does.
    #expect(
      try model("<motor joint='a' ctrlrange='-1 1'/>", "<flag clampctrl='disable'/>").controlLimits
        == nil)
  }

  @Test("Limits of force and activation bound what a control leads to, not the control")
  func inside() throws {
    let limits = try #require(
      try model(
        """
        <position joint="a" kp="10" forcerange="-5 5" ctrlrange="-2 2"/>
        <intvelocity joint="b" kp="10" actrange="-1 1"/>
        """
      ).controlLimits)
    #expect(limits.lower == [-2, -.infinity] && limits.upper == [2, .infinity])
  }

  @Test(
    "A muscle is excited between 0 and 1, whatever its range says besides",
    arguments: [("", 0.0, 1.0), ("ctrlrange='0.2 3'", 0.2, 1), ("ctrlrange='-1 0.5'", 0, 0.5)])
  func muscle(range: String, lower: Double, upper: Double) throws {
    let model = try model(
      "<muscle joint='a' lengthrange='-2 2' force='1' \(range)/>")
    #expect(model.controlLimits == ControlLimits(lower: [lower], upper: [upper]))
  }

  @Test("Controls are recorded as MuJoCo applies them, and the movement is the same")
  func recorded() async throws {
    let model = try model("<motor joint='a' ctrlrange='-0.1 0.2'/><motor joint='b'/>")
    let interface = try MuJoCoInterface(
      model: model, substeps: 2, state: [.jointPositions(), .jointVelocities()])
    let condition = Condition(name: "c", initialPlantState: [0, 0, 0, 0])
    let task = try MuJoCoTask(
      name: "t", interface: interface, horizon: 40, conditions: [condition], cost: NoCost(),
      success: GoalIsPositive())
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: 2, columns: 4, count: 40), offsets: Matrix(rows: 2, columns: 40),
      covariances: MatrixSequence(repeating: .identity(2), count: 40))
    let batch = try await collectRollouts(
      of: task, in: [condition], under: [controller],
      plan: RolloutPlan(iteration: 0, samples: 1, workers: 1), stream: RandomStream(seed: 100))[0]
    let rollout = try #require(batch.trajectories.first)
    let limits = try #require(task.controlLimits)
    var applied = 0
    for t in 0..<40 {
      let u = rollout.controls[0, t]
      #expect((-0.1...0.2).contains(u))
      if u == -0.1 || u == 0.2 { applied += 1 }
    }
    #expect(applied > 20, "noise of deviation 1 is mostly beyond")
    #expect(batch.saturatedShare(limits) == Double(applied) / 80)
    // The same noise, not clamped by anyone but MuJoCo.
    let data = try #require(mj_makeData(model.pointer))
    defer { mj_deleteData(data) }
    var stream = RandomStream(seed: 100).child(.rollout, 0, 0, 0, 0)
    var noise = [Double](repeating: 0, count: 80)
    noise.withUnsafeMutableBufferPointer { stream.fillNormals($0) }
    for t in 0..<40 {
      for i in 0..<2 { data.pointee.ctrl[i] = noise[2 * t + i] }
      for _ in 0..<2 { mj_step(model.pointer, data) }
      for i in 0..<2 { #expect(rollout.states[i, t + 1] == data.pointee.qpos[i]) }
    }
  }

  @Test("A native system's limits are its own, and a system's are checked")
  func native() throws {
    #expect(CartPole(forceLimit: 40).controlLimits == ControlLimits(magnitudes: [40]))
    #expect(CartPole().controlLimits == nil)
    #expect(PointMass(forceLimit: 2).controlLimits == ControlLimits(magnitudes: [2, 2]))
    #expect(
      TwoLinkArm(torqueLimit: 3).controlLimits == ControlLimits(magnitudes: [3, 3]))
    func task(_ limits: ControlLimits?) throws -> NativeTask<Winch> {
      try NativeTask(
        name: "t", model: Winch(controlLimits: limits), controlPeriod: 0.1, horizon: 2,
        conditions: [Condition(name: "c", initialPlantState: [0])], cost: NoCost())
    }
    #expect(try task(ControlLimits(magnitudes: [1])).controlLimits?.upper == [1])
    #expect(try task(nil).controlLimits == nil)
    #expect {
      try task(ControlLimits(magnitudes: [1, 1]))
    } throws: {
      "\($0)".contains("limits.lower")
    }
  }
}

private struct Winch: ContinuousSystem {
  let stateCount = 1
  let controlCount = 1
  var controlLimits: ControlLimits?

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = u[0]
  }
}
