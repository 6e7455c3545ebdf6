/// The sum of the squares of `count` numbers, in eight interleaved partial sums.
@inline(__always)
func sumOfSquares(_ p: UnsafePointer<Double>, _ count: Int) -> Double {
  let raw = UnsafeRawPointer(p)
  var partial = SIMD8<Double>.zero
  var i = 0
  while i + 8 <= count {
    let v = raw.loadUnaligned(fromByteOffset: i * 8, as: SIMD8<Double>.self)
    partial += v * v
    i += 8
  }
  var sum = partial.sum()
  while i < count {
    sum += p[i] * p[i]
    i += 1
  }
  return sum
}
