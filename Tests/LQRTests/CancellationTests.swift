import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Synchronization
import Testing

@testable import LQR

/// Counts calls, and gives work up in the midst of a certain one.
private final class CallCounter: Sendable {
  private let calls = Atomic(0)
  private let giveUp = Mutex<(@Sendable () -> Void)?>(nil)
  /// Which call, from 1; 0 for none.
  let last: Int

  init(last: Int = 0) { self.last = last }

  var count: Int { calls.load(ordering: .relaxed) }

  func call() {
    if calls.wrappingAdd(1, ordering: .relaxed).newValue == last {
      giveUp.withLock { $0 }?()
    }
  }

  /// What becomes of work.
  func outcome<Value: Sendable>(
    of work: @escaping @Sendable () async throws -> Value
  ) async -> Result<Value, any Error> {
    let task = Task {
      // Not before the task is known.
      while giveUp.withLock({ $0 == nil }) { await Task.yield() }
      return try await work()
    }
    giveUp.withLock { $0 = { task.cancel() } }
    return await task.result
  }
}

/// Work that is given up ends with one of the next steps of the dynamics, and nothing that it had begun counts as done.
@Suite("Iterative LQR that is given up") struct CancellationTests {
  private typealias Pendulum = WatchedDynamics<EulerPendulum>
  private static let horizon = 20

  private func dynamics(_ counter: CallCounter) -> Pendulum {
    WatchedDynamics(EulerPendulum(period: 0.1)) { _ in counter.call() }
  }

  /// Runs work in a task of its own with dynamics that are given up at some calls, and without.
  ///
  /// - Parameters:
  ///   - most: how many places are tried, spread evenly.
  ///   - after: how many calls may follow.
  ///   - work: what is given up.
  /// - Throws: what the work throws that nobody gives up.
  private func tryAll<Value: Equatable & Sendable>(
    most: Int, callsAfter after: Int, _ work: @escaping @Sendable (Pendulum) async throws -> Value
  ) async throws {
    let whole = CallCounter()
    let expected = try await work(dynamics(whole))
    try #require(whole.count > 0)
    var ended = 0
    for place in stride(from: 1, through: whole.count, by: max(1, whole.count / most)) {
      let counter = CallCounter(last: place)
      let dynamics = dynamics(counter)
      let outcome = await counter.outcome { try await work(dynamics) }
      #expect(counter.count <= place + after, "call \(place) of \(whole.count)")
      switch outcome {
      // What was complete by then.
      case .success(let result): #expect(result == expected, "call \(place) of \(whole.count)")
      case .failure(let error):
        #expect(error is CancellationError, "call \(place) of \(whole.count): \(error)")
        ended += 1
      }
    }
    #expect(ended > most / 2)
  }

  @Test(arguments: [nil, ControlLimits(magnitudes: [6])])
  func search(within limits: ControlLimits?) async throws {
    try await tryAll(most: 300, callsAfter: 7) { dynamics in
      let solution = try await ILQR().optimize(
        dynamics, cost: ILQRTests.swingUp(horizon: Self.horizon), in: ILQRTests.condition,
        from: [.pi, 0], controls: Matrix(rows: 1, columns: Self.horizon), limits: limits)
      return [solution.trajectory.states, solution.trajectory.controls]
    }
  }

  @Test func iterationByIteration() async throws {
    try await tryAll(most: 300, callsAfter: 7) { dynamics in
      let cost = ILQRTests.swingUp(horizon: Self.horizon)
      let guess = try await ILQR().guesses(
        ILQR.Sampling(), dynamics, cost: cost, in: ILQRTests.condition, from: [.pi, 0],
        about: Matrix(rows: 1, columns: Self.horizon), deviations: [3],
        limits: ControlLimits(magnitudes: [6]), stream: RandomStream(seed: 1)
      ).guesses[0]
      var progress = ILQR().progress(from: guess.controls, states: guess.states)
      while progress.status == nil && progress.iterations < 5 {
        progress = try await ILQR().advancing(
          progress, on: dynamics, cost: cost, in: ILQRTests.condition
        ).progress
      }
      return progress
    }
  }

  @Test("of several conditions", .slow, arguments: [1, 3])
  func shared(workers: Int) async throws {
    // Other workers end with the step that they are at, once they are told.
    try await tryAll(most: 40, callsAfter: workers == 1 ? 7 : 1000) { dynamics in
      var sampling = ILQR.Sampling()
      (sampling.tries, sampling.generations, sampling.samples) = (2, 2, 8)
      let problems = [Double.pi, 3].map { angle in
        ILQR.Problem(
          dynamics: dynamics, cost: ILQRTests.swingUp(horizon: Self.horizon),
          condition: ILQRTests.condition, initialState: [angle, 0],
          controls: Matrix(rows: 1, columns: Self.horizon), deviations: [3],
          limits: ControlLimits(magnitudes: [6]), actuation: ControlLimits(magnitudes: [6]),
          noise: { $0.map { 0.1 * $0 } },
          starts: [(condition: ILQRTests.condition, state: [angle, 0])])
      }
      return try await ILQR().search(
        problems, sampling: sampling, stream: RandomStream(seed: 1), workers: workers
      ).map { try $0.get() }
    }
  }
}
