// Searches of several conditions that share what they find: what one of them found by sampling is the others'
// first guess, so that they are sampled themselves only where that does not do, and go about the task in one
// way instead of in as many as there are local optima.
//
// Improvements are measured against the guess that nothing was searched about, so that neither the zero nor the
// scale of the cost decides anything.

package import GPSCore
package import LinearAlgebra
package import Statistics

extension ILQR {
  /// What is to be searched in one condition.
  package struct Problem: Sendable {
    /// f with its derivatives.
    package var dynamics: any KnownDynamics
    /// ℓ, with expansions.
    package var cost: any Cost
    /// Where the cost's goal comes from.
    package var condition: Condition
    /// x_0.
    package var initialState: [Double]
    /// The guess that nothing was searched about: m × T.
    package var controls: Matrix
    /// Where an earlier search ended, within other limits, and this one goes on without sampling: m × T; nil for the guess.
    package var earlier: Matrix?
    /// A feedback law whose rollout is the guess where it costs less; nil for none.
    package var feedback: LinearGaussianController?
    /// σ of the first generation that is sampled: m numbers.
    package var deviations: [Double]
    /// Bounds on the controls of what is found.
    package var limits: ControlLimits?
    /// Bounds on the controls that are applied.
    package var actuation: ControlLimits?
    /// σ of the noise under which the gains have to hold, for what is half of each control's range: m numbers.
    package var noise: @Sendable (_ scales: [Double]) throws -> [Double]
    /// Starts of rollouts under which the gains have to hold, with the conditions that are drawn for them.
    package var starts: [(condition: Condition, state: [Double])]
    /// Whether a trajectory, which has no observations, does what is asked for; nil if nothing says so.
    package var succeeds: (@Sendable (Trajectory) -> Bool)?

    package init(
      dynamics: any KnownDynamics, cost: any Cost, condition: Condition, initialState: [Double],
      controls: Matrix, feedback: LinearGaussianController? = nil, deviations: [Double],
      limits: ControlLimits?, actuation: ControlLimits?,
      noise: @escaping @Sendable ([Double]) throws -> [Double],
      starts: [(condition: Condition, state: [Double])],
      succeeds: (@Sendable (Trajectory) -> Bool)? = nil
    ) {
      self.dynamics = dynamics
      self.cost = cost
      self.condition = condition
      self.initialState = initialState
      self.controls = controls
      self.feedback = feedback
      self.deviations = deviations
      self.limits = limits
      self.actuation = actuation
      self.noise = noise
      self.starts = starts
      self.succeeds = succeeds
    }
  }

  /// What the search of one condition came to.
  package struct Found: Sendable, Equatable {
    /// x̄_0 … x̄_T: n × (T + 1).
    package var states: Matrix
    /// ū_0 … ū_{T−1}: m × T.
    package var controls: Matrix
    /// K of u = ū + K (x − x̄) as if the controls had no limits: T matrices m × n.
    package var gains: MatrixSequence
    /// J.
    package var cost: Double
    /// Whether the trajectory does what is asked for; nil if nothing says so.
    package var succeeds: Bool?
    /// J of the guess that nothing was searched about, less that; nil if the guess cannot be rolled out.
    package var gain: Double?
    /// What rollouts with noise came to; nil where no gains about the trajectory were found.
    package var trials: Trials?
    /// What the same noise makes of the controls that nothing was searched about, where these cost less without noise than
    /// what was found does with it; nil elsewhere.
    package var unsearchedTrials: Trials?
    /// The condition whose guess or samples it came from.
    package var origin: Int
    /// Rollouts of the dynamics that this condition's search took.
    package var rollouts: Int
  }

  /// Half of each control's range or, without limits, the largest control of all trajectories; 1 where that is 0.
  package static func scales(of controls: [Matrix], within limits: ControlLimits?) -> [Double] {
    (0..<(controls.first?.rows ?? 0)).map { i in
      if let half = limits?.halfRange(of: i) { return half }
      let largest = controls.reduce(0.0) { largest, controls in
        (0..<controls.columns).reduce(largest) { max($0, abs(controls[i, $1])) }
      }
      return largest > 0 ? largest : 1
    }
  }

  /// Searches all conditions. The first is sampled, unless its guess leads to success; each other one goes on from what
  /// has been found, and is sampled where that brings less than most of what it brought elsewhere. In the end those
  /// that are worse off than the best, or do it in another way, try the best's.
  ///
  /// - Parameters:
  ///   - problems: one per condition.
  ///   - sampling: how first guesses are sampled.
  ///   - stream: the parent of all random numbers.
  ///   - workers: how much runs at once; the result does not depend on it.
  /// - Returns: for each condition what was found, or why no guess can be rolled out.
  /// - Throws: `InvalidOption`, an error of `makeWorkspace`, or `CancellationError`.
  package func search(
    _ problems: [Problem], sampling: Sampling, stream: RandomStream, workers: Int = 1
  ) async throws -> [Result<Found, ILQRError>] {
    var search = SharedSearch(
      ilqr: ILQR(options: try options.validated()), problems: problems,
      sampling: try sampling.validated(), stream: stream, workers: workers)
    return try await search.run()
  }
}

/// The search of all conditions.
private struct SharedSearch {
  let ilqr: ILQR
  let problems: [ILQR.Problem]
  let sampling: ILQR.Sampling
  let stream: RandomStream
  let workers: Int
  private var places: [Place]
  /// Conditions that were sampled in vain: nothing that was found there succeeds.
  private var failures = 0

  /// A trajectory of a condition.
  struct Solution: Sendable {
    var states: Matrix
    var controls: Matrix
    /// K that the search ended with, 0 on saturated steps.
    var limitedGains: MatrixSequence
    var cost: Double
    var origin: Int
    /// Whether it does what is asked for; nil if nothing says so.
    var succeeds: Bool?

    /// Whether it is better than another: by success first, by cost then.
    func isBetter(than other: Solution?) -> Bool {
      guard let other else { return true }
      return succeeds == other.succeeds ? cost < other.cost : succeeds == true
    }
  }

  /// Where the search of one condition stands.
  struct Place: Sendable {
    /// The guess: m × T.
    var guess: Matrix
    /// J of the controls that nothing was searched about; nil if they cannot be rolled out.
    var unsearched: Double?
    var solution: Solution?
    /// K about the solution, once others go on from it.
    var gains: MatrixSequence?
    /// What they came to under noise.
    var trials: ILQR.Trials?
    /// What the controls that nothing was searched about come to under noise, where that has been tried.
    var unsearchedTrials: ILQR.Trials?
    /// J of the cheapest guess that has been taken over from elsewhere.
    var cheapestGuess = Double.infinity
    var rollouts = 0
    var failure: ILQRError?

    /// J of the guess less that of what was found; nil if either is not known.
    var improvement: Double? {
      guard let unsearched, let solution else { return nil }
      return max(0, unsearched - solution.cost)
    }
  }

  /// What a condition must gain from another's solution, as a share of what that one gained, not to be sampled.
  private static var enough: Double { 0.8 }
  /// What a solution of one's own must gain more than one that is shared, as a share.
  private static var clearly: Double { 0.05 }
  /// Conditions that are sampled in vain before success is no longer asked for.
  private static var mostFailures: Int { 3 }
  /// Paths of a tree that are improved.
  private static var arrivals: Int { 3 }
  /// Differences of less than this share of what was gained are none.
  private static var alike: Double { 0.02 }

  init(
    ilqr: ILQR, problems: [ILQR.Problem], sampling: ILQR.Sampling, stream: RandomStream,
    workers: Int
  ) {
    self.ilqr = ilqr
    self.problems = problems
    self.sampling = sampling
    self.stream = stream
    self.workers = workers
    places = problems.map { Place(guess: $0.earlier ?? $0.controls) }
  }

  mutating func run() async throws -> [Result<ILQR.Found, ILQRError>] {
    if problems.isEmpty { return [] }
    try await evaluateGuesses()
    // Where nothing is sampled, one's own guess is the only beginning, beside what others found.
    let unsampled = problems.indices.filter { tries($0) == 0 }
    try await each(unsampled) { search, i, workers in
      try await search.improveGuess(i, workers: workers)
    }
    try await sample(0)
    var (remaining, fresh) = (Array(problems.indices.dropFirst()), [0])
    while !remaining.isEmpty {
      if fresh.isEmpty {
        let next = remaining.removeFirst()
        try await sample(next)
        fresh = [next]
      }
      try await share(fresh, with: remaining)
      fresh = remaining.filter { isEnough($0) }
      remaining.removeAll { fresh.contains($0) }
    }
    try await followBest()
    return try await finished()
  }

  // MARK: - Steps

  /// Whether a condition need not be sampled. Success decides where the task says what it is; what conditions that
  /// begin elsewhere can gain may differ much.
  private func isEnough(_ i: Int) -> Bool {
    if places[i].solution?.succeeds == true { return true }
    if places[i].solution?.succeeds == false && failures < Self.mostFailures { return false }
    guard let most = places.compactMap(\.improvement).max(), let own = places[i].improvement else {
      return false
    }
    return own >= Self.enough * most
  }

  /// Changes the places of some conditions, at the same time.
  private mutating func each(
    _ conditions: [Int], _ body: @escaping @Sendable (SharedSearch, Int, Int) async throws -> Place
  ) async throws {
    let search = self
    let inner = max(1, workers / max(1, conditions.count))
    let changed = try await parallelMap(conditions.count, workers: workers) {
      try await body(search, conditions[$0], inner)
    }
    for (i, place) in zip(conditions, changed) { places[i] = place }
  }

  private mutating func evaluateGuesses() async throws {
    try await each(Array(problems.indices)) { search, i, _ in
      var place = search.places[i]
      place.rollouts += 1
      let problem = search.problems[i]
      place.unsearched = try search.rolledOut(
        problem, on: problem.dynamics, TrajectoryLaw(controls: problem.controls))?.cost
      if problem.earlier == nil, let feedback = problem.feedback {
        place.rollouts += 2
        let guess = try search.rolledOut(problem, on: problem.dynamics, TrajectoryLaw(feedback))
        if let guess, guess.cost < place.unsearched ?? .infinity {
          place.guess = guess.controls
          place.unsearched = place.unsearched ?? guess.cost
        }
      }
      return place
    }
  }

  private func tries(_ i: Int) -> Int {
    problems[i].earlier == nil ? sampling.tries(within: problems[i].limits) : 0
  }

  private func improveGuess(_ i: Int, workers: Int) async throws -> Place {
    var place = places[i]
    place.solution = try await improve(
      &place, i, place.guess, origin: i, workers: workers)
    return place
  }

  /// The guess and, if that does not lead to success, tries of the sampling, until what they find agrees.
  private mutating func sample(_ i: Int) async throws {
    let tries = tries(i)
    if tries == 0 { return }
    var place = places[i]
    let shared = place.solution
    var found = [Solution]()
    let (problem, stream) = (problems[i], stream.child(.custom, i))
    for index in -1...tries + 1 {
      var guesses = [place.guess]
      if index >= 0 {
        let rollouts: Int
        (guesses, rollouts) = try await sampled(
          problem, about: place.guess, on: problem.dynamics, index, of: tries,
          stream: stream.child(.custom, index))
        place.rollouts += rollouts
      }
      var solution: Solution?
      for guess in guesses {
        let next = try await improve(&place, i, guess, origin: i, workers: workers)
        guard let next else { continue }
        if next.isBetter(than: solution) { solution = next }
        // What agrees with the guess may be where all are stuck, unless it is known to succeed.
        if index > 0 || next.succeeds == true { found.append(next) }
      }
      guard let solution else { continue }
      if solution.isBetter(than: place.solution) { (place.solution, place.gains) = (solution, nil) }
      if index < 0 && solution.succeeds == true { break }
      if isSettled(place, found) { break }
    }
    if let shared, isPreferred(shared, to: place.solution, place.unsearched) {
      (place.solution, place.gains) = (shared, nil)
    }
    if place.solution?.succeeds == false { failures += 1 }
    places[i] = place
  }

  /// Whether two searches came to the same good.
  private func isSettled(_ place: Place, _ found: [Solution]) -> Bool {
    guard let best = place.solution, best.succeeds != false, let gained = place.improvement else {
      return false
    }
    return found.count { $0.cost <= best.cost + Self.alike * gained } > 1
  }

  /// Tries the solutions of some conditions in others.
  private mutating func share(
    _ donors: [Int], with conditions: [Int]
  ) async throws {
    if conditions.isEmpty { return }
    try await each(donors) { search, i, workers in try await search.withGains(i) }
    try await each(conditions) { search, i, workers in
      try await search.following(donors, in: i, workers: workers)
    }
  }

  private func withGains(_ i: Int) async throws -> Place {
    var place = places[i]
    if place.gains != nil { return place }
    guard let solution = place.solution else { return place }
    do {
      let found = try await gains(
        problems[i], on: problems[i].dynamics, about: solution, place.improvement ?? 0,
        stream.child(.custom, i, 0))
      place.gains = found?.gains
      place.trials = found?.trials
      place.rollouts += found?.rollouts ?? 1
    } catch is ILQRError {
      // Its controls can be tried all the same.
    }
    return place
  }

  /// Tries under noise what nothing was searched about, if what was found may be worse there.
  private func doubted(_ i: Int, _ place: Place) throws -> Place {
    guard place.gains != nil, let solution = place.solution, let trials = place.trials,
      let unsearched = place.unsearched, trials.meanCost >= unsearched
    else { return place }
    var place = place
    place.unsearchedTrials = try unsearchedTrials(
      problems[i], on: problems[i].dynamics, besides: solution, stream.child(.custom, i, 0))
    place.rollouts += problems[i].starts.count
    return place
  }

  /// What a condition comes to from others' solutions.
  private func following(
    _ donors: [Int], in i: Int, workers: Int
  ) async throws -> Place {
    var place = places[i]
    let problem = problems[i]
    var guess: (trajectory: ILQR.Guess, origin: Int)?
    for donor in donors {
      guard let solution = places[donor].solution else { continue }
      let laws = [MatrixSequence?.none] + (places[donor].gains.map { [$0] } ?? [])
      for gains in laws {
        // A law's controls are rolled out twice: with it, and as they came to be.
        place.rollouts += gains == nil ? 1 : 2
        let found = try rolledOut(
          problem, on: problem.dynamics,
          TrajectoryLaw(controls: solution.controls, states: solution.states, gains: gains))
        if let found, found.cost < guess?.trajectory.cost ?? place.cheapestGuess {
          guess = (found, solution.origin)
        }
      }
    }
    guard let guess else { return place }
    place.cheapestGuess = guess.trajectory.cost
    let found = try await improve(
      &place, i, guess.trajectory.controls, origin: guess.origin,
      workers: workers)
    if let found, isPreferred(found, to: place.solution, place.unsearched) {
      place.solution = found
      place.gains = nil
    }
    return place
  }

  /// Whether a solution that is shared is taken in place of one's own: unless that one is clearly cheaper.
  private func isPreferred(_ shared: Solution, to own: Solution?, _ unsearched: Double?) -> Bool {
    guard let own else { return true }
    if shared.succeeds != own.succeeds { return shared.succeeds == true }
    let gained = unsearched.map { max(0, $0 - min(own.cost, shared.cost)) } ?? 0
    return shared.cost <= own.cost + Self.clearly * gained
  }

  /// The best one's solution, where another is worse off or goes another way.
  private mutating func followBest() async throws {
    let gained = places.map { $0.improvement ?? -.infinity }
    let succeeds = places.map { $0.solution?.succeeds != false ? 1 : 0 }
    let best = places.indices.max {
      (succeeds[$0], gained[$0], -$0) < (succeeds[$1], gained[$1], -$1)
    }
    guard let best, let solution = places[best].solution else { return }
    let others = places.indices.filter { i in
      i != best
        && (places[i].solution?.origin != solution.origin || succeeds[i] < succeeds[best]
          || gained[i] < (1 - Self.alike) * gained[best])
    }
    if others.isEmpty { return }
    for i in others { places[i].cheapestGuess = .infinity }
    try await share([best], with: others)
  }

  private mutating func finished() async throws -> [Result<ILQR.Found, ILQRError>] {
    try await each(Array(problems.indices)) { search, i, _ in
      try search.doubted(i, try await search.withGains(i))
    }
    return places.map { place in
      guard let solution = place.solution else {
        return .failure(place.failure ?? .notFinite(field: "the cost of the guess", step: 0))
      }
      return .success(
        ILQR.Found(
          states: solution.states, controls: solution.controls,
          gains: place.gains ?? solution.limitedGains,
          cost: solution.cost, succeeds: solution.succeeds, gain: place.improvement,
          trials: place.gains == nil ? nil : place.trials,
          unsearchedTrials: place.gains == nil ? nil : place.unsearchedTrials,
          origin: solution.origin,
          rollouts: place.rollouts))
    }
  }

  // MARK: - Pieces

  /// Iterative LQR from some controls; nil if it fails.
  private func improve(
    _ place: inout Place, _ i: Int, _ controls: Matrix, origin: Int, workers: Int
  ) async throws -> Solution? {
    do {
      let (found, rollouts) = try await improved(
        problems[i], on: problems[i].dynamics, controls, place.unsearched, origin, workers
      )
      place.rollouts += rollouts
      return found
    } catch let error as ILQRError {
      place.rollouts += 1
      place.failure = place.failure ?? error
      return nil
    }
  }

  private func improved(
    _ problem: ILQR.Problem, on dynamics: some KnownDynamics, _ controls: Matrix,
    _ reference: Double?, _ origin: Int, _ workers: Int
  ) async throws -> (Solution, rollouts: Int) {
    var search = try ILQRSearch(
      dynamics, cost: problem.cost, condition: problem.condition, limits: problem.limits,
      options: ilqr.options, workers: workers, initialState: problem.initialState,
      controls: controls, states: nil, reference: reference)
    let found = try await search.run { _ in }
    return (
      Solution(
        states: found.trajectory.states, controls: found.trajectory.controls,
        limitedGains: found.gains, cost: found.cost,
        origin: origin, succeeds: problem.succeeds?(found.trajectory)),
      1 + found.iterations.reduce(0) { $0 + $1.trials }
    )
  }

  private func gains(
    _ problem: ILQR.Problem, on dynamics: some KnownDynamics, about solution: Solution,
    _ worth: Double, _ stream: RandomStream
  ) async throws -> (gains: MatrixSequence, trials: ILQR.Trials, rollouts: Int)? {
    let scales = ILQR.scales(of: [solution.controls], within: problem.actuation)
    return try await gainSearch(problem, on: dynamics, scales).gains(
      about: solution.states, solution.controls, worth: worth, scales: scales, stream: stream)
  }

  private func unsearchedTrials(
    _ problem: ILQR.Problem, on dynamics: some KnownDynamics, besides solution: Solution,
    _ stream: RandomStream
  ) throws -> ILQR.Trials {
    let scales = ILQR.scales(of: [solution.controls], within: problem.actuation)
    return try gainSearch(problem, on: dynamics, scales).trials(
      of: TrajectoryLaw(controls: problem.controls), stream: stream)
  }

  private func gainSearch<D: KnownDynamics>(
    _ problem: ILQR.Problem, on dynamics: D, _ scales: [Double]
  ) throws -> GainSearch<D> {
    GainSearch(
      ilqr: ilqr, dynamics: dynamics, cost: problem.cost, condition: problem.condition,
      limits: problem.actuation, noise: try problem.noise(scales), starts: problem.starts,
      succeeds: problem.succeeds)
  }

  private func sampled(
    _ problem: ILQR.Problem, about controls: Matrix, on dynamics: some KnownDynamics, _ index: Int,
    of tries: Int, stream: RandomStream
  ) async throws -> (guesses: [Matrix], rollouts: Int) {
    let search = GuessSearch(
      dynamics: dynamics, cost: problem.cost, condition: problem.condition, limits: problem.limits,
      initialState: problem.initialState, controls: controls, deviations: problem.deviations)
    if index == 1 {
      let (arrivals, rollouts) = try await search.grown(
        paths: 32 * sampling.samples, stream: stream, workers: workers)
      let held = try await held(problem, on: dynamics, arrivals, workers)
      return (held.guesses, rollouts + held.rollouts)
    }
    let (guess, rollouts) =
      index == 0
      ? try search.disturbed(stream: stream)
      : try await search.sampled(
        sampling, knots: search.knots(index - 2, of: tries), stream: stream, workers: workers)
    return (guess.map { [$0.controls] } ?? [], rollouts)
  }

  /// The cheapest of what feedback about states, which need not follow from their controls, makes of them.
  private func held(
    _ problem: ILQR.Problem, on dynamics: some KnownDynamics, _ arrivals: [ILQR.Guess],
    _ workers: Int
  ) async throws -> (guesses: [Matrix], rollouts: Int) {
    let found = try await parallelMap(arrivals.count, workers: workers) { i -> ILQR.Guess? in
      let (states, controls) = (arrivals[i].states, arrivals[i].controls)
      do {
        let gains = try await ilqr.gains(
          dynamics, cost: problem.cost, in: problem.condition, states: states, controls: controls)
        return try rolledOut(
          problem, on: dynamics, TrajectoryLaw(controls: controls, states: states, gains: gains))
      } catch is ILQRError {
        return nil
      }
    }
    let cheapest = found.compactMap { $0 }.sorted { $0.cost < $1.cost }.prefix(Self.arrivals)
    // The gaps, the law, and the controls that came of it.
    return (cheapest.map(\.controls), 3 * arrivals.count)
  }

  /// A law, such as that of another condition, rolled out; nil if that cannot be.
  private func rolledOut(
    _ problem: ILQR.Problem, on dynamics: some KnownDynamics, _ law: TrajectoryLaw
  ) throws -> ILQR.Guess? {
    var workspace = try dynamics.makeWorkspace()
    var controls = law.controls
    if law.gains != nil {
      let found = law.rolledOut(
        on: dynamics, from: problem.initialState, within: problem.limits, &workspace)
      guard let found else {
        try Task.checkCancellation()
        return nil
      }
      controls = found.controls
    }
    do {
      let iterate = try ILQRSearch.start(
        dynamics, problem.cost, problem.condition, problem.limits, &workspace,
        problem.initialState, controls, nil)
      return ILQR.Guess(
        states: iterate.trajectory.states, controls: iterate.trajectory.controls,
        cost: iterate.cost)
    } catch is ILQRError {
      return nil
    }
  }
}
