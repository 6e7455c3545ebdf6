import Foundation

/// Writes text to standard output; a reader that went away is no reason to stop.
func put(_ text: String) { put(text, to: STDOUT_FILENO) }

/// Writes a line to standard output.
func printLine(_ line: String) { put(line + "\n") }

/// Writes a line to standard error.
func printToStandardError(_ line: String) { put(line + "\n", to: STDERR_FILENO) }

private func put(_ text: String, to descriptor: Int32) {
  var bytes = Array(text.utf8)[...]
  while !bytes.isEmpty {
    let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if count < 0 && errno == EINTR { continue }
    if count <= 0 { return }
    bytes = bytes.dropFirst(count)
  }
}
