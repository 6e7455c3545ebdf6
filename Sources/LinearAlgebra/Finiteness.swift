// Whether numbers are finite: asked of every input of a stage, and as a rule they are.

extension Array where Element == Double {
  /// The first entry that is NaN or infinite; nil if there is none.
  package var firstNonFinite: Int? {
    isFinite ? nil : firstIndex { !$0.isFinite }
  }

  /// Whether no entry is NaN or infinite.
  package var isFinite: Bool {
    withUnsafeBufferPointer { numbers in
      // Exponents of ones alone mark infinities and NaNs, and one more makes them overflow. One test for
      // all numbers: a loop without branches uses vectors.
      let exponent = Double.infinity.bitPattern
      var bad: UInt64 = 0
      for number in numbers { bad |= (number.bitPattern & exponent) &+ (1 << 52) }
      return bad >> 63 == 0
    }
  }
}
