import CLAPACKE

extension Matrix {
  /// X with A X = B, by LU factors with partial pivoting.
  ///
  /// - Parameter b: as many rows as this square matrix.
  /// - Returns: X, of the shape of B.
  /// - Throws: `LinearAlgebraError.notFinite` of A or B, or `.singular`.
  public func solve(_ b: Matrix) throws(LinearAlgebraError) -> Matrix {
    precondition(
      rows == columns && b.rows == rows, "\(b.rows) rows for a matrix of \(rows) × \(columns)")
    try requireFinite()
    try b.requireFinite()
    if rows == 0 || b.columns == 0 { return b }
    var (factors, x) = (self, b)
    var pivots = [Int32](repeating: 0, count: rows)
    let info = factors.storage.withUnsafeMutableBufferPointer { a in
      x.storage.withUnsafeMutableBufferPointer { x in
        pivots.withUnsafeMutableBufferPointer { p in
          LAPACKE_dgesv(
            LAPACK_COL_MAJOR, Int32(rows), Int32(b.columns), a.baseAddress, Int32(rows),
            p.baseAddress, x.baseAddress, Int32(rows))
        }
      }
    }
    if info != 0 { throw .singular(pivot: Int(info), size: rows) }
    return x
  }

  /// The shortest x that brings A x nearest to b, by singular values.
  ///
  /// - Parameters:
  ///   - b: as many numbers as A has rows.
  ///   - tolerance: singular values below this share of the largest count as 0.
  /// - Returns: x, as many numbers as A has columns.
  /// - Throws: `LinearAlgebraError.notFinite`, or `.notConverged`.
  public func leastSquares(
    _ b: [Double], tolerance: Double = 1e-10
  ) throws(LinearAlgebraError) -> [Double] {
    precondition(b.count == rows, "\(b.count) numbers for a matrix of \(rows) × \(columns)")
    try requireFinite()
    try Matrix(rows: rows, columns: 1, columnMajor: b).requireFinite()
    if rows == 0 || columns == 0 { return [Double](repeating: 0, count: columns) }
    var a = self
    let long = max(rows, columns)
    var x = b + [Double](repeating: 0, count: long - rows)
    var values = [Double](repeating: 0, count: min(rows, columns))
    var rank: Int32 = 0
    let info = a.storage.withUnsafeMutableBufferPointer { a in
      x.withUnsafeMutableBufferPointer { x in
        values.withUnsafeMutableBufferPointer { s in
          LAPACKE_dgelsd(
            LAPACK_COL_MAJOR, Int32(rows), Int32(columns), 1, a.baseAddress, Int32(rows),
            x.baseAddress, Int32(long), s.baseAddress, tolerance, &rank)
        }
      }
    }
    if info != 0 { throw .notConverged(routine: "the singular value decomposition") }
    return Array(x[..<columns])
  }

  /// Eigenvalues of a square matrix, and its left eigenvectors: wᴴ A = λ wᴴ, ‖w‖ = 1.
  ///
  /// - Returns: for each eigenvalue its real and imaginary parts and those of w.
  /// - Throws: `LinearAlgebraError.notFinite`, or `.notConverged`.
  package func leftEigen() throws(LinearAlgebraError) -> [(
    value: (re: Double, im: Double), vector: (re: [Double], im: [Double])
  )] {
    precondition(rows == columns, "\(rows) × \(columns) is not a square matrix")
    try requireFinite()
    if rows == 0 { return [] }
    let n = rows
    var a = self
    var (re, im) = ([Double](repeating: 0, count: n), [Double](repeating: 0, count: n))
    var vectors = Matrix(rows: n, columns: n)
    let info = a.storage.withUnsafeMutableBufferPointer { a in
      vectors.storage.withUnsafeMutableBufferPointer { v in
        re.withUnsafeMutableBufferPointer { re in
          im.withUnsafeMutableBufferPointer { im in
            LAPACKE_dgeev(
              LAPACK_COL_MAJOR, CChar(UInt8(ascii: "V")), CChar(UInt8(ascii: "N")), Int32(n),
              a.baseAddress, Int32(n), re.baseAddress, im.baseAddress, v.baseAddress, Int32(n), nil,
              1)
          }
        }
      }
    }
    if info != 0 { throw .notConverged(routine: "the eigenvalue problem") }
    // A complex pair shares two columns: its real and its imaginary part.
    return (0..<n).map { j in
      let zeros = [Double](repeating: 0, count: n)
      if im[j] == 0 { return ((re[j], 0), (vectors.column(j), zeros)) }
      let first = im[j] > 0 ? j : j - 1
      let sign = im[j] > 0 ? 1.0 : -1.0
      return (
        (re[j], im[j]), (vectors.column(first), vectors.column(first + 1).map { sign * $0 })
      )
    }
  }

  private func requireFinite() throws(LinearAlgebraError) {
    if let entry = storage.firstNonFinite {
      throw .notFinite(row: entry % rows, column: entry / rows)
    }
  }
}
