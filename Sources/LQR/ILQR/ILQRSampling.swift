// First guesses for iterative LQR, which only finds the optimum of the basin that it starts in: the
// cross-entropy method over controls that are linear between knots (Rubinstein 1999; Howell et al. 2022,
// "Predictive sampling", has the knots).
//
//   u_t = ū_t + Σ_k h_k(t) θ_k,   θ ~ N(μ, diag σ²),   h_k: hat functions on K knots
//
// Each generation draws θ, rolls out all of it, and takes mean and deviation of the cheapest.

package import Configuration
public import GPSCore
public import LinearAlgebra
public import Statistics

extension ILQR {
  /// How first guesses are sampled.
  public struct Sampling: Sendable, Equatable {
    /// Searches by sampling for each condition, each with knots of its own; nil for three where all controls
    /// have limits and none elsewhere.
    public var tries: Int?
    /// Generations of a try, at most.
    public var generations = 30
    /// Rollouts of a generation.
    public var samples = 64
    /// Share of a generation that makes the next.
    public var elites = 0.1
    /// Standard deviation of the first generation, as a share of half of each control's range, or of
    /// a control without limits of the initial controller's deviation.
    public var deviation = 0.5

    /// The defaults.
    public init() {}

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Sampling { try checked() }

    /// How many tries there are under some limits.
    public func tries(within limits: ControlLimits?) -> Int {
      if let tries { return tries }
      guard let limits else { return 0 }
      return (limits.lower + limits.upper).allSatisfy(\.isFinite) ? 3 : 0
    }
  }

  /// Controls to start a search from, with the states that they lead to.
  public struct Guess: Sendable, Equatable {
    /// x_0 … x_T: n × (T + 1).
    public var states: Matrix
    /// u_0 … u_{T−1}: m × T.
    public var controls: Matrix
    /// J.
    public var cost: Double
  }

  /// Guesses beside a given one: its controls slightly disturbed, because an equilibrium has no slope
  /// that leads away from it, and one of each try of the sampling.
  ///
  /// - Parameters:
  ///   - sampling: how.
  ///   - dynamics: f.
  ///   - cost: ℓ; its expansions are not needed.
  ///   - condition: where the cost's goal comes from.
  ///   - initialState: x_0.
  ///   - controls: about which is sampled: m × T.
  ///   - deviations: σ of the first generation: m numbers.
  ///   - limits: bounds on the controls.
  ///   - stream: the parent of all random numbers.
  ///   - workers: rollouts at the same time; the result does not depend on it.
  /// - Returns: the guesses that could be rolled out, possibly none, and how many rollouts of the model
  ///   they took.
  /// - Throws: `InvalidOption`, an error of `makeWorkspace`, or `CancellationError`.
  public func guesses<D: KnownDynamics>(
    _ sampling: Sampling, _ dynamics: D, cost: any Cost, in condition: Condition,
    from initialState: [Double], about controls: Matrix, deviations: [Double],
    limits: ControlLimits?, stream: RandomStream, workers: Int = 1
  ) async throws -> (guesses: [Guess], rollouts: Int) {
    let sampling = try sampling.validated()
    let limits = try limits?.validated(controls: dynamics.control)
    let tries = sampling.tries(within: limits)
    if tries == 0 { return ([], 0) }
    let search = GuessSearch(
      dynamics: dynamics, cost: cost, condition: condition, limits: limits,
      initialState: initialState, controls: controls, deviations: deviations)
    // Tries first; workers left over share the work within one.
    let inner = max(1, workers / (tries + 1))
    let results = try await parallelMap(tries + 1, workers: workers) { index in
      let stream = stream.child(.custom, index)
      return index == 0
        ? try search.disturbed(stream: stream)
        : try await search.sampled(
          sampling, knots: search.knots(index - 1, of: tries), stream: stream, workers: inner)
    }
    return (results.compactMap(\.guess), results.reduce(0) { $0 + $1.rollouts })
  }
}

/// What all tries have in common.
struct GuessSearch<D: KnownDynamics>: Sendable {
  let dynamics: D
  let cost: any Cost
  let condition: Condition
  let limits: ControlLimits?
  let initialState: [Double]
  let controls: Matrix
  let deviations: [Double]

  /// Generations end when the elites' costs differ by less than this share of what the best gained.
  private static var settled: Double { 0.01 }

  private var m: Int { controls.rows }
  private var T: Int { controls.columns }

  /// K of a try: from T/10 for the first to T/6 for the last.
  func knots(_ index: Int, of tries: Int) -> Int {
    let share = tries > 1 ? Double(index) / Double(tries - 1) : 0
    return min(T, max(3, Int((Double(T) / (10 - 4 * share)).rounded()) + 1))
  }

  /// The guess disturbed by a tenth of the first generation's deviation.
  func disturbed(stream: RandomStream) throws -> (guess: ILQR.Guess?, rollouts: Int) {
    var stream = stream
    var workspace = try dynamics.makeWorkspace()
    let count = min(T, max(3, T / 8))
    let offsets = stream.normals(m * count).enumerated().map {
      0.1 * deviations[$0.offset % m] * $0.element
    }
    return (try rollOut(offsets, &workspace), 1)
  }

  /// The best of a try.
  func sampled(
    _ sampling: ILQR.Sampling, knots: Int, stream: RandomStream, workers: Int
  ) async throws -> (guess: ILQR.Guess?, rollouts: Int) {
    let size = m * knots
    let eliteCount = min(
      sampling.samples, max(2, Int((sampling.elites * Double(sampling.samples)).rounded())))
    var mean = [Double](repeating: 0, count: size)
    var spread = (0..<size).map { deviations[$0 % m] }
    var best: (offsets: [Double], guess: ILQR.Guess)?
    var rollouts = 0
    // J of the controls that are sampled about: the mean of the first generation.
    var unsearched: Double?
    for generation in 0..<sampling.generations {
      try Task.checkCancellation()
      let candidates = (0..<sampling.samples).map { sample in
        // What is best stays in the race, and so does the mean.
        if sample == 0, let best { return best.offsets }
        if sample == 1 { return mean }
        var stream = stream.child(.custom, generation, sample)
        return zip(mean, zip(spread, stream.normals(size))).map { $0 + $1.0 * $1.1 }
      }
      let guesses = try await rollOut(candidates, workers: workers)
      rollouts += candidates.count
      if generation == 0 { unsearched = guesses[1]?.cost }
      let order = guesses.indices.filter { guesses[$0] != nil }.sorted {
        (guesses[$0]?.cost ?? .infinity, $0) < (guesses[$1]?.cost ?? .infinity, $1)
      }
      guard let first = order.first, let guess = guesses[first] else { continue }
      if guess.cost < best?.guess.cost ?? .infinity { best = (candidates[first], guess) }
      let elites = order.prefix(eliteCount).map { candidates[$0] }
      if elites.count < 2 { continue }
      var widest = 0.0
      for i in 0..<size {
        let values = elites.map { $0[i] }
        let center = values.reduce(0, +) / Double(values.count)
        let square = values.reduce(0) { $0 + ($1 - center) * ($1 - center) } / Double(values.count)
        mean[i] = center
        spread[i] = square.squareRoot()
        widest = max(widest, spread[i] / deviations[i % m])
      }
      if widest < 1e-3 { break }
      // What is left to gain is for iterative LQR.
      if let unsearched, let best, let worst = order.prefix(eliteCount).last,
        let dearest = guesses[worst]?.cost,
        dearest - best.guess.cost < Self.settled * max(0, unsearched - best.guess.cost)
      {
        break
      }
    }
    return (best?.guess, rollouts)
  }

  private func rollOut(
    _ candidates: [[Double]], workers: Int
  ) async throws -> [ILQR.Guess?] {
    if workers == 1 {
      var workspace = try dynamics.makeWorkspace()
      return try candidates.map { try rollOut($0, &workspace) }
    }
    return try await parallelMap(
      candidates.count, workers: workers, makeContext: { try dynamics.makeWorkspace() }
    ) { index, workspace in try rollOut(candidates[index], &workspace) }
  }

  /// The guess with offsets at knots; nil if the dynamics fail on the way or a number is not finite.
  private func rollOut(
    _ offsets: [Double], _ workspace: inout D.Workspace
  ) throws -> ILQR.Guess? {
    let knots = offsets.count / m
    var controls = controls
    for t in 0..<T {
      let place = T > 1 ? Double(t) / Double(T - 1) * Double(knots - 1) : 0
      let k = min(max(0, knots - 2), Int(place))
      let share = place - Double(k)
      for i in 0..<m {
        let next = k + 1 < knots ? offsets[(k + 1) * m + i] : offsets[k * m + i]
        controls[i, t] += (1 - share) * offsets[k * m + i] + share * next
      }
    }
    do {
      let iterate = try ILQRSearch.start(
        dynamics, cost, condition, limits, &workspace, initialState, controls, nil)
      return ILQR.Guess(
        states: iterate.trajectory.states, controls: iterate.trajectory.controls,
        cost: iterate.cost)
    } catch is ILQRError {
      return nil
    }
  }
}

extension ILQR.Sampling: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "tries", \.tries, .between(0, 1000),
      "Searches by sampling for each condition; null for three where all controls have limits, and none "
        + "elsewhere.")
    Field("generations", \.generations, .between(1, 100_000), "Generations of a try, at most.")
    Field("samples", \.samples, .between(2, 1_000_000), "Rollouts of a generation.")
    Field("elites", \.elites, .positiveShare, "Share of a generation that makes the next.")
    Field(
      "deviation", \.deviation, .above(0),
      "Standard deviation of the first generation, as a share of half of each control's range, or of "
        + "the initial controller's deviation where there are no limits.")
  }
}

extension ILQR.Sampling {
  /// σ of the first generation: shares of half of each control's range, or of a controller's deviation at the
  /// first step.
  package func deviations(
    of controller: LinearGaussianController, within limits: ControlLimits?
  ) -> [Double] {
    (0..<controller.control).map { i in
      let half = limits.map { ($0.upper[i] - $0.lower[i]) / 2 } ?? .infinity
      return deviation
        * (half.isFinite ? half : controller.covariances[0][i, i].squareRoot())
    }
  }
}
