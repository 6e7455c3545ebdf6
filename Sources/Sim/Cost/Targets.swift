import GPSCore

/// Where entries of the state should be.
public enum StateTarget: Codable, Sendable, Equatable {
  /// Fixed numbers, one per entry.
  case numbers([Double])
  /// The numbers of the condition's goal from index `first` on, one per entry.
  case goal(first: Int)

  /// `count` numbers in `condition`.
  func numbers(_ count: Int, in condition: Condition) -> [Double] {
    switch self {
    case .numbers(let numbers):
      precondition(numbers.count == count, "\(numbers.count) target numbers for \(count) entries")
      return numbers
    case .goal(let first):
      precondition(
        condition.goal.count >= first + count,
        "\(count) numbers from \(first) on of a goal of \(condition.goal.count)")
      return Array(condition.goal[first..<first + count])
    }
  }

  func validate(_ count: Int, for conditions: [Condition], key: String) throws(SimError) {
    switch self {
    case .numbers(let numbers):
      if numbers.count != count {
        throw .length(key: key, found: numbers.count, expected: "\(count)")
      }
    case .goal(let first):
      try validateGoal(first: first, count, for: conditions, key: key)
    }
  }
}

/// Where points in space should be, or where a region lies.
public enum PointTarget: Codable, Sendable, Equatable {
  /// A fixed position: x, y, z of each point in turn [m].
  case position([Double])
  /// The numbers of the condition's goal from index `first` on: x, y, z of each point in turn [m].
  case goal(first: Int)
  /// Other points of the same trajectory, by index: they may move, and their motion counts in the
  /// derivatives.
  case points([Int])

  /// The fixed numbers, 3 per point; zeros where the target is other points.
  func numbers(points count: Int, in condition: Condition) -> [Double] {
    switch self {
    case .position(let position): StateTarget.numbers(position).numbers(3 * count, in: condition)
    case .goal(let first): StateTarget.goal(first: first).numbers(3 * count, in: condition)
    case .points: [Double](repeating: 0, count: 3 * count)
    }
  }

  /// The other points, if the target is other points.
  func points(_ count: Int) -> [Int]? {
    guard case .points(let indices) = self else { return nil }
    precondition(indices.count == count, "\(indices.count) target points for \(count) points")
    return indices
  }

  func validate(
    points count: Int, dimensions: Dimensions, for conditions: [Condition], key: String
  ) throws(SimError) {
    switch self {
    case .position(let position):
      if position.count != 3 * count {
        throw .length(key: key, found: position.count, expected: "\(3 * count)")
      }
    case .goal(let first):
      try validateGoal(first: first, 3 * count, for: conditions, key: key)
    case .points(let indices):
      if indices.count != count {
        throw .length(key: key, found: indices.count, expected: "\(count)")
      }
      for index in indices { try SimError.check(index, below: dimensions.points, key: key) }
    }
  }
}

private func validateGoal(
  first: Int, _ count: Int, for conditions: [Condition], key: String
) throws(SimError) {
  for condition in conditions where first < 0 || condition.goal.count < first + count {
    throw .length(
      key: "the goal of condition \"\(condition.name)\", which \(key) refers to,",
      found: condition.goal.count, expected: "at least \(first + count)")
  }
}

/// `weights`, or ones if there are none.
func resolvedWeights(_ weights: [Double], _ count: Int) -> [Double] {
  if weights.isEmpty { return [Double](repeating: 1, count: count) }
  precondition(weights.count == count, "\(weights.count) weights for \(count) dimensions")
  return weights
}

func validateWeights(_ weights: [Double], _ count: Int, key: String) throws(SimError) {
  if !weights.isEmpty && weights.count != count {
    throw .length(key: key, found: weights.count, expected: "\(count)")
  }
  for weight in weights {
    try SimError.check(
      weight >= 0 && weight.isFinite, key: key, value: weight, allowed: "0 or more")
  }
}
