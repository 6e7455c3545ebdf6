/// `count` matrices of one shape in one buffer, usually one per time step.
///
/// Hot loops reach single matrices through `storage` and `stride` without copying; the subscript
/// copies one matrix out or in.
public struct MatrixSequence: Sendable, Equatable, Codable {
  /// Number of rows of each matrix.
  public let rows: Int
  /// Number of columns of each matrix.
  public let columns: Int
  /// Number of matrices.
  public let count: Int
  /// All entries: matrix t, column j, row i is `storage[t * stride + i + rows * j]`.
  public var storage: [Double]

  /// Entries per matrix.
  public var stride: Int { rows * columns }

  /// `count` matrices of zeros.
  public init(rows: Int, columns: Int, count: Int) {
    self.rows = rows
    self.columns = columns
    self.count = count
    storage = [Double](repeating: 0, count: rows * columns * count)
  }

  /// `count` matrices from all their entries, matrix by matrix and column by column.
  public init(rows: Int, columns: Int, count: Int, columnMajor storage: [Double]) {
    precondition(
      storage.count == rows * columns * count,
      "\(storage.count) entries for \(count) matrices of \(rows) × \(columns)")
    self.rows = rows
    self.columns = columns
    self.count = count
    self.storage = storage
  }

  /// `count` copies of one matrix.
  public init(repeating matrix: Matrix, count: Int) {
    self.init(rows: matrix.rows, columns: matrix.columns, count: count)
    for t in 0..<count { self[t] = matrix }
  }

  /// The matrix at position t.
  public subscript(_ t: Int) -> Matrix {
    get {
      Matrix(
        rows: rows, columns: columns, columnMajor: Array(storage[t * stride..<(t + 1) * stride]))
    }
    set {
      precondition(
        newValue.rows == rows && newValue.columns == columns,
        "a \(newValue.rows) × \(newValue.columns) matrix in a sequence of \(rows) × \(columns)")
      storage.replaceSubrange(t * stride..<(t + 1) * stride, with: newValue.storage)
    }
  }

  /// Whether no entry is NaN or infinite.
  public var isFinite: Bool { storage.isFinite }
}
