package import Configuration
public import GPSCore

/// What ends a rollout, and what that costs: a walker that fell, an object that left the table.
///
/// A rollout ends at the first step at which the criterion holds. From there on, step T included, every step
/// costs the price and nothing else; the rollout is no success, and neither dynamics nor a policy are fitted to
/// what follows. The plant is stepped on all the same, under the same policy, so that rollouts have one length.
///
/// Dynamics of a step are fitted to the rollouts that go on beyond it; where none does, the state is predicted
/// to stay what it is. Costs of a step are averaged over all rollouts, those that ended with their price: a step
/// that few reach counts for as much as rollouts that reach it.
///
/// The price has no slope: local steps that follow derivatives of the cost see it through the rollouts that it
/// raises, sampled ones (PI²) directly. A smooth term that grows before the end helps the former.
public struct Termination: Sendable, Equatable {
  /// What ends a rollout, asked at every step; the moment it asks for itself does not count.
  public var when: SuccessCriterion
  /// The price of every step from the end on.
  public var cost: Double

  /// An end and its price.
  public init(when: SuccessCriterion, cost: Double = 0) {
    self.when = when
    self.cost = cost
  }

  /// The step at which a rollout ended, from 0 to T; nil if it did not.
  public func endStep(of trajectory: Trajectory, in condition: Condition) -> Int? {
    when.firstStep(of: trajectory, in: trajectory.condition ?? condition)
  }

  package func resolved(in scope: Scope) throws(SimError) -> Termination {
    try checkSettings("termination")
    return Termination(when: try when.resolved(in: scope, key: "termination.when"), cost: cost)
  }
}

extension Termination: Configurable {
  package static let schema = Schema<Termination>(Termination(when: .all([]))) {
    Field("when", \.when, "What ends a rollout, asked at every step, whatever its \"at\" says.")
      .required
    Field(
      "cost", \.cost, .notNegative, "The price of every step from the end on, instead of the cost.")
  }
}

/// A cost up to the end of a rollout, and a price for every step from there on.
struct TerminatedCost: Cost {
  let base: any Cost
  let termination: Termination

  var needsPointJacobians: Bool { base.needsPointJacobians }

  func addValues(
    to values: inout [Double], along trajectory: Trajectory, in condition: Condition
  ) {
    let end = termination.endStep(of: trajectory, in: condition) ?? .max
    if end == .max { return base.addValues(to: &values, along: trajectory, in: condition) }
    let own = base.values(along: trajectory, in: condition)
    for t in values.indices { values[t] += t < end ? own[t] : termination.cost }
  }

  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    guard let end = termination.endStep(of: trajectory, in: condition) else {
      return base.addExpansion(to: &expansion, along: trajectory, in: condition)
    }
    let own = base.expansion(along: trajectory, in: condition)
    let (width, square) = (own.gradients.rows, own.hessians.stride)
    for t in 0..<end { expansion.values[t] += own.values[t] }
    for t in end...trajectory.horizon { expansion.values[t] += termination.cost }
    for i in 0..<width * end { expansion.gradients.storage[i] += own.gradients.storage[i] }
    for i in 0..<square * end { expansion.hessians.storage[i] += own.hessians.storage[i] }
  }

  func quadratic(
    over trajectories: [Trajectory], in condition: Condition
  ) throws(CostError) -> QuadraticCost {
    let mean = try meanExpansion(over: trajectories, in: condition)
    return (base as? SumCost)?.addingRewards(to: mean, over: trajectories) ?? mean
  }
}

/// The terms of a cost that is a sum, with the price of an end as one more.
package struct CostTerms {
  /// The terms.
  package let sum: SumCost
  private let termination: Termination?

  /// The terms of a task's cost; nil if it has none.
  package init?(of cost: any Cost) {
    let terminated = cost as? TerminatedCost
    guard let sum = (terminated?.base ?? cost) as? SumCost else { return nil }
    (self.sum, termination) = (sum, terminated?.termination)
  }

  /// What files call each term.
  package var names: [String] { sum.termNames + (termination == nil ? [] : ["termination"]) }

  /// What each term costs over a rollout.
  package func totals(along trajectory: Trajectory, in condition: Condition) -> [Double] {
    let end = termination?.endStep(of: trajectory, in: condition) ?? trajectory.horizon + 1
    return sum.valuesByTerm(along: trajectory, in: condition).map { $0[..<end].reduce(0, +) }
      + (termination.map { [Double(trajectory.horizon + 1 - end) * $0.cost] } ?? [])
  }
}

/// A judge of rollouts that are no success once they ended.
struct UnlessEnded: SuccessJudge {
  let base: any SuccessJudge
  let termination: Termination

  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    termination.endStep(of: trajectory, in: condition) == nil
      && base.isSuccess(trajectory, in: condition)
  }

  /// Of a rollout that ended, no more than how far from its end it should have stayed.
  func successMargin(of trajectory: Trajectory, in condition: Condition) -> Double? {
    guard let margin = base.successMargin(of: trajectory, in: condition) else { return nil }
    return min(margin, -termination.when.greatestMargin(of: trajectory, in: condition))
  }
}

/// What a task is judged by: names resolved, and costs and successes up to the end alone.
struct Terms {
  let cost: any Cost
  let success: (any SuccessJudge)?
  let termination: Termination?

  init(
    _ cost: any Cost, _ success: (any SuccessJudge)?, _ termination: Termination?, in scope: Scope
  ) throws(SimError) {
    let resolved: any Cost = try (cost as? SumCost)?.resolved(in: scope) ?? cost
    let judge: (any SuccessJudge)? =
      try (success as? SuccessCriterion)?.resolved(in: scope) ?? success
    guard let termination = try termination?.resolved(in: scope) else {
      (self.cost, self.success, self.termination) = (resolved, judge, nil)
      return
    }
    self.termination = termination
    self.cost = TerminatedCost(base: resolved, termination: termination)
    self.success = judge.map { UnlessEnded(base: $0, termination: termination) }
  }
}
