public import GPSCore

/// One term of a cost; a closed list, so that a sum can be stored in a file and runs without
/// existentials.
public enum CostTerm: Codable, Sendable, Equatable {
  /// Entries of the state.
  case state(StateCost)
  /// Effort.
  case control(ControlCost)
  /// Points in space.
  case point(PointCost)
  /// Points inside or outside a region.
  case region(RegionCost)

  fileprivate var kind: String {
    switch self {
    case .state: "state"
    case .control: "control"
    case .point: "point"
    case .region: "region"
    }
  }
}

/// A weighted sum of terms: ℓ_t = Σ weight · term_t, each term with a ramp of its own.
///
/// Costs have no unit of their own: weights turn squared radians, metres and newtons into one number.
public struct SumCost: Cost, Codable, Sendable, Equatable {
  /// A term and its weight.
  public struct Entry: Codable, Sendable, Equatable {
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
  public var needsPointJacobians: Bool {
    entries.contains { entry in
      switch entry.term {
      case .point, .region: true
      case .state, .control: false
      }
    }
  }

  /// A weighted sum.
  public init(_ entries: [Entry]) { self.entries = entries }

  /// A sum of terms of weight 1.
  public init(_ terms: CostTerm...) { entries = terms.map { Entry($0) } }

  /// This cost, if every index, length and number in it fits the problem.
  ///
  /// - Parameters:
  ///   - dimensions: n, m and the number of points, which indices must stay below.
  ///   - conditions: all that the cost will be asked for; their goals must be long enough.
  /// - Returns: the cost as it is.
  /// - Throws: `SimError` that names the term and what is allowed.
  public func validated(
    for dimensions: Dimensions, conditions: [Condition]
  ) throws(SimError) -> SumCost {
    try validate(for: dimensions, conditions: conditions, key: "cost")
    return self
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
    addValuesFromView(to: &values, along: trajectory, in: condition)
  }

  /// Adds values, gradients and Hessians at every step.
  public func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    addExpansionFromView(to: &expansion, along: trajectory, in: condition)
  }
}

extension SumCost: CostKernel {
  func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    for entry in entries {
      let factor = scale * entry.weight
      switch entry.term {
      case .state(let cost):
        cost.addValues(to: values, scale: factor, along: trajectory, in: condition)
      case .control(let cost):
        cost.addValues(to: values, scale: factor, along: trajectory, in: condition)
      case .point(let cost):
        cost.addValues(to: values, scale: factor, along: trajectory, in: condition)
      case .region(let cost):
        cost.addValues(to: values, scale: factor, along: trajectory, in: condition)
      }
    }
  }

  func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    for entry in entries {
      let factor = scale * entry.weight
      switch entry.term {
      case .state(let cost):
        cost.addExpansion(to: expansion, scale: factor, along: trajectory, in: condition)
      case .control(let cost):
        cost.addExpansion(to: expansion, scale: factor, along: trajectory, in: condition)
      case .point(let cost):
        cost.addExpansion(to: expansion, scale: factor, along: trajectory, in: condition)
      case .region(let cost):
        cost.addExpansion(to: expansion, scale: factor, along: trajectory, in: condition)
      }
    }
  }

  func validate(for dimensions: Dimensions, conditions: [Condition], key: String) throws(SimError) {
    for (index, entry) in entries.enumerated() {
      let name = "\(key)[\(index)].\(entry.term.kind)"
      try SimError.check(
        entry.weight.isFinite, key: "\(key)[\(index)].weight", value: entry.weight,
        allowed: "finite")
      switch entry.term {
      case .state(let cost):
        try cost.validate(for: dimensions, conditions: conditions, key: name)
      case .control(let cost):
        try cost.validate(for: dimensions, conditions: conditions, key: name)
      case .point(let cost):
        try cost.validate(for: dimensions, conditions: conditions, key: name)
      case .region(let cost):
        try cost.validate(for: dimensions, conditions: conditions, key: name)
      }
    }
  }
}
