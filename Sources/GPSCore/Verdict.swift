/// What a rollout came to.
public struct Verdict: Sendable, Equatable {
  /// Its cost.
  public var cost: Double
  /// Whether it is a success; nil where the task judges none.
  public var isSuccess: Bool?
  /// How far it is from the threshold of success, positive for a success; nil where the task does not know.
  public var margin: Double?

  /// A verdict.
  public init(cost: Double, isSuccess: Bool?, margin: Double?) {
    self.cost = cost
    self.isSuccess = isSuccess
    self.margin = margin
  }
}

extension ControlTask {
  /// What a rollout came to, in its own condition if one was drawn for it.
  ///
  /// - Parameters:
  ///   - trajectory: a complete rollout.
  ///   - condition: the one it belongs to.
  /// - Returns: its cost, success and margin.
  public func verdict(on trajectory: Trajectory, in condition: Condition) -> Verdict {
    let condition = trajectory.condition ?? condition
    return Verdict(
      cost: cost.values(along: trajectory, in: condition).reduce(0, +),
      isSuccess: judgesSuccess ? isSuccess(trajectory, in: condition) : nil,
      margin: successMargin(of: trajectory, in: condition))
  }
}
