import Foundation
import LinearAlgebra
import Statistics

@testable import Networks

/// A perceptron again, in double precision and as slowly as the formulas read, without the ops.
struct ReferenceNetwork {
  var weights: [Matrix]
  var biases: [[Double]]
  let activation: Activation

  init(_ network: Perceptron) {
    let layers = network.layerSizes.count - 1
    weights = (0..<layers).map { network.weights(ofLayer: $0) }
    biases = (0..<layers).map { network.biases(ofLayer: $0) }
    activation = network.activation
  }

  static func value(_ activation: Activation, _ z: Double) -> Double {
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

  /// Mean of ½ |f(x) − y|² over the samples.
  func loss(inputs: Matrix, targets: Matrix) -> Double {
    var sum = 0.0
    for s in 0..<inputs.columns {
      for (u, y) in zip(output(inputs.column(s)), targets.column(s)) {
        sum += 0.5 * (u - y) * (u - y)
      }
    }
    return sum / Double(inputs.columns)
  }
}

/// A perceptron whose biases are random too.
func randomPerceptron(
  _ sizes: [Int], _ activation: Activation, _ stream: inout RandomStream
) -> Perceptron {
  var network = Perceptron(
    layerSizes: sizes, activation: activation, initialization: .he,
    stream: stream.child(.custom, sizes.reduce(0, +)))
  for l in 0..<sizes.count - 1 {
    network.setLayer(
      l, weights: network.weights(ofLayer: l), biases: stream.normals(sizes[l + 1]))
  }
  return network
}

func randomMatrix(_ rows: Int, _ columns: Int, _ stream: inout RandomStream) -> Matrix {
  Matrix(rows: rows, columns: columns, columnMajor: stream.normals(rows * columns))
}

/// A random positive definite matrix.
func randomPrecision(_ m: Int, _ stream: inout RandomStream) -> Matrix {
  let half = randomMatrix(m, m, &stream)
  return half * half.transposed + Matrix.identity(m)
}
