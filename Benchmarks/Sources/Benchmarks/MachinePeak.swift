// What one core reaches on the products that occur here, timed through the toolkit's own BLAS in the
// same run: the measure of all shares of the peak. 2 n³ operations a product.

import GuidedPolicySearch

extension BenchmarkRunner {
  /// n of the products that are timed.
  static let peakSize = 64

  /// Flop/s of products of doubles, timed when first asked for; nil if they could not be timed.
  mutating func doublePeak() async -> Double? {
    if let peak = peaks.double { return peak }
    let n = Self.peakSize
    peaks.double = await timeProduct("product_double") { stream in
      let (a, b) = (stream.normals(n * n), stream.normals(n * n))
      var c = [Double](repeating: 0, count: n * n)
      return PreparedWork(
        run: { Kernels.gemm(m: n, n: n, k: n, a, n, b, n, 0, &c, n) }, check: { c[0] })
    }
    return peaks.double
  }

  /// Flop/s of products of single-precision numbers, likewise.
  mutating func singlePeak() async -> Double? {
    if let peak = peaks.single { return peak }
    let n = Self.peakSize
    peaks.single = await timeProduct("product_single") { stream in
      let (a, b) = (stream.normals(n * n).map(Float.init), stream.normals(n * n).map(Float.init))
      var c = [Float](repeating: 0, count: n * n)
      return PreparedWork(
        run: { Kernels.gemm(m: n, n: n, k: n, a, n, b, n, 0, &c, n) }, check: { Double(c[0]) })
    }
    return peaks.single
  }

  private func timeProduct(
    _ name: String, prepare: @escaping (inout RandomStream) -> PreparedWork
  ) async -> Double? {
    let n = Double(Self.peakSize)
    let line = BenchmarkLine(
      nil, name, sizes: [BenchmarkSize("n", Self.peakSize)], flops: 2 * n * n * n)
    let timed = await time(line) {
      var stream = RandomStream(seed: 1)
      return prepare(&stream)
    }
    // The peak is the best that was seen, not the middle.
    return timed.failure == nil ? 2 * n * n * n / timed.minimum : nil
  }
}
