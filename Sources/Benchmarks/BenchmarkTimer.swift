import GPSCore

/// How long work takes.
struct BenchmarkTimer {
  /// Shortest time that is measured at once [s]: shorter work is repeated within one measurement.
  static let shortest = 0.005
  static let (fewest, most) = (5, 101)

  /// Measurements; nil for as many as fit in `budget`.
  var repetitions: Int?
  /// Seconds for all measurements of a case.
  var budget: Double

  /// Seconds of each repetition, after two that warm up.
  func seconds(of work: PreparedWork) async throws -> [Double] {
    let clock = ContinuousClock()
    func seconds(_ calls: Int) async throws -> Double {
      let start = clock.now
      for _ in 0..<calls { try await work.run() }
      return (clock.now - start).inSeconds / Double(calls)
    }
    var once = try await seconds(1)
    // The second call is warm; work that takes seconds needs no second one.
    if once < 0.5 * budget { once = try await seconds(1) }
    let calls = max(1, Int((Self.shortest / max(once, 1e-9)).rounded(.up)))
    if calls > 1 { once = try await seconds(calls) }
    let fitting = Int(budget / max(once * Double(calls), 1e-9))
    let count = repetitions ?? min(max(fitting, Self.fewest), Self.most)
    var samples: [Double] = []
    samples.reserveCapacity(count)
    for _ in 0..<count { samples.append(try await seconds(calls) / work.runsPerCall) }
    return samples
  }
}

/// The middle of some numbers; the mean of the two middle ones of an even count, NaN of none.
func median(_ numbers: [Double]) -> Double {
  if numbers.isEmpty { return .nan }
  let sorted = numbers.sorted()
  return 0.5 * (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2])
}
