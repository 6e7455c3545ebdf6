public import Statistics

/// What of a condition is drawn anew, and how often. What is drawn is added to what the condition says,
/// factors aside.
public struct ConditionDraws: Sendable, Equatable, Codable {
  /// How often.
  public enum Frequency: String, Sendable, CaseIterable, Codable {
    /// For every rollout.
    case rollout
    /// Once for all rollouts of an iteration.
    case iteration
  }

  /// A part of the numbers that the plant is reset to.
  public struct Start: Sendable, Equatable, Codable {
    /// Its first number.
    public var first: Int
    /// How many there are.
    public var count: Int
    /// What is added to them.
    public var distribution: VectorDistribution

    /// A part of the start.
    public init(first: Int, count: Int, distribution: VectorDistribution) {
      self.first = first
      self.count = count
      self.distribution = distribution
    }
  }

  /// How often.
  public var every = Frequency.rollout
  /// Of the start.
  public var starts: [Start] = []
  /// Of the goal; nil if it stays.
  public var goal: VectorDistribution?
  /// Of displacements of named bodies: x, y, z [m].
  public var bodyOffsets: [String: VectorDistribution] = [:]
  /// Bodies that are displaced by what is drawn for the first three numbers of the goal [m].
  public var goalBodies: [String] = []
  /// Factors on parameters of the model: from the first number to the second, uniformly.
  public var modelFactors: [ModelParameter: [Double]] = [:]

  /// Nothing is drawn.
  public init() {}
}

/// A parameter of a model that a condition may scale.
public struct ModelParameter: Sendable, Hashable, Comparable, Codable {
  /// Which one.
  public enum Quantity: String, Sendable, CaseIterable, Codable {
    /// Mass and inertia of a body.
    case mass
    /// Friction of a geom, in all directions; MuJoCo takes the greater of the two in contact.
    case friction
    /// Size of a geom, in all directions; its body's mass stays.
    case size
    /// Damping of a joint.
    case damping
    /// Armature of a joint.
    case armature
    /// Dry friction of a joint.
    case frictionLoss
    /// Stiffness of a joint's spring.
    case stiffness
  }

  /// Which one.
  public var quantity: Quantity
  /// The name of its body, geom or joint.
  public var element: String

  /// A parameter.
  public init(_ quantity: Quantity, of element: String) {
    self.quantity = quantity
    self.element = element
  }

  /// By quantity, then by name.
  public static func < (a: ModelParameter, b: ModelParameter) -> Bool {
    (a.quantity.rawValue, a.element) < (b.quantity.rawValue, b.element)
  }
}

extension Condition {
  /// The condition of one rollout: with everything drawn that is drawn, and nothing left to draw.
  ///
  /// - Parameter stream: where the numbers come from; none is taken where nothing is drawn.
  /// - Returns: the condition itself where nothing is drawn.
  public func drawn(from stream: inout RandomStream) -> Condition {
    guard let draws else { return self }
    var condition = nominal
    for start in draws.starts {
      for (i, offset) in start.distribution.draw(start.count, from: &stream).enumerated() {
        condition.initialPlantState[start.first + i] += offset
      }
    }
    func displace(_ body: String, by offset: some Sequence<Double>) {
      let sum = zip(condition.bodyOffsets[body] ?? [0, 0, 0], offset).map { $0 + $1 }
      condition.bodyOffsets[body] = sum
    }
    if let distribution = draws.goal {
      let offset = distribution.draw(goal.count, from: &stream)
      condition.goal = zip(goal, offset).map { $0 + $1 }
      for body in draws.goalBodies { displace(body, by: offset.prefix(3)) }
    }
    for (body, distribution) in draws.bodyOffsets.sorted(by: { $0.key < $1.key }) {
      displace(body, by: distribution.draw(3, from: &stream))
    }
    for (parameter, bounds) in draws.modelFactors.sorted(by: { $0.key < $1.key }) {
      let factor = bounds[0] + (bounds[1] - bounds[0]) * stream.uniform()
      condition.modelFactors[parameter, default: 1] *= factor
    }
    return condition
  }

  /// What is wrong with the draws, as a clause; nil if all of them fit the condition.
  package var drawProblem: String? {
    guard let draws else { return nil }
    for start in draws.starts {
      if start.first < 0 || start.count < 0 || start.first + start.count > initialPlantState.count {
        return "numbers \(start.first) to \(start.first + start.count - 1) of a start of "
          + "\(initialPlantState.count)"
      }
      if let mismatch = start.distribution.mismatch(with: start.count) {
        return "a start that needs \(mismatch)"
      }
    }
    if let mismatch = draws.goal?.mismatch(with: goal.count) {
      return "a goal that needs \(mismatch)"
    }
    if !draws.goalBodies.isEmpty && goal.count < 3 {
      return "bodies that go with a goal of \(goal.count) numbers"
    }
    for (body, distribution) in draws.bodyOffsets.sorted(by: { $0.key < $1.key }) {
      if let mismatch = distribution.mismatch(with: 3) {
        return "an offset of \"\(body)\" that needs \(mismatch)"
      }
    }
    for (parameter, bounds) in draws.modelFactors.sorted(by: { $0.key < $1.key })
    where bounds.count != 2 || !(0 < bounds[0] && bounds[0] <= bounds[1] && bounds[1].isFinite) {
      return "factors \(bounds) on the \(parameter.quantity.rawValue) of \"\(parameter.element)\""
    }
    return nil
  }

  /// The condition without draws: what they are about.
  public var nominal: Condition {
    var condition = self
    condition.draws = nil
    return condition
  }
}
