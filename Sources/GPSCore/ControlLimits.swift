package import Configuration

/// Bounds on every control, in the controls' own units.
public struct ControlLimits: Sendable, Equatable {
  /// m numbers; −∞ for none.
  public var lower: [Double]
  /// m numbers; +∞ for none.
  public var upper: [Double]

  /// Bounds of each control.
  public init(lower: [Double], upper: [Double]) {
    self.lower = lower
    self.upper = upper
  }

  /// |u_i| ≤ `magnitudes[i]`.
  public init(magnitudes: [Double]) {
    self.init(lower: magnitudes.map { -$0 }, upper: magnitudes)
  }

  /// Brings a control within its bounds.
  @inlinable public func clamp(_ control: inout MutableSpan<Double>) {
    for i in 0..<control.count { control[i] = min(max(control[i], lower[i]), upper[i]) }
  }

  /// These limits, if there is one pair for each of m controls and no control is left without room.
  ///
  /// - Throws: `InvalidOption`.
  public func validated(controls m: Int) throws(InvalidOption) -> ControlLimits {
    for (key, numbers) in [("limits.lower", lower), ("limits.upper", upper)] {
      try InvalidOption.require(numbers.count == m, key, numbers, "a list of \(m) numbers")
    }
    for i in 0..<m {
      try InvalidOption.require(
        lower[i] < upper[i], "limits.lower[\(i)]", lower[i], "less than limits.upper[\(i)]")
    }
    return self
  }
}

extension ControlLimits: Configurable {
  package static let schema = Schema<Self>(Self(lower: [], upper: [])) {
    Field("lower", \.lower, "Least value of each control.").required
    Field("upper", \.upper, "Largest value of each control.").required
  }
}
