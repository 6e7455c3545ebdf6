public import GPSCore
import LinearAlgebra
public import Statistics

/// Draws trajectories from linear-Gaussian dynamics under a linear-Gaussian controller: x_0, then u_t
/// from the controller and x_{t+1} from the dynamics. The covariances are factorised once.
public struct TrajectorySampler: Sendable {
  private let dynamics: LinearGaussianDynamics
  private let controller: LinearGaussianController
  private let observations: ObservationModel
  /// Lower factors of the covariances of x_0 and of x_1 … x_T; nil where the covariance is 0.
  private let factors: [Matrix?]

  /// A sampler.
  ///
  /// - Parameters:
  ///   - dynamics: the model.
  ///   - controller: chooses the controls.
  ///   - observations: what is observed in each state.
  /// - Throws: `LQRError.inputNotFinite` or, when a covariance has no factor even with jitter,
  ///   `.covariance`, with field and time step.
  public init(
    dynamics: LinearGaussianDynamics, controller: LinearGaussianController,
    observations: ObservationModel
  ) throws(LQRError) {
    precondition(
      controller.state == dynamics.state && controller.control == dynamics.control
        && controller.horizon == dynamics.horizon,
      "a controller of \(controller.state) × \(controller.control) × \(controller.horizon) for "
        + "dynamics of \(dynamics.state) × \(dynamics.control) × \(dynamics.horizon)")
    self.dynamics = dynamics
    self.controller = controller
    self.observations = observations
    if let input = dynamics.nonFinite ?? controller.nonFinite { throw input.error }
    var factors: [Matrix?] = []
    do {
      factors.append(try Self.factor(dynamics.initialCovariance))
    } catch {
      throw .covariance(field: "covariance of the initial state", step: nil, error)
    }
    for t in 0..<dynamics.horizon {
      do {
        factors.append(try Self.factor(dynamics.covariances[t]))
      } catch {
        throw .covariance(field: "dynamics' covariance", step: t, error)
      }
    }
    self.factors = factors
  }

  /// A lower L with L Lᵀ = Σ, whose rows are 0 where the variance is; nil if Σ is 0.
  private static func factor(_ covariance: Matrix) throws(LinearAlgebraError) -> Matrix? {
    let n = covariance.rows
    let moving = (0..<n).filter { covariance[$0, $0] != 0 }
    if moving.isEmpty { return nil }
    var block = Matrix(rows: moving.count, columns: moving.count)
    for (j, column) in moving.enumerated() {
      for (i, row) in moving.enumerated() { block[i, j] = covariance[row, column] }
    }
    let factor = try CholeskyFactor.regularizing(block).factor.lower
    if moving.count == n { return factor }
    var lower = Matrix(rows: n, columns: n)
    for (j, column) in moving.enumerated() {
      for (i, row) in moving.enumerated() { lower[row, column] = factor[i, j] }
    }
    return lower
  }

  /// One trajectory.
  ///
  /// - Parameter stream: the source of all noise.
  /// - Returns: a trajectory without points; nil if a number in it is not finite.
  public func trajectory(stream: inout RandomStream) -> Trajectory? {
    let (n, m, T) = (dynamics.state, dynamics.control, dynamics.horizon)
    var states = Matrix(rows: n, columns: T + 1)
    var controls = Matrix(rows: m, columns: T)
    let normals = Scratch<Double>(max(n, m))
    /// Adds noise with the lower factor L of its covariance.
    func perturb(_ x: UnsafeMutablePointer<Double>, _ size: Int, _ L: UnsafePointer<Double>?) {
      guard let L else { return }
      stream.fillNormals(UnsafeMutableBufferPointer(start: normals.pointer, count: size))
      Kernels.gemv(m: size, n: size, L, size, normals.pointer, 1, x)
    }
    func perturbState(_ x: UnsafeMutablePointer<Double>, _ t: Int) {
      factors[t]?.storage.withUnsafeBufferPointer { perturb(x, n, $0.baseAddress) }
    }
    states.storage.withUnsafeMutableBufferPointer { X in
      controls.storage.withUnsafeMutableBufferPointer { U in
        guard let x0 = X.baseAddress else { return }
        for i in 0..<n { x0[i] = dynamics.initialMean[i] }
        perturbState(x0, 0)
        withDynamics(dynamics) { F, f in
          withController(controller) { K, k, L in
            for t in 0..<T {
              guard let u = U.baseAddress.map({ $0 + t * m }) else { return }
              let (x, next) = (x0 + t * n, x0 + (t + 1) * n)
              u.update(from: k + t * m, count: m)
              Kernels.gemv(m: m, n: n, K + t * m * n, m, x, 1, u)
              perturb(u, m, L + t * m * m)
              let A = F + t * n * (n + m)
              next.update(from: f + t * n, count: n)
              Kernels.gemv(m: n, n: n, A, n, x, 1, next)
              Kernels.gemv(m: n, n: m, A + n * n, n, u, 1, next)
              perturbState(next, t + 1)
            }
          }
        }
      }
    }
    guard states.isFinite && controls.isFinite else { return nil }
    let observed = (0...T).map { observations.observation(in: states.column($0), at: $0) }
    return Trajectory(
      states: states, controls: controls,
      observations: Matrix(
        rows: observed.first?.count ?? 0, columns: T + 1, columnMajor: observed.flatMap { $0 }))
  }
}

/// The part of state space that some rollouts have seen up to their ends, and twice the width of it on either side: beyond,
/// a model that was fitted to them knows nothing.
///
/// A number of the state that hardly moved in the rollouts may still be moved by the model's noise: the
/// margin is at least four deviations of what this noise adds up to over the horizon,
/// σ_i² = (Σ_0)_ii + Σ_t (Σ_t)_ii.
public struct VisitedRegion: Sendable {
  /// Least and largest value of each number of the state.
  private let low: [Double]
  private let high: [Double]

  /// The region about some rollouts.
  ///
  /// - Parameters:
  ///   - trajectories: N > 0 rollouts of n states.
  ///   - dynamics: the model fitted to them, of n states.
  public init(of trajectories: [Trajectory], under dynamics: LinearGaussianDynamics) {
    let n = dynamics.state
    precondition(
      !trajectories.isEmpty && trajectories.allSatisfy { $0.states.rows == n },
      "\(trajectories.count) rollouts of \(trajectories.first?.states.rows ?? 0) states for dynamics of "
        + "\(n)")
    var low = [Double](repeating: .infinity, count: n)
    var high = [Double](repeating: -.infinity, count: n)
    for trajectory in trajectories {
      let states = trajectory.states
      for t in 0...trajectory.stepsToEnd {
        for i in 0..<n {
          low[i] = min(low[i], states[i, t])
          high[i] = max(high[i], states[i, t])
        }
      }
    }
    for i in 0..<n {
      var variance = dynamics.initialCovariance[i, i]
      for t in 0..<dynamics.horizon {
        variance += dynamics.covariances.storage[(t * n + i) * n + i]
      }
      // Rounding of a state that neither moves nor is moved.
      let rounding = 1e-9 * max(abs(low[i]), abs(high[i]))
      let margin = max(2 * (high[i] - low[i]), 4 * variance.squareRoot(), rounding)
      low[i] -= margin
      high[i] += margin
    }
    (self.low, self.high) = (low, high)
  }

  /// Whether all states of a trajectory lie within the region.
  public func contains(_ trajectory: Trajectory) -> Bool {
    let n = low.count
    precondition(
      trajectory.states.rows == n, "\(trajectory.states.rows) states for a region of \(n)")
    for t in 0..<trajectory.states.columns {
      for i in 0..<n {
        let x = trajectory.states[i, t]
        if !(x >= low[i] && x <= high[i]) { return false }
      }
    }
    return true
  }
}
