import Foundation
import GPSCore
import LinearAlgebra
public import Networks
public import Statistics

/// The S-step of guided policy search (Montgomery and Levine 2016, algorithm 2): fits the global
/// policy to the local controllers,
///
///   minimise over θ the mean over samples of ½ (μ_θ(o) − K x − k)ᵀ C⁻¹ (μ_θ(o) − K x − k),
///
/// and sets its covariance in closed form, Σ_π = (mean over samples of C⁻¹)⁻¹.
///
/// The result depends on its arguments alone, `workers` aside: for any number of workers it is the
/// same bit for bit.
public struct PolicyDistiller: Sendable {
  /// How the network is fitted.
  public let options: Options
  /// The instruction set, for tests.
  var variant = KernelVariant.best
  /// How many workers the machine can run at once, for tests.
  var cores = ProcessInfo.processInfo.activeProcessorCount

  /// A distiller.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public init(options: Options = Options()) throws(InvalidOption) {
    self.options = try options.validated()
  }

  /// What the optimizer knows beside the parameters.
  public struct OptimizerState: Sendable, Codable, Equatable {
    /// The rule it belongs to.
    public let optimizer: Options.Optimizer
    /// The network's layers it belongs to.
    public let layerSizes: [Int]
    /// Steps taken so far.
    public let steps: Int
    /// Average gradient, in the network's layout.
    let first: [Float]
    /// Average squared gradient, in the network's layout.
    let second: [Float]
  }

  /// What an S-step leaves behind.
  public struct Outcome: Sendable {
    /// The fitted policy.
    public var policy: NeuralPolicy
    /// The optimizer's state for the next S-step; nil unless `keepOptimizerState`.
    public var optimizer: OptimizerState?
    /// Mean loss over the whole set before; losses are in units of normalised precisions.
    public var initialLoss: Double
    /// Mean loss over the whole set afterwards.
    public var finalLoss: Double
    /// Mean loss of the constant that fits best: what the labels' variance comes to.
    public var labelVariance: Double
    /// Steps taken.
    public var steps: Int
    /// What was out of the ordinary, one sentence each.
    public var notes: [String]
  }

  /// Fits the policy to the set.
  ///
  /// Freezes the policy's observation whitening and control scaling if they are not yet frozen. The
  /// loss is minimised in scaled controls, with precisions divided by their mean trace and outliers
  /// clipped (`precisionClipping`). If a minibatch's loss is not finite or a million times what it
  /// should be, the last good weights are restored and the learning rate is halved, which a note says.
  ///
  /// - Parameters:
  ///   - policy: where training starts.
  ///   - set: what to fit.
  ///   - optimizer: the state the last S-step left, or nil.
  ///   - stream: the source of the minibatches' order.
  ///   - workers: threads to use at most; small minibatches are trained on one.
  /// - Returns: the fitted policy, its losses, and what the next S-step needs.
  /// - Throws: `GlobalPolicyError.diverged` or `.covariance`, or `CancellationError`.
  public func distill(
    _ policy: NeuralPolicy, onto set: DistillationSet, optimizer: OptimizerState? = nil,
    stream: RandomStream, workers: Int
  ) async throws -> Outcome {
    precondition(
      set.observation == policy.observation && set.control == policy.control,
      "\(set.observation) observations and \(set.control) controls for a policy of "
        + "\(policy.observation) and \(policy.control)")
    var notes: [String] = []
    var policy = try policy.withPrecision(set.meanPrecision)
    policy = policy.frozen(for: set)
    let (precisions, clipped) = set.normalizedPrecisions(
      scale: policy.controlScaling.deviation,
      clipping: options.precisionClipping ? options.precisionClippingFactor : nil)
    if clipped > set.precisions.count / 2 {
      notes.append("\(clipped) of \(set.precisions.count) precisions were clipped")
    }

    var state: OptimizerState?
    if options.keepOptimizerState, let optimizer {
      if optimizer.optimizer == options.optimizer,
        optimizer.layerSizes == policy.network.layerSizes,
        optimizer.first.count == policy.network.parameters.count,
        optimizer.second.count == policy.network.parameters.count
      {
        state = optimizer
      } else {
        notes.append("the optimizer's state belongs to another network or rule and starts anew")
      }
    }

    let variance = set.labelVariance(
      precisions: precisions, scale: policy.controlScaling.deviation)
    var outcome = Outcome(
      policy: policy, optimizer: state, initialLoss: .nan, finalLoss: .nan,
      labelVariance: variance, steps: 0, notes: notes)
    let rounds = options.maxRounds ?? 1
    let split = rounds > 1 ? set.holdingOut() : nil
    let judge = split.map {
      trainer(
        policy, set: $0.heldOut, precisions: precisions, state: nil, stream: stream, workers: 1)
    }
    var (parameters, best) = (policy.network.parameters, Double.infinity)
    for round in 0..<(split == nil ? 1 : rounds) {
      let stream = round == 0 ? stream : stream.child(.minibatches, round)
      policy.network.parameters = parameters
      let trainer = trainer(
        policy, set: split?.rest ?? set, precisions: precisions, state: outcome.optimizer,
        lengthenedBy: 1 << round, stream: stream, workers: min(workers, cores))
      let trained: TrainingOutcome
      do {
        trained = try await trainer.train(evaluationWorkers: workers)
      } catch NetworkError.diverged(let step, let learningRate, let attempts) {
        throw GlobalPolicyError.diverged(
          step: step, learningRate: learningRate, attempts: attempts)
      }
      parameters = trained.parameters
      outcome.steps += trained.steps
      outcome.notes += trained.notes
      // What it makes of rollouts that were not learned from decides what is kept.
      let (before, after) = (
        best, try await judge?.meanLoss(at: parameters, workers: workers) ?? 0
      )
      let isSlow = round >= Self.leastRounds - 1 && !(after <= 0.9 * before)
      if round > 0 && !(after < before) {
        if isSlow { break }
        continue
      }
      best = after
      outcome.policy.network.parameters = parameters
      let next = OptimizerState(
        optimizer: options.optimizer, layerSizes: policy.network.layerSizes,
        steps: trained.state.steps, first: Array(trained.state.first),
        second: Array(trained.state.second))
      let isUsable = options.keepOptimizerState && next.first.allSatisfy(\.isFinite)
      outcome.optimizer = isUsable ? next : nil
      if round == 0 { outcome.initialLoss = trained.initialLoss }
      outcome.finalLoss = trained.finalLoss
      if isSlow || after <= options.unexplainedTolerance * variance { break }
    }
    return outcome
  }

  /// Trainings before one that brings little is the last.
  private static var leastRounds: Int { 3 }

  /// The training of a policy with fixed scalings: inputs whitened, targets scaled.
  ///
  /// - Parameters:
  ///   - policy: where it starts.
  ///   - set: what to fit.
  ///   - precisions: normalised, in units of scaled controls.
  ///   - state: of the optimizer, if it lives on.
  ///   - factor: on the steps.
  ///   - stream: of the minibatches' order.
  ///   - workers: at most.
  /// - Returns: what is ready to run.
  func trainer(
    _ policy: NeuralPolicy, set: DistillationSet, precisions: MatrixSequence,
    state: OptimizerState?, lengthenedBy factor: Int = 1, stream: RandomStream, workers: Int
  ) -> Trainer {
    var training = options.training
    training.steps *= factor
    let (whitening, scaling) = (policy.observationWhitening, policy.controlScaling)
    var inputs = Rows(count: set.count, width: set.observation)
    var targets = Rows(count: set.count, width: set.control)
    var first = 0
    for part in set.parts {
      inputs.fill(first..<first + part.count) { s, i in
        (part.observations[i, s - first] - whitening.mean[i]) / whitening.deviation[i]
      }
      targets.fill(first..<first + part.count) { s, i in
        (part.targets[i, s - first] - scaling.mean[i]) / scaling.deviation[i]
      }
      first += part.count
    }
    return Trainer(
      policy.network.network, from: policy.network.parameters, inputs: inputs,
      objective: DistillationObjective(variant: variant),
      batch: DistillationObjective.Batch(
        targets: targets, precisions: precisions, groups: set.precisionIndices),
      options: training,
      state: state.map {
        Optimizer.State(
          steps: $0.steps, first: Parameters($0.first), second: Parameters($0.second))
      }, stream: stream, workers: workers, variant: variant)
  }
}
