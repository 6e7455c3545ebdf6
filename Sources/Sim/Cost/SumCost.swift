package import Configuration
public import GPSCore

/// One term of a cost, of any kind: see `kinds`.
public struct CostTerm: Sendable, Equatable {
  package let base: any CostKernel

  package init(_ base: any CostKernel) { self.base = base }

  /// Effort.
  public static func control(_ cost: ControlCost) -> CostTerm { CostTerm(cost) }
  /// Entries of the state.
  public static func state(_ cost: StateCost) -> CostTerm { CostTerm(cost) }
  /// Points in space.
  public static func point(_ cost: PointCost) -> CostTerm { CostTerm(cost) }
  /// Points inside or outside a region.
  public static func region(_ cost: RegionCost) -> CostTerm { CostTerm(cost) }
  /// How the frame at a point is turned.
  public static func orientation(_ cost: OrientationCost) -> CostTerm { CostTerm(cost) }
  /// Where an axis of the frame at a point points.
  public static func axis(_ cost: AxisCost) -> CostTerm { CostTerm(cost) }
  /// Entries of the state as they are: a price, or a reward.
  public static func linear(_ cost: LinearCost) -> CostTerm { CostTerm(cost) }
  /// What the system itself pays.
  public static func reward(_ cost: RewardCost) -> CostTerm { CostTerm(cost) }
  /// A formula.
  public static func expression(_ cost: ExpressionCost) -> CostTerm { CostTerm(cost) }

  /// Whether both are of one kind and equal.
  public static func == (a: CostTerm, b: CostTerm) -> Bool { areEqual(a.base, b.base) }
}

/// The registry of cost terms: a line each.
extension SumCost.Entry: OneOfKinds {
  package static let noun = "a term"
  package static let plural = "terms"
  package static let kinds = [
    kind(ControlCost.self), kind(StateCost.self), kind(PointCost.self), kind(RegionCost.self),
    kind(OrientationCost.self), kind(AxisCost.self),
    kind(LinearCost.self), kind(RewardCost.self), kind(ExpressionCost.self),
  ]

  private static func kind<Term: CostKernel>(_ type: Term.Type) -> Kind<Self> {
    Kind(Weighted<Term>.self) {
      Self(weight: $0.weight, CostTerm($0.term))
    } payload: { entry in
      (entry.term.base as? Term).map { Weighted(term: $0, weight: entry.weight) }
    }
  }

  /// A term as it stands in a file: its weight beside its own settings.
  private struct Weighted<Term: CostKernel>: Configurable {
    var term: Term
    var weight: Double

    static var schema: Schema<Weighted> {
      let own = Term.schema
      return Schema<Weighted>(own.name, own.text, Weighted(term: own.standard, weight: 1)) {
        own.fields(in: \.term)
        Field(
          "weight", \.weight, Term.canReward ? Check("finite") { $0.isFinite } : .notNegative,
          Term.canReward
            ? "The factor on the term; a negative one makes it a reward."
            : "The factor on the term."
        )
      } rule: { weighted throws(InvalidOption) in
        try own.check(weighted.term)
      }
    }
  }
}

/// A weighted sum of terms: ℓ_t = Σ weight · term_t, each term with a ramp of its own.
///
/// Costs have no unit of their own: weights turn squared radians, metres and newtons into one number.
public struct SumCost: Cost, Sendable, Equatable {
  /// A term and its weight.
  public struct Entry: Sendable, Equatable {
    /// The factor on the term, which sets its unit beside those of the others.
    public var weight: Double
    /// The term.
    public var term: CostTerm

    /// A term and its weight.
    public init(weight: Double = 1, _ term: CostTerm) {
      self.weight = weight
      self.term = term
    }
  }

  /// The terms, added in this order.
  public var entries: [Entry]

  /// Whether a term refers to points.
  public var needsPointJacobians: Bool { entries.contains { $0.term.base.readsPoints } }

  /// A weighted sum.
  public init(_ entries: [Entry]) { self.entries = entries }

  /// A sum of terms of weight 1.
  public init(_ terms: CostTerm...) { entries = terms.map { Entry($0) } }

  /// This cost, if every index, length and number in it fits the problem.
  ///
  /// - Parameters:
  ///   - dimensions: n, m and the number of points, which indices must stay below.
  ///   - conditions: all that the cost will be asked for; their goals must be long enough.
  /// - Returns: the cost, with one number for each entry where one stood for all.
  /// - Throws: `SimError` that names the term and what is allowed.
  public func validated(
    for dimensions: Dimensions, conditions: [Condition]
  ) throws(SimError) -> SumCost {
    try resolved(in: Scope(dimensions, conditions))
  }

  /// This cost with numbers for names, if everything in it fits the task.
  package func resolved(in scope: Scope) throws(SimError) -> SumCost {
    var sum = self
    for (index, entry) in entries.enumerated() {
      let (key, base) = ("cost[\(index)]", entry.term.base)
      try SimError.check(
        entry.weight.isFinite, key: "\(key).weight", value: entry.weight, allowed: "finite")
      let term = "\(key).\(base.kindName)"
      try base.ramp.check(horizon: scope.dimensions.horizon, key: "\(term).ramp")
      sum.entries[index].term = CostTerm(try base.resolved(in: scope, key: term))
    }
    return sum
  }

  /// Each term's own share of the values, its weight included, in the order of the terms: for figures
  /// and logs.
  ///
  /// - Returns: T + 1 numbers for each term.
  public func valuesByTerm(along trajectory: Trajectory, in condition: Condition) -> [[Double]] {
    entries.map { SumCost([$0]).values(along: trajectory, in: condition) }
  }

  /// Adds ℓ_t for every step.
  public func addValues(
    to values: inout [Double], along trajectory: Trajectory, in condition: Condition
  ) {
    withViews(of: &values, trajectory) { (values, view) in
      for entry in entries {
        entry.term.base.addValues(to: values, scale: entry.weight, along: view, in: condition)
      }
    }
  }

  /// Adds values, gradients and Hessians at every step.
  public func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    withViews(of: &expansion, trajectory) { (expansion, view) in
      for entry in entries {
        entry.term.base.addExpansion(
          to: expansion, scale: entry.weight, along: view, in: condition)
      }
    }
  }
}
