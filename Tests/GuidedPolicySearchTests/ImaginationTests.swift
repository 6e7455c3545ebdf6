import Differentiation
import GPSTestSupport
import Testing

@testable import GuidedPolicySearch

/// A cart on a rail whose state holds where it is to go: that entry never moves.
private struct CartWithGoal: ContinuousSystem {
  let stateCount = 3
  let controlCount = 1
  var actuatedCoordinates: [ActuatedCoordinate] {
    [ActuatedCoordinate(control: 0, position: 0, velocity: 1)]
  }
  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = x[1]
    rate[1] = u[0] - 0.4 * x[1]
    rate[2] = .zero
  }
}

private func cartTask() throws -> NativeTask<CartWithGoal> {
  try NativeTask(
    name: "cart with goal", model: CartWithGoal(), controlPeriod: 0.1, horizon: 12,
    conditions: [0.7, -0.4].map {
      Condition(
        name: "to \($0)", initialPlantState: [0, 0, $0],
        initialPlantStateDeviation: [0.05, 0.05, 0], goal: [$0, 0])
    },
    cost: SumCost(
      .state(StateCost(entries: [0, 1], target: .goal(first: 0), weights: [2, 0.1])),
      .control(ControlCost(weights: [0.01]))),
    success: .stateWithin(
      entries: [0], target: .goal(first: 0), tolerance: [0.2], at: .final))
}

@Suite("Trajectories drawn from the fitted model") struct ImaginationTests {
  @Test("are kept although an entry of the state never moves")
  func constantEntry() throws {
    let (T, count) = (12, 40)
    var stream = RandomStream(seed: 3)
    let rollouts = (0..<5).map { _ in
      var states = Matrix(rows: 3, columns: T + 1)
      let controls = Matrix(rows: 1, columns: T, columnMajor: stream.normals(T))
      states.setColumn(0, to: [0.05 * stream.normal(), 0.05 * stream.normal(), 0.7])
      for t in 0..<T {
        states[0, t + 1] = states[0, t] + 0.1 * states[1, t]
        states[1, t + 1] = 0.96 * states[1, t] + 0.1 * controls[0, t]
        states[2, t + 1] = 0.7
      }
      return Trajectory(states: states, controls: controls, observations: states)
    }
    let dynamics = try LinearGaussianFitter().fit(
      rollouts, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1)
    ).dynamics
    // The model holds the entry, but for a noise that is not 0.
    for t in 0..<T {
      #expect(dynamics.transitions[t][2, 2] == 1 && dynamics.covariances[t][2, 2] > 0)
    }
    let controller = try LinearGaussianController(
      gains: MatrixSequence(rows: 1, columns: 3, count: T), offsets: Matrix(rows: 1, columns: T),
      covariances: MatrixSequence(repeating: Matrix([[0.25]]), count: T))
    let sampler = try TrajectorySampler(
      dynamics: dynamics, controller: controller,
      observations: ObservationModel(about: rollouts))
    let region = VisitedRegion(of: rollouts, under: dynamics)
    let drawn = (0..<count).compactMap { sample in
      var stream = RandomStream(seed: 2).child(.custom, sample)
      return sampler.trajectory(stream: &stream)
    }
    #expect(drawn.count == count)
    #expect(drawn.allSatisfy { $0.states[2, T] != 0.7 })
    #expect(drawn.filter(region.contains).count >= count - 2)
  }

  @Test("are not missed by a search on a task with such an entry")
  func search() async throws {
    let task = try cartTask()
    var settings = smallSettings()
    settings.modelSamples = 8
    let search = try GuidedPolicySearchTests.search(
      task,
      from: task.conditions.map {
        try InitialController.lqr(.init(gains: [1], stiffness: 0.5)).controller(for: task, in: $0)
      }, settings, link: MirrorDescent(), seed: 1)
    let (_, reports) = try await run(search)
    // Of the eight that were asked for, most stay where the rollouts have been.
    let kept = reports.flatMap { $0.conditions.map { $0.metrics["model_samples"] ?? 0 } }
    let mean: Double = kept.reduce(0, +) / Double(kept.count)
    #expect(kept.max() ?? 9 <= 8 && mean > 4, "\(kept)")
    #expect(
      reports.flatMap { $0.conditions.map { $0.status } }.allSatisfy {
        $0 != "kept previous controller"
      })
  }
}
