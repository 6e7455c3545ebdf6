import GuidedPolicySearch

/// How long work takes.
package struct BenchmarkTimer {
  /// Shortest time that is measured at once [s]: shorter work is repeated within one measurement.
  static let shortest = 0.005
  package static let (fewest, most) = (5, 101)

  /// Measurements; nil for as many as fit in `budget`.
  let repetitions: Int?
  /// Seconds for all measurements of a case.
  let budget: Double

  package init(repetitions: Int?, budget: Double) {
    self.repetitions = repetitions
    self.budget = budget
  }

  /// Seconds of each repetition, after two that warm up.
  package func seconds(of work: PreparedWork) async throws -> [Double] {
    try await seconds(ofEach: [work])[0]
  }

  /// Seconds of each repetition of several works that take turns, repetition by repetition: whatever
  /// slows the machine down for a while slows down all of them.
  package func seconds(ofEach works: [PreparedWork]) async throws -> [[Double]] {
    let clock = ContinuousClock()
    func seconds(_ work: PreparedWork, _ calls: Int) async throws -> Double {
      let start = clock.now
      for _ in 0..<calls { try await work.run() }
      return (clock.now - start) / .seconds(1) / Double(calls)
    }
    var calls: [Int] = []
    var round = 0.0
    for work in works {
      var once = try await seconds(work, 1)
      // The second call is warm; work that takes seconds needs no second one.
      if once < 0.5 * budget { once = try await seconds(work, 1) }
      calls.append(max(1, Int((Self.shortest / max(once, 1e-9)).rounded(.up))))
      if calls[calls.count - 1] > 1 { once = try await seconds(work, calls[calls.count - 1]) }
      round += once * Double(calls[calls.count - 1])
    }
    let fitting = Int(budget * Double(works.count) / max(round, 1e-9))
    let count = repetitions ?? min(max(fitting, Self.fewest), Self.most)
    var samples = [[Double]](repeating: [], count: works.count)
    for _ in 0..<count {
      for (w, work) in works.enumerated() {
        samples[w].append(try await seconds(work, calls[w]) / work.runsPerCall)
      }
    }
    return samples
  }
}

/// The middle of some numbers; the mean of the two middle ones of an even count, NaN of none.
package func median(_ numbers: [Double]) -> Double {
  if numbers.isEmpty { return .nan }
  let sorted = numbers.sorted()
  return 0.5 * (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2])
}
