public import GPSCore
public import GlobalPolicy

/// All that travels from one iteration of guided policy search to the next.
public struct SearchState<
  Local: Storable, Link: Storable, Product: DistillablePolicy, Training: Storable
>: LearnerState {
  /// Iterations done.
  public var iteration = 0
  /// Rollouts that were learned from or decided anything, discarded ones aside.
  public var rollouts = 0
  /// One entry per training condition, in the task's order.
  public var conditions: [ConditionState<Local, Link>]
  /// The global policy, from which the search goes on; nil until it has been trained, or for ever in
  /// trajectory optimisation.
  public var policy: Product?
  /// What noise-free rollouts say for it, and before that for those that it came from: as many as a new one is
  /// judged by.
  public var record: [PolicyEvidence] = []
  /// The policy with the best evidence so far; nil while that is `policy`.
  public var best: Kept?
  /// The policy that was trained last; nil while that is `policy`.
  public var lastPolicy: Product?
  /// The optimizer's own memory.
  public var training: Training?
  /// What has been said of the search.
  public var diagnosis = Diagnosis()

  /// A policy and what speaks for it.
  public struct Kept: Storable {
    /// The policy.
    public var policy: Product
    /// What its noise-free rollouts say for it.
    public var evidence: PolicyEvidence

    /// A policy and what speaks for it.
    public init(policy: Product, evidence: PolicyEvidence) {
      self.policy = policy
      self.evidence = evidence
    }

    /// Writes the parts.
    public func store(in writer: inout ValueWriter) {
      writer.within("policy") { policy.store(in: &$0) }
      writer.within("evidence") { evidence.store(in: &$0) }
    }

    /// Reads the parts, all of them checked.
    public init(stored reader: ValueReader) throws(StoredValueError) {
      policy = try Product(stored: reader.within("policy"))
      evidence = try PolicyEvidence(stored: reader.within("evidence"))
    }
  }

  /// What its noise-free rollouts say for the policy that the search goes on from.
  public var evidence: PolicyEvidence? { record.last }
  /// The best evidence that there is for a policy of this search.
  public var bestEvidence: PolicyEvidence? { best?.evidence ?? evidence }

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
    writer.put("record", text: record.count)
    for (index, evidence) in record.enumerated() {
      writer.within("record.\(index)") { evidence.store(in: &$0) }
    }
    writer.put("best", ifPresent: best)
    writer.put("last_policy", ifPresent: lastPolicy)
    writer.put("training", ifPresent: training)
    writer.within("diagnosis") { diagnosis.store(in: &$0) }
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    let count = try reader.count("conditions", of: "conditions")
    self.init(conditions: [])
    iteration = try reader.count("iteration")
    rollouts = try reader.count("rollouts")
    for index in 0..<count {
      conditions.append(try ConditionState(stored: reader.within("conditions.\(index)")))
    }
    policy = try reader.ifPresent("policy")
    for index in 0..<(try reader.count("record", of: "judgements")) {
      record.append(try PolicyEvidence(stored: reader.within("record.\(index)")))
    }
    best = try reader.ifPresent("best")
    lastPolicy = try reader.ifPresent("last_policy")
    for evidence in record + (best.map { [$0.evidence] } ?? []) where evidence.costs.count != count
    {
      throw StoredValueError("its evidence is of \(evidence.costs.count) conditions, not \(count)")
    }
    training = try reader.ifPresent("training")
    diagnosis = try Diagnosis(stored: reader.within("diagnosis"))
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
  /// Where it returns to when the next rollouts are worse; nil before the first.
  public var footing: Footing?
  /// Whether its local controller rolls out next although others' turn is the policy's: there the policy did
  /// worse than what it learned from.
  public var isLed = false

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
    writer.put("footing", ifPresent: footing)
    writer.put("is_led", [isLed])
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    self.init(
      controller: try LinearGaussianController(stored: reader.within("controller")),
      local: try Local(stored: reader.within("local")),
      link: try Link(stored: reader.within("link")))
    stepMultiplier = try reader.number("step_multiplier", in: 1e-100...1e100)
    expectation = try reader.ifPresent("expectation")
    footing = try reader.ifPresent("footing")
    isLed = try reader.flags("is_led", 1)[0]
  }
}
