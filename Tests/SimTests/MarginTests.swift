import GPSCore
import LinearAlgebra
import Starts
import Testing

@testable import Sim

/// Three steps of two entries and one point.
private let trajectory = Trajectory(
  states: Matrix([[0, 1, 2], [5, -1, 0.5]]), controls: Matrix(rows: 1, columns: 2),
  observations: Matrix(rows: 0, columns: 3),
  points: Matrix([[0, 0, 3], [0, 0.5, 4], [1, 0.2, 0]]))
private let condition = Condition(name: "a", initialPlantState: [], goal: [2, 0, 0])

private func margin(_ criterion: SuccessCriterion) -> Double? {
  criterion.successMargin(of: trajectory, in: condition)
}

private let cases: [(SuccessCriterion, Double)] = [
  (.pointDistance(point: 0, to: .position([0, 0, 0]), below: 6, at: .final), 1.0),
  (.pointDistance(point: 0, to: .position([0, 0, 0]), below: 4, at: .final), -1),
  (.pointDistance(point: 0, to: .position([0, 0, 0]), below: 4, at: .always), -1),
  (.pointDistance(point: 0, to: .position([0, 0, 0]), below: 1.5, at: .last(3)), -3.5),
  (.pointDistance(point: 0, to: .position([0, 0, 1]), below: 0.5, at: .any), 0.5),
  (.stateWithin(entries: [0], target: .goal(first: 0), tolerance: [0.25], at: .final), 0.25),
  (.stateWithin(entries: [0], target: .goal(first: 0), tolerance: [0.25], at: .last(2)), -0.75),
  (
    .stateWithin(
      entries: [0, 1], target: .numbers([2, 0]), tolerance: [0.1, 0.75], at: .final),
    0.1
  ),
  (.stateAbove(entries: [0], target: .numbers([1.5]), at: .final), 0.5),
  (.stateAbove(entries: [0], target: .numbers([1.5]), at: .always), -1.5),
  (.stateAbove(entries: [0, 1], target: .numbers([1.5, 1]), at: .final), -0.5),
  (.stateBelow(entries: [1], target: .numbers([1]), at: .last(2)), 0.5),
  (.stateBelow(entries: [1], target: .goal(first: 0), at: .any), 3),
  (.pointAbove(point: 0, height: 0.5, at: .any), 0.5),
  (.pointAbove(point: 0, height: 0.5, at: .final), -0.5),
  (.pointBelow(point: 0, height: 0.25, at: .last(2)), 0.25 - 0.2),
  (
    .pointInside(
      point: 0, region: .ball(center: .position([3, 4, 1]), radius: 1.5), at: .final), 0.5
  ),
  (
    .pointInside(
      point: 0, region: .box(center: .goal(first: 0), halfExtents: [2, 4.5, nil]), at: .final),
    0.5
  ),
  (
    .pointOutside(
      point: 0, region: .box(center: .goal(first: 0), halfExtents: [0.75, 5, nil]), at: .final),
    0.25
  ),
  (
    .all([
      .stateAbove(entries: [0], target: .numbers([1]), at: .final),
      .stateBelow(entries: [1], target: .numbers([3]), at: .final),
    ]), 1
  ),
  (
    .any([
      .stateAbove(entries: [0], target: .numbers([3]), at: .final),
      .stateBelow(entries: [1], target: .numbers([3]), at: .final),
    ]), 2.5
  ),
  (
    .any([
      .stateAbove(entries: [0], target: .numbers([3]), at: .final),
      .all([.stateBelow(entries: [1], target: .numbers([0]), at: .final)]),
    ]), -0.5
  ),
]

@Suite struct MarginTests {
  /// Every margin by hand; its sign is the verdict.
  @Test(
    "Margins are signed distances from the threshold",
    arguments: cases)
  func margins(_ criterion: SuccessCriterion, _ expected: Double) throws {
    let found = try #require(margin(criterion))
    #expect(abs(found - expected) < 1e-15)
    #expect(criterion.isSuccess(trajectory, in: condition) == (expected > 0))
  }

  @Test("At the threshold itself the criterion decides, and where there is none there is no margin")
  func thresholds() {
    let within = SuccessCriterion.stateWithin(
      entries: [0], target: .numbers([1.75]), tolerance: [0.25], at: .final)
    #expect(margin(within) == 0 && within.isSuccess(trajectory, in: condition))
    let distance = SuccessCriterion.pointDistance(
      point: 0, to: .position([0, 0, 0]), below: 5, at: .final)
    #expect(margin(distance) == 0 && !distance.isSuccess(trajectory, in: condition))
    let above = SuccessCriterion.stateAbove(entries: [0], target: .numbers([2]), at: .final)
    #expect(margin(above) == 0 && !above.isSuccess(trajectory, in: condition))
    let everywhere = Region.box(center: .position([0, 0, 0]), halfExtents: [nil, nil, nil])
    for (criterion, verdict) in [
      (SuccessCriterion.all([]), true), (.any([]), false),
      (.pointInside(point: 0, region: everywhere, at: .always), true),
      (.pointOutside(point: 0, region: everywhere, at: .any), false),
    ] {
      #expect(margin(criterion) == nil)
      #expect(criterion.isSuccess(trajectory, in: condition) == verdict)
    }
  }

  @Test("A task without a criterion judges nothing; a judge of one's own need know no margin")
  func tasksWithout() throws {
    func task(_ judge: (any SuccessJudge)?) throws -> NativeTask<PointMass> {
      try NativeTask(
        name: "t", model: PointMass(), controlPeriod: 0.1, horizon: 2,
        conditions: [Condition(name: "a", initialPlantState: [0, 0, 0, 0], goal: [2, 0, 0])],
        cost: SumCost(), success: judge)
    }
    struct Always: SuccessJudge {
      func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool { true }
    }
    #expect(try !task(nil).judgesSuccess)
    #expect(try !task(nil).isSuccess(trajectory, in: condition))
    #expect(try task(nil).successMargin(of: trajectory, in: condition) == nil)
    #expect(try task(Always()).judgesSuccess)
    #expect(try task(Always()).successMargin(of: trajectory, in: condition) == nil)
    let judged = try task(
      SuccessCriterion.stateAbove(entries: [0], target: .numbers([1]), at: .final))
    #expect(judged.successMargin(of: trajectory, in: condition) == 1)
  }

  @Test("An evaluation without a criterion has costs and no successes")
  func evaluationsWithout() async throws {
    for judge in [
      nil, SuccessCriterion.stateAbove(entries: [0], target: .numbers([1]), at: .final),
    ] {
      let task = try NativeTask(
        name: "t", model: PointMass(), controlPeriod: 0.1, horizon: 2,
        conditions: [Condition(name: "a", initialPlantState: [1.5, 0, 0, 0])],
        cost: SumCost(.control(ControlCost(weights: [1]))), success: judge)
      let controller = try InitialController.pd(
        InitialController.PDOptions(positionGains: [0], velocityGains: [0], variance: [1])
      ).controller(for: task, in: task.conditions[0])
      let evaluation = try await task.evaluate(controller, rollouts: 3)
      #expect(evaluation.entries[0].costs.count == 3)
      if judge == nil {
        #expect(evaluation.entries[0].successes.isEmpty && evaluation.successRate.isNaN)
        #expect(evaluation.meanMargin == nil)
      } else {
        #expect(evaluation.successRate == 1 && evaluation.entries[0].margins.count == 3)
        #expect(abs((evaluation.meanMargin ?? 0) - 0.5) < 1e-12)
      }
    }
  }
}
