public import GPSCore
import SearchParts

/// What a step promised, for judging it when the next rollouts are in.
public struct StepExpectation: Storable {
  /// Mean cost of the rollouts that the step was computed from.
  public var cost: Double
  /// Cost minus the cost that the model expects of the new controller.
  public var predictedImprovement: Double
  /// Whether the model's cost of the reference agreed with the rollouts', so that its prediction may
  /// enlarge the step.
  public var isTrustworthy: Bool

  /// An expectation from its parts.
  public init(cost: Double, predictedImprovement: Double, isTrustworthy: Bool) {
    self.cost = cost
    self.predictedImprovement = predictedImprovement
    self.isTrustworthy = isTrustworthy
  }

  /// What a step promises: the model's improvement over its own cost of the reference, trusted only if
  /// that cost agrees with the rollouts' to within three of their deviations and half of what is promised.
  /// Only differences of costs count: a constant added to the cost, or a factor on it, changes nothing.
  init(of outcome: LocalOutcome, from cost: Double, deviation: Double) {
    let isTrustworthy =
      outcome.referenceCost.map {
        abs($0 - cost) <= 3 * deviation + 0.5 * abs($0 - outcome.expectedCost)
      } ?? false
    let baseline = isTrustworthy ? outcome.referenceCost ?? cost : cost
    self.init(
      cost: cost, predictedImprovement: baseline - outcome.expectedCost,
      isTrustworthy: isTrustworthy)
  }

  /// Writes the parts. The step rule takes any number here: a model may well expect infinity.
  public func store(in writer: inout ValueWriter) {
    writer.put("cost", cost, mustBeFinite: false)
    writer.put("predicted_improvement", predictedImprovement, mustBeFinite: false)
    writer.put("is_trustworthy", [isTrustworthy])
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    self.init(
      cost: try reader.number("cost", mustBeFinite: false),
      predictedImprovement: try reader.number("predicted_improvement", mustBeFinite: false),
      isTrustworthy: try reader.flags("is_trustworthy", 1)[0])
  }
}

/// The rule for the KL step (Levine & Abbeel 2014; Montgomery & Levine 2016, section 4.2).
///
/// A quadratic model of the improvement as a function of the step, through zero, with the predicted
/// slope and the actual improvement, has its maximum at
/// `multiplier = predicted / (2 · (predicted − actual))`, kept within 0.1 and 5; within 2 while it is below
/// `smallest`, where only steps that were taken back, or a start that was optimal already, have brought it.
struct StepRule {
  let smallest: Double
  let largest: Double

  /// Half a multiplier, but no less than the smallest, unless it is below already.
  func halved(_ multiplier: Double) -> Double {
    max(min(smallest, multiplier), 0.5 * multiplier)
  }

  /// The multiplier after a step that promised `expectation` and led to `cost`.
  func multiplier(
    after previous: Double, expectation: StepExpectation, cost: Double
  ) -> Double {
    let predicted = expectation.predictedImprovement
    let actual = expectation.cost - cost
    guard predicted.isFinite, actual.isFinite else { return halved(previous) }
    // A step that was better than promised has no maximum: the largest factor.
    let shortfall = max(0.1 * abs(predicted), predicted - actual, .leastNonzeroMagnitude)
    var factor = predicted / (2 * shortfall)
    factor = min(max(factor, 0.1), previous < smallest ? 2 : 5)
    // A prediction that the rollouts contradict, or a step that made things worse, never enlarges.
    if !expectation.isTrustworthy || actual < 0 { factor = min(factor, 1) }
    // What was taken back has made it smaller than steps that are taken ever are.
    return min(max(previous * factor, min(smallest, previous)), largest)
  }
}
