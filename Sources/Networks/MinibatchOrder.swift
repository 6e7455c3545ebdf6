import Statistics

/// The order in which samples come into minibatches: drawn anew at the beginning of each epoch.
///
/// Safe to share although the compiler cannot see it: workers read the order in a phase; one alone
/// draws it, between two.
final class MinibatchOrder: @unchecked Sendable {
  let indices: UnsafeMutablePointer<Int32>
  private let samples: Int
  private var stream: RandomStream
  private let arena: Arena

  init(samples: Int, stream: RandomStream) {
    (self.samples, self.stream) = (samples, stream)
    arena = Arena(floats: samples, parts: 1)
    indices = UnsafeMutableRawPointer(arena.take(samples)).bindMemory(
      to: Int32.self, capacity: samples)
    for s in 0..<samples { indices[s] = Int32(s) }
  }

  /// A new order (Fisher and Yates).
  func shuffle() {
    for last in stride(from: samples - 1, to: 0, by: -1) {
      let other = stream.index(below: last + 1)
      let held = indices[last]
      indices[last] = indices[other]
      indices[other] = held
    }
  }
}
