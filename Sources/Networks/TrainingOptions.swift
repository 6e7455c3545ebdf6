import Foundation
public import Statistics

/// How a network is trained by minibatches.
public struct TrainingOptions: Codable, Sendable, Equatable {
  /// How the learning rate falls from the first step of a training to its last.
  public enum Decay: String, Codable, Sendable, CaseIterable {
    /// Not at all.
    case none
    /// Along half a cosine (Loshchilov and Hutter 2017).
    case cosine
    /// Along a straight line.
    case linear
  }

  /// Which iterate is kept.
  public enum Averaging: String, Codable, Sendable, CaseIterable {
    /// The last one.
    case none
    /// The exponential moving average.
    case exponential
    /// The plain average of the last steps (Polyak and Juditsky 1992).
    case tail
  }

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
  public func validated() throws(InvalidOption) -> TrainingOptions {
    func positive(_ key: String, _ value: Double) throws(InvalidOption) {
      try InvalidOption.require(value > 0 && value.isFinite, key, value, "a positive number")
    }
    func fraction(_ key: String, _ value: Double) throws(InvalidOption) {
      try InvalidOption.require(value >= 0 && value < 1, key, value, "at least 0 and below 1")
    }
    try InvalidOption.require(
      (1...1_000_000_000).contains(steps), "steps", steps, "between 1 and 1e9")
    try InvalidOption.require(
      (1...(1 << 24)).contains(batchSize), "batchSize", batchSize, "at least 1")
    try positive("learningRate", learningRate)
    try InvalidOption.require(
      finalLearningRateFraction >= 0 && finalLearningRateFraction <= 1,
      "finalLearningRateFraction", finalLearningRateFraction, "between 0 and 1")
    try InvalidOption.require(
      (0...1_000_000_000).contains(warmUpSteps), "warmUpSteps", warmUpSteps,
      "between 0 and 1e9")
    try fraction("momentum", momentum)
    try fraction("secondMomentum", secondMomentum)
    try positive("epsilon", epsilon)
    try InvalidOption.require(
      weightDecay >= 0 && weightDecay.isFinite, "weightDecay", weightDecay, "at least 0")
    if let gradientClipping { try positive("gradientClipping", gradientClipping) }
    try fraction("averagingDecay", averagingDecay)
    try InvalidOption.require(
      averagingFraction > 0 && averagingFraction <= 1, "averagingFraction", averagingFraction,
      "above 0 and at most 1")
    return self
  }

  /// Options from a keyed container; a key left out takes its default.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    try values.read(.optimizer, &optimizer)
    try values.read(.steps, &steps)
    try values.read(.batchSize, &batchSize)
    try values.read(.learningRate, &learningRate)
    try values.read(.decay, &decay)
    try values.read(.finalLearningRateFraction, &finalLearningRateFraction)
    try values.read(.warmUpSteps, &warmUpSteps)
    try values.read(.momentum, &momentum)
    try values.read(.secondMomentum, &secondMomentum)
    try values.read(.epsilon, &epsilon)
    try values.read(.weightDecay, &weightDecay)
    gradientClipping = try values.decodeIfPresent(Double.self, forKey: .gradientClipping)
    try values.read(.averaging, &averaging)
    try values.read(.averagingDecay, &averagingDecay)
    try values.read(.averagingFraction, &averagingFraction)
  }

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

extension KeyedDecodingContainer {
  /// Sets `target` to the value of a key; a key left out leaves it as it is.
  package func read<Value: Decodable>(_ key: Key, _ target: inout Value) throws {
    if let value = try decodeIfPresent(Value.self, forKey: key) { target = value }
  }
}
