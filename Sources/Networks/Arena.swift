/// One allocation, aligned to cache lines and zeroed, that is carved into float buffers. The buffers
/// live as long as the arena.
package final class Arena {
  private let base: UnsafeMutableRawPointer
  private let capacity: Int
  private var used = 0

  /// Room for `floats` numbers in at most `parts` buffers.
  package init(floats: Int, parts: Int) {
    capacity = floats * 4 + parts * 64
    base = .allocate(byteCount: max(64, capacity), alignment: 64)
    base.initializeMemory(as: UInt8.self, repeating: 0, count: max(64, capacity))
  }

  deinit { base.deallocate() }

  /// The next `count` numbers, all zero.
  package func take(_ count: Int) -> UnsafeMutablePointer<Float> {
    let bytes = (count * 4 + 63) & ~63
    precondition(used + bytes <= max(64, capacity), "the arena has no room for \(count) floats")
    defer { used += bytes }
    return (base + used).bindMemory(to: Float.self, capacity: count)
  }
}
