import Foundation

/// What a step promised, for judging it when the next rollouts are in.
public struct StepExpectation: Sendable, Codable, Equatable {
  /// Mean cost of the rollouts that the step was computed from.
  public var cost: Double
  /// Cost minus the cost that the model expects of the new controller.
  public var predictedImprovement: Double
  /// Whether the model's cost of the reference agreed with the rollouts', so that its prediction may
  /// enlarge the step.
  public var isTrustworthy: Bool
}

/// The rule for the KL step (Levine & Abbeel 2014; Montgomery & Levine 2016, section 4.2).
///
/// A quadratic model of the improvement as a function of the step, through zero, with the predicted
/// slope and the actual improvement, has its maximum at
/// `multiplier = predicted / (2 · max(1e−4, predicted − actual))`.
struct StepRule {
  let smallest: Double
  let largest: Double

  /// The multiplier after a step that promised `expectation` and led to `cost`.
  func multiplier(
    after previous: Double, expectation: StepExpectation, cost: Double
  ) -> Double {
    let predicted = expectation.predictedImprovement
    let actual = expectation.cost - cost
    guard predicted.isFinite, actual.isFinite else { return max(smallest, 0.5 * previous) }
    var factor = predicted / (2 * max(1e-4, predicted - actual))
    factor = min(max(factor, 0.1), 5)
    // A prediction that the rollouts contradict, or a step that made things worse, never enlarges.
    if !expectation.isTrustworthy || actual < 0 { factor = min(factor, 1) }
    return min(max(previous * factor, smallest), largest)
  }
}
