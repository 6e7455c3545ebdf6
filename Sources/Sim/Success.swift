package import Configuration
public import GPSCore

/// What a task asks for, apart from its cost: one criterion of any kind (see `kinds`).
public struct SuccessCriterion: SuccessJudge, Equatable {
  let base: any Criterion

  private init(_ base: any Criterion) { self.base = base }

  /// When along a rollout something must hold.
  public enum Moment: Sendable, Equatable {
    /// At step T.
    case final
    /// At one step at least.
    case any
    /// At each of the last so many steps, step T included.
    case last(Int)
    /// At every step from 0 to T.
    case always
  }

  /// A point is nearer to its target than `below` [m].
  public static func pointDistance(
    point: some Referring, to target: PointTarget, below: Double, at moment: Moment
  ) -> SuccessCriterion {
    SuccessCriterion(
      PointDistance(point: point.reference, target: target, below: below, at: moment))
  }

  /// Each entry of the state is within its tolerance of its target, in the entry's own unit; one
  /// tolerance per entry, or one for all.
  public static func stateWithin(
    entries: [some Referring], target: StateTarget, tolerance: [Double], at moment: Moment
  ) -> SuccessCriterion {
    SuccessCriterion(
      StateWithin(
        entries: entries.map(\.reference), target: target, tolerance: tolerance, at: moment))
  }

  /// A point is inside a region.
  public static func pointInside(
    point: some Referring, region: Region, at moment: Moment
  ) -> SuccessCriterion {
    SuccessCriterion(
      PointInRegion(point: point.reference, region: region, at: moment))
  }

  /// A point is outside a region: `.always` for an obstacle that was never entered.
  public static func pointOutside(
    point: some Referring, region: Region, at moment: Moment
  ) -> SuccessCriterion {
    SuccessCriterion(
      PointInRegion(point: point.reference, region: region, at: moment, isInside: false))
  }

  /// The frame at a point is turned as its target, to an angle `below` [rad].
  public static func orientationWithin(
    point: some Referring, target: OrientationTarget, below: Double, at moment: Moment
  ) -> SuccessCriterion {
    SuccessCriterion(
      OrientationWithin(point: point.reference, target: target, below: below, at: moment))
  }

  /// An axis of the frame at a point has a direction, to an angle `below` [rad].
  public static func axisWithin(
    point: some Referring, axis: FrameAxis = .z, target: DirectionTarget, below: Double,
    at moment: Moment
  ) -> SuccessCriterion {
    SuccessCriterion(
      AxisWithin(point: point.reference, axis: axis, target: target, below: below, at: moment))
  }

  /// All of these; an empty list calls every rollout a success.
  public static func all(_ criteria: [SuccessCriterion]) -> SuccessCriterion {
    SuccessCriterion(AllOf(criteria: criteria))
  }

  /// Whether `trajectory` is a success.
  public func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    base.isSuccess(trajectory, in: condition)
  }

  /// This criterion, if every index, length and number in it fits the problem.
  ///
  /// - Parameters:
  ///   - dimensions: n, T and the number of points, which indices must stay below.
  ///   - conditions: all that will be judged; their goals must be long enough.
  /// - Returns: the criterion, with one number for each entry where one stood for all.
  /// - Throws: `SimError` that names the criterion and what is allowed.
  public func validated(
    for dimensions: Dimensions, conditions: [Condition]
  ) throws(SimError) -> SuccessCriterion {
    try resolved(in: Scope(dimensions, conditions))
  }

  /// This criterion with numbers for names, if everything in it fits the task.
  package func resolved(
    in scope: Scope, key: String = "success"
  ) throws(SimError) -> SuccessCriterion {
    SuccessCriterion(try base.resolved(in: scope, key: "\(key).\(base.kindName)"))
  }

  /// Whether both are of one kind and equal.
  public static func == (a: SuccessCriterion, b: SuccessCriterion) -> Bool {
    areEqual(a.base, b.base)
  }
}

/// What every criterion implements; it becomes a kind by a line in `SuccessCriterion.kinds`.
protocol Criterion: SuccessJudge, Configurable, Equatable {
  /// What files call it.
  var kindName: String { get }
  /// The criterion with numbers for names and one number for each entry; refuses what does not fit.
  func resolved(in scope: Scope, key: String) throws(SimError) -> Self
}

/// The registry of criteria: a line each.
extension SuccessCriterion: OneOfKinds {
  package static let noun = "a criterion"
  package static let plural = "criteria"
  package static let kinds = [
    kind(PointDistance.self), kind(StateWithin.self),
    kind(OrientationWithin.self), kind(AxisWithin.self),
    place("pointInside", "A point is inside a region.", isInside: true),
    place("pointOutside", "A point is outside a region.", isInside: false),
    // A criterion of criteria: its settings are a list, which the reference does not show again.
    Kind(
      AllOf.schema.name, AllOf.schema.text, AllOf.list,
      make: { SuccessCriterion(AllOf(criteria: $0)) }, payload: { ($0.base as? AllOf)?.criteria }),
  ]

  private static func kind<Value: Criterion>(_ type: Value.Type) -> Kind<Self> {
    Kind(type, make: { Self($0) }, payload: { $0.base as? Value })
  }

  private static func place(_ name: String, _ text: String, isInside: Bool) -> Kind<Self> {
    Kind(name, text, PointInRegion.codec) { (place: PointInRegion) -> Self in
      var place = place
      place.isInside = isInside
      return Self(place)
    } payload: {
      ($0.base as? PointInRegion).flatMap { $0.isInside == isInside ? $0 : nil }
    }
  }
}

// MARK: - Kinds

private struct PointDistance: Criterion {
  var point: Reference = ""
  var target = PointTarget.goal(first: 0)
  var below = 0.0
  var at = SuccessCriterion.Moment.final

  static let schema = Schema<PointDistance>(
    "pointDistance", "A point is near its target.", PointDistance()
  ) {
    Field("point", \.point, "Name of a point.").required
    Field("target", \.target, "Where it should be.").required
    Field("below", \.below, .above(0), "The distance that is near enough [m].").required
    Field("at", \.at, "When.")
  }

  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    at.holds(trajectory.horizon) { t in
      let (x, y, z) = offset(of: point, from: target, along: trajectory, at: t, in: condition)
      return (x * x + y * y + z * z).squareRoot() < below
    }
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> PointDistance {
    try checkSettings(key)
    return PointDistance(
      point: try scope.point(point, "\(key).point"),
      target: try target.resolved(points: 1, in: scope, key: "\(key).target"), below: below,
      at: try at.resolved(in: scope, key: "\(key).at"))
  }
}

private struct StateWithin: Criterion {
  var entries: [Reference] = []
  var target = StateTarget.numbers([0])
  var tolerance: [Double] = [0]
  var at = SuccessCriterion.Moment.final

  static let schema = Schema<StateWithin>(
    "stateWithin", "Entries of the state are near their targets.", StateWithin()
  ) {
    Field("entries", \.entries, "Names of entries or components of the state.").required
    Field("target", \.target, "Where they should be.")
    Field(
      "tolerance", \.tolerance, .numberOrNumbers, .each(.above(0)),
      "One per entry, or one for all."
    ).required
    Field("at", \.at, "When.")
  }

  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    let entries = indices(entries)
    let tolerance = spread(tolerance, over: entries.count)
    let numbers = target.numbers(entries.count, in: condition)
    return at.holds(trajectory.horizon) { t in
      entries.indices.allSatisfy {
        abs(trajectory.states[entries[$0], t] - numbers[$0]) <= tolerance[$0]
      }
    }
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> StateWithin {
    try checkSettings(key)
    let entries = try scope.entries(entries, "\(key).entries")
    return StateWithin(
      entries: entries,
      target: try target.resolved(entries.count, in: scope, key: "\(key).target"),
      tolerance: try scope.each(tolerance, entries.count, "\(key).tolerance", "one per entry"),
      at: try at.resolved(in: scope, key: "\(key).at"))
  }
}

private struct PointInRegion: Criterion {
  var point: Reference = ""
  var region = Region.ball(center: .position([0, 0, 0]), radius: 1)
  var at = SuccessCriterion.Moment.final
  var isInside = true

  var kindName: String { isInside ? "pointInside" : "pointOutside" }

  static let schema = Schema<PointInRegion>(PointInRegion()) {
    Field("point", \.point, "Name of a point.").required
    Field("region", \.region, "The part of space.").required
    Field("at", \.at, "When.")
  }

  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    at.holds(trajectory.horizon) { t in
      let (x, y, z) = offset(
        of: point, from: region.center, along: trajectory, at: t, in: condition)
      return region.contains(x, y, z) == isInside
    }
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> PointInRegion {
    PointInRegion(
      point: try scope.point(point, "\(key).point"),
      region: try region.resolved(in: scope, key: "\(key).region"),
      at: try at.resolved(in: scope, key: "\(key).at"), isInside: isInside)
  }
}

private struct AllOf: Criterion {
  var criteria: [SuccessCriterion] = []

  static let schema = Schema<AllOf>("all", "All of these criteria.", AllOf()) {}

  /// In files the list is not empty. It may hold criteria of this kind, as deep as files may go: looked
  /// up when it is read.
  static let list = Codec<[SuccessCriterion]>(
    expects: "a list of criteria",
    read: { (tree, path) throws(SettingsError) in
      if case .list([]) = tree.content {
        throw SettingsError(
          origin: tree.origin, path: path, value: "an empty list", allowed: "at least one criterion"
        )
      }
      return try [SuccessCriterion].codec.read(tree, path)
    }, write: { [SuccessCriterion].codec.write($0) })

  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    criteria.allSatisfy { $0.isSuccess(trajectory, in: condition) }
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> AllOf {
    var all = self
    for (index, criterion) in criteria.enumerated() {
      all.criteria[index] = try criterion.resolved(in: scope, key: "\(key)[\(index)]")
    }
    return all
  }
}

// MARK: - Moments and places

extension SuccessCriterion.Moment: OneOfKinds {
  package static let noun = "a moment"
  package static let kinds = [
    Kind<Self>(word: "final", "At step T.", .final),
    Kind(word: "any", "At one step at least.", .any),
    Kind(word: "always", "At every step.", .always),
    Kind("last", "At each of the last so many steps.", Int.codec) {
      .last($0)
    } payload: {
      if case .last(let count) = $0 { count } else { nil }
    },
  ]

  /// Whether `predicate` holds at the steps of 0 … `horizon` that count.
  func holds(_ horizon: Int, _ predicate: (Int) -> Bool) -> Bool {
    switch self {
    case .final: predicate(horizon)
    case .any: (0...horizon).contains(where: predicate)
    case .last(let count): (max(0, horizon + 1 - count)...horizon).allSatisfy(predicate)
    case .always: (0...horizon).allSatisfy(predicate)
    }
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> Self {
    if case .last(let count) = self {
      let steps = scope.dimensions.horizon + 1
      try SimError.check(
        1 <= count && count <= steps, key: "\(key).last", value: count,
        allowed: "between 1 and \(steps)")
    }
    return self
  }
}

private func offset(
  of reference: Reference, from target: PointTarget, along trajectory: Trajectory, at t: Int,
  in condition: Condition
) -> (x: Double, y: Double, z: Double) {
  func position(_ point: Int) -> (Double, Double, Double) {
    (
      trajectory.points[3 * point, t], trajectory.points[3 * point + 1, t],
      trajectory.points[3 * point + 2, t]
    )
  }
  let (x, y, z) = position(index(reference))
  if let other = target.points(1) {
    let (a, b, c) = position(other[0])
    return (x - a, y - b, z - c)
  }
  let numbers = target.numbers(points: 1, in: condition)
  return (x - numbers[0], y - numbers[1], z - numbers[2])
}
