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
  let parts = await withTaskGroup(of: [(Int, Swift.Result<Result, any Error>)].self) { group in
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
    var parts: [[(Int, Swift.Result<Result, any Error>)]] = []
    for await part in group { parts.append(part) }
    return parts
  }
  // Before there is room for all results: of a million that somebody gives up, few are there. A worker ends
  // with its first failure.
  let failures = parts.compactMap { part -> (index: Int, error: any Error)? in
    guard let (index, result) = part.last, case .failure(let error) = result else { return nil }
    return (index, error)
  }
  if let first = failures.min(by: { $0.index < $1.index }) { throw first.error }
  var results = [Result?](repeating: nil, count: count)
  for part in parts { for (index, result) in part { results[index] = try result.get() } }
  return try results.map { result in
    guard let result else { throw CancellationError() }
    return result
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
