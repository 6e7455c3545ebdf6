/// Times the stages of the toolkit, one line per case.
///
/// Inputs are random with fixed seeds, and the same for every program that draws them as
/// `BenchmarkInputs` does. A case that throws is reported as failed; nothing of it is timed.
public struct BenchmarkRunner {
  let settings: BenchmarkSettings
  let cores: Int
  let report: (BenchmarkLine) -> Void
  let timer: BenchmarkTimer
  /// The measured peaks [flop/s], once a stage has asked for them.
  var peaks: (double: Double?, single: Double?) = (nil, nil)

  /// A runner.
  ///
  /// - Parameters:
  ///   - settings: sizes and repetitions.
  ///   - cores: how many threads the machine runs at once.
  ///   - report: called with each line as soon as it is known.
  public init(
    settings: BenchmarkSettings, cores: Int, report: @escaping (BenchmarkLine) -> Void
  ) {
    self.settings = settings
    self.cores = cores
    self.report = report
    timer = BenchmarkTimer(repetitions: settings.repetitions, budget: settings.budget)
  }

  /// The numbers of threads to time a case with that can use several.
  var threadCounts: [Int] {
    if let workers = settings.workers { return [workers] }
    return cores > 1 ? [1, cores] : [1]
  }

  /// (n, m) of the linear-quadratic problems and the points that are fitted.
  func stateControlSizes(default sizes: [(Int, Int)]) -> [(n: Int, m: Int)] {
    guard let n = settings.states, let m = settings.controls else {
      return sizes.map { (n: $0.0, m: $0.1) }
    }
    return [(n, m)]
  }

  /// Times one case and reports its line, to which `annotate` may add.
  package func time(
    _ line: BenchmarkLine, peak: Double? = nil, prepare: @escaping () async throws -> PreparedWork,
    annotate: (inout BenchmarkLine) -> Void = { _ in }
  ) async -> BenchmarkLine {
    await time(inTurns: [(line, prepare)], peak: peak) { annotate(&$0[0]) }[0]
  }

  /// Times cases whose ratio matters in turns, and reports their lines, to which `annotate` may add.
  ///
  /// A case that cannot be prepared or checked fails alone; all fail with one that throws while it is
  /// timed.
  package func time(
    inTurns cases: [(line: BenchmarkLine, prepare: () async throws -> PreparedWork)],
    peak: Double? = nil, annotate: (inout [BenchmarkLine]) -> Void = { _ in }
  ) async -> [BenchmarkLine] {
    var lines = cases.map(\.line)
    var prepared: [(index: Int, work: PreparedWork)] = []
    for i in lines.indices {
      lines[i].peak = peak.map { $0 * Double(lines[i].threads) }
      do {
        prepared.append((i, try await cases[i].prepare()))
      } catch {
        lines[i].failure = "\(error)"
      }
    }
    do {
      let seconds = try await timer.seconds(ofEach: prepared.map(\.work))
      for ((i, work), seconds) in zip(prepared, seconds) {
        lines[i].finish(work, seconds)
      }
    } catch {
      for (i, _) in prepared { lines[i].failure = "\(error)" }
    }
    annotate(&lines)
    lines.forEach(report)
    return lines
  }
}

extension BenchmarkLine {
  /// Fills in what came of work that took these seconds, one number per repetition.
  fileprivate mutating func finish(_ work: PreparedWork, _ seconds: [Double]) {
    do {
      check = try work.check()
      extras = try work.extras()
      if let check, !check.isFinite { throw BenchmarkFailure("the result is \(check)") }
      median = Benchmarks.median(seconds)
      minimum = seconds.min() ?? 0
      repetitions = seconds.count
    } catch {
      failure = "\(error)"
    }
  }
}
