public import GPSCore
public import GlobalPolicy

/// All that travels from one iteration of guided policy search to the next.
public struct SearchState<
  Local: Storable, Link: Storable, Product: DistillablePolicy, Training: Storable
>: LearnerState {
  /// Iterations done.
  public var iteration = 0
  /// Training rollouts taken, discarded ones aside.
  public var rollouts = 0
  /// One entry per training condition, in the task's order.
  public var conditions: [ConditionState<Local, Link>]
  /// The global policy; nil until it has been trained, or for ever in trajectory optimisation.
  public var policy: Product?
  /// The optimizer's own memory.
  public var training: Training?

  /// The state before the first iteration.
  public init(conditions: [ConditionState<Local, Link>]) { self.conditions = conditions }

  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    writer.put("iteration", text: iteration)
    writer.put("rollouts", text: rollouts)
    writer.put("conditions", text: conditions.count)
    for (index, condition) in conditions.enumerated() {
      writer.within("conditions.\(index)") { condition.store(in: &$0) }
    }
    writer.put("policy", ifPresent: policy)
    writer.put("training", ifPresent: training)
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    let count = try reader.count("conditions")
    // Each has several arrays, so that a number from a damaged header ends here.
    if count > reader.file.tensors.count {
      throw StoredValueError("it holds fewer arrays than \(count) conditions have")
    }
    self.init(conditions: [])
    iteration = try reader.count("iteration")
    rollouts = try reader.count("rollouts")
    for index in 0..<count {
      conditions.append(try ConditionState(stored: reader.within("conditions.\(index)")))
    }
    policy = try reader.ifPresent("policy")
    training = try reader.ifPresent("training")
  }
}

/// What one condition carries from iteration to iteration.
public struct ConditionState<Local: Storable, Link: Storable>: Storable {
  /// The local controller in force.
  public var controller: LinearGaussianController
  /// The local step's own memory.
  public var local: Local
  /// The coupling's own memory.
  public var link: Link
  /// The factor on the KL step ε, without a unit.
  public var stepMultiplier = 1.0
  /// What the last step promised; nil before the first.
  public var expectation: StepExpectation?

  /// A condition that has not been rolled out.
  public init(controller: LinearGaussianController, local: Local, link: Link) {
    self.controller = controller
    self.local = local
    self.link = link
  }

  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    writer.within("controller") { controller.store(in: &$0) }
    writer.within("local") { local.store(in: &$0) }
    writer.within("link") { link.store(in: &$0) }
    writer.put("step_multiplier", stepMultiplier)
    writer.put("expectation", ifPresent: expectation)
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    self.init(
      controller: try LinearGaussianController(stored: reader.within("controller")),
      local: try Local(stored: reader.within("local")),
      link: try Link(stored: reader.within("link")))
    stepMultiplier = try reader.number("step_multiplier", in: 1e-100...1e100)
    expectation = try reader.ifPresent("expectation")
  }
}
