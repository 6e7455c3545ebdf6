public import Foundation
public import GuidedPolicySearch

extension BenchmarkRunner {
  /// The experiment with other numbers of conditions, samples and steps. Conditions beyond its own are
  /// new places of the bodies that its conditions displace, spread evenly over the same ranges.
  ///
  /// - Parameters:
  ///   - url: the experiment file.
  ///   - settings: the sizes; nil keeps the experiment's.
  /// - Returns: the experiment, ready to run.
  /// - Throws: `SettingsError`.
  public static func experiment(
    at url: URL, settings: BenchmarkSettings
  ) throws(SettingsError) -> LoadedExperiment {
    var overrides: [Experiment.Override] = []
    if let samples = settings.samples {
      overrides.append(.init("algorithm.samples=\(samples)", source: "--samples \(samples)"))
    }
    if let horizon = settings.horizon {
      overrides.append(.init("horizon=\(horizon)", source: "--horizon \(horizon)"))
    }
    if let hidden = settings.hidden {
      overrides.append(
        .init("network.hiddenLayers=\(hidden)", source: "--hidden \(hidden)"))
    }
    if let count = settings.conditions {
      let places = try spread(Experiment.load(url).task.conditions, over: count)
      overrides.append(
        .init("conditions.train=[\(places.joined(separator: ", "))]", source: "--conditions"))
    }
    return try Experiment.load(url, overrides: overrides)
  }

  /// YAML of `count` conditions whose body offsets and goals fill the box that some conditions span,
  /// along the additive recurrence of the plastic number's relatives (Roberts 2018).
  package static func spread(_ conditions: [Condition], over count: Int) -> [String] {
    func range(_ numbers: [Double]) -> (low: Double, width: Double) {
      let low = numbers.min() ?? 0
      return (low, (numbers.max() ?? 0) - low)
    }
    let bodies = Set(conditions.flatMap(\.bodyOffsets.keys)).sorted()
    let goal = conditions.first?.goal.count ?? 0
    let dimension = max(1, 3 * bodies.count + goal)
    // The root of x^(d+1) = x + 1 by fixed-point iteration.
    var root = 2.0
    for _ in 0..<60 { root = pow(1 + root, 1 / Double(dimension + 1)) }
    return (0..<count).map { index in
      var axis = 0
      func place(_ numbers: [Double]) -> Double {
        axis += 1
        let (low, width) = range(numbers)
        let step = 0.5 + Double(index) * pow(root, -Double(axis))
        return low + width * (step - step.rounded(.down))
      }
      var offsets: [String] = []
      for body in bodies {
        let xyz = (0..<3).map { i in place(conditions.map { $0.bodyOffsets[body]?[i] ?? 0 }) }
        offsets.append("\(body): \(xyz)")
      }
      let goals = (0..<goal).map { i in place(conditions.map { $0.goal[i] }) }
      return "{name: c\(index), bodyOffsets: {\(offsets.joined(separator: ", "))}"
        + (goal > 0 ? ", goal: \(goals)}" : "}")
    }
  }

  /// One run of the search for each number of threads; its iterations are the repetitions.
  public func timeIterations(of loaded: LoadedExperiment) async {
    var loaded = loaded
    if let repetitions = settings.repetitions { loaded.experiment.search.iterations = repetitions }
    for workers in threadCounts { await timeIterations(of: loaded, workers: workers) }
  }

  private func timeIterations(of loaded: LoadedExperiment, workers: Int) async {
    let (dimensions, M) = (loaded.task.dimensions, loaded.task.conditions.count)
    let samples = loaded.experiment.search.samples
    let sizes = [
      BenchmarkSize("task", loaded.task.name), BenchmarkSize("nx", dimensions.state),
      BenchmarkSize("nu", dimensions.control), BenchmarkSize("T", dimensions.horizon),
      BenchmarkSize("M", M), BenchmarkSize("N", samples),
    ]
    let rollouts = BenchmarkUnits(name: "rollouts", count: Double(M * samples))
    func line(_ name: String, units: BenchmarkUnits? = nil) -> BenchmarkLine {
      BenchmarkLine(.iteration, name, sizes: sizes, threads: workers, units: units)
    }
    var reports: [Report] = []
    do {
      try await Self.run(loaded.learner(workers: workers)) { reports.append($0) }
    } catch {
      var failed = line("iteration")
      failed.failure = "\(error)"
      report(failed)
      return
    }

    func emit(_ line: BenchmarkLine, _ seconds: [Double]) {
      var line = line
      line.median = median(seconds)
      line.minimum = seconds.min() ?? 0
      line.repetitions = seconds.count
      report(line)
    }
    let conditions = reports.flatMap(\.conditions)
    var whole = line("iteration", units: rollouts)
    whole.extras = [
      (
        "backward_passes",
        conditions.reduce(0) { $0 + ($1.metrics["lqr_passes"] ?? 0) }
          / Double(max(1, conditions.count))
      ),
      ("peak_memory_mib", peakMemory() / 1_048_576),
    ]
    if let success = reports.last?.policy?.successRate {
      whole.extras.append(("success_rate", success))
    }
    emit(whole, reports.map(\.seconds.total))
    for name in ["rollouts", "dynamics", "local_optimization", "global_policy", "evaluation"] {
      emit(line(name), reports.map { $0.seconds[name] })
    }
    var sum = line("run", units: rollouts)
    sum.sizes.append(BenchmarkSize("iterations", reports.count))
    sum.units?.count *= Double(reports.count)
    emit(sum, [reports.reduce(0) { $0 + $1.seconds.total }])
  }
}

extension BenchmarkRunner {
  /// All iterations; of each report what is light.
  private static func run<L: Learner>(
    _ learner: L, _ onReport: (Report) -> Void
  ) async throws {
    _ = try await learner.run { report in
      var kept = report
      for i in kept.conditions.indices { kept.conditions[i].batch.trajectories = [] }
      onReport(kept)
    }
  }
}

/// The most memory that this process has had at once [bytes].
private func peakMemory() -> Double {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  return 1024 * Double(usage.ru_maxrss)
}
