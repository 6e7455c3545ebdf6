public import Dynamics
public import GPSCore
public import LQR
import LinearAlgebra
public import Statistics

/// The local step of guided policy search (Levine & Abbeel 2014; Montgomery & Levine 2016): dynamics
/// fitted to the rollouts, the cost's quadratic expansion about them, and LQR within a bound on the KL
/// divergence from the anchor.
public struct KLStep: LocalImprovement {
  /// What a condition carries along.
  public struct Memory: Storable {
    /// What earlier rollouts say of the dynamics.
    public var dynamicsPrior = DynamicsPrior()
    /// η of the last step [cost per nat], where the next search starts; nil before the first.
    public var dual: Double?

    /// The memory before the first iteration.
    public init() {}

    /// Writes the parts.
    public func store(in writer: inout ValueWriter) {
      writer.within("dynamics_prior") { dynamicsPrior.store(in: &$0) }
      if let dual { writer.put("dual", dual) }
    }

    /// Reads the parts, all of them checked.
    public init(stored reader: ValueReader) throws(StoredValueError) {
      dynamicsPrior = try DynamicsPrior(stored: reader.within("dynamics_prior"))
      if reader.holds("dual") {
        dual = try reader.number("dual", in: 0...Double.greatestFiniteMagnitude)
      }
    }
  }

  /// The linear-quadratic model of a condition.
  public struct Evidence: Sendable {
    /// p(x' | x, u).
    public let dynamics: LinearGaussianDynamics
    /// ℓ, averaged over the rollouts.
    public let cost: QuadraticCost
    /// Of the controls; nil for none.
    public var limits: ControlLimits?
  }

  /// The share of a cost's differences below which a quadratic that was fitted to them is said to be poor.
  private static var poorFit: Double { 0.3 }

  /// Where the dynamics come from.
  public let dynamics: DynamicsSource
  /// The search for the dual variable.
  public let solver: KLConstrainedLQR

  /// A step.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public init(
    dynamics: DynamicsSource = .fitted(LinearGaussianFitter.Options()),
    search: KLConstrainedLQR.Options = KLConstrainedLQR.Options()
  ) throws(InvalidOption) {
    do { self.dynamics = try dynamics.validated() } catch { throw error.within("dynamics") }
    do { solver = KLConstrainedLQR(options: try search.validated()) } catch {
      throw error.within("localOptimization")
    }
  }

  /// The dual variable, the backward passes it took to find it, the samples that the dynamics' prior counted for, and
  /// how well a cost is fitted of which only values are known.
  public var columns: [Metric.Column] {
    ["dual", "lqr_passes", "prior_strength", "cost_fit"].map { Metric.Column($0) }
  }

  /// A prior that knows nothing.
  public var initialMemory: Memory { Memory() }

  /// Checks that dynamics are known if they are to be.
  public func validate(for task: some ControlTask) throws { try dynamics.validate(for: task) }

  /// Dynamics and cost about the rollouts.
  public func study(
    _ batch: RolloutBatch, of task: some ControlTask, memory: inout Memory, stream: RandomStream,
    notes: inout [String]
  ) throws -> Evidence {
    let samples = batch.trajectories
    let condition = task.conditions[batch.condition]
    if samples.count == 1 {
      notes.append("\(condition.name): one rollout alone; the dynamics rest on the prior")
    } else if samples.allSatisfy({ $0.controls == samples[0].controls }) {
      notes.append(
        "\(condition.name): all rollouts have the same controls, which do not tell how controls act"
      )
    }
    let cost = try task.cost.quadratic(over: samples, in: condition)
    if let share = cost.explainedShare, share < Self.poorFit {
      notes.append(
        "\(condition.name): the quadratic fitted to the rewards explains \(Int(100 * max(0, share))) % of how rollouts "
          + "differ in them; more samples, or a local step of samples (algorithm.localStep: pathIntegral), "
          + "follow them better")
    }
    return Evidence(
      dynamics: try dynamics.dynamics(
        about: samples, of: task, condition: batch.condition, updating: &memory.dynamicsPrior,
        stream: stream, notes: &notes), cost: cost, limits: task.controlLimits)
  }

  /// LQR within the bound.
  public func improve(
    by evidence: Evidence, on batch: RolloutBatch, anchor: Anchor, bound: Double,
    memory: inout Memory
  ) throws -> LocalOutcome {
    let (cost, dynamics, reference) = (evidence.cost, evidence.dynamics, anchor.reference)
    let solution = try solver.improve(
      from: reference, cost: anchor.penalty.map { cost + $0 } ?? cost, dynamics: dynamics,
      bound: bound, initialDual: memory.dual)
    memory.dual = solution.dual
    let within = try evidence.limits.flatMap {
      try solution.controller.centered(within: $0, under: dynamics)
    }
    let controller = within ?? solution.controller
    let expected =
      within == nil && anchor.penalty == nil
      ? solution.expectedCosts
      : cost.expectations(
        over: try within.map { try marginals(of: $0, under: dynamics) } ?? solution.marginals,
        under: controller)
    let referenceCost = try? cost.expectations(
      over: marginals(of: reference, under: dynamics), under: reference
    ).reduce(0, +)
    let notes =
      solution.indefinitePasses == 0
      ? []
      : [
        "raised the dual \(solution.indefinitePasses) times because the cost is not convex enough, or "
          + "the predicted states were not finite"
      ]
    return LocalOutcome(
      controller: controller, expectedCost: expected.reduce(0, +),
      referenceCost: referenceCost, divergence: solution.divergence, model: dynamics,
      status: LocalOutcome.Status(solution.status),
      metrics: [
        Metric("dual", solution.dual), Metric("lqr_passes", solution.passes),
        Metric("prior_strength", memory.dynamicsPrior.strength),
        Metric("cost_fit", cost.explainedShare),
      ], notes: notes)
  }

  /// Whether the prior's states and controls are of these sizes.
  public func fits(_ memory: Memory, _ d: Dimensions) -> Bool {
    let (prior, joint) = (memory.dynamicsPrior, 2 * d.state + d.control)
    return prior.states.allSatisfy { $0.rows == d.state }
      && prior.controls.allSatisfy { $0.rows == d.control }
      && (prior.mixture?.dimension ?? joint) == joint
  }
}

extension LocalOutcome.Status {
  init(_ status: KLConstrainedLQR.Status) {
    self =
      switch status {
      case .converged: .converged
      case .constraintInactive: .constraintInactive
      case .passesExhausted: .passesExhausted
      }
  }
}

extension LinearGaussianController {
  /// The controller whose mean controls under a model lie within limits: offsets are moved where they do not,
  /// and the means of the states after that follow. A mean beyond has no effect, but a model that has not
  /// seen that promises one, and the next step would go further.
  ///
  /// - Returns: nil if all of them do already.
  /// - Throws: `ControllerError`.
  func centered(
    within limits: ControlLimits, under dynamics: LinearGaussianDynamics
  ) throws -> LinearGaussianController? {
    let (n, m) = (state, control)
    var offsets = self.offsets
    var x = dynamics.initialMean
    var isMoved = false
    for t in 0..<horizon {
      var y = x
      let mean = gains[t] * x
      for i in 0..<m {
        let u = mean[i] + offsets[i, t]
        let applied = limits.clamped(u, i)
        if applied != u {
          offsets[i, t] += applied - u
          isMoved = true
        }
        y.append(applied)
      }
      let next = dynamics.transitions[t] * y
      x = (0..<n).map { next[$0] + dynamics.offsets[$0, t] }
    }
    return isMoved
      ? try LinearGaussianController(
        gains: gains, offsets: offsets, covariances: covariances,
        covarianceFactors: covarianceFactors, precisions: precisions) : nil
  }
}
