import Configuration
import Foundation
import GPSCore

/// The frame at a point is turned as its target, up to an angle.
struct OrientationWithin: StepCriterion {
  var point: Reference = ""
  var target = OrientationTarget.orientation(.identity)
  var below = 0.0
  var at = SuccessCriterion.Moment.final

  static let schema = Schema<OrientationWithin>(
    "orientationWithin", "The frame at a point is turned as its target.", OrientationWithin()
  ) {
    Field("point", \.point, "Name of a point with axes.").required
    Field("target", \.target, "How it should be turned.").required
    Field("below", \.below, .above(0), "The angle that is near enough [rad].").required
    Field("at", \.at, "When.")
  }

  /// The angle that is left before the threshold [rad].
  func margin(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Double {
    let (other, numbers) = target.axes(in: condition)
    let axes = FrameAxes(frame: index(point), axes: [0, 1, 2], relativeTo: other)
    return below - axes.angle(points, numbers, share: 0.5)
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> OrientationWithin {
    try checkSettings(key)
    return OrientationWithin(
      point: try scope.frame(point, "\(key).point"),
      target: try target.resolved(in: scope, key: "\(key).target"), below: below,
      at: try at.resolved(in: scope, key: "\(key).at"))
  }
}

/// An axis of the frame at a point has a direction, up to an angle.
struct AxisWithin: StepCriterion {
  var point: Reference = ""
  var axis = FrameAxis.z
  var target = DirectionTarget.direction([0, 0, 1])
  var below = 0.0
  var at = SuccessCriterion.Moment.final

  static let schema = Schema<AxisWithin>(
    "axisWithin", "An axis of the frame at a point has a direction.", AxisWithin()
  ) {
    Field("point", \.point, "Name of a point with axes.").required
    Field("axis", \.axis, "Which of its axes.")
    Field("target", \.target, "Where it should point, in world axes.").required
    Field("below", \.below, .above(0), "The angle that is near enough [rad].").required
    Field("at", \.at, "When.")
  }

  /// The angle that is left before the threshold [rad].
  func margin(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Double {
    let axes = FrameAxes(frame: index(point), axes: [axis.index], relativeTo: nil)
    return below - axes.angle(points, target.numbers(in: condition), share: 1)
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> AxisWithin {
    try checkSettings(key)
    return AxisWithin(
      point: try scope.frame(point, "\(key).point"), axis: axis,
      target: try target.resolved(in: scope, key: "\(key).target"), below: below,
      at: try at.resolved(in: scope, key: "\(key).at"))
  }
}

extension FrameAxes {
  /// α of share · Σ |a − a*|² = 4 sin²(α/2): the angle to the target axes [rad].
  fileprivate func angle(
    _ points: Span<Double>, _ target: [Double], share: Double
  ) -> Double {
    var sum = 0.0
    for (i, axis) in axes.enumerated() {
      for k in 0..<3 {
        let difference = value(axis, k, points) - target[3 * i + k]
        sum += difference * difference
      }
    }
    return 2 * asin(min(1, 0.5 * (share * sum).squareRoot()))
  }
}
