import LinearAlgebra
import Statistics

@testable import GlobalPolicy

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
