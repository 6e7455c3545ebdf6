/// What a `TaskChecker` found: where a task does not do what it says.
public struct TaskReport: Sendable, Equatable, CustomStringConvertible {
  /// What kind of promise is broken.
  public enum Kind: String, Sendable, CaseIterable {
    /// A count of `dimensions` is out of range.
    case dimensions
    /// `controlPeriod` is not a positive number.
    case controlPeriod
    /// A name is empty, stands twice, or there are more or fewer than numbers.
    case names
    /// There is no training condition, or a number of one is not finite.
    case conditions
    /// Goals have different lengths.
    case goals
    /// Initial numbers or their deviations have different lengths, or are no numbers.
    case initialState
    /// An actuated coordinate is none of the state's or the controls'.
    case actuatedCoordinates
    /// Something threw: a plant could not be made, reset or stepped, or dynamics not be evaluated.
    case failure
    /// A plant declares a number that it does not write: training would take it for 0.
    case unwritten
    /// A NaN or an infinity.
    case notFinite
    /// The same condition and controls give other numbers on another plant, or on another reading.
    case determinism
    /// A rollout depends on the one before it on the same plant.
    case memory
    /// A plant's numbers depend on what another plant does meanwhile.
    case independence
    /// A cost resizes or overwrites what it is to add to, or a Hessian is not symmetric.
    case cost
    /// Derivatives of the cost differ from central differences.
    case costDerivatives
    /// Known dynamics have other shapes than the task, or do other than the plant or their
    /// derivatives.
    case knownDynamics
    /// The same rollout is a success once and not the next time.
    case success

    /// Whether plants are at fault: then costs and dynamics cannot be judged by their rollouts.
    var isOfPlants: Bool {
      switch self {
      case .failure, .unwritten, .notFinite, .determinism, .memory, .independence: true
      default: false
      }
    }
  }

  /// One promise that is broken.
  public struct Problem: Sendable, Equatable, CustomStringConvertible {
    /// What kind it is.
    public var kind: Kind
    /// The name of the condition in which it showed first; nil where none is involved.
    public var condition: String?
    /// The step at which it showed first, from 0; nil where none is involved.
    public var step: Int?
    /// One sentence without a final stop.
    public var message: String

    /// The place and the sentence.
    public var description: String {
      let place = [condition.map { "condition \"\($0)\"" }, step.map { "step \($0)" }]
        .compactMap { $0 }.joined(separator: ", ")
      return place.isEmpty ? message : "\(place): \(message)"
    }
  }

  /// What is wrong, in the order in which it was found; each thing once, where it showed first.
  public private(set) var problems: [Problem] = []
  /// How many rollouts were taken.
  public internal(set) var rollouts = 0

  /// A report of nothing.
  package init() {}

  /// Whether nothing is wrong.
  public var isCorrect: Bool { problems.isEmpty }

  /// A verdict, and all problems, one a line.
  public var description: String {
    if isCorrect { return "no problem found in \(rollouts) rollouts" }
    let head = "\(problems.count) problem\(problems.count == 1 ? "" : "s") found"
    return ([head] + problems.map { "  \($0)" }).joined(separator: "\n")
  }

  /// Adds a problem unless the same thing is known already.
  mutating func add(
    _ kind: Kind, _ message: String, condition: String? = nil, step: Int? = nil
  ) {
    if problems.contains(where: { $0.kind == kind && $0.message == message }) { return }
    problems.append(Problem(kind: kind, condition: condition, step: step, message: message))
  }

  /// Adds a problem unless one of its kind is known already: what follows from the first says no
  /// more.
  mutating func addFirst(
    _ kind: Kind, _ message: String, condition: String? = nil, step: Int? = nil
  ) {
    if problems.contains(where: { $0.kind == kind }) { return }
    add(kind, message, condition: condition, step: step)
  }

  /// Adds the worst entries of derivatives that are off.
  mutating func add(_ kind: Kind, _ report: DerivativeReport, condition: String) {
    var named: Set<[String]> = []
    for mismatch in report.mismatches {
      // The same entry at other steps says no more.
      guard named.insert([mismatch.quantity, mismatch.row, mismatch.column]).inserted else {
        continue
      }
      if named.count > 5 { break }
      let by = mismatch.column.isEmpty ? "" : " by \(mismatch.column)"
      if problems.contains(where: {
        $0.kind == kind && $0.message.hasPrefix("\(mismatch.quantity): \(mismatch.row)\(by) is")
      }) {
        continue
      }
      add(
        kind,
        "\(mismatch.quantity): \(mismatch.row)\(by) is \(mismatch.given), expected "
          + "\(mismatch.expected)", condition: condition, step: mismatch.step)
    }
  }
}
