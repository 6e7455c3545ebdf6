public import GPSCore
import LinearAlgebra
import Statistics
import Configuration

extension PolicyPrior: Storable {
  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    for (index, matrix) in states.enumerated() { writer.put("states.\(index)", matrix) }
    for (index, matrix) in observations.enumerated() {
      writer.put("observations.\(index)", matrix)
    }
    if let mixture { writer.within("mixture") { mixture.store(in: &$0) } }
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
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

extension ValueWriter {
  /// Writes what a policy learns from.
  package mutating func put(_ name: String, _ parts: [DistillationSet.Part]) {
    put(name, text: parts.count)
    for (index, part) in parts.enumerated() {
      put("observations.\(index)", part.observations)
      put("targets.\(index)", part.targets)
    }
  }
}

extension ValueReader {
  /// What a policy learns from, checked.
  ///
  /// - Parameters:
  ///   - name: of the number of parts.
  ///   - controls: m of each.
  ///   - steps: that each has at most.
  /// - Returns: the parts.
  /// - Throws: when one is missing or of another shape.
  package func parts(
    _ name: String, controls: Int, steps: Int
  ) throws(StoredValueError) -> [DistillationSet.Part] {
    var parts: [DistillationSet.Part] = []
    for index in 0..<(try count(name, of: name)) {
      let targets = try matrix("targets.\(index)", controls, nil)
      let observations = try matrix(
        "observations.\(index)", parts.first?.observations.rows, nil)
      if observations.columns < targets.columns || targets.columns > steps {
        throw StoredValueError(
          "a rollout has \(observations.columns) observations and \(targets.columns) targets, "
            + "of \(steps) steps")
      }
      parts.append(DistillationSet.Part(observations: observations, targets: targets))
    }
    return parts
  }
}

extension NeuralPolicy: Storable {
  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
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

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
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

extension NeuralPolicy: PortablePolicy {
  /// A network between whitened observations and scaled controls, and noise.
  package var kind: String { "network" }

  /// What policy files hold.
  package func writeForEvaluation(in writer: inout ValueWriter) { store(in: &writer) }
}

extension PolicyDistiller.OptimizerState: Storable {
  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    writer.put("rule", text: optimizer.rawValue)
    writer.put("layer_sizes", texts: layerSizes)
    writer.put("steps", text: steps)
    writer.put("average_gradient", averageGradient)
    writer.put("average_squared_gradient", averageSquaredGradient)
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
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
