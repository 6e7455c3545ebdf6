package import Configuration
import GPSCore

/// A norm of the angle between the frame at a point and its target orientation: ramp_t · ρ(s), with
///
///     s = ½ Σ_i |a_i − a*_i|² = 4 sin²(α/2) ≈ α²
///
/// over the three axes a_i of the frame and a*_i of the target, α the angle between them [rad]. Derivatives
/// reach the state through the Jacobians of the axes (Gauss and Newton); s is smooth everywhere, and its
/// pull vanishes at half a turn from the target alone.
///
/// The point must have axes: it is followed by the points `.x`, `.y`, `.z` at the tips of unit vectors
/// along them.
public struct OrientationCost: Sendable, Equatable {
  /// The point, by number or name.
  public var point: Reference
  /// How it should be turned.
  public var target: OrientationTarget
  /// ρ.
  public var norm: Norm
  /// The factor over time.
  public var ramp: Ramp

  /// A cost on the orientation at a point.
  public init(
    point: some Referring, target: OrientationTarget, norm: Norm = Norm(), ramp: Ramp = .constant
  ) {
    self.point = point.reference
    self.target = target
    self.norm = norm
    self.ramp = ramp
  }
}

/// A norm of the angle between one axis of the frame at a point and a direction: ramp_t · ρ(s), with
/// s = |a − d|² = 4 sin²(α/2) ≈ α², α the angle between them [rad].
///
/// Turning about the axis costs nothing. The point must have axes, as for `OrientationCost`.
public struct AxisCost: Sendable, Equatable {
  /// The point, by number or name.
  public var point: Reference
  /// Which of its axes.
  public var axis: FrameAxis
  /// Where the axis should point, in world axes.
  public var target: DirectionTarget
  /// ρ.
  public var norm: Norm
  /// The factor over time.
  public var ramp: Ramp

  /// A cost on the direction of an axis.
  public init(
    point: some Referring, axis: FrameAxis = .z, target: DirectionTarget, norm: Norm = Norm(),
    ramp: Ramp = .constant
  ) {
    self.point = point.reference
    self.axis = axis
    self.target = target
    self.norm = norm
    self.ramp = ramp
  }
}

/// An axis of a frame.
public enum FrameAxis: String, Sendable, CaseIterable {
  /// The first.
  case x
  /// The second.
  case y
  /// The third.
  case z

  /// Where it stands among them.
  var index: Int {
    switch self {
    case .x: 0
    case .y: 1
    case .z: 2
    }
  }
}

extension FrameAxis: Setting {}

/// A cost on axes of a frame: one of points at their tips, seen from their origin.
protocol FrameCost: CostKernel {
  /// The axes, and a cost on these as points.
  func axes(in condition: Condition) -> (FrameAxes, PointCost)
}

extension FrameCost {
  package func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (axes, cost) = axes(in: condition)
    axes.withView(of: trajectory, jacobians: false) {
      cost.addValues(to: values, scale: scale, along: $0, in: condition)
    }
  }

  package func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (axes, cost) = axes(in: condition)
    axes.withView(of: trajectory, jacobians: true) {
      cost.addExpansion(to: expansion, scale: scale, along: $0, in: condition)
    }
  }
}

extension OrientationCost: FrameCost {
  package static let schema = Schema<OrientationCost>(
    "orientation", "The angle between the frame at a point and its target, in radians.",
    OrientationCost(point: "", target: .orientation(.identity))
  ) {
    Field("point", \.point, "Name of a point with axes.").required
    Field("target", \.target, "How it should be turned.").required
    Norm.schema.fields(in: \.norm)
    Field("ramp", \.ramp, "The factor over time.")
  }

  package func resolved(in scope: Scope, key: String) throws(SimError) -> OrientationCost {
    try checkSettings(key)
    var cost = self
    cost.point = try scope.frame(point, "\(key).point")
    cost.target = try target.resolved(in: scope, key: "\(key).target")
    return cost
  }

  func axes(in condition: Condition) -> (FrameAxes, PointCost) {
    let frame = index(point)
    let (other, numbers) = target.axes(in: condition)
    return (
      FrameAxes(frame: frame, axes: [0, 1, 2], relativeTo: other),
      PointCost(
        points: [0, 1, 2], target: .position(numbers), weights: [0.5], norm: norm, ramp: ramp)
    )
  }
}

extension AxisCost: FrameCost {
  package static let schema = Schema<AxisCost>(
    "axis", "The angle between an axis of the frame at a point and a direction, in radians.",
    AxisCost(point: "", target: .direction([0, 0, 1]))
  ) {
    Field("point", \.point, "Name of a point with axes.").required
    Field("axis", \.axis, "Which of its axes.")
    Field("target", \.target, "Where it should point, in world axes.").required
    Norm.schema.fields(in: \.norm)
    Field("ramp", \.ramp, "The factor over time.")
  }

  package func resolved(in scope: Scope, key: String) throws(SimError) -> AxisCost {
    try checkSettings(key)
    var cost = self
    cost.point = try scope.frame(point, "\(key).point")
    cost.target = try target.resolved(in: scope, key: "\(key).target")
    return cost
  }

  func axes(in condition: Condition) -> (FrameAxes, PointCost) {
    (
      FrameAxes(frame: index(point), axes: [axis.index], relativeTo: nil),
      PointCost(
        points: [0], target: .position(target.numbers(in: condition)), norm: norm, ramp: ramp)
    )
  }
}

/// Axes of the frame at a point, less those of another: tips less origins.
struct FrameAxes {
  /// The number of the point; its tips follow.
  var frame: Int
  /// Which axes, from 0.
  var axes: [Int]
  var relativeTo: Int?

  /// For each axis, the points that are added and those that are subtracted.
  private func terms(_ axis: Int) -> [(point: Int, sign: Double)] {
    [(frame + 1 + axis, 1.0), (frame, -1.0)]
      + (relativeTo.map { [($0 + 1 + axis, -1.0), ($0, 1.0)] } ?? [])
  }

  /// Coordinate `coordinate` of each axis in a list of points.
  func value(_ axis: Int, _ coordinate: Int, _ points: Span<Double>) -> Double {
    terms(axis).reduce(0) { $0 + $1.sign * points[3 * $1.point + coordinate] }
  }

  /// The trajectory with the axes in the place of its points.
  func withView(
    of view: TrajectoryView, jacobians: Bool, _ body: (TrajectoryView) -> Void
  ) {
    let rows = 3 * axes.count
    let columns = view.horizon + 1
    func combine(_ source: UnsafeBufferPointer<Double>, _ count: Int) -> [Double] {
      var result = [Double](repeating: 0, count: rows * count)
      for (i, axis) in axes.enumerated() {
        for (point, sign) in terms(axis) {
          for column in 0..<count {
            for k in 0..<3 {
              result[3 * i + k + rows * column] +=
                sign * source[3 * point + k + view.pointRows * column]
            }
          }
        }
      }
      return result
    }
    let points = combine(view.points, columns)
    let slopes = jacobians ? combine(view.jacobians, view.n * columns) : []
    points.withUnsafeBufferPointer { points in
      slopes.withUnsafeBufferPointer { slopes in
        var turned = view
        turned.points = points
        turned.jacobians = slopes
        turned.pointRows = rows
        body(turned)
      }
    }
  }
}

extension Scope {
  /// A point with axes, as a number: the points at the tips of its axes follow it.
  func frame(_ point: Reference, _ key: String) throws(SimError) -> Reference {
    let found = try self.point(point, key)
    let first = index(found)
    let hasAxes =
      first + 3 < dimensions.points
      && (points.isEmpty
        || ["x", "y", "z"].enumerated().allSatisfy {
          points[first + 1 + $0.offset] == "\(points[first]).\($0.element)"
        })
    if !hasAxes {
      let name = points.isEmpty ? "number \(first)" : points[first]
      throw .option(
        InvalidOption(
          key: key, value: abbreviated(name),
          allowed: "a point with axes: add axes: true where points declares it, as in "
            + "{site: \(abbreviated(name)), axes: true}"))
    }
    return found
  }
}
