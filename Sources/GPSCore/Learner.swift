/// What a run knows of whatever learns in it: running, resuming, evaluating, checkpoints and CSV files
/// are generic over it.
///
/// A learner is a value; what changes travels in its `State` from one iteration to the next, and a
/// checkpoint holds nothing else.
public protocol Learner: Sendable {
  /// All that travels from one iteration to the next.
  associatedtype State: LearnerState
  /// What is learned.
  associatedtype Actor: Policy & Storable

  /// What it is called in headlines and summaries, such as "mirrorDescent".
  var name: String { get }
  /// Iterations of a whole run, at most.
  var iterations: Int { get }
  /// The numbers that its reports hold.
  var columns: Report.Columns { get }
  /// Whether there will be a policy, so that it can be looked out for.
  var learnsPolicy: Bool { get }
  /// The state before the first iteration.
  var initialState: State { get }

  /// Whether a run is at its end; by default when all iterations are done.
  func isFinished(_ state: State) -> Bool

  /// One iteration.
  ///
  /// - Parameter state: `initialState`, what an earlier call returned, or that of a checkpoint. A
  ///   caller that gives it up (`consume`) saves memory.
  /// - Returns: the state after it, and what it did.
  /// - Throws: when the search cannot go on, or `CancellationError`; a state that the caller keeps is
  ///   untouched and can be advanced again.
  func advancing(_ state: consuming State) async throws -> (next: State, report: Report)

  /// Called by whoever asks for no further iteration for now: a learner whose workers go on between iterations lets
  /// them end. What is advanced later begins from the state that it is given. By default nothing.
  func pause() async

  /// The policy that a run keeps: the one with the best evidence, as far as there is any. Nil before the
  /// first, or for a learner that has none.
  func policy(of state: State) -> Actor?

  /// The policy that was learned last, whatever speaks for it; by default the one that is kept.
  func lastPolicy(of state: State) -> Actor?

  /// Why this learner cannot go on from a state, as a clause; nil if it can.
  func mismatch(with state: State) -> String?
}

/// Why an iteration could not be finished, with what is known of it: a run writes that down before it
/// ends.
public protocol FailedIteration: Error {
  /// What was rolled out, and what failed.
  var report: Report { get }
}

/// What every learner's state tells.
public protocol LearnerState: Storable {
  /// Iterations done.
  var iteration: Int { get }
  /// Rollouts that were learned from or decided anything, discarded ones aside.
  var rollouts: Int { get }
}

extension Learner {
  /// Nothing goes on between iterations unless a learner says so.
  public func pause() async {}

  /// The policy that is kept.
  public func lastPolicy(of state: State) -> Actor? { policy(of: state) }

  /// When all iterations are done.
  public func isFinished(_ state: State) -> Bool { state.iteration >= iterations }

  /// The iterations from `state` up to `iterations`, as a sequence to loop over.
  ///
  /// - Parameter state: `initialState`, what an earlier iteration ended with, or that of a checkpoint;
  ///   nil for the first.
  /// - Returns: pairs of the state after an iteration and its report.
  public func iterations(from state: State? = nil) -> Iterations<Self> {
    Iterations(learner: self, state: state ?? initialState)
  }

  /// All iterations, one after the other, in the caller's isolation: a closure of the main actor is called there.
  ///
  /// - Parameter onReport: called after each; what it throws ends the run.
  /// - Returns: the last state.
  /// - Throws: as `advancing`.
  nonisolated(nonsending) public func run(
    _ onReport: (Report) throws -> Void = { _ in }
  ) async throws -> State {
    var state = initialState
    do {
      while !isFinished(state) {
        let (next, report) = try await advancing(consume state)
        state = next
        try onReport(report)
      }
    } catch {
      await pause()
      throw error
    }
    await pause()
    return state
  }
}

/// An asynchronous sequence of iterations; it ends with the first error, which it throws. It holds no
/// state while it iterates but the one in the making.
///
/// Each loop over it begins anew from the state it was made with.
public struct Iterations<L: Learner>: AsyncSequence, AsyncIteratorProtocol, Sendable {
  let learner: L
  /// Nil after an error: a state is given up to the iteration that starts from it.
  var state: L.State?

  /// The sequence is its own iterator.
  public func makeAsyncIterator() -> Iterations { self }

  /// The next iteration: the state after it, and its report; nil after the last.
  ///
  /// - Throws: as `Learner.advancing`; the iterations before are then done, and can be gone on from.
  public mutating func next() async throws -> (state: L.State, report: Report)? {
    guard let last = state.take(), !learner.isFinished(last) else { return nil }
    let (next, report) = try await learner.advancing(consume last)
    state = next
    return (next, report)
  }
}
