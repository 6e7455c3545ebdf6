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
  for (samples, columns) in samples {
    for s in 0..<columns { for i in 0..<rows { mean[i] += samples[i, s] / count } }
  }
  for (samples, columns) in samples {
    for s in 0..<columns {
      for i in 0..<rows {
        let gap = samples[i, s] - mean[i]
        variance[i] += gap * gap / count
      }
    }
  }
  return (mean, variance)
}
