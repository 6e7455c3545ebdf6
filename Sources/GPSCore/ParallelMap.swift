import Synchronization

/// Calls `body` for every index in `0..<count` on up to `workers` concurrent tasks.
///
/// Results land by index, and of several failures the one with the lowest index is thrown, so that
/// neither depends on timing. Indices are taken in ascending order. After a failure no new index is
/// started.
///
/// - Parameters:
///   - count: how many calls.
///   - workers: at most this many at once; at least 1.
///   - ownThreads: whether each worker gets a thread of its own, for work that blocks; otherwise they
///     share the pool that has a thread per core.
///   - makeContext: what each worker makes once and owns, such as a plant or scratch.
///   - body: the work; it receives its worker's context.
/// - Returns: the results in the order of their indices.
/// - Throws: what `makeContext` or `body` threw, or `CancellationError`.
public func parallelMap<Context, Result: Sendable>(
  _ count: Int, workers: Int, ownThreads: Bool = false,
  makeContext: @escaping @Sendable () throws -> Context,
  body: @escaping @Sendable (Int, inout Context) async throws -> Result
) async throws -> [Result] {
  if count == 0 { return [] }
  let queue = IndexQueue(count: count)
  let executor = ownThreads ? ThreadExecutor(threads: max(1, min(workers, count))) : nil
  defer { executor?.stop() }
  let results = await withTaskGroup(of: [(Int, Swift.Result<Result, any Error>)].self) { group in
    for _ in 0..<max(1, min(workers, count)) {
      group.addTask(executorPreference: executor) {
        var mine: [(Int, Swift.Result<Result, any Error>)] = []
        var context: Context?
        while let index = queue.next() {
          do {
            try Task.checkCancellation()
            // Taken, not copied: what the context stores stays uniquely referenced.
            var owned = try context.take() ?? makeContext()
            let result = try await body(index, &owned)
            context = owned
            mine.append((index, .success(result)))
          } catch {
            queue.close()
            mine.append((index, .failure(error)))
          }
        }
        return mine
      }
    }
    var results = [Swift.Result<Result, any Error>?](repeating: nil, count: count)
    for await part in group { for (index, result) in part { results[index] = result } }
    return results
  }
  return try results.map { result in
    // Indices are taken in ascending order, so a missing result follows a failure, which throws first.
    guard let result else { throw CancellationError() }
    return try result.get()
  }
}

/// `parallelMap` for work that needs no context of its worker.
public func parallelMap<Result: Sendable>(
  _ count: Int, workers: Int, body: @escaping @Sendable (Int) async throws -> Result
) async throws -> [Result] {
  try await parallelMap(count, workers: workers, makeContext: {}) { index, _ in
    try await body(index)
  }
}

/// The indices still to be taken, shared by the workers of one map.
private final class IndexQueue: Sendable {
  private let count: Int
  private let taken = Atomic(0)
  private let isClosed = Atomic(false)

  init(count: Int) { self.count = count }

  func next() -> Int? {
    if isClosed.load(ordering: .relaxed) { return nil }
    let index = taken.wrappingAdd(1, ordering: .relaxed).oldValue
    return index < count ? index : nil
  }

  func close() { isClosed.store(true, ordering: .relaxed) }
}
