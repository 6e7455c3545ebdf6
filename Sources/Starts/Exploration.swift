package import Configuration
import GPSCore
import Sim

extension InitialController {
  /// How loud an initial controller explores: by shares of what each control can do, or by variances.
  public struct Exploration: Sendable, Equatable {
    /// Standard deviation of the noise: one number, or one per control, as a share of half of the
    /// control's range; of a control without limits, in its own unit.
    public var deviation: [Double]
    /// Variance of the noise in place of `deviation`, in the controls' own units squared: one number, or one
    /// per control.
    public var variance: [Double]?

    /// Noise by shares, or by variances if these are given.
    public init(deviation: [Double], variance: [Double]? = nil) {
      self.deviation = deviation
      self.variance = variance
    }
  }
}

extension InitialController.Exploration: Configurable {
  package static let schema = Schema<Self>(Self(deviation: [0.1])) {
    Field(
      "deviation", \.deviation, .numberOrNumbers, .each(.above(0)),
      "Standard deviation of the noise, as a share of half of the control's range, or, of a control "
        + "without limits, in its own unit; one per control, or one for all.")
    Field(
      "variance", \.variance, .numberOrNumbersOrNull, .eachOrNull(.above(0)),
      "Variance of the noise in place of deviation, in the controls' own units squared; one per control, "
        + "or one for all.")
  }

  /// The variance of each control of a start.
  ///
  /// - Parameters:
  ///   - start: whose controls they are.
  ///   - kind: whose options they are, for errors.
  ///   - scales: what deviations are shares of, m numbers; nil for half of the ranges.
  /// - Returns: m numbers.
  /// - Throws: `SimError` when a list has the wrong length.
  func variances(
    _ start: Start, _ kind: String, scales: [Double]? = nil
  ) throws(SimError) -> [Double] {
    let m = start.dimensions.control
    if let variance { return try each(variance, m, "\(kind).variance") }
    let shares = try each(deviation, m, "\(kind).deviation")
    return (0..<m).map { i in
      let deviation = shares[i] * (scales?[i] ?? start.scale(of: i))
      return deviation * deviation
    }
  }
}

extension Start {
  /// Half of a control's range; 1 where it is not bounded on both sides.
  func scale(of control: Int) -> Double { limits?.halfRange(of: control) ?? 1 }
}
