public import LinearAlgebra
public import Networks

extension NeuralPolicy {
  /// A policy put together again from what was stored of it.
  ///
  /// - Parameters:
  ///   - options: size and kind of the network; its hidden layers must be those of `layers`.
  ///   - layers: W (outputs × inputs) and b of each layer, from the observation's side.
  ///   - observationMean: what is subtracted from observations, o numbers.
  ///   - observationDeviation: what they are divided by afterwards.
  ///   - controlMean: what is added to controls, m numbers.
  ///   - controlDeviation: what they are multiplied by before.
  ///   - covariance: Σ_π, m × m.
  ///   - covarianceFactor: its lower Cholesky factor.
  ///   - precision: its inverse.
  ///   - isWhitened: whether the whitening of observations is fixed.
  ///   - isScaled: whether the scaling of controls is fixed.
  /// - Throws: `GlobalPolicyError.corruptNetwork` if the parts do not fit or a number is not finite.
  public init(
    options: NetworkOptions, layers: [(weights: Matrix, biases: [Double])],
    observationMean: [Double], observationDeviation: [Double], controlMean: [Double],
    controlDeviation: [Double], covariance: Matrix, covarianceFactor: Matrix, precision: Matrix,
    isWhitened: Bool = true, isScaled: Bool = true
  ) throws(GlobalPolicyError) {
    func require(_ holds: Bool, _ reason: String) throws(GlobalPolicyError) {
      if !holds { throw .corruptNetwork(reason) }
    }
    let sizes = layers.prefix(1).map(\.weights.columns) + layers.map(\.weights.rows)
    try require(
      sizes.count >= 2 && sizes.allSatisfy { $0 > 0 }
        && Array(sizes[1...].dropLast())
          == options.hiddenLayers,
      "its layers have \(sizes) units")
    for (index, layer) in layers.enumerated() {
      try require(
        layer.weights.columns == sizes[index] && layer.biases.count == sizes[index + 1],
        "layer \(index) does not fit the one before it")
      try require(
        (layer.weights.storage + layer.biases).allSatisfy { Float($0).isFinite },
        "a parameter of layer \(index) is not finite")
    }
    let (o, m) = (sizes[0], sizes[sizes.count - 1])
    try require(
      observationMean.count == o && observationDeviation.count == o && controlMean.count == m
        && controlDeviation.count == m
        && [covariance, covarianceFactor, precision].allSatisfy { $0.rows == m && $0.columns == m },
      "its scaling or covariance does not fit \(o) observations and \(m) controls")
    try require(
      (observationMean + observationDeviation + controlMean + controlDeviation
        + covariance.storage + covarianceFactor.storage + precision.storage)
        .allSatisfy(\.isFinite) && observationDeviation.allSatisfy { $0 > 0 },
      "a number of its scaling or covariance is not usable")
    var network = Perceptron(layerSizes: sizes, activation: options.activation)
    for (index, layer) in layers.enumerated() {
      network.setLayer(index, weights: layer.weights, biases: layer.biases)
    }
    self.init(
      network: network, options: options,
      observationWhitening: Standardization(mean: observationMean, deviation: observationDeviation),
      controlScaling: Standardization(mean: controlMean, deviation: controlDeviation),
      isWhitened: isWhitened, isScaled: isScaled, covariance: covariance,
      covarianceFactor: covarianceFactor, precision: precision)
  }
}

extension PolicyDistiller.OptimizerState {
  /// The average gradient, one number per parameter: per layer one row of weights per input, then the
  /// biases.
  public var averageGradient: [Float] { layout.withoutPadding(first) }
  /// The average squared gradient, in the same order.
  public var averageSquaredGradient: [Float] { layout.withoutPadding(second) }

  private var layout: Network { Network(layerSizes: layerSizes, activation: .relu) }

  /// A state put together again from what was stored of it.
  ///
  /// - Parameters:
  ///   - optimizer: the rule it belongs to.
  ///   - layerSizes: of the network it belongs to, inputs and outputs included.
  ///   - steps: taken so far.
  ///   - averageGradient: as the property of that name.
  ///   - averageSquaredGradient: likewise.
  /// - Throws: `GlobalPolicyError.corruptNetwork` if the parts do not fit.
  public init(
    optimizer: PolicyDistiller.Options.Optimizer, layerSizes: [Int], steps: Int,
    averageGradient: [Float], averageSquaredGradient: [Float]
  ) throws(GlobalPolicyError) {
    guard layerSizes.count >= 2, layerSizes.allSatisfy({ (1...1 << 20).contains($0) }) else {
      throw .corruptNetwork("its optimizer's state is for layers of \(layerSizes) units")
    }
    // Counted before anything of that size is made.
    let count = zip(layerSizes, layerSizes.dropFirst()).reduce(0) { $0 + ($1.0 + 1) * $1.1 }
    guard averageGradient.count == count, averageSquaredGradient.count == count, steps >= 0 else {
      throw .corruptNetwork(
        "its optimizer's state has \(averageGradient.count) and \(averageSquaredGradient.count) "
          + "numbers after \(steps) steps for \(count) parameters")
    }
    let layout = Network(layerSizes: layerSizes, activation: .relu)
    self.init(
      optimizer: optimizer, layerSizes: layerSizes, steps: steps,
      first: Array(layout.padding(averageGradient)),
      second: Array(layout.padding(averageSquaredGradient)))
  }
}
