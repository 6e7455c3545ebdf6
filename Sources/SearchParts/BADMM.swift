package import Configuration
public import GPSCore
public import GlobalPolicy
public import LQR
import LinearAlgebra
public import Statistics

/// Bregman ADMM (Levine, Finn, Darrell & Abbeel 2016, arXiv 1504.00702): minimise the controllers' cost
/// subject to their doing what the policy does. Controllers and policy are optimised in turns, several
/// times on the same rollouts; multipliers λ_t and weights ν_t pull them together.
public struct BADMM: Coupling {
  /// How controllers and policy are pulled together.
  public struct Options: Sendable, Equatable {
    /// Turns of local step and distillation in an iteration, at least 1.
    public var rounds = 4
    /// ν of the first iteration [cost per nat].
    public var initialWeight = 0.01
    /// The updates of multipliers and weights.
    public var lagrangian = AugmentedLagrangian.Options()

    /// The defaults.
    public init() {}

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options { try checked() }
  }

  /// What a condition carries along.
  public struct Memory: Storable {
    /// What earlier observations say of the policy's linearisation.
    public var prior = PolicyPrior()
    /// λ and ν.
    public var lagrangian: AugmentedLagrangian

    init(lagrangian: AugmentedLagrangian) { self.lagrangian = lagrangian }

    /// Writes the parts.
    public func store(in writer: inout ValueWriter) {
      writer.within("policy_prior") { prior.store(in: &$0) }
      writer.put("multipliers", lagrangian.multipliers)
      writer.put("weights", lagrangian.weights)
    }

    /// Reads the parts, all of them checked.
    public init(stored reader: ValueReader) throws(StoredValueError) {
      prior = try PolicyPrior(stored: reader.within("policy_prior"))
      let multipliers = try reader.matrix("multipliers")
      let weights = try reader.numbers("weights", multipliers.columns)
      do {
        lagrangian = try AugmentedLagrangian(multipliers: multipliers, weights: weights)
      } catch {
        throw StoredValueError("\(error)")
      }
    }
  }

  /// How controllers and policy are pulled together.
  public let options: Options
  /// The linearisation of the policy about the rollouts.
  public let linearizer: PolicyLinearizer

  /// BADMM.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public init(
    options: Options = Options(),
    linearization: PolicyLinearizer.Options = PolicyLinearizer.Options()
  ) throws(InvalidOption) {
    do { self.options = try options.validated() } catch { throw error.within("badmm") }
    do { linearizer = PolicyLinearizer(options: try linearization.validated()) } catch {
      throw error.within("policyLinearization")
    }
  }

  /// The mean of ν over time.
  public var columns: [Metric.Column] { [Metric.Column("penalty_weight")] }
  /// Turns on the same rollouts.
  public var rounds: Int { options.rounds }

  /// The local controllers.
  public func sampling(_ asked: Sampling?) throws(InvalidOption) -> Sampling {
    try InvalidOption.require(
      asked != .onPolicy, "sampling", Sampling.onPolicy.rawValue,
      "offPolicy: the multipliers compare policy and controllers where the controllers go")
    return .offPolicy
  }

  /// Multipliers of 0.
  public func initialMemory(_ dimensions: Dimensions) -> Memory {
    // The options were checked.
    let weights = [Double](repeating: options.initialWeight, count: dimensions.horizon)
    let zeros = Matrix(rows: dimensions.control, columns: dimensions.horizon)
    guard let lagrangian = try? AugmentedLagrangian(multipliers: zeros, weights: weights) else {
      preconditionFailure("a weight of \(options.initialWeight)")
    }
    return Memory(lagrangian: lagrangian)
  }

  /// The controller that the rollouts' iteration began with, and the pull towards the policy.
  public func anchor<P: DistillablePolicy>(
    of controller: LinearGaussianController, policy: P?, isBehind: Bool,
    about samples: [Trajectory], limits: ControlLimits?, memory: inout Memory, stream: RandomStream
  ) throws -> Anchor {
    guard let policy else { return Anchor(reference: controller) }
    // The prior takes these rollouts in when they are done with.
    let linearized = try linearizer.linearize(
      policy, about: samples, limits: limits, updating: memory.prior, stream: stream)
    return Anchor(
      reference: controller, penalty: memory.lagrangian.penalty(for: linearized.controller))
  }

  /// Means û − C λ / ν, with ν times the precision.
  public func teacher(
    _ controller: LinearGaussianController, memory: Memory
  ) throws -> LinearGaussianController {
    let lagrangian = memory.lagrangian
    var covariances = controller.covariances
    for t in 0..<controller.horizon {
      covariances[t] = (1 / lagrangian.weights[t]) * covariances[t]
    }
    return try LinearGaussianController(
      gains: controller.gains, offsets: lagrangian.targetOffsets(for: controller),
      covariances: covariances)
  }

  /// λ and ν follow how far controller and policy still differ.
  public func settle<P: DistillablePolicy>(
    _ controller: LinearGaussianController, policy: P, about samples: [Trajectory],
    memory: inout Memory, isLastRound: Bool, stream: RandomStream
  ) throws {
    let linearized = try linearizer.linearize(
      policy, about: samples, updating: memory.prior, stream: stream)
    let states = Marginals(of: samples)
    var lagrangian = memory.lagrangian
    try lagrangian.updateMultipliers(
      from: controller, to: linearized.controller, stateMeans: states.stateMeans,
      options: options.lagrangian)
    if isLastRound {
      try lagrangian.updateWeights(
        divergences: klDivergences(from: controller, to: linearized.controller, over: states),
        options: options.lagrangian)
      memory.prior = linearized.prior
    }
    memory.lagrangian = lagrangian
  }

  /// The mean of ν over time.
  public func metrics(_ memory: Memory) -> [Metric] {
    let weights = memory.lagrangian.weights
    return [Metric("penalty_weight", weights.reduce(0, +) / Double(weights.count))]
  }

  /// Whether prior, multipliers and weights are of these sizes.
  public func fits(_ memory: Memory, _ d: Dimensions) -> Bool {
    memory.prior.fits(d) && memory.lagrangian.control == d.control
      && memory.lagrangian.horizon == d.horizon
  }
}

extension Marginals {
  /// Where rollouts were: means and covariances (with weight 1/N) of their states at every step, of those that
  /// had not come to their end, or of all where all had.
  init(of samples: [Trajectory]) {
    let (n, columns) = (samples[0].states.rows, samples[0].states.columns)
    var means = Matrix(rows: n, columns: columns)
    var covariances = MatrixSequence(rows: n, columns: n, count: columns)
    for t in 0..<columns {
      let going = samples.filter { $0.stepsToEnd >= min(t + 1, columns - 1) }
      let counted = going.isEmpty ? samples : going
      let share = 1 / Double(counted.count)
      for sample in counted { for i in 0..<n { means[i, t] += share * sample.states[i, t] } }
      for sample in counted {
        let gap = (0..<n).map { sample.states[$0, t] - means[$0, t] }
        for j in 0..<n {
          for i in 0..<n {
            covariances.storage[(t * n + j) * n + i] += share * gap[i] * gap[j]
          }
        }
      }
    }
    self.init(
      stateMeans: means, stateCovariances: covariances,
      controlMeans: Matrix(rows: samples[0].controls.rows, columns: samples[0].controls.columns))
  }
}

extension BADMM.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field("rounds", \.rounds, .between(1, 100), "Turns of local step and training in an iteration.")
    Field(
      "initialWeight", \.initialWeight, .above(0),
      "Weight of the divergence between controller and network at first [cost per nat].")
    AugmentedLagrangian.Options.schema.fields(in: \.lagrangian)
  } rule: { options throws(InvalidOption) in
    _ = try options.lagrangian.checked()
  }
}
