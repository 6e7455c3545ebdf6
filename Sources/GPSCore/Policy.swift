/// A stochastic controller: an action for every step, state and observation, given the noise.
///
/// Pure: the caller supplies the standard-normal noise, and scratch lives in a `Workspace` that the
/// caller owns, so that an action allocates nothing.
public protocol Policy: Sendable {
  /// What one worker reuses from action to action: scratch, and whatever a policy with memory
  /// remembers within a rollout, such as past observations or the state of a recurrent network.
  associatedtype Workspace

  /// m, the numbers in a control.
  var control: Int { get }

  /// Why the policy cannot act in a task of these sizes, as a clause; by default nil unless it has
  /// another number of controls.
  func mismatch(with dimensions: Dimensions) -> String?

  /// A new workspace for one worker.
  func makeWorkspace() -> Workspace

  /// Prepares the workspace for a new rollout: called before the first action of each. A policy
  /// that remembers forgets here, so that no rollout depends on the one before it; by default
  /// nothing.
  ///
  /// - Parameter workspace: one from `makeWorkspace()`, new or used in other rollouts.
  func beginRollout(workspace: inout Workspace)

  /// Writes the action: the mean for this input plus the policy's covariance factor times the
  /// noise.
  ///
  /// - Parameters:
  ///   - step: t, from 0.
  ///   - state: n numbers; a policy that sees observations alone ignores it.
  ///   - observation: o numbers; a local controller ignores it.
  ///   - noise: m standard-normal numbers without a unit, or zeros for the mean action.
  ///   - workspace: one from `makeWorkspace()`, prepared by `beginRollout(workspace:)`.
  ///   - action: m numbers in the controls' own units, written.
  func act(
    step: Int, state: Span<Double>, observation: Span<Double>, noise: Span<Double>,
    workspace: inout Workspace, action: inout MutableSpan<Double>)
}

extension Policy {
  /// A policy without memory has nothing to forget.
  @inlinable public func beginRollout(workspace: inout Workspace) {}

  /// Nothing but the number of controls.
  public func mismatch(with dimensions: Dimensions) -> String? {
    control == dimensions.control
      ? nil : "it has \(control) controls, the experiment \(dimensions.control)"
  }

  /// The action as an array, for a look at a policy; it makes a workspace for each call. A loop at
  /// a fixed rate makes one itself and calls `act`, which allocates nothing.
  ///
  /// - Parameters:
  ///   - step: t, from 0.
  ///   - state: n numbers; empty for a policy that sees observations alone.
  ///   - observation: o numbers; empty for a local controller.
  ///   - noise: m standard-normal numbers; nil for the mean action.
  /// - Returns: m numbers in the controls' own units: for a policy with memory, those of a rollout
  ///   that begins here.
  public func action(
    step: Int, state: [Double], observation: [Double] = [], noise: [Double]? = nil
  ) -> [Double] {
    let noise = noise ?? [Double](repeating: 0, count: control)
    precondition(noise.count == control, "\(noise.count) noise numbers for \(control) controls")
    var workspace = makeWorkspace()
    beginRollout(workspace: &workspace)
    var action = [Double](repeating: 0, count: control)
    var target = action.mutableSpan
    act(
      step: step, state: state.span, observation: observation.span, noise: noise.span,
      workspace: &workspace, action: &target)
    return action
  }
}

/// A policy whose action follows from the observation and the noise alone: neither step, state nor
/// memory matter, as in a feed-forward network that is to run where no state is known.
public protocol ObservationPolicy: Policy {}

extension ObservationPolicy {
  /// The action as an array; see `action(step:state:observation:noise:)`.
  ///
  /// - Parameters:
  ///   - observation: o numbers in the task's own units.
  ///   - noise: m standard-normal numbers; nil for the mean action.
  /// - Returns: m numbers in the controls' own units.
  public func action(for observation: [Double], noise: [Double]? = nil) -> [Double] {
    action(step: 0, state: [], observation: observation, noise: noise)
  }
}
