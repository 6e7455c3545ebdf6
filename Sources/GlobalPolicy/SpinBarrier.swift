import CNeuralKernels
import Foundation
import Synchronization

/// A meeting point of the workers of one training run, for phases of microseconds.
///
/// A worker that waits spins first, then yields its core and its thread again and again: however few
/// of either the workers are given, the one that is missing can run.
final class SpinBarrier: Sendable {
  private let parties: Int
  private let arrived = Atomic(0)
  private let generation = Atomic(0)

  init(parties: Int) { self.parties = parties }

  /// Returns when every party has called; all that was written before is then visible to all.
  func wait() async {
    let current = generation.load(ordering: .acquiring)
    if arrived.wrappingAdd(1, ordering: .acquiringAndReleasing).newValue == parties {
      arrived.store(0, ordering: .relaxed)
      generation.store(current &+ 1, ordering: .releasing)
      return
    }
    var spins = 0
    while generation.load(ordering: .acquiring) == current {
      spins += 1
      if spins < 2000 {
        nk_spin()
      } else {
        sched_yield()
        await Task.yield()
      }
    }
  }
}
