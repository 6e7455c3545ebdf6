import Foundation

/// How long the ticks of a control loop took.
struct Timing: CustomStringConvertible {
  /// Between two ticks.
  let period: Duration
  /// How many.
  let ticks: Int
  /// Where the plant ended.
  var finalState: [(name: String, value: Double)] = []
  private var latencies: [Duration] = []
  private var latenesses: [Duration] = []
  private var missed = 0

  init(period: Duration, ticks: Int) {
    (self.period, self.ticks) = (period, ticks)
    latencies.reserveCapacity(ticks)
    latenesses.reserveCapacity(ticks)
  }

  /// - Parameters:
  ///   - lateness: from when the tick was due to when it began.
  ///   - latency: of the action.
  ///   - whole: from when the tick was due to when its action was ready; over a period is too late.
  mutating func record(lateness: Duration, latency: Duration, whole: Duration) {
    latenesses.append(lateness)
    latencies.append(latency)
    if whole > period { missed += 1 }
  }

  var description: String {
    let end = finalState.map { $0.name + String(format: " %.3f", $0.value) }
    return """
      \(ticks) actions, one every \(microseconds(period)) µs
                          median      99 %   maximum
      latency [µs]     \(row(latencies))
      late start [µs]  \(row(latenesses))
      missed deadlines: \(missed) of \(ticks)
      the plant ends at \(end.joined(separator: ", "))
      """
  }

  private func row(_ durations: [Duration]) -> String {
    let sorted = durations.sorted()
    guard let last = sorted.last else { return "–" }
    return [sorted[sorted.count / 2], sorted[sorted.count * 99 / 100], last].map {
      String(format: "%9.2f", $0 / .microseconds(1))
    }.joined(separator: " ")
  }

  private func microseconds(_ duration: Duration) -> Int {
    Int((duration / .microseconds(1)).rounded())
  }
}
