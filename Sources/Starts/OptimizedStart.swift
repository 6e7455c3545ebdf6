package import Configuration
import GPSCore
public import LQR
import LinearAlgebra
import Sim
import Statistics

extension InitialController {
  /// Settings of a start that is searched on the task's known dynamics: iterative LQR from sampled
  /// guesses, for tasks whose start must move before anything can be learned, as a swing-up.
  ///
  /// The gains are those of one Riccati pass without limits about the trajectory: iterative LQR's own are
  /// 0 on saturated steps. Controls are clipped when they are applied.
  public struct OptimizedOptions: Sendable, Equatable {
    /// The noise.
    public var exploration: Exploration
    /// How iterative LQR goes.
    public var optimization: ILQR.Options
    /// How its first guesses are sampled.
    public var sampling: ILQR.Sampling

    /// Settings.
    public init(
      deviation: [Double] = [0.1], variance: [Double]? = nil,
      optimization: ILQR.Options = ILQR.Options(), sampling: ILQR.Sampling = ILQR.Sampling()
    ) {
      exploration = Exploration(deviation: deviation, variance: variance)
      self.optimization = optimization
      self.sampling = sampling
    }
  }
}

extension InitialController.OptimizedOptions: SearchingRule {
  package static let schema = Schema<Self>(
    "optimize",
    "Iterative LQR from sampled guesses on the task's known dynamics, before the first rollout.",
    Self()
  ) {
    InitialController.Exploration.schema.fields(in: \.exploration)
    ILQR.Options.schema.fields(in: \.optimization)
    Field("sampling", \.sampling, "First guesses.")
  } rule: { options throws(InvalidOption) in
    try ILQR.Options.schema.check(options.optimization)
  }

  /// What the search starts from: the controls that the start comes with, or zeros.
  func controller(_ start: Start) throws -> LinearGaussianController {
    try checkSettings()
    _ = try start.requireDynamics(Self.schema.name)
    let (n, m, T) = (start.dimensions.state, start.dimensions.control, start.dimensions.horizon)
    let control = start.clamped(start.control ?? [Double](repeating: 0, count: m))
    let variances = try exploration.variances(start, Self.schema.name)
    return try start.controller(
      gains: MatrixSequence(rows: m, columns: n, count: T), states: { _ in start.state },
      controls: { _ in control }, variances: variances)
  }

  /// Controls of what is found stay away from their limits by a deviation of the noise, so that feedback has something to
  /// act with. They take the whole range where that leads to no success or, where nothing says what success is, where
  /// rollouts with noise cost less so.
  func search(
    _ starts: [Start], stream: RandomStream, workers: Int
  ) async throws -> [SearchedStart] {
    let problems = try starts.map(problem)
    let ilqr = ILQR(options: optimization)
    let within = try await ilqr.search(
      problems, sampling: sampling, stream: stream, workers: workers)
    let found = within.map { try? $0.get() }
    let isJudged = found.contains { $0?.succeeds != nil }
    if problems.allSatisfy({ $0.limits == $0.actuation })
      || isJudged && !found.contains(where: { $0?.succeeds == false })
    {
      return try controllers(starts, within)
    }
    var wider = problems
    for i in wider.indices {
      wider[i].limits = wider[i].actuation
      // What fails is searched anew; what is to cost less goes on from where it is.
      if !isJudged { wider[i].earlier = found[i]?.controls }
    }
    let whole = try await ilqr.search(
      wider, sampling: sampling, stream: stream.child(.custom, 0), workers: workers)
    let isWholeBetter =
      isJudged
      ? Self.successes(whole) > Self.successes(within) : Self.cost(whole) < Self.cost(within)
    let (best, other) = isWholeBetter ? (whole, within) : (within, whole)
    return try controllers(
      starts,
      zip(best, other).map { best, other in
        best.map { found in
          var found = found
          found.rollouts += (try? other.get())?.rollouts ?? 0
          return found
        }
      })
  }

  private static func successes(_ results: [Result<ILQR.Found, ILQRError>]) -> Int {
    results.count { (try? $0.get())?.succeeds == true }
  }

  /// What rollouts with noise cost, all conditions together; ∞ where there are none.
  private static func cost(_ results: [Result<ILQR.Found, ILQRError>]) -> Double {
    results.reduce(0) { $0 + ((try? $1.get())?.trials?.meanCost ?? .infinity) }
  }

  /// The share of what was gained that is lost where a trajectory is.
  private static var lost: Double { 0.5 }

  /// Rollouts that go on after the horizon, and stay where they are: a policy that only ever sees the way there does not
  /// learn to hold.
  private func rests(
    _ start: Start, _ searched: SearchedStart, lost: Double
  ) throws -> [SearchedStart.Rest] {
    guard let holding = start.holding, let cost = start.cost else { return [] }
    let (controller, T) = (searched.controller, start.dimensions.horizon)
    let found = try holding(
      controller, (0..<Self.trials).map { RandomStream(seed: 0).child(.custom, $0) })
    return found.compactMap { found in
      guard let (condition, trajectory) = found, start.succeeds?(trajectory) != false,
        cost.values(along: trajectory, in: condition).reduce(0, +) <= lost
      else { return nil }
      var actions = Matrix(rows: start.dimensions.control, columns: T)
      for t in 0..<T {
        let state = trajectory.states.column(t)
        actions.setColumn(t, to: start.clamped(controller.action(step: T - 1, state: state)))
      }
      return SearchedStart.Rest(observations: trajectory.observations, actions: actions)
    }
  }

  /// Rollouts of the known dynamics by which gains are chosen, and of those that go on after the horizon.
  package static var trials: Int { 8 }

  private func problem(_ start: Start) throws -> ILQR.Problem {
    let kind = Self.schema.name
    let guess = try controller(start)
    guard let cost = start.cost, let condition = start.condition else {
      preconditionFailure("known dynamics without a task")
    }
    var controls = Matrix(rows: guess.control, columns: guess.horizon)
    for t in 0..<guess.horizon {
      controls.setColumn(t, to: guess.action(step: t, state: start.state))
    }
    let deviations = try exploration.variances(start, kind).map { $0.squareRoot() }
    let exploration = exploration
    return ILQR.Problem(
      dynamics: try start.requireDynamics(kind), cost: cost, condition: condition,
      initialState: start.state, controls: controls, feedback: try Self.holding(start),
      deviations: sampling.deviations(of: guess, within: start.limits),
      limits: start.limits?.tightened(by: deviations, about: controls.column(0)),
      actuation: start.limits,
      noise: { scales in
        try exploration.variances(start, kind, scales: scales).map { $0.squareRoot() }
      },
      starts: try start.states?(
        (0..<Self.trials).map { RandomStream(seed: 0).child(.custom, $0) }) ?? [],
      succeeds: start.succeeds)
  }

  private func controllers(
    _ starts: [Start], _ found: [Result<ILQR.Found, ILQRError>]
  ) throws -> [SearchedStart] {
    let kind = Self.schema.name
    let scales = ILQR.scales(
      of: found.compactMap { try? $0.get().controls }, within: starts.first?.limits)
    return try zip(starts, found).map { start, found in
      switch found {
      case .failure(let error):
        throw StartError(
          kind: kind, reason: "condition \(start.condition?.name ?? ""): \(error)")
      case .success(let found):
        var searched = SearchedStart(
          controller: try start.controller(
            gains: found.gains, states: { found.states.column($0) },
            controls: { found.controls.column($0) },
            variances: try exploration.variances(start, kind, scales: scales)),
          cost: found.cost, gain: found.gain, trialCosts: found.trials?.costs ?? [],
          trialSuccesses: start.succeeds == nil ? nil : found.trials?.successes,
          modelRollouts: found.rollouts)
        if let trials = found.trials, found.unsearchedTrials?.isBetter(than: trials) == true {
          // Through contacts a trajectory may hold under no noise at all.
          searched.controller = try controller(start)
          searched.isGivenUp = true
        } else if let gain = found.gain, ILQR.comesToRest(found.states) {
          searched.rests = try rests(start, searched, lost: found.cost + Self.lost * gain)
          searched.modelRollouts += 2 * Self.trials
        }
        return searched
      }
    }
  }

  /// What holds the start, where linear-quadratic control can: a plant that falls has fallen before a sequence of
  /// controls can be improved.
  private static func holding(_ start: Start) throws -> LinearGaussianController? {
    do { return try InitialController.LinearizedOptions().controller(start) } catch is StartError {
      return nil
    }
  }
}
