import GPSCore
import LinearAlgebra

/// A trajectory with what its states lack to follow from its controls.
struct ILQRIterate: Sendable {
  var trajectory: Trajectory
  /// e_t = f(x_t, u_t) − x_{t+1}: n × T.
  let gaps: Matrix
  /// ℓ_0 … ℓ_T.
  let costs: [Double]
  /// J.
  let cost: Double
  /// Σ_t ‖e_t‖₁.
  let totalGap: Double
  /// The largest entry of e.
  let largestGap: Double

  init(trajectory: Trajectory, gaps: Matrix, costs: [Double], isClosed: Bool) {
    self.trajectory = trajectory
    self.gaps = gaps
    self.costs = costs
    cost = costs.reduce(0, +)
    totalGap = isClosed ? 0 : gaps.storage.reduce(0) { $0 + abs($1) }
    largestGap = isClosed ? 0 : gaps.largestMagnitude
  }
}

/// One search: the loop, its iterate and its buffers.
struct ILQRSearch<D: KnownDynamics>: ~Copyable {
  private let dynamics: D
  private let cost: any Cost
  private let condition: Condition
  private let limits: ControlLimits?
  private let options: ILQR.Options
  private let workers: Int
  /// J of what improvements are measured against; nil to measure them against the iterate's cost.
  private let reference: Double?
  private var workspace: D.Workspace
  private var iterate: ILQRIterate
  private var expansion: CostExpansion
  private let model: LocalModel
  private let pass: ILQRBackwardPass
  private var law: FeedbackLaw
  /// μ and the factor by which it changes next (Tassa et al. 2012, section II-F).
  private var regularization: Double
  private var rate = 1.0
  /// ρ of the merit.
  private var penalty = 0.0
  /// Whether the last step gained so little that iterative LQR is in its slow tail.
  private var isNear = false
  /// Whether the model is about this iterate.
  private var isExpanded = false
  /// Whether the least regularisation has been tried on this iterate.
  private var isRelaxed = false

  private var n: Int { dynamics.state }
  private var m: Int { dynamics.control }
  private var T: Int { iterate.trajectory.horizon }

  init(
    _ dynamics: D, cost: any Cost, condition: Condition, limits: ControlLimits?,
    options: ILQR.Options, workers: Int, initialState: [Double], controls: Matrix, states: Matrix?,
    reference: Double? = nil
  ) throws {
    let (n, m, T) = (dynamics.state, dynamics.control, controls.columns)
    // What can fail comes first: a value with buffers of its own is made whole or not at all.
    var workspace = try dynamics.makeWorkspace()
    let iterate = try Self.start(
      dynamics, cost, condition, limits, &workspace, initialState, controls, states)
    self.workspace = workspace
    self.iterate = iterate
    self.dynamics = dynamics
    self.cost = cost
    self.condition = condition
    self.limits = limits
    self.options = options
    self.workers = workers
    self.reference = reference
    expansion = CostExpansion(state: n, control: m, horizon: T)
    model = LocalModel(state: n, control: m, horizon: T)
    pass = ILQRBackwardPass(state: n, control: m, horizon: T)
    law = FeedbackLaw(state: n, control: m, horizon: T)
    regularization = options.initialRegularization
  }

  /// Goes on with a search that stopped after some iteration.
  init(
    _ dynamics: D, cost: any Cost, condition: Condition, limits: ControlLimits?,
    options: ILQR.Options, workers: Int, resuming progress: ILQR.Progress
  ) throws {
    try self.init(
      dynamics, cost: cost, condition: condition, limits: limits, options: options,
      workers: workers, initialState: progress.states.column(0), controls: progress.controls,
      states: progress.states)
    law.gains = progress.gains
    regularization = progress.regularization
    rate = progress.rate
    penalty = progress.penalty
    isNear = progress.isNear
    isRelaxed = progress.isRelaxed
  }

  // MARK: - The loop

  /// One iteration, after which the search can stop and go on from what is returned.
  mutating func advance(
    _ progress: consuming ILQR.Progress
  ) async throws -> (progress: ILQR.Progress, line: ILQR.Iteration?) {
    let turn = try await advance(iteration: progress.iterations)
    var next = progress
    next.iterations += turn.line == nil ? 0 : 1
    next.states = iterate.trajectory.states
    next.controls = iterate.trajectory.controls
    next.gains = law.gains
    next.regularization = regularization
    next.rate = rate
    next.penalty = penalty
    next.isNear = isNear
    next.isRelaxed = isRelaxed
    next.cost = iterate.cost
    next.status = turn.status
    if next.status == nil && next.iterations >= options.maxIterations {
      next.status = .iterationsExhausted
    }
    return (next, turn.line)
  }

  /// K of u = ū + K (x − x̄) about the iterate, for its model as it is, but for an effort: for each of several, w_i is
  /// added to the curvature of the cost by control i, at every step. Limits are not asked for, and μ is no larger than
  /// it has to be; nil if no μ will do.
  mutating func gains(efforts: [[Double]]) async throws -> [MatrixSequence?] {
    if !isExpanded { try await expand() }
    isExpanded = true
    let d = n + m
    var found: [MatrixSequence?] = []
    for weights in efforts {
      (regularization, rate) = (options.initialRegularization, 1)
      for t in 0..<T {
        for (i, w) in weights.enumerated() {
          let place = d * d * t + (d + 1) * (n + i)
          model.hessians.pointer[place] = expansion.hessians.storage[place] + w
        }
      }
      found.append(try backward() == nil ? nil : law.gains)
    }
    return found
  }

  nonisolated(nonsending) mutating func run(
    _ onIteration: (ILQR.Iteration) -> Void
  ) async throws -> ILQR.Solution {
    var log: [ILQR.Iteration] = []
    var status: ILQR.Status?
    while status == nil && log.count < options.maxIterations {
      let turn = try await advance(iteration: log.count)
      if let line = turn.line {
        log.append(line)
        onIteration(line)
      }
      status = turn.status
    }
    return ILQR.Solution(
      trajectory: iterate.trajectory, costs: iterate.costs, gains: law.gains,
      gap: iterate.largestGap, status: status ?? .iterationsExhausted, iterations: log)
  }

  /// One iteration.
  ///
  /// - Returns: its line of the log, nil if it came to no step; and why the search ends, nil if it goes on.
  nonisolated(nonsending) private mutating func advance(
    iteration: Int
  ) async throws -> (line: ILQR.Iteration?, status: ILQR.Status?) {
    try Task.checkCancellation()
    var line = ILQR.Iteration(
      iteration: iteration, cost: iterate.cost, predictedImprovement: 0, actualImprovement: 0,
      gap: iterate.largestGap, step: 0, trials: 0, regularization: regularization, passes: 0)
    if !isExpanded { try await expand() }
    isExpanded = true
    guard let passes = try backward() else { return (nil, .indefinite) }
    line.passes = passes
    line.regularization = regularization

    var (slope, curvature) = model.prediction(of: law)
    raisePenalty(slope, curvature)
    let isFeasible = line.gap <= options.gapTolerance
    let scale = reference.map { max(0, $0 - line.cost) } ?? 1 + abs(line.cost)
    let negligible = options.tolerance * scale
    if isFeasible && promise(1, slope, curvature) <= negligible && regularization > 0 && !isRelaxed
    {
      // Little is promised because the step is kept short: ask again with the least μ.
      (regularization, rate, isRelaxed) = (0, 1, true)
      guard let passes = try backward() else { return (nil, .indefinite) }
      line.passes += passes
      line.regularization = regularization
      (slope, curvature) = model.prediction(of: law)
    }
    let promised = promise(1, slope, curvature)
    if isFeasible && promised <= negligible { return (nil, .converged) }
    let found = try await lineSearch(slope, curvature)
    line.trials = found.trials
    if let step = found.step {
      line.step = step.size
      line.predictedImprovement = promise(step.size, slope, curvature)
      line.actualImprovement = merit(iterate) - merit(step.iterate)
      let gained = reference.map { max(0, $0 - step.iterate.cost) } ?? abs(iterate.cost)
      isNear = line.actualImprovement < Self.nearShare * gained
      iterate = step.iterate
      (isExpanded, isRelaxed) = (false, false)
      if step.size >= 0.5 { relax() } else if step.size < 0.05 { tighten() }
    } else {
      // Rounding hides what little there is left to gain.
      if isFeasible && promised <= 1e-10 * (1 + abs(line.cost)) { return (nil, .converged) }
      tighten()
    }
    line.cost = iterate.cost
    line.gap = iterate.largestGap
    return (line, regularization > options.maxRegularization ? .noImprovement : nil)
  }

  /// τ of Fletcher and Xu 1987 ("Hybrid methods for nonlinear least squares"): steps that gain a smaller
  /// share of the cost are left to Newton's method.
  private static var nearShare: Double { 0.2 }

  private func merit(_ iterate: ILQRIterate) -> Double {
    iterate.cost + penalty * iterate.totalGap
  }

  /// Improvement of the merit that the model promises for a step of α.
  private func promise(_ size: Double, _ slope: Double, _ curvature: Double) -> Double {
    size * (penalty * iterate.totalGap - slope) - 0.5 * size * size * curvature
  }

  /// ρ such that the step descends; it never falls, so that merits of all iterates compare.
  private mutating func raisePenalty(_ slope: Double, _ curvature: Double) {
    let gap = iterate.totalGap
    if gap > 0 { penalty = max(penalty, 2 * (slope + 0.5 * max(0, curvature)) / gap) }
  }

  private mutating func relax() {
    rate = min(1 / options.regularizationFactor, rate / options.regularizationFactor)
    regularization *= rate
    if regularization < options.minRegularization { regularization = 0 }
  }

  private mutating func tighten() {
    rate = max(options.regularizationFactor, rate * options.regularizationFactor)
    regularization = max(options.minRegularization, regularization * rate)
  }

  /// A backward pass with second derivatives, where they help; else passes with growing μ until one
  /// succeeds.
  ///
  /// - Returns: how many; nil if μ grew too large.
  private mutating func backward() throws -> Int? {
    // With gaps the costate grows with V and so with μ: no μ would then make Q_uu positive definite.
    let usesCurvature =
      options.secondDerivatives && dynamics.hasSecondDerivatives && iterate.totalGap == 0 && isNear
    var passes = 0
    if usesCurvature {
      passes += 1
      do throws(PlantFailure) {
        if try backwardWithCurvature() == nil { return passes }
      } catch {
        try Task.checkCancellation()
        throw error
      }
      // Where Q_uu is indefinite, iterative LQR's model, which is convex if the cost is, does better
      // than a μ that makes up for it; and so it does where a second derivative is infinite.
    }
    while regularization <= options.maxRegularization {
      passes += 1
      if try backwardPlain() == nil { return passes }
      tighten()
    }
    return nil
  }

  private mutating func backwardPlain() throws(PlantFailure) -> Int? {
    try pass.run(
      model, regularization: regularization, limits: limits, controls: iterate.trajectory.controls,
      workspace: &workspace, writeCurvature: nil, into: &law)
  }

  private mutating func backwardWithCurvature() throws(PlantFailure) -> Int? {
    let (n, m) = (self.n, self.m)
    let (dynamics, trajectory) = (dynamics, iterate.trajectory)
    return try pass.run(
      model, regularization: regularization, limits: limits, controls: trajectory.controls,
      workspace: &workspace,
      writeCurvature: {
        (
          t: Int, costate: Span<Double>, workspace: inout D.Workspace,
          curvature: inout MutableSpan<Double>
        ) throws(PlantFailure) in
        if Task.isCancelled { throw PlantFailure("it was given up") }
        try dynamics.contractSecondDerivatives(
          trajectory.states.storage.span.extracting(t * n..<(t + 1) * n),
          trajectory.controls.storage.span.extracting(t * m..<(t + 1) * m), costate: costate,
          workspace: &workspace, into: &curvature)
      }, into: &law)
  }
}

// MARK: - Expansion

extension ILQRSearch {
  /// Writes the model about the iterate.
  nonisolated(nonsending) private mutating func expand() async throws {
    let (n, d, T) = (self.n, self.n + self.m, self.T)
    for all in [\CostExpansion.values, \.gradients.storage, \.hessians.storage] {
      expansion[keyPath: all].withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
    }
    cost.addExpansion(to: &expansion, along: iterate.trajectory, in: condition)
    if let step = expansion.firstNonFiniteStep {
      throw ILQRError.notFinite(field: "the cost's expansion", step: step)
    }
    expansion.hessians.storage.withUnsafeBufferPointer { H in
      for i in 0..<(T + 1) * d * d { model.hessians.pointer[i] = H[i] }
    }
    expansion.gradients.storage.withUnsafeBufferPointer { g in
      for i in 0..<(T + 1) * d { model.gradients.pointer[i] = g[i] }
    }
    for i in 0..<T * n { model.gaps.pointer[i] = iterate.gaps.storage[i] }
    let jacobians = UnsafeMutableBufferPointer(start: model.jacobians.pointer, count: T * n * d)
    if workers == 1 {
      var entries = jacobians.mutableSpan
      try Self.linearize(
        dynamics, iterate.trajectory, 0..<T, workspace: &workspace, into: &entries)
      return
    }
    let pieces = min(workers, T)
    let (dynamics, trajectory) = (dynamics, iterate.trajectory)
    let parts = try await parallelMap(
      pieces, workers: workers, makeContext: { try dynamics.makeWorkspace() }
    ) { piece, workspace in
      let steps = piece * T / pieces..<(piece + 1) * T / pieces
      var part = [Double](repeating: 0, count: steps.count * n * d)
      var entries = part.mutableSpan
      try Self.linearize(dynamics, trajectory, steps, workspace: &workspace, into: &entries)
      return part
    }
    var next = 0
    for part in parts {
      for value in part {
        jacobians[next] = value
        next += 1
      }
    }
  }

  /// F_t of the given steps, one after the other.
  private static func linearize(
    _ dynamics: D, _ trajectory: Trajectory, _ steps: Range<Int>, workspace: inout D.Workspace,
    into jacobians: inout MutableSpan<Double>
  ) throws {
    let (n, m) = (dynamics.state, dynamics.control)
    let stride = n * (n + m)
    var next = [Double](repeating: 0, count: n)
    let (states, controls) = (trajectory.states.storage.span, trajectory.controls.storage.span)
    for t in steps {
      // One step may take long: whoever gives the work up does not wait for all of them.
      try Task.checkCancellation()
      let first = (t - steps.lowerBound) * stride
      var x = next.mutableSpan
      var F = jacobians._mutatingExtracting(first..<first + stride)
      do throws(PlantFailure) {
        try dynamics.linearize(
          states.extracting(t * n..<(t + 1) * n), controls.extracting(t * m..<(t + 1) * m),
          workspace: &workspace, into: &x, jacobian: &F)
      } catch {
        throw ILQRError.dynamics(step: t, reason: error.reason)
      }
      for i in 0..<stride where !F[i].isFinite {
        throw ILQRError.notFinite(field: "the Jacobian of the dynamics", step: t)
      }
    }
  }
}

// MARK: - Rollouts

extension ILQRSearch {
  /// The first iterate: the controls rolled out, or the given states with their gaps.
  static func start(
    _ dynamics: D, _ cost: any Cost, _ condition: Condition, _ limits: ControlLimits?,
    _ workspace: inout D.Workspace, _ initialState: [Double], _ controls: Matrix, _ states: Matrix?
  ) throws -> ILQRIterate {
    let (n, m, T) = (dynamics.state, dynamics.control, controls.columns)
    if !initialState.isFinite {
      throw ILQRError.notFinite(field: "the initial state", step: 0)
    }
    if let entry = controls.storage.firstNonFinite {
      throw ILQRError.notFinite(field: "the control of the guess", step: entry / m)
    }
    var controls = controls
    limits?.clamp(&controls)
    var all = states ?? Matrix(rows: n, columns: T + 1)
    all.setColumn(0, to: initialState)
    if let entry = all.storage.firstNonFinite {
      throw ILQRError.notFinite(field: "the state of the guess", step: entry / n)
    }
    var gaps = Matrix(rows: n, columns: T)
    var next = [Double](repeating: 0, count: n)
    for t in 0..<T {
      if isTimeToAsk(t) { try Task.checkCancellation() }
      do throws(PlantFailure) {
        var x = next.mutableSpan
        try dynamics.step(
          all.storage.span.extracting(t * n..<(t + 1) * n),
          controls.storage.span.extracting(t * m..<(t + 1) * m), workspace: &workspace, into: &x)
      } catch {
        throw ILQRError.dynamics(step: t, reason: error.reason)
      }
      if !next.allSatisfy(\.isFinite) {
        throw ILQRError.notFinite(field: "the state that follows the guess", step: t + 1)
      }
      if states == nil {
        all.setColumn(t + 1, to: next)
      } else {
        for i in 0..<n { gaps[i, t] = next[i] - all[i, t + 1] }
      }
    }
    let trajectory = try Trajectory(all, controls, of: dynamics, &workspace)
    let costs = cost.values(along: trajectory, in: condition)
    if let step = costs.firstNonFinite {
      throw ILQRError.notFinite(field: "the cost of the guess", step: step)
    }
    return ILQRIterate(
      trajectory: trajectory, gaps: gaps, costs: costs, isClosed: states == nil)
  }

  /// The longest step of the series that keeps its promise.
  nonisolated(nonsending) private mutating func lineSearch(
    _ slope: Double, _ curvature: Double
  ) async throws -> (step: (size: Double, iterate: ILQRIterate)?, trials: Int) {
    var size = 1.0
    var sizes: [Double] = []
    for _ in 0..<options.maxTrials {
      sizes.append(size)
      size *= options.stepReduction
    }
    let before = merit(iterate)
    let (penalty, share) = (penalty, options.acceptedShare)
    func accepts(_ trial: ILQRIterate, _ size: Double) -> Bool {
      let promised = promise(size, slope, curvature)
      return promised > 0
        && before - (trial.cost + penalty * trial.totalGap) >= share * promised
    }
    // The full step is right most of the time: it goes first and alone.
    var trials = 1
    if let full = Self.rolledOut(
      1, law, iterate, dynamics, cost, condition, limits, &workspace), accepts(full, 1)
    {
      return ((1, full), trials)
    }
    var first = 1
    while first < sizes.count {
      // What was given up has not failed.
      try Task.checkCancellation()
      let group = Array(sizes[first..<min(first + workers, sizes.count)])
      let candidates: [ILQRIterate?]
      if group.count == 1 {
        candidates = [
          Self.rolledOut(group[0], law, iterate, dynamics, cost, condition, limits, &workspace)
        ]
      } else {
        let (law, iterate, dynamics) = (law, iterate, dynamics)
        let (cost, condition, limits) = (cost, condition, limits)
        candidates = try await parallelMap(
          group.count, workers: workers, makeContext: { try dynamics.makeWorkspace() }
        ) { index, workspace in
          Self.rolledOut(
            group[index], law, iterate, dynamics, cost, condition, limits, &workspace)
        }
      }
      for (size, candidate) in zip(group, candidates) {
        trials += 1
        if let candidate, accepts(candidate, size) { return ((size, candidate), trials) }
      }
      first += group.count
    }
    try Task.checkCancellation()
    return (nil, trials)
  }

  /// The iterate after a step of α; nil if the dynamics fail on the way, a number is not finite or the task is
  /// cancelled.
  ///
  ///     u = ū + α k + K (x − x̄),  x' = f(x, u) − (1 − α) e
  private static func rolledOut(
    _ size: Double, _ law: FeedbackLaw, _ base: ILQRIterate, _ dynamics: D, _ cost: any Cost,
    _ condition: Condition, _ limits: ControlLimits?, _ workspace: inout D.Workspace
  ) -> ILQRIterate? {
    let (n, m, T) = (dynamics.state, dynamics.control, base.trajectory.horizon)
    var (states, controls) = (base.trajectory.states, base.trajectory.controls)
    var gaps = base.gaps
    let remaining = 1 - size
    if base.largestGap > 0 { for i in gaps.storage.indices { gaps.storage[i] *= remaining } }
    let isOpen = base.largestGap * remaining > 0
    var present = [Double](repeating: 0, count: n)
    do throws(PlantFailure) {
      let (nominalStates, K, k) = (
        base.trajectory.states.storage.span, law.gains.storage.span, law.steps.storage.span
      )
      var x = states.storage.mutableSpan
      var u = controls.storage.mutableSpan
      for t in 0..<T {
        if isTimeToAsk(t) && Task.isCancelled { return nil }
        for i in 0..<m {
          var change = size * k[t * m + i]
          for j in 0..<n {
            change += K[(t * n + j) * m + i] * (x[t * n + j] - nominalStates[t * n + j])
          }
          u[t * m + i] += change
          if let limits { u[t * m + i] = limits.clamped(u[t * m + i], i) }
        }
        // x_t is copied out: it shares its buffer with x_{t+1}, which is written.
        for i in 0..<n { present[i] = x[t * n + i] }
        var next = x._mutatingExtracting((t + 1) * n..<(t + 2) * n)
        try dynamics.step(
          present.span, u.span.extracting(t * m..<(t + 1) * m), workspace: &workspace, into: &next)
        for i in 0..<n {
          if isOpen { x[(t + 1) * n + i] -= gaps.storage[t * n + i] }
          if !x[(t + 1) * n + i].isFinite { return nil }
        }
      }
    } catch {
      return nil
    }
    guard let trajectory = try? Trajectory(states, controls, of: dynamics, &workspace) else {
      return nil
    }
    let costs = cost.values(along: trajectory, in: condition)
    if !costs.allSatisfy(\.isFinite) { return nil }
    return ILQRIterate(trajectory: trajectory, gaps: gaps, costs: costs, isClosed: !isOpen)
  }
}
