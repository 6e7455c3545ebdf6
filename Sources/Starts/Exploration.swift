import Configuration
import GPSCore
import Sim

/// How loud an initial controller explores: by shares of what each control can do, or by variances.
struct Exploration {
  var deviation: [Double]
  var variance: [Double]?

  /// The variance of each control of a start; `kind` says whose options they are, for errors.
  func variances(_ start: Start, _ kind: String) throws(SimError) -> [Double] {
    let m = start.dimensions.control
    if let variance { return try perControl(variance, m, "\(kind).variance") }
    let shares = try perControl(deviation, m, "\(kind).deviation")
    return (0..<m).map { i in
      let deviation = shares[i] * start.scale(of: i)
      return deviation * deviation
    }
  }

  static let deviationText =
    "Standard deviation of the noise, as a share of half of the control's range, or, of a control "
    + "without limits, in its own unit; one per control, or one for all."
  static let varianceText =
    "Variance of the noise in place of deviation, in the controls' own units squared; one per control, "
    + "or one for all."
}

extension Start {
  /// Half of a control's range; 1 where it is not bounded on both sides.
  func scale(of control: Int) -> Double {
    guard let limits else { return 1 }
    let half = (limits.upper[control] - limits.lower[control]) / 2
    return half > 0 && half.isFinite ? half : 1
  }
}
