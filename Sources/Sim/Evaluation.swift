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
///   - keepsRollouts: whether the rollouts themselves are kept; without, memory holds some numbers of each.
/// - Returns: costs and successes per condition; a rollout that failed counts as not successful.
/// - Throws: `CancellationError`.
public func evaluation<System: ControlTask, P: Policy>(
  of policy: P, on task: System, in conditions: [Condition], iteration: Int = 0, rollouts: Int,
  noise: ExplorationNoise? = nil, initialStateNoise: Bool = true, timeLimit: Double? = nil,
  stream: RandomStream, workers: Int, keepsRollouts: Bool = true
) async throws -> Evaluation {
  var plan = RolloutPlan.judging(
    iteration: iteration, rollouts: rollouts, noise: noise, initialStateNoise: initialStateNoise,
    timeLimit: timeLimit, workers: workers)
  plan.keepsVerdictsAlone = !keepsRollouts
  let entries = try await collectRollouts(
    of: task, in: conditions,
    under: [P](repeating: policy, count: conditions.count), plan: plan, stream: stream
  ) { Evaluation.Entry($0, in: conditions[$0.condition], of: task) }
  return Evaluation(entries: entries)
}

extension RolloutPlan {
  /// How a policy is rolled out to be judged.
  ///
  /// - Parameters: as those of `evaluation`.
  package static func judging(
    iteration: Int = 0, rollouts: Int = 1, noise: ExplorationNoise? = nil,
    initialStateNoise: Bool = true, timeLimit: Double?, workers: Int = 1
  ) -> RolloutPlan {
    RolloutPlan(
      iteration: iteration, samples: rollouts, purpose: .evaluation, noise: noise,
      initialStateNoise: initialStateNoise,
      options: RolloutOptions(maxAttempts: 1, timeLimit: timeLimit), workers: workers)
  }
}

extension Evaluation.Entry {
  /// The rollouts of a condition, judged; where they are not there any more, they have been.
  package init(_ batch: RolloutBatch, in condition: Condition, of task: some ControlTask) {
    let verdicts =
      batch.verdicts.isEmpty
      ? batch.trajectories.map { task.verdict(on: $0, in: condition) } : batch.verdicts
    self.init(
      condition: condition.name, costs: verdicts.map(\.cost),
      successes: verdicts.compactMap(\.isSuccess)
        + (task.judgesSuccess ? batch.discarded.map { _ in false } : []),
      margins: verdicts.map(\.margin), batch: batch)
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
