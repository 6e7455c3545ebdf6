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
    /// η of the last step [cost per nat], where the next search starts.
    public var dual = 1.0

    /// The memory before the first iteration.
    public init() {}

    /// Writes the parts.
    public func store(in writer: inout ValueWriter) {
      writer.within("dynamics_prior") { dynamicsPrior.store(in: &$0) }
      writer.put("dual", dual)
    }

    /// Reads the parts, all of them checked.
    public init(stored reader: ValueReader) throws(StoredValueError) {
      dynamicsPrior = try DynamicsPrior(stored: reader.within("dynamics_prior"))
      dual = try reader.number("dual", in: 0...Double.greatestFiniteMagnitude)
    }
  }

  /// The linear-quadratic model of a condition.
  public struct Evidence: Sendable {
    /// p(x' | x, u).
    public let dynamics: LinearGaussianDynamics
    /// ℓ, averaged over the rollouts.
    public let cost: QuadraticCost
  }

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

  /// The dual variable, and the backward passes it took to find it.
  public var columns: [Metric.Column] { [Metric.Column("dual"), Metric.Column("lqr_passes")] }

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
    return Evidence(
      dynamics: try dynamics.dynamics(
        about: samples, of: task, condition: batch.condition, updating: &memory.dynamicsPrior,
        stream: stream, notes: &notes),
      cost: try task.cost.quadratic(over: samples, in: condition))
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
    let expected =
      anchor.penalty == nil
      ? solution.expectedCosts
      : cost.expectations(over: solution.marginals, under: solution.controller)
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
      controller: solution.controller, expectedCost: expected.reduce(0, +),
      referenceCost: referenceCost, divergence: solution.divergence, model: dynamics,
      status: LocalOutcome.Status(solution.status),
      metrics: [Metric("dual", solution.dual), Metric("lqr_passes", solution.passes)], notes: notes)
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
