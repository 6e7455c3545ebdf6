import Foundation
import LinearAlgebra
import Statistics

@testable import GlobalPolicy

/// The network again, in double precision and as slowly as the formulas read: what the kernels are
/// compared with.
struct ReferenceNetwork {
  var weights: [Matrix]
  var biases: [[Double]]
  let activation: NetworkOptions.Activation

  init(_ network: NeuralNetwork) {
    let layers = network.layerSizes.count - 1
    weights = (0..<layers).map { network.weights(ofLayer: $0) }
    biases = (0..<layers).map { network.biases(ofLayer: $0) }
    activation = network.activation
  }

  static func value(_ activation: NetworkOptions.Activation, _ z: Double) -> Double {
    switch activation {
    case .relu: max(z, 0)
    case .tanh: tanh(z)
    case .softplus: max(z, 0) + log1p(exp(-abs(z)))
    case .silu: z / (1 + exp(-z))
    }
  }

  func output(_ input: [Double]) -> [Double] {
    var a = input
    for l in weights.indices {
      a = zip(weights[l] * a, biases[l]).map { $0 + $1 }
      if l < weights.count - 1 { a = a.map { Self.value(activation, $0) } }
    }
    return a
  }

  /// Mean of ½ eᵀ P e over the samples.
  func loss(inputs: Matrix, targets: Matrix, precisions: MatrixSequence, indices: [Int]) -> Double {
    var sum = 0.0
    for s in 0..<inputs.columns {
      let e = zip(output(inputs.column(s)), targets.column(s)).map { $0 - $1 }
      sum += 0.5 * precisions[indices[s]].bilinear(e, e)
    }
    return sum / Double(inputs.columns)
  }
}

/// A random positive definite matrix.
func randomPrecision(_ m: Int, _ stream: inout RandomStream, scale: Double = 1) -> Matrix {
  let half = Matrix(rows: m, columns: m, columnMajor: stream.normals(m * m))
  return scale * (half * half.transposed + Matrix.identity(m))
}

func randomMatrix(_ rows: Int, _ columns: Int, _ stream: inout RandomStream) -> Matrix {
  Matrix(rows: rows, columns: columns, columnMajor: stream.normals(rows * columns))
}

/// A set whose targets are a function of the observation.
func makeSet(
  observation: Int, control: Int, count: Int, groups: Int = 10, seed: UInt64 = 5,
  target: ([Double]) -> [Double]
) throws -> DistillationSet {
  var stream = RandomStream(seed: seed)
  let observations = randomMatrix(observation, count, &stream)
  var targets = Matrix(rows: control, columns: count)
  for s in 0..<count { targets.setColumn(s, to: target(observations.column(s))) }
  var precisions = MatrixSequence(rows: control, columns: control, count: groups)
  for g in 0..<groups { precisions[g] = randomPrecision(control, &stream) }
  return try DistillationSet(
    observations: observations, targets: targets, precisions: precisions,
    precisionIndices: (0..<count).map { $0 % groups })
}

func network(_ hidden: [Int], _ activation: NetworkOptions.Activation = .relu) -> NetworkOptions {
  var options = NetworkOptions()
  options.hiddenLayers = hidden
  options.activation = activation
  return options
}
