public import GPSCore
import LinearAlgebra

/// What a run came to: `summary.json`.
public struct Summary: Sendable, Equatable, Codable {
  /// How a run ended.
  public enum Outcome: String, Sendable, Codable {
    /// All iterations are done.
    case completed
    /// It was stopped before.
    case interrupted
    /// It could not go on.
    case failed
  }

  /// A trained policy, judged by noise-free rollouts.
  public struct PolicySummary: Sendable, Equatable, Codable {
    /// One condition.
    public struct ConditionSummary: Sendable, Equatable, Codable {
      /// The condition's name.
      public var condition: String
      /// Share of successful rollouts; nil where none is judged.
      public var successRate: Double?
      /// Mean cost of the rollouts; nil if it is not a number.
      public var meanCost: Double?
    }
    /// The iteration that learned it, from 0.
    public var iteration: Int
    /// Share of successful rollouts over all conditions; nil where none is judged.
    public var successRate: Double?
    /// Mean cost over all conditions; nil if it is not a number.
    public var meanCost: Double?
    /// One entry per condition.
    public var perCondition: [ConditionSummary]

    /// The summary of an evaluation.
    public init(_ evaluation: Evaluation, iteration: Int) {
      self.iteration = iteration
      successRate = finite(evaluation.successRate)
      meanCost = finite(evaluation.meanCost)
      perCondition = evaluation.entries.map { entry in
        ConditionSummary(
          condition: entry.condition, successRate: finite(entry.successRate),
          meanCost: finite(entry.meanCost))
      }
    }
  }

  /// What computed the run.
  public struct Versions: Sendable, Equatable, Codable, CustomStringConvertible {
    /// This program.
    public var gps: String
    /// The Swift language it was compiled with.
    public var swift: String
    /// The simulator.
    public var mujoco: String
    /// The linear algebra library.
    public var openblas: String
    /// The kernels it computed with on this machine.
    public var kernels: String

    /// The versions of everything that computes.
    public init(gps: String, swift: String, mujoco: String, openblas: String, kernels: String) {
      self.gps = gps
      self.swift = swift
      self.mujoco = mujoco
      self.openblas = openblas
      self.kernels = kernels
    }

    /// All of them, for people.
    public var description: String {
      "gps \(gps), Swift \(swift), MuJoCo \(mujoco), OpenBLAS \(openblas) (\(kernels))"
    }
  }

  /// The experiment's name.
  public var task: String
  /// The algorithm's name.
  public var algorithm: String
  /// The seed of all randomness.
  public var seed: UInt64
  /// Iterations done.
  public var iterations = 0
  /// Rollouts that were learned from or decided anything, discarded ones aside.
  public var rollouts = 0
  /// The policy that is kept, the one with the best evidence, in the training conditions; nil without one.
  public var policy: PolicySummary?
  /// The same policy in the test conditions; nil if there are none.
  public var test: PolicySummary?
  /// The policy that was learned last, in the training conditions.
  public var lastPolicy: PolicySummary?
  /// The local controllers' training rollouts of the last iteration: mean cost; nil if not a number.
  public var meanCost: Double?
  /// Their success rate.
  public var successRate: Double?
  /// Wall-clock seconds of the whole run; for a resumed one, of the iterations it kept and all since.
  public var wallSeconds = 0.0
  /// Where they went: seconds of each stage, summed over workers.
  public var seconds: [String: Double] = [:]
  /// Rollouts that failed and were discarded.
  public var discardedRollouts = 0
  /// Workers used at most, since the run was last resumed.
  public var workers: Int
  /// What computed it.
  public var versions: Versions
  /// How it ended.
  public var outcome = Outcome.interrupted
  /// Why it failed, one sentence; nil if it did not.
  public var failure: String?

  /// The summary of a run that has not begun.
  public init(task: String, algorithm: String, seed: UInt64, workers: Int, versions: Versions) {
    self.task = task
    self.algorithm = algorithm
    self.seed = seed
    self.workers = workers
    self.versions = versions
  }

  /// What the same iterations give on any machine like this one, at any speed.
  var withoutTimes: Summary {
    var copy = self
    copy.wallSeconds = 0
    copy.seconds = [:]
    copy.workers = 1
    copy.outcome = .interrupted
    copy.failure = nil
    return copy
  }

  /// Adds an iteration.
  public mutating func add(_ report: Report) {
    iterations += 1
    rollouts = report.rollouts
    discardedRollouts += report.discardedRollouts
    lastPolicy = report.policy.map { PolicySummary($0, iteration: report.iteration) }
    if report.keepsPolicy { policy = lastPolicy }
    test = report.test.map { PolicySummary($0, iteration: policy?.iteration ?? report.iteration) }
    meanCost = finite(report.meanCost)
    successRate = report.successRate
    for (stage, time) in report.seconds.stages { seconds[stage, default: 0] += time }
  }
}

extension Summary.Versions {
  /// The versions in this process, but for the simulator, which is none of this module's business.
  ///
  /// - Parameter mujoco: the simulator's.
  /// - Returns: the versions.
  public static func current(mujoco: String) -> Summary.Versions {
    Summary.Versions(
      gps: ProgramVersion.current, swift: ProgramVersion.swift, mujoco: mujoco,
      openblas: Kernels.blasVersion, kernels: Kernels.blasName)
  }
}

/// JSON has no word for NaN and infinities.
private func finite(_ value: Double) -> Double? { value.isFinite ? value : nil }
