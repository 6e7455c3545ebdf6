public import GPSCore
public import Statistics

/// What the local step must stay close to.
///
/// Mirror descent: (π̄, nil), the linearised network. Trajectory optimisation: (p, nil), the previous
/// controller. BADMM: (p, ν (−log π̄) − λᵀ u).
public struct Anchor: Sendable {
  /// q, from which the KL divergence is measured.
  public var reference: LinearGaussianController
  /// What is added to the cost; nil for nothing.
  public var penalty: QuadraticCost?

  /// An anchor.
  public init(reference: LinearGaussianController, penalty: QuadraticCost? = nil) {
    self.reference = reference
    self.penalty = penalty
  }
}

/// How one condition's controller is improved by its own rollouts: stages 2 and 3 of the method.
public protocol LocalImprovement: Sendable {
  /// What travels from iteration to iteration, such as priors and the last dual variable.
  associatedtype Memory: Storable
  /// What the rollouts say, such as dynamics and a quadratic cost.
  associatedtype Evidence: Sendable

  /// The numbers it reports of every condition, beside those that all local steps have.
  var columns: [Metric.Column] { get }
  /// The memory before the first iteration.
  var initialMemory: Memory { get }
  /// Whether its controllers keep the noise that they began with where nothing else is asked for. What is learned from
  /// samples alone gets no nearer to the optimum than its noise.
  var keepsNoise: Bool { get }

  /// Checks that a task can give what is asked of it.
  ///
  /// - Throws: an error that names what is missing.
  func validate(for task: some ControlTask) throws

  /// Stage 2: what the rollouts say.
  ///
  /// - Parameters:
  ///   - batch: N > 0 rollouts of one condition.
  ///   - task: where they come from.
  ///   - memory: takes them in.
  ///   - stream: the source of all randomness of this stage.
  ///   - notes: what was out of the ordinary is added, one sentence each.
  /// - Returns: what `improve` needs of them.
  /// - Throws: a `NumericalFailure`, after which the condition keeps its controller, or an error that ends
  ///   the search.
  func study(
    _ batch: RolloutBatch, of task: some ControlTask, memory: inout Memory, stream: RandomStream,
    notes: inout [String]
  ) throws -> Evidence

  /// Stage 3: a better controller.
  ///
  /// - Parameters:
  ///   - evidence: from `study`.
  ///   - batch: the same rollouts.
  ///   - anchor: what to stay close to.
  ///   - bound: on the KL divergence from the anchor's reference, summed over the trajectory [nats].
  ///   - memory: of this condition; not used after an error.
  /// - Returns: the new controller and what is expected of it.
  /// - Throws: as `study`.
  func improve(
    by evidence: Evidence, on batch: RolloutBatch, anchor: Anchor, bound: Double,
    memory: inout Memory
  ) throws -> LocalOutcome

  /// Whether a stored memory is one of a task of these sizes.
  func fits(_ memory: Memory, _ dimensions: Dimensions) -> Bool
}

extension LocalImprovement {
  /// Nothing is asked of a task unless a type says otherwise.
  public func validate(for task: some ControlTask) throws {}
  /// They do unless a type says otherwise.
  public var keepsNoise: Bool { true }
}

/// What a local step came to.
public struct LocalOutcome: Sendable {
  /// How a step ended.
  public enum Status: String, Sendable, CaseIterable {
    /// The divergence is at its bound, within the tolerance.
    case converged
    /// The optimum lies within the bound.
    case constraintInactive
    /// The passes ran out; the best feasible controller was taken.
    case passesExhausted
    /// Numbers failed, and the previous controller stays in force.
    case keptController = "kept previous controller"
    /// The rollouts were worse than those before the last step: the condition has returned there.
    case takenBack = "taken back"
    /// The controller is that of a search on the known dynamics, and the rollouts bear out what it promised.
    case borneOut = "borne out"
  }

  /// The new controller.
  public var controller: LinearGaussianController
  /// What the step expects it to cost, without penalties.
  public var expectedCost: Double
  /// What the same reckoning says that the reference costs; nil if it cannot say.
  public var referenceCost: Double?
  /// KL divergence of the new controller from the reference [nats per trajectory].
  public var divergence: Double
  /// The model it was found on, from which trajectories can be drawn; nil without one.
  public var model: LinearGaussianDynamics?
  /// How it ended.
  public var status: Status
  /// By the step's own columns.
  public var metrics: [Metric]
  /// What was out of the ordinary, a clause each.
  public var notes: [String]

  /// What a step came to.
  ///
  /// - Parameters:
  ///   - controller: the new one.
  ///   - expectedCost: what it is expected to cost, without penalties.
  ///   - referenceCost: what the same reckoning says that the reference costs; nil if it cannot say.
  ///   - divergence: of the new controller from the reference [nats per trajectory].
  ///   - model: that it was found on; nil without one.
  ///   - status: how it ended.
  ///   - metrics: by the step's own columns.
  ///   - notes: what was out of the ordinary, a clause each.
  public init(
    controller: LinearGaussianController, expectedCost: Double, referenceCost: Double?,
    divergence: Double, model: LinearGaussianDynamics? = nil, status: Status,
    metrics: [Metric] = [], notes: [String] = []
  ) {
    self.controller = controller
    self.expectedCost = expectedCost
    self.referenceCost = referenceCost
    self.divergence = divergence
    self.model = model
    self.status = status
    self.metrics = metrics
    self.notes = notes
  }
}
