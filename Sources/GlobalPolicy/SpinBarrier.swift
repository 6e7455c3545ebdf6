import CNeuralKernels
import GPSCore
import Synchronization

/// A meeting point of the workers of one training run, for phases of microseconds.
///
/// A worker that waits spins for about as long as it takes to be put to sleep and woken, then is
/// suspended: the one that is missing may need its core, or its thread of the task pool, to arrive.
final class SpinBarrier: Sendable {
  private let parties: Int
  private let arrived = Atomic(0)
  /// How often all have met; changed under the lock of `suspended`.
  private let generation = Atomic(0)
  /// Who sleeps until the present generation ends.
  private let suspended: Locked<[UnsafeContinuation<Void, Never>]>

  /// Looks at the generation before a worker is suspended: 30 to 90 µs.
  private static let spins = 2000

  init(parties: Int) {
    self.parties = parties
    var room: [UnsafeContinuation<Void, Never>] = []
    room.reserveCapacity(parties)
    suspended = Locked(room)
  }

  /// Returns when every party has called; all that was written before is then visible to all.
  func wait() async {
    let current = generation.load(ordering: .acquiring)
    if arrived.wrappingAdd(1, ordering: .acquiringAndReleasing).newValue == parties {
      arrived.store(0, ordering: .relaxed)
      suspended.withLock { sleepers in
        generation.store(current &+ 1, ordering: .releasing)
        for sleeper in sleepers { sleeper.resume() }
        sleepers.removeAll(keepingCapacity: true)
      }
      return
    }
    for _ in 0..<Self.spins {
      if generation.load(ordering: .acquiring) != current { return }
      nk_spin()
    }
    // Resumed once: at once here, or by the last party, which empties the list.
    await withUnsafeContinuation { continuation in
      let isOver = suspended.withLock { sleepers in
        if generation.load(ordering: .acquiring) != current { return true }
        sleepers.append(continuation)
        return false
      }
      if isOver { continuation.resume() }
    }
    // A continuation orders as much, but the promise of this type shall not rest on that.
    _ = generation.load(ordering: .acquiring)
  }
}
