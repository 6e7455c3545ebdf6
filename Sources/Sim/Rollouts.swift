package import Configuration
import Foundation
public import GPSCore
package import LinearAlgebra
public import Statistics

/// How exploration noise is shaped before the policy's covariance scales it.
public struct ExplorationNoise: Sendable, Equatable {
  /// A factor on the noise: 1 explores with the policy's own covariance.
  public var scale: Double
  /// Standard deviation of a Gaussian filter over time [control steps]; 0 leaves the noise white.
  public var smoothing: Double
  /// Whether filtered noise is brought back to unit variance at every step. The factor follows from
  /// the filter's weights, not from the drawn numbers, so that the noise stays Gaussian and no
  /// rollout is louder or quieter than another.
  public var renormalizes: Bool

  /// Noise; with no arguments, white with the policy's own covariance.
  public init(scale: Double = 1, smoothing: Double = 0, renormalizes: Bool = true) {
    self.scale = scale
    self.smoothing = smoothing
    self.renormalizes = renormalizes
  }

  /// These options, if they are in range.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public func validated() throws(InvalidOption) -> ExplorationNoise { try checked() }
}

extension ExplorationNoise: Configurable {
  package static let schema = Schema<ExplorationNoise>(ExplorationNoise()) {
    Field(
      "scale", \.scale, .notNegative, "A factor: 1 explores with the policy's own covariance.")
    Field(
      "smoothing", \.smoothing, Check("between 0 and 1000000") { (0...1e6).contains($0) },
      "Standard deviation of a Gaussian filter over time [control steps]; 0 for white noise, from "
        + "which dynamics are easiest to fit.")
    Field(
      "renormalizes", \.renormalizes, "Whether filtered noise is brought back to unit variance.")
  }
}

/// When a rollout is given up, and how often it is drawn again.
public struct RolloutOptions: Sendable, Equatable {
  /// How often a rollout that failed is drawn again, the first try included.
  public var maxAttempts: Int
  /// Wall-clock seconds that one rollout may take; nil for any time. A rollout over its limit is
  /// discarded, so that with a limit results depend on how fast the machine is.
  public var timeLimit: Double?

  /// Options; with no arguments, three tries of any length.
  public init(maxAttempts: Int = 3, timeLimit: Double? = nil) {
    self.maxAttempts = maxAttempts
    self.timeLimit = timeLimit
  }

  /// These options, if they are in range.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public func validated() throws(InvalidOption) -> RolloutOptions { try checked() }
}

extension RolloutOptions: Configurable {
  package static let schema = Schema<RolloutOptions>(RolloutOptions()) {
    Field(
      "maxAttempts", \.maxAttempts, .between(1, 1000),
      "Tries of a rollout that fails, the first included.")
    Field(
      "timeLimit", \.timeLimit,
      Check("more than 0 and at most 1000000") { 0 < $0 && $0 <= 1e6 },
      "Seconds that a rollout may take; null for any time. Results then depend on the machine.")
  }
}

/// Which rollouts to take, and how.
public struct RolloutPlan: Sendable {
  /// The iteration, part of the key of every random stream.
  public var iteration: Int
  /// Rollouts per condition, at least 1.
  public var samples: Int
  /// `.rollout` for training, `.evaluation` for judging a policy: they never share random numbers.
  public var purpose: RandomStream.Purpose
  /// Exploration noise; nil for the policy's mean actions.
  public var noise: ExplorationNoise?
  /// Whether the condition's initial numbers get their noise.
  public var initialStateNoise: Bool
  /// When a rollout is given up, and how often it is drawn again.
  public var options: RolloutOptions
  /// Rollouts at the same time.
  public var workers: Int
  /// Whether each rollout is judged as soon as it ends and then let go, so that memory does not grow with
  /// their number: batches then have verdicts and no trajectories.
  public var keepsVerdictsAlone = false

  /// A plan.
  public init(
    iteration: Int, samples: Int, purpose: RandomStream.Purpose = .rollout,
    noise: ExplorationNoise? = ExplorationNoise(), initialStateNoise: Bool = true,
    options: RolloutOptions = RolloutOptions(), workers: Int
  ) {
    self.iteration = iteration
    self.samples = samples
    self.purpose = purpose
    self.noise = noise
    self.initialStateNoise = initialStateNoise
    self.options = options
    self.workers = workers
  }
}

/// Why and when one rollout failed.
public struct RolloutFailure: Error, Sendable, Equatable {
  /// The control step, from 0.
  public var step: Int
  /// One sentence without a final stop.
  public var reason: String
}

/// One rollout, from reset to x_T: u_t from the policy, x_{t+1} from the plant.
///
/// Pure in its inputs: the same plant state and noise give the same bytes. Nothing is allocated per
/// time step.
///
/// - Parameters:
///   - plant: reset here; owned by the caller.
///   - policy: chooses the controls.
///   - workspace: the policy's, prepared here for a new rollout.
///   - dimensions: n, m, o, T and P.
///   - condition: where to start.
///   - plantState: the numbers to start from, with noise already added.
///   - noise: m × T standard-normal numbers (zeros for mean actions), column t for step t.
///   - limits: bounds on the controls, m each; nil for none.
///   - timeLimit: wall-clock seconds, looked at between steps; nil for any time.
///   - keepsPointJacobians: whether the trajectory holds the points' Jacobians.
/// - Returns: a trajectory in which every number is finite.
/// - Throws: `RolloutFailure`, when the plant gives up, a number is not finite or time is up.
public func rollout<System: Plant, P: Policy>(
  _ plant: inout System, under policy: P, workspace: inout P.Workspace, dimensions: Dimensions,
  condition: Condition, plantState: [Double], noise: [Double], limits: ControlLimits? = nil,
  timeLimit: Double? = nil, keepsPointJacobians: Bool = true
) throws(RolloutFailure) -> Trajectory {
  let (n, m, o, T) = (
    dimensions.state, dimensions.control, dimensions.observation, dimensions.horizon
  )
  let rows = 3 * dimensions.points
  precondition(noise.count == m * T, "\(noise.count) noise numbers for \(m) controls × \(T) steps")
  var states = [Double](repeating: 0, count: n * (T + 1))
  var controls = [Double](repeating: 0, count: m * T)
  var observations = [Double](repeating: 0, count: o * (T + 1))
  var points = [Double](repeating: 0, count: rows * (T + 1))
  // Without them, every step writes over those of the step before.
  let stride = keepsPointJacobians ? rows * n : 0
  var jacobians = [Double](repeating: 0, count: stride * T + rows * n)

  do {
    if let whole = try plant.wholeRollout(
      under: policy, in: condition, plantState: plantState, noise: noise, timeLimit: timeLimit)
    {
      try requireFinite(whole, dimensions)
      return whole
    }
  } catch {
    throw error as? RolloutFailure ?? RolloutFailure(step: 0, reason: "\(error)")
  }

  var step = 0
  let deadline = timeLimit.map { ContinuousClock.now + .seconds($0) }
  do {
    try plant.reset(to: condition, plantState: plantState.span)
    policy.beginRollout(workspace: &workspace)
    var allStates = states.mutableSpan
    var allControls = controls.mutableSpan
    var allObservations = observations.mutableSpan
    var allPoints = points.mutableSpan
    var allJacobians = jacobians.mutableSpan
    let noise = noise.span
    for t in 0...T {
      step = t
      // One step may take long: whoever gives the work up does not wait for all of them.
      if Task.isCancelled { throw PlantFailure("it was given up") }
      // Asking the limit first: an instant is an opaque value, which is copied by calls.
      if let timeLimit, let deadline, ContinuousClock.now > deadline {
        throw PlantFailure("the rollout takes longer than \(timeLimit) s")
      }
      var state = allStates._mutatingExtracting(n * t..<n * (t + 1))
      plant.readState(into: &state)
      try requireFinite(state.span, "state")
      var observation = allObservations._mutatingExtracting(o * t..<o * (t + 1))
      plant.readObservation(into: &observation)
      try requireFinite(observation.span, "observation")
      if rows > 0 {
        var positions = allPoints._mutatingExtracting(rows * t..<rows * (t + 1))
        var derivatives = allJacobians._mutatingExtracting(stride * t..<stride * t + rows * n)
        plant.readPoints(positions: &positions, jacobians: &derivatives)
        try requireFinite(positions.span, "point")
        if keepsPointJacobians { try requireFinite(derivatives.span, "point Jacobian") }
      }
      if t == T { break }
      var control = allControls._mutatingExtracting(m * t..<m * (t + 1))
      policy.act(
        step: t, state: state.span, observation: observation.span,
        noise: noise.extracting(m * t..<m * (t + 1)), workspace: &workspace, action: &control)
      try requireFinite(control.span, "control")
      limits?.clamp(&control)
      try plant.step(control: control.span)
    }
  } catch {
    throw RolloutFailure(step: step, reason: "\(error)")
  }
  var trajectory = Trajectory(
    states: Matrix(rows: n, columns: T + 1, columnMajor: states),
    controls: Matrix(rows: m, columns: T, columnMajor: controls),
    observations: Matrix(rows: o, columns: T + 1, columnMajor: observations),
    points: Matrix(rows: rows, columns: T + 1, columnMajor: points),
    pointJacobians: keepsPointJacobians
      ? MatrixSequence(rows: rows, columns: n, count: T + 1, columnMajor: jacobians) : nil)
  let record = plant.record
  (trajectory.rewards, trajectory.endStep) = (record.rewards, record.endStep)
  return trajectory
}

/// The same of a rollout that was taken as a whole; the first number that is not finite tells the step.
private func requireFinite(_ whole: Trajectory, _ dimensions: Dimensions) throws {
  precondition(
    whole.states.rows == dimensions.state && whole.controls.rows == dimensions.control
      && whole.observations.rows == dimensions.observation && whole.horizon == dimensions.horizon,
    "a whole rollout of \(whole.states.rows) states, \(whole.controls.rows) controls and "
      + "\(whole.observations.rows) observations over \(whole.horizon) steps")
  for (field, matrix) in [
    ("state", whole.states), ("observation", whole.observations), ("control", whole.controls),
  ] {
    guard let entry = matrix.storage.firstNonFinite else { continue }
    let rows = max(1, matrix.rows)
    throw RolloutFailure(
      step: entry / rows,
      reason: "\(field) number \(entry % rows) is \(matrix.storage[entry])")
  }
}

private func requireFinite(_ numbers: Span<Double>, _ field: String) throws {
  if numbers.isFinite { return }
  for i in 0..<numbers.count where !numbers[i].isFinite {
    throw PlantFailure("\(field) number \(i) is \(numbers[i])")
  }
}

/// Takes all rollouts of a plan in parallel, and finishes each condition as soon as its own are in.
///
/// Workers take (condition, sample) jobs in the order of the conditions, each with a plant of its
/// own. The worker that completes the last rollout of a condition runs `finish` for it at once, while
/// the others go on rolling out other conditions. Plants that wait for real time have threads of
/// their own (`Plant.waitsForRealTime`).
///
/// Random numbers come from `stream.child(purpose, iteration, condition, sample, attempt)`: what the
/// condition draws for every rollout first, then the noise of the initial state, then that of all T
/// steps; what it draws for every iteration comes from `stream.child(purpose, iteration, condition)`. No
/// result depends on the number of workers. A rollout that fails, or whose cost is not finite, is recorded in its batch and drawn
/// again from the next attempt's stream, with a new plant, up to `maxAttempts`; a condition whose
/// tries are used up goes on with the rollouts it has, possibly none. A plant that cannot be made is
/// a rollout that failed.
///
/// - Parameters:
///   - task: makes the plants.
///   - conditions: where to start; their indices are those of the batches.
///   - policies: one per condition.
///   - plan: how many, with what noise, on how many workers.
///   - stream: the parent of all random streams used.
///   - finish: what follows a condition's rollouts, such as its dynamics fit.
/// - Returns: the results of `finish`, in the order of the conditions.
/// - Throws: what `finish` threw, that of the lowest condition first, or `CancellationError`.
public func collectRollouts<T: ControlTask, P: Policy, R: Sendable>(
  of task: T, in conditions: [Condition], under policies: [P], plan: RolloutPlan,
  stream: RandomStream, then finish: @escaping @Sendable (RolloutBatch) async throws -> R
) async throws -> [R] {
  precondition(
    policies.count == conditions.count,
    "\(policies.count) policies for \(conditions.count) conditions")
  precondition(
    plan.samples >= 1 && plan.options.maxAttempts >= 1,
    "\(plan.samples) samples of at most \(plan.options.maxAttempts) attempts")
  let samples = plan.samples
  let sampler = RolloutSampler(task, plan: plan, stream: stream)
  let pending = (0..<conditions.count).map { _ in PendingCondition(samples: samples) }

  let finished = FinishedConditions<R>(count: conditions.count)
  _ = try await parallelMap(
    conditions.count * samples, workers: plan.workers, ownThreads: T.System.waitsForRealTime,
    makeContext: { RolloutWorker<T, P>(task) },
    body: { (job: Int, worker: inout RolloutWorker<T, P>) async throws in
      let (condition, sample) = (job / samples, job % samples)
      let outcome = try sampler.outcome(
        of: sample, in: conditions[condition], number: condition, under: policies[condition],
        by: &worker)
      guard let batch = pending[condition].adding(outcome, sample: sample, condition: condition)
      else { return }
      let result = try await finish(batch)
      finished.add(result, of: condition)
    })
  return finished.results
}

/// Takes all rollouts of a plan in parallel: one batch per condition.
///
/// - Throws: `CancellationError`.
public func collectRollouts<T: ControlTask, P: Policy>(
  of task: T, in conditions: [Condition], under policies: [P], plan: RolloutPlan,
  stream: RandomStream
) async throws -> [RolloutBatch] {
  try await collectRollouts(
    of: task, in: conditions, under: policies, plan: plan, stream: stream, then: { $0 })
}

/// Rollouts of one plan, one at a time: whoever takes them, and in whatever order, they are the same.
package struct RolloutSampler<T: ControlTask>: Sendable {
  private let task: T
  private let plan: RolloutPlan
  private let stream: RandomStream
  private let filter: NoiseFilter?
  private let keepsPointJacobians: Bool

  /// Rollouts of a plan.
  ///
  /// - Parameters:
  ///   - task: where.
  ///   - plan: how; its workers play no part.
  ///   - stream: the parent of all random streams used.
  package init(_ task: T, plan: RolloutPlan, stream: RandomStream) {
    (self.task, self.plan, self.stream) = (task, plan, stream)
    filter = plan.noise.map { NoiseFilter($0, horizon: task.dimensions.horizon) }
    keepsPointJacobians = task.cost.needsPointJacobians
  }

  /// What is drawn first for a try of a rollout, and the stream that all else is drawn from.
  private func begun(
    _ sample: Int, of own: Condition, number condition: Int, attempt: Int
  ) -> (condition: Condition, stream: RandomStream) {
    // What holds for all rollouts of the iteration comes from a stream that they share.
    var shared = stream.child(plan.purpose, plan.iteration, condition)
    var stream = stream.child(plan.purpose, plan.iteration, condition, sample, attempt)
    let drawn =
      own.draws?.every == .iteration ? own.drawn(from: &shared) : own.drawn(from: &stream)
    return (drawn, stream)
  }

  /// The condition that a try of a rollout has.
  package func condition(
    of sample: Int, in own: Condition, number condition: Int, attempt: Int
  ) -> Condition {
    begun(sample, of: own, number: condition, attempt: attempt).condition
  }

  /// All that is random in the first try of a rollout, for whoever rolls out without drawing: the condition, the plant
  /// state to start from, and the noise, m × T.
  package func draws(
    of sample: Int, in own: Condition, number condition: Int
  ) -> (condition: Condition, plantState: [Double], noise: Matrix) {
    var (drawn, stream) = begun(sample, of: own, number: condition, attempt: 0)
    let plantState =
      plan.initialStateNoise
      ? task.initialPlantState(of: drawn, stream: &stream) : drawn.initialPlantState
    let (m, T) = (task.dimensions.control, task.dimensions.horizon)
    var noise = [Double](repeating: 0, count: m * T)
    var scratch = [Double](repeating: 0, count: T)
    filter?.fill(&noise, rows: m, scratch: &scratch, from: &stream)
    return (drawn, plantState, Matrix(rows: m, columns: T, columnMajor: noise))
  }

  /// One sample of one condition, drawn again where it fails.
  ///
  /// - Parameters:
  ///   - sample: its number in its batch.
  ///   - own: where it starts.
  ///   - condition: the number of that among the conditions.
  ///   - policy: acts.
  ///   - worker: takes it.
  /// - Returns: the rollout, or none, and what failed.
  /// - Throws: `CancellationError`.
  package func outcome<P: Policy>(
    of sample: Int, in own: Condition, number condition: Int, under policy: P,
    by worker: inout RolloutWorker<T, P>
  ) throws -> SampleOutcome {
    var outcome = SampleOutcome()
    let clock = ContinuousClock()
    let start = clock.now
    for attempt in 0..<plan.options.maxAttempts {
      try Task.checkCancellation()
      var (drawn, stream) = begun(sample, of: own, number: condition, attempt: attempt)
      do throws(RolloutFailure) {
        var trajectory = try worker.rollout(
          of: drawn, index: condition, under: policy, filter: filter,
          initialStateNoise: plan.initialStateNoise, timeLimit: plan.options.timeLimit,
          keepsPointJacobians: keepsPointJacobians, stream: &stream)
        if own.draws != nil { trajectory.condition = drawn }
        if plan.keepsVerdictsAlone {
          outcome.verdict = task.verdict(on: trajectory, in: drawn)
        } else {
          outcome.trajectory = [trajectory]
        }
        break
      } catch {
        outcome.discarded.append(
          DiscardedRollout(
            sample: sample, attempt: attempt, step: error.step, reason: error.reason))
      }
    }
    try Task.checkCancellation()
    outcome.seconds = (clock.now - start).inSeconds
    return outcome
  }
}

/// What one worker owns.
package struct RolloutWorker<T: ControlTask, P: Policy> {
  private let task: T
  /// Nil before the first rollout and after one that failed: what a plant keeps of a failure is its
  /// own affair and shall not reach the next rollout.
  private var plant: T.System?
  /// m × T.
  private var noise: [Double]
  /// T + 1 numbers of scratch for the filter.
  private var scratch: [Double]
  /// Scratch of the policy of one condition.
  private var workspace: (condition: Int, of: P.Workspace)?

  /// A worker without a plant.
  package init(_ task: T) {
    self.task = task
    let dimensions = task.dimensions
    noise = [Double](repeating: 0, count: dimensions.control * dimensions.horizon)
    scratch = [Double](repeating: 0, count: dimensions.horizon)
  }

  /// Makes ready for another policy than the last one in the same condition.
  package mutating func changePolicy() { workspace = nil }

  fileprivate mutating func rollout(
    of condition: Condition, index: Int, under policy: P, filter: NoiseFilter?,
    initialStateNoise: Bool, timeLimit: Double?, keepsPointJacobians: Bool,
    stream: inout RandomStream
  ) throws(RolloutFailure) -> Trajectory {
    let plantState =
      initialStateNoise
      ? task.initialPlantState(of: condition, stream: &stream) : condition.initialPlantState
    if let filter {
      filter.fill(&noise, rows: task.dimensions.control, scratch: &scratch, from: &stream)
    } else {
      // Another plan's may be there.
      for i in noise.indices { noise[i] = 0 }
    }
    var owned = workspace.take() ?? (index, policy.makeWorkspace())
    if owned.condition != index { owned = (index, policy.makeWorkspace()) }
    defer { workspace = owned }
    var plant: T.System
    do {
      plant = try self.plant.take() ?? task.makePlant()
    } catch {
      throw RolloutFailure(step: 0, reason: "no plant could be made: \(error)")
    }
    var trajectory = try Sim.rollout(
      &plant, under: policy, workspace: &owned.of, dimensions: task.dimensions,
      condition: condition, plantState: plantState, noise: noise, limits: task.controlLimits,
      timeLimit: timeLimit, keepsPointJacobians: keepsPointJacobians)
    self.plant = plant
    let costs = task.cost.values(along: trajectory, in: condition)
    if let step = costs.firstNonFinite {
      throw RolloutFailure(step: step, reason: "the cost is \(costs[step])")
    }
    trajectory.endStep = task.endStep(of: trajectory, in: condition)
    return trajectory
  }
}

/// A Gaussian filter over time of finite length.
///
///     z_t = scale · Σ_s w_{s−t} ε_s / c_t,   w_j = exp(−j² / 2σ²),  |j| ≤ 4σ, 0 ≤ s < T
///
/// with c_t² = Σ_s w² (unit variance at every step, the ends included) when renormalising, and
/// c_t = Σ_s w (a plain weighted mean, of smaller variance) otherwise.
struct NoiseFilter: Sendable {
  let scale: Double
  /// w_{−r} … w_r; one number if nothing is filtered.
  let weights: [Double]
  /// 1 / c_t, T numbers.
  let factors: [Double]

  init(_ noise: ExplorationNoise, horizon: Int) {
    scale = noise.scale
    let deviation = noise.smoothing
    let radius = deviation > 0 ? Int(min(Double(horizon), max(1, (4 * deviation).rounded(.up)))) : 0
    let weights = (-radius...radius).map { j in
      radius == 0 ? 1 : exp(-0.5 * (Double(j) / deviation) * (Double(j) / deviation))
    }
    self.weights = weights
    factors = (0..<horizon).map { t in
      var sum = 0.0
      for j in -radius...radius where 0 <= t + j && t + j < horizon {
        let weight = weights[j + radius]
        sum += noise.renormalizes ? weight * weight : weight
      }
      return 1 / (noise.renormalizes ? sum.squareRoot() : sum)
    }
  }

  /// Draws rows × T numbers, step by step, and filters each row over time.
  func fill(
    _ noise: inout [Double], rows: Int, scratch: inout [Double], from stream: inout RandomStream
  ) {
    noise.withUnsafeMutableBufferPointer { stream.fillNormals($0) }
    if weights.count == 1 {
      for i in noise.indices { noise[i] *= scale }
      return
    }
    let (horizon, radius) = (factors.count, weights.count / 2)
    for row in 0..<rows {
      for t in 0..<horizon {
        var sum = 0.0
        for s in max(0, t - radius)...min(horizon - 1, t + radius) {
          sum += weights[s - t + radius] * noise[row + rows * s]
        }
        scratch[t] = scale * factors[t] * sum
      }
      for t in 0..<horizon { noise[row + rows * t] = scratch[t] }
    }
  }
}

/// What came of one sample of one condition.
package struct SampleOutcome: Sendable {
  /// One or none, in a list because that takes eight bytes where there is none.
  package var trajectory: [Trajectory] = []
  package var verdict: Verdict?
  package var discarded: [DiscardedRollout] = []
  /// How long it took, tries that failed included.
  package var seconds = 0.0

  package init() {}
}

extension RolloutBatch {
  /// The samples of a condition, in their order.
  package init(condition: Int, outcomes list: [SampleOutcome]) {
    self.init(
      condition: condition, trajectories: list.flatMap(\.trajectory),
      samples: list.indices.filter { !list[$0].trajectory.isEmpty },
      discarded: list.flatMap(\.discarded), seconds: list.reduce(0) { $0 + $1.seconds })
    verdicts = list.compactMap(\.verdict)
  }
}

/// What has come of the conditions. A result for each of a million rollouts would be room for nothing.
private final class FinishedConditions<R: Sendable>: Sendable {
  private let list: Locked<[R?]>

  init(count: Int) { list = Locked([R?](repeating: nil, count: count)) }

  func add(_ result: R, of condition: Int) { list.withLock { $0[condition] = result } }

  /// In the order of the conditions.
  var results: [R] { list.withLock { list in list.compactMap { $0 } } }
}

/// The samples of one condition that are in.
private final class PendingCondition: Sendable {
  private let outcomes: Locked<(missing: Int, list: [SampleOutcome])>

  init(samples: Int) {
    outcomes = Locked((samples, [SampleOutcome](repeating: SampleOutcome(), count: samples)))
  }

  /// The batch in the order of its samples, for the worker that brought the last one.
  func adding(_ outcome: SampleOutcome, sample: Int, condition: Int) -> RolloutBatch? {
    let complete: [SampleOutcome]? = outcomes.withLock { outcomes in
      outcomes.list[sample] = outcome
      outcomes.missing -= 1
      if outcomes.missing > 0 { return nil }
      let list = outcomes.list
      outcomes.list = []
      return list
    }
    return complete.map { RolloutBatch(condition: condition, outcomes: $0) }
  }
}
