import CLAPACKE
import Foundation

/// The lower Cholesky factor L of a symmetric positive definite A = L Lᵀ.
///
/// Holding one proves that A is positive definite and finite.
public struct CholeskyFactor: Sendable, Equatable {
  /// L, with zeros above its diagonal.
  public let lower: Matrix

  /// The order of A.
  public var size: Int { lower.rows }

  /// Factorises `matrix`, of which only the lower triangle is read.
  ///
  /// - Parameter matrix: n × n, symmetric.
  /// - Throws: `LinearAlgebraError.notFinite` or `.notPositiveDefinite`.
  public init(_ matrix: Matrix) throws(LinearAlgebraError) {
    precondition(
      matrix.rows == matrix.columns, "\(matrix.rows) × \(matrix.columns) is not a square matrix")
    let n = matrix.rows
    if let entry = matrix.storage.firstNonFinite {
      throw .notFinite(row: entry % n, column: entry / n)
    }
    var factor = matrix
    let minor = factor.storage.withUnsafeMutableBufferPointer { buffer -> Int in
      guard let base = buffer.baseAddress else { return 0 }
      let info = Kernels.choleskyLower(n: n, base, n)
      for j in 0..<n { for i in 0..<j { base[i + n * j] = 0 } }
      return info
    }
    if minor != 0 { throw .notPositiveDefinite(leadingMinor: minor, size: n) }
    lower = factor
  }

  /// A factor of A + jitter · diag |A_ii| with the smallest jitter of a growing series that factors.
  ///
  /// The series starts at `relativeJitter` (0 is tried first) and grows tenfold up to `attempts` times.
  /// What is added is relative to each dimension's own variance: one in nanometres takes no harm from
  /// another in kilometres.
  ///
  /// - Returns: the factor and the jitter, as a share of each diagonal entry.
  /// - Throws: `LinearAlgebraError` if even the largest jitter does not help, as with a diagonal entry
  ///   of 0.
  public static func regularizing(
    _ matrix: Matrix, relativeJitter: Double = 1e-12, attempts: Int = 10
  ) throws(LinearAlgebraError) -> (factor: CholeskyFactor, jitter: Double) {
    let symmetric = matrix.symmetrized
    var jitter = 0.0
    var attempt = 0
    while true {
      do {
        var shifted = symmetric
        for i in 0..<matrix.rows { shifted[i, i] += jitter * abs(symmetric[i, i]) }
        return (try CholeskyFactor(shifted), jitter)
      } catch {
        guard case .notPositiveDefinite = error, attempt < attempts else { throw error }
        jitter = attempt == 0 ? relativeJitter : jitter * 10
        attempt += 1
      }
    }
  }

  /// log |A|.
  public var logDeterminant: Double { 2 * lower.diagonal.reduce(0) { $0 + log($1) } }

  /// The factorised matrix A.
  public var matrix: Matrix { lower * lower.transposed }

  /// A⁻¹ B, for B of n rows.
  public func solve(_ b: Matrix) -> Matrix { solveTransposedLower(solveLower(b)) }

  /// A⁻¹ b.
  public func solve(_ b: [Double]) -> [Double] {
    solve(Matrix(rows: b.count, columns: 1, columnMajor: b)).storage
  }

  /// L⁻¹ B, for B of n rows.
  public func solveLower(_ b: Matrix) -> Matrix { triangularSolve(b, transpose: false) }

  /// L⁻ᵀ B, for B of n rows.
  public func solveTransposedLower(_ b: Matrix) -> Matrix { triangularSolve(b, transpose: true) }

  /// A⁻¹, symmetric: for precision matrices, where the inverse itself is what is wanted.
  public var inverse: Matrix { solve(.identity(size)).symmetrized }

  private func triangularSolve(_ b: Matrix, transpose: Bool) -> Matrix {
    precondition(b.rows == size, "\(b.rows) rows for a factor of order \(size)")
    var x = b
    lower.storage.withUnsafeBufferPointer { l in
      x.storage.withUnsafeMutableBufferPointer { out in
        guard let pl = l.baseAddress, let px = out.baseAddress else { return }
        Kernels.solveLower(transpose: transpose, n: size, r: b.columns, pl, size, px, size)
      }
    }
    return x
  }
}

extension Matrix {
  /// Eigenvalues (ascending) and orthonormal eigenvectors (columns) of a symmetric matrix.
  ///
  /// - Throws: `LinearAlgebraError.notFinite`, or `.notConverged`.
  public func symmetricEigen() throws(LinearAlgebraError) -> (values: [Double], vectors: Matrix) {
    precondition(rows == columns, "\(rows) × \(columns) is not a square matrix")
    if let entry = storage.firstNonFinite {
      throw .notFinite(row: entry % rows, column: entry / rows)
    }
    var vectors = self
    var values = [Double](repeating: 0, count: rows)
    if rows == 0 { return (values, vectors) }
    let info = vectors.storage.withUnsafeMutableBufferPointer { a in
      values.withUnsafeMutableBufferPointer { w in
        LAPACKE_dsyevd(
          LAPACK_COL_MAJOR, CChar(UInt8(ascii: "V")), CChar(UInt8(ascii: "L")), Int32(rows),
          a.baseAddress, Int32(rows), w.baseAddress)
      }
    }
    if info != 0 { throw .notConverged(routine: "the symmetric eigenvalue problem") }
    return (values, vectors)
  }
}
