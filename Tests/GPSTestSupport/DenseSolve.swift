public import LinearAlgebra

/// Solves A x = b by Gaussian elimination with partial pivoting: the slow twin of every fast solver.
public func denseSolve(_ matrix: Matrix, _ right: [Double]) -> [Double] {
  var A = matrix
  var b = right
  let n = b.count
  for k in 0..<n {
    let pivot = (k..<n).max { abs(A[$0, k]) < abs(A[$1, k]) } ?? k
    if pivot != k {
      for j in 0..<n { (A[k, j], A[pivot, j]) = (A[pivot, j], A[k, j]) }
      b.swapAt(k, pivot)
    }
    for i in (k + 1)..<max(k + 1, n) {
      let factor = A[i, k] / A[k, k]
      for j in k..<n { A[i, j] -= factor * A[k, j] }
      b[i] -= factor * b[k]
    }
  }
  for i in stride(from: n - 1, through: 0, by: -1) {
    for j in (i + 1)..<max(i + 1, n) { b[i] -= A[i, j] * b[j] }
    b[i] /= A[i, i]
  }
  return b
}
