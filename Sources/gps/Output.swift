import Foundation
@_spi(Programs) import GuidedPolicySearch
import Synchronization

/// Why standard output could not be written to; 0 if it could, or if nobody reads it any more.
private let outputProblem = Atomic<Int32>(0)

/// Writes text to standard output. A reader that went away is no reason to stop; a full disk is told
/// at the end (`requireOutput`).
func put(_ text: String) {
  let problem = put(text, to: STDOUT_FILENO)
  if problem != 0 && problem != EPIPE { outputProblem.store(problem, ordering: .relaxed) }
}

/// Writes a line to standard output; whatever would move the cursor is spelled out.
func printLine(_ line: String) { put(visible(line) + "\n") }

/// Writes a message, one line, to standard error.
///
/// - Parameters:
///   - message: what to say.
///   - afterBreak: whether a line that is being written on a terminal is left first.
func printToStandardError(_ message: String, afterBreak: Bool = false) {
  _ = put((afterBreak ? "\n" : "") + visible(message, limit: 2000) + "\n", to: STDERR_FILENO)
}

/// Checks that all that was printed has arrived.
///
/// - Throws: `CommandFailure` if standard output is full.
func requireOutput() throws(CommandFailure) {
  let problem = outputProblem.load(ordering: .relaxed)
  if problem == 0 { return }
  throw CommandFailure(
    "cannot write to standard output: \(writeProblem(problem))", .runFailed)
}

/// - Returns: 0, or the error's number.
private func put(_ text: String, to descriptor: Int32) -> Int32 {
  var bytes = Array(text.utf8)[...]
  while !bytes.isEmpty {
    let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if count < 0 && errno == EINTR { continue }
    if count < 0 && errno == EAGAIN {
      // Somebody has made the stream one that does not wait.
      var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      _ = Glibc.poll(&poll, 1, -1)
      continue
    }
    if count < 0 { return errno }
    bytes = bytes.dropFirst(count)
  }
  return 0
}
