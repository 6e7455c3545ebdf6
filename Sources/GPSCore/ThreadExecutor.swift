import Dispatch
import Foundation
import LinearAlgebra

/// Threads of its own for tasks that block: Swift's shared pool has one thread per core, and a task
/// that waits for a robot in one of them keeps a core from everybody else.
package final class ThreadExecutor: TaskExecutor {
  private let jobs = Locked<[UnownedJob]>([])
  private let available = DispatchSemaphore(value: 0)
  private let count: Int

  /// Starts `count` threads; they live until `stop()`.
  package init(threads count: Int) {
    self.count = count
    for i in 0..<count {
      let thread = Thread { [self] in
        while let job = next() { job.runSynchronously(on: asUnownedTaskExecutor()) }
      }
      thread.name = "rollout \(i)"
      // What the shared pool's threads have.
      thread.stackSize = 1 << 23
      thread.start()
    }
  }

  package func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    jobs.withLock { $0.append(job) }
    available.signal()
  }

  /// Waits for a job, the one that has waited longest; nil when there will be none.
  private func next() -> UnownedJob? {
    available.wait()
    return jobs.withLock { $0.isEmpty ? nil : $0.removeFirst() }
  }

  /// Ends the threads; to be called when every task that prefers this executor has ended.
  package func stop() { for _ in 0..<count { available.signal() } }
}
