package import Configuration
import GPSCore

/// Where entries of the state should be.
public enum StateTarget: Sendable, Equatable {
  /// Fixed numbers, one per entry; one number stands for all.
  case numbers([Double])
  /// The numbers of the condition's goal from index `first` on, one per entry.
  case goal(first: Int)

  /// `count` numbers in `condition`.
  func numbers(_ count: Int, in condition: Condition) -> [Double] {
    switch self {
    case .numbers(let numbers): return spread(numbers, over: count)
    case .goal(let first):
      precondition(
        condition.goal.count >= first + count,
        "\(count) numbers from \(first) on of a goal of \(condition.goal.count)")
      return Array(condition.goal[first..<first + count])
    }
  }

  /// The number of entry k in `condition`.
  func number(_ k: Int, in condition: Condition) -> Double {
    switch self {
    case .numbers(let numbers): numbers.count == 1 ? numbers[0] : numbers[k]
    case .goal(let first): condition.goal[first + k]
    }
  }

  func resolved(_ count: Int, in scope: Scope, key: String) throws(SimError) -> StateTarget {
    switch self {
    case .numbers(let numbers):
      return .numbers(try scope.each(numbers, count, key, "one per entry"))
    case .goal(let first): try scope.goal(first, count, key)
    }
    return self
  }
}

/// Where points in space should be, or where a region lies.
public enum PointTarget: Sendable, Equatable {
  /// A fixed position: x, y, z of each point in turn [m].
  case position([Double])
  /// The numbers of the condition's goal from index `first` on: x, y, z of each point in turn [m].
  case goal(first: Int)
  /// Other points of the same trajectory: they may move, and their motion counts in the derivatives.
  case points([Reference])

  /// The fixed numbers, 3 per point; zeros where the target is other points.
  func numbers(points count: Int, in condition: Condition) -> [Double] {
    switch self {
    case .position(let position):
      precondition(position.count == 3 * count, "\(position.count) numbers for \(count) points")
      return position
    case .goal(let first):
      return StateTarget.goal(first: first).numbers(3 * count, in: condition)
    case .points: return [Double](repeating: 0, count: 3 * count)
    }
  }

  /// The other points, if the target is other points.
  func points(_ count: Int) -> [Int]? {
    guard case .points(let references) = self else { return nil }
    precondition(references.count == count, "\(references.count) target points for \(count) points")
    return indices(references)
  }

  func resolved(points count: Int, in scope: Scope, key: String) throws(SimError) -> PointTarget {
    switch self {
    case .position(let position):
      if position.count != 3 * count {
        throw .list(key, position.count, "\(3 * count) numbers: x, y, z of each point")
      }
    case .goal(let first): try scope.goal(first, 3 * count, key)
    case .points(let list):
      if list.count != count {
        throw .list("\(key).points", list.count, "\(count), one for each point")
      }
      return .points(try scope.points(list, "\(key).points"))
    }
    return self
  }
}

/// One number per entry: ones if there are none, the same for all if there is one.
func spread(_ numbers: [Double], over count: Int) -> [Double] {
  if numbers.count == count { return numbers }
  precondition(numbers.count < 2, "\(numbers.count) numbers for \(count) entries")
  return [Double](repeating: numbers.first ?? 1, count: count)
}

// MARK: - In files

extension StateTarget: Setting {
  package static var codec: Codec<StateTarget> {
    target(
      "numbers, goal or {goal: first number}", [goalKind], { .numbers($0) }, numberAlone: true
    ) { if case .numbers(let numbers) = $0 { numbers } else { nil } }
  }
}

extension PointTarget: Setting {
  package static var codec: Codec<PointTarget> {
    let points = Kind<PointTarget>("points", "Other points, which may move.", [Reference].codec) {
      .points($0)
    } payload: {
      if case .points(let names) = $0 { names } else { nil }
    }
    return target(
      "numbers, goal, {goal: first number} or {points: [names]}", [goalKind, points],
      { .position($0) }, numberAlone: false
    ) { if case .position(let numbers) = $0 { numbers } else { nil } }
  }
}

/// What both kinds of target have in common.
protocol GoalTarget: Equatable, Sendable {
  static func goal(first: Int) -> Self
  /// Where the goal begins, if it is the target.
  var firstOfGoal: Int? { get }
}

extension StateTarget: GoalTarget {
  var firstOfGoal: Int? { if case .goal(let first) = self { first } else { nil } }
}

extension PointTarget: GoalTarget {
  var firstOfGoal: Int? { if case .goal(let first) = self { first } else { nil } }
}

extension GoalTarget {
  static var goalKind: Kind<Self> {
    let first = Codec<Int>(
      expects: Int.codec.expects,
      read: { (tree, path) throws(SettingsError) in
        let first = try Int.codec.read(tree, path)
        if first < 0 { throw wrongType(tree, path, "at least 0") }
        return first
      }, write: Int.codec.write)
    return Kind("goal", "The condition's goal, from this number on (the first is 0).", first) {
      .goal(first: $0)
    } payload: {
      $0.firstOfGoal
    }
  }

  /// Numbers, the word "goal", or one of some kinds.
  static func target(
    _ expects: String, _ kinds: [Kind<Self>], _ make: @escaping @Sendable ([Double]) -> Self,
    numberAlone: Bool, _ numbers: @escaping @Sendable (Self) -> [Double]?
  ) -> Codec<Self> {
    let choice = Codec.one(of: kinds, "a target")
    let list = numberAlone ? .numberOrNumbers : [Double].codec
    return Codec(
      expects: expects, entries: choice.entries,
      read: { (tree, path) throws(SettingsError) in
        switch tree.content {
        case .plain("goal"), .quoted("goal"): return .goal(first: 0)
        case .mapping: return try choice.read(tree, path)
        case .list: return make(try list.read(tree, path))
        case .plain where numberAlone:
          if let number = try? list.read(tree, path) { return make(number) }
        default: break
        }
        throw wrongType(tree, path, expects)
      },
      write: {
        $0.firstOfGoal == 0 ? .quoted("goal") : numbers($0).map(list.write) ?? choice.write($0)
      })
  }
}
