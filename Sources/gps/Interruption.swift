import Dispatch
import Foundation
import Synchronization

/// Whether somebody asked for an end after the step at hand.
final class StopRequest: Sendable {
  private let flag = Atomic(false)

  var isMade: Bool { flag.load(ordering: .relaxed) }

  func make() { flag.store(true, ordering: .relaxed) }
}

/// Runs work that Ctrl-C or a termination request ends early; a second one ends the process at once.
///
/// - Parameters:
///   - request: made by the first signal, for work that ends itself at a good moment; nil to cancel the
///     work.
///   - work: what runs.
/// - Returns: the work's result and the signal that ended it, if one did.
func interruptible<Result: Sendable>(
  stopping request: StopRequest? = nil, _ work: @escaping @Sendable () async -> Result
) async -> (result: Result, signal: Int32?) {
  let task = Task { await work() }
  let (stream, continuation) = AsyncStream.makeStream(of: Int32.self)
  let sources = [SIGINT, SIGTERM].map { number in
    // The default action must not end the process before the source sees the signal.
    signal(number, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
    source.setEventHandler { continuation.yield(number) }
    source.resume()
    return source
  }
  let listener = Task { () -> Int32? in
    var first: Int32?
    for await number in stream {
      if first != nil { _exit(128 + number) }
      first = number
      if let request { request.make() } else { task.cancel() }
      printToStandardError(
        "\ngps: stopping\(request == nil ? "" : " after this iteration"); once more to stop at once"
      )
    }
    return first
  }
  let result = await task.value
  continuation.finish()
  for source in sources { source.cancel() }
  return (result, await listener.value)
}
