public import LinearAlgebra

/// What a policy would observe in states that no rollout visited: o_t ≈ ō_t + G (x_t − x̄_t), where x̄_t and
/// ō_t are the means of a batch of rollouts at step t.
///
/// An observed number that equals one of the state's at every step of every rollout is copied from it.
/// The others get their row of G by ridge regression of the deviations from the means, pooled over all
/// steps.
public struct ObservationModel: Sendable {
  /// x̄_t: n × (T + 1).
  let meanStates: Matrix
  /// ō_t: o × (T + 1).
  let meanObservations: Matrix
  /// G: o × n.
  let slopes: Matrix
  /// For each observed number the state's number that it always equals.
  let copies: [Int?]

  /// A model of the observations about some rollouts.
  ///
  /// - Parameter trajectories: N > 0 rollouts of one shape.
  /// - Throws: `LinearAlgebraError` when the deviations cannot be regressed on.
  public init(about trajectories: [Trajectory]) throws(LinearAlgebraError) {
    precondition(!trajectories.isEmpty, "no rollout to observe")
    let (n, o, columns) = (
      trajectories[0].states.rows, trajectories[0].observations.rows, trajectories[0].states.columns
    )
    let share = 1 / Double(trajectories.count)
    var meanStates = Matrix(rows: n, columns: columns)
    var meanObservations = Matrix(rows: o, columns: columns)
    for trajectory in trajectories {
      for i in meanStates.storage.indices {
        meanStates.storage[i] += share * trajectory.states.storage[i]
      }
      for i in meanObservations.storage.indices {
        meanObservations.storage[i] += share * trajectory.observations.storage[i]
      }
    }
    copies = (0..<o).map { i in
      (0..<n).first { j in
        trajectories.allSatisfy { trajectory in
          (0..<columns).allSatisfy { trajectory.observations[i, $0] == trajectory.states[j, $0] }
        }
      }
    }
    self.meanStates = meanStates
    self.meanObservations = meanObservations
    slopes =
      copies.contains(nil)
      ? try Self.slopes(trajectories, meanStates, meanObservations)
      : Matrix(rows: o, columns: n)
  }

  /// Gᵀ = (Σ dx dxᵀ + ρ diag)⁻¹ Σ dx doᵀ.
  private static func slopes(
    _ trajectories: [Trajectory], _ meanStates: Matrix, _ meanObservations: Matrix
  ) throws(LinearAlgebraError) -> Matrix {
    let (n, o) = (meanStates.rows, meanObservations.rows)
    var gram = Matrix(rows: n, columns: n)
    var cross = Matrix(rows: n, columns: o)
    for trajectory in trajectories {
      let dx = trajectory.states - meanStates
      gram += dx * dx.transposed
      cross += dx * (trajectory.observations - meanObservations).transposed
    }
    for i in 0..<n { gram[i, i] = gram[i, i] * (1 + 1e-6) + 1e-12 }
    return try CholeskyFactor(gram).solve(cross).transposed
  }

  /// The observation expected in state x at step t.
  ///
  /// - Parameters:
  ///   - state: n numbers.
  ///   - t: the step, from 0.
  /// - Returns: o numbers.
  public func observation(in state: [Double], at t: Int) -> [Double] {
    let deviation = (0..<state.count).map { state[$0] - meanStates[$0, t] }
    return copies.indices.map { i in
      if let j = copies[i] { return state[j] }
      return (0..<deviation.count).reduce(meanObservations[i, t]) {
        $0 + slopes[i, $1] * deviation[$1]
      }
    }
  }
}
