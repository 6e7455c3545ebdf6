/// Copies of some buffers as they were when they were last known to be good.
///
/// Safe to share although the compiler cannot see it: every property is constant, and each worker copies
/// its own span.
final class Snapshot: @unchecked Sendable {
  let copies: [Buffer]
  private let live: [Buffer]
  private let arena: Arena

  /// Copies of buffers of `count` floats, taken now.
  init(of live: [Buffer], count: Int) {
    self.live = live
    arena = Arena(floats: live.count * count, parts: live.count)
    var copies: [Buffer] = []
    for _ in live { copies.append(arena.take(count)) }
    self.copies = copies
    take(0..<count)
  }

  /// Copies a span anew.
  func take(_ span: Range<Int>) {
    for (copy, buffer) in zip(copies, live) {
      (copy + span.lowerBound).update(from: buffer + span.lowerBound, count: span.count)
    }
  }

  /// Sets a span back to its copy.
  func restore(_ span: Range<Int>) {
    for (copy, buffer) in zip(copies, live) {
      (buffer + span.lowerBound).update(from: copy + span.lowerBound, count: span.count)
    }
  }
}
