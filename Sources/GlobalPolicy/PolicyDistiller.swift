import Foundation
import GPSCore
import LinearAlgebra
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

    let trainer = Trainer(
      policy: policy, set: set, precisions: precisions, options: options, state: state,
      stream: stream, workers: min(workers, cores),
      variant: variant)
    let initialLoss = try await trainer.loss(of: policy.network, workers: workers)
    // Controls are scaled and precisions normalised, so a loss of 1 is what ignorance costs.
    let limit = 1e6 * max(1, initialLoss.isFinite ? initialLoss : 1)
    let progress = try await train(trainer, lossLimit: Float(min(limit, 1e30)))
    if progress.failures > 0 {
      notes.append(
        "the loss exploded \(progress.failures) times, the last time at training step "
          + "\(progress.lastFailure); the learning rate was halved each time")
    }

    policy.network.parameters = trainer.kept
    var finalLoss = try await trainer.loss(of: policy.network, workers: workers)
    if !finalLoss.isFinite {
      notes.append("the last training steps were not finite and were undone")
      policy.network.parameters = trainer.lastGood
      finalLoss = try await trainer.loss(of: policy.network, workers: workers)
      guard finalLoss.isFinite else {
        throw GlobalPolicyError.diverged(
          step: progress.step, learningRate: options.learningRate * progress.rateFactor,
          attempts: progress.failures + 1)
      }
    }
    let next = OptimizerState(
      optimizer: options.optimizer, layerSizes: policy.network.layerSizes,
      steps: (state?.steps ?? 0) + progress.step, first: trainer.copy(of: trainer.first),
      second: trainer.copy(of: trainer.second))
    let isUsable = options.keepOptimizerState && next.first.allSatisfy(\.isFinite)
    return Outcome(
      policy: policy, optimizer: isUsable ? next : nil, initialLoss: initialLoss,
      finalLoss: finalLoss, steps: progress.step, notes: notes)
  }

  private func train(
    _ trainer: Trainer, lossLimit: Float
  ) async throws -> Trainer.Progress {
    if trainer.workers == 1 { return try trainer.run(lossLimit: lossLimit) }
    let barrier = SpinBarrier(parties: trainer.workers)
    return try await withThrowingTaskGroup(of: Trainer.Progress.self) { group in
      for worker in 0..<trainer.workers {
        group.addTask {
          try await trainer.run(worker: worker, barrier: barrier, lossLimit: lossLimit)
        }
      }
      // All workers leave the loop at the same step and return, or throw, the same.
      var last = Trainer.Progress()
      for try await progress in group { last = progress }
      return last
    }
  }
}
