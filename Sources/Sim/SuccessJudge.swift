public import GPSCore

/// Decides whether a rollout reached what the task asks for; separate from the cost.
public protocol SuccessJudge: Sendable {
  /// Whether `trajectory` is a success.
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool
}
