package import Configuration
package import GPSCore

/// An entry of the state or a point, by its number or by its name; tasks turn names into numbers.
public enum Reference: Referring, Equatable, ExpressibleByIntegerLiteral,
  ExpressibleByStringLiteral
{
  /// The number, from 0.
  case index(Int)
  /// The name. For entries of the state also the beginning of several names, or a component's word
  /// ("jointVelocities").
  case name(String)

  /// A number.
  public init(integerLiteral index: Int) { self = .index(index) }
  /// A name.
  public init(stringLiteral name: String) { self = .name(name) }
  /// Itself.
  public var reference: Reference { self }
}

/// What can stand for an entry of the state or a point: a number, a name, a `Reference`.
public protocol Referring: Sendable {
  /// The number or the name.
  var reference: Reference { get }
}

extension Int: Referring {
  /// The number.
  public var reference: Reference { .index(self) }
}

extension String: Referring {
  /// The name.
  public var reference: Reference { .name(self) }
}

/// Files have names alone: numbers would change their meaning with the model.
extension Reference: Setting {
  package static var plural: String { "names" }
  package static var codec: Codec<Reference> {
    let name = String.codec
    return Codec(
      expects: name.expects,
      read: { (tree, path) throws(SettingsError) in .name(try name.read(tree, path)) },
      write: {
        switch $0 {
        case .index(let index): .plain("\(index)")
        case .name(let word): name.write(word)
        }
      })
  }
}

/// The numbers of references that a task has resolved.
func indices(_ references: [Reference]) -> [Int] { references.map(index) }

func index(_ reference: Reference) -> Int {
  guard case .index(let index) = reference else {
    preconditionFailure("\(reference) has no number yet: a task gives it one")
  }
  return index
}

/// What costs and criteria of a task may refer to: what their names, lengths and numbers must fit.
package struct Scope {
  /// n, m, P and T.
  var dimensions: Dimensions
  /// Names of the state; empty if it has none.
  var states: [String] = []
  /// Names of the points; empty if they have none.
  var points: [String] = []
  /// Names of the controls; empty if they have none.
  var controls: [String] = []
  /// Whether the system pays rewards.
  var paysRewards = false
  /// The length of the shortest goal.
  private let goalLength: Int

  /// What a task's costs and criteria may refer to.
  package init(
    _ dimensions: Dimensions, _ conditions: [Condition], states: [String] = [],
    points: [String] = [], controls: [String] = []
  ) {
    self.dimensions = dimensions
    (self.states, self.points, self.controls) = (states, points, controls)
    goalLength = conditions.map(\.goal.count).min() ?? .max
  }

  /// A point as a number.
  func point(_ point: Reference, _ key: String) throws(SimError) -> Reference {
    switch point {
    case .index(let index):
      try SimError.check(index, below: dimensions.points, key: key)
      return point
    case .name(let name):
      guard let index = points.firstIndex(of: name) else {
        throw .option(
          InvalidOption(
            key: key, value: abbreviated(name),
            allowed: points.isEmpty
              ? "left out: the system has no points" : "a point: \(listed(points, name))"))
      }
      return .index(index)
    }
  }

  /// Points as numbers; at least one.
  func points(_ list: [Reference], _ key: String) throws(SimError) -> [Reference] {
    try each(list) { (item, i) throws(SimError) in [try point(item, named(key, item, i))] }
  }

  /// Entries of the state as numbers: by their own names or by what their names begin with, components
  /// also by the word that experiment files have for them.
  func entries(_ list: [Reference], _ key: String) throws(SimError) -> [Reference] {
    var seen: Set<Int> = []
    return try each(list) { (item, i) throws(SimError) in
      let key = named(key, item, i)
      guard case .name(let name) = item else {
        try SimError.check(index(item), below: dimensions.state, key: key)
        return [item]
      }
      let word = snakeCase(name)
      let found = states.indices.filter { state in
        [name, word].contains { prefix in
          states[state] == prefix || states[state].hasPrefix(prefix + ".")
            || states[state].hasPrefix(prefix + "_")
        }
      }
      func refuse(_ allowed: String) -> SimError {
        .option(InvalidOption(key: key, value: abbreviated(name), allowed: allowed))
      }
      if found.isEmpty { throw refuse("an entry of the state: \(listed(states, name))") }
      for entry in found where !seen.insert(entry).inserted {
        throw refuse("an entry that is not in the list yet (\(states[entry]) is)")
      }
      return found.map { .index($0) }
    }
  }

  /// One number per entry, where one may stand for all.
  func each(
    _ numbers: [Double], _ count: Int, _ key: String, _ meaning: String
  ) throws(SimError) -> [Double] {
    if numbers.count == count { return numbers }
    if numbers.count == 1 { return [Double](repeating: numbers[0], count: count) }
    throw .list(key, numbers.count, "one number, or \(count) (\(meaning))")
  }

  /// Where `count` numbers of the goal begin.
  func goal(_ first: Int, _ count: Int, _ key: String) throws(SimError) {
    if first < 0 || first > goalLength - count {
      throw .goal(key: key, first: first, count: count, length: goalLength)
    }
  }

  /// The controls' names, as in "one per control: force_N".
  var controlList: String {
    "one per control" + (controls.isEmpty ? "" : ": \(controls.joined(separator: ", "))")
  }

  private func each(
    _ list: [Reference],
    _ resolve: (Reference, Int) throws(SimError) -> [Reference]
  ) throws(SimError) -> [Reference] {
    var found: [Reference] = []
    for (i, item) in list.enumerated() { found += try resolve(item, i) }
    return found
  }

  /// A name's own place in a list; of a number, the list's.
  private func named(_ key: String, _ item: Reference, _ i: Int) -> String {
    if case .name = item { "\(key)[\(i)]" } else { key }
  }
}

/// At most twelve names, the nearest to one first.
private func listed(_ names: [String], _ name: String) -> String {
  nearest(to: name.lowercased(), among: names).prefix(12).joined(separator: ", ")
    + (names.count > 12 ? " and \(names.count - 12) more" : "")
}

/// "jointVelocities" as "joint_velocities".
private func snakeCase(_ word: String) -> String {
  word.reduce(into: "") { result, letter in
    if letter.isUppercase && !result.isEmpty { result += "_" }
    result += letter.lowercased()
  }
}

extension Configurable {
  /// Refuses settings out of range; `key` names the struct in errors.
  func checkSettings(_ key: String) throws(SimError) {
    do { try Self.schema.check(self) } catch { throw .option(error.within(key)) }
  }

  /// What files call the struct where it is one of several kinds.
  var kindName: String { Self.schema.name }
}
