import Differentiation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Sim
import Statistics
import Testing

@testable import LQR
@testable import Starts

/// A mass on a hilltop.
private struct Hilltop: ContinuousSystem {
  let stateCount = 2
  let controlCount = 1
  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = x[1]
    rate[1] = 4 * x[0] + u[0]
  }
}

/// A thing that goes where it is told, at most to 3.
private struct Drift: ContinuousSystem {
  let stateCount = 1
  let controlCount = 1
  var controlLimits: ControlLimits? { ControlLimits(magnitudes: [3]) }
  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = u[0] - x[0]
  }
}

/// (x − 1)², and more beyond 1, where it falls off.
private struct Ledge: Cost {
  let steepness: Double

  func addValues(to values: inout [Double], along trajectory: Trajectory, in condition: Condition) {
    for t in 0...trajectory.horizon {
      let d = trajectory.states[0, t] - 1
      values[t] += d * d + steepness * max(0, d) * max(0, d)
    }
  }

  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    for t in 0...trajectory.horizon {
      let d = trajectory.states[0, t] - 1
      expansion.values[t] += d * d + steepness * max(0, d) * max(0, d)
      expansion.gradients[0, t] += 2 * d + 2 * steepness * max(0, d)
      expansion.hessians.storage[4 * t] += 2 + (d > 0 ? 2 * steepness : 0)
    }
  }
}

@Suite("Automatic starts") struct AutomaticStartTests {
  /// A finger on a slide, and a marker on two slides that nothing moves unless it has a motor, or falls.
  private func task(_ state: [MuJoCoComponent], gravity: Double = 0) throws -> MuJoCoTask {
    let model = try MuJoCoModel(
      mjcf: """
        <mujoco><option gravity="0 \(gravity) 0"/><worldbody>
          <body name="finger"><joint name="slide" type="slide" axis="1 0 0"/><geom size=".02" mass="1"/>
            <site name="tip"/></body>
          <body name="marker" pos="1 0 0">
            <joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
            <geom size=".02" contype="0" conaffinity="0" mass="1"/><site name="aim"/></body>
        </worldbody><actuator><motor joint="slide" ctrlrange="-1 1"/></actuator></mujoco>
        """)
    let interface = try MuJoCoInterface(model: model, substeps: 5, state: state)
    return try MuJoCoTask(
      name: "t", interface: interface, horizon: 20,
      conditions: [Condition(name: "c", initialPlantState: [0.1, 0.3, -0.2, 0, 0, 0])],
      cost: SumCost(.control(ControlCost(weights: [1]))), success: SuccessCriterion.all([]))
  }

  @Test("it is a search where dynamics are known, and constant where they are not, with the reason")
  func choice() throws {
    let whole = try InitialController.automatic.chosen(
      for: try task([.jointPositions(), .jointVelocities()]))
    #expect(whole.start == .optimize() && whole.why == "the dynamics are known")
    let partial = try InitialController.automatic.chosen(for: try task([.jointPositions()]))
    #expect(partial.start == .constant())
    #expect(partial.why?.contains("velocity of joint 'slide'") == true, "\(partial.why ?? "")")
    let given = try InitialController.pd(.init(positionGains: [1], velocityGains: [1])).chosen(
      for: try task([.jointPositions()]))
    #expect(given.why == nil)
  }

  @Test("joints that stand still may be left out of the state, and are where the start has them")
  func stillJoints() throws {
    let state: [MuJoCoComponent] = [
      .jointPositions(joints: ["slide"]), .jointVelocities(joints: ["slide"]),
      .sitePositions(sites: ["tip"], relativeTo: "aim"),
    ]
    let task = try task(state)
    let condition = task.conditions[0]
    let known = try #require(try task.knownDynamics(in: condition))
    func after<D: KnownDynamics>(_ dynamics: D) throws -> [Double] {
      var workspace = try dynamics.makeWorkspace()
      var next = [Double](repeating: 0, count: dynamics.state)
      var span = next.mutableSpan
      try dynamics.step(
        [0.1, 0.5, -1.2, 0.2, 0].span, [0.7].span, workspace: &workspace, into: &span)
      return next
    }
    let plant = try task.makePlant()
    try plant.reset(to: condition, plantState: [0.1, 0.3, -0.2, 0.5, 0, 0].span)
    try plant.step(control: [0.7].span)
    var expected = [Double](repeating: 0, count: 5)
    var span = expected.mutableSpan
    plant.readState(into: &span)
    #expect(zip(try after(known), expected).allSatisfy { abs($0 - $1) < 1e-9 })
    // One that falls has to be in it.
    #expect(throws: MuJoCoError.self) {
      try self.task(state, gravity: -9.81).knownDynamics(in: condition)
    }
  }

  @Test("a trajectory that noise makes worse than what it was searched from is given up")
  func givenUp() async throws {
    func searched(steepness: Double) async throws -> SearchedStart {
      let task = try NativeTask(
        name: "ledge", model: Drift(), controlPeriod: 1, horizon: 20,
        conditions: [Condition(name: "c", initialPlantState: [0])],
        cost: Ledge(steepness: steepness))
      let starts = try await InitialController.optimize(.init(deviation: [0.1])).searched(
        for: task, stream: RandomStream(seed: 1))
      return try #require(starts?.first)
    }
    // Beyond 1 it goes down: there the optimum is, without noise.
    let gentle = try await searched(steepness: 1)
    #expect(!gentle.isGivenUp)
    // What it does there goes on: about 1, each action that of the last step's feedback.
    #expect(gentle.rests.count == 8)
    let (gain, offset) = (gentle.controller.gains[19][0, 0], gentle.controller.offsets[0, 19])
    for rest in gentle.rests {
      #expect(rest.observations.columns == 21 && rest.actions.columns == 20)
      for t in 0..<20 {
        let x = rest.observations[0, t]
        #expect(abs(x - 1) < 1)
        #expect(abs(rest.actions[0, t] - min(3, max(-3, gain * x + offset))) < 1e-12)
      }
      #expect(Set(rest.observations.storage).count == 21)
    }
    let steep = try await searched(steepness: 1e4)
    #expect(steep.rests.isEmpty)
    #expect(steep.isGivenUp && steep.cost < 21 && steep.trialCosts.allSatisfy { $0 > 21 })
    #expect(
      steep.controller.gains.storage.allSatisfy { $0 == 0 }
        && steep.controller.offsets.storage.allSatisfy { $0 == 0 })
  }

  @Test("rollouts that are given up have not failed")
  func holdingGivenUp() async throws {
    let task = try NativeTask(
      name: "ledge", model: Drift(), controlPeriod: 1, horizon: 20,
      conditions: [Condition(name: "c", initialPlantState: [0])], cost: Ledge(steepness: 1))
    let controller = try InitialController.constant().controller(for: task, in: task.conditions[0])
    let work = Task {
      while !Task.isCancelled { await Task.yield() }
      return try holdingRollouts(
        of: task, in: task.conditions[0], under: controller, streams: [RandomStream(seed: 1)])
    }
    work.cancel()
    await #expect(throws: CancellationError.self) { try await work.value }
  }

  @Test("a trajectory that is under way when it ends does not go on")
  func underWay() async throws {
    let task = try NativeTask(
      name: "throw", model: Hilltop(), controlPeriod: 0.1, horizon: 10,
      conditions: [Condition(name: "c", initialPlantState: [0, 0])],
      cost: SumCost(
        .control(ControlCost(weights: [1e-3])),
        .state(StateCost(entries: [0], target: .numbers([1]), weights: [1], ramp: .finalOnly))))
    let found = try await InitialController.optimize().searched(
      for: task, stream: RandomStream(seed: 1))
    let start = try #require(found?.first)
    #expect(start.cost < 0.2 && start.rests.isEmpty)
  }

  @Test(
    "a swing-up of many swings is found under a cost with a barrier, and holds under noise", .slow)
  func swingsUp() async throws {
    let task = try NativeTask(
      name: "swing-up", model: StartKindsTests.WeakPendulum(torque: 2), controlPeriod: 0.05,
      horizon: 200,
      conditions: [Condition(name: "down", initialPlantState: [0, 0])],
      cost: SumCost(
        .control(ControlCost(weights: [0.05])),
        .state(
          StateCost(
            entries: [0, 1], target: .numbers([.pi, 0]), weights: [20, 2], ramp: .finalOnly)),
        .state(StateCost(entries: [0], target: .numbers([.pi]), weights: [1], ramp: .quadratic))),
      success: .stateWithin(
        entries: [0], target: .numbers([.pi]), tolerance: [0.3], at: .last(10)))
    let found = try #require(
      try await InitialController.optimize().searched(
        for: task, stream: RandomStream(seed: 3), workers: 2))
    #expect(found[0].trialSuccesses == 8 && found[0].trialCosts.count == 8)
    let batch = try await collectRollouts(
      of: task, in: task.conditions, under: found.map(\.controller),
      plan: RolloutPlan(iteration: 0, samples: 10, workers: 2), stream: RandomStream(seed: 8))[0]
    let successes = batch.trajectories.count {
      task.verdict(on: $0, in: task.conditions[0]).isSuccess == true
    }
    #expect(successes >= 9)
    // Without noise there is room for feedback: a tenth of the range.
    let quiet = try await collectRollouts(
      of: task, in: task.conditions, under: found.map(\.controller),
      plan: RolloutPlan(iteration: 0, samples: 1, noise: nil, workers: 1),
      stream: RandomStream(seed: 8))[0]
    #expect(quiet.trajectories[0].controls.largestMagnitude < 1.8 + 1e-6)
  }

  @Test("about a trajectory that rests the gains are those of an endless one, to its last step")
  func restingGains() async throws {
    let dynamics = NativeDynamics(Hilltop(), timeStep: TimeStep(controlPeriod: 0.05))
    let condition = Condition(name: "top", initialPlantState: [0, 0])
    let cost = SumCost(
      .control(ControlCost(weights: [0.1])),
      .state(StateCost(entries: [0, 1], target: .numbers([0, 0]), weights: [1, 0.1])))
    let resolved = try NativeTask(
      name: "hilltop", model: Hilltop(), controlPeriod: 0.05, horizon: 60, conditions: [condition],
      cost: cost
    ).cost
    let (states, controls) = (Matrix(rows: 2, columns: 61), Matrix(rows: 1, columns: 60))
    let found = try #require(
      try await GainSearch(
        ilqr: ILQR(), dynamics: dynamics, cost: resolved, condition: condition, limits: nil,
        noise: [0], starts: [(condition, [0, 0])], succeeds: nil
      ).gains(about: states, controls, worth: 1, scales: [1], stream: RandomStream(seed: 1)))
    // Exactly: e^{At} of rate' = 4 x + u, held over 0.05 s.
    let (c, s) = (cosh(0.1), sinh(0.1))
    let A = Matrix(rows: 2, columns: 2, columnMajor: [c, 2 * s, s / 2, c])
    let B = Matrix(rows: 2, columns: 1, columnMajor: [(c - 1) / 4, s / 2])
    let endless = try DiscreteRiccati(
      A, B, Q: Matrix(diagonal: [1, 0.1]), R: Matrix(diagonal: [0.1]),
      S: Matrix(rows: 2, columns: 1))
    for t in [0, 30, 59] {
      #expect(
        (found.gains[t] - endless.gains).largestMagnitude < 0.01 * endless.gains.largestMagnitude,
        "step \(t)")
    }
    // Those of the finite one let go at the end.
    let finite = try #require(
      try await ILQR().gains(
        dynamics, cost: resolved, in: condition, states: states, controls: controls))
    #expect(finite[59].largestMagnitude < 0.5 * endless.gains.largestMagnitude)
  }

  @Test("limits leave room, but never without a control that lies within")
  func tightened() {
    let limits = ControlLimits(lower: [-1, 0, -.infinity], upper: [1, 2, 5])
    let tight = limits.tightened(by: [0.1, 10, 1], about: [0, 0, 0])
    #expect(tight == ControlLimits(lower: [-0.9, 0, -.infinity], upper: [0.9, 1.8, 5]))
  }
}
