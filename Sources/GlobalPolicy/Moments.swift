import LinearAlgebra

/// Mean and variance of each row over the first columns of some matrices of one height; nil of none.
func moments(
  _ samples: [(Matrix, count: Int)]
) -> (mean: [Double], variance: [Double])? {
  let total = samples.reduce(0) { $0 + $1.count }
  guard total > 0 else { return nil }
  let count = Double(total)
  let rows = samples[0].0.rows
  var mean = [Double](repeating: 0, count: rows)
  var variance = mean
  forEach(of: samples) { i, number in mean[i] += number / count }
  forEach(of: samples) { i, number in
    let gap = number - mean[i]
    variance[i] += gap * gap / count
  }
  return (mean, variance)
}

/// The largest magnitude in each row of the same.
func largestMagnitudes(_ samples: [(Matrix, count: Int)]) -> [Double] {
  var largest = [Double](repeating: 0, count: samples.first?.0.rows ?? 0)
  forEach(of: samples) { i, number in largest[i] = max(largest[i], abs(number)) }
  return largest
}

/// Every number with its row, column after column, as they lie in memory.
@inline(__always)
private func forEach(
  of samples: [(Matrix, count: Int)], _ body: (_ row: Int, _ number: Double) -> Void
) {
  for (samples, columns) in samples {
    let rows = samples.rows
    samples.storage.withUnsafeBufferPointer { numbers in
      for s in 0..<columns { for i in 0..<rows { body(i, numbers[i + rows * s]) } }
    }
  }
}
