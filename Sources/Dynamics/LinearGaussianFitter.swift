// Time-varying linear-Gaussian dynamics from a few rollouts.
//
//   p(x_{t+1} | x_t, u_t) = N(A_t x_t + B_t u_t + f_t, Σ_t)
//
// by conditioning the joint distribution of z = [x_t; u_t; x_{t+1}], whose prior at each step comes from
// a Gaussian mixture over the points of all steps of the last trajectories (Levine & Abbeel 2014,
// section 4; Levine et al. 2016, arXiv 1504.00702, appendix A.3). The regression itself is
// `LinearGaussianRegression`.

package import Configuration
public import GPSCore
import LinearAlgebra
public import Statistics

/// Fits time-varying linear-Gaussian dynamics to the rollouts of one condition.
public struct LinearGaussianFitter: Sendable {
  /// Where the prior at each time step comes from.
  public enum PriorKind: String, Sendable, CaseIterable {
    /// A Gaussian mixture over the points of all steps.
    case mixture
    /// The mixture, which counts for as much as serves to predict rollouts that are left out: for the
    /// regression's strength, a tenth, a hundredth of it, or nothing.
    case automatic
    /// Nowhere: ridge regression.
    case none
  }

  /// How dynamics are fitted.
  public struct Options: Sendable, Equatable {
    /// Where the prior at each time step comes from.
    public var prior = PriorKind.mixture
    /// How the mixture is fitted.
    public var mixture = GaussianMixture.Options()
    /// How many of the last trajectories of a condition the mixture is fitted to, at least 1.
    public var maxTrajectories = 20
    /// How the regression is regularised.
    public var regression = LinearGaussianRegression.Options()
    /// What is added to the variance of each number of the initial state, as a share of its variance
    /// over the rollouts.
    public var initialCovarianceFloor = 1e-8

    /// The defaults.
    public init() {}

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options { try checked() }
  }

  /// How to fit.
  public var options: Options

  /// A fitter.
  public init(options: Options = Options()) { self.options = options }

  /// Dynamics about a batch of rollouts, and the prior for the next batch.
  ///
  /// A state that never moves within the batch is predicted to stay what it was.
  ///
  /// - Parameters:
  ///   - trajectories: N > 0 rollouts of one shape.
  ///   - prior: what earlier iterations left; `DynamicsPrior()` at first.
  ///   - condition: its index, for errors.
  ///   - stream: where the mixture's seeds are drawn from.
  /// - Returns: the dynamics, the prior that has taken in these rollouts, and what was out of the
  ///   ordinary, one sentence each.
  /// - Throws: `DynamicsError`; the caller's prior stays as it was.
  public func fit(
    _ trajectories: [Trajectory], updating prior: DynamicsPrior, condition: Int?,
    stream: RandomStream
  ) throws(DynamicsError) -> (
    dynamics: LinearGaussianDynamics, prior: DynamicsPrior, notes: [String]
  ) {
    guard let first = trajectories.first else { throw .noTrajectories(condition: condition) }
    let (n, m, T) = (first.states.rows, first.controls.rows, first.horizon)
    for trajectory in trajectories {
      precondition(
        trajectory.states.rows == n && trajectory.controls.rows == m && trajectory.horizon == T,
        "rollouts of \(trajectory.states.rows) states, \(trajectory.controls.rows) controls, "
          + "\(trajectory.horizon) steps and of \(n), \(m), \(T)")
    }
    precondition(
      prior.states.allSatisfy { $0.rows == n } && prior.controls.allSatisfy { $0.rows == m },
      "a prior for \(prior.states.first?.rows ?? n) states and \(prior.controls.first?.rows ?? m) "
        + "controls, not \(n) and \(m)")

    let points = Self.pointsByStep(trajectories, n, m)
    let batch: Whitening
    do {
      batch = try Whitening(of: points)
    } catch {
      throw Self.located(error, condition: condition)
    }

    var next = prior
    var notes: [String] = []
    if options.prior != .none {
      next.remember(trajectories, maxTrajectories: options.maxTrajectories)
      var stream = stream
      do {
        next.mixture = try MixturePrior.fitted(
          to: next.points, options: options.mixture, warmStart: prior.mixture, stream: &stream)
      } catch {
        throw .mixture(condition: condition, error)
      }
    }

    let fit: LinearGaussianRegression.Fit
    do {
      var regression = LinearGaussianRegression(options: options.regression)
      if options.prior == .automatic, let mixture = next.mixture {
        regression.options.strength = try strength(
          for: points, inputs: n + m, mixture: mixture, scale: Array(batch.scale[(n + m)...]))
      }
      next.strength = options.prior == .none ? 0 : regression.options.strength
      fit = try regression.fit(
        points, inputCount: n + m, prior: next.strength == 0 ? nil : next.mixture,
        priorFloor: options.mixture.covarianceFloor)
    } catch {
      throw Self.located(error, condition: condition)
    }
    if fit.jitteredSteps > 0 {
      notes.append(
        "dynamics of \(fit.jitteredSteps) of \(T) steps took jitter, at most \(fit.largestJitter) "
          + "of each variance")
    }

    let (mean, covariance) = Self.initialState(
      trajectories, floor: options.initialCovarianceFloor)
    var dynamics = LinearGaussianDynamics(
      transitions: fit.coefficients, offsets: fit.offsets, covariances: fit.covariances,
      initialMean: mean, initialCovariance: covariance)
    for i in 0..<n where Self.stays(i, n, m, batch) {
      Self.hold(i, in: &dynamics)
    }
    return (dynamics, next, notes)
  }

  /// T matrices (2 n + m) × N of the points [x_t; u_t; x_{t+1}].
  private static func pointsByStep(
    _ trajectories: [Trajectory], _ n: Int, _ m: Int
  ) -> MatrixSequence {
    let d = 2 * n + m
    let N = trajectories.count
    let T = trajectories.first?.horizon ?? 0
    var points = MatrixSequence(rows: d, columns: N, count: T)
    points.storage.withUnsafeMutableBufferPointer { z in
      for (sample, trajectory) in trajectories.enumerated() {
        trajectory.states.storage.withUnsafeBufferPointer { x in
          trajectory.controls.storage.withUnsafeBufferPointer { u in
            for t in 0..<T {
              let base = (t * N + sample) * d
              for i in 0..<n {
                z[base + i] = x[t * n + i]
                z[base + n + m + i] = x[(t + 1) * n + i]
              }
              for i in 0..<m { z[base + n + i] = u[t * m + i] }
            }
          }
        }
      }
    }
    return points
  }

  /// Mean and covariance (weight 1 / N) of x_0, with the floor.
  static func initialState(
    _ trajectories: [Trajectory], floor: Double
  ) -> (mean: [Double], covariance: Matrix) {
    let N = Double(trajectories.count)
    let n = trajectories[0].states.rows
    let origin = trajectories[0].states.column(0)
    // About the first sample: exactly zero when all start alike.
    let gaps = trajectories.map { rollout in (0..<n).map { rollout.states[$0, 0] - origin[$0] } }
    let shift = (0..<n).map { i in gaps.reduce(0) { $0 + $1[i] } / N }
    var covariance = Matrix(rows: n, columns: n)
    for gap in gaps {
      let centered = (0..<n).map { gap[$0] - shift[$0] }
      covariance += (1 / N) * Matrix.outer(centered, centered)
    }
    for i in 0..<n { covariance[i, i] *= 1 + floor }
    return ((0..<n).map { origin[$0] + shift[$0] }, covariance)
  }

  /// Whether state i never moves within the batch, rounding aside.
  private static func stays(
    _ i: Int, _ n: Int, _ m: Int, _ batch: Whitening
  ) -> Bool {
    batch.isConstant[i] && batch.isConstant[n + m + i]
      && abs(batch.center[i] - batch.center[n + m + i]) <= 1e-12 * abs(batch.center[i])
  }

  /// Replaces the prediction of state i by x_i' = x_i.
  private static func hold(_ i: Int, in dynamics: inout LinearGaussianDynamics) {
    let (n, d) = (dynamics.state, dynamics.state + dynamics.control)
    for t in 0..<dynamics.horizon {
      for j in 0..<d { dynamics.transitions.storage[t * n * d + i + n * j] = i == j ? 1 : 0 }
      dynamics.offsets[i, t] = 0
      // Its noise stays what the regression's floor made it, but no longer goes with others.
      for j in 0..<n where j != i {
        dynamics.covariances.storage[t * n * n + i + n * j] = 0
        dynamics.covariances.storage[t * n * n + j + n * i] = 0
      }
    }
  }

  private static func located(
    _ error: StatisticsError, condition: Int?
  ) -> DynamicsError {
    switch error {
    case .unusableValue(let step, let sample, let dimension, let value):
      .unusableValue(
        condition: condition, sample: sample, step: step ?? 0, dimension: dimension, value: value)
    case .jointCovariance(let step, let cause):
      .jointCovariance(condition: condition, step: step, cause)
    case .component, .weights:
      .mixture(condition: condition, error)
    }
  }
}

extension LinearGaussianFitter.PriorKind: Setting {}

extension LinearGaussianFitter.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field("prior", \.prior, "Where the prior at each time step comes from.")
    Field(
      "maxTrajectories", \.maxTrajectories, .atLeast(1),
      "How many of the last rollouts the mixture is fitted to.")
    Field("mixture", \.mixture, "Fit of the mixture.")
    Field("regression", \.regression, "The regression at each time step.")
    Field(
      "initialCovarianceFloor", \.initialCovarianceFloor, .share,
      "Added to the initial state's variance, as a share of that over the rollouts.")
  }
}
