import Synchronization

/// A value that one task at a time may touch: a `Mutex` whose order a race detector sees too.
///
/// Two critical sections of a mutex are in order, but where one had to wait for the other,
/// ThreadSanitizer does not know: Swift's library and the system's kernel hand the lock over, and it
/// watches neither. `edge` says the same in words that it reads: whoever enters acquires what whoever
/// left before released. That is true under the lock alone, so a section that lacks the lock is
/// reported as before.
package struct Locked<Value: ~Copyable>: ~Copyable, Sendable {
  private let mutex: Mutex<Value>
  private let edge = Atomic(false)

  /// A value that nobody else holds.
  package init(_ value: consuming sending Value) { mutex = Mutex(value) }

  /// Calls `body` with the value while nobody else has it.
  package borrowing func withLock<Result: ~Copyable, Failure: Error>(
    _ body: (inout sending Value) throws(Failure) -> sending Result
  ) throws(Failure) -> sending Result {
    try mutex.withLock { (value: inout sending Value) throws(Failure) -> sending Result in
      _ = edge.load(ordering: .acquiring)
      defer { edge.store(true, ordering: .releasing) }
      return try body(&value)
    }
  }
}
