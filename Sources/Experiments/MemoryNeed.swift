package import Configuration
import Foundation
import GPSCore
import LQR
import PolicySearch
import Runs
import Sim
import Starts
import Statistics

/// What some work takes of memory, known before any of it is taken.
///
/// The sum of what grows with the settings: numbers that are held at the same time, each counted once.
/// The program itself, models and short-lived scratch are left out.
@_spi(Programs) public struct MemoryNeed: Sendable {
  /// Some of it.
  public struct Part: Sendable {
    /// The setting that it grows with most.
    public var key: String
    /// What it is.
    public var what: String
    /// Its size [B].
    public var bytes: Double
  }

  /// What it is made of.
  public private(set) var parts: [Part] = []

  /// Nothing yet.
  public init() {}

  /// All of it [B].
  public var bytes: Double { parts.reduce(0) { $0 + $1.bytes } }

  /// Takes in a part.
  ///
  /// - Parameters:
  ///   - key: the setting that it grows with most.
  ///   - what: what it is.
  ///   - numbers: how many it has.
  ///   - size: bytes of each.
  public mutating func add(_ key: String, _ what: String, _ numbers: Double, of size: Double = 8) {
    parts.append(Part(key: key, what: what, bytes: numbers * size))
  }

  /// Why this machine cannot give it.
  ///
  /// - Parameter work: what takes it, as in "a run".
  /// - Returns: the setting that takes most of it, and why; nil if it can.
  public func problem(of work: String) -> (key: String, text: String)? {
    let available = Double(machineMemory())
    guard bytes > available, let most = parts.max(by: { $0.bytes < $1.bytes }) else { return nil }
    return (
      most.key,
      "too much memory: \(work) takes about \(gigabytes(bytes)), most of it for \(most.what); "
        + "this machine allows \(gigabytes(available))"
    )
  }
}

@_spi(Programs) extension MemoryNeed {
  /// What a run takes.
  ///
  /// - Parameters:
  ///   - loaded: what is run.
  ///   - isSampled: whether it is learned from rollouts; false for iterative LQR.
  ///   - workers: how many the run uses.
  public init(of loaded: LoadedExperiment, isSampled: Bool = true, workers: Int) {
    let (experiment, task) = (loaded.experiment, loaded.task)
    let search = experiment.search
    let d = task.dimensions
    let (n, m, o, T) = (
      Double(d.state), Double(d.control), Double(d.observation), Double(d.horizon)
    )
    let (conditions, tests) = (Double(task.conditions.count), Double(task.testConditions.count))
    let (samples, imagined) = (Double(search.samples), Double(search.modelSamples))
    let atOnce = Double(min(workers, task.conditions.count))

    let trajectory = Self.numbers(inRolloutOf: task)
    addPlants(
      of: task, jobs: isSampled ? samples * max(conditions, tests) : .infinity, workers: workers)
    // Controllers before and after, the anchor; dynamics and a quadratic expansion.
    add(
      "horizon", "controllers and dynamics of \(task.conditions.count) conditions",
      T * conditions * (3 * (m * n + m + 3 * m * m) + n * (n + m + 1) + n * n))
    add("horizon", "expansions of the cost", T * (n + m) * (n + m) * atOnce * 2)
    add(
      "conditions",
      "evaluations of \(task.conditions.count + task.testConditions.count) conditions",
      trajectory * (conditions + tests))
    if !isSampled {
      addSearch("optimization", experiment.sampling, of: task, workers: workers)
      return
    }
    if let sampling = loaded.start.made.sampling {
      addSearch("initialController.optimize", sampling, of: task, workers: workers)
      // Those of a condition at a time, and a controller of twice the horizon.
      let trials = Double(InitialController.OptimizedOptions.trials)
      add(
        "horizon", "\(Int(trials)) rollouts that go on after the horizon",
        trajectory * (trials + 2) + 2 * T * (m * n + m + 3 * m * m))
    }
    add(
      "algorithm.samples", "\(search.samples) rollouts of \(task.conditions.count) conditions",
      trajectory * conditions * samples)
    // A row per step as text, for a condition at a time.
    add(
      "algorithm.samples", "the rows of a condition's \(search.samples) rollouts",
      (n + m + 6) * T * samples, of: 20)
    let iterations = Double(search.iterations)
    if case .fitted(let options) = experiment.dynamics, options.prior != .none {
      addMixture(
        "dynamics", "the rollouts that dynamics are fitted to", options.mixture,
        rollouts: min(Double(options.maxTrajectories), samples * iterations), dimension: 2 * n + m,
        kept: n + m, of: task, workers: workers)
    }
    if experiment.algorithm == "trajectoryOptimization" { return }
    let linearization = experiment.policyLinearization
    addMixture(
      "policyLinearization", "the rollouts that policies are fitted to", linearization.mixture,
      rollouts: min(Double(linearization.maxTrajectories), samples * iterations), dimension: n + m,
      kept: n + m, of: task, workers: workers)
    // Where a start was searched, the policy learns from the rollouts of all iterations; they are kept, and stand in
    // every checkpoint.
    let lessons =
      loaded.start.made.takesSearch
      ? min(
        Double(Footing.mostLessons),
        samples * iterations + Double(InitialController.OptimizedOptions.trials)) : 0
    if lessons > 0 {
      add(
        "algorithm.iterations",
        "the last \(Int(lessons)) rollouts of \(task.conditions.count) conditions, which the network learns "
          + "from", 2 * conditions * lessons * T * (o + m))
    }
    add(
      "algorithm.modelSamples",
      "what the network learns from: \(search.samples) and \(search.modelSamples) trajectories of "
        + "\(task.conditions.count) conditions",
      conditions * (samples + imagined) * T * (n + o + m))
    add(
      "algorithm.modelSamples", "the network's inputs and labels",
      conditions * T * (max(samples + imagined, lessons) * (o + m) + m * m), of: 4)
    let sizes = Self.layers(of: loaded)
    let batch = min(
      Double(experiment.training.batchSize), conditions * max(samples + imagined, lessons) * T)
    // Weights, the last good ones, the optimizer's two averages, a gradient per part of a minibatch; the policies of this
    // iteration, of the one before and of the best; files' arrays, their bytes and what is read back from them: 21 copies
    // and the gradients, as measured. Workers that train asynchronously have weights of their own.
    let own = experiment.training.parallel == .asynchronous ? 3 * Double(workers) : 0
    addNetwork(sizes, copies: 21 + min(16, max(2, batch / 128)) + own)
    // Of every sample each layer's output, its slope and the loss's derivative.
    add(
      "training.batchSize", "minibatches of \(Int(batch)) samples",
      3 * batch * sizes.reduce(0, +), of: 4)
  }

  /// Numbers that the network's layers take and give: o, those of the hidden layers, m.
  private static func layers(of loaded: LoadedExperiment) -> [Double] {
    let d = loaded.task.dimensions
    return ([d.observation] + loaded.experiment.network.hiddenLayers + [d.control])
      .map(Double.init)
  }

  private mutating func addNetwork(_ layers: [Double], copies: Double) {
    let parameters = zip(layers, layers.dropFirst()).reduce(0) { $0 + ($1.0 + 1) * $1.1 }
    add(
      "network.hiddenLayers", "a network of \(Int(min(parameters, 1e15))) parameters",
      parameters * copies, of: 4)
  }

  /// What an evaluation takes.
  ///
  /// - Parameters:
  ///   - loaded: of what.
  ///   - rollouts: per condition.
  ///   - option: how that was asked for.
  ///   - workers: how many it uses.
  ///   - keepsRollouts: whether their trajectories are kept; otherwise a verdict for each.
  init(
    evaluating loaded: LoadedExperiment, rollouts: Int, option: String, workers: Int,
    keepsRollouts: Bool
  ) {
    let task = loaded.task
    let all = Double(task.conditions.count + task.testConditions.count) * Double(rollouts)
    let d = task.dimensions
    add(option, "verdicts on \(rollouts) rollouts per condition", all, of: 200)
    let trajectory = Self.numbers(inRolloutOf: task)
    addPlants(of: task, jobs: all, workers: workers)
    // A file's bytes and arrays, those that are checked, and weights, as measured.
    addNetwork(Self.layers(of: loaded), copies: 8)
    add("horizon", "a rollout of each worker", trajectory * min(all, Double(workers)))
    if keepsRollouts {
      // In memory, and once more as text.
      let numbers =
        Double(d.state + d.observation + d.control + 3 * d.points) * Double(d.horizon + 1)
      add(
        option, "what \(rollouts) rollouts per condition saw and did", all * numbers, of: 8 + 20)
    }
  }

  private static func numbers(inRolloutOf task: any ControlTask) -> Double {
    let d = task.dimensions
    let points = 3 * Double(d.points)
    let jacobians = task.cost.needsPointJacobians ? points * Double(d.state) : 0
    return (Double(d.horizon) + 1)
      * (Double(d.state) + Double(d.observation) + points + jacobians)
      + Double(d.horizon) * Double(d.control)
  }

  /// What workers simulate with: as many are at work as there are processors, and for each condition one may wait for
  /// its fit or its search.
  private mutating func addPlants(of task: any ControlTask, jobs: Double, workers: Int) {
    guard let model = task.underlying(MuJoCoTask.self)?.interface.model else { return }
    let all = task.conditions + task.testConditions
    let processors = ProcessInfo.processInfo.activeProcessorCount
    let count = min(
      jobs, Double(min(workers, processors) + min(workers, task.conditions.count)))
    let bytes = model.plantBytes(
      hasOwnModel: all.contains {
        !$0.bodyOffsets.isEmpty || !$0.modelFactors.isEmpty || $0.draws != nil
      })
    add(
      "--workers \(workers)", "the model's data for \(Int(count)) workers", count,
      of: Double(bytes))
  }

  /// A mixture of the points of some rollouts of each condition, of `dimension` numbers each, of which `kept` are kept.
  private mutating func addMixture(
    _ key: String, _ what: String, _ options: GaussianMixture.Options, rollouts: Double,
    dimension: Double, kept: Double, of task: any ControlTask, workers: Int
  ) {
    let points = rollouts * Double(task.dimensions.horizon)
    let clusters = Double(options.clusters(forPoints: Int(min(points, 1e12))))
    add(
      key + ".maxTrajectories", what, Double(task.conditions.count) * points * kept)
    // Points as they are and whitened, shares by point and by cluster, scatters of 128 points each.
    let square = dimension * dimension
    add(
      key + ".mixture", "shares of \(Int(clusters)) clusters in \(Int(min(points, 1e15))) points",
      Double(min(workers, task.conditions.count))
        * (points * (2 * dimension + 3 * clusters) + square * (points / 128 + 5 * clusters)))
  }

  /// A search by iterative LQR in every condition, from guesses that are sampled.
  private mutating func addSearch(
    _ key: String, _ sampling: ILQR.Sampling, of task: any ControlTask, workers: Int
  ) {
    let d = task.dimensions
    let (n, m, T) = (Double(d.state), Double(d.control), Double(d.horizon))
    let tries = Double(sampling.tries(within: task.controlLimits))
    let searches = Double(task.conditions.count) * (tries + 2)
    add(
      key + ".sampling.tries", "trajectories of \(Int(searches)) searches",
      searches * T * (n + m + m * n))
    // Two expansions of the cost, curvatures and what a pass makes of them; dynamics; values, gains and factors.
    let size = n + m
    add(
      "horizon", "a linear-quadratic problem of each worker",
      Double(workers) * T * (4 * size * size + n * size + 2 * n * n + 3 * m * size))
    if tries > 0 {
      // A generation's trajectories, and a tree of 32 times as many paths, of which a quarter is kept.
      add(
        key + ".sampling.samples", "trajectories of \(sampling.samples) samples",
        Double(sampling.samples) * T * (10 * n + 2 * m + 60))
    }
  }
}

extension LoadedExperiment {
  /// Checks that this machine has the memory that a run will take.
  ///
  /// - Parameters:
  ///   - isSampled: whether it is learned from rollouts; false for iterative LQR.
  ///   - workers: how many the run will use.
  /// - Throws: `SettingsError` that names the setting that takes most.
  package func requireMemory(isSampled: Bool = true, workers: Int) throws(SettingsError) {
    try require(MemoryNeed(of: self, isSampled: isSampled, workers: workers), for: "a run")
  }

  /// Checks that this machine has the memory for what an evaluation has to keep.
  ///
  /// - Parameters:
  ///   - rollouts: per condition.
  ///   - option: how that was asked for.
  ///   - workers: how many it will use.
  ///   - keepsRollouts: whether their trajectories are kept; otherwise a verdict for each.
  /// - Throws: `SettingsError`.
  package func requireMemory(
    evaluating rollouts: Int, option: String = "--rollouts", workers: Int, keepsRollouts: Bool
  ) throws(SettingsError) {
    try require(
      MemoryNeed(
        evaluating: self, rollouts: rollouts, option: "\(option) \(rollouts)", workers: workers,
        keepsRollouts: keepsRollouts), for: "an evaluation")
  }

  private func require(_ need: MemoryNeed, for work: String) throws(SettingsError) {
    guard let (key, text) = need.problem(of: work) else { return }
    throw key.hasPrefix("--")
      ? SettingsError(origin: .override(key), path: "", problem: text)
      : SettingsError(
        origin: .wholeFile(name: file?.lastPathComponent ?? experiment.task), path: key,
        problem: text)
  }
}

private func gigabytes(_ bytes: Double) -> String {
  let tenths = (bytes / 1e8).rounded()
  return tenths < 1e4 ? "\(tenths / 10) GB" : String(format: "%.3g GB", bytes / 1e9)
}

/// Bytes that this process may have at most: what the machine has, or the limits that it runs under.
func machineMemory() -> Int {
  var least = Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))
  for resource in [RLIMIT_AS, RLIMIT_DATA] {
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0,
      limit.rlim_cur < rlim_t(Int.max)
    {
      least = min(least, Int(limit.rlim_cur))
    }
  }
  // The limit of a container, in either version of control groups.
  for path in ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"] {
    guard let bytes = try? RegularFile.read(path, atMost: 4096) else { continue }
    let text = String(decoding: bytes, as: UTF8.self)
    if let limit = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)), limit > 0 {
      least = min(least, limit)
    }
  }
  return least
}
