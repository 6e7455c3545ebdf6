/// A dense matrix of doubles, stored column by column.
///
/// A value: copies are independent (and share storage until one is changed). Wrong shapes are
/// programming errors and stop the process with both shapes named; numerics that can fail, such as
/// a factorisation, throw `LinearAlgebraError`.
public struct Matrix: Sendable, Equatable {
  /// Number of rows.
  public let rows: Int
  /// Number of columns.
  public let columns: Int
  /// The entries, column-major: entry (i, j) is `storage[i + rows * j]`.
  public var storage: [Double]

  /// A `rows` × `columns` matrix with every entry equal to `value`.
  public init(rows: Int, columns: Int, repeating value: Double = 0) {
    precondition(rows >= 0 && columns >= 0, "negative shape \(rows) × \(columns)")
    self.rows = rows
    self.columns = columns
    storage = [Double](repeating: value, count: rows * columns)
  }

  /// A matrix from its entries, column by column.
  public init(rows: Int, columns: Int, columnMajor storage: [Double]) {
    precondition(
      storage.count == rows * columns, "\(storage.count) entries for a \(rows) × \(columns) matrix")
    self.rows = rows
    self.columns = columns
    self.storage = storage
  }

  /// A matrix from its rows, as one writes it on paper.
  public init(_ rowsOfEntries: [[Double]]) {
    let width = rowsOfEntries.first?.count ?? 0
    precondition(rowsOfEntries.allSatisfy { $0.count == width }, "rows of different lengths")
    self.init(rows: rowsOfEntries.count, columns: width)
    for (i, row) in rowsOfEntries.enumerated() {
      for (j, value) in row.enumerated() { self[i, j] = value }
    }
  }

  /// A square matrix with `entries` on its diagonal and zeros elsewhere.
  public init(diagonal entries: [Double]) {
    self.init(rows: entries.count, columns: entries.count)
    for (i, value) in entries.enumerated() { self[i, i] = value }
  }

  /// The identity of the given size.
  public static func identity(_ size: Int) -> Matrix {
    Matrix(diagonal: [Double](repeating: 1, count: size))
  }

  /// This matrix, in the storage of another if that holds the same numbers bit by bit: one copy in
  /// memory instead of two.
  public func sharing(_ other: Matrix) -> Matrix {
    guard rows == other.rows, columns == other.columns,
      storage.elementsEqual(other.storage, by: { $0.bitPattern == $1.bitPattern })
    else { return self }
    return other
  }

  /// Entry (i, j).
  public subscript(_ i: Int, _ j: Int) -> Double {
    get { storage[i + rows * j] }
    set { storage[i + rows * j] = newValue }
  }

  /// Column j as an array of `rows` numbers.
  public func column(_ j: Int) -> [Double] { Array(storage[rows * j..<rows * (j + 1)]) }

  /// Replaces column j by `values` (`rows` numbers).
  public mutating func setColumn(_ j: Int, to values: [Double]) {
    precondition(values.count == rows, "\(values.count) numbers for a column of \(rows)")
    storage.replaceSubrange(rows * j..<rows * (j + 1), with: values)
  }

  /// The diagonal entries.
  public var diagonal: [Double] { (0..<min(rows, columns)).map { self[$0, $0] } }

  /// The sum of the diagonal entries.
  public var trace: Double { diagonal.reduce(0, +) }

  /// Whether no entry is NaN or infinite.
  public var isFinite: Bool { storage.isFinite }

  /// The transpose, `columns` × `rows`.
  public var transposed: Matrix {
    var result = Matrix(rows: columns, columns: rows)
    for j in 0..<columns { for i in 0..<rows { result[j, i] = self[i, j] } }
    return result
  }

  /// Half the sum of the matrix and its transpose; the matrix must be square.
  public var symmetrized: Matrix {
    precondition(rows == columns, "a \(rows) × \(columns) matrix has no symmetric part")
    var result = self
    for j in 0..<columns {
      for i in 0..<j {
        let mean = 0.5 * (self[i, j] + self[j, i])
        result[i, j] = mean
        result[j, i] = mean
      }
    }
    return result
  }

  /// The block of the given rows and columns.
  public subscript(_ rowRange: Range<Int>, _ columnRange: Range<Int>) -> Matrix {
    get {
      var block = Matrix(rows: rowRange.count, columns: columnRange.count)
      for (q, j) in columnRange.enumerated() {
        for (p, i) in rowRange.enumerated() { block[p, q] = self[i, j] }
      }
      return block
    }
    set {
      precondition(
        newValue.rows == rowRange.count && newValue.columns == columnRange.count,
        "a \(newValue.rows) × \(newValue.columns) block for \(rowRange.count) × "
          + "\(columnRange.count) entries")
      for (q, j) in columnRange.enumerated() {
        for (p, i) in rowRange.enumerated() { self[i, j] = newValue[p, q] }
      }
    }
  }

  /// The largest magnitude of an entry, 0 for an empty matrix.
  public var largestMagnitude: Double { storage.reduce(0) { max($0, abs($1)) } }
}

extension Matrix {
  /// The matrix product.
  public static func * (a: Matrix, b: Matrix) -> Matrix {
    precondition(
      a.columns == b.rows, "product of \(a.rows) × \(a.columns) and \(b.rows) × \(b.columns)")
    var result = Matrix(rows: a.rows, columns: b.columns)
    a.storage.withUnsafeBufferPointer { a_ in
      b.storage.withUnsafeBufferPointer { b_ in
        result.storage.withUnsafeMutableBufferPointer { c in
          guard let pa = a_.baseAddress, let pb = b_.baseAddress, let pc = c.baseAddress else {
            return
          }
          Kernels.gemm(
            m: a.rows, n: b.columns, k: a.columns, pa, a.rows, pb, b.rows, 0, pc, a.rows)
        }
      }
    }
    return result
  }

  /// The matrix-vector product.
  public static func * (a: Matrix, x: [Double]) -> [Double] {
    precondition(a.columns == x.count, "product of \(a.rows) × \(a.columns) and \(x.count) numbers")
    var result = [Double](repeating: 0, count: a.rows)
    for j in 0..<a.columns { for i in 0..<a.rows { result[i] += a[i, j] * x[j] } }
    return result
  }

  /// The matrix with every entry multiplied by `scale`.
  public static func * (scale: Double, a: Matrix) -> Matrix {
    Matrix(rows: a.rows, columns: a.columns, columnMajor: a.storage.map { scale * $0 })
  }

  /// The entrywise sum.
  public static func + (a: Matrix, b: Matrix) -> Matrix { a.combined(with: b, +) }

  /// The entrywise difference.
  public static func - (a: Matrix, b: Matrix) -> Matrix { a.combined(with: b, -) }

  /// Adds `b` entry by entry.
  public static func += (a: inout Matrix, b: Matrix) { a = a + b }

  private func combined(with other: Matrix, _ operation: (Double, Double) -> Double) -> Matrix {
    precondition(
      rows == other.rows && columns == other.columns,
      "\(rows) × \(columns) and \(other.rows) × \(other.columns) have no entries in common")
    return Matrix(
      rows: rows, columns: columns, columnMajor: zip(storage, other.storage).map(operation))
  }

  /// The outer product x yᵀ.
  public static func outer(_ x: [Double], _ y: [Double]) -> Matrix {
    var result = Matrix(rows: x.count, columns: y.count)
    for j in y.indices { for i in x.indices { result[i, j] = x[i] * y[j] } }
    return result
  }

  /// xᵀ A y.
  public func bilinear(_ x: [Double], _ y: [Double]) -> Double {
    zip(x, self * y).reduce(0) { $0 + $1.0 * $1.1 }
  }
}

extension Matrix: Codable {}
