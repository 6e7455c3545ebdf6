// Iterative LQR and differential dynamic programming on known dynamics.
//
//   minimise  Σ_{t<T} ℓ_t(x_t, u_t) + ℓ_T(x_T)
//   subject to  x_{t+1} = f(x_t, u_t),  x_0 given,  lower ≤ u_t ≤ upper
//
// Each iteration expands dynamics and cost about the iterate, solves the linear-quadratic problem that
// results (ILQRBackwardPass), and rolls out its feedback law with steps of 1, ½, ¼, … until one keeps
// its promise. A start whose states do not follow from its controls is allowed: a step of α closes its
// gaps to 1 − α of themselves, and all at once with α = 1 (Mastalli et al. 2020, FDDP).
//
// What a step must improve is the merit J + ρ Σ_t ‖e_t‖₁, with ρ large enough that the step is a descent
// direction (Nocedal and Wright 2006, equation 18.36); without gaps it is the cost J itself.
//
// Far from the optimum iterative LQR alone does the work; where it gains little per step, the dynamics'
// second derivatives join in, which turns its linear convergence into a quadratic one at up to twice
// the time per iteration (Fletcher and Xu 1987, "Hybrid methods for nonlinear least squares").
//
// Tassa, Erez, Todorov 2012 (regularisation schedule, line search); Tassa, Mansard, Todorov 2014
// (control limits).

package import Configuration
public import GPSCore
public import LinearAlgebra
import Statistics

/// Optimises a trajectory and a feedback law about it, for dynamics that are known.
public struct ILQR: Sendable {
  /// How the search goes.
  public struct Options: Sendable, Equatable {
    /// Iterations at most.
    public var maxIterations = 200
    /// The search has converged when the model promises less than this, as a share of 1 + |cost|, and
    /// no gap is larger than `gapTolerance`.
    public var tolerance = 1e-7
    /// Largest gap between a state and what the dynamics make of the one before, in the state's units.
    public var gapTolerance = 1e-9
    /// Whether the dynamics' second derivatives are used, where there are any (differential dynamic
    /// programming): once the states follow from the controls, after a step that gained less than a
    /// fifth of the cost, and where they are finite and every Q_uu with them is positive definite.
    public var secondDerivatives = true
    /// μ of the first iteration.
    public var initialRegularization = 0.0
    /// The smallest μ that is not 0.
    public var minRegularization = 1e-8
    /// The search gives up above this μ.
    public var maxRegularization = 1e10
    /// By what μ's rate of change grows with each success or failure (δ₀ in Tassa et al. 2012).
    public var regularizationFactor = 2.0
    /// What a step that was refused is multiplied by.
    public var stepReduction = 0.5
    /// Steps that are tried.
    public var maxTrials = 11
    /// Share of the promised improvement that a step must keep.
    public var acceptedShare = 0.3

    /// The defaults.
    public init() {}

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options { try checked() }
  }

  /// Why a search ended.
  public enum Status: String, Sendable, Codable {
    /// The model promises no further improvement.
    case converged
    /// The iterations ran out.
    case iterationsExhausted
    /// No regularisation up to the largest makes every Q_uu positive definite.
    case indefinite
    /// No step, however short and regularised, improves the merit.
    case noImprovement
  }

  /// One line of the search's log.
  public struct Iteration: Sendable, Equatable, Codable {
    /// From 0.
    public var iteration: Int
    /// J of the iterate after it.
    public var cost: Double
    /// Improvement of the merit that the model promised for the step taken.
    public var predictedImprovement: Double
    /// Improvement of the merit that came; 0 if no step was taken.
    public var actualImprovement: Double
    /// Largest gap of the iterate after it, in the state's units.
    public var gap: Double
    /// α of the step; 0 if none was taken.
    public var step: Double
    /// Steps that were tried.
    public var trials: Int
    /// μ of the backward pass.
    public var regularization: Double
    /// Backward passes, those with an indefinite Q_uu included.
    public var passes: Int
  }

  /// A locally optimal trajectory and its feedback law.
  public struct Solution: Sendable {
    /// States, controls and points; no observations.
    public var trajectory: Trajectory
    /// ℓ_0 … ℓ_T: T + 1 numbers.
    public var costs: [Double]
    /// K of u = ū + K (x − x̄): T matrices m × n [unit of the control per unit of the state], all of the
    /// last backward pass that reached the first step; 0 if none did.
    public var gains: MatrixSequence
    /// Largest gap between a state and what the dynamics make of the one before, in the states' units.
    public var gap: Double
    /// Why the search ended.
    public var status: Status
    /// The log.
    public var iterations: [Iteration]

    /// J.
    public var cost: Double { costs.reduce(0, +) }

    /// The feedback law as a controller: u = K (x − x̄) + ū, with the given noise.
    ///
    /// - Parameter covariance: m × m, of the control at every step.
    /// - Returns: a controller for rollouts and for guided policy search to start from.
    /// - Throws: `ControllerError` when the covariance is not positive definite.
    public func controller(
      covariance: Matrix
    ) throws(ControllerError) -> LinearGaussianController {
      try feedbackController(
        gains: gains, states: trajectory.states, controls: trajectory.controls,
        covariance: covariance)
    }
  }

  /// How the search goes.
  public var options: Options

  /// An optimiser.
  public init(options: Options = Options()) { self.options = options }

  /// Searches from a guess.
  ///
  /// - Parameters:
  ///   - dynamics: f with its derivatives.
  ///   - cost: ℓ, with expansions; indefinite Hessians are allowed.
  ///   - condition: where the cost's goal comes from.
  ///   - initialState: x_0, n numbers.
  ///   - controls: the guess of u_0 … u_{T−1}: m × T, T > 0.
  ///   - states: a guess of x_0 … x_T that need not follow from the controls, n × (T + 1), its first
  ///     column `initialState`; nil to roll the controls out.
  ///   - limits: bounds on the controls; the guess is brought within them.
  ///   - workers: how many steps of a line search, and pieces of an expansion, at the same time; the
  ///     result does not depend on it.
  ///   - onIteration: called after each iteration, in the caller's isolation.
  /// - Returns: the best trajectory found, and why the search ended.
  /// - Throws: `ILQRError` when the guess cannot be rolled out or expanded, `InvalidOption`, an error
  ///   of `makeWorkspace`, or `CancellationError`.
  nonisolated(nonsending) public func optimize<D: KnownDynamics>(
    _ dynamics: D, cost: any Cost, in condition: Condition, from initialState: [Double],
    controls: Matrix, states: Matrix? = nil, limits: ControlLimits? = nil, workers: Int = 1,
    onIteration: (Iteration) -> Void = { _ in }
  ) async throws -> Solution {
    let options = try self.options.validated()
    let limits = try limits?.validated(controls: dynamics.control)
    precondition(
      initialState.count == dynamics.state && controls.rows == dynamics.control
        && controls.columns > 0,
      "\(initialState.count) states and \(controls.rows) × \(controls.columns) controls for "
        + "dynamics of \(dynamics.state) and \(dynamics.control)")
    precondition(
      states.map { $0.rows == dynamics.state && $0.columns == controls.columns + 1 } ?? true,
      "\(states?.rows ?? 0) × \(states?.columns ?? 0) states for \(controls.columns) controls")
    var search = try ILQRSearch(
      dynamics, cost: cost, condition: condition, limits: limits, options: options,
      workers: workers, initialState: initialState, controls: controls, states: states)
    return try await search.run(onIteration)
  }
}

extension ILQR {
  /// Gains about a trajectory as if the controls had no limits: one Riccati pass. What a search within limits
  /// ends with has no gains on saturated steps, and does not hold under noise; controls that follow these
  /// are clipped when they are applied.
  ///
  /// - Parameters:
  ///   - dynamics: f with its derivatives.
  ///   - cost: ℓ, with expansions.
  ///   - condition: where the cost's goal comes from.
  ///   - states: x̄_0 … x̄_T: n × (T + 1).
  ///   - controls: ū_0 … ū_{T−1}: m × T.
  /// - Returns: K of u = ū + K (x − x̄): T matrices m × n; nil if no regularisation makes every Q_uu
  ///   positive definite.
  /// - Throws: as `optimize`.
  public func gains<D: KnownDynamics>(
    _ dynamics: D, cost: any Cost, in condition: Condition, states: Matrix, controls: Matrix
  ) async throws -> MatrixSequence? {
    try await gains(
      dynamics, cost: cost, in: condition, states: states, controls: controls,
      efforts: [[Double](repeating: 0, count: dynamics.control)])[0]
  }

  /// The same with an effort: for each of several, a weight per control that is added to the curvature of the cost at
  /// every step.
  func gains<D: KnownDynamics>(
    _ dynamics: D, cost: any Cost, in condition: Condition, states: Matrix, controls: Matrix,
    efforts: [[Double]]
  ) async throws -> [MatrixSequence?] {
    var search = try ILQRSearch(
      dynamics, cost: cost, condition: condition, limits: nil, options: try options.validated(),
      workers: 1, initialState: states.column(0), controls: controls, states: states)
    return try await search.gains(efforts: efforts)
  }

  /// A search that can stop after any iteration and go on later, as if it had not stopped.
  public struct Progress: Sendable, Equatable {
    /// x_0 … x_T: n × (T + 1).
    public internal(set) var states: Matrix
    /// u_0 … u_{T−1}: m × T.
    public internal(set) var controls: Matrix
    /// K of u = ū + K (x − x̄): T matrices m × n; zeros before the first iteration.
    public internal(set) var gains: MatrixSequence
    /// Iterations that came to a line of the log.
    public internal(set) var iterations = 0
    /// J; nil before the first iteration.
    public internal(set) var cost: Double?
    /// Why the search ended; nil if it goes on.
    public internal(set) var status: Status?
    var regularization: Double
    var rate = 1.0
    var penalty = 0.0
    var isNear = false
    var isRelaxed = false

    /// The feedback law as a controller: u = K (x − x̄) + ū, with the given noise.
    ///
    /// - Parameter covariance: m × m, of the control at every step.
    /// - Returns: a controller.
    /// - Throws: `ControllerError` when the covariance is not positive definite.
    public func controller(
      covariance: Matrix
    ) throws(ControllerError) -> LinearGaussianController {
      try feedbackController(
        gains: gains, states: states, controls: controls, covariance: covariance)
    }
  }

  /// A search that has not begun.
  ///
  /// - Parameter guess: a rollout, whose controls are to be improved.
  /// - Returns: the search before its first iteration.
  public func progress(from guess: Trajectory) -> Progress {
    progress(from: guess.controls, states: guess.states)
  }

  /// A search that has not begun.
  ///
  /// - Parameters:
  ///   - controls: to be improved, m × T.
  ///   - states: x_0 … x_T, n × (T + 1).
  /// - Returns: the search before its first iteration.
  public func progress(from controls: Matrix, states: Matrix) -> Progress {
    Progress(
      states: states, controls: controls,
      gains: MatrixSequence(rows: controls.rows, columns: states.rows, count: controls.columns),
      regularization: options.initialRegularization)
  }

  /// One iteration of a search that has not ended.
  ///
  /// - Parameters: as those of `optimize`.
  /// - Returns: the search after it, and the iteration's line of the log; nil if it came to no step.
  /// - Throws: as `optimize`.
  public func advancing<D: KnownDynamics>(
    _ progress: Progress, on dynamics: D, cost: any Cost, in condition: Condition,
    limits: ControlLimits? = nil, workers: Int = 1
  ) async throws -> (progress: Progress, line: Iteration?) {
    precondition(progress.status == nil, "a search that has ended cannot go on")
    let options = try self.options.validated()
    let limits = try limits?.validated(controls: dynamics.control)
    var search = try ILQRSearch(
      dynamics, cost: cost, condition: condition, limits: limits, options: options,
      workers: workers, resuming: progress)
    return try await search.advance(progress)
  }
}

extension ILQR.Progress: Storable {
  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    writer.put("states", states)
    writer.put("controls", controls)
    writer.put("gains", gains)
    writer.put("iterations", text: iterations)
    writer.put("search", [regularization, rate, penalty])
    writer.put("flags", [isNear, isRelaxed])
    if let cost { writer.put("cost", cost) }
    if let status { writer.put("status", text: status.rawValue) }
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    let states = try reader.matrix("states")
    let controls = try reader.matrix("controls", nil, states.columns - 1)
    let gains = try reader.sequence(
      "gains", rows: controls.rows, columns: states.rows, count: controls.columns)
    let search = try reader.numbers("search", 3)
    if states.rows == 0 || controls.rows == 0 || controls.columns == 0
      || !search.allSatisfy({ $0 >= 0 })
    {
      throw StoredValueError("its trajectory is empty or its regularisation negative")
    }
    self.init(states: states, controls: controls, gains: gains, regularization: search[0])
    (rate, penalty) = (search[1], search[2])
    iterations = try reader.count("iterations")
    let flags = try reader.flags("flags", 2)
    (isNear, isRelaxed) = (flags[0], flags[1])
    if reader.holds("cost") { cost = try reader.number("cost") }
    if reader.holdsText("status") { status = try reader.choice("status") }
  }
}

/// u = ū + K (x − x̄) as K x + k.
private func feedbackController(
  gains: MatrixSequence, states: Matrix, controls: Matrix, covariance: Matrix
) throws(ControllerError) -> LinearGaussianController {
  let (m, T) = (gains.rows, gains.count)
  var offsets = controls
  for t in 0..<T {
    let Kx = gains[t] * states.column(t)
    for i in 0..<m { offsets[i, t] -= Kx[i] }
  }
  return try LinearGaussianController(
    gains: gains, offsets: offsets, covariances: MatrixSequence(repeating: covariance, count: T))
}

/// Why a trajectory could not be optimised.
public enum ILQRError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The dynamics failed at a step of the guess, or could not be expanded about an iterate.
  case dynamics(step: Int, reason: String)
  /// A state, cost or derivative of the guess is NaN or infinite.
  ///
  /// - Parameters:
  ///   - field: which.
  ///   - step: t; of the initial state 0.
  case notFinite(field: String, step: Int)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .dynamics(let step, let reason): "the dynamics failed at step \(step): \(reason)"
    case .notFinite(let field, let step): "\(field) at step \(step) is not finite"
    }
  }
}

extension ILQR.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field("maxIterations", \.maxIterations, .atLeast(1), "Most iterations.")
    Field(
      "tolerance", \.tolerance, .fraction,
      "Promised improvement, as a share of 1 + |cost|, at which the search has converged.")
    Field(
      "gapTolerance", \.gapTolerance, Check("more than 0") { $0 > 0 },
      "Largest gap between a state and what the dynamics make of the one before.")
    Field(
      "secondDerivatives", \.secondDerivatives,
      "Whether second derivatives of the dynamics speed up the end (differential dynamic programming)."
    )
    Field(
      "initialRegularization", \.initialRegularization, .notNegative,
      "Regularisation of the first iteration.")
    Field(
      "minRegularization", \.minRegularization, .above(0),
      "Smallest regularisation that is not 0.")
    Field(
      "maxRegularization", \.maxRegularization, Check("finite") { $0.isFinite },
      "Regularisation above which the search gives up.")
    Field(
      "regularizationFactor", \.regularizationFactor, .above(1),
      "Growth of the regularisation's own rate of change.")
    Field(
      "stepReduction", \.stepReduction, .fraction,
      "What a step that was refused is multiplied by.")
    Field("maxTrials", \.maxTrials, .between(1, 60), "Most steps that are tried.")
    Field(
      "acceptedShare", \.acceptedShare, Check("in (0, 0.5)") { 0 < $0 && $0 < 0.5 },
      "Share of the promised improvement that a step must keep.")
  } rule: { options throws(InvalidOption) in
    try InvalidOption.require(
      options.initialRegularization <= options.maxRegularization, "initialRegularization",
      options.initialRegularization, "in [0, maxRegularization]")
    try InvalidOption.require(
      options.minRegularization < options.maxRegularization, "minRegularization",
      options.minRegularization, "in (0, maxRegularization)")
  }
}
