/// What noise-free rollouts say for a policy, condition by condition: what decides whether it is kept.
///
/// Only differences of costs count, so that a constant added to a cost, or a factor on it, changes no
/// decision.
public struct PolicyEvidence: Storable {
  /// The iteration that made the policy, from 0.
  public var iteration: Int
  /// Share of successful rollouts in each training condition.
  public var successRates: [Double]
  /// Mean cost in each training condition; infinity where a rollout failed.
  public var costs: [Double]

  /// Evidence from its parts, one number per training condition each.
  public init(iteration: Int, successRates: [Double], costs: [Double]) {
    precondition(
      successRates.count == costs.count,
      "\(successRates.count) success rates and \(costs.count) costs")
    self.iteration = iteration
    self.successRates = successRates
    self.costs = costs.map { $0.isNaN ? .infinity : $0 }
  }

  /// The evidence of an evaluation; where no success is judged, costs decide alone.
  public init(_ evaluation: Evaluation, iteration: Int) {
    self.init(
      iteration: iteration,
      successRates: evaluation.entries.map { $0.successRate.isFinite ? $0.successRate : 0 },
      costs: evaluation.entries.map { $0.batch.discarded.isEmpty ? $0.meanCost : .infinity })
  }

  /// Share of successful rollouts over all conditions.
  public var successRate: Double { successRates.reduce(0, +) / Double(max(1, successRates.count)) }
  /// Mean cost over all conditions.
  public var meanCost: Double { costs.reduce(0, +) / Double(max(1, costs.count)) }

  /// Whether it speaks for a worse policy: one of fewer successes, or of as many at a higher cost. A
  /// condition in which both failed says nothing of costs; one in which only this one did says enough.
  public func isWorse(than other: PolicyEvidence) -> Bool {
    if successRate != other.successRate { return successRate < other.successRate }
    let failures = (costs.count { !$0.isFinite }, other.costs.count { !$0.isFinite })
    if failures.0 != failures.1 { return failures.0 > failures.1 }
    return zip(costs, other.costs).reduce(0) { sum, pair in
      pair.0.isFinite && pair.1.isFinite ? sum + (pair.0 - pair.1) : sum
    } > 0
  }

  /// The same in one condition.
  public func isWorse(than other: PolicyEvidence, in condition: Int) -> Bool {
    let (own, others) = (successRates[condition], other.successRates[condition])
    return own < others || (own == others && costs[condition] > other.costs[condition])
  }

  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    writer.put("iteration", text: iteration)
    writer.put("success_rates", successRates)
    // A rollout that failed has no cost.
    writer.put("failed", costs.map { !$0.isFinite })
    writer.put("costs", costs.map { $0.isFinite ? $0 : 0 })
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    let rates = try reader.numbers("success_rates")
    let failed = try reader.flags("failed", rates.count)
    let costs = try reader.numbers("costs", rates.count)
    if !rates.allSatisfy({ (0...1).contains($0) }) {
      throw StoredValueError("a success rate is not between 0 and 1")
    }
    self.init(
      iteration: try reader.count("iteration"), successRates: rates,
      costs: zip(costs, failed).map { $1 ? .infinity : $0 })
  }
}
