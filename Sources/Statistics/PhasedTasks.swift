import Foundation
import Synchronization

/// Hands out the numbered tasks of one phase after another to any number of workers.
///
/// Whoever finishes the last task of a phase opens the next one. Nobody waits for a worker, only for
/// tasks that have begun: a single worker comes through all phases alone if the others never run.
///
///     while let task = await phases.next() {
///       …                                                   // do it
///       if phases.finishedLast() { phases.open(…) or phases.close() }
///     }
///
/// All that was written in a phase is visible in the next.
final class PhasedTasks: Sendable {
  /// The number of the phase in the upper half, the tasks not yet begun in the lower.
  private let ticket: Atomic<UInt64>
  private let unfinished: Atomic<Int>
  private static let closed = UInt64.max

  /// The first phase, of `count` > 0 tasks.
  init(count: Int) {
    precondition(count > 0, "a phase of \(count) tasks, which nobody would end")
    ticket = Atomic(UInt64(count))
    unfinished = Atomic(count)
  }

  /// A task that is this worker's to do, or nil after the last phase.
  func next() async -> Int? {
    var waits = 0
    var current = ticket.load(ordering: .acquiring)
    while true {
      if current == Self.closed { return nil }
      let left = current & 0xFFFF_FFFF
      if left > 0 {
        let (won, seen) = ticket.weakCompareExchange(
          expected: current, desired: current - 1, successOrdering: .acquiring,
          failureOrdering: .acquiring)
        if won { return Int(left) - 1 }
        current = seen
        continue
      }
      // The others' tasks take microseconds; but they may have been given no core, or no thread.
      waits += 1
      if waits > 2000 {
        sched_yield()
        await Task.yield()
      }
      current = ticket.load(ordering: .acquiring)
    }
  }

  /// Marks a task as done; true if it was the last of its phase.
  func finishedLast() -> Bool {
    unfinished.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
  }

  /// Opens the next phase, of `count` > 0 tasks.
  func open(count: Int) {
    precondition(count > 0, "a phase of \(count) tasks, which nobody would end")
    unfinished.store(count, ordering: .relaxed)
    let phase = (ticket.load(ordering: .relaxed) >> 32 + 1) & 0x7FFF_FFFF
    ticket.store(phase << 32 | UInt64(count), ordering: .releasing)
  }

  /// Ends the work of all workers.
  func close() { ticket.store(Self.closed, ordering: .releasing) }
}
