public import GPSCore
import LQR
import LinearAlgebra
public import PathIntegral
public import Statistics

/// PILQR as a local step (Chebotar et al. 2017): first LQR on the modelled, quadratic part of the cost, then
/// PI² on what the model leaves unexplained of the same rollouts, about the controller that LQR made.
///
/// Made for contacts, where one linear-Gaussian model is wrong. Where the model explains the costs, it is
/// the LQR step itself; where it explains nothing, it is PI².
public struct PILQRStep: LocalImprovement {
  /// What a condition carries along.
  public struct Memory: Storable {
    /// The LQR step's own.
    public var lqr = KLStep.Memory()
    /// How far the LQR step may go at each time step; nil before the first iteration.
    public var stepSizes: ResidualStepSizes?

    /// The memory before the first iteration.
    public init() {}

    /// Writes the parts.
    public func store(in writer: inout ValueWriter) {
      writer.within("lqr") { lqr.store(in: &$0) }
      if let stepSizes { writer.put("step_sizes", stepSizes.multipliers) }
    }

    /// Reads the parts, all of them checked.
    public init(stored reader: ValueReader) throws(StoredValueError) {
      lqr = try KLStep.Memory(stored: reader.within("lqr"))
      if reader.holds("step_sizes") {
        let multipliers = try reader.numbers("step_sizes")
        do { stepSizes = try ResidualStepSizes(multipliers: multipliers) } catch {
          throw StoredValueError("\(error)")
        }
      }
    }
  }

  /// What the rollouts say: a model, and what they really cost.
  public struct Evidence: Sendable {
    /// Dynamics and quadratic cost.
    public let model: KLStep.Evidence
    /// Each rollout's costs, step by step.
    public let costs: [[Double]]
  }

  /// The model-based half.
  public let lqr: KLStep
  /// The sampled half.
  public let update: PathIntegralUpdate
  /// How the model-based half's step sizes follow the residuals.
  public let stepSizes: ResidualStepSizes.Options

  /// A step.
  ///
  /// - Parameters:
  ///   - lqr: the model-based half.
  ///   - options: of the sampled half; its bound is that of the search, per time step.
  ///   - stepSizes: how the model-based half's step sizes follow the residuals.
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public init(
    lqr: KLStep, options: PathIntegralUpdate.Options = PathIntegralUpdate.Options(),
    stepSizes: ResidualStepSizes.Options = ResidualStepSizes.Options()
  ) throws(InvalidOption) {
    var options = options
    // A step that the model nearly explains must not follow the rollouts' mean noise.
    options.centersNoise = true
    self.lqr = lqr
    do { update = PathIntegralUpdate(options: try options.validated()) } catch {
      throw error.within("pathIntegral")
    }
    do { self.stepSizes = try stepSizes.validated() } catch { throw error.within("pilqr") }
  }

  /// The numbers of both halves, and the share of the costs that the model leaves unexplained.
  public var columns: [Metric.Column] {
    lqr.columns + [
      Metric.Column("temperature"), Metric.Column("effective_samples"),
      Metric.Column("residual_ratio"),
    ]
  }

  /// A prior that knows nothing.
  public var initialMemory: Memory { Memory() }
  /// They do not: what the model leaves unexplained is learned from samples.
  public var keepsNoise: Bool { false }

  /// Checks that dynamics are known if they are to be.
  public func validate(for task: some ControlTask) throws { try lqr.validate(for: task) }

  /// Dynamics and cost about the rollouts, and what they really cost.
  public func study(
    _ batch: RolloutBatch, of task: some ControlTask, memory: inout Memory, stream: RandomStream,
    notes: inout [String]
  ) throws -> Evidence {
    let condition = task.conditions[batch.condition]
    return Evidence(
      model: try lqr.study(
        batch, of: task, memory: &memory.lqr, stream: stream, notes: &notes),
      costs: batch.trajectories.map { task.cost.values(along: $0, in: condition) })
  }

  /// LQR within its share of the bound, then PI² on the residual.
  public func improve(
    by evidence: Evidence, on batch: RolloutBatch, anchor: Anchor, bound: Double,
    memory: inout Memory
  ) throws -> LocalOutcome {
    let (rollouts, T) = (batch.trajectories, anchor.reference.horizon)
    var sizes = memory.stepSizes ?? ResidualStepSizes(horizon: T)
    var outcome = try lqr.improve(
      by: evidence.model, on: batch, anchor: anchor,
      bound: bound * sizes.multipliers.reduce(0, +) / Double(max(1, T)), memory: &memory.lqr)

    // What the model says of the same rollouts, and what is left.
    let quadratic = evidence.model.cost
    let modelled = try modeledCosts(
      of: rollouts, under: anchor.reference,
      cost: anchor.penalty.map { quadratic + $0 } ?? quadratic,
      dynamics: evidence.model.dynamics)
    let costs = anchor.penalized(evidence.costs, along: rollouts)
    let ratios = residualRatios(costs, modeled: modelled)
    sizes.adapt(to: ratios, options: stepSizes)
    let corrected = try update.within(bound, of: anchor).residualUpdate(
      outcome.controller, drawnFrom: anchor.reference, rollouts: rollouts,
      costsToGo: costsToGo(costs), residualCostsToGo: residualCostsToGo(costs, modeled: modelled))
    memory.stepSizes = sizes

    outcome.controller = corrected.controller
    outcome.divergence += corrected.divergences.reduce(0, +)
    outcome.metrics += corrected.metrics + [Metric("residual_ratio", ratios.first)]
    return outcome
  }

  /// Whether prior and step sizes are of these sizes.
  public func fits(_ memory: Memory, _ d: Dimensions) -> Bool {
    lqr.fits(memory.lqr, d) && memory.stepSizes?.multipliers.count ?? d.horizon == d.horizon
  }
}
