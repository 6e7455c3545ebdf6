/// What can go wrong with a network.
public enum NetworkError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The loss exploded again and again, however small the learning rate was made.
  case diverged(step: Int, learningRate: Double, attempts: Int)
  /// Stored parameters do not belong to a network of the stored sizes.
  case corrupt(String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .diverged(let step, let learningRate, let attempts):
      "the loss exploded \(attempts) times, the last time at training step \(step) with learning rate "
        + "\(learningRate)"
    case .corrupt(let reason):
      "not a network: \(reason)"
    }
  }
}
