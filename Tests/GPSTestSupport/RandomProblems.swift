public import GPSCore
public import LinearAlgebra
public import Statistics

/// Random matrices and linear-quadratic problems for tests, drawn from a stream.
public enum RandomProblem {
  /// Standard-normal entries times `scale`.
  public static func matrix(
    _ rows: Int, _ columns: Int, scale: Double = 1, _ stream: inout RandomStream
  ) -> Matrix {
    Matrix(
      rows: rows, columns: columns, columnMajor: stream.normals(rows * columns).map { scale * $0 })
  }

  /// A symmetric positive definite matrix with eigenvalues above `floor`.
  public static func positiveDefinite(
    _ size: Int, floor: Double = 0.3, _ stream: inout RandomStream
  ) -> Matrix {
    let a = matrix(size, size, scale: 1 / Double(size).squareRoot(), &stream)
    return (a * a.transposed + floor * .identity(size)).symmetrized
  }

  /// Mildly unstable random dynamics.
  public static func dynamics(
    state n: Int, control m: Int, horizon T: Int, _ stream: inout RandomStream
  ) -> LinearGaussianDynamics {
    var F = MatrixSequence(rows: n, columns: n + m, count: T)
    var S = MatrixSequence(rows: n, columns: n, count: T)
    for t in 0..<T {
      var Ft = matrix(n, n + m, scale: 0.3, &stream)
      for i in 0..<n { Ft[i, i] += 0.9 }
      F[t] = Ft
      S[t] = 0.01 * positiveDefinite(n, &stream)
    }
    return LinearGaussianDynamics(
      transitions: F, offsets: matrix(n, T, scale: 0.1, &stream), covariances: S,
      initialMean: stream.normals(n), initialCovariance: 0.05 * positiveDefinite(n, &stream))
  }

  /// A convex quadratic cost.
  public static func cost(
    state n: Int, control m: Int, horizon T: Int, _ stream: inout RandomStream
  ) -> QuadraticCost {
    var cost = QuadraticCost(state: n, control: m, horizon: T)
    for t in 0...T {
      cost.hessians[t] = positiveDefinite(n + m, &stream)
      cost.gradients.setColumn(t, to: stream.normals(n + m))
      cost.constants[t] = stream.normal()
    }
    return cost
  }

  /// A controller with random gains.
  public static func controller(
    state n: Int, control m: Int, horizon T: Int, _ stream: inout RandomStream
  ) throws -> LinearGaussianController {
    var K = MatrixSequence(rows: m, columns: n, count: T)
    var C = MatrixSequence(rows: m, columns: m, count: T)
    for t in 0..<T {
      K[t] = matrix(m, n, scale: 0.1, &stream)
      C[t] = positiveDefinite(m, &stream)
    }
    return try LinearGaussianController(
      gains: K, offsets: matrix(m, T, scale: 0.3, &stream), covariances: C)
  }
}

/// Whether two matrices are the same memory: one was not copied from the other.
public func sharesStorage(_ a: Matrix, _ b: Matrix) -> Bool {
  a.storage.withUnsafeBufferPointer { a in
    b.storage.withUnsafeBufferPointer { b in a.baseAddress == b.baseAddress && a.count == b.count }
  }
}
