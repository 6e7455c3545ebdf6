import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

@Suite struct ConformanceTests {
  @Test("Native systems keep what a plant promises, and their dynamics are theirs")
  func nativeSystems() throws {
    func check(
      _ system: some DynamicSystem, from start: [Double], points: [Int] = [0],
      integrator: Integrator = .rungeKutta4
    ) throws {
      let task = try NativeTask(
        name: "\(system)", model: system, controlPeriod: 0.05, substeps: 3, integrator: integrator,
        horizon: 12,
        conditions: [1.0, -0.8].map { factor in
          Condition(
            name: "times \(factor)", initialPlantState: start.map { factor * $0 }, goal: [factor])
        },
        cost: SumCost(
          .control(ControlCost(weights: Array(repeating: 1, count: system.controlCount)))),
        observation: NativeObservation(points: points))
      checkPlant(task, controlDeviation: 3)
      let report = TaskChecker(task).check()
      #expect(report.isCorrect, "\(report)")
    }
    try check(PointMass(mass: 2, damping: 0.7), from: [1, 2, -1, 0.5])
    try check(
      PointMass(forceLimit: 1.5, walls: .init(lower: [-0.9, -0.3], upper: [1.1, 0.3])),
      from: [1, 0.2, 0.8, -0.5], integrator: .midpoint)
    try check(CartPole(poleMass: 0.4, poleLength: 0.8, forceLimit: 50), from: [0, 2.5, 0.1, -1])
    try check(
      TwoLinkArm(masses: [1.2, 0.7], lengths: [0.5, 0.3], gravity: 9.81), from: [0.3, 1, 0, 0.4],
      integrator: .euler)
    try check(
      CartPole(forceLimit: 10, forceLevels: 2), from: [0, 0.2, 0.1, 0],
      integrator: .semiImplicitEuler)
    try check(Pendulum(torqueLimit: 2, speedLimit: 8), from: [2, 0.3])
    try check(
      MountainCar(power: 0.3, gravity: 0.5, speedLimit: 0.5), from: [-0.5, 0.1],
      integrator: .semiImplicitEuler)
    try check(Acrobot(torqueLevels: 3), from: [0.1, -0.1, 0, 0.1])
  }

  @Test("MuJoCo's plant keeps what a plant promises: joints of every kind, sensors, contacts")
  func muJoCo() throws {
    let model = try MuJoCoModel(mjcf: treeText)
    let interface = try MuJoCoInterface(
      model: model, substeps: 4,
      state: [
        .jointPositions(), .jointVelocities(), .actuatorActivations,
        .siteVelocities(sites: ["tip"]), .sensors(["tip_velocity", "felt", "pull"]),
      ], points: ["tip", "corner"])
    let start = try model.plantState()
    var spread = start
    spread[0] += 0.4
    checkPlant(
      try MuJoCoTask(
        name: "tree", interface: interface, horizon: 15,
        conditions: [
          Condition(name: "zero", initialPlantState: start),
          Condition(
            name: "displaced", initialPlantState: spread, bodyOffsets: ["second": [0.05, 0, 0.02]]),
        ], cost: NoCost(), success: SuccessCriterion.all([])))
  }
}
