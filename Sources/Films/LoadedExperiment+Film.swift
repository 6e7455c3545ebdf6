public import Experiments
public import Foundation
public import GPSCore
import Runs
import LinearAlgebra
import Sim
import Statistics

extension LoadedExperiment {
  /// A film of a policy beside the initial controllers, from the conditions' own starts, without noise.
  ///
  /// - Parameters:
  ///   - url: a policy file, or a checkpoint, whose last policy is taken.
  ///   - learner: whose policies it holds, from `learner(workers:)`.
  ///   - conditions: training or test conditions of the task; in the latter the policy stands alone unless all are
  ///     training conditions.
  ///   - title: what stands above the policy's pictures.
  ///   - options: size and camera.
  ///   - workers: how many rollouts at once.
  /// - Returns: the film, not yet drawn.
  /// - Throws: `PolicyFileError`, `CheckpointError`, `FilmError.rollout`, or `CancellationError`.
  public func film<L: Learner>(
    policyAt url: URL, of learner: L, in conditions: [Condition], title: String,
    options: Film.Options = Film.Options(), workers: Int = 1
  ) async throws -> Film {
    let policy: L.Actor
    if url.deletingLastPathComponent().lastPathComponent == RunDirectory.FileName.checkpoints {
      guard let last = learner.lastPolicy(of: try Checkpoint<L.State>(contentsOf: url).state) else {
        throw PolicyFileError.invalid(path: url.path, reason: "this checkpoint holds no policy")
      }
      policy = last
    } else {
      policy = try PolicyFile<L.Actor>(contentsOf: url).policy
    }
    return try await film(
      of: policy, on: task, in: conditions, title: title, options: options, workers: workers)
  }

  private func film(
    of policy: some Policy, on task: some ControlTask, in conditions: [Condition], title: String,
    options: Film.Options, workers: Int
  ) async throws -> Film {
    if let problem = policy.mismatch(with: task.dimensions) {
      throw PolicyFileError.invalid(path: "the policy", reason: problem)
    }
    func rollouts(
      under policies: [some Policy], in conditions: [Condition]
    ) async throws -> [Trajectory] {
      var trajectories: [Trajectory] = []
      for (condition, policy) in zip(conditions, policies) {
        let entry = try await evaluation(
          of: policy, on: task, in: [condition], rollouts: 1, initialStateNoise: false,
          stream: RandomStream(seed: seed), workers: workers
        ).entries[0]
        guard let trajectory = entry.batch.trajectories.first else {
          let failure = entry.batch.discarded.last
          throw FilmError.rollout(
            condition: condition.name,
            reason: failure.map { "step \($0.step): \($0.reason)" } ?? "it has no rollout")
        }
        trajectories.append(trajectory)
      }
      return trajectories
    }
    let learned = try await rollouts(
      under: conditions.map { _ in policy }, in: conditions)
    let controllers = conditions.compactMap { condition in
      task.conditions.firstIndex { $0 == condition }.map { initialControllers[$0] }
    }
    let first =
      controllers.count == conditions.count
      ? try await rollouts(under: controllers, in: conditions) : []
    return Film(
      of: task,
      conditions.indices.map { index in
        let drawn = learned[index].condition ?? conditions[index]
        return Film.Take(
          condition: drawn,
          panels: first.indices.contains(index)
            ? [
              Film.Take.Panel(title: "iteration 0", trajectory: first[index]),
              Film.Take.Panel(title: title, trajectory: learned[index]),
            ] : [Film.Take.Panel(title: title, trajectory: learned[index])])
      }, options: options)
  }
}
