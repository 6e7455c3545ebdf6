import GPSCore
import LinearAlgebra
import Statistics
import Starts
import Testing

@testable import Sim

/// A point mass that is charged for its distance from goals that are drawn.
private func task(every frequency: ConditionDraws.Frequency) throws -> NativeTask<PointMass> {
  let conditions = (0..<2).map { i in
    var condition = Condition(
      name: "\(i)", initialPlantState: [Double(i), 0, 0, 0], goal: [1, 0, 0])
    var draws = ConditionDraws()
    draws.every = frequency
    draws.goal = .disk(radius: 0.5)
    draws.starts = [.init(first: 0, count: 2, distribution: .normal(deviation: [0.1]))]
    condition.draws = draws
    return condition
  }
  return try NativeTask(
    name: "t", model: PointMass(), controlPeriod: 0.1, horizon: 6, conditions: conditions,
    cost: SumCost(.point(PointCost(points: ["mass"], target: .goal(first: 0)))),
    success: .pointDistance(point: "mass", to: .goal(first: 0), below: 0.6, at: .final))
}

private func batches(
  _ task: NativeTask<PointMass>, iteration: Int = 0, workers: Int = 1, verdictsAlone: Bool = false
) async throws -> [RolloutBatch] {
  let policy = try LinearGaussianController(
    gains: MatrixSequence(rows: 2, columns: 4, count: 6), offsets: Matrix(rows: 2, columns: 6),
    covariances: MatrixSequence(repeating: Matrix.identity(2), count: 6))
  var plan = RolloutPlan(iteration: iteration, samples: 4, workers: workers)
  plan.keepsVerdictsAlone = verdictsAlone
  return try await collectRollouts(
    of: task, in: task.conditions, under: [policy, policy], plan: plan,
    stream: RandomStream(seed: 5))
}

@Suite struct DrawnConditionTests {
  @Test("Each rollout has a start and a goal of its own, with any number of workers")
  func perRollout() async throws {
    let task = try task(every: .rollout)
    let found = try await batches(task)
    let conditions = found.flatMap(\.trajectories).compactMap(\.condition)
    #expect(conditions.count == 8)
    #expect(Set(conditions.map(\.goal)).count == 8)
    for (batch, condition) in zip(found, task.conditions) {
      for trajectory in batch.trajectories {
        let own = try #require(trajectory.condition)
        #expect(own.draws == nil && own.name == condition.name)
        #expect(trajectory.states.column(0) == own.initialPlantState)
        // The goal is seen, charged and judged as it was drawn.
        #expect(Array(trajectory.observations.column(3).suffix(3)) == own.goal)
        let last = trajectory.points.column(6)
        let gap = zip(last, own.goal).map { $0 - $1 }
        let squares = gap.reduce(0) { $0 + $1 * $1 }
        let values = task.cost.values(along: trajectory, in: condition)
        #expect(abs(values[6] - 0.5 * squares) < 1e-12)
        let gradients = task.cost.expansion(along: trajectory, in: condition).gradients
        #expect(abs(gradients[0, 6] - gap[0]) < 1e-12)
        let verdict = task.verdict(on: trajectory, in: condition)
        #expect(abs(verdict.cost - values.reduce(0, +)) < 1e-12)
        #expect(abs((verdict.margin ?? 9) - (0.6 - squares.squareRoot())) < 1e-12)
        #expect(verdict.isSuccess == (squares.squareRoot() < 0.6))
      }
    }
    for workers in [2, 5] {
      let others = try await batches(task, workers: workers)
      #expect(others.map(\.trajectories) == found.map(\.trajectories))
    }
  }

  @Test("What is drawn for an iteration is one for its rollouts and another in the next")
  func perIteration() async throws {
    let task = try task(every: .iteration)
    let first = try await batches(task, iteration: 0)
    let second = try await batches(task, iteration: 1)
    var goals: [[Double]] = []
    for batch in first + second {
      let own = Set(batch.trajectories.compactMap(\.condition?.goal))
      #expect(own.count == 1)
      // Exploration is not shared.
      #expect(Set(batch.trajectories.map(\.controls.storage)).count == 4)
      goals += own
    }
    #expect(Set(goals).count == 4)
    #expect(
      try await batches(task, iteration: 1, workers: 3).map(\.trajectories)
        == second.map(\.trajectories))
  }

  @Test("Draws that do not fit their condition are refused before anything runs")
  func refusals() throws {
    for change: (inout ConditionDraws) -> Void in [
      { $0.starts = [.init(first: 3, count: 2, distribution: .ball(radius: 1))] },
      { $0.starts = [.init(first: 0, count: 2, distribution: .normal(deviation: [1, 1, 1]))] },
      { $0.goal = .box(lower: [0, 0], upper: [1, 1]) },
      { $0.bodyOffsets = ["b": .ball(radius: 1)] }, { $0.goalBodies = ["b"] },
      { $0.modelFactors = [ModelParameter(.mass, of: "b"): [1, 2]] },
    ] {
      var condition = Condition(name: "a", initialPlantState: [0, 0, 0, 0], goal: [1, 0, 0])
      var draws = ConditionDraws()
      change(&draws)
      condition.draws = draws
      #expect(throws: SimError.self) {
        try NativeTask(
          name: "t", model: PointMass(), controlPeriod: 0.1, horizon: 6, conditions: [condition],
          cost: SumCost())
      }
    }
  }

  @Test("Verdicts alone are those of the rollouts that were let go")
  func verdicts() async throws {
    let task = try task(every: .rollout)
    let whole = try await batches(task)
    let alone = try await batches(task, workers: 3, verdictsAlone: true)
    for (a, b) in zip(whole, alone) {
      #expect(b.trajectories.isEmpty && a.verdicts.isEmpty)
      #expect(
        b.verdicts
          == a.trajectories.map { task.verdict(on: $0, in: task.conditions[a.condition]) })
    }
  }

  @Test("An evaluation that keeps no rollouts comes to the same numbers")
  func evaluations() async throws {
    let task = try task(every: .rollout)
    let controller = try InitialController.pd(
      InitialController.PDOptions(positionGains: [1], velocityGains: [1], variance: [1])
    ).controller(for: task, in: task.conditions[0])
    func evaluate(_ keeps: Bool) async throws -> Evaluation {
      try await evaluation(
        of: controller, on: task, in: task.conditions, rollouts: 5, noise: ExplorationNoise(),
        stream: RandomStream(seed: 1), workers: 2, keepsRollouts: keeps)
    }
    let (with, without) = (try await evaluate(true), try await evaluate(false))
    for (a, b) in zip(with.entries, without.entries) {
      #expect(a.costs == b.costs && a.successes == b.successes && a.margins == b.margins)
      #expect(a.costs.count == 5 && a.batch.trajectories.count == 5)
      #expect(b.batch.trajectories.isEmpty)
    }
  }
}
