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

  func search(_ start: Start, stream: RandomStream, workers: Int) async throws -> SearchedStart {
    try await search(
      start, on: try start.requireDynamics(Self.schema.name), stream: stream, workers: workers)
  }

  private func search(
    _ start: Start, on dynamics: some KnownDynamics, stream: RandomStream, workers: Int
  ) async throws -> SearchedStart {
    let kind = Self.schema.name
    guard let cost = start.cost, let condition = start.condition else {
      preconditionFailure("known dynamics without a task")
    }
    let guess = try controller(start)
    let (m, T) = (guess.control, guess.horizon)
    var controls = Matrix(rows: m, columns: T)
    for t in 0..<T {
      controls.setColumn(t, to: guess.action(step: t, state: start.state))
    }
    let ilqr = ILQR(options: optimization)
    let (guesses, samples) = try await ilqr.guesses(
      sampling, dynamics, cost: cost, in: condition, from: start.state, about: controls,
      deviations: sampling.deviations(of: guess, within: start.limits), limits: start.limits,
      stream: stream, workers: workers)
    let starts = [controls] + guesses.map(\.controls)
    let inner = max(1, workers / starts.count)
    let controlsOfStarts = starts
    let outcomes = try await parallelMap(starts.count, workers: workers) {
      index -> Result<ILQR.Solution, ILQRError> in
      do {
        return .success(
          try await ilqr.optimize(
            dynamics, cost: cost, in: condition, from: start.state,
            controls: controlsOfStarts[index], limits: start.limits, workers: inner))
      } catch let error as ILQRError {
        return .failure(error)
      }
    }
    var best: ILQR.Solution?
    for case .success(let solution) in outcomes
    where solution.cost < best?.cost ?? .infinity { best = solution }
    guard let best else {
      // Each of them failed; the first is that of the guess that was given.
      let reason = outcomes.lazy.compactMap { outcome -> ILQRError? in
        if case .failure(let error) = outcome { error } else { nil }
      }.first
      throw StartError(kind: kind, reason: reason.map { "\($0)" } ?? "no guess can be rolled out")
    }
    let gains =
      try await ilqr.gains(
        dynamics, cost: cost, in: condition, states: best.trajectory.states,
        controls: best.trajectory.controls) ?? best.gains
    let variances = try exploration.variances(start, kind)
    let tried = outcomes.reduce(starts.count) { sum, outcome in
      guard case .success(let solution) = outcome else { return sum }
      return sum + solution.iterations.reduce(0) { $0 + $1.trials }
    }
    return SearchedStart(
      controller: try start.controller(
        gains: gains, states: { best.trajectory.states.column($0) },
        controls: { best.trajectory.controls.column($0) }, variances: variances),
      cost: best.cost, modelRollouts: samples + tried)
  }
}
