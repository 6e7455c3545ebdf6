package import Configuration
import GPSCore
import LinearAlgebra
import Sim

extension InitialController {
  /// Settings of u = ū + K (x − x_0) + noise, which asks nothing of the actuators: they may drive
  /// tendons, sites, muscles or whatever else.
  public struct ConstantOptions: Sendable, Equatable {
    /// ū: one number, or one per control; nil for the controls that the start comes with, such as a
    /// keyframe's, or zeros. It is brought within the controls' limits.
    public var mean: [Double]?
    /// The noise.
    public var exploration: Exploration
    /// K by names of controls and entries of the state; what is not named is 0.
    public var gains: FeedbackGains

    /// Settings.
    public init(
      mean: [Double]? = nil, deviation: [Double] = [0.3], variance: [Double]? = nil,
      gains: FeedbackGains = [:]
    ) {
      self.mean = mean
      exploration = Exploration(deviation: deviation, variance: variance)
      self.gains = gains
    }
  }
}

extension InitialController.ConstantOptions: ControllerRule {
  package static let schema = Schema<Self>(
    "constant", "The same control at every step; for any actuator.", Self()
  ) {
    Field(
      "mean", \.mean, .numberOrNumbersOrNull,
      "The control, brought within its limits; one per control, or one for all; null for those of the "
        + "start's keyframe, or zeros.")
    InitialController.Exploration.schema.fields(in: \.exploration)
    Field(
      "gains", \.gains, .feedbackGains,
      "Feedback on the distance from the initial state, added to the mean: for each control, the gains of "
        + "entries of the state.")
  }

  func controller(_ start: Start) throws -> LinearGaussianController {
    try checkSettings()
    let m = start.dimensions.control
    let given = try mean.map { try each($0, m, "constant.mean") } ?? start.control
    let control = start.clamped(given ?? [Double](repeating: 0, count: m))
    let K = try start.matrix(of: gains, "constant.gains")
    let variances = try exploration.variances(start, "constant")
    return try start.controller(
      gains: MatrixSequence(repeating: K, count: start.dimensions.horizon),
      states: { _ in start.state }, controls: { _ in control }, variances: variances)
  }
}
