/// What a checker found: the entries of derivatives that differ from central differences.
public struct DerivativeReport: Sendable, CustomStringConvertible {
  /// One entry that is off.
  public struct Mismatch: Sendable, Equatable, CustomStringConvertible {
    /// What was checked, e.g. "dynamics Jacobian".
    public var quantity: String
    /// Name of what is differentiated; for a Hessian of dynamics with the first of its two variables.
    public var row: String
    /// Name of what it is differentiated by.
    public var column: String
    /// The entry as given.
    public var given: Double
    /// The entry by central differences, or of the rollout.
    public var expected: Double
    /// |given − expected| over the larger of the two, or over a thousandth of the largest entry of the
    /// same matrix if that is larger still.
    public var relativeError: Double
    /// The time step t of the trajectory.
    public var step: Int
    /// The step of the differences, in the unit of the column; 0 where nothing was differentiated.
    public var difference: Double

    /// Whether both are of one entry, at whatever step.
    func isSameEntry(as other: Mismatch) -> Bool {
      (quantity, row, column) == (other.quantity, other.row, other.column)
    }

    /// One sentence without a final stop.
    public var description: String {
      let by = column.isEmpty ? "" : " by \(column)"
      let h = difference > 0 ? " (differences of \(difference))" : ""
      return "\(quantity): \(row)\(by) at step \(step) is \(given), expected \(expected)\(h), "
        + "relative error \(relativeError)"
    }
  }

  /// The entries that are off, the largest relative error first.
  public internal(set) var mismatches: [Mismatch] = []
  /// How many entries were checked.
  public internal(set) var checkedEntries = 0
  /// The largest relative error of all entries checked.
  public internal(set) var largestRelativeError = 0.0

  /// Forgets the entries that do not satisfy a condition.
  mutating func keep(where isKept: (Mismatch) -> Bool) {
    mismatches.removeAll { !isKept($0) }
  }

  /// Whether nothing is off.
  public var isCorrect: Bool { mismatches.isEmpty }

  /// A verdict, and the five worst entries.
  public var description: String {
    if isCorrect {
      return "all \(checkedEntries) entries agree; largest relative error \(largestRelativeError)"
    }
    let head = "\(mismatches.count) of \(checkedEntries) entries are off"
    return ([head] + mismatches.prefix(5).map { "  \($0)" }).joined(separator: "\n")
  }
}

/// Compares matrices of derivatives, entry by entry, with differences of two step lengths.
struct DerivativeComparison {
  let tolerance: Double
  var report = DerivativeReport()

  init(tolerance: Double) { self.tolerance = tolerance }

  /// Compares one matrix.
  ///
  /// - Parameters:
  ///   - quantity: what it is.
  ///   - given: the entries in question.
  ///   - near: differences over h.
  ///   - far: differences over 2 h; what they differ by from `near` bounds the error of either.
  ///   - step: t.
  ///   - names: row, column and h of each entry.
  mutating func compare(
    _ quantity: String, given: [Double], near: [Double], far: [Double], step: Int,
    names: (Int) -> (row: String, column: String, difference: Double)
  ) {
    let floor = 1e-3 * near.reduce(0) { max($0, $1.magnitude) }
    for i in given.indices {
      // One step of Richardson's extrapolation.
      let expected = (4 * near[i] - far[i]) / 3
      let scale = max(given[i].magnitude, expected.magnitude, floor, 1e-9)
      let error = (given[i] - expected).magnitude / scale
      report.checkedEntries += 1
      if error <= tolerance + (near[i] - far[i]).magnitude / scale {
        report.largestRelativeError = max(report.largestRelativeError, error)
        continue
      }
      // A NaN ends here too.
      let (row, column, difference) = names(i)
      report.largestRelativeError = max(report.largestRelativeError, error)
      report.mismatches.append(
        DerivativeReport.Mismatch(
          quantity: quantity, row: row, column: column, given: given[i], expected: expected,
          relativeError: error, step: step, difference: difference))
    }
  }

  /// The report, worst entries first.
  consuming func finished() -> DerivativeReport {
    report.mismatches.sort { !($0.relativeError <= $1.relativeError) }
    return report
  }

  /// h for a number of this size: about the fifth root of the unit roundoff, which suits the
  /// extrapolation.
  static func difference(at number: Double) -> Double { 2e-4 * max(1, number.magnitude) }
}
