public import GPSCore

/// Decides whether a rollout reached what a task asks for; separate from the cost.
public protocol SuccessJudge: Sendable {
  /// Whether the rollout succeeded.
  ///
  /// - Parameters:
  ///   - trajectory: the complete rollout.
  ///   - condition: where its goal comes from.
  /// - Returns: true for a success.
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool

  /// How far the rollout is from the threshold, positive for a success; by default nil, unknown.
  ///
  /// - Parameters: as those of `isSuccess`.
  /// - Returns: a signed distance in a unit of the judge's own, or nil.
  func successMargin(of trajectory: Trajectory, in condition: Condition) -> Double?
}

extension SuccessJudge {
  /// None is known unless a judge says so.
  public func successMargin(of trajectory: Trajectory, in condition: Condition) -> Double? { nil }
}
