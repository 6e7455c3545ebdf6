package import Configuration
public import GPSCore
public import LinearAlgebra
public import Statistics

/// The states and observations of the last rollouts of one condition, at which the present policy is
/// asked what it would do, and the last mixture fitted to the answers. What is kept shares the
/// rollouts' storage.
public struct PolicyPrior: Sendable, Codable, Equatable {
  /// States x_0 … x_T of each rollout kept, oldest first: n × (T + 1) each.
  public private(set) var states: [Matrix] = []
  /// Observations at the same steps: o × (T + 1) each.
  public private(set) var observations: [Matrix] = []
  /// The mixture of the last fit, from which the next one starts.
  public internal(set) var mixture: MixturePrior?

  /// A prior that knows nothing.
  public init() {}

  /// A prior from its parts.
  ///
  /// - Parameters:
  ///   - states: x_0 … x_T of each rollout kept, oldest first: n × (T + 1) each.
  ///   - observations: at the same steps: o × (T + 1) each.
  ///   - mixture: in n + m dimensions, or nil.
  public init(states: [Matrix], observations: [Matrix], mixture: MixturePrior?) {
    precondition(
      states.map(\.columns) == observations.map(\.columns)
        && Set(states.map(\.rows)).count <= 1 && Set(observations.map(\.rows)).count <= 1,
      "states of shapes \(states.map { [$0.rows, $0.columns] }) for observations of "
        + "\(observations.map { [$0.rows, $0.columns] })")
    self.states = states
    self.observations = zip(observations, states).map { $0.sharing($1) }
    self.mixture = mixture
  }

  /// Takes in trajectories, up to their ends, and forgets all but the last `maxTrajectories`.
  mutating func remember(_ trajectories: [Trajectory], maxTrajectories: Int) {
    for trajectory in trajectories {
      let (states, observations) = (trajectory.states, trajectory.observations)
      let count = trajectory.stepsToEnd
      if count == trajectory.horizon {
        self.states.append(states)
        self.observations.append(observations)
      } else if count > 0 {
        self.states.append(states[0..<states.rows, 0..<count + 1])
        self.observations.append(observations[0..<observations.rows, 0..<count + 1])
      }
    }
    let surplus = max(0, states.count - maxTrajectories)
    states.removeFirst(surplus)
    observations.removeFirst(surplus)
  }
}

/// Turns the global policy into a time-varying linear-Gaussian controller near some rollouts.
///
/// The pairs of a rollout's states and the policy's mean actions at its observations are fitted by the
/// regression that fits dynamics, with a mixture prior of their own (Montgomery & Levine 2016, section
/// 4.1): π(u_t | x_t) ≈ N(K̄_t x_t + k̄_t, S̄_t), where S̄_t is the residual's covariance plus Σ_π.
public struct PolicyLinearizer: Sendable {
  /// How the policy is linearised.
  public struct Options: Sendable, Equatable {
    /// How the mixture is fitted.
    public var mixture = GaussianMixture.Options()
    /// How many of the last trajectories of a condition the mixture is fitted to, at least 1.
    public var maxTrajectories = 20
    /// How the regression is regularised.
    public var regression = LinearGaussianRegression.Options()

    /// The defaults: the policy is one function of the observation at all steps, so that the mixture
    /// over all steps counts for more than it does for dynamics.
    public init() {
      regression.strength = 5
      regression.regularization = 1e-3
    }

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options { try checked() }
  }

  /// How to linearise.
  public var options: Options

  /// A linearizer.
  public init(options: Options = Options()) { self.options = options }

  /// The policy near a batch of rollouts, and the prior for the next batch. At each step those rollouts count
  /// that go on beyond it, and all of them where none does: the policy would act there, too.
  ///
  /// - Parameters:
  ///   - policy: the global policy.
  ///   - trajectories: N > 0 rollouts of one shape.
  ///   - limits: of the controls, within which the policy acts; nil for none.
  ///   - prior: what earlier iterations left; `PolicyPrior()` at first.
  ///   - stream: where the mixture's seeds are drawn from.
  /// - Returns: the linearised policy and the prior that has taken in these rollouts.
  /// - Throws: `StatisticsError` or `ControllerError`; the caller's prior stays as it was.
  public func linearize(
    _ policy: some DistillablePolicy, about trajectories: [Trajectory],
    limits: ControlLimits? = nil, updating prior: PolicyPrior, stream: RandomStream
  ) throws -> (controller: LinearGaussianController, prior: PolicyPrior) {
    precondition(!trajectories.isEmpty, "no rollout to linearise about")
    let (n, m, T, N) = (
      trajectories[0].states.rows, policy.control, trajectories[0].horizon, trajectories.count
    )
    var next = prior
    next.remember(trajectories, maxTrajectories: options.maxTrajectories)

    // The policy changes between iterations: old observations are asked anew. At x_T nothing acts.
    func points(_ states: Matrix, _ observations: Matrix) -> Matrix {
      let T = states.columns - 1
      var actions = policy.mean(for: observations[0..<policy.observation, 0..<T])
      limits?.clamp(&actions)
      return Self.points(states[0..<n, 0..<T], actions)
    }
    let history = zip(next.states, next.observations).map(points)
    var seeds = stream
    // Where every rollout ended where it began, there are no others.
    let seen =
      history.isEmpty ? trajectories.map { points($0.states, $0.observations) } : history
    let mixture = try MixturePrior.fitted(
      to: Matrix(
        rows: n + m, columns: seen.reduce(0) { $0 + $1.columns },
        columnMajor: seen.flatMap(\.storage)),
      options: options.mixture, warmStart: prior.mixture, stream: &seeds)
    next.mixture = mixture

    // The last of the history are this batch, less what a short history has forgotten of it, and whole where
    // no rollout ended before its time.
    let spans = trajectories.spansToEnds
    let known = spans.count == 1 ? min(N, history.count) : 0
    let batch =
      trajectories.prefix(N - known).map { points($0.states, $0.observations) }
      + history.suffix(known)
    func regression(_ steps: Range<Int>, _ rollouts: [Int]) throws -> LinearGaussianRegression.Fit {
      let count = rollouts.count
      var byStep = MatrixSequence(rows: n + m, columns: count, count: steps.count)
      for (sample, rollout) in rollouts.map({ batch[$0] }).enumerated() {
        for (own, t) in steps.enumerated() {
          for i in 0..<(n + m) {
            byStep.storage[(own * count + sample) * (n + m) + i] = rollout[i, t]
          }
        }
      }
      return try LinearGaussianRegression(options: options.regression).fit(
        byStep, inputCount: n, prior: mixture)
    }
    var fit = try regression(0..<T, Array(batch.indices))
    for (steps, going) in spans where !going.isEmpty && going.count < N {
      fit.replace(steps, by: try regression(steps, going))
    }
    var covariances = fit.covariances
    for t in 0..<T { covariances[t] = (covariances[t] + policy.covariance).symmetrized }
    let controller = try LinearGaussianController(
      gains: fit.coefficients, offsets: fit.offsets, covariances: covariances)
    return (controller, next)
  }

  /// [x; u] for every column: (n + m) × count.
  private static func points(_ states: Matrix, _ actions: Matrix) -> Matrix {
    let (n, m) = (states.rows, actions.rows)
    var points = Matrix(rows: n + m, columns: states.columns)
    points[0..<n, 0..<states.columns] = states
    points[n..<n + m, 0..<states.columns] = actions
    return points
  }
}

extension PolicyLinearizer.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "maxTrajectories", \.maxTrajectories, .atLeast(1),
      "How many of the last rollouts the mixture is fitted to.")
    Field("mixture", \.mixture, "Fit of the mixture.")
    Field("regression", \.regression, "The regression at each time step.")
  }
}
