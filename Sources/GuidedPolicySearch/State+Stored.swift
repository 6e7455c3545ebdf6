// What a checkpoint holds of each value, and under which name; reading checks everything that the
// initialisers take for granted, so that no file can stop the process.

import Dynamics
public import GPSCore
import GlobalPolicy
import LinearAlgebra
import Statistics

extension State {
  func store(in writer: inout ValueWriter) {
    writer.put("iteration", text: iteration)
    writer.put("rollouts", text: rollouts)
    writer.put("conditions", text: conditions.count)
    for (index, condition) in conditions.enumerated() {
      writer.within("conditions.\(index)") { condition.store(in: &$0) }
    }
    if let policy { writer.within("policy") { policy.store(in: &$0) } }
    if let optimizer { writer.within("optimizer") { optimizer.store(in: &$0) } }
  }

  init(stored reader: ValueReader) throws(StoredValueError) {
    let count = try reader.count("conditions")
    // Each has several arrays, so that a number from a damaged header ends here.
    if count > reader.file.tensors.count {
      throw StoredValueError("it holds fewer arrays than \(count) conditions have")
    }
    self.init(controllers: [])
    iteration = try reader.count("iteration")
    rollouts = try reader.count("rollouts")
    for index in 0..<count {
      conditions.append(try ConditionState(stored: reader.within("conditions.\(index)")))
    }
    if reader.holdsText("policy.layer_sizes") {
      policy = try NeuralPolicy(stored: reader.within("policy"))
    }
    if reader.holdsText("optimizer.layer_sizes") {
      optimizer = try PolicyDistiller.OptimizerState(stored: reader.within("optimizer"))
    }
  }

  /// Why a task cannot go on from this state, as a clause; nil if it can.
  public func mismatch(with task: some ControlTask) -> String? {
    let d = task.dimensions
    if conditions.count != task.conditions.count {
      return "it has \(conditions.count) conditions, the task \(task.conditions.count)"
    }
    for (condition, own) in zip(task.conditions, conditions) {
      let (controller, dynamics, linearized) = (own.controller, own.dynamicsPrior, own.policyPrior)
      let joint = 2 * d.state + d.control
      let fits =
        controller.state == d.state && controller.control == d.control
        && controller.horizon == d.horizon
        && dynamics.states.allSatisfy { $0.rows == d.state }
        && dynamics.controls.allSatisfy { $0.rows == d.control }
        && (dynamics.mixture?.dimension ?? joint) == joint
        && linearized.states.allSatisfy { $0.rows == d.state }
        && linearized.observations.allSatisfy { $0.rows == d.observation }
        && (linearized.mixture?.dimension ?? d.joint) == d.joint
      if !fits {
        return "its condition \"\(condition.name)\" is not of \(d.state) states, \(d.control) "
          + "controls, \(d.observation) observations and \(d.horizon) steps"
      }
    }
    if let policy, policy.observation != d.observation || policy.control != d.control {
      return "its policy maps \(policy.observation) observations to \(policy.control) controls, "
        + "the task has \(d.observation) and \(d.control)"
    }
    return nil
  }
}

extension ConditionState {
  func store(in writer: inout ValueWriter) {
    writer.within("controller") { controller.store(in: &$0) }
    writer.within("dynamics_prior") { dynamicsPrior.store(in: &$0) }
    writer.within("policy_prior") { policyPrior.store(in: &$0) }
    writer.put("step_multiplier", stepMultiplier)
    writer.put("dual", dual)
    if let expectation { writer.within("expectation") { expectation.store(in: &$0) } }
  }

  init(stored reader: ValueReader) throws(StoredValueError) {
    self.init(controller: try LinearGaussianController(stored: reader.within("controller")))
    dynamicsPrior = try DynamicsPrior(stored: reader.within("dynamics_prior"))
    policyPrior = try PolicyPrior(stored: reader.within("policy_prior"))
    stepMultiplier = try reader.number("step_multiplier", in: 1e-100...1e100)
    dual = try reader.number("dual", in: 0...Double.greatestFiniteMagnitude)
    if reader.holds("expectation.cost") {
      expectation = try StepExpectation(stored: reader.within("expectation"))
    }
  }
}

extension StepExpectation {
  // The step rule takes any number here: a model may well expect infinity.
  func store(in writer: inout ValueWriter) {
    writer.put("cost", cost, mustBeFinite: false)
    writer.put("predicted_improvement", predictedImprovement, mustBeFinite: false)
    writer.put("is_trustworthy", [isTrustworthy])
  }

  init(stored reader: ValueReader) throws(StoredValueError) {
    self.init(
      cost: try reader.number("cost", mustBeFinite: false),
      predictedImprovement: try reader.number("predicted_improvement", mustBeFinite: false),
      isTrustworthy: try reader.flags("is_trustworthy", 1)[0])
  }
}

extension LinearGaussianController {
  func store(in writer: inout ValueWriter) {
    writer.put("gains", gains)
    writer.put("offsets", offsets)
    writer.put("covariances", covariances)
    writer.put("covariance_factors", covarianceFactors)
    writer.put("precisions", precisions)
  }

  init(stored reader: ValueReader) throws(StoredValueError) {
    let gains = try reader.sequence("gains")
    let (m, T) = (gains.rows, gains.count)
    do {
      try self.init(
        gains: gains, offsets: try reader.matrix("offsets", m, T),
        covariances: try reader.sequence("covariances", rows: m, columns: m, count: T),
        covarianceFactors: try reader.sequence(
          "covariance_factors", rows: m, columns: m, count: T),
        precisions: try reader.sequence("precisions", rows: m, columns: m, count: T))
    } catch let error as StoredValueError {
      throw error
    } catch {
      throw StoredValueError("\(error)")
    }
  }
}

extension DynamicsPrior {
  func store(in writer: inout ValueWriter) {
    for (index, matrix) in states.enumerated() { writer.put("states.\(index)", matrix) }
    for (index, matrix) in controls.enumerated() { writer.put("controls.\(index)", matrix) }
    if let mixture { writer.within("mixture") { mixture.store(in: &$0) } }
  }

  init(stored reader: ValueReader) throws(StoredValueError) {
    let states = try reader.history("states")
    var controls: [Matrix] = []
    for (index, matrix) in states.enumerated() {
      controls.append(
        try reader.matrix("controls.\(index)", controls.first?.rows, matrix.columns - 1))
    }
    let mixture = try MixturePrior(ifStored: reader.within("mixture"))
    if let x = states.first, let u = controls.first, let mixture,
      mixture.dimension != 2 * x.rows + u.rows
    {
      throw StoredValueError(
        "a mixture in \(mixture.dimension) dimensions for \(2 * x.rows + u.rows)")
    }
    self.init(states: states, controls: controls, mixture: mixture)
  }
}

extension PolicyPrior {
  func store(in writer: inout ValueWriter) {
    for (index, matrix) in states.enumerated() { writer.put("states.\(index)", matrix) }
    for (index, matrix) in observations.enumerated() {
      writer.put("observations.\(index)", matrix)
    }
    if let mixture { writer.within("mixture") { mixture.store(in: &$0) } }
  }

  init(stored reader: ValueReader) throws(StoredValueError) {
    let states = try reader.history("states")
    var observations: [Matrix] = []
    for (index, matrix) in states.enumerated() {
      observations.append(
        try reader.matrix("observations.\(index)", observations.first?.rows, matrix.columns))
    }
    self.init(
      states: states, observations: observations,
      mixture: try MixturePrior(ifStored: reader.within("mixture")))
  }
}

extension ValueReader {
  /// The states x_0 … x_T of as many trajectories as there are.
  fileprivate func history(_ name: String) throws(StoredValueError) -> [Matrix] {
    var states: [Matrix] = []
    while holds("\(name).\(states.count)") {
      let matrix = try matrix("\(name).\(states.count)", states.first?.rows)
      if matrix.rows == 0 || matrix.columns < 2 { throw StoredValueError("its history is empty") }
      states.append(matrix)
    }
    return states
  }
}

extension MixturePrior {
  func store(in writer: inout ValueWriter) {
    writer.put("center", whitening.center)
    writer.put("scale", whitening.scale)
    writer.put("is_constant", whitening.isConstant)
    writer.put("weights", mixture.weights)
    writer.put("means", mixture.means)
    writer.put("covariances", mixture.covariances)
  }

  /// nil if there is none.
  init?(ifStored reader: ValueReader) throws(StoredValueError) {
    if !reader.holds("center") { return nil }
    let center = try reader.numbers("center")
    let d = center.count
    let scale = try reader.numbers("scale", d)
    let weights = try reader.numbers("weights")
    let K = weights.count
    if d == 0 || K == 0 || !scale.allSatisfy({ $0 > 0 }) {
      throw StoredValueError("a mixture without clusters, or with a scale that is not positive")
    }
    self.init(
      whitening: Whitening(
        center: center, scale: scale, isConstant: try reader.flags("is_constant", d)),
      mixture: GaussianMixture(
        weights: weights, means: try reader.matrix("means", d, K),
        covariances: try reader.sequence("covariances", rows: d, columns: d, count: K)))
  }
}

extension NeuralPolicy {
  func store(in writer: inout ValueWriter) {
    writer.put("layer_sizes", texts: network.layerSizes)
    writer.put("activation", text: options.activation.rawValue)
    writer.put("initialization", text: options.initialization.rawValue)
    writer.put("deviation_floor", text: shortest(options.deviationFloor))
    // A trained policy has both, and its file says nothing of them.
    if !isWhitened { writer.put("is_whitened", text: "false") }
    if !isScaled { writer.put("is_scaled", text: "false") }
    for layer in 0..<(network.layerSizes.count - 1) {
      writer.putSingle("layers.\(layer).weights", network.weights(ofLayer: layer))
      writer.put("layers.\(layer).biases", network.biases(ofLayer: layer).map { Float($0) })
    }
    writer.put("observation.mean", observationWhitening.mean)
    writer.put("observation.deviation", observationWhitening.deviation)
    writer.put("control.mean", controlScaling.mean)
    writer.put("control.deviation", controlScaling.deviation)
    writer.put("covariance", covariance)
    writer.put("covariance_factor", covarianceFactor)
    writer.put("precision", precision)
  }

  init(stored reader: ValueReader) throws(StoredValueError) {
    let sizes = try reader.layerSizes("layer_sizes")
    var options = NetworkOptions()
    options.hiddenLayers = Array(sizes[1..<sizes.count - 1])
    options.activation = try reader.choice("activation")
    options.initialization = try reader.choice("initialization")
    guard let floor = Double(try reader.text("deviation_floor")), floor.isFinite, floor > 0 else {
      throw StoredValueError("its deviation floor is not usable")
    }
    options.deviationFloor = floor
    var layers: [(weights: Matrix, biases: [Double])] = []
    for layer in 0..<sizes.count - 1 {
      layers.append(
        (
          try reader.matrix("layers.\(layer).weights", sizes[layer + 1], sizes[layer]),
          try reader.numbers("layers.\(layer).biases", sizes[layer + 1])
        ))
    }
    let (o, m) = (sizes[0], sizes[sizes.count - 1])
    do {
      try self.init(
        options: options, layers: layers,
        observationMean: try reader.numbers("observation.mean", o),
        observationDeviation: try reader.numbers("observation.deviation", o),
        controlMean: try reader.numbers("control.mean", m),
        controlDeviation: try reader.numbers("control.deviation", m),
        covariance: try reader.matrix("covariance", m, m),
        covarianceFactor: try reader.matrix("covariance_factor", m, m),
        precision: try reader.matrix("precision", m, m),
        isWhitened: !reader.isFalse("is_whitened"), isScaled: !reader.isFalse("is_scaled"))
    } catch let error as StoredValueError {
      throw error
    } catch {
      throw StoredValueError("\(error)")
    }
  }
}

extension PolicyDistiller.OptimizerState {
  func store(in writer: inout ValueWriter) {
    writer.put("rule", text: optimizer.rawValue)
    writer.put("layer_sizes", texts: layerSizes)
    writer.put("steps", text: steps)
    writer.put("average_gradient", averageGradient)
    writer.put("average_squared_gradient", averageSquaredGradient)
  }

  init(stored reader: ValueReader) throws(StoredValueError) {
    do {
      try self.init(
        optimizer: try reader.choice("rule"), layerSizes: try reader.layerSizes("layer_sizes"),
        steps: try reader.count("steps"),
        averageGradient: try reader.floats("average_gradient"),
        averageSquaredGradient: try reader.floats("average_squared_gradient"))
    } catch let error as StoredValueError {
      throw error
    } catch {
      throw StoredValueError("\(error)")
    }
  }
}
