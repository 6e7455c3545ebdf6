package import Configuration

// What experiment files may say of the network, its training and its linearisation.

extension NetworkOptions.Activation: Setting {}
extension NetworkOptions.Initialization: Setting {}

extension NetworkOptions: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "hiddenLayers", \.hiddenLayers,
      "Units of each hidden layer; none makes the policy affine.")
    Field("activation", \.activation, "The hidden units' function.")
    Field("initialization", \.initialization, "How initial weights are drawn.")
    Field(
      "deviationFloor", \.deviationFloor,
      "Observations are divided by their deviation, but by no less than this.")
  } rule: { options throws(InvalidOption) in
    _ = try options.validated()
  }
}

extension PolicyDistiller.Options.Optimizer: Setting {}
extension PolicyDistiller.Options.Decay: Setting {}
extension PolicyDistiller.Options.Averaging: Setting {}

extension PolicyDistiller.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field("optimizer", \.optimizer, "The rule that turns a gradient into a step.")
    Field("steps", \.steps, "Minibatches per iteration.")
    Field("batchSize", \.batchSize, "Samples per minibatch.")
    Field("learningRate", \.learningRate, "Learning rate at the first step.")
    Field("decay", \.decay, "How the rate falls within an iteration.")
    Field(
      "finalLearningRateFraction", \.finalLearningRateFraction,
      "The rate's last value as a share of its first.")
    Field("warmUpSteps", \.warmUpSteps, "Steps over which the rate first rises from zero.")
    Field("momentum", \.momentum, "Decay of the average gradient.")
    Field("secondMomentum", \.secondMomentum, "Decay of Adam's average squared gradient.")
    Field("epsilon", \.epsilon, "Adam's epsilon.")
    Field("weightDecay", \.weightDecay, "Decoupled decay of the weights.")
    Field(
      "gradientClipping", \.gradientClipping, "Longest gradient; null for any length.")
    Field("averaging", \.averaging, "Which iterate is kept.")
    Field("averagingDecay", \.averagingDecay, "Decay of the exponential average.")
    Field(
      "averagingFraction", \.averagingFraction, "Share of the steps that the tail average covers.")
    Field(
      "precisionClipping", \.precisionClipping, "Whether outlying precisions are clipped.")
    Field(
      "precisionClippingFactor", \.precisionClippingFactor,
      "A precision's trace is clipped at this multiple of the median trace.")
    Field(
      "keepOptimizerState", \.keepOptimizerState,
      "Whether the optimizer's averages live on in the next iteration.")
  } rule: { options throws(InvalidOption) in
    _ = try options.validated()
  }
}

extension PolicyLinearizer.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "maxTrajectories", \.maxTrajectories,
      "How many of the last rollouts the mixture is fitted to.")
    Field("mixture", \.mixture, "Fit of the mixture.")
    Field("regression", \.regression, "The regression at each time step.")
  } rule: { options throws(InvalidOption) in
    _ = try options.validated()
  }
}
