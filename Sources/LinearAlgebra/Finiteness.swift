// Whether numbers are finite: asked of every input of a stage and of every step of a rollout, and as a rule
// they are.

extension Span where Element == Double {
  /// Whether no entry is NaN or infinite.
  @inlinable package var isFinite: Bool {
    // Exponents of ones alone mark infinities and NaNs, and one more makes them overflow. One test for
    // all numbers: a loop without branches uses vectors.
    let exponent = Double.infinity.bitPattern
    var bad: UInt64 = 0
    for i in 0..<count { bad |= (self[i].bitPattern & exponent) &+ (1 << 52) }
    return bad >> 63 == 0
  }
}

extension Array where Element == Double {
  /// The first entry that is NaN or infinite; nil if there is none.
  package var firstNonFinite: Int? {
    isFinite ? nil : firstIndex { !$0.isFinite }
  }

  /// Whether no entry is NaN or infinite.
  package var isFinite: Bool { span.isFinite }
}
