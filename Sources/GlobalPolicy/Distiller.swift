public import GPSCore
public import LinearAlgebra
public import Statistics

/// A policy of observations alone, as the S-step fits it and the C-step linearises it.
public protocol DistillablePolicy: Policy, Storable {
  /// o.
  var observation: Int { get }
  /// m.
  var control: Int { get }
  /// Σ_π, m × m.
  var covariance: Matrix { get }

  /// The mean actions at observations, one per column.
  ///
  /// - Parameter observations: o × S.
  /// - Returns: m × S.
  func mean(for observations: Matrix) -> Matrix
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

/// The S-step: fits a policy to what the local controllers do.
public protocol Distiller: Sendable {
  /// What is fitted.
  associatedtype Product: DistillablePolicy
  /// What an optimizer knows beside the policy.
  associatedtype Memory: Storable

  /// The policy before the first training, fitted to nothing.
  func initialPolicy(observation: Int, control: Int, stream: RandomStream) -> Product

  /// Fits a policy.
  ///
  /// - Parameters:
  ///   - policy: where training starts.
  ///   - fresh: the policy of `initialPolicy`, to start over from if that one cannot be mended.
  ///   - set: what to fit.
  ///   - memory: what the last call left; nil at first.
  ///   - stream: the source of all randomness of this call.
  ///   - workers: threads to use at most; the result does not depend on it.
  /// - Returns: the policy, its loss and what the next call needs.
  /// - Throws: `GlobalPolicyError`, or `CancellationError`.
  func distill(
    _ policy: Product, orAnew fresh: Product, onto set: DistillationSet, memory: Memory?,
    stream: RandomStream, workers: Int
  ) async throws -> Distillation<Product, Memory>
}

/// What an S-step leaves behind.
public struct Distillation<Product: Sendable, Memory: Sendable>: Sendable {
  /// The fitted policy.
  public var policy: Product
  /// What the next S-step needs; nil if it begins anew.
  public var memory: Memory?
  /// Mean loss over the whole set.
  public var loss: Double
  /// What was out of the ordinary, one sentence each.
  public var notes: [String]
}

/// Fits a neural network by stochastic gradient descent.
public struct NeuralDistiller: Distiller {
  /// The network.
  public let network: NetworkOptions
  /// Its training.
  public let training: PolicyDistiller.Options

  /// A distiller.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public init(
    network: NetworkOptions = NetworkOptions(),
    training: PolicyDistiller.Options = PolicyDistiller.Options()
  ) throws(InvalidOption) {
    do { self.network = try network.validated() } catch { throw error.within("network") }
    do { self.training = try training.validated() } catch { throw error.within("training") }
  }

  /// The network with its first weights.
  public func initialPolicy(observation: Int, control: Int, stream: RandomStream) -> NeuralPolicy {
    .initial(observation: observation, control: control, options: network, stream: stream)
  }

  /// Trains the network. Within one training `PolicyDistiller` itself goes back to the last good weights
  /// with half the rate; where that was not enough, the whole training begins again with a hundredth of
  /// it: first from the previous network, then from new weights.
  public func distill(
    _ policy: NeuralPolicy, orAnew fresh: NeuralPolicy, onto set: DistillationSet,
    memory: PolicyDistiller.OptimizerState?, stream: RandomStream, workers: Int
  ) async throws -> Distillation<NeuralPolicy, PolicyDistiller.OptimizerState> {
    var (start, optimizer, options) = (policy, memory, training)
    var notes: [String] = []
    while true {
      do {
        let outcome = try await PolicyDistiller(options: options).distill(
          start, onto: set, optimizer: optimizer, stream: stream, workers: workers)
        return Distillation(
          policy: outcome.policy, memory: outcome.optimizer, loss: outcome.finalLoss,
          notes: notes + outcome.notes)
      } catch let error as GlobalPolicyError {
        guard case .diverged = error, notes.count < 2 else { throw error }
        options.learningRate = training.learningRate / 100
        optimizer = nil
        if !notes.isEmpty { start = fresh }
        notes.append(
          "\(error); trained again from \(notes.isEmpty ? "the previous network" : "new weights") "
            + "at learning rate \(options.learningRate)")
      }
    }
  }
}
