import CMuJoCo
import Foundation
import GPSCore
import Testing

@testable import Sim

@Suite("MuJoCo starts") struct MuJoCoStartTests {
  private let model = Result {
    try MuJoCoModel(
      mjcf: """
        <mujoco>
          <option timestep="0.01" gravity="0 0 0"/>
          <worldbody>
            <body name="link">
              <joint name="j" axis="0 1 0"/><geom size="0.1" mass="1"/>
            </body>
            <body name="target" mocap="true" pos="0.5 0 0"/>
            <body name="hand" mocap="true" pos="0 0.5 0"/>
          </worldbody>
          <actuator>
            <position name="servo" joint="j" kp="20"/>
            <general name="lag" joint="j" dyntype="filter" dynprm="0.1"/>
          </actuator>
          <keyframe>
            <key name="home" time="3" qpos="1" qvel="2" act="0.25" ctrl="1 0.5"
              mpos="0 2 0 0 0 1" mquat="0 1 0 0 1 0 0 0"/>
          </keyframe>
        </mujoco>
        """)
  }

  @Test("Without anything a start is the reference configuration, at rest")
  func reference() throws {
    #expect(try model.get().plantState() == [0, 0])
    #expect(try model.get().plantState(jointPositions: [0.5], jointVelocities: [2]) == [0.5, 2])
  }

  @Test("What a condition gives replaces the keyframe's, and the rest of the keyframe stays")
  func overrides() throws {
    let model = try model.get()
    let rest: [Double] = [3, 0.25, 1, 0.5, 0, 2, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0]
    #expect(try model.plantState(keyframe: "home") == [1, 2] + rest)
    #expect(try model.plantState(keyframe: "home", jointVelocities: [-1]) == [1, -1] + rest)
    #expect(try model.plantState(keyframe: "home", jointPositions: [7]) == [7, 2] + rest)
    let changed = try model.plantState(
      keyframe: "home", activations: [0.75], controls: [4, 5],
      mocapPositions: ["hand": [7, 8, 9]], mocapQuaternions: ["hand": [0, 0, 3, 4]])
    #expect(
      changed == [1, 2, 3, 0.75, 4, 5, 0, 2, 0, 7, 8, 9, 0, 1, 0, 0, 0, 0, 0.6, 0.8])
  }

  @Test("Without a keyframe they replace a reset model's")
  func alone() throws {
    let model = try model.get()
    let start = try model.plantState(mocapPositions: ["target": [1, 2, 3]])
    #expect(start == [0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0.5, 0, 1, 0, 0, 0, 1, 0, 0, 0])
    // What changes nothing adds nothing.
    #expect(try model.plantState(controls: [0, 0]) == [0, 0])
    let interface = try MuJoCoInterface(model: model, state: [.actuatorActivations])
    let condition = Condition(
      name: "c", initialPlantState: try model.plantState(activations: [0.5]))
    let plant = try interface.makePlant()
    try plant.reset(condition)
    #expect(plant.state(1) == [0.5])
    // da/dt = (u − a) / 0.1 by Euler's method.
    try plant.step(control: [0, 1].span)
    #expect(abs(plant.state(1)[0] - 0.55) < 1e-12)
  }

  @Test("Starts of one task have as many numbers, whichever of them say more than the others")
  func ofOneTask() throws {
    let model = try model.get()
    let interface = try MuJoCoInterface(
      model: model, state: [.jointPositions(), .jointVelocities()])
    func task(_ starts: [[Double]]) throws -> MuJoCoTask {
      try MuJoCoTask(
        name: "starts", interface: interface, horizon: 2,
        conditions: starts.enumerated().map {
          Condition(name: "\($0)", initialPlantState: $1, initialPlantStateDeviation: [0.1, 0.1])
        }, cost: SumCost([.init(.control(ControlCost(weights: [1, 1])))]), success: nil)
    }
    let home = try model.plantState(keyframe: "home")
    let mixed = try task([[0.5, 2], home])
    #expect(mixed.conditions.map(\.initialPlantState.count) == [20, 20])
    #expect(mixed.conditions[1].initialPlantState == home)
    #expect(TaskChecker(mixed).check().problems.filter { $0.kind == .initialState }.isEmpty)
    // It starts where it started without the rest.
    let (plant, other) = (try interface.makePlant(), try interface.makePlant())
    try plant.reset(mixed.conditions[0])
    try other.reset(Condition(name: "short", initialPlantState: [0.5, 2]))
    for _ in 0..<3 {
      for plant in [plant, other] { try plant.step(control: [0.3, 0.2].span) }
      #expect(plant.state(3) == other.state(3))
    }
    // Where none says more, none is given more.
    #expect(try task([[0, 0], [1, 1]]).conditions.map(\.initialPlantState.count) == [2, 2])
  }

  @Test("What does not fit is refused with what would")
  func refusals() throws {
    let model = try model.get()
    func reason(_ body: () throws -> [Double]) -> String {
      do { return "\(try body())" } catch { return "\(error)" }
    }
    #expect(
      reason { try model.plantState(activations: [1, 2]) }
        == "activations: 2 numbers where 1 are needed (one for each that an actuator has)")
    #expect(reason { try model.plantState(controls: [1]) }.contains("servo, lag"))
    #expect(
      reason { try model.plantState(mocapPositions: ["link": [1, 2, 3]]) }
        == "a mocap body is 'link', which is none; allowed is one of target, hand")
    #expect(
      reason { try model.plantState(mocapPositions: ["hnad": [1, 2, 3]]) }.contains("hand"))
    #expect(
      reason { try model.plantState(mocapPositions: ["hand": [1, 2]]) }.contains("x, y, z [m]"))
    #expect(
      reason { try model.plantState(mocapQuaternions: ["hand": [0, 0, 0, 0]]) }
        .contains("not all zero"))
    #expect(reason { try model.plantState(controls: [.nan, 0]) }.contains("finite"))
    #expect(reason { try model.plantState(keyframe: "hom") }.contains("home"))
  }
}
