public import GPSCore
public import Statistics

/// Rolls out a policy and judges it.
///
/// - Parameters:
///   - policy: what acts.
///   - task: where.
///   - conditions: from which initial conditions.
///   - iteration: part of the random streams' path.
///   - rollouts: per condition.
///   - noise: exploration noise; nil for mean actions.
///   - initialStateNoise: whether the conditions' initial-state noise is drawn.
///   - timeLimit: wall-clock seconds of one rollout; nil for any time.
///   - stream: the root of the randomness.
///   - workers: how many rollouts at once.
///   - keepsTrajectories: whether the rollouts themselves are among the result; without them, memory does
///     not grow with their number.
/// - Returns: costs and successes per condition; a rollout that failed counts as not successful.
/// - Throws: `CancellationError`.
public func evaluation<System: ControlTask, P: Policy>(
  of policy: P, on task: System, in conditions: [Condition], iteration: Int = 0, rollouts: Int,
  noise: ExplorationNoise? = nil, initialStateNoise: Bool = true, timeLimit: Double? = nil,
  stream: RandomStream, workers: Int, keepsTrajectories: Bool = true
) async throws -> Evaluation {
  var plan = RolloutPlan(
    iteration: iteration, samples: rollouts, purpose: .evaluation, noise: noise,
    initialStateNoise: initialStateNoise,
    options: RolloutOptions(maxAttempts: 1, timeLimit: timeLimit), workers: workers)
  func entries(_ plan: RolloutPlan) async throws -> [Evaluation.Entry] {
    try await collectRollouts(
      of: task, in: conditions,
      under: [P](repeating: policy, count: conditions.count), plan: plan, stream: stream
    ) { batch in
      let condition = conditions[batch.condition]
      return Evaluation.Entry(
        condition: condition.name,
        costs: batch.trajectories.map { trajectory in
          task.cost.values(along: trajectory, in: condition).reduce(0, +)
        },
        successes: batch.trajectories.map { task.isSuccess($0, in: condition) }
          + batch.discarded.map { _ in false },
        batch: batch)
    }
  }
  if keepsTrajectories { return Evaluation(entries: try await entries(plan)) }
  // Some at a time; each of the same random numbers as among all.
  let block = max(64, 8 * workers)
  var whole: [Evaluation.Entry] = []
  for first in stride(from: 0, to: rollouts, by: block) {
    plan.firstSample = first
    plan.samples = min(block, rollouts - first)
    var part = try await entries(plan)
    for i in part.indices { part[i].batch.trajectories = [] }
    whole = whole.isEmpty ? part : zip(whole, part).map { $0.appending($1) }
  }
  return Evaluation(entries: whole)
}

extension Evaluation.Entry {
  /// The same with further rollouts of the condition.
  fileprivate func appending(_ other: Evaluation.Entry) -> Evaluation.Entry {
    var both = self
    both.costs += other.costs
    both.successes += other.successes
    both.batch.trajectories += other.batch.trajectories
    both.batch.samples += other.batch.samples
    both.batch.discarded += other.batch.discarded
    both.batch.seconds += other.batch.seconds
    return both
  }
}

extension ControlTask {
  /// Rolls out a policy in all training conditions and judges it.
  ///
  /// - Parameters:
  ///   - policy: what acts.
  ///   - rollouts: per condition.
  ///   - seed: of initial states and noise.
  ///   - noise: exploration noise; nil for mean actions.
  ///   - workers: how many rollouts at once; results do not depend on it.
  /// - Returns: costs and successes per condition; a rollout that failed counts as not successful.
  /// - Throws: `CancellationError`.
  public func evaluate(
    _ policy: some Policy, rollouts: Int = 10, seed: UInt64 = 0, noise: ExplorationNoise? = nil,
    workers: Int = 1
  ) async throws -> Evaluation {
    try await evaluation(
      of: policy, on: self, in: conditions, rollouts: rollouts, noise: noise,
      stream: RandomStream(seed: seed), workers: workers)
  }
}
