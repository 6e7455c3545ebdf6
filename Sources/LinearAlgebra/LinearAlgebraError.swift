/// A computation that numbers, not shapes, made impossible.
public enum LinearAlgebraError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The leading minor of this order (counted from 1) is not positive.
  case notPositiveDefinite(leadingMinor: Int, size: Int)
  /// An entry is NaN or infinite.
  case notFinite(row: Int, column: Int)
  /// A square matrix has no inverse: this pivot (counted from 1) of its LU factors is 0.
  case singular(pivot: Int, size: Int)
  /// An eigenvalue or singular value iteration did not converge.
  case notConverged(routine: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .notPositiveDefinite(let minor, let size):
      "the \(size) × \(size) matrix is not positive definite (leading minor of order \(minor))"
    case .notFinite(let row, let column):
      "entry (\(row), \(column)) of the matrix is not finite"
    case .singular(let pivot, let size):
      "the \(size) × \(size) matrix is singular (pivot \(pivot) is 0)"
    case .notConverged(let routine):
      "\(routine) did not converge"
    }
  }
}
