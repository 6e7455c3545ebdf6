public import GPSCore

/// What is wrong with a task, a cost, a success criterion or an initial controller.
public enum SimError: Error, Sendable, Equatable, CustomStringConvertible {
  /// An option lies outside what is allowed.
  case option(InvalidOption)
  /// An index points past the end of what it refers to.
  case index(key: String, index: Int, count: Int)
  /// A list has the wrong length.
  case length(key: String, found: Int, expected: String)
  /// The conditions' goals are too short for what refers to them.
  case goal(key: String, first: Int, count: Int, length: Int)
  /// A control acts on no single coordinate, or the state does not hold that coordinate.
  case actuator(control: Int, missing: Missing)
  /// The numbers of an initial controller do not make one.
  case controller(ControllerError)

  /// What an initial controller misses of what a control acts on.
  public enum Missing: String, Sendable {
    /// A single hinge, slide or other coordinate.
    case coordinate
    /// The coordinate's position in the state.
    case position
    /// The coordinate's velocity in the state.
    case velocity
  }

  /// One sentence for people.
  public var description: String {
    switch self {
    case .option(let error): "\(error)"
    case .index(let key, let index, let count):
      "\(key) refers to number \(index), but there are \(count), counted from 0"
    case .length(let key, let found, let expected):
      "\(key) has \(found) number\(found == 1 ? "" : "s") instead of \(expected)"
    case .goal(let key, let first, let count, let length):
      "\(key): \(Self.goalProblem(first, count, length))"
    case .actuator(let control, .coordinate):
      "control \(control) acts on no single hinge or slide (but, for instance, on a tendon, a site or a "
        + "ball joint), so that there is no position that it could hold: "
        + "use initialController constant or linearized"
    case .actuator(let control, let missing):
      "the state does not hold the \(missing.rawValue) that control \(control) acts on"
    case .controller(let error): "initial controller: \(error)"
    }
  }

  /// What is wrong with a goal, without the key.
  package static func goalProblem(_ first: Int, _ count: Int, _ length: Int) -> String {
    "\(count) numbers of the goal from number \(first) on are needed, "
      + (length == 0 ? "but the conditions have none" : "but goals have \(length) numbers")
  }

  /// A list that is too long or too short.
  static func list(_ key: String, _ count: Int, _ allowed: String) -> SimError {
    .option(InvalidOption(key: key, value: "a list of \(count)", allowed: allowed))
  }

  static func check(_ index: Int, below count: Int, key: String) throws(SimError) {
    if index < 0 || index >= count { throw .index(key: key, index: index, count: count) }
  }

  static func check(
    _ condition: Bool, key: String, value: some Any, allowed: String
  ) throws(SimError) {
    if !condition {
      throw .option(InvalidOption(key: key, value: "\(value)", allowed: allowed))
    }
  }

  static func checkPositive(_ number: Double, key: String) throws(SimError) {
    try check(number > 0 && number.isFinite, key: key, value: number, allowed: "positive")
  }
}
