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

  /// Control i, brought within its bounds.
  @inlinable public func clamped(_ u: Double, _ i: Int) -> Double {
    min(max(u, lower[i]), upper[i])
  }

  /// Brings a control within its bounds.
  @inlinable public func clamp(_ control: inout MutableSpan<Double>) {
    for i in 0..<control.count { control[i] = clamped(control[i], i) }
  }

  /// Brings controls within their bounds, one in each column.
  public func clamp(_ controls: inout Matrix) {
    for t in 0..<controls.columns {
      for i in 0..<controls.rows { controls[i, t] = clamped(controls[i, t], i) }
    }
  }

  /// Half of what control i can range over; nil where it is not bounded on both sides, or fixed.
  package func halfRange(of i: Int) -> Double? {
    let half = (upper[i] - lower[i]) / 2
    return half > 0 && half.isFinite ? half : nil
  }

  /// Limits that leave room on both sides: as much as is asked for, but a fifth of half of a range at most, and never
  /// so much that a control is left out that lies within.
  ///
  /// - Parameters:
  ///   - room: m numbers, in the controls' units.
  ///   - control: m numbers.
  /// - Returns: limits within these.
  package func tightened(by room: [Double], about control: [Double]) -> ControlLimits {
    var tight = self
    for i in control.indices {
      guard let half = halfRange(of: i) else { continue }
      let (u, room) = (clamped(control[i], i), min(room[i], 0.2 * half))
      tight.lower[i] = min(u, lower[i] + room)
      tight.upper[i] = max(u, upper[i] - room)
    }
    return tight
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
  /// The share of all controls of these rollouts, up to their ends, that are at one of their bounds, from 0 to 1; those
  /// without a bound count, those that are fixed do not.
  public func saturatedShare(_ limits: ControlLimits) -> Double {
    let counts = saturatedSteps(limits).compactMap { $0 }
    let all = steps * counts.count
    return all == 0 ? 0 : Double(counts.reduce(0, +)) / Double(all)
  }

  /// At how many steps of these rollouts each control is at one of its bounds; nil for one that is fixed.
  package func saturatedSteps(_ limits: ControlLimits) -> [Int?] {
    limits.lower.indices.map { i in
      let (lower, upper) = (limits.lower[i], limits.upper[i])
      if lower >= upper { return nil }
      return trajectories.reduce(0) { sum, trajectory in
        sum
          + (0..<trajectory.stepsToEnd).count {
            trajectory.controls[i, $0] <= lower || trajectory.controls[i, $0] >= upper
          }
      }
    }
  }

  /// Steps of all rollouts together, each up to its end.
  package var steps: Int { trajectories.reduce(0) { $0 + $1.stepsToEnd } }
}
