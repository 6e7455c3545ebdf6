import GPSTestSupport
import GuidedPolicySearch
import Statistics
import Testing

@testable import Sim

@Suite("Fits to free bodies") struct FreeBodyFitTests {
  /// A body whose moments of inertia are equal: it keeps its angular velocity.
  private static let text = """
    <mujoco>
      <option timestep="0.005"/>
      <worldbody>
        <body name="box" pos="0 0 1">
          <joint name="flight" type="free"/>
          <inertial pos="0 0 0" mass="2" diaginertia="0.02 0.02 0.02"/>
        </body>
        <body pos="5 0 0">
          <joint name="arm" axis="0 0 1"/><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
        </body>
      </worldbody>
      <actuator><motor name="motor" joint="arm"/></actuator>
    </mujoco>
    """

  @Test("The fit to a thrown box that passes half a turn is the closed form's A", .slow)
  func thrownBox() async throws {
    let model = try MuJoCoModel(mjcf: Self.text)
    let interface = try MuJoCoInterface(
      model: model, substeps: 10,
      state: [.jointPositions(joints: ["flight"]), .jointVelocities(joints: ["flight"])])
    let turn = SIMD3(0.1, -0.2, 2.6)
    let rate = SIMD3(0.3, -0.2, 3.0)
    let q = Rotation(vector: turn)
    let start =
      [0, 0, 1, q.w, q.v.x, q.v.y, q.v.z, 0] + [0.5, -0.3, 2, rate.x, rate.y, rate.z, 0]
    var condition = Condition(name: "thrown", initialPlantState: start)
    condition.initialPlantStateDeviation = [Double](repeating: 0.003, count: 14)
    let horizon = 12
    let task = try MuJoCoTask(
      name: "thrown", interface: interface, horizon: horizon, conditions: [condition],
      cost: SumCost(.control(ControlCost(weights: [1]))), success: SuccessCriterion.all([]))
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 12, count: horizon),
      offsets: Matrix(rows: 1, columns: horizon),
      covariances: MatrixSequence(repeating: .identity(1), count: horizon))
    let batch = try await collectRollouts(
      of: task, in: [condition], under: [controller],
      plan: RolloutPlan(iteration: 0, samples: 80, workers: 2), stream: RandomStream(seed: 4))[0]
    #expect(batch.trajectories.count == 80)
    var options = LinearGaussianFitter.Options()
    options.prior = .none
    let fit = try LinearGaussianFitter(options: options).fit(
      batch.trajectories, updating: DynamicsPrior(), condition: 0,
      stream: RandomStream(seed: 5)
    ).dynamics

    let dt = interface.controlPeriod
    for t in 0..<horizon {
      func present(_ t: Int) -> SIMD3<Double> {
        (q * Rotation(vector: Double(t) * dt * rate)).vector(
          near: (2.7 + 3 * dt * Double(t)) * SIMD3(0, 0, 1))
      }
      let (before, after) = (present(t), present(t + 1))
      let (inward, outward) = (
        Rotation.rightJacobian(before), Rotation.inverseRightJacobian(after)
      )
      let back = Rotation(vector: -dt * rate)
      let spin = Rotation.rightJacobian(dt * rate)
      var expected = Matrix(rows: 12, columns: 13)
      for k in 0..<3 {
        var unit = SIMD3<Double>.zero
        unit[k] = 1
        for i in [k, 6 + k, 9 + k] { expected[i, i] = 1 }
        expected[k, 6 + k] = dt
        // δ before the step is R(ω dt)ᵀ δ after it.
        let turned = inward * unit
        let axes = back.axes
        let moved = turned.x * axes.x + turned.y * axes.y + turned.z * axes.z
        let (byTurn, byRate) = (outward * moved, dt * (outward * (spin * unit)))
        for row in 0..<3 {
          expected[3 + row, 3 + k] = byTurn[row]
          expected[3 + row, 9 + k] = byRate[row]
        }
      }
      #expect((fit.transitions[t] - expected).largestMagnitude < 0.03, "step \(t)")
      // Past half a turn the rows are far from the identity.
      if t == horizon - 1 { #expect(abs(expected[3, 4]) > 0.05) }
    }
    #expect(batch.trajectories.allSatisfy { $0.states[5, horizon] > 3.5 })
  }
}
