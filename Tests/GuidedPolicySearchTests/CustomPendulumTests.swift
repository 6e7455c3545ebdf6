import GuidedPolicySearch
import Testing

// What a user writes, with no import but one.

/// A pendulum that hangs at angle 0, driven at its pivot.
struct Pendulum: ContinuousSystem {
  var mass = 1.0, length = 1.0, damping = 0.1, gravity = 9.81

  let stateCount = 2
  let controlCount = 1
  var stateNames: [String] { ["angle_rad", "velocity_rad_per_s"] }
  var controlNames: [String] { ["torque_Nm"] }
  var actuatedCoordinates: [ActuatedCoordinate] { [.init(control: 0, position: 0, velocity: 1)] }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let weight = mass * gravity * length * sin(x[0])
    rate[0] = x[1]
    rate[1] = (u[0] - damping * x[1] - weight) / (mass * length * length)
  }
}

/// To the goal angle, at rest, with little torque.
struct Reach: DifferentiableCost {
  func running<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, points: Span<S>, at moment: CostMoment
  ) -> S {
    let error = x[0] - moment.condition.goal[0]
    return error * error + 0.01 * x[1] * x[1] + 0.001 * u[0] * u[0]
  }

  func final<S: DifferentiableScalar>(_ x: Span<S>, points: Span<S>, at moment: CostMoment) -> S {
    let error = x[0] - moment.condition.goal[0]
    return 10 * (error * error + x[1] * x[1])
  }
}

private func pendulumTask() throws -> NativeTask<Pendulum> {
  try NativeTask(
    name: "pendulum", model: Pendulum(), controlPeriod: 0.05, horizon: 40,
    conditions: [
      Condition(
        name: "low", initialPlantState: [0, 0], initialPlantStateDeviation: [0.1, 0.1], goal: [1])
    ], cost: Reach(),
    success: .stateWithin(entries: [0], target: .goal(first: 0), tolerance: [0.1], at: .final))
}

@Suite struct CustomPendulumTests {
  @Test("A system and a cost of one's own learn, with fitted and with known dynamics")
  func learns() async throws {
    let task = try pendulumTask()
    for isKnown in [false, true] {
      var settings = SearchSettings()
      settings.iterations = 8
      var network = NetworkOptions()
      network.hiddenLayers = [16]
      var training = PolicyDistiller.Options()
      training.steps = 500
      let search = try GuidedSearch(
        task, from: .lqr(.init(gains: [1])), settings: settings,
        dynamics: isKnown ? .known(.init()) : .fitted(.init()), network: network,
        training: training)
      var costs: [Double] = []
      for try await (_, report) in search.iterations() {
        costs.append(try #require(report.policy).meanCost)
        #expect(report.notes.allSatisfy { !$0.contains("kept") }, "\(report.notes)")
      }
      #expect(costs[costs.count - 1] < 0.5 * costs[0], "\(costs)")
    }
  }

  @Test("Its derivatives and those of its cost are right")
  func derivatives() throws {
    let task = try pendulumTask()
    let condition = task.conditions[0]
    let dynamics = NativeDynamics(task.model, timeStep: task.timeStep)
    var trajectory = Trajectory(
      states: Matrix(rows: 2, columns: 5), controls: Matrix(rows: 1, columns: 4),
      observations: Matrix(rows: 0, columns: 5))
    var workspace = dynamics.makeWorkspace()
    var x = [0.3, -0.4]
    for t in 0...4 {
      trajectory.states.setColumn(t, to: x)
      if t == 4 { break }
      let u = [0.5 * Double(t) - 1]
      trajectory.controls.setColumn(t, to: u)
      var next = x
      var target = next.mutableSpan
      dynamics.step(x.span, u.span, workspace: &workspace, into: &target)
      x = next
    }
    let report = try DynamicsChecker(task).check(dynamics, along: trajectory)
    #expect(report.isCorrect, "\(report)")
    // F: 2 × 3, a Hessian of 3 × 3 for each state, and the next state twice; four steps.
    #expect(report.checkedEntries == 4 * (6 + 18 + 4))
    let costs = CostChecker(task).check(Reach(), along: trajectory, in: condition)
    #expect(costs.isCorrect, "\(costs)")
  }
}
