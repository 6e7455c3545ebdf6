/// A stochastic controller: an action for every step, state and observation, given the noise.
///
/// Pure: the caller supplies the standard-normal noise, and scratch lives in a `Workspace` that the
/// caller owns, so that an action allocates nothing.
public protocol Policy: Sendable {
  /// Scratch that one worker reuses from action to action.
  associatedtype Workspace

  /// New scratch for one worker.
  func makeWorkspace() -> Workspace

  /// Writes the action: the mean for this input plus the policy's covariance factor times the noise.
  ///
  /// - Parameters:
  ///   - step: t, from 0.
  ///   - state: n numbers; a policy that sees observations alone ignores it.
  ///   - observation: o numbers; a local controller ignores it.
  ///   - noise: m standard-normal numbers without a unit, or zeros for the mean action.
  ///   - workspace: scratch from `makeWorkspace()`.
  ///   - action: m numbers in the controls' own units, written.
  func act(
    step: Int, state: Span<Double>, observation: Span<Double>, noise: Span<Double>,
    workspace: inout Workspace, action: inout MutableSpan<Double>)

  /// Why the policy cannot act in a task of these sizes, as a clause; nil if it can.
  func mismatch(with dimensions: Dimensions) -> String?
}

extension Policy {
  /// Nothing unless a type says otherwise.
  public func mismatch(with dimensions: Dimensions) -> String? { nil }
}
