public import Dynamics
public import GPSCore
public import GlobalPolicy

/// All that travels from one iteration to the next. It is also what a checkpoint holds: no stage keeps
/// anything between calls.
public struct State: Sendable, Equatable {
  /// Iterations done.
  public var iteration: Int
  /// Training rollouts taken, discarded ones aside.
  public var rollouts: Int
  /// One entry per training condition, in the task's order.
  public var conditions: [ConditionState]
  /// The global policy; nil until it has been trained, or for ever in trajectory optimisation.
  public var policy: NeuralPolicy?
  /// The network optimiser's own memory.
  public var optimizer: PolicyDistiller.OptimizerState?

  /// The state before the first iteration.
  ///
  /// - Parameter controllers: one initial controller per training condition.
  public init(controllers: [LinearGaussianController]) {
    iteration = 0
    rollouts = 0
    conditions = controllers.map(ConditionState.init)
  }
}

/// What one condition carries from iteration to iteration.
public struct ConditionState: Sendable, Equatable {
  /// The local controller in force.
  public var controller: LinearGaussianController
  /// What earlier rollouts say of the dynamics.
  public var dynamicsPrior = DynamicsPrior()
  /// What earlier observations say of the policy's linearisation.
  public var policyPrior = PolicyPrior()
  /// The factor on the KL step ε, without a unit.
  public var stepMultiplier = 1.0
  /// η of the last step [cost per nat], where the next search starts.
  public var dual = 1.0
  /// What the last step promised; nil before the first.
  public var expectation: StepExpectation?

  /// A condition that has not been rolled out.
  public init(controller: LinearGaussianController) { self.controller = controller }
}
