import Foundation
public import GPSCore
public import GlobalPolicy
import LinearAlgebra
public import PolicySearch
public import SearchParts
import Sim
import Starts

/// A guided policy search in which workers do not wait for each other, nor the network for them (Yahya et al. 2016, arXiv
/// 1610.00673).
///
/// Each iteration is a consistent cut of what goes on: as many local steps of every condition as a synchronous search has
/// done by then, and a network that has learned from all of them. Workers go on meanwhile; `pause` ends them. Results depend
/// on timing, unless the bound on the staleness is 0.
public struct AsynchronousSearch<
  System: ControlTask, Local: LocalImprovement, Link: Coupling, Student: Distiller
>: Learner {
  /// What travels from cut to cut.
  public typealias State = AsynchronousState<
    Local.Memory, Link.Memory, Student.Product, Student.Memory
  >

  /// What is composed: the parts, and the settings of the loop.
  public let search: GuidedSearch<System, Local, Link, Student>
  /// How it is scheduled.
  public let options: AsynchronousOptions
  private let live = LiveSearch<System, Local, Link, Student>()

  /// An asynchronous search.
  ///
  /// - Parameters:
  ///   - search: what is composed; its workers roll out.
  ///   - options: how it is scheduled.
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed, also where the search learns no network in
  ///   every iteration or tries one again on the same rollouts.
  public init(
    _ search: GuidedSearch<System, Local, Link, Student>,
    options: AsynchronousOptions = AsynchronousOptions()
  ) throws(InvalidOption) {
    do { self.options = try options.validated() } catch { throw error.within("asynchronous") }
    if search.link.rounds > 1 || !search.link.distills(in: 0, of: 2) {
      throw InvalidOption(
        key: "algorithm.schedule", value: "asynchronous",
        allowed: "synchronous, where the network is not learned once in every iteration")
    }
    if search.settings.retries > 0 {
      throw InvalidOption(
        key: "algorithm.retries", value: "\(search.settings.retries)",
        allowed:
          "0 with `algorithm.schedule: asynchronous`, where no rollouts wait to be used again")
    }
    self.search = search
  }

  /// What it is called.
  public var name: String { search.name + "-asynchronous" }
  /// Cuts of a whole run.
  public var iterations: Int { search.iterations }
  /// Whether there is a policy at the end: always.
  public var learnsPolicy: Bool { search.learnsPolicy }

  /// Those of the search, and the staleness.
  public var columns: Report.Columns {
    let own = search.columns
    return Report.Columns(
      progress: own.progress + Staleness.columns, conditions: own.conditions, stages: own.stages,
      tellsActivities: true)
  }

  /// The state before the first cut.
  public var initialState: State {
    State(search: search.initialState, replay: ReplayMemory(capacity: options.memory))
  }

  /// The policy with the best evidence.
  public func policy(of state: State) -> Student.Product? { search.policy(of: state.search) }

  /// The policy of the last cut, taken back or not.
  public func lastPolicy(of state: State) -> Student.Product? {
    search.lastPolicy(of: state.search)
  }

  /// Why it cannot go on from a state, as a clause; nil if it can.
  public func mismatch(with state: State) -> String? {
    search.mismatch(with: state.search)
      ?? state.replay.mismatch(
        with: search.task.dimensions, conditions: search.task.conditions.count)
  }

  /// The next cut. Workers that are at it already go on; otherwise they begin from the state.
  ///
  /// - Throws: as `GuidedSearch.advancing`; nobody works any more then.
  public func advancing(_ state: consuming State) async throws -> (next: State, report: Report) {
    do {
      try Task.checkCancellation()
      let conductor = try await live.conductor(of: self, at: state)
      let (next, report) = try await withTaskCancellationHandler {
        try await conductor.nextCut()
      } onCancel: {
        live.cancel()
      }
      live.hasDelivered(next.cut)
      if isFinished(next) { await live.stop() }
      return (next, report)
    } catch {
      await live.stop()
      throw error
    }
  }

  /// Ends the workers.
  public func pause() async { await live.stop() }
}

/// The workers of a search, while there are any.
private final class LiveSearch<
  System: ControlTask, Local: LocalImprovement, Link: Coupling, Student: Distiller
>: Sendable {
  typealias Leader = Conductor<System, Local, Link, Student>

  private struct Running {
    let conductor: Leader
    let all: Task<Void, Never>
    /// The cut that was delivered last; 0 for none.
    var cut = 0
  }

  private let running = Locked<Running?>(nil)

  deinit { cancel() }

  /// Whoever leads the workers that go on from a state; they begin if there are none.
  func conductor(
    of learner: AsynchronousSearch<System, Local, Link, Student>, at state: Leader.State
  ) async throws -> Leader {
    let present = running.withLock { $0 }
    if let present, present.cut > 0, present.cut == state.cut { return present.conductor }
    await stop()
    let search = learner.search
    var state = state
    var searched: [SearchedStart]?
    if state.iteration == 0 { searched = try await search.searchStart(&state.search) }
    let conductor = Leader(search, options: learner.options, from: state, searched: searched)
    let trainingWorkers = learner.options.trainingWorkers
    let all = Task { await Self.run(search, conductor, trainingWorkers: trainingWorkers) }
    running.withLock { $0 = Running(conductor: conductor, all: all) }
    return conductor
  }

  func hasDelivered(_ cut: Int) { running.withLock { $0?.cut = cut } }

  /// Everybody gives up what they are at.
  func cancel() { running.withLock { $0?.all.cancel() } }

  /// The same, and waits for it.
  func stop() async {
    let present = running.withLock { $0.take() }
    present?.all.cancel()
    await present?.all.value
  }

  /// The workers and the training, to their end.
  private static func run(
    _ search: Leader.Search, _ conductor: Leader, trainingWorkers: Int
  ) async {
    let workers = search.settings.workers
    // Robots roll out and wait, each in a thread of its own; what is to be computed is done by others meanwhile.
    let areRobots = System.System.waitsForRealTime
    let executor = areRobots ? ThreadExecutor(threads: workers) : nil
    let helpers =
      areRobots
      ? min(search.task.conditions.count, ProcessInfo.processInfo.activeProcessorCount) : 0
    defer { executor?.stop() }
    await withTaskCancellationHandler {
      await withTaskGroup(of: Void.self) { group in
        for worker in 0..<workers {
          group.addTask(executorPreference: executor) {
            await work(
              search, Worker(number: worker, does: areRobots ? .rollouts : .everything),
              under: conductor)
          }
        }
        for helper in 0..<helpers {
          group.addTask {
            await work(search, Worker(number: helper, does: .localSteps), under: conductor)
          }
        }
        group.addTask { await train(search, under: conductor, workers: trainingWorkers) }
      }
    } onCancel: {
      Task { await conductor.stop() }
    }
  }

  private static func work(
    _ search: Leader.Search, _ worker: Worker, under conductor: Leader
  ) async {
    var own = RolloutWorker<System, Leader.Who>(search.task)
    while let job = await conductor.next(worker) {
      do {
        switch job {
        case .rollout(let job):
          own.changePolicy()
          let outcome = try job.sampler.outcome(
            of: job.sample, in: job.place, number: job.condition, under: job.who, by: &own)
          await conductor.finish(job, outcome, by: worker)
        case .improvement(let job):
          let place = search.task.conditions[job.batch.condition]
          var step =
            job.earlier.map {
              Leader.Step(rescued: job.batch, after: $0, from: job.previous, in: place)
            } ?? Leader.Step(job.batch, from: job.previous, in: place, byPolicy: job.isByPolicy)
          // Rollouts that know nothing of the last step say nothing of it.
          if !job.isInformed { step.next.expectation = nil }
          try search.improve(&step, toward: job.view)
          await conductor.finish(job, step, by: worker)
        }
      } catch {
        await conductor.fail(error)
        return
      }
    }
  }

  private static func train(
    _ search: Leader.Search, under conductor: Leader, workers: Int
  ) async {
    while let job = await conductor.nextTraining() {
      do {
        var trial = job.trial
        try await search.distill(job.shares, into: &trial, stream: job.stream, workers: workers)
        await conductor.finish(job, trial)
      } catch {
        await conductor.fail(error)
        return
      }
    }
  }
}
