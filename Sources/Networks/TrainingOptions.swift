package import Configuration
import Foundation
public import Statistics

/// How a network is trained by minibatches.
public struct TrainingOptions: Sendable, Equatable {
  /// How the learning rate falls from the first step of a training to its last.
  public enum Decay: String, Sendable, CaseIterable {
    /// Not at all.
    case none
    /// Along half a cosine (Loshchilov and Hutter 2017).
    case cosine
    /// Along a straight line.
    case linear
  }

  /// Which iterate is kept.
  public enum Averaging: String, Sendable, CaseIterable {
    /// The last one.
    case none
    /// The exponential moving average.
    case exponential
    /// The plain average of the last steps (Polyak and Juditsky 1992).
    case tail
  }

  /// How several workers train at once.
  public enum Parallel: String, Sendable, CaseIterable {
    /// They share each minibatch: the result is the same bit for bit for any number of them.
    case synchronous
    /// Each takes minibatches of its own, and hands in gradients when they are done: the result depends on timing.
    case asynchronous
  }

  /// How several workers train at once.
  public var parallel: Parallel = .synchronous
  /// A gradient is computed again if more steps than this were taken since its parameters, at least 0.
  public var gradientStalenessBound = 16
  /// The rule that turns a gradient into a step.
  public var optimizer: Optimizer.Rule = .adam
  /// Minibatches in all.
  public var steps = 1600
  /// Samples per minibatch; all samples if there are fewer.
  public var batchSize = 160
  /// Learning rate at the first step.
  public var learningRate = 2e-3
  /// How the rate falls.
  public var decay: Decay = .cosine
  /// The rate's last value as a share of its first.
  public var finalLearningRateFraction = 0.02
  /// Steps over which the rate first rises from zero.
  public var warmUpSteps = 0
  /// Decay of the average gradient: Adam's β1, or SGD's momentum.
  public var momentum = 0.9
  /// Decay of Adam's average squared gradient, β2.
  public var secondMomentum = 0.999
  /// Adam's ε.
  public var epsilon = 1e-8
  /// Decoupled decay of the weights (not the biases) per unit of learning rate (Loshchilov and
  /// Hutter 2019).
  public var weightDecay = 0.0
  /// Longest gradient (Euclidean norm over all parameters); nil lets any length pass.
  public var gradientClipping: Double?
  /// Which iterate is kept.
  public var averaging: Averaging = .exponential
  /// Decay per step of the exponential average; it starts as the plain average.
  public var averagingDecay = 0.975
  /// Share of the steps, counted from the last, that the tail average covers.
  public var averagingFraction = 0.25

  /// The defaults: 1600 Adam steps of batch 160, which two workers share, with a decaying rate, keeping
  /// the average iterate, so that a network that is trained again and again does not flicker from one training to the next.
  public init() {}

  /// These options, if every one makes sense.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public func validated() throws(InvalidOption) -> TrainingOptions { try checked() }

  /// η at a step, before halvings.
  func learningRate(at step: Int) -> Double {
    let progress = Double(step) / Double(max(1, steps - 1))
    let share =
      switch decay {
      case .none: 1.0
      case .cosine: 0.5 * (1 + cos(.pi * progress))
      case .linear: 1 - progress
      }
    let warmth = min(1, Double(step + 1) / Double(warmUpSteps + 1))
    let end = decay == .none ? 0 : finalLearningRateFraction
    return learningRate * warmth * (end + (1 - end) * share)
  }

  /// The weight of the newest iterate in the average after a step; nil if no average is kept.
  func averagingWeight(at step: Int) -> Double? {
    switch averaging {
    case .none: return nil
    case .exponential: return max(1 - averagingDecay, 1 / Double(step + 1))
    case .tail:
      let first = steps - max(1, Int((averagingFraction * Double(steps)).rounded()))
      return step < first ? 1 : 1 / Double(step - first + 1)
    }
  }

  /// The rule that they describe.
  public var stepRule: Optimizer {
    var rule = Optimizer()
    rule.rule = optimizer
    rule.momentum = momentum
    rule.secondMomentum = secondMomentum
    rule.epsilon = epsilon
    rule.weightDecay = weightDecay
    return rule
  }
}

extension Optimizer.Rule: Setting {}
extension TrainingOptions.Decay: Setting {}
extension TrainingOptions.Averaging: Setting {}
extension TrainingOptions.Parallel: Setting {}

extension TrainingOptions: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "parallel", \.parallel,
      "Whether workers share each minibatch, or hand in gradients of their own minibatches; results of the "
        + "latter depend on timing.")
    Field(
      "gradientStalenessBound", \.gradientStalenessBound, .between(0, 1_000_000),
      "Steps at most between the parameters of a gradient and those that it changes (parallel: asynchronous)."
    )
    Field("optimizer", \.optimizer, "The rule that turns a gradient into a step.")
    Field(
      "steps", \.steps, Check("between 1 and 1e9") { (1...1_000_000_000).contains($0) },
      "Minibatches per iteration.")
    Field(
      "batchSize", \.batchSize, .atLeast(1).and(Check("at most 2^24") { $0 <= 1 << 24 }),
      "Samples per minibatch.")
    Field("learningRate", \.learningRate, .above(0), "Learning rate at the first step.")
    Field("decay", \.decay, "How the rate falls within an iteration.")
    Field(
      "finalLearningRateFraction", \.finalLearningRateFraction, .share,
      "The rate's last value as a share of its first.")
    Field(
      "warmUpSteps", \.warmUpSteps, Check("between 0 and 1e9") { (0...1_000_000_000).contains($0) },
      "Steps over which the rate first rises from zero.")
    Field("momentum", \.momentum, .belowOne, "Decay of the average gradient.")
    Field(
      "secondMomentum", \.secondMomentum, .belowOne, "Decay of Adam's average squared gradient.")
    Field("epsilon", \.epsilon, .above(0), "Adam's epsilon.")
    Field("weightDecay", \.weightDecay, .notNegative, "Decoupled decay of the weights.")
    Field(
      "gradientClipping", \.gradientClipping, .above(0), "Longest gradient; null for any length.")
    Field("averaging", \.averaging, "Which iterate is kept.")
    Field("averagingDecay", \.averagingDecay, .belowOne, "Decay of the exponential average.")
    Field(
      "averagingFraction", \.averagingFraction, .positiveShare,
      "Share of the steps that the tail average covers.")
  }
}
