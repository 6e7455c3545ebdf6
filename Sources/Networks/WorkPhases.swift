import CNeuralKernels
import Foundation
import Synchronization

/// Hands out the numbered tasks of one phase after another to the workers of one training, for phases of
/// microseconds.
///
/// A worker takes its own tasks first, whose data its core has at hand, then those of a worker that is
/// late. So nobody waits for a worker, only for tasks that have begun: where other programs take a core
/// away, the remaining workers go on alone. Whoever finishes the last task of a phase opens the next.
///
///     var phase = WorkPhases.Phase.none
///     while let next = await phases.phase(after: phase) {
///       phase = next
///       while let task = phases.claim(phase, from: worker, of: count) {
///         …                                                         // do it
///         if phases.finishedLast() { phases.open(stage, tasks: count) or phases.close() }
///       }
///     }
///
/// All that was written in a phase is visible in the next.
///
/// Safe to share although the compiler cannot see it: the memory behind the pointer lives as long and
/// holds nothing but atomics.
final class WorkPhases: @unchecked Sendable {
  /// Which phase it is, and what is done in it.
  struct Phase: Equatable {
    fileprivate let number: Int
    /// What the opener called it.
    var stage: Int { number & (WorkPhases.stages - 1) }

    /// The phase before the first.
    static let none = Phase(number: 0)
  }

  /// Stages are below this.
  private static let stages = 8
  private static let closed = -1
  /// Looks at the phase before a worker gives way: 30 to 90 µs.
  private static let spins = 2000
  /// Atomics on one cache line, or on two that are fetched together, would slow each other down.
  private static let spacing = 128 / MemoryLayout<Atomic<Int>>.stride

  // The number of the present phase, the tasks not yet finished in it, and of each task the last phase in
  // which somebody took it.
  private let numbers: UnsafeMutablePointer<Atomic<Int>>
  private let count: Int

  /// For at most `tasks` tasks in a phase; no phase is open.
  init(tasks: Int) {
    count = (2 + tasks) * Self.spacing
    numbers = UnsafeMutableRawPointer.allocate(
      byteCount: count * MemoryLayout<Atomic<Int>>.stride, alignment: 128
    ).bindMemory(to: Atomic<Int>.self, capacity: count)
    for i in 0..<count { (numbers + i).initialize(to: Atomic(0)) }
  }

  deinit {
    numbers.deinitialize(count: count)
    numbers.deallocate()
  }

  /// The phase after one that this worker has seen, when it is open; nil after the last.
  func phase(after last: Phase) async -> Phase? {
    var looks = 0
    while true {
      let number = numbers.pointee.load(ordering: .acquiring)
      if number == Self.closed { return nil }
      if number != last.number { return Phase(number: number) }
      looks += 1
      if looks < Self.spins {
        nk_spin()
      } else {
        sched_yield()
        await Task.yield()
      }
    }
  }

  /// A task of the phase that is this worker's to do, or nil if all have begun.
  ///
  /// - Parameters:
  ///   - phase: what `phase(after:)` returned.
  ///   - first: where this worker's own tasks begin.
  ///   - tasks: how many there are in the phase.
  /// - Returns: the task's number.
  func claim(_ phase: Phase, from first: Int, of tasks: Int) -> Int? {
    for i in 0..<tasks {
      let task = first + i < tasks ? first + i : first + i - tasks
      let last = numbers + (2 + task) * Self.spacing
      let seen = last.pointee.load(ordering: .relaxed)
      // Of a phase that is over every task bears its number, or a later one.
      if seen < phase.number,
        last.pointee.compareExchange(
          expected: seen, desired: phase.number, ordering: .acquiringAndReleasing
        ).exchanged
      {
        return task
      }
    }
    return nil
  }

  /// Marks a task as done; true if it was the last of its phase.
  func finishedLast() -> Bool {
    numbers[Self.spacing].wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
  }

  /// Opens the next phase, of `tasks` > 0 tasks.
  func open(_ stage: Int, tasks: Int) {
    precondition(
      tasks > 0 && (0..<Self.stages).contains(stage), "stage \(stage) of \(tasks) tasks")
    numbers[Self.spacing].store(tasks, ordering: .relaxed)
    let number = (numbers.pointee.load(ordering: .relaxed) / Self.stages + 1) * Self.stages
    numbers.pointee.store(number + stage, ordering: .releasing)
  }

  /// Ends the work of all workers.
  func close() { numbers.pointee.store(Self.closed, ordering: .releasing) }
}
