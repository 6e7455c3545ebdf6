public import GPSCore
public import GlobalPolicy
import Starts

/// Where a condition stands: the last rollouts that no later ones were worse than, and what made them. When the
/// rollouts after a step are worse, the condition returns here, and its next step is a shorter one.
public struct Footing: Storable {
  /// What rolled out: the local controller, or the policy linearised about its rollouts.
  public var controller: LinearGaussianController
  /// Cost of each of the rollouts, at least one.
  public var costs: [Double]
  /// Share of them that succeeded; 0 where no success is judged.
  public var successRate: Double
  /// What the policy did there: what it is to do again.
  public var lessons: [DistillationSet.Part]
  /// What the search on the known dynamics gained that found the controller; nil for any other controller. The costs
  /// are then those of rollouts of the known dynamics.
  public var gain: Double?

  /// Rollouts of a condition that the policy learns from where all iterations' are kept, at most.
  package static let mostLessons = 200

  /// The chance with which two sets of rollouts of the same controller are told apart.
  static let level = 0.02
  /// The same in standard deviations of a normal distribution.
  static let quantile = 2.054

  /// A footing from its parts.
  public init(
    controller: LinearGaussianController, costs: [Double], successRate: Double,
    lessons: [DistillationSet.Part], gain: Double? = nil
  ) {
    precondition(!costs.isEmpty, "a footing without rollouts")
    self.controller = controller
    self.costs = costs
    self.successRate = successRate
    self.lessons = lessons
    self.gain = gain
  }

  /// What a search on the known dynamics promises; nil where it does not say.
  init?(_ start: SearchedStart) {
    guard !start.isGivenUp, let gain = start.gain, gain > 0, !start.trialCosts.isEmpty,
      start.trialCosts.allSatisfy(\.isFinite)
    else { return nil }
    self.init(
      controller: start.controller, costs: start.trialCosts,
      successRate: Double(start.trialSuccesses ?? 0) / Double(start.trialCosts.count),
      lessons: start.rests.map {
        DistillationSet.Part(observations: $0.observations, targets: $0.actions)
      },
      gain: gain)
  }

  /// What rollouts come to, and what made them.
  init(
    _ report: ConditionReport, of controller: LinearGaussianController, along samples: [Trajectory],
    limits: ControlLimits?
  ) {
    self.init(
      controller: controller, costs: report.costs,
      successRate: report.successRate.isFinite ? report.successRate : 0,
      lessons: samples.map { DistillationSet.Part(along: $0, under: controller, limits: limits) })
  }

  /// Mean cost of the rollouts.
  var meanCost: Double { costs.reduce(0, +) / Double(costs.count) }

  /// Whether rollouts are worse than these: in the order of their costs by more than chance (Mann & Whitney
  /// 1947; where rollouts split in two kinds, means tell nothing), and in their mean by more than half of what
  /// the step promised, since noise aside a policy that learned nearly all is no failure. Only differences of
  /// costs count.
  ///
  /// - Parameters:
  ///   - others: cost of each of the others.
  ///   - successRate: of the others, NaN where none is judged; more successes are never worse.
  ///   - promise: what the step promised; nil for nothing.
  /// - Returns: whether they are.
  func isBetter(than others: [Double], successRate: Double, promise: Double?) -> Bool {
    if others.isEmpty || successRate > self.successRate { return false }
    let promised = promise.map { $0.isFinite ? max(0, 0.5 * $0) : 0 } ?? 0
    let loss = others.reduce(0, +) / Double(others.count) - meanCost
    return !(loss <= promised) && isLower(than: others)
  }

  /// Whether the costs are lower than others by more than chance; where there are so few that the level cannot
  /// be reached, all of them must be.
  private func isLower(than others: [Double]) -> Bool {
    let (m, n) = (costs.count, others.count)
    let inversions = others.reduce(0) { sum, other in sum + costs.count { !($0 < other) } }
    if inversions == 0 { return true }
    if m * n > 400 {
      let deviation = (Double(m * n) * Double(m + n + 1) / 12).squareRoot()
      return Double(inversions) <= 0.5 * Double(m * n) - Self.quantile * deviation
    }
    // How many orders of i costs and j others have k inversions, by what comes last: one of the costs, which
    // all j others precede, or another.
    var orders = [[Double]](repeating: [1], count: n + 1)
    for i in 1...m {
      var row: [[Double]] = [[1]]
      for j in 1...n {
        var counts = [Double](repeating: 0, count: i * j + 1)
        for (k, count) in orders[j].enumerated() { counts[k + j] += count }
        for (k, count) in row[j - 1].enumerated() { counts[k] += count }
        row.append(counts)
      }
      orders = row
    }
    let asFew = orders[n].prefix(inversions + 1).reduce(0, +)
    return asFew <= Self.level * orders[n].reduce(0, +)
  }

  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    writer.within("controller") { controller.store(in: &$0) }
    writer.put("costs", costs)
    writer.put("success_rate", successRate)
    if let gain { writer.put("gain", gain) }
    writer.put("lessons", lessons)
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    let controller = try LinearGaussianController(stored: reader.within("controller"))
    let lessons = try reader.parts(
      "lessons", controls: controller.control, steps: controller.horizon)
    let costs = try reader.numbers("costs")
    if costs.isEmpty { throw StoredValueError("a footing has no costs") }
    self.init(
      controller: controller, costs: costs,
      successRate: try reader.number("success_rate", in: 0...1), lessons: lessons,
      gain: reader.holds("gain")
        ? try reader.number("gain", in: 0...Double.greatestFiniteMagnitude) : nil)
  }
}
