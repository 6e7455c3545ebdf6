import Configuration
public import Foundation
public import GPSCore
import LinearAlgebra
public import Runs
import Sim
import Statistics

extension LoadedExperiment: RunSource {
  /// The experiment's name.
  public var taskName: String { experiment.task }
  /// The root of all randomness.
  public var seed: UInt64 { experiment.seed }
  /// MuJoCo's version.
  public var simulatorVersion: String { MuJoCoVersion.current }

  /// Why a stored experiment is not this one, as a clause; nil if it is, whatever the number of iterations.
  public func mismatch(with storedYAML: String) -> String? {
    let own: [String]
    do {
      own = try Experiment(yaml: storedYAML).comparable
    } catch {
      return "its experiment cannot be read: \(error)"
    }
    let other = archivedExperiment.comparable
    if own == other { return nil }
    let (mine, yours) =
      zip(own, other).first(where: { $0 != $1 }) ?? (own.last ?? "", other.last ?? "")
    return "it belongs to another experiment: it has "
      + "\"\(abbreviated(mine.trimmingCharacters(in: .whitespaces)))\" where this one has "
      + "\"\(abbreviated(yours.trimmingCharacters(in: .whitespaces)))\""
  }

  /// Begins a run of a learner in a directory.
  ///
  /// - Parameters:
  ///   - learner: from `learner(workers:)` or `optimizer(workers:)`.
  ///   - url: where; made if it does not exist.
  ///   - replacing: whether files of an earlier run there may be replaced.
  ///   - echoesWarnings: whether warnings go to standard error too.
  /// - Returns: the run, in whose directory nothing but the experiment and headings stand.
  /// - Throws: `RunDirectoryError`.
  public func begin<L: Learner>(
    _ learner: L, at url: URL, replacing: Bool = false, echoesWarnings: Bool = true
  ) throws(RunDirectoryError) -> RunSession<L> {
    try begin(learner, on: task, at: url, replacing: replacing, echoesWarnings: echoesWarnings)
  }

  private func begin<L: Learner>(
    _ learner: L, on task: some ControlTask, at url: URL, replacing: Bool, echoesWarnings: Bool
  ) throws(RunDirectoryError) -> RunSession<L> {
    try RunSession(
      beginning: learner, on: task, of: self, at: url, replacing: replacing,
      echoesWarnings: echoesWarnings)
  }

  /// Goes on with the run in a directory.
  ///
  /// - Parameters: as those of `begin`; the experiment may differ from the one there in its number of
  ///   iterations.
  /// - Throws: `CheckpointError` if there is no checkpoint, none can be used or more iterations are
  ///   done than the experiment has; `RunDirectoryError`.
  public func resume<L: Learner>(
    _ learner: L, at url: URL, echoesWarnings: Bool = true
  ) throws -> RunSession<L> {
    try resume(learner, on: task, at: url, echoesWarnings: echoesWarnings)
  }

  private func resume<L: Learner>(
    _ learner: L, on task: some ControlTask, at url: URL, echoesWarnings: Bool
  ) throws -> RunSession<L> {
    try RunSession(
      resuming: learner, on: task, of: self, at: url, echoesWarnings: echoesWarnings)
  }

  /// Rolls out the policy in a file in all conditions.
  ///
  /// - Parameters:
  ///   - url: a policy file or a checkpoint.
  ///   - learner: whose policies it holds, from `learner(workers:)`.
  ///   - rollouts: per condition.
  ///   - seed: of initial states and noise.
  ///   - isNoisy: whether the policy's own noise is added.
  ///   - workers: how much runs at once.
  ///   - keepsRollouts: whether the rollouts themselves are kept.
  /// - Returns: costs and successes in the training conditions and, if there are any, in the test
  ///   conditions.
  /// - Throws: `PolicyFileError` if the policy cannot be read or does not fit the experiment, or an error
  ///   of the simulator's.
  public func evaluate<L: Learner>(
    policyAt url: URL, of learner: L, rollouts: Int, seed: UInt64, isNoisy: Bool, workers: Int,
    keepsRollouts: Bool = true
  ) async throws -> (training: Evaluation, test: Evaluation?) {
    let file = try PolicyFile<L.Actor>(contentsOf: url)
    return try await evaluate(
      file.policy, on: task, rollouts: rollouts, seed: seed, isNoisy: isNoisy, workers: workers,
      keepsRollouts: keepsRollouts)
  }

  /// Rolls out a policy in all conditions.
  ///
  /// - Parameters: as those of the other `evaluate`.
  /// - Throws: `PolicyFileError` if the policy does not fit the experiment, or an error of the
  ///   simulator's.
  public func evaluate(
    _ policy: some Policy, rollouts: Int, seed: UInt64, isNoisy: Bool, workers: Int,
    keepsRollouts: Bool = true
  ) async throws -> (training: Evaluation, test: Evaluation?) {
    try await evaluate(
      policy, on: task, rollouts: rollouts, seed: seed, isNoisy: isNoisy, workers: workers,
      keepsRollouts: keepsRollouts)
  }

  private func evaluate(
    _ policy: some Policy, on task: some ControlTask, rollouts: Int, seed: UInt64, isNoisy: Bool,
    workers: Int, keepsRollouts: Bool
  ) async throws -> (training: Evaluation, test: Evaluation?) {
    if let problem = policy.mismatch(with: task.dimensions) {
      throw PolicyFileError.invalid(path: "the policy", reason: problem)
    }
    let stream = RandomStream(seed: seed)
    func judge(_ conditions: [Condition]) async throws -> Evaluation {
      try await evaluation(
        of: policy, on: task, in: conditions, iteration: 0, rollouts: rollouts,
        noise: isNoisy ? ExplorationNoise() : nil, initialStateNoise: true,
        timeLimit: experiment.search.rollouts.timeLimit, stream: stream, workers: workers,
        keepsRollouts: keepsRollouts)
    }
    let training = try await judge(task.conditions)
    let test = task.testConditions.isEmpty ? nil : try await judge(task.testConditions)
    return (training, test)
  }
}

extension Experiment {
  /// The lines of its file, whatever the number of iterations.
  fileprivate var comparable: [String] {
    var copy = self
    copy.search.iterations = 1
    return copy.yaml.split(separator: "\n").map(String.init)
  }
}
