// Time-varying linear-Gaussian dynamics from a few rollouts.
//
//   p(x_{t+1} | x_t, u_t) = N(A_t x_t + B_t u_t + f_t, Σ_t)
//
// by conditioning the joint distribution of z = [x_t; u_t; x_{t+1}], whose prior at each step comes from
// a Gaussian mixture over the points of all steps of the last trajectories (Levine & Abbeel 2014,
// section 4; Levine et al. 2016, arXiv 1504.00702, appendix A.3). The regression itself is
// `LinearGaussianRegression`.
//
// Where rollouts end before their time, step t is fitted to those alone that go on beyond it, and the prior to
// steps before the ends. Where none goes on, x' = x: an ended rollout pays its price whatever its state.

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
  /// A state that never moves within the batch is predicted to stay what it was, and coordinates that jitter (see
  /// Jitter.swift) to be their mean, with their variance. What rollouts did after their ends
  /// (`Trajectory.endStep`) is no data.
  ///
  /// - Parameters:
  ///   - trajectories: N > 0 rollouts of one shape.
  ///   - prior: what earlier iterations left; `DynamicsPrior()` at first.
  ///   - condition: its index, for errors.
  ///   - stream: where the mixture's seeds are drawn from.
  ///   - vectors: entries of the state that are the coordinates of one vector (`ControlTask.stateVectors`).
  /// - Returns: the dynamics, the prior that has taken in these rollouts, and what was out of the
  ///   ordinary, one sentence each.
  /// - Throws: `DynamicsError`; the caller's prior stays as it was.
  public func fit(
    _ trajectories: [Trajectory], updating prior: DynamicsPrior, condition: Int?,
    stream: RandomStream, vectors: [StateVector] = []
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

    let spans = trajectories.spansToEnds
    guard let start = spans.first, !start.going.isEmpty else {
      throw .noTrajectories(condition: condition)
    }
    let jitter = trajectories.jitter(in: vectors)
    let rollouts = trajectories.map { $0.fixing(jitter) }
    let points = Self.pointsByStep(start.going.map { rollouts[$0] }, n, m, start.steps)
    let others = spans.dropFirst().filter { !$0.going.isEmpty }.map { span in
      (span.steps, Self.pointsByStep(span.going.map { rollouts[$0] }, n, m, span.steps))
    }
    let batch: Whitening
    do {
      batch = try Self.whitening(of: [points] + others.map(\.1))
    } catch {
      throw Self.located(error, condition: condition)
    }

    var next = prior
    var notes: [String] = []
    if options.prior != .none {
      next.remember(trajectories, maxTrajectories: options.maxTrajectories)
      var stream = stream
      next.jitter = jitter
      // A mixture of points in which other entries stood still is no start.
      let warm = jitter == prior.jitter ? prior.mixture : nil
      do {
        next.mixture = try MixturePrior.fitted(
          to: next.points, options: options.mixture, warmStart: warm, stream: &stream)
      } catch {
        throw .mixture(condition: condition, error)
      }
    }

    var fit: LinearGaussianRegression.Fit
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
      if spans.count > 1 {
        fit = fit.standingStill(
          for: T, after: start.steps, inputs: n + m,
          variances: (0..<n).map {
            let scale = batch.scale[n + m + $0]
            return options.regression.covarianceFloor * scale * scale
          })
      }
      for (steps, points) in others {
        try fit.replace(
          steps,
          by: regression.fit(
            points, inputCount: n + m, prior: next.strength == 0 ? nil : next.mixture,
            priorFloor: options.mixture.covarianceFloor))
      }
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
    for i in jitter { Self.scatter(i, over: trajectories, spans, in: &dynamics) }
    return (dynamics, next, notes)
  }

  private static func whitening(
    of parts: [MatrixSequence]
  ) throws(StatisticsError) -> Whitening {
    if parts.count == 1 { return try Whitening(of: parts[0]) }
    let all = parts.flatMap(\.storage)
    let d = parts[0].rows
    return try Whitening(of: Matrix(rows: d, columns: all.count / d, columnMajor: all))
  }

  /// Matrices (2 n + m) × N of the points [x_t; u_t; x_{t+1}], one for each of some steps.
  private static func pointsByStep(
    _ trajectories: [Trajectory], _ n: Int, _ m: Int, _ steps: Range<Int>
  ) -> MatrixSequence {
    let d = 2 * n + m
    let N = trajectories.count
    let T = steps.count
    var points = MatrixSequence(rows: d, columns: N, count: T)
    points.storage.withUnsafeMutableBufferPointer { z in
      for (sample, trajectory) in trajectories.enumerated() {
        trajectory.states.storage.withUnsafeBufferPointer { x in
          trajectory.controls.storage.withUnsafeBufferPointer { u in
            for t in steps {
              let base = ((t - steps.lowerBound) * N + sample) * d
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

  /// Replaces the prediction of state i by its mean over the rollouts at the next step, with their variance:
  /// whatever the others are.
  private static func scatter(
    _ i: Int, over trajectories: [Trajectory], _ spans: [(steps: Range<Int>, going: [Int])],
    in dynamics: inout LinearGaussianDynamics
  ) {
    let (n, d) = (dynamics.state, dynamics.state + dynamics.control)
    for (steps, going) in spans where !going.isEmpty {
      for t in steps {
        let next = going.map { trajectories[$0].states[i, t + 1] }
        let mean = next.reduce(0, +) / Double(next.count)
        let variance = next.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(next.count)
        for j in 0..<d { dynamics.transitions.storage[t * n * d + i + n * j] = 0 }
        dynamics.offsets[i, t] = mean
        dynamics.covariances.storage[t * n * n + i + n * i] += variance
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

extension LinearGaussianRegression.Fit {
  /// This fit of the first steps, for T steps: at all others the outputs stay what the first inputs are, with
  /// these variances.
  fileprivate func standingStill(
    for T: Int, after steps: Range<Int>, inputs p: Int, variances: [Double]
  ) -> Self {
    let q = variances.count
    var (F, C) = (Matrix(rows: q, columns: p), Matrix(rows: q, columns: q))
    for i in 0..<q {
      F[i, i] = 1
      C[i, i] = variances[i]
    }
    var all = self
    all.coefficients = MatrixSequence(repeating: F, count: T)
    all.offsets = Matrix(rows: q, columns: T)
    all.covariances = MatrixSequence(repeating: C, count: T)
    (all.jitteredSteps, all.largestJitter) = (0, 0)
    all.replace(steps, by: self)
    return all
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
