public import LinearAlgebra

/// A cost of a whole trajectory, to be minimised: ℓ(τ) = Σ_t ℓ_t(x_t, u_t) + ℓ_T(x_T).
public protocol Cost: Sendable {
  /// Adds ℓ_t for every step and ℓ_T as the last number.
  ///
  /// - Parameters:
  ///   - values: T + 1 numbers, added to.
  ///   - trajectory: the rollout.
  ///   - condition: where its goal comes from.
  func addValues(
    to values: inout [Double], along trajectory: Trajectory, in condition: Condition)

  /// Adds values, gradients and Hessians in y = [x; u] at every step.
  ///
  /// - Parameters:
  ///   - expansion: added to.
  ///   - trajectory: the rollout about which to expand.
  ///   - condition: where its goal comes from.
  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition)
}

extension Cost {
  /// ℓ_0 … ℓ_T: T + 1 numbers.
  public func values(along trajectory: Trajectory, in condition: Condition) -> [Double] {
    var values = [Double](repeating: 0, count: trajectory.horizon + 1)
    addValues(to: &values, along: trajectory, in: condition)
    return values
  }

  /// The expansion about one trajectory.
  public func expansion(along trajectory: Trajectory, in condition: Condition) -> CostExpansion {
    var expansion = CostExpansion(
      state: trajectory.states.rows, control: trajectory.controls.rows, horizon: trajectory.horizon)
    addExpansion(to: &expansion, along: trajectory, in: condition)
    return expansion
  }

  /// The quadratic cost about a batch: each rollout's expansion in absolute coordinates, averaged
  /// with equal weights.
  ///
  /// - Throws: `CostError` when an entry is not finite.
  public func quadratic(
    over trajectories: [Trajectory], in condition: Condition
  ) throws(CostError) -> QuadraticCost {
    precondition(!trajectories.isEmpty, "no trajectory to expand about")
    var sum: QuadraticCost?
    for (sample, trajectory) in trajectories.enumerated() {
      let term = expansion(along: trajectory, in: condition).recentered(along: trajectory)
      if let step = term.firstNonFiniteStep { throw .notFinite(sample: sample, step: step) }
      sum = sum.map { $0.adding(term) } ?? term
    }
    // `sum` is set: there is at least one trajectory.
    return (sum ?? QuadraticCost(state: 0, control: 0, horizon: 0))
      .scaled(by: 1 / Double(trajectories.count))
  }
}

/// A cost that is not a number.
public enum CostError: Error, Sendable, Equatable, CustomStringConvertible {
  /// A value or derivative of the cost is NaN or infinite.
  case notFinite(sample: Int, step: Int)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .notFinite(let sample, let step):
      "the cost of sample \(sample) is not finite at step \(step)"
    }
  }
}

/// Values and derivatives of a cost at the points of one trajectory.
public struct CostExpansion: Sendable {
  /// ℓ_t, T + 1 numbers; the last is the terminal cost.
  public var values: [Double]
  /// ∂ℓ/∂y at each step: (n + m) × (T + 1); the terminal column has zeros for the control.
  public var gradients: Matrix
  /// ∂²ℓ/∂y² at each step: T + 1 matrices (n + m) × (n + m), symmetric.
  public var hessians: MatrixSequence
  /// n.
  public let state: Int
  /// m.
  public let control: Int

  /// T.
  public var horizon: Int { values.count - 1 }

  /// An expansion of zeros.
  public init(state: Int, control: Int, horizon: Int) {
    self.state = state
    self.control = control
    values = [Double](repeating: 0, count: horizon + 1)
    gradients = Matrix(rows: state + control, columns: horizon + 1)
    hessians = MatrixSequence(rows: state + control, columns: state + control, count: horizon + 1)
  }

  /// The same quadratic in absolute coordinates: ½ yᵀ C y + cᵀ y + constant.
  public func recentered(along trajectory: Trajectory) -> QuadraticCost {
    let d = state + control
    var result = QuadraticCost(state: state, control: control, horizon: horizon)
    result.hessians = hessians
    var y = [Double](repeating: 0, count: d)
    for t in 0...horizon {
      for i in 0..<state { y[i] = trajectory.states[i, t] }
      for i in 0..<control { y[state + i] = t < horizon ? trajectory.controls[i, t] : 0 }
      var constant = values[t]
      let base = t * d * d
      for i in 0..<d {
        // C y, then c = g − C y and constant = ℓ − gᵀ y + ½ yᵀ C y.
        var Cy = 0.0
        for j in 0..<d { Cy += hessians.storage[base + i + d * j] * y[j] }
        result.gradients[i, t] = gradients[i, t] - Cy
        constant += y[i] * (0.5 * Cy - gradients[i, t])
      }
      result.constants[t] = constant
    }
    return result
  }
}

/// A time-varying quadratic cost in absolute coordinates: Σ_t ½ y_tᵀ C_t y_t + c_tᵀ y_t + constant_t
/// with y_t = [x_t; u_t]; at t = T only the state part is used.
public struct QuadraticCost: Sendable, Equatable {
  /// C_t: T + 1 matrices (n + m) × (n + m), symmetric, possibly indefinite.
  public var hessians: MatrixSequence
  /// c_t: (n + m) × (T + 1).
  public var gradients: Matrix
  /// constant_t: T + 1 numbers.
  public var constants: [Double]
  /// n.
  public let state: Int
  /// m.
  public let control: Int

  /// T.
  public var horizon: Int { constants.count - 1 }

  /// A cost of zero.
  public init(state: Int, control: Int, horizon: Int) {
    self.state = state
    self.control = control
    hessians = MatrixSequence(rows: state + control, columns: state + control, count: horizon + 1)
    gradients = Matrix(rows: state + control, columns: horizon + 1)
    constants = [Double](repeating: 0, count: horizon + 1)
  }

  /// The first step at which an entry is NaN or infinite.
  public var firstNonFiniteStep: Int? {
    let d = state + control
    return constants.indices.first { t in
      !constants[t].isFinite
        || !gradients.storage[t * d..<(t + 1) * d].allSatisfy(\.isFinite)
        || !hessians.storage[t * d * d..<(t + 1) * d * d].allSatisfy(\.isFinite)
    }
  }

  func adding(_ other: QuadraticCost) -> QuadraticCost {
    var sum = self
    for i in sum.hessians.storage.indices { sum.hessians.storage[i] += other.hessians.storage[i] }
    for i in sum.gradients.storage.indices {
      sum.gradients.storage[i] += other.gradients.storage[i]
    }
    for t in sum.constants.indices { sum.constants[t] += other.constants[t] }
    return sum
  }

  func scaled(by factor: Double) -> QuadraticCost {
    var result = self
    for i in result.hessians.storage.indices { result.hessians.storage[i] *= factor }
    for i in result.gradients.storage.indices { result.gradients.storage[i] *= factor }
    for t in result.constants.indices { result.constants[t] *= factor }
    return result
  }
}
