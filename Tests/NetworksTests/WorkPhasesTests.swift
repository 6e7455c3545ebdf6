import Synchronization
import Testing

@testable import Networks

@Suite struct WorkPhasesTests {
  private final class Counts: Sendable {
    let done = Atomic(0)
    let twice = Atomic(0)
    let early = Atomic(0)
    let closed = Atomic(0)
  }

  /// Every task of every phase is done once, none before its phase, whether workers are on time, late, or
  /// never come.
  @Test(arguments: [1, 2, 5], [1, 2, 5])
  func everyTaskIsDoneOnceAndInItsPhase(workers: Int, comers: Int) async {
    let (rounds, tasks) = (300, [workers, 3])
    let phases = WorkPhases(tasks: max(workers, 3))
    let counts = Counts()
    phases.open(0, tasks: tasks[0])
    await withTaskGroup(of: Void.self) { group in
      for worker in 0..<min(comers, workers) {
        group.addTask {
          var phase = WorkPhases.Phase.none
          // Phases that this worker comes to late go by without it.
          while let next = await phases.phase(after: phase) {
            phase = next
            let count = tasks[phase.stage]
            while phases.claim(phase, from: min(worker, count - 1), of: count) != nil {
              let before = counts.done.add(1, ordering: .relaxed).oldValue
              let whole = before / (tasks[0] + tasks[1]) * (tasks[0] + tasks[1])
              let isSecond = before - whole >= tasks[0]
              if isSecond != (phase.stage == 1) { counts.early.add(1, ordering: .relaxed) }
              if before % 97 == worker { try? await Task.sleep(for: .microseconds(300)) }
              if !phases.finishedLast() { continue }
              let total = counts.done.load(ordering: .relaxed)
              if total % (tasks[0] + tasks[1]) != (phase.stage == 0 ? tasks[0] : 0) {
                counts.twice.add(1, ordering: .relaxed)
              }
              if total >= rounds * (tasks[0] + tasks[1]) {
                phases.close()
              } else {
                phases.open(1 - phase.stage, tasks: tasks[1 - phase.stage])
              }
            }
          }
          counts.closed.add(1, ordering: .relaxed)
        }
      }
    }
    #expect(counts.done.load(ordering: .relaxed) == rounds * (tasks[0] + tasks[1]))
    #expect(counts.twice.load(ordering: .relaxed) == 0)
    #expect(counts.early.load(ordering: .relaxed) == 0)
    #expect(counts.closed.load(ordering: .relaxed) == min(comers, workers))
  }
}
