public import LinearAlgebra

/// A cost of a whole trajectory, to be minimised: ℓ(τ) = Σ_t ℓ_t(x_t, u_t) + ℓ_T(x_T).
public protocol Cost: Sendable {
  /// Whether expansions read the points' Jacobians. Trajectories for a cost that does not have none:
  /// with a few points they would be most of what a trajectory holds.
  var needsPointJacobians: Bool { get }

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
  /// Hessians must be symmetric; they may be indefinite.
  ///
  /// - Parameters:
  ///   - expansion: added to; of the trajectory's n, m and T.
  ///   - trajectory: the rollout about which to expand.
  ///   - condition: where its goal comes from.
  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition)

  /// The quadratic cost about a batch: by default each rollout's expansion in absolute coordinates, averaged
  /// with equal weights: C = mean C_n, c = mean (c_n − C_n y_n). A cost of which only values are known is
  /// fitted to those of all rollouts instead.
  ///
  /// - Parameters:
  ///   - trajectories: N > 0 rollouts of one shape.
  ///   - condition: where the goal comes from.
  /// - Returns: T + 1 quadratics in y = [x; u].
  /// - Throws: `CostError` when an entry is not finite.
  func quadratic(
    over trajectories: [Trajectory], in condition: Condition
  ) throws(CostError) -> QuadraticCost
}

extension Cost {
  /// A cost that says nothing may need them.
  public var needsPointJacobians: Bool { true }

  /// ℓ_0 … ℓ_T: T + 1 numbers, whose sum is the cost of the rollout, in the rollout's own condition if one
  /// was drawn for it.
  public func values(along trajectory: Trajectory, in condition: Condition) -> [Double] {
    var values = [Double](repeating: 0, count: trajectory.horizon + 1)
    addValues(to: &values, along: trajectory, in: trajectory.condition ?? condition)
    return values
  }

  /// The expansion about one trajectory: values, gradients and Hessians in y = [x; u] at T + 1 steps, in
  /// the trajectory's own condition if one was drawn for it.
  public func expansion(along trajectory: Trajectory, in condition: Condition) -> CostExpansion {
    var expansion = CostExpansion(
      state: trajectory.states.rows, control: trajectory.controls.rows, horizon: trajectory.horizon)
    addExpansion(to: &expansion, along: trajectory, in: trajectory.condition ?? condition)
    return expansion
  }

  /// The mean of the expansions.
  public func quadratic(
    over trajectories: [Trajectory], in condition: Condition
  ) throws(CostError) -> QuadraticCost {
    try meanExpansion(over: trajectories, in: condition)
  }

  /// The mean of the expansions in absolute coordinates.
  package func meanExpansion(
    over trajectories: [Trajectory], in condition: Condition
  ) throws(CostError) -> QuadraticCost {
    precondition(!trajectories.isEmpty, "no trajectory to expand about")
    var sum: QuadraticCost?
    for (sample, trajectory) in trajectories.enumerated() {
      let term = expansion(along: trajectory, in: condition)
      if let step = term.firstNonFiniteStep { throw .notFinite(sample: sample, step: step) }
      if sum == nil {
        sum = QuadraticCost(state: term.state, control: term.control, horizon: term.horizon)
      }
      sum?.add(term, along: trajectory)
    }
    // `sum` is set: there is at least one trajectory.
    var mean = sum ?? QuadraticCost(state: 0, control: 0, horizon: 0)
    mean.scale(by: 1 / Double(trajectories.count))
    return mean
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
    var result = QuadraticCost(state: state, control: control, horizon: horizon)
    result.add(self, along: trajectory)
    return result
  }

  /// The first step at which an entry is NaN or infinite.
  public var firstNonFiniteStep: Int? {
    firstStepNotFinite(
      constants: values, gradients: gradients, hessians: hessians, size: state + control)
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
  /// Where it was fitted to what rollouts cost: the share that it explains of how rollouts that it was not fitted to
  /// differ in their costs from step to step, at most 1; nil for an expansion, and where there was nothing to tell
  /// it by.
  public var explainedShare: Double?
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
    firstStepNotFinite(
      constants: constants, gradients: gradients, hessians: hessians, size: state + control)
  }

  /// Adds an expansion, brought from deviations about `trajectory` to absolute coordinates.
  package mutating func add(_ expansion: CostExpansion, along trajectory: Trajectory) {
    precondition(
      expansion.state == state && expansion.control == control && expansion.horizon == horizon,
      "an expansion of \(expansion.state) + \(expansion.control) numbers over "
        + "\(expansion.horizon) steps for a cost of \(state) + \(control) over \(horizon)")
    let (n, d) = (state, state + control)
    expansion.hessians.storage.withUnsafeBufferPointer { C in
      hessians.storage.withUnsafeMutableBufferPointer { sum in
        for i in 0..<C.count { sum[i] += C[i] }
      }
      withUnsafeTemporaryAllocation(of: Double.self, capacity: 2 * d) { scratch in
        let y = UnsafeMutableBufferPointer(rebasing: scratch[0..<d])
        let Cy = UnsafeMutableBufferPointer(rebasing: scratch[d...])
        for t in 0...horizon {
          for i in 0..<n { y[i] = trajectory.states[i, t] }
          for i in n..<d { y[i] = t < horizon ? trajectory.controls[i - n, t] : 0 }
          for i in 0..<d { Cy[i] = 0 }
          for j in 0..<d where y[j] != 0 {
            for i in 0..<d { Cy[i] += C[i + d * (j + d * t)] * y[j] }
          }
          // c = g − C y and constant = ℓ − gᵀ y + ½ yᵀ C y.
          var constant = expansion.values[t]
          for i in 0..<d {
            let gradient = expansion.gradients[i, t]
            gradients[i, t] += gradient - Cy[i]
            constant += y[i] * (0.5 * Cy[i] - gradient)
          }
          constants[t] += constant
        }
      }
    }
  }

  mutating func scale(by factor: Double) {
    for i in hessians.storage.indices { hessians.storage[i] *= factor }
    for i in gradients.storage.indices { gradients.storage[i] *= factor }
    for t in constants.indices { constants[t] *= factor }
  }
}

/// The first step with a NaN or an infinity in it.
private func firstStepNotFinite(
  constants: [Double], gradients: Matrix, hessians: MatrixSequence, size d: Int
) -> Int? {
  gradients.storage.withUnsafeBufferPointer { g in
    hessians.storage.withUnsafeBufferPointer { C in
      constants.indices.first { t in
        // x · 0 is 0 for finite x and NaN for all others, and NaN survives every sum.
        var sum = constants[t] * 0
        for i in d * t..<d * (t + 1) { sum += g[i] * 0 }
        for i in d * d * t..<d * d * (t + 1) { sum += C[i] * 0 }
        return sum != 0
      }
    }
  }
}
