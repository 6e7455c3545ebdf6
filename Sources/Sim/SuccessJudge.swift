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
}
