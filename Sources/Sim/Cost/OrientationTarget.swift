package import Configuration
import GPSCore

/// How a frame should be turned.
public enum OrientationTarget: Sendable, Equatable {
  /// A rotation vector in world axes: angle times axis [rad].
  case rotationVector([Double])
  /// A quaternion w, x, y, z, which is normalised.
  case quaternion([Double])
  /// The rotation vector in the condition's goal from index `first` on: three numbers [rad].
  case goal(first: Int)
  /// As the frame at another point, which may turn: its motion counts in the derivatives.
  case point(Reference)

  static func orientation(_ rotation: Rotation) -> OrientationTarget {
    .quaternion([rotation.w, rotation.v.x, rotation.v.y, rotation.v.z])
  }

  /// The other point, if there is one, and the nine numbers that are left to aim at: the axes, or zeros
  /// beside another point.
  func axes(in condition: Condition) -> (other: Int?, numbers: [Double]) {
    let rotation: Rotation
    switch self {
    case .point(let other): return (index(other), [Double](repeating: 0, count: 9))
    case .rotationVector(let r): rotation = Rotation(vector: SIMD3(r))
    case .quaternion(let q): rotation = Rotation(w: q[0], v: SIMD3(q[1...]))
    case .goal(let first):
      rotation = Rotation(
        vector: SIMD3(StateTarget.goal(first: first).numbers(3, in: condition)))
    }
    let axes = rotation.axes
    return (nil, [axes.x, axes.y, axes.z].flatMap { [$0.x, $0.y, $0.z] })
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> OrientationTarget {
    switch self {
    case .rotationVector(let numbers):
      try Self.check(numbers, 3, "3 finite numbers, a rotation vector [rad]", key)
    case .quaternion(let numbers):
      try Self.check(
        numbers, 4, "4 finite numbers, a quaternion w, x, y, z (or 3, a rotation vector)", key)
      try SimError.check(
        numbers.contains { $0 != 0 }, key: key, value: "all zero",
        allowed: "a quaternion w, x, y, z, such as [1, 0, 0, 0]")
    case .goal(let first): try scope.goal(first, 3, key)
    case .point(let other): return .point(try scope.frame(other, "\(key).point"))
    }
    return self
  }

  fileprivate static func check(
    _ numbers: [Double], _ count: Int, _ allowed: String, _ key: String
  ) throws(SimError) {
    if numbers.count != count || !numbers.allSatisfy(\.isFinite) {
      throw .list(key, numbers.count, allowed)
    }
  }
}

/// Where an axis should point, in world axes.
public enum DirectionTarget: Sendable, Equatable {
  /// x, y, z of a vector along it, which is normalised.
  case direction([Double])
  /// The numbers of the condition's goal from index `first` on: x, y, z of a vector along it.
  case goal(first: Int)

  /// A unit vector; zeros where the goal has no direction.
  func numbers(in condition: Condition) -> [Double] {
    let vector =
      switch self {
      case .direction(let numbers): SIMD3(numbers)
      case .goal(let first): SIMD3(StateTarget.goal(first: first).numbers(3, in: condition))
      }
    let norm = length(vector)
    return norm > 0 ? [vector.x / norm, vector.y / norm, vector.z / norm] : [0, 0, 0]
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> DirectionTarget {
    switch self {
    case .direction(let numbers):
      try OrientationTarget.check(numbers, 3, "3 finite numbers, a vector along the axis", key)
      try SimError.check(
        numbers.contains { $0 != 0 }, key: key, value: "all zero",
        allowed: "a vector along the axis, such as [0, 0, 1]")
    case .goal(let first): try scope.goal(first, 3, key)
    }
    return self
  }
}

// MARK: - In files

extension OrientationTarget: GoalTarget {
  var firstOfGoal: Int? { if case .goal(let first) = self { first } else { nil } }
}

extension DirectionTarget: GoalTarget {
  var firstOfGoal: Int? { if case .goal(let first) = self { first } else { nil } }
}

extension OrientationTarget: Setting {
  package static var codec: Codec<OrientationTarget> {
    let point = Kind<OrientationTarget>(
      "point", "As the frame at another point, which may turn.", Reference.codec
    ) {
      .point($0)
    } payload: {
      if case .point(let name) = $0 { name } else { nil }
    }
    return target(
      "3 numbers (a rotation vector), 4 (a quaternion), goal, {goal: first number} or {point: name}",
      [goalKind, point], { $0.count == 3 ? .rotationVector($0) : .quaternion($0) },
      numberAlone: false
    ) {
      switch $0 {
      case .rotationVector(let numbers), .quaternion(let numbers): numbers
      default: nil
      }
    }
  }
}

extension DirectionTarget: Setting {
  package static var codec: Codec<DirectionTarget> {
    target(
      "3 numbers, goal or {goal: first number}", [goalKind], { .direction($0) }, numberAlone: false
    ) { if case .direction(let numbers) = $0 { numbers } else { nil } }
  }
}
