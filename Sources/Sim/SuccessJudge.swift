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

/// A task that leaves it to a judge what a success is, and to a termination what ends a rollout.
public protocol JudgedTask: ControlTask {
  /// What decides about success; nil if nothing does.
  var success: (any SuccessJudge)? { get }
  /// What ends a rollout before its time; nil if nothing does.
  var termination: Termination? { get }
}

extension JudgedTask {
  /// Whether a rollout reached what the task asks for.
  public func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    success?.isSuccess(trajectory, in: condition) ?? false
  }

  /// The step at which a rollout ended before its time.
  public func endStep(of trajectory: Trajectory, in condition: Condition) -> Int? {
    termination?.endStep(of: trajectory, in: condition)
  }

  /// Whether something decides about success.
  public var judgesSuccess: Bool { success != nil }

  /// How far a rollout is from the threshold of success.
  public func successMargin(of trajectory: Trajectory, in condition: Condition) -> Double? {
    success?.successMargin(of: trajectory, in: condition)
  }
}
