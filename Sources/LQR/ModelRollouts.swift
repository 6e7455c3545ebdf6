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
  /// - Throws: `LinearAlgebraError` when a covariance has no factor even with jitter.
  public init(
    dynamics: LinearGaussianDynamics, controller: LinearGaussianController,
    observations: ObservationModel
  ) throws {
    precondition(
      controller.state == dynamics.state && controller.control == dynamics.control
        && controller.horizon == dynamics.horizon,
      "a controller of \(controller.state) × \(controller.control) × \(controller.horizon) for "
        + "dynamics of \(dynamics.state) × \(dynamics.control) × \(dynamics.horizon)")
    self.dynamics = dynamics
    self.controller = controller
    self.observations = observations
    func factor(_ covariance: Matrix) throws -> Matrix? {
      if covariance.largestMagnitude == 0 { return nil }
      return try CholeskyFactor.regularizing(covariance).factor.lower
    }
    factors =
      try [factor(dynamics.initialCovariance)]
      + (0..<dynamics.horizon).map { try factor(dynamics.covariances[$0]) }
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
