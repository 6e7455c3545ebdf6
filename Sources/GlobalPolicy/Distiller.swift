public import GPSCore
public import LinearAlgebra
public import Statistics

/// A global policy π(u | o) = N(μ(o), Σ_π) that local controllers can be distilled into and that can be
/// linearised about rollouts: what mirror descent asks of a policy.
public protocol DistillablePolicy: ObservationPolicy, Storable {
  /// o, the numbers in an observation.
  var observation: Int { get }
  /// Σ_π: m × m, in squared units of the controls.
  var covariance: Matrix { get }
  /// Σ_π⁻¹: m × m.
  var precision: Matrix { get }

  /// The mean actions for many observations at once.
  ///
  /// - Parameter observations: o × S, one sample per column, in the task's own units.
  /// - Returns: m × S, in the controls' own units.
  func mean(for observations: Matrix) -> Matrix
}

/// What a distillation leaves behind.
public struct Distillation<Product: DistillablePolicy, Memory: Storable>: Sendable {
  /// The fitted policy.
  public var policy: Product
  /// What the distiller wants to know the next time, or nil.
  public var memory: Memory?
  /// Mean loss over the set before: ½ (μ(o) − û)ᵀ P (μ(o) − û) in units in which the samples' precisions
  /// have a mean trace of 1 per squared deviation of the controls.
  public var initialLoss: Double
  /// Mean loss over the set afterwards.
  public var finalLoss: Double
  /// Mean loss over the set of the constant that fits best: what the labels' variance comes to.
  public var labelVariance: Double
  /// What was out of the ordinary, one sentence each.
  public var notes: [String]

  /// A distillation's outcome.
  public init(
    policy: Product, memory: Memory?, initialLoss: Double, finalLoss: Double,
    labelVariance: Double, notes: [String]
  ) {
    self.policy = policy
    self.memory = memory
    self.initialLoss = initialLoss
    self.finalLoss = finalLoss
    self.labelVariance = labelVariance
    self.notes = notes
  }
}

/// The S-step of guided policy search for one kind of policy: fits it to the local controllers,
///
///     minimise the mean over samples of ½ (μ(o) − û)ᵀ P (μ(o) − û).
///
/// The outcome depends on the arguments alone, and not on `workers`.
public protocol Distiller: Sendable {
  /// The policy that it makes.
  associatedtype Product: DistillablePolicy
  /// What it keeps from one iteration to the next beside the policy; `NoMemory` if nothing.
  associatedtype Memory: Storable

  /// Fits a policy to the set.
  ///
  /// - Parameters:
  ///   - policy: that of the last iteration; nil in the first.
  ///   - set: what to fit.
  ///   - memory: what the last distillation left.
  ///   - stream: the source of all randomness of this one.
  ///   - workers: tasks at most.
  /// - Returns: the policy, the memory for the next time, and the losses.
  /// - Throws: `GlobalPolicyError`, or `CancellationError`.
  func distill(
    _ policy: Product?, onto set: DistillationSet, memory: Memory?, stream: RandomStream,
    workers: Int
  ) async throws -> Distillation<Product, Memory>
}

extension DistillablePolicy {
  /// Observations and controls must be as many as the policy was fitted to.
  public func mismatch(with dimensions: Dimensions) -> String? {
    if observation == dimensions.observation && control == dimensions.control { return nil }
    return "it maps \(observation) observations to \(control) controls, the experiment has "
      + "\(dimensions.observation) and \(dimensions.control)"
  }
}

extension NeuralPolicy: DistillablePolicy {}

/// Distils into a network, and begins again more carefully where a training diverged.
///
/// Within one training `PolicyDistiller` itself goes back to the last good weights with half the rate.
/// Where that was not enough, the whole training begins again with a hundredth of the rate: first from
/// the previous network, then from new weights. Notes say so.
public struct NeuralDistiller: Distiller {
  /// Size and kind of the network.
  public let network: NetworkOptions
  /// How it is trained.
  public let training: PolicyDistiller.Options
  /// The source of new weights: the same weights whenever a network begins anew.
  public let initialization: RandomStream

  /// A distiller.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public init(
    network: NetworkOptions = NetworkOptions(),
    training: PolicyDistiller.Options = PolicyDistiller.Options(), initialization: RandomStream
  ) throws(InvalidOption) {
    do { self.network = try network.validated() } catch { throw error.within("network") }
    do { self.training = try training.validated() } catch { throw error.within("training") }
    self.initialization = initialization
  }

  /// A distiller whose new weights follow from a search's seed.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public init(
    network: NetworkOptions = NetworkOptions(),
    training: PolicyDistiller.Options = PolicyDistiller.Options(), seed: UInt64
  ) throws(InvalidOption) {
    try self.init(
      network: network, training: training,
      initialization: RandomStream(seed: seed).child(.networkInitialization))
  }

  /// Fits the network; the memory is the optimizer's state, if it is to live on.
  public func distill(
    _ policy: NeuralPolicy?, onto set: DistillationSet, memory: PolicyDistiller.OptimizerState?,
    stream: RandomStream, workers: Int
  ) async throws -> Distillation<NeuralPolicy, PolicyDistiller.OptimizerState> {
    let fresh = NeuralPolicy.initial(
      observation: set.observation, control: set.control, options: network, stream: initialization)
    var (start, memory, options) = (policy ?? fresh, memory, training)
    var notes: [String] = []
    while true {
      do {
        let outcome = try await PolicyDistiller(options: options).distill(
          start, onto: set, optimizer: memory, stream: stream, workers: workers)
        return Distillation(
          policy: outcome.policy, memory: outcome.optimizer, initialLoss: outcome.initialLoss,
          finalLoss: outcome.finalLoss, labelVariance: outcome.labelVariance,
          notes: notes + outcome.notes)
      } catch let error as GlobalPolicyError {
        guard case .diverged = error, notes.count < 2 else { throw error }
        options.learningRate = training.learningRate / 100
        memory = nil
        if !notes.isEmpty { start = fresh }
        notes.append(
          "\(error); trained again from \(notes.isEmpty ? "the previous network" : "new weights") "
            + "at learning rate \(options.learningRate)")
      }
    }
  }
}
