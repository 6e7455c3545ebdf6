// No heap allocation per time step, pass, point or minibatch: each loop runs at one length and at twice
// that length, and may not allocate once more for it. Counts do not depend on the machine or its load.

import CAllocationCounter
import Dynamics
import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Sim
import Statistics
import Testing

@testable import GlobalPolicy
@testable import Networks
@testable import LQR

/// How often this thread calls the heap in some work, after one run that fills what is made once.
private func allocations(in work: () throws -> Void) rethrows -> Int {
  try work()
  let before = allocation_count()
  try work()
  return allocation_count() - before
}

/// Allocations that come on top when work of a length becomes twice as long.
private func growth(_ length: Int, _ make: (Int) throws -> () throws -> Void) throws -> Int {
  let short = try make(length)
  let long = try make(2 * length)
  return try allocations(in: long) - allocations(in: short)
}

@Suite(.enabled(if: allocations_are_counted() != 0, "allocations are not counted under sanitizers"))
struct AllocationTests {
  @Test func theGateCanFail() throws {
    var kept: [[Double]] = []
    let wasteful = try growth(50) { length in
      { kept = (0..<length).map { [Double($0)] } }
    }
    #expect(wasteful >= 50)
    #expect(kept.count == 50)
    #expect(try growth(50) { length in { for i in 0..<length { kept[0][0] += Double(i) } } } == 0)
    #expect(allocations { _ = Scratch<Double>(100) } == 1)
  }

  // MARK: Local optimisation

  private static func problem(
    _ T: Int
  ) -> (cost: QuadraticCost, dynamics: LinearGaussianDynamics) {
    var stream = RandomStream(seed: 1)
    return (
      RandomProblem.cost(state: 6, control: 3, horizon: T, &stream),
      RandomProblem.dynamics(state: 6, control: 3, horizon: T, &stream)
    )
  }

  @Test func riccatiPass() throws {
    let more = try growth(40) { T in
      let (cost, dynamics) = Self.problem(T)
      return { _ = try solveLinearQuadratic(cost: cost, dynamics: dynamics) }
    }
    #expect(more == 0)
  }

  @Test func marginalsPass() throws {
    let more = try growth(40) { T in
      let (_, dynamics) = Self.problem(T)
      var stream = RandomStream(seed: 2)
      let controller = try RandomProblem.controller(state: 6, control: 3, horizon: T, &stream)
      return { _ = try marginals(of: controller, under: dynamics) }
    }
    #expect(more == 0)
  }

  @Test func constrainedStep() throws {
    // With an inactive constraint both lengths take the same passes.
    var passes = Set<Int>()
    let more = try growth(40) { T in
      let (cost, dynamics) = Self.problem(T)
      var stream = RandomStream(seed: 2)
      let reference = try RandomProblem.controller(state: 6, control: 3, horizon: T, &stream)
      return {
        let solution = try KLConstrainedLQR().improve(
          from: reference, cost: cost, dynamics: dynamics, bound: 1e12, initialDual: 1e-8)
        passes.insert(solution.passes)
      }
    }
    #expect(passes.count == 1)
    #expect(more == 0)
  }

  @Test func anotherPassAllocatesNothing() throws {
    var passes: [Int] = []
    let (cost, dynamics) = Self.problem(40)
    var stream = RandomStream(seed: 2)
    let reference = try RandomProblem.controller(state: 6, control: 3, horizon: 40, &stream)
    func count(_ dual: Double, _ tolerance: Double) throws -> Int {
      var options = KLConstrainedLQR.Options()
      options.tolerance = tolerance
      let solver = KLConstrainedLQR(options: options)
      return try allocations {
        passes.append(
          try solver.improve(
            from: reference, cost: cost, dynamics: dynamics, bound: 40, initialDual: dual
          ).passes)
      }
    }
    passes.reserveCapacity(100)
    let close = try count(1, 0.5)
    let far = try count(1e6, 1e-6)
    #expect(passes[3] >= passes[1] + 4)
    #expect(far == close)
  }

  // MARK: Mixture and dynamics

  private static func points(_ N: Int) -> Matrix {
    var stream = RandomStream(seed: 3)
    var points = RandomProblem.matrix(8, N, &stream)
    for n in 0..<N { points[0, n] += Double(n % 4) }
    return points
  }

  private static func fit(points: Matrix, passes: Int) throws {
    var options = GaussianMixture.Options()
    (options.maxClusters, options.maxIterations, options.tolerance) = (4, passes, -1)
    var stream = RandomStream(seed: 4)
    let fit = try GaussianMixture.fitted(to: points, options: options, stream: &stream)
    #expect(fit.iterations == passes && fit.reseeded == 0)
  }

  @Test func passesOfEM() throws {
    let points = Self.points(600)
    #expect(try growth(8) { passes in { try Self.fit(points: points, passes: passes) } } == 0)
  }

  @Test func pointsOfEM() throws {
    let more = try growth(400) { N in
      let points = Self.points(N)
      return { try Self.fit(points: points, passes: 5) }
    }
    #expect(more == 0)
  }

  private static func trajectories(_ T: Int) -> [Trajectory] {
    var stream = RandomStream(seed: 5)
    return (0..<6).map { _ in
      let states = RandomProblem.matrix(4, T + 1, &stream)
      return Trajectory(
        states: states, controls: RandomProblem.matrix(2, T, &stream), observations: states)
    }
  }

  @Test(arguments: LinearGaussianFitter.PriorKind.allCases)
  func dynamicsFit(_ prior: LinearGaussianFitter.PriorKind) throws {
    var options = LinearGaussianFitter.Options()
    options.prior = prior
    (options.mixture.maxClusters, options.mixture.maxIterations) = (3, 4)
    options.mixture.tolerance = 0
    let more = try growth(40) { T in
      let trajectories = Self.trajectories(T)
      let fitter = LinearGaussianFitter(options: options)
      return {
        _ = try fitter.fit(
          trajectories, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 6))
      }
    }
    #expect(more == 0)
  }

  // MARK: Network

  @Test func minibatches() throws {
    var stream = RandomStream(seed: 7)
    let set = try DistillationSet(
      observations: RandomProblem.matrix(5, 200, &stream),
      targets: RandomProblem.matrix(2, 200, &stream),
      precisions: MatrixSequence(repeating: .identity(2), count: 1),
      precisionIndices: [Int](repeating: 0, count: 200))
    var network = NetworkOptions()
    network.hiddenLayers = [16, 16]
    let policy = NeuralPolicy.initial(
      observation: 5, control: 2, options: network, stream: stream)
    // More steps pass more epochs, whose order is drawn anew.
    let more = try growth(100) { steps in
      var options = PolicyDistiller.Options()
      options.steps = steps
      let trainer = try PolicyDistiller(options: options).trainer(
        policy, set: set, precisions: set.precisions, state: nil, stream: RandomStream(seed: 8),
        workers: 1)
      return { _ = try trainer.run(lossLimit: 1e6) }
    }
    #expect(more == 0)
  }

  @Test func actions() throws {
    var stream = RandomStream(seed: 9)
    let policy = NeuralPolicy.initial(observation: 5, control: 2, stream: stream)
    let controller = try RandomProblem.controller(state: 5, control: 2, horizon: 1, &stream)
    func act(_ policy: some Policy) throws -> Int {
      var (workspace, input) = (policy.makeWorkspace(), stream.normals(5))
      var (noise, action) = (stream.normals(2), [0.0, 0.0])
      return allocations {
        for _ in 0..<20 {
          var target = action.mutableSpan
          policy.act(
            step: 0, state: input.span, observation: input.span, noise: noise.span,
            workspace: &workspace, action: &target)
        }
        (input[0], noise[0]) = (action[0], action[1])
      }
    }
    #expect(try act(policy) == 0)
    #expect(try act(controller) == 0)
  }

  // MARK: Rollouts

  private static func growthOfRollouts<P: Plant>(
    _ plant: P, _ dimensions: Dimensions, _ condition: Condition, network: Bool
  ) throws -> Int {
    var plant = plant
    return try growth(30) { T in
      var dimensions = dimensions
      dimensions.horizon = T
      let (n, m) = (dimensions.state, dimensions.control)
      let noise = [Double](repeating: 0.01, count: m * T)
      func work(_ policy: some Policy) -> () throws -> Void {
        var workspace = policy.makeWorkspace()
        return {
          _ = try rollout(
            &plant, under: policy, workspace: &workspace, dimensions: dimensions,
            condition: condition, plantState: condition.initialPlantState, noise: noise)
        }
      }
      if network {
        return work(
          NeuralPolicy.initial(
            observation: dimensions.observation, control: m, stream: RandomStream(seed: 10)))
      }
      return work(
        try LinearGaussianController(
          gains: MatrixSequence(rows: m, columns: n, count: T),
          offsets: Matrix(rows: m, columns: T),
          covariances: MatrixSequence(repeating: .identity(m), count: T)))
    }
  }

  @Test(arguments: [false, true]) func rolloutsInMuJoCo(network: Bool) throws {
    let model = try MuJoCoModel(
      mjcf: """
        <mujoco>
          <option timestep="0.005"/>
          <worldbody>
            <geom type="plane" size="1 1 0.1"/>
            <body pos="0 0 0.3">
              <joint name="shoulder" axis="0 1 0" damping="0.1" armature="0.1"/>
              <geom type="capsule" fromto="0 0 0 0.2 0 0" size="0.02"/>
              <body pos="0.2 0 0">
                <joint name="elbow" axis="0 1 0" damping="0.1" armature="0.1"/>
                <geom type="capsule" fromto="0 0 0 0.2 0 0" size="0.02"/>
                <site name="hand" pos="0.2 0 0"/>
              </body>
            </body>
          </worldbody>
          <actuator>
            <motor joint="shoulder" ctrlrange="-1 1" ctrllimited="true"/>
            <motor joint="elbow" ctrlrange="-1 1" ctrllimited="true"/>
          </actuator>
          <sensor><accelerometer site="hand" name="a"/></sensor>
        </mujoco>
        """)
    let interface = try MuJoCoInterface(
      model: model, substeps: 5,
      state: [
        .jointPositions(), .jointVelocities(), .sitePositions(sites: ["hand"]),
        .siteVelocities(sites: ["hand"]), .sensors(["a"]),
      ], points: ["hand"])
    let condition = Condition(name: "c", initialPlantState: try model.plantState())
    let task = try MuJoCoTask(
      name: "arm", interface: interface, horizon: 10, conditions: [condition],
      cost: SumCost([]), success: SuccessCriterion.all([]))
    let more = try Self.growthOfRollouts(
      try task.makePlant(), task.dimensions, condition, network: network)
    #expect(more == 0)
  }

  @Test(arguments: [false, true]) func rolloutsOfNativeSystems(network: Bool) throws {
    let condition = Condition(name: "c", initialPlantState: [0, 0, 0, 0])
    let task = try NativeTask(
      name: "cart-pole", model: CartPole(), controlPeriod: 0.05, substeps: 4, horizon: 10,
      conditions: [condition], cost: SumCost([]), success: SuccessCriterion.all([]))
    let more = try Self.growthOfRollouts(
      try task.makePlant(), task.dimensions, condition, network: network)
    #expect(more == 0)
  }

  /// A system that says itself how it is seen.
  private struct Round: OpaqueContinuousSystem {
    let stateCount = 2
    let controlCount = 1
    var observationNames: [String] { ["sine", "cosine", "speed"] }

    func derivative(_ x: Span<Double>, _ u: Span<Double>, into rate: inout MutableSpan<Double>) {
      (rate[0], rate[1]) = (x[1], u[0] - sin(x[0]))
    }
    func observe(
      _ x: Span<Double>, goal: Span<Double>, into observation: inout MutableSpan<Double>
    ) {
      (observation[0], observation[1], observation[2]) = (sin(x[0]), cos(x[0]), x[1])
    }
  }

  @Test(arguments: [false, true]) func rolloutsWithAnObservationOfTheirOwn(network: Bool) throws {
    let condition = Condition(name: "c", initialPlantState: [0.5, 0], goal: [1])
    let task = try NativeTask(
      name: "round", model: Round(), controlPeriod: 0.05, substeps: 4, horizon: 10,
      conditions: [condition], cost: SumCost([]), success: SuccessCriterion.all([]))
    let more = try Self.growthOfRollouts(
      try task.makePlant(), task.dimensions, condition, network: network)
    #expect(more == 0)
  }

  @Test func derivativesOfNativeSystems() {
    let dynamics = NativeDynamics(CartPole(), timeStep: TimeStep(controlPeriod: 0.05))
    var workspace = dynamics.makeWorkspace()
    let (x, u, costate) = ([0.1, 0.2, 0.3, 0.4], [0.5], [1.0, -1, 2, 0.5])
    var (next, jacobian) = ([Double](repeating: 0, count: 4), [Double](repeating: 0, count: 20))
    var hessian = [Double](repeating: 0, count: 25)
    func work() {
      var a = next.mutableSpan
      var F = jacobian.mutableSpan
      var H = hessian.mutableSpan
      dynamics.linearize(x.span, u.span, workspace: &workspace, into: &a, jacobian: &F)
      dynamics.contractSecondDerivatives(
        x.span, u.span, costate: costate.span, workspace: &workspace, into: &H)
    }
    // The first record of the flow makes the tape long enough.
    work()
    #expect(allocations { for _ in 0..<10 { work() } } == 0)
    #expect(hessian[6] != 0)
  }
}
