public import LinearAlgebra

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

  /// Brings controls within their bounds, one in each column.
  public func clamp(_ controls: inout Matrix) {
    for t in 0..<controls.columns {
      for i in 0..<controls.rows {
        controls[i, t] = min(max(controls[i, t], lower[i]), upper[i])
      }
    }
  }

  /// No bound on any of m controls.
  package static func none(_ m: Int) -> ControlLimits {
    ControlLimits(
      lower: [Double](repeating: -.infinity, count: m),
      upper: [Double](repeating: .infinity, count: m))
  }

  /// These limits, if there is one pair for each of m controls, each with a number between them: just one
  /// for a control that is fixed.
  ///
  /// - Throws: `InvalidOption`.
  public func validated(controls m: Int) throws(InvalidOption) -> ControlLimits {
    for (key, numbers) in [("limits.lower", lower), ("limits.upper", upper)] {
      try InvalidOption.require(numbers.count == m, key, numbers, "a list of \(m) numbers")
    }
    for i in 0..<m {
      try InvalidOption.require(
        lower[i] <= upper[i] && lower[i] < .infinity && upper[i] > -.infinity,
        "limits.lower[\(i)]", lower[i], "at most limits.upper[\(i)], which is \(upper[i])")
    }
    return self
  }
}

extension RolloutBatch {
  /// The share of all controls of these rollouts that are at one of their bounds, from 0 to 1; those
  /// without a bound count, those that are fixed do not.
  public func saturatedShare(_ limits: ControlLimits) -> Double {
    let free = limits.lower.indices.filter { limits.lower[$0] < limits.upper[$0] }
    var saturated = 0
    var all = 0
    for trajectory in trajectories {
      for t in 0..<trajectory.horizon {
        for i in free {
          let u = trajectory.controls[i, t]
          if u <= limits.lower[i] || u >= limits.upper[i] { saturated += 1 }
        }
      }
      all += trajectory.horizon * free.count
    }
    return all == 0 ? 0 : Double(saturated) / Double(all)
  }
}
