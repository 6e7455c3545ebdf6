public import GPSCore

/// What a task asks for, apart from its cost.
public indirect enum SuccessCriterion: SuccessJudge, Codable, Sendable, Equatable {
  /// When along a rollout something must hold.
  public enum Moment: Codable, Sendable, Equatable {
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
  case pointDistance(point: Int, to: PointTarget, below: Double, at: Moment)
  /// Each entry of the state is within its tolerance of its target, in the entry's own unit: one
  /// tolerance per entry.
  case stateWithin(entries: [Int], target: StateTarget, tolerance: [Double], at: Moment)
  /// A point is inside a region.
  case pointInside(point: Int, region: Region, at: Moment)
  /// A point is outside a region: `.always` for an obstacle that was never entered.
  case pointOutside(point: Int, region: Region, at: Moment)
  /// All of these; an empty list calls every rollout a success.
  case all([SuccessCriterion])

  /// Whether `trajectory` is a success.
  public func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    let horizon = trajectory.horizon
    switch self {
    case .pointDistance(let point, let target, let limit, let moment):
      return moment.holds(horizon) { t in
        let (x, y, z) = offset(of: point, from: target, along: trajectory, at: t, in: condition)
        return (x * x + y * y + z * z).squareRoot() < limit
      }
    case .stateWithin(let entries, let target, let tolerance, let moment):
      precondition(
        tolerance.count == entries.count,
        "\(tolerance.count) tolerances for \(entries.count) entries")
      let numbers = target.numbers(entries.count, in: condition)
      return moment.holds(horizon) { t in
        entries.indices.allSatisfy {
          abs(trajectory.states[entries[$0], t] - numbers[$0]) <= tolerance[$0]
        }
      }
    case .pointInside(let point, let region, let moment):
      return moment.holds(horizon) { t in
        let (x, y, z) = offset(
          of: point, from: region.center, along: trajectory, at: t, in: condition)
        return region.contains(x, y, z)
      }
    case .pointOutside(let point, let region, let moment):
      return moment.holds(horizon) { t in
        let (x, y, z) = offset(
          of: point, from: region.center, along: trajectory, at: t, in: condition)
        return !region.contains(x, y, z)
      }
    case .all(let criteria):
      return criteria.allSatisfy { $0.isSuccess(trajectory, in: condition) }
    }
  }

  /// This criterion, if every index, length and number in it fits the problem.
  ///
  /// - Parameters:
  ///   - dimensions: n, T and the number of points, which indices must stay below.
  ///   - conditions: all that will be judged; their goals must be long enough.
  /// - Returns: the criterion as it is.
  /// - Throws: `SimError` that names the criterion and what is allowed.
  public func validated(
    for dimensions: Dimensions, conditions: [Condition]
  ) throws(SimError) -> SuccessCriterion {
    try validate(for: dimensions, conditions: conditions, key: "success")
    return self
  }

  private func validate(
    for dimensions: Dimensions, conditions: [Condition], key: String
  ) throws(SimError) {
    switch self {
    case .pointDistance(let point, let target, let limit, let moment):
      try SimError.check(point, below: dimensions.points, key: "\(key).point")
      try target.validate(
        points: 1, dimensions: dimensions, for: conditions, key: "\(key).to")
      try SimError.check(limit > 0, key: "\(key).below", value: limit, allowed: "positive")
      try moment.validate(dimensions, key: key)
    case .stateWithin(let entries, let target, let tolerance, let moment):
      for entry in entries {
        try SimError.check(entry, below: dimensions.state, key: "\(key).entries")
      }
      try target.validate(entries.count, for: conditions, key: "\(key).target")
      if tolerance.count != entries.count {
        throw .length(
          key: "\(key).tolerance", found: tolerance.count, expected: "\(entries.count)")
      }
      for limit in tolerance {
        try SimError.check(limit > 0, key: "\(key).tolerance", value: limit, allowed: "positive")
      }
      try moment.validate(dimensions, key: key)
    case .pointInside(let point, let region, let moment),
      .pointOutside(let point, let region, let moment):
      try SimError.check(point, below: dimensions.points, key: "\(key).point")
      try region.validate(dimensions: dimensions, conditions: conditions, key: "\(key).region")
      try moment.validate(dimensions, key: key)
    case .all(let criteria):
      for (index, criterion) in criteria.enumerated() {
        try criterion.validate(for: dimensions, conditions: conditions, key: "\(key)[\(index)]")
      }
    }
  }
}

extension SuccessCriterion.Moment {
  /// Whether `predicate` holds at the steps of 0 … `horizon` that count.
  func holds(_ horizon: Int, _ predicate: (Int) -> Bool) -> Bool {
    switch self {
    case .final: predicate(horizon)
    case .any: (0...horizon).contains(where: predicate)
    case .last(let count): (max(0, horizon + 1 - count)...horizon).allSatisfy(predicate)
    case .always: (0...horizon).allSatisfy(predicate)
    }
  }

  func validate(_ dimensions: Dimensions, key: String) throws(SimError) {
    guard case .last(let count) = self else { return }
    try SimError.check(
      1 <= count && count <= dimensions.horizon + 1, key: "\(key).at.last", value: count,
      allowed: "1 to \(dimensions.horizon + 1)")
  }
}

private func offset(
  of point: Int, from target: PointTarget, along trajectory: Trajectory, at t: Int,
  in condition: Condition
) -> (x: Double, y: Double, z: Double) {
  func position(_ point: Int) -> (Double, Double, Double) {
    (
      trajectory.points[3 * point, t], trajectory.points[3 * point + 1, t],
      trajectory.points[3 * point + 2, t]
    )
  }
  let (x, y, z) = position(point)
  if let other = target.points(1) {
    let (a, b, c) = position(other[0])
    return (x - a, y - b, z - c)
  }
  let numbers = target.numbers(points: 1, in: condition)
  return (x - numbers[0], y - numbers[1], z - numbers[2])
}
