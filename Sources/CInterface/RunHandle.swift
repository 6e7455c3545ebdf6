import Dispatch
import Foundation
@_spi(Programs) import GuidedPolicySearch
import LinearAlgebra
import Synchronization

/// A run that goes on while its caller waits for what it reports.
///
/// Each report waits until it was taken and the next thing is asked for: so a caller that stops after the third
/// iteration gets three.
final class RunHandle: Sendable {
  /// What there is to say.
  private enum News: Sendable {
    case report(String)
    case done(String)
    case failed(String)
  }

  private let news = Locked<[News]>([])
  private let isThere = DispatchSemaphore(value: 0)
  private let isTaken = DispatchSemaphore(value: 0)
  private let isStopped = Atomic(false)
  /// Whether a report waits for being taken.
  private let waits = Atomic(false)
  private let task = Locked<Task<Void, Never>?>(nil)
  /// Where the run is written down.
  let directory: String

  /// Starts a run.
  ///
  /// - Parameters:
  ///   - path: the experiment file.
  ///   - overrides: settings, "key.path=value" each.
  ///   - output: its directory; a new one below runs/ if empty.
  ///   - workers: how many; one per core if 0.
  ///   - replacing: whether an earlier run there may be replaced.
  /// - Throws: what is wrong with the experiment or the directory.
  init(
    path: String, overrides: [String], output: String, workers: Int, replacing: Bool
  ) throws {
    let loaded = try Experiment.load(
      URL(fileURLWithPath: path), overrides: overrides.map { Experiment.Override($0) })
    let workers = workers > 0 ? workers : max(1, ProcessInfo.processInfo.activeProcessorCount)
    let learner = try loaded.learner(workers: workers)
    let url =
      try output.isEmpty
      ? RunDirectory.claim(
        task: loaded.experiment.task, seed: loaded.experiment.seed,
        in: URL(fileURLWithPath: "runs", isDirectory: true))
      : URL(fileURLWithPath: output, isDirectory: true)
    directory = url.path
    try start(learner, of: loaded, in: url, workers: workers, replacing: replacing)
  }

  private func start<L: Learner>(
    _ learner: L, of loaded: LoadedExperiment, in url: URL, workers: Int, replacing: Bool
  ) throws {
    let running = Task.detached { [self] in
      let last: News
      do {
        let session = try loaded.begin(
          learner, at: url, replacing: replacing, echoesWarnings: false)
        let summary = try await session.run(
          workers: workers, shouldStop: { self.isStopped.load(ordering: .acquiring) },
          onReport: { self.tell($0, of: session.learner.iterations) })
        last = .done(encoded(RunResult(summary, directory: self.directory)))
      } catch {
        last = .failed("\(error)")
      }
      self.news.withLock { $0.append(last) }
      self.isThere.signal()
    }
    task.withLock { $0 = running }
  }

  private func tell(_ report: Report, of iterations: Int) {
    if isStopped.load(ordering: .acquiring) { return }
    let text = encoded(IterationReport(report, of: iterations))
    news.withLock { $0.append(.report(text)) }
    waits.store(true, ordering: .releasing)
    isThere.signal()
    isTaken.wait()
  }

  /// Waits for the next thing to say.
  ///
  /// - Returns: 0 if there was none within the time, 1 for a report, 2 for the summary of the whole run, 3 for the
  ///   reason why it failed; and the text.
  func next(within seconds: Double) -> (kind: Int32, text: String) {
    goOn()
    guard isThere.wait(timeout: .now() + seconds) == .success,
      let first = news.withLock({ $0.isEmpty ? nil : $0.removeFirst() })
    else { return (0, "") }
    return switch first {
    case .report(let text): (1, text)
    case .done(let text): (2, text)
    case .failed(let text): (3, text)
    }
  }

  /// Lets a report that was taken go.
  private func goOn() {
    // Not before it was taken: what is still there has not been.
    if news.withLock({ $0.isEmpty }) && waits.exchange(false, ordering: .acquiringAndReleasing) {
      isTaken.signal()
    }
  }

  /// Ends the run: after the iteration whose report is at hand, or at once if there is none.
  func stop() {
    isStopped.store(true, ordering: .releasing)
    let reports = waits.exchange(false, ordering: .acquiringAndReleasing)
    if reports { isTaken.signal() } else { task.withLock { $0?.cancel() } }
  }
}

/// What a caller learns of an iteration.
private struct IterationReport: Encodable {
  var iteration: Int
  var iterations: Int
  var rollouts: Int
  var meanCost: Double
  var policyCost: Double?
  var policySuccess: Double?
  var metrics: [String: Double]
  var notes: [String]

  init(_ report: Report, of iterations: Int) {
    iteration = report.iteration
    self.iterations = iterations
    rollouts = report.rollouts
    meanCost = report.meanCost
    policyCost = report.policy?.meanCost
    policySuccess = report.policy?.successRate
    metrics = [:]
    for metric in report.metrics { metrics[metric.name] = metric.number }
    notes = report.notes
  }
}

/// What a caller learns of a run.
private struct RunResult: Encodable {
  var directory: String
  var summary: Summary

  init(_ summary: Summary, directory: String) {
    (self.summary, self.directory) = (summary, directory)
  }
}

private func encoded(_ value: some Encodable) -> String {
  let encoder = JSONEncoder()
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
  return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
}

/// Settles the memory of the process as the command line does; before the first run, if at all.
@c(gps_configure_heap) public func gpsConfigureHeap() { configureHeap() }

/// Starts a run.
///
/// - Parameters:
///   - path: the experiment file.
///   - overrides: settings "key.path=value", one a line.
///   - output: the run directory; a new one below runs/ if empty.
///   - workers: how many; one per core if 0.
///   - replacing: whether an earlier run there may be replaced.
///   - problem: why it cannot be started.
/// - Returns: a handle, to be given back by `gps_release` when the run has ended; null with the reason.
@c(gps_run_start) public func gpsRunStart(
  _ path: UnsafePointer<CChar>, _ overrides: UnsafePointer<CChar>,
  _ output: UnsafePointer<CChar>, _ workers: Int, _ replacing: Bool,
  _ problem: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
) -> UnsafeMutableRawPointer? {
  attempt(problem) {
    given(
      try RunHandle(
        path: string(path),
        overrides: string(overrides).split(whereSeparator: \.isNewline).map(String.init),
        output: string(output), workers: workers, replacing: replacing))
  }
}

/// Waits for what a run has to say; what was said before is done with.
///
/// - Parameters:
///   - handle: from `gps_run_start`.
///   - seconds: how long.
///   - said: what it says, to be given back by `gps_free`.
/// - Returns: 0 for nothing yet, 1 for a report (JSON), 2 for the result (JSON), 3 for why the run failed.
@c(gps_run_next) public func gpsRunNext(
  _ handle: UnsafeMutableRawPointer, _ seconds: Double,
  _ said: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
) -> Int32 {
  let (kind, words) = object(handle, RunHandle.self).next(within: seconds)
  if kind != 0 { said.pointee = text(words) }
  return kind
}

/// Ends a run; what there is is written, and `gps_run_next` tells when that is done.
@c(gps_run_stop) public func gpsRunStop(_ handle: UnsafeMutableRawPointer) {
  object(handle, RunHandle.self).stop()
}
