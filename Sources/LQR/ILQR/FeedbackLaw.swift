import LinearAlgebra

/// u = ū + α k_t + K_t (x − x̄) about an iterate (x̄, ū).
struct FeedbackLaw: Sendable {
  /// K: T matrices m × n.
  var gains: MatrixSequence
  /// k: m × T.
  var steps: Matrix

  init(state n: Int, control m: Int, horizon T: Int) {
    gains = MatrixSequence(rows: m, columns: n, count: T)
    steps = Matrix(rows: m, columns: T)
  }
}
