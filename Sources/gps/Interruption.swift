import Dispatch
import Foundation

/// Runs work that Ctrl-C or a termination request cancels; a second one ends the process at once.
///
/// - Returns: the work's result and the signal that cancelled it, if one did.
func interruptible<Result: Sendable>(
  _ work: @escaping @Sendable () async -> Result
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
      task.cancel()
      printToStandardError("\ngps: stopping; once more to stop at once")
    }
    return first
  }
  let result = await task.value
  continuation.finish()
  for source in sources { source.cancel() }
  return (result, await listener.value)
}
