import CNeuralKernels
public import LinearAlgebra
public import Statistics

/// A multilayer perceptron with its parameters: a linear output layer on hidden layers of one activation
/// function.
///
///     a_0 = input;   z_l = W_l a_{l−1} + b_l;   a_l = σ(z_l), l < L;   output = z_L
public struct Perceptron: Sendable, Equatable {
  /// Numbers in the input, in each hidden layer and in the output.
  public let layerSizes: [Int]
  /// The hidden units' function.
  public let activation: Activation
  /// The architecture.
  public let network: Network
  /// All weights and biases.
  public package(set) var parameters: Parameters

  /// Numbers in the input.
  public var inputs: Int { network.inputs }
  /// Numbers in the output.
  public var outputs: Int { network.outputs }
  /// Weights and biases, padding aside.
  public var parameterCount: Int { network.parameterCount }
  /// The dense layers.
  private var layers: [Plan.Step] { network.plan.steps }

  /// A perceptron of zeros.
  ///
  /// - Parameters:
  ///   - layerSizes: numbers in the input, in each hidden layer and in the output.
  ///   - activation: the hidden units' function.
  public init(layerSizes: [Int], activation: Activation) {
    self.layerSizes = layerSizes
    self.activation = activation
    network = Network(layerSizes: layerSizes, activation: activation)
    parameters = network.zeros
  }

  /// A perceptron with random weights and zero biases.
  ///
  /// - Parameters:
  ///   - layerSizes: numbers in the input, in each hidden layer and in the output.
  ///   - activation: the hidden units' function.
  ///   - initialization: how weights are drawn.
  ///   - stream: the source of the weights.
  public init(
    layerSizes: [Int], activation: Activation, initialization: Initialization, stream: RandomStream
  ) {
    self.init(layerSizes: layerSizes, activation: activation)
    parameters = network.initialParameters(initialization, stream: stream)
  }

  /// W of a layer (from 0): outputs × inputs.
  public func weights(ofLayer index: Int) -> Matrix {
    let layer = layers[index]
    var result = Matrix(rows: layer.outputs, columns: layer.inputs)
    for i in 0..<layer.inputs {
      for o in 0..<layer.outputs {
        result[o, i] = Double(parameters[layer.offset + i * layer.outputsPadded + o])
      }
    }
    return result
  }

  /// b of a layer (from 0).
  public func biases(ofLayer index: Int) -> [Double] {
    let layer = layers[index]
    return (0..<layer.outputs).map { Double(parameters[layer.biases + $0]) }
  }

  /// Sets W and b of a layer (from 0).
  public mutating func setLayer(_ index: Int, weights: Matrix, biases: [Double]) {
    let layer = layers[index]
    precondition(
      weights.rows == layer.outputs && weights.columns == layer.inputs
        && biases.count == layer.outputs,
      "\(weights.rows) × \(weights.columns) weights for a layer of "
        + "\(layer.outputs) × \(layer.inputs)")
    for o in 0..<layer.outputs {
      parameters[layer.biases + o] = Float(biases[o])
      for i in 0..<layer.inputs {
        parameters[layer.offset + i * layer.outputsPadded + o] = Float(weights[o, i])
      }
    }
  }

  /// The outputs for many inputs.
  ///
  /// - Parameters:
  ///   - count: S, how many.
  ///   - variant: the instruction set.
  ///   - fill: writes the input of a sample (`inputs` floats) to where it is told.
  ///   - read: receives a sample's output (`outputs` floats).
  package func forEachOutput(
    _ count: Int, variant: KernelVariant,
    fill: (_ sample: Int, _ input: UnsafeMutablePointer<Float>) -> Void,
    read: (_ sample: Int, _ output: UnsafePointer<Float>) -> Void
  ) {
    let capacity = 64
    let pass = Pass(plan: network.plan, capacity: min(capacity, max(1, count)), variant: variant)
    let (o, m) = (network.plan.inputsPadded, network.plan.output.padded)
    parameters.withUnsafeBufferPointer { parameters in
      guard let parameters = parameters.baseAddress else { return }
      flushingSubnormals {
        for start in stride(from: 0, to: count, by: capacity) {
          let samples = min(capacity, count - start)
          for s in 0..<samples { fill(start + s, pass.values[0] + s * o) }
          let output = pass.forward(samples, parameters)
          for s in 0..<samples { read(start + s, output + s * m) }
        }
      }
    }
  }
}

extension Perceptron {
  /// The output for one input, soonest: equal to that of `forEachOutput` but for rounding.
  ///
  /// - Parameters:
  ///   - buffer: the plan's rowsWidth floats, the input at their head.
  ///   - variant: the instruction set.
  /// - Returns: where in `buffer` the output is.
  @inline(__always)
  package func forwardRow(
    buffer: UnsafeMutablePointer<Float>, variant: KernelVariant
  ) -> UnsafeMutablePointer<Float> {
    parameters.withUnsafeBufferPointer { parameters in
      guard let base = parameters.baseAddress else { return buffer }
      return network.plan.forwardRow(buffer: buffer, parameters: base, variant: variant)
    }
  }

  /// Floats of a buffer for `forwardRow`.
  package var rowsWidth: Int { network.plan.rowsWidth }
}

extension Perceptron: Codable {
  private enum CodingKeys: String, CodingKey { case layerSizes, activation, parameters }

  /// Reads sizes, activation and the parameters without padding.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    let sizes = try values.decode([Int].self, forKey: .layerSizes)
    guard sizes.count >= 2, sizes.allSatisfy({ $0 > 0 && $0 <= 1 << 20 }) else {
      throw NetworkError.corrupt("layers of \(sizes) units")
    }
    self.init(
      layerSizes: sizes,
      activation: try values.decode(Activation.self, forKey: .activation))
    let compact = try values.decode([Float].self, forKey: .parameters)
    guard compact.count == parameterCount else {
      throw NetworkError.corrupt(
        "\(compact.count) parameters where layers of \(sizes) units have \(parameterCount)")
    }
    parameters = network.padding(compact)
  }

  /// Writes sizes, activation and the parameters without padding: per layer one row of weights per
  /// input, then the biases.
  public func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: CodingKeys.self)
    try values.encode(layerSizes, forKey: .layerSizes)
    try values.encode(activation, forKey: .activation)
    try values.encode(network.withoutPadding(parameters), forKey: .parameters)
  }
}
