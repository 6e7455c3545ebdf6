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

  func search(
    _ starts: [Start], stream: RandomStream, workers: Int
  ) async throws -> [SearchedStart] {
    let kind = Self.schema.name
    let problems = try starts.map { start in
      let guess = try controller(start)
      guard let cost = start.cost, let condition = start.condition else {
        preconditionFailure("known dynamics without a task")
      }
      var controls = Matrix(rows: guess.control, columns: guess.horizon)
      for t in 0..<guess.horizon {
        controls.setColumn(t, to: guess.action(step: t, state: start.state))
      }
      return ILQR.Problem(
        dynamics: try start.requireDynamics(kind), cost: cost, condition: condition,
        initialState: start.state, controls: controls,
        deviations: sampling.deviations(of: guess, within: start.limits), limits: start.limits,
        succeeds: start.succeeds)
    }
    let found = try await ILQR(options: optimization).search(
      problems, sampling: sampling, stream: stream, workers: workers)
    return try zip(starts, found).map { start, found in
      switch found {
      case .failure(let error):
        throw StartError(
          kind: kind, reason: "condition \(start.condition?.name ?? ""): \(error)")
      case .success(let found):
        return SearchedStart(
          controller: try start.controller(
            gains: found.gains, states: { found.states.column($0) },
            controls: { found.controls.column($0) },
            variances: try exploration.variances(start, kind)),
          cost: found.cost, modelRollouts: found.rollouts)
      }
    }
  }
}
