import CNeuralKernels
import Foundation
import Synchronization

/// A meeting point of the workers of one training run, for phases of microseconds.
///
/// A worker that waits spins for about as long as a phase takes, then gives way after every look: the one
/// that is missing may need its core, or its thread of the task pool, to arrive.
final class SpinBarrier: Sendable {
  private let parties: Int
  private let arrived = Atomic(0)
  /// How often all have met.
  private let generation = Atomic(0)

  /// Looks at the generation before a worker gives way: 30 to 90 µs.
  private static let spins = 2000

  init(parties: Int) { self.parties = parties }

  /// Returns when every party has called; all that was written before is then visible to all.
  func wait() async {
    let current = generation.load(ordering: .acquiring)
    if arrived.wrappingAdd(1, ordering: .acquiringAndReleasing).newValue == parties {
      arrived.store(0, ordering: .relaxed)
      generation.store(current &+ 1, ordering: .releasing)
      return
    }
    for _ in 0..<Self.spins {
      if generation.load(ordering: .acquiring) != current { return }
      nk_spin()
    }
    while generation.load(ordering: .acquiring) == current {
      sched_yield()
      await Task.yield()
    }
  }
}
