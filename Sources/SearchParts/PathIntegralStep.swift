public import GPSCore
import LinearAlgebra
public import PathIntegral
public import Statistics

/// PI² as a local step (Theodorou et al. 2010; Chebotar et al. 2016): no model; the controller's offsets
/// move towards the controls of the rollouts that cost less, within a bound on the divergence of their
/// weights at every time step.
///
/// The gains are the reference's: of the previous controller, or of the linearised policy under mirror
/// descent (PI²-GPS). It wants more rollouts than a model does: 20 to 30 per condition.
public struct PathIntegralStep: LocalImprovement {
  /// The update.
  public let update: PathIntegralUpdate

  /// A step. The bound of its options is that of the search (`SearchSettings.klStep`), per time step.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public init(
    options: PathIntegralUpdate.Options = PathIntegralUpdate.Options()
  ) throws(InvalidOption) {
    do { update = PathIntegralUpdate(options: try options.validated()) } catch {
      throw error.within("pathIntegral")
    }
  }

  /// Means over time of the temperature and of the rollouts that count.
  public var columns: [Metric.Column] {
    [Metric.Column("temperature"), Metric.Column("effective_samples")]
  }

  /// Nothing.
  public var initialMemory: NoMemory { NoMemory() }
  /// They do not.
  public var keepsNoise: Bool { false }

  /// The costs of the rollouts at every step.
  public func study(
    _ batch: RolloutBatch, of task: some ControlTask, memory: inout NoMemory, stream: RandomStream,
    notes: inout [String]
  ) -> [[Double]] {
    let condition = task.conditions[batch.condition]
    if batch.trajectories.count == 1 {
      notes.append("\(condition.name): one rollout alone, and none to compare it with")
    }
    return batch.trajectories.map { task.cost.values(along: $0, in: condition) }
  }

  /// Offsets and covariances by the rollouts' weights.
  public func improve(
    by costs: [[Double]], on batch: RolloutBatch, anchor: Anchor, bound: Double,
    memory: inout NoMemory
  ) throws -> LocalOutcome {
    let outcome = try update.within(bound, of: anchor).improve(
      anchor.reference, rollouts: batch.trajectories,
      costsToGo: costsToGo(anchor.penalized(costs, along: batch.trajectories)))
    let meanCost = costs.reduce(0) { $0 + $1.reduce(0, +) } / Double(costs.count)
    return LocalOutcome(
      controller: outcome.controller, expectedCost: meanCost - outcome.expectedImprovement,
      referenceCost: meanCost, divergence: outcome.divergences.reduce(0, +), model: nil,
      status: outcome.statuses.contains(.atBound) ? .converged : .constraintInactive,
      metrics: outcome.metrics, notes: [])
  }

  /// There is nothing that might not fit.
  public func fits(_ memory: NoMemory, _ dimensions: Dimensions) -> Bool { true }
}

extension PathIntegralUpdate {
  /// The update whose weights diverge by no more than a trajectory's bound allows each of its steps.
  func within(_ bound: Double, of anchor: Anchor) -> PathIntegralUpdate {
    var update = self
    update.options.bound = bound / Double(max(1, anchor.reference.horizon))
    return update
  }
}

extension PathIntegralUpdate.Outcome {
  var metrics: [Metric] {
    func mean(_ numbers: [Double]) -> Double { numbers.reduce(0, +) / Double(numbers.count) }
    return [
      Metric("temperature", mean(temperatures)),
      Metric("effective_samples", mean(effectiveSampleSizes)),
    ]
  }
}

extension Anchor {
  /// Costs of rollouts, step by step, with what the penalty adds to them.
  func penalized(_ costs: [[Double]], along rollouts: [Trajectory]) -> [[Double]] {
    guard let penalty else { return costs }
    return zip(costs, rollouts).map { costs, rollout in
      zip(costs, penalty.values(states: rollout.states, controls: rollout.controls)).map(+)
    }
  }
}
