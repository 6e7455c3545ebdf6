public import GPSCore

/// Why rollouts do not give a better controller: the caller keeps the one it has.
public enum PathIntegralError: NumericalFailure, Sendable, Equatable {
  /// A cost, or a cost-to-go, is NaN or infinite.
  ///
  /// - Parameters:
  ///   - sample: index of the rollout.
  ///   - step: t; nil where the costs belong to no step.
  ///   - value: what was found.
  case costNotFinite(sample: Int, step: Int?, value: Double)
  /// A control less its mean, in units of the controller's deviation, is NaN or infinite.
  case noiseNotFinite(sample: Int, step: Int)
  /// The model's prediction of a rollout is NaN or infinite from this step on.
  case predictionNotFinite(sample: Int, step: Int)
  /// The numbers found make no controller.
  case controller(ControllerError)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .costNotFinite(let sample, let step, let value):
      "the cost of sample \(sample)\(step.map { " at step \($0)" } ?? "") is \(value)"
    case .noiseNotFinite(let sample, let step):
      "the noise in the control of sample \(sample) at step \(step) is not finite"
    case .predictionNotFinite(let sample, let step):
      "the model's prediction of sample \(sample) is not finite at step \(step)"
    case .controller(let error): error.description
    }
  }
}
