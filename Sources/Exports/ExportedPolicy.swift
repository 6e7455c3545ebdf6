public import GPSCore
public import GlobalPolicy

/// A network policy as other programs use it: normaliser, network and the limits of the controls in one.
///
/// Its action is that of `NeuralPolicy.act` without noise, brought within the limits, as it is applied in rollouts.
public struct ExportedPolicy: Sendable {
  /// The policy.
  public let policy: NeuralPolicy
  /// The task's name.
  public let task: String
  /// What the controls are brought within; nil for no bounds.
  public let limits: ControlLimits?
  /// o names, or none.
  public let observationNames: [String]
  /// m names.
  public let controlNames: [String]
  /// Seconds between two controls.
  public let controlPeriod: Double

  /// A policy with what it is used for.
  ///
  /// - Parameters:
  ///   - policy: for o observations and m controls.
  ///   - task: the task's name.
  ///   - limits: what the controls are brought within, m pairs; nil for no bounds.
  ///   - observationNames: o names, or none.
  ///   - controlNames: m names, or none.
  ///   - controlPeriod: seconds between two controls.
  public init(
    _ policy: NeuralPolicy, task: String, limits: ControlLimits?, observationNames: [String] = [],
    controlNames: [String] = [], controlPeriod: Double
  ) {
    let (o, m) = (policy.observation, policy.control)
    precondition(
      (limits.map { $0.lower.count == m && $0.upper.count == m } ?? true)
        && [0, o].contains(observationNames.count) && [0, m].contains(controlNames.count),
      "\(limits?.lower.count ?? m) limits, \(observationNames.count) and \(controlNames.count) names for "
        + "a policy of \(o) observations and \(m) controls")
    self.policy = policy
    self.task = task
    self.limits = limits
    self.observationNames = observationNames
    self.controlNames = controlNames
    self.controlPeriod = controlPeriod
  }

  /// A policy of a task, which gives limits and names.
  ///
  /// - Parameters:
  ///   - policy: for as many observations and controls as the task has.
  ///   - task: what it was learned on.
  public init(_ policy: NeuralPolicy, of task: some ControlTask) {
    let (o, m) = (task.dimensions.observation, task.dimensions.control)
    precondition(
      policy.observation == o && policy.control == m,
      "a policy of \(policy.observation) observations and \(policy.control) controls for a task of "
        + "\(o) and \(m)")
    self.init(
      policy, task: task.name, limits: task.controlLimits, observationNames: task.observationNames,
      controlNames: task.controlNames, controlPeriod: task.controlPeriod)
  }

  /// Layers of the network; all but the last have the activation.
  var layerCount: Int { policy.network.layerSizes.count - 1 }

  /// W of a layer, row by row: outputs × inputs numbers.
  func weights(ofLayer index: Int) -> [Float] {
    let W = policy.network.weights(ofLayer: index)
    return (0..<W.rows).flatMap { o in (0..<W.columns).map { i in Float(W[o, i]) } }
  }

  func biases(ofLayer index: Int) -> [Float] {
    policy.network.biases(ofLayer: index).map { Float($0) }
  }
}
