package import Configuration
public import GPSCore
public import Networks

extension PolicyDistiller {
  /// How the network is fitted to the local controllers: how it is trained, and what is done to the
  /// precisions. The training's options can be read and set directly: `options.steps = 1000`.
  @dynamicMemberLookup
  public struct Options: Sendable, Equatable {
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

    /// Trainings in an S-step at most, at least 1, each twice as long as the one before. Of eight rollouts or more
    /// every eighth is held out; another training follows while more than `unexplainedTolerance` of the labels'
    /// variance is left in those, and, from the third on, the last one took a tenth off their loss. What lowers
    /// that most is kept. Nil is 6 where the start was searched, whose first labels are those of an optimum, and 1 elsewhere, where they are those of a first
    /// step.
    public var maxRounds: Int?
    /// The share of the labels' variance that may be left in what is held out, above 0.
    public var unexplainedTolerance = 1e-3

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
    public func validated() throws(InvalidOption) -> Options { try checked() }
  }
}

extension PolicyDistiller.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    TrainingOptions.schema.fields(in: \.training)
    Field("precisionClipping", \.precisionClipping, "Whether outlying precisions are clipped.")
    Field(
      "precisionClippingFactor", \.precisionClippingFactor, .atLeastOne,
      "A precision's trace is clipped at this multiple of the median trace.")
    Field(
      "maxRounds", \.maxRounds, .between(1, 20),
      "Trainings per iteration at most, each twice as long as the one before. Every eighth rollout is held out if there are several; another "
        + "training follows while more than unexplainedTolerance of the labels' variance is left in those, "
        + "and, from the third on, the last one took a tenth off their loss; null for 6 where the start was searched, 1 elsewhere."
    )
    Field(
      "unexplainedTolerance", \.unexplainedTolerance, .fraction,
      "The share of the labels' variance that may be left.")
    Field(
      "keepOptimizerState", \.keepOptimizerState,
      "Whether the optimizer's averages live on in the next iteration.")
  }
}
