public import GPSCore
public import Networks

extension PolicyDistiller {
  /// How the network is fitted to the local controllers: how it is trained, and what is done to the
  /// precisions. The training's options can be read and set directly: `options.steps = 1000`.
  @dynamicMemberLookup
  public struct Options: Codable, Sendable, Equatable {
    /// The rule that turns a gradient into a step.
    public typealias Optimizer = Networks.Optimizer.Rule
    /// How the learning rate falls from the first step of an S-step to its last.
    public typealias Decay = TrainingOptions.Decay
    /// Which iterate is kept.
    public typealias Averaging = TrainingOptions.Averaging

    /// How the network is trained in each S-step.
    public var training = TrainingOptions()
    /// Whether outlying precisions are clipped.
    public var precisionClipping = false
    /// A precision's trace is clipped at this multiple of the median trace.
    public var precisionClippingFactor = 2.0
    /// Whether the optimizer's averages live on in the next S-step.
    public var keepOptimizerState = false

    /// The defaults: those of a training, with precisions as they are.
    public init() {}

    /// One of the training's options.
    public subscript<Value>(dynamicMember key: WritableKeyPath<TrainingOptions, Value>) -> Value {
      get { training[keyPath: key] }
      set { training[keyPath: key] = newValue }
    }

    /// These options, if every one makes sense.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options {
      _ = try training.validated()
      try InvalidOption.require(
        precisionClippingFactor >= 1 && precisionClippingFactor.isFinite,
        "precisionClippingFactor", precisionClippingFactor, "at least 1")
      return self
    }

    private enum CodingKeys: String, CodingKey {
      case precisionClipping, precisionClippingFactor, keepOptimizerState
    }

    /// Options from a keyed container; a key left out takes its default.
    public init(from decoder: any Decoder) throws {
      training = try TrainingOptions(from: decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      try values.read(.precisionClipping, &precisionClipping)
      try values.read(.precisionClippingFactor, &precisionClippingFactor)
      try values.read(.keepOptimizerState, &keepOptimizerState)
    }

    /// Writes the training's options and these side by side.
    public func encode(to encoder: any Encoder) throws {
      try training.encode(to: encoder)
      var values = encoder.container(keyedBy: CodingKeys.self)
      try values.encode(precisionClipping, forKey: .precisionClipping)
      try values.encode(precisionClippingFactor, forKey: .precisionClippingFactor)
      try values.encode(keepOptimizerState, forKey: .keepOptimizerState)
    }
  }
}
