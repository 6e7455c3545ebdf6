// A multilayer perceptron in single precision, all parameters in one buffer.
//
//   a_0 = input;   z_l = W_l a_{l−1} + b_l;   a_l = σ(z_l), l < L;   output = z_L
//
// In memory each layer holds Wᵀ (one row per input, padded to I × O') and then b (O'), where O' is O
// rounded up to a multiple of 16; the padding is zero and stays zero.

import CNeuralKernels
public import LinearAlgebra
public import Statistics

/// A multilayer perceptron: a linear output layer on hidden layers of one activation function.
public struct NeuralNetwork: Sendable, Equatable {
  /// Numbers in the input, in each hidden layer and in the output.
  public let layerSizes: [Int]
  /// The hidden units' function.
  public let activation: NetworkOptions.Activation
  /// All parameters in the kernels' layout (see the head of this file).
  var parameters: AlignedFloats
  /// Where each layer's parameters are.
  let layers: [Layer]

  /// Sizes of one layer and the offsets of its parameters.
  struct Layer: Sendable, Equatable {
    let inputs: Int
    let outputs: Int
    let inputsPadded: Int
    let outputsPadded: Int
    /// Offset of the weights: inputs × outputsPadded.
    let weights: Int
    /// Offset of the biases: outputsPadded.
    let biases: Int
    /// The kernels' name of the activation.
    let activation: Int32
  }

  /// Numbers in the input.
  public var inputs: Int { layers[0].inputs }
  /// Numbers in the output.
  public var outputs: Int { layers[layers.count - 1].outputs }
  /// Weights and biases, padding aside.
  public var parameterCount: Int { layers.reduce(0) { $0 + ($1.inputs + 1) * $1.outputs } }

  /// A network of zeros.
  init(layerSizes: [Int], activation: NetworkOptions.Activation) {
    precondition(
      layerSizes.count >= 2 && layerSizes.allSatisfy { $0 > 0 },
      "no network has layers of \(layerSizes) units")
    let hidden: nk_activation =
      switch activation {
      case .relu: NK_RELU
      case .tanh: NK_TANH
      case .softplus: NK_SOFTPLUS
      case .silu: NK_SILU
      }
    var layers: [Layer] = []
    var offset = 0
    for l in 1..<layerSizes.count {
      let (inputs, outputs) = (layerSizes[l - 1], layerSizes[l])
      let row = padded(outputs)
      layers.append(
        Layer(
          inputs: inputs, outputs: outputs, inputsPadded: padded(inputs), outputsPadded: row,
          weights: offset, biases: offset + inputs * row,
          activation: Int32((l == layerSizes.count - 1 ? NK_IDENTITY : hidden).rawValue)))
      offset += (inputs + 1) * row
    }
    self.layerSizes = layerSizes
    self.activation = activation
    self.layers = layers
    parameters = AlignedFloats(zeros: offset)
  }

  /// A network with random weights and zero biases.
  ///
  /// - Parameters:
  ///   - inputs: numbers in the input.
  ///   - outputs: numbers in the output.
  ///   - options: hidden layers, activation and initialization.
  ///   - stream: the source of the weights.
  public init(inputs: Int, outputs: Int, options: NetworkOptions, stream: RandomStream) {
    self.init(
      layerSizes: [inputs] + options.hiddenLayers + [outputs], activation: options.activation)
    var stream = stream
    for layer in layers {
      for i in 0..<layer.inputs {
        for o in 0..<layer.outputs {
          let draw =
            switch options.initialization {
            case .he: stream.normal() * (2 / Double(layer.inputs)).squareRoot()
            case .glorot:
              (2 * stream.uniform() - 1) * (6 / Double(layer.inputs + layer.outputs)).squareRoot()
            }
          parameters[layer.weights + i * layer.outputsPadded + o] = Float(draw)
        }
      }
    }
  }

  /// W of a layer (from 0): outputs × inputs.
  public func weights(ofLayer index: Int) -> Matrix {
    let layer = layers[index]
    var result = Matrix(rows: layer.outputs, columns: layer.inputs)
    for i in 0..<layer.inputs {
      for o in 0..<layer.outputs {
        result[o, i] = Double(parameters[layer.weights + i * layer.outputsPadded + o])
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
  mutating func setLayer(_ index: Int, weights: Matrix, biases: [Double]) {
    let layer = layers[index]
    precondition(
      weights.rows == layer.outputs && weights.columns == layer.inputs
        && biases.count == layer.outputs,
      "\(weights.rows) × \(weights.columns) weights for a layer of "
        + "\(layer.outputs) × \(layer.inputs)")
    for o in 0..<layer.outputs {
      parameters[layer.biases + o] = Float(biases[o])
      for i in 0..<layer.inputs {
        parameters[layer.weights + i * layer.outputsPadded + o] = Float(weights[o, i])
      }
    }
  }

  /// The output for `samples` inputs.
  ///
  /// - Parameters:
  ///   - samples: how many.
  ///   - buffer: samples × padded(inputs) floats, the inputs, at the head of
  ///     samples × rowsWidth floats; each layer's outputs follow the last one's.
  ///   - scratch: NK_SCRATCH floats for larger batches, or nil.
  ///   - variant: the instruction set.
  /// - Returns: where in `buffer` the outputs are: samples × padded(outputs).
  func forward(
    samples: Int, buffer: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>?,
    variant: KernelVariant
  ) -> UnsafeMutablePointer<Float> {
    parameters.withUnsafeBufferPointer { parameters in
      guard let base = parameters.baseAddress else { return buffer }
      var from = buffer
      var to = buffer + samples * layers[0].inputsPadded
      for layer in layers {
        nk_dense_forward(
          variant.rawValue, layer.activation, Int64(samples), Int64(layer.inputs),
          Int64(layer.outputsPadded), from, Int64(layer.inputsPadded), base + layer.weights,
          base + layer.biases, to, nil, scratch)
        from = to
        to += samples * layer.outputsPadded
      }
      return from
    }
  }

  /// The output for one input, soonest: equal to that of `forward` but for rounding.
  ///
  /// - Parameters:
  ///   - buffer: rowsWidth floats, the input at their head; each layer's outputs follow the last one's.
  ///   - variant: the instruction set.
  /// - Returns: where in `buffer` the output is: padded(outputs).
  @inline(__always)
  func forwardRow(
    buffer: UnsafeMutablePointer<Float>, variant: KernelVariant
  ) -> UnsafeMutablePointer<Float> {
    parameters.withUnsafeBufferPointer { parameters in
      guard let base = parameters.baseAddress else { return buffer }
      var from = buffer
      var to = buffer + layers[0].inputsPadded
      for layer in layers {
        nk_dense_forward_row(
          variant.rawValue, layer.activation, Int64(layer.inputs), Int64(layer.outputsPadded), from,
          base + layer.weights, base + layer.biases, to)
        from = to
        to += layer.outputsPadded
      }
      return from
    }
  }

  /// One number per parameter, in the kernels' layout, less its padding: per layer one row of weights
  /// per input, then the biases.
  func withoutPadding(_ values: [Float]) -> [Float] {
    var compact: [Float] = []
    compact.reserveCapacity(parameterCount)
    for layer in layers {
      for row in 0...layer.inputs {
        let start = layer.weights + row * layer.outputsPadded
        compact += values[start..<start + layer.outputs]
      }
    }
    return compact
  }

  /// The inverse of `withoutPadding`.
  func padding(_ compact: [Float]) -> [Float] {
    precondition(
      compact.count == parameterCount,
      "\(compact.count) numbers for a network of \(parameterCount) parameters")
    var values = [Float](repeating: 0, count: parameters.count)
    var next = 0
    for layer in layers {
      for row in 0...layer.inputs {
        for o in 0..<layer.outputs {
          values[layer.weights + row * layer.outputsPadded + o] = compact[next]
          next += 1
        }
      }
    }
    return values
  }

  /// Floats that `forward` needs for one sample.
  var rowsWidth: Int { layers.reduce(layers[0].inputsPadded) { $0 + $1.outputsPadded } }
}

extension NeuralNetwork: Codable {
  private enum CodingKeys: String, CodingKey { case layerSizes, activation, parameters }

  /// Reads sizes, activation and the parameters without padding.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    let sizes = try values.decode([Int].self, forKey: .layerSizes)
    guard sizes.count >= 2, sizes.allSatisfy({ $0 > 0 && $0 <= 1 << 20 }) else {
      throw GlobalPolicyError.corruptNetwork("layers of \(sizes) units")
    }
    self.init(
      layerSizes: sizes,
      activation: try values.decode(NetworkOptions.Activation.self, forKey: .activation))
    let compact = try values.decode([Float].self, forKey: .parameters)
    guard compact.count == parameterCount else {
      throw GlobalPolicyError.corruptNetwork(
        "\(compact.count) parameters where layers of \(sizes) units have \(parameterCount)")
    }
    for (i, value) in padding(compact).enumerated() { parameters[i] = value }
  }

  /// Writes sizes, activation and the parameters without padding: per layer one row of weights per
  /// input, then the biases.
  public func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: CodingKeys.self)
    try values.encode(layerSizes, forKey: .layerSizes)
    try values.encode(activation, forKey: .activation)
    try values.encode(withoutPadding(Array(parameters)), forKey: .parameters)
  }
}
