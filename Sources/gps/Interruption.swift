import CProgramStart
import Foundation
import Synchronization

/// Ctrl-C and termination requests, counted and acted on outside of Swift's task pool, every thread of
/// which may be busy for hours.
///
/// The handler counts; the second request ends the process there and then, whatever all threads are at.
/// The first wakes a thread of its own, which does what a handler may not.
private enum Requests {
  static let count = Atomic<Int>(0)
  static let number = Atomic<Int32>(0)
  static let bell = Bell()
  /// Whether the last iteration was short enough to wait for the next; there may have been none.
  static let isQuick = Atomic<Bool>(false)

  /// Takes over from the default action, which is to end the process.
  static func take() {
    count.store(0, ordering: .relaxed)
    isQuick.store(false, ordering: .relaxed)
    // Made before a handler may need it.
    _ = bell
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { number in
      let earlier = Requests.count.wrappingAdd(1, ordering: .relaxed).oldValue
      if earlier > 0 { _exit(128 + number) }
      Requests.number.store(number, ordering: .relaxed)
      Requests.bell.ring()
    }
    action.sa_flags = SA_RESTART
    for number in [SIGINT, SIGTERM] { sigaction(number, &action, nil) }
  }

  /// Gives the default action back.
  static func release() {
    for number in [SIGINT, SIGTERM] { signal(number, SIG_DFL) }
  }
}

/// What a signal handler may ring: of all that wakes a thread, `sem_post` alone is promised to be safe
/// there.
///
/// `@unchecked`: the pointer never changes, and the functions of semaphores may be called by any thread.
private final class Bell: @unchecked Sendable {
  private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

  init() { sem_init(semaphore, 0, 0) }

  func ring() {
    let before = errno
    sem_post(semaphore)
    errno = before
  }

  /// Waits until it is rung, for so many seconds at most.
  func wait(seconds: Int? = nil) -> Bool {
    while true {
      let result: Int32
      if let seconds {
        result = program_wait(semaphore, Int32(seconds))
      } else {
        result = sem_wait(semaphore)
      }
      if result == 0 { return true }
      if errno != EINTR { return false }
    }
  }
}

/// Whether somebody asked for an end after the step at hand.
struct StopRequest: Sendable {
  var isMade: Bool { Requests.count.load(ordering: .relaxed) > 0 }

  /// Takes note of how long an iteration took [s]: a request waits for the next if that promises to end soon.
  func note(iteration seconds: Double) {
    Requests.isQuick.store(seconds <= Double(patience), ordering: .relaxed)
  }
}

/// Seconds that the iteration at hand may still take after a request, if the last one took no longer; then it is
/// given up.
private let patience = 10
/// The same where there is none to go by, as in the search of a start, or it took longer.
private let haste = 1

/// Runs work that Ctrl-C or a termination request ends early; a second one ends the process at once.
///
/// - Parameters:
///   - request: what the work looks at in order to end itself at a good moment; work that has not come to
///     one in a second, or in ten where iterations are shorter than that, is cancelled. Nil to cancel it at once.
///   - work: what runs.
/// - Returns: the work's result and the signal that ended it, if one did.
func interruptible<Result: Sendable>(
  stopping request: StopRequest? = nil, _ work: @escaping @Sendable () async -> Result
) async -> (result: Result, signal: Int32?) {
  Requests.take()
  let task = Task { await work() }
  let listener = Thread {
    Thread.current.name = "signals"
    _ = Requests.bell.wait()
    // Rung at the end of the work, too.
    if Requests.count.load(ordering: .relaxed) == 0 { return }
    printToStandardError(
      "gps: stopping\(request == nil ? "" : " after this iteration"); once more to stop at once",
      afterBreak: true)
    if request != nil {
      let isQuick = Requests.isQuick.load(ordering: .relaxed)
      _ = Requests.bell.wait(seconds: isQuick ? patience : haste)
    }
    task.cancel()
  }
  listener.start()
  let result = await task.value
  Requests.release()
  let isStopped = Requests.count.load(ordering: .relaxed) > 0
  Requests.bell.ring()
  return (result, isStopped ? Requests.number.load(ordering: .relaxed) : nil)
}
