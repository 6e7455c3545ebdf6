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
  func time(
    _ line: BenchmarkLine, peak: Double? = nil, prepare: () async throws -> PreparedWork,
    annotate: (inout BenchmarkLine) -> Void = { _ in }
  ) async -> BenchmarkLine {
    var line = line
    line.peak = peak.map { $0 * Double(line.threads) }
    do {
      let work = try await prepare()
      let seconds = try await timer.seconds(of: work)
      line.check = try work.check()
      line.extras = try work.extras()
      if let check = line.check, !check.isFinite {
        throw BenchmarkFailure("the result is \(check)")
      }
      line.median = median(seconds)
      line.minimum = seconds.min() ?? 0
      line.repetitions = seconds.count
      annotate(&line)
    } catch {
      line.failure = "\(error)"
    }
    report(line)
    return line
  }
}
