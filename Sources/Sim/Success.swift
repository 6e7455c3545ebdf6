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

  /// Each entry of the state is above its target: a limit on one side.
  public static func stateAbove(
    entries: [some Referring], target: StateTarget, at moment: Moment
  ) -> SuccessCriterion {
    SuccessCriterion(
      StateBeyond(entries: entries.map(\.reference), target: target, at: moment, isAbove: true))
  }

  /// Each entry of the state is below its target.
  public static func stateBelow(
    entries: [some Referring], target: StateTarget, at moment: Moment
  ) -> SuccessCriterion {
    SuccessCriterion(
      StateBeyond(entries: entries.map(\.reference), target: target, at: moment, isAbove: false))
  }

  /// A point is above a height: its z is greater [m].
  public static func pointAbove(
    point: some Referring, height: Double, at moment: Moment
  ) -> SuccessCriterion {
    SuccessCriterion(
      PointBeyond(point: point.reference, height: height, at: moment, isAbove: true))
  }

  /// A point is below a height: its z is less [m].
  public static func pointBelow(
    point: some Referring, height: Double, at moment: Moment
  ) -> SuccessCriterion {
    SuccessCriterion(
      PointBeyond(point: point.reference, height: height, at: moment, isAbove: false))
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
    SuccessCriterion(Several(criteria: criteria, isAll: true))
  }

  /// One of these at least; an empty list calls no rollout a success.
  public static func any(_ criteria: [SuccessCriterion]) -> SuccessCriterion {
    SuccessCriterion(Several(criteria: criteria, isAll: false))
  }

  /// Whether `trajectory` is a success.
  public func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    base.isSuccess(trajectory, in: condition)
  }

  /// How far `trajectory` is from the threshold, in the unit of the criterion: positive for a success,
  /// negative for none. Of several steps, entries or criteria, that of the one that decides.
  ///
  /// - Returns: nil where there is no threshold, such as that of an empty list.
  public func successMargin(of trajectory: Trajectory, in condition: Condition) -> Double? {
    let margin = base.margin(of: trajectory, in: condition)
    return margin.isFinite ? margin : nil
  }

  /// The first step at which it holds, whatever moment it asks for; nil if there is none.
  func firstStep(of trajectory: Trajectory, in condition: Condition) -> Int? {
    (0...trajectory.horizon).first { t in
      trajectory.atStep(t) { base.holds($0, $1, in: condition) }
    }
  }

  /// The greatest margin that it has at any step, whatever moment it asks for.
  func greatestMargin(of trajectory: Trajectory, in condition: Condition) -> Double {
    (0...trajectory.horizon).reduce(-.infinity) { greatest, t in
      max(greatest, trajectory.atStep(t) { base.margin($0, $1, in: condition) })
    }
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
protocol Criterion: Configurable, Equatable {
  /// What files call it.
  var kindName: String { get }
  /// The criterion with numbers for names and one number for each entry; refuses what does not fit.
  func resolved(in scope: Scope, key: String) throws(SimError) -> Self

  /// Whether it holds at one step, whatever moment it asks for.
  ///
  /// - Parameters:
  ///   - x: the state, n numbers.
  ///   - points: 3 P numbers [m].
  ///   - condition: where the goal comes from.
  /// - Returns: true if it does.
  func holds(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Bool
  /// The signed distance from the threshold at one step; infinite where there is none.
  func margin(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Double
  /// Whether it holds for a rollout.
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool
  /// The signed distance of a rollout from the threshold; infinite where there is none.
  func margin(of trajectory: Trajectory, in condition: Condition) -> Double
}

/// A criterion on single steps: it holds where its margin is positive.
protocol StepCriterion: Criterion {
  /// When it must hold.
  var at: SuccessCriterion.Moment { get }
  /// Whether it holds where the margin is exactly 0.
  var holdsAtThreshold: Bool { get }
}

extension StepCriterion {
  var holdsAtThreshold: Bool { false }

  func holds(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Bool {
    let margin = margin(x, points, in: condition)
    return margin > 0 || (holdsAtThreshold && margin == 0)
  }

  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    func holds(_ t: Int) -> Bool {
      trajectory.atStep(t) { self.holds($0, $1, in: condition) }
    }
    let steps = at.steps(of: trajectory.horizon)
    return at == .any ? steps.contains(where: holds) : steps.allSatisfy(holds)
  }

  func margin(of trajectory: Trajectory, in condition: Condition) -> Double {
    var (least, greatest) = (Double.infinity, -Double.infinity)
    for t in at.steps(of: trajectory.horizon) {
      let margin = trajectory.atStep(t) { self.margin($0, $1, in: condition) }
      (least, greatest) = (min(least, margin), max(greatest, margin))
    }
    return at == .any ? greatest : least
  }
}

extension Trajectory {
  func atStep<R>(_ t: Int, _ body: (Span<Double>, Span<Double>) -> R) -> R {
    let (n, rows) = (states.rows, points.rows)
    return body(
      states.storage.span.extracting(n * t..<n * (t + 1)),
      points.storage.span.extracting(rows * t..<rows * (t + 1)))
  }
}

/// The registry of criteria: a line each.
extension SuccessCriterion: OneOfKinds {
  package static let noun = "a criterion"
  package static let plural = "criteria"
  package static let kinds = [
    kind(PointDistance.self), kind(StateWithin.self),
    kind(OrientationWithin.self), kind(AxisWithin.self),
    kind("stateAbove", "Each entry of the state is above its target.", \StateBeyond.isAbove, true),
    kind("stateBelow", "Each entry of the state is below its target.", \StateBeyond.isAbove, false),
    kind("pointAbove", "A point is above a height.", \PointBeyond.isAbove, true),
    kind("pointBelow", "A point is below a height.", \PointBeyond.isAbove, false),
    kind("pointInside", "A point is inside a region.", \PointInRegion.isInside, true),
    kind("pointOutside", "A point is outside a region.", \PointInRegion.isInside, false),
    // Criteria of criteria: their settings are a list, which the reference does not show again.
    several("all", "All of these criteria.", isAll: true),
    several("any", "One of these criteria at least.", isAll: false),
  ]

  private static func kind<Value: Criterion>(_ type: Value.Type) -> Kind<Self> {
    Kind(type, make: { Self($0) }, payload: { $0.base as? Value })
  }

  /// One of the two kinds that are the two sides of one struct.
  private static func kind<Value: Criterion>(
    _ name: String, _ text: String, _ side: any WritableKeyPath<Value, Bool> & Sendable,
    _ value: Bool
  ) -> Kind<Self> {
    Kind(name, text, Value.codec) { (criterion: Value) -> Self in
      var criterion = criterion
      criterion[keyPath: side] = value
      return Self(criterion)
    } payload: {
      ($0.base as? Value).flatMap { $0[keyPath: side] == value ? $0 : nil }
    }
  }

  private static func several(_ name: String, _ text: String, isAll: Bool) -> Kind<Self> {
    Kind(
      name, text, Several.list,
      make: { SuccessCriterion(Several(criteria: $0, isAll: isAll)) },
      payload: { ($0.base as? Several).flatMap { $0.isAll == isAll ? $0.criteria : nil } })
  }
}

// MARK: - Kinds

private struct PointDistance: StepCriterion {
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

  func margin(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Double {
    let (x, y, z) = offset(of: point, from: target, at: points, in: condition)
    return below - (x * x + y * y + z * z).squareRoot()
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> PointDistance {
    try checkSettings(key)
    return PointDistance(
      point: try scope.point(point, "\(key).point"),
      target: try target.resolved(points: 1, in: scope, key: "\(key).target"), below: below,
      at: try at.resolved(in: scope, key: "\(key).at"))
  }
}

private struct StateWithin: StepCriterion {
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

  var holdsAtThreshold: Bool { true }

  func margin(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Double {
    var least = Double.infinity
    for k in entries.indices {
      let difference = x[index(entries[k])] - target.number(k, in: condition)
      least = min(least, (tolerance.count == 1 ? tolerance[0] : tolerance[k]) - abs(difference))
    }
    return least
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

private struct StateBeyond: StepCriterion {
  var entries: [Reference] = []
  var target = StateTarget.numbers([0])
  var at = SuccessCriterion.Moment.final
  var isAbove = true

  var kindName: String { isAbove ? "stateAbove" : "stateBelow" }

  static let schema = Schema<StateBeyond>(StateBeyond()) {
    Field("entries", \.entries, "Names of entries or components of the state.").required
    Field("target", \.target, "The threshold of each, or one for all.").required
    Field("at", \.at, "When.")
  }

  func margin(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Double {
    var least = Double.infinity
    for k in entries.indices {
      let difference = x[index(entries[k])] - target.number(k, in: condition)
      least = min(least, isAbove ? difference : -difference)
    }
    return least
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> StateBeyond {
    let entries = try scope.entries(entries, "\(key).entries")
    return StateBeyond(
      entries: entries,
      target: try target.resolved(entries.count, in: scope, key: "\(key).target"),
      at: try at.resolved(in: scope, key: "\(key).at"), isAbove: isAbove)
  }
}

private struct PointBeyond: StepCriterion {
  var point: Reference = ""
  var height = 0.0
  var at = SuccessCriterion.Moment.final
  var isAbove = true

  var kindName: String { isAbove ? "pointAbove" : "pointBelow" }

  static let schema = Schema<PointBeyond>(PointBeyond()) {
    Field("point", \.point, "Name of a point.").required
    Field("height", \.height, Check("finite") { $0.isFinite }, "The threshold of its z [m].")
      .required
    Field("at", \.at, "When.")
  }

  func margin(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Double {
    let difference = points[3 * index(point) + 2] - height
    return isAbove ? difference : -difference
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> PointBeyond {
    try checkSettings(key)
    return PointBeyond(
      point: try scope.point(point, "\(key).point"), height: height,
      at: try at.resolved(in: scope, key: "\(key).at"), isAbove: isAbove)
  }
}

private struct PointInRegion: StepCriterion {
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

  // The boundary is outside.
  var holdsAtThreshold: Bool { !isInside }

  func margin(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Double {
    let (x, y, z) = offset(of: point, from: region.center, at: points, in: condition)
    let depth = region.depth(x, y, z)
    return isInside ? depth : -depth
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> PointInRegion {
    PointInRegion(
      point: try scope.point(point, "\(key).point"),
      region: try region.resolved(in: scope, key: "\(key).region"),
      at: try at.resolved(in: scope, key: "\(key).at"), isInside: isInside)
  }
}

/// All of some criteria, or one of them at least.
private struct Several: Criterion {
  var criteria: [SuccessCriterion] = []
  var isAll = true

  var kindName: String { isAll ? "all" : "any" }

  static let schema = Schema<Several>(Several()) {}

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

  func holds(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Bool {
    for criterion in criteria where criterion.base.holds(x, points, in: condition) != isAll {
      return !isAll
    }
    return isAll
  }

  func margin(_ x: Span<Double>, _ points: Span<Double>, in condition: Condition) -> Double {
    criteria.reduce(isAll ? .infinity : -.infinity) { bound, criterion in
      let margin = criterion.base.margin(x, points, in: condition)
      return isAll ? min(bound, margin) : max(bound, margin)
    }
  }

  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    isAll
      ? criteria.allSatisfy { $0.isSuccess(trajectory, in: condition) }
      : criteria.contains { $0.isSuccess(trajectory, in: condition) }
  }

  func margin(of trajectory: Trajectory, in condition: Condition) -> Double {
    let margins = criteria.map { $0.base.margin(of: trajectory, in: condition) }
    return isAll ? margins.min() ?? .infinity : margins.max() ?? -.infinity
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> Several {
    var several = self
    for (index, criterion) in criteria.enumerated() {
      several.criteria[index] = try criterion.resolved(in: scope, key: "\(key)[\(index)]")
    }
    return several
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

  /// The steps of 0 … `horizon` that count: one of them for `any`, all of them otherwise.
  func steps(of horizon: Int) -> ClosedRange<Int> {
    switch self {
    case .final: horizon...horizon
    case .any, .always: 0...horizon
    case .last(let count): max(0, horizon + 1 - count)...horizon
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
  of reference: Reference, from target: PointTarget, at points: Span<Double>,
  in condition: Condition
) -> (x: Double, y: Double, z: Double) {
  let first = 3 * index(reference)
  let (x, y, z) = (points[first], points[first + 1], points[first + 2])
  switch target {
  case .position(let p): return (x - p[0], y - p[1], z - p[2])
  case .goal(let first):
    let goal = condition.goal
    return (x - goal[first], y - goal[first + 1], z - goal[first + 2])
  case .points(let others):
    let other = 3 * index(others[0])
    return (x - points[other], y - points[other + 1], z - points[other + 2])
  }
}
