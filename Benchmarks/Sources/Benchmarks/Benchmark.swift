/// The parts of the toolkit that are timed.
public enum BenchmarkStage: String, CaseIterable, Sendable {
  /// Riccati pass, marginals, KL-constrained step.
  case lqr
  /// Dynamics fits.
  case dynamics
  /// Expectation maximisation.
  case mixture
  /// The network's training, and one action.
  case policy
  /// Rollouts in MuJoCo.
  case rollout
  /// Whole iterations of the search.
  case iteration
  /// Derivatives of known dynamics beside a plain step.
  case derivatives
  /// Iterative LQR on classical problems.
  case ilqr
}

/// What to time; nil stands for the defaults of each stage.
public struct BenchmarkSettings: Sendable {
  /// n, together with `controls`.
  public var states: Int?
  /// m, together with `states`.
  public var controls: Int?
  /// T.
  public var horizon: Int?
  /// Rollouts per condition.
  public var samples: Int?
  /// Conditions.
  public var conditions: Int?
  /// Samples per minibatch.
  public var batch: Int?
  /// Units of each hidden layer.
  public var hidden: [Int]?
  /// Threads; nil for one, and for one per core where a case can use them.
  public var workers: Int?
  /// Timed repetitions; nil for as many as fit in the time budget.
  public var repetitions: Int?
  /// Seconds that a case may take for its timed repetitions.
  public var budget = 1.0

  /// The defaults.
  public init() {}
}

/// One number that says how large a case is, under its symbol.
public struct BenchmarkSize: Sendable, Equatable {
  /// The symbol, such as "nx", "T" or "batch".
  public var name: String
  /// Its value.
  public var value: String

  package init(_ name: String, _ value: some CustomStringConvertible) {
    self.name = name
    self.value = value.description
  }
}

/// What is counted per second beside floating-point operations.
public struct BenchmarkUnits: Sendable, Equatable {
  /// In the plural: "steps".
  public var name: String
  /// How many of them one repetition does.
  public var count: Double
}

/// One line of results.
public struct BenchmarkLine: Sendable {
  /// The stage, or "machine".
  public var stage: String
  /// The name of the case within its stage.
  public var name: String
  /// How large it is.
  public var sizes: [BenchmarkSize]
  /// Threads that worked at the same time.
  public var threads: Int
  /// Median seconds of a repetition.
  public var median = 0.0
  /// Least seconds of a repetition.
  public var minimum = 0.0
  /// Timed repetitions; 0 for a failed case.
  public var repetitions = 0
  /// Floating-point operations of one repetition; nil where they mean nothing.
  public var flops: Double?
  /// The machine's measured peak of the case's precision, times threads [flop/s].
  public var peak: Double?
  /// What else is counted.
  public var units: BenchmarkUnits?
  /// A number made from the results, to be compared with other programs' on the same work.
  public var check: Double?
  /// Further numbers by name.
  public var extras: [(name: String, value: Double)] = []
  /// Why the case failed; nothing was timed then.
  public var failure: String?

  package init(
    _ stage: BenchmarkStage?, _ name: String, sizes: [BenchmarkSize], threads: Int = 1,
    flops: Double? = nil, units: BenchmarkUnits? = nil
  ) {
    self.stage = stage?.rawValue ?? "machine"
    self.name = name
    self.sizes = sizes
    self.threads = threads
    self.flops = flops
    self.units = units
  }

  /// Median flop/s.
  public var flopsPerSecond: Double? { failure == nil ? flops.map { $0 / median } : nil }
  /// Median units per second.
  public var unitsPerSecond: Double? { failure == nil ? units.map { $0.count / median } : nil }
  /// Median flop/s as a share of the peak.
  public var shareOfPeak: Double? {
    guard let flopsPerSecond, let peak else { return nil }
    return flopsPerSecond / peak
  }
}

/// The work of one case, made ready: inputs drawn, buffers allocated.
package struct PreparedWork {
  /// One repetition.
  let run: () async throws -> Void
  /// The number to compare, from the last repetition.
  let check: () throws -> Double?
  /// Further numbers, from the last repetition.
  let extras: () throws -> [(name: String, value: Double)]
  /// How often the case's work is done in one `run`; times are divided by it.
  let runsPerCall: Double

  package init(
    run: @escaping () async throws -> Void, check: @escaping () throws -> Double? = { nil },
    extras: @escaping () throws -> [(name: String, value: Double)] = { [] },
    runsPerCall: Double = 1
  ) {
    self.run = run
    self.check = check
    self.extras = extras
    self.runsPerCall = runsPerCall
  }
}

/// Why a case has no figures.
package struct BenchmarkFailure: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}
