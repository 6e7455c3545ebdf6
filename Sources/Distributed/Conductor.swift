// Who does what next in an asynchronous search (Yahya et al. 2016, arXiv 1610.00673):
//
//   worker ──▶ rollout of the newest network ──▶ … ──▶ fit and local step ──┐ replay memory
//   worker ──▶ rollout …                                                    ├──────────────▶ network: training after
//   worker ──▶ …                                                            ┘                training, update by update
//
// A worker takes one rollout at a time, of the condition that is furthest behind, and goes on with whatever is next. The
// last rollout of a batch makes a local step possible, which another worker may take: a robot waits for no computation.
// Nobody waits for the network, and the network for nobody, as long as the bound on the staleness allows. When all conditions have done as many local steps, and the network
// has learned from them, that is a cut: the network is rolled out without noise among the other rollouts, and judged.

import GPSCore
import GlobalPolicy
import PolicySearch
import SearchParts
import Sim
import Starts
import Statistics

/// The only place where workers, the training and whoever wants cuts meet.
actor Conductor<
  System: ControlTask, Local: LocalImprovement, Link: Coupling, Student: Distiller
> {
  typealias Search = GuidedSearch<System, Local, Link, Student>
  typealias Step = LocalStep<Local, Link>
  typealias Trial = SearchTrial<Student.Product, Student.Memory>
  typealias State = AsynchronousState<
    Local.Memory, Link.Memory, Student.Product, Student.Memory
  >
  typealias Who = PolicyOrController<Student.Product>

  /// The rollouts of one condition that its next local step is to be made of.
  private struct Batch {
    let step: Int
    let isByPolicy: Bool
    /// The policy's rollouts, all of which failed; nil where there were none.
    var earlier: RolloutBatch?
    var handedOut = 0
    var outcomes: [SampleOutcome?]
    /// Updates before the oldest parameters that it used; nil as long as it used none.
    var oldest: Int?
    /// Rollouts of parameters that had learned from the condition's last local step.
    var informed = 0

    init(step: Int, isByPolicy: Bool, samples: Int) {
      (self.step, self.isByPolicy) = (step, isByPolicy)
      outcomes = [SampleOutcome?](repeating: nil, count: samples)
    }

    var isHandedOut: Bool { handedOut == outcomes.count }
    var isComplete: Bool { outcomes.allSatisfy { $0 != nil } }
  }

  /// A local step that is done.
  private struct Finished {
    let step: Step
    let staleness: Int
  }

  /// Where a condition stands.
  private struct Progress {
    /// What it carries, after its last local step.
    var state: ConditionState<Local.Memory, Link.Memory>
    /// Local steps done.
    var done: Int
    /// Those of its next local steps, in order.
    var batches: [Batch] = []
    /// Updates before the oldest parameters of the local step that is being made; nil if none is.
    var improving: Int?
    /// Done since the last cut, by number.
    var finished: [Int: Finished] = [:]
    /// Local steps that the network in force has learned from.
    var learned: Int

    /// Local steps that are done or begun.
    var begun: Int { done + (improving == nil ? 0 : 1) + batches.count }
  }

  /// A cut on its way.
  private struct Cut {
    var trial: Trial
    var steps: [Step]
    let staleness: [Int]
    let replay: ReplayMemory
    let updates: Int
    let trainings: Int
    var judging = Judging()
    /// The state after it, once it has been judged.
    var next: Search.State?
    var isTakenBack = false
    var testing = Judging()
  }

  /// Noise-free rollouts of a policy, one per condition.
  private struct Judging {
    var policy: Student.Product?
    var handedOut = 0
    var outcomes: [SampleOutcome?] = []

    init(_ policy: Student.Product? = nil, conditions: Int = 0) {
      self.policy = policy
      outcomes = [SampleOutcome?](repeating: nil, count: policy == nil ? 0 : conditions)
    }

    var isComplete: Bool { outcomes.allSatisfy { $0 != nil } }
  }

  private let search: Search
  private let options: AsynchronousOptions
  private let workers: Int
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant

  /// After the last cut that was judged.
  private var state: Search.State
  private var replay: ReplayMemory
  private var progress: [Progress]
  /// What is rolled out and trained on.
  private var policy: Student.Product?
  private var memory: Student.Memory?
  private var updates: Int
  private var trainings: Int
  private var isTraining = false
  /// What is gone back to, as soon as nobody would be further behind than is allowed.
  private var kept: (policy: Student.Product?, memory: Student.Memory?)?
  /// What the last training came to.
  private var lastLoss: (loss: Double?, unexplainedShare: Double?)
  private var trainingNotes: [String] = []
  private var cut: Cut?
  private var searched: [SearchedStart]?

  private var delivered: [(state: State, report: Report)] = []
  private var failure: (any Error)?
  private var isStopped = false
  private var waiting: [CheckedContinuation<Void, Never>] = []

  /// Since when each worker has been rolling out, in seconds since the start; nil if it is not.
  private var busySince: [Double?]
  private var busySeconds = 0.0
  private var lastDelivery = 0.0
  private var times: [String: Double] = [:]
  private var activities: [WorkerActivity] = []

  /// Everybody's work from a state on.
  ///
  /// - Parameters:
  ///   - search: whose parts it composes.
  ///   - options: how.
  ///   - state: where it begins.
  ///   - searched: what the search for a start came to that led there; nil without one.
  init(
    _ search: Search, options: AsynchronousOptions, from state: State, searched: [SearchedStart]?
  ) {
    (self.search, self.options, self.searched) = (search, options, searched)
    workers = search.settings.workers
    start = clock.now
    self.state = state.search
    replay = state.replay
    progress = state.search.conditions.map {
      Progress(state: $0, done: state.iteration, learned: state.iteration)
    }
    (policy, memory) = (state.search.policy, state.search.training)
    (updates, trainings) = (state.updates, state.trainings)
    busySince = [Double?](repeating: nil, count: search.settings.workers)
  }

  private var seconds: Double { (clock.now - start).inSeconds }

  // MARK: Waiting

  private func wait() async { await withCheckedContinuation { waiting.append($0) } }

  /// Everybody looks again whether there is something to do.
  private func wake() {
    let all = waiting
    waiting = []
    for one in all { one.resume() }
  }

  /// Nobody gets any more work.
  func stop() {
    isStopped = true
    wake()
  }

  /// Whoever wants the next cut gets this instead, and nobody any more work.
  func fail(_ error: any Error) {
    if failure == nil && !(error is CancellationError) { failure = error }
    stop()
  }

  /// The next cut.
  ///
  /// - Throws: why there is none, or `CancellationError`.
  func nextCut() async throws -> (state: State, report: Report) {
    while delivered.isEmpty {
      if let failure { throw failure }
      if isStopped { throw CancellationError() }
      await wait()
    }
    let first = delivered.removeFirst()
    wake()
    return first
  }

  // MARK: Work for workers

  /// What a worker is to do.
  enum Job: Sendable {
    case rollout(RolloutJob)
    case improvement(ImprovementJob)
  }

  /// One rollout, to learn from or to judge a policy by.
  struct RolloutJob: Sendable {
    enum Purpose: Sendable { case learning(step: Int), judging, testing }
    let purpose: Purpose
    let condition: Int
    let place: Condition
    let sample: Int
    let who: Who
    let sampler: RolloutSampler<System>
    fileprivate let start: Double
  }

  /// One local step.
  struct ImprovementJob: Sendable {
    let batch: RolloutBatch
    let earlier: RolloutBatch?
    let previous: ConditionState<Local.Memory, Link.Memory>
    let isByPolicy: Bool
    /// Whether the rollouts tell how good the last step was.
    let isInformed: Bool
    let view: Search.State
    fileprivate let start: Double
  }

  /// What a worker does next.
  ///
  /// - Returns: nil when there is nothing to do any more.
  func next(_ worker: Worker) async -> Job? {
    while !isStopped {
      // Who does not take the cuts that there are gets no more of them.
      if delivered.count < 3, let job = take(worker.does) {
        if case .rollout = job { busySince[worker.number] = seconds }
        return job
      }
      await wait()
    }
    return nil
  }

  private func take(_ role: Worker.Role) -> Job? {
    if role != .rollouts,
      let condition = progress.firstIndex(where: {
        $0.improving == nil && $0.batches.first?.isComplete == true
      })
    {
      return .improvement(improvement(in: condition))
    }
    if role == .localSteps { return nil }
    if let job = takeJudging() { return .rollout(job) }
    var best: (step: Int, condition: Int)?
    for (i, own) in progress.enumerated() {
      let step =
        own.batches.first { !$0.isHandedOut }?.step ?? (mayBegin(in: i) ? own.begun : nil)
      if let step, step < best?.step ?? .max { best = (step, i) }
    }
    return best.map { .rollout(rollout(of: $0.step, in: $0.condition)) }
  }

  private func takeJudging() -> RolloutJob? {
    guard let own = cut else { return nil }
    let isTest = own.next != nil
    let judging = isTest ? own.testing : own.judging
    guard let policy = judging.policy, judging.handedOut < judging.outcomes.count else {
      return nil
    }
    let i = judging.handedOut
    if isTest { cut?.testing.handedOut += 1 } else { cut?.judging.handedOut += 1 }
    return RolloutJob(
      purpose: isTest ? .testing : .judging, condition: i,
      place: (isTest ? search.task.testConditions : search.task.conditions)[i], sample: 0,
      who: .policy(policy),
      sampler: RolloutSampler(
        search.task, plan: .judging(timeLimit: search.settings.rollouts.timeLimit),
        stream: search.stream), start: seconds)
  }

  /// Whether the network rolls out in a condition.
  private func isPolicyTurn(in i: Int) -> Bool {
    search.sampling == .onPolicy && policy != nil && !progress[i].state.isLed
  }

  /// Whether rollouts of another local step of a condition may begin.
  private func mayBegin(in i: Int) -> Bool {
    let (own, bound) = (progress[i], options.stalenessBound)
    if own.begun >= search.iterations || own.begun - own.learned > min(bound, 1) { return false }
    // Whatever began now would be stale when the network in the making is there.
    if bound == 0 && (isTraining || cut.map { $0.next == nil } ?? false) { return false }
    // A controller rolls out when it is made; a network does not wait for the condition's last step.
    return isPolicyTurn(in: i) ? own.begun - own.done <= bound : own.begun == own.done
  }

  private func rollout(of step: Int, in i: Int) -> RolloutJob {
    if progress[i].begun == step {
      progress[i].batches.append(
        Batch(step: step, isByPolicy: isPolicyTurn(in: i), samples: search.settings.samples))
    }
    let number = progress[i].batches.count - 1 - (progress[i].begun - 1 - step)
    var batch = progress[i].batches[number]
    let who: Who
    if batch.isByPolicy, let policy {
      who = .policy(policy)
      batch.oldest = min(batch.oldest ?? updates, updates)
      if progress[i].learned >= step { batch.informed += 1 }
    } else {
      who = .controller(progress[i].state.controller)
      batch.informed += 1
    }
    let sample = batch.handedOut
    batch.handedOut += 1
    let isRescue = batch.earlier != nil
    progress[i].batches[number] = batch
    return RolloutJob(
      purpose: .learning(step: step), condition: i, place: search.task.conditions[i],
      sample: sample, who: who,
      sampler: RolloutSampler(
        search.task, plan: search.plan(in: step, isRescue: isRescue),
        stream: isRescue ? search.rescueStream : search.stream), start: seconds)
  }

  private func improvement(in i: Int) -> ImprovementJob {
    let batch = progress[i].batches.removeFirst()
    progress[i].improving = min(batch.oldest ?? updates, updates)
    var view = Search.State(conditions: [])
    (view.iteration, view.policy, view.record) = (batch.step, policy, state.record)
    return ImprovementJob(
      batch: RolloutBatch(condition: i, outcomes: batch.outcomes.compactMap { $0 }),
      earlier: batch.earlier, previous: progress[i].state, isByPolicy: batch.isByPolicy,
      isInformed: 2 * batch.informed >= batch.outcomes.count, view: view, start: seconds)
  }

  // MARK: Work that is done

  private func note(
    _ worker: String, _ kind: WorkerActivity.Kind, _ condition: String?, from start: Double
  ) {
    activities.append(
      WorkerActivity(
        worker: worker, kind: kind, condition: condition, start: start, end: seconds))
  }

  /// Takes in a rollout.
  func finish(_ job: RolloutJob, _ outcome: SampleOutcome, by worker: Worker) {
    if let since = busySince[worker.number].take() { busySeconds += seconds - since }
    defer { wake() }
    guard case .learning(let step) = job.purpose else {
      note(worker.name, .evaluation, job.place.name, from: job.start)
      times["evaluation", default: 0] += outcome.seconds
      if case .testing = job.purpose {
        cut?.testing.outcomes[job.condition] = outcome
      } else {
        cut?.judging.outcomes[job.condition] = outcome
      }
      advanceCut()
      return
    }
    note(worker.name, .rollout, job.place.name, from: job.start)
    let i = job.condition
    guard let number = progress[i].batches.firstIndex(where: { $0.step == step }) else { return }
    progress[i].batches[number].outcomes[job.sample] = outcome
    let batch = progress[i].batches[number]
    let hasFailed = batch.outcomes.allSatisfy { $0?.trajectory.isEmpty ?? false }
    if hasFailed && batch.isByPolicy {
      // A policy that came out bad must not end a search that can mend it.
      var instead = Batch(step: step, isByPolicy: false, samples: search.settings.samples)
      instead.earlier = RolloutBatch(condition: i, outcomes: batch.outcomes.compactMap { $0 })
      progress[i].batches[number] = instead
      state.discredit(in: i)
    }
  }

  /// Takes in a local step.
  func finish(_ job: ImprovementJob, _ step: Step, by worker: Worker) {
    let i = step.batch.condition
    note(worker.name, .localStep, search.task.conditions[i].name, from: job.start)
    let staleness = updates - (progress[i].improving ?? updates)
    progress[i].improving = nil
    progress[i].state = step.next
    progress[i].finished[progress[i].done] = Finished(step: step, staleness: staleness)
    if !step.samples.isEmpty {
      replay.add(step.lessons(within: search.task.controlLimits), step: progress[i].done)
    }
    progress[i].done += 1
    let number = state.iteration
    let steps = progress.compactMap { $0.finished[number]?.step }
    if steps.count == progress.count && steps.allSatisfy(\.samples.isEmpty) {
      fail(search.noRollouts(from: state, steps))
    }
    wake()
  }

  // MARK: The network

  /// One training of the network.
  struct TrainingJob: Sendable {
    let trial: Trial
    let shares: [DistillationSet.Share]
    let stream: RandomStream
    /// Local steps of each condition that it learns from.
    fileprivate let learns: [Int]
    fileprivate let start: Double
  }

  /// What to train next.
  ///
  /// - Returns: nil when there is nothing to do any more.
  func nextTraining() async -> TrainingJob? {
    while !isStopped {
      returnToKept()
      if mayTrain {
        isTraining = true
        return TrainingJob(
          trial: Trial(policy: policy, training: memory),
          shares: replay.shares(ageWeight: options.ageWeight),
          stream: search.stream.child(.minibatches, trainings), learns: progress.map(\.done),
          start: seconds)
      }
      await wait()
    }
    return nil
  }

  /// Whether nobody would be further behind than is allowed after another update.
  private var mayUpdate: Bool {
    if options.stalenessBound == 0 {
      return progress.allSatisfy { $0.batches.isEmpty && $0.improving == nil }
    }
    let oldest = updates + 1 - options.stalenessBound
    return progress.allSatisfy { own in
      own.improving ?? .max >= oldest && own.batches.allSatisfy { $0.oldest ?? .max >= oldest }
    }
  }

  /// Whether there is something new to learn, and time for it.
  private var mayTrain: Bool {
    if kept != nil || !mayUpdate { return false }
    // The first training fixes the scalings of the network: it needs to have seen all conditions.
    if replay.entries.isEmpty || !progress.allSatisfy({ $0.done > 0 }) { return false }
    if !progress.contains(where: { $0.done > $0.learned }) { return false }
    if options.stalenessBound > 0 { return true }
    return progress.allSatisfy { $0.done > $0.learned || $0.done >= search.iterations }
      && (cut == nil || cut?.next != nil)
  }

  /// Back to the network before those that did worse: an update too.
  private func returnToKept() {
    guard let own = kept, !isTraining, mayUpdate else { return }
    (policy, memory) = own
    updates += 1
    kept = nil
    wake()
  }

  /// Takes in what a training came to: an update of the network.
  func finish(_ job: TrainingJob, _ trial: Trial) {
    isTraining = false
    note("network", .training, nil, from: job.start)
    times["global_policy", default: 0] += seconds - job.start
    trainings += 1
    trainingNotes += trial.notes
    if kept != nil {
      // It began with a network that is being taken back.
      wake()
      return
    }
    updates += 1
    (policy, memory) = (trial.policy, trial.training)
    lastLoss = (trial.loss, trial.unexplainedShare)
    for i in progress.indices { progress[i].learned = job.learns[i] }
    advanceCut()
    wake()
  }

  // MARK: Cuts

  /// Whatever is next for the cut on its way, or for the next one.
  private func advanceCut() {
    if cut == nil { beginCut() }
    guard let own = cut else { return }
    if own.next == nil && own.judging.isComplete { judge() }
    if cut?.next != nil && cut?.testing.isComplete == true { deliver() }
  }

  private func beginCut() {
    let number = state.iteration
    let finished = progress.compactMap { $0.finished[number] }
    guard number < search.iterations, finished.count == progress.count,
      progress.allSatisfy({ $0.learned > number })
    else { return }
    for i in progress.indices { progress[i].finished[number] = nil }
    var trial = Trial(policy: policy, training: memory)
    (trial.loss, trial.unexplainedShare) = lastLoss
    cut = Cut(
      trial: trial, steps: finished.map(\.step), staleness: finished.map(\.staleness),
      replay: replay.before(step: number + 1), updates: updates, trainings: trainings,
      judging: Judging(policy, conditions: search.task.conditions.count))
  }

  private func evaluation(_ judging: Judging, in conditions: [Condition]) -> Evaluation? {
    if judging.policy == nil || conditions.isEmpty { return nil }
    return Evaluation(
      entries: zip(conditions, judging.outcomes).enumerated().map { i, pair in
        Evaluation.Entry(
          RolloutBatch(condition: i, outcomes: pair.1.map { [$0] } ?? []), in: pair.0,
          of: search.task)
      })
  }

  /// Is the network of the cut, without noise, worse than those before? Then they are what is gone on with.
  private func judge() {
    guard var own = cut else { return }
    own.trial.evaluation = evaluation(own.judging, in: search.task.conditions)
    own.trial.judge(in: state.iteration)
    own.trial.notes = trainingNotes
    trainingNotes = []
    let isTakenBack = own.trial.isWorse(than: state.record.suffix(search.settings.takeBack))
    if isTakenBack {
      do { try search.shrink(&own.steps, after: own.trial, from: state) } catch {
        return fail(error)
      }
      search.takeBack(&own.steps, to: state)
    } else {
      search.lead(&own.steps, after: own.trial)
    }
    for i in own.steps.indices {
      if progress[i].begun == state.iteration + 1 {
        progress[i].state = own.steps[i].next
      } else if progress[i].finished.isEmpty {
        // One that has gone on meanwhile stays where it is; who rolls out there next is another matter.
        progress[i].state.isLed = own.steps[i].next.isLed
        if isTakenBack {
          progress[i].state.stepMultiplier = min(
            progress[i].state.stepMultiplier, own.steps[i].next.stepMultiplier)
        }
      }
    }
    var next = state
    next.rollouts += own.steps.reduce(0) { $0 + $1.samples.count } + own.trial.rollouts
    next.take(own.trial, isTakenBack: isTakenBack, memory: search.settings.takeBack)
    next.conditions = own.steps.map(\.next)
    next.iteration += 1
    state = next
    if isTakenBack {
      kept = (next.policy, next.training)
      returnToKept()
    }
    own.next = next
    own.isTakenBack = isTakenBack
    own.testing = Judging(
      search.policy(of: next), conditions: search.task.testConditions.count)
    cut = own
  }

  private func deliver() {
    guard let own = cut, var next = own.next else { return }
    let now = seconds
    for worker in busySince.indices {
      if let since = busySince[worker] {
        busySeconds += now - since
        busySince[worker] = now
      }
    }
    let wall = max(now - lastDelivery, .leastNonzeroMagnitude)
    var report = search.report(
      on: next, own.steps, own.trial,
      test: evaluation(own.testing, in: search.task.testConditions),
      failures: own.isTakenBack ? 1 : 0,
      seconds: StageSeconds(of: own.steps, and: times, total: wall),
      utilization: busySeconds / (Double(workers) * wall),
      modelRollouts: searched?.reduce(0) { $0 + $1.modelRollouts } ?? 0)
    report.metrics += Staleness(own.staleness).metrics
    report.notes += searched.map { search.remarks(on: $0) } ?? []
    report.notes += search.diagnose(&next, own.steps, own.trial)
    report.activities = activities
    state.diagnosis = next.diagnosis
    (searched, times, activities, busySeconds, lastDelivery) = (nil, [:], [], 0, now)
    var cutState = State(search: next, replay: own.replay)
    (cutState.updates, cutState.trainings) = (own.updates, own.trainings)
    cutState.cut = Cuts.number()
    delivered.append((cutState, report))
    cut = nil
    advanceCut()
    wake()
  }
}

/// Who works.
struct Worker: Sendable {
  /// What it takes.
  enum Role: Sendable { case everything, rollouts, localSteps }

  let number: Int
  let does: Role

  /// What it is called where its work is told.
  var name: String { does == .localSteps ? "step \(number)" : "\(number)" }
}

/// How stale the local steps of a cut were.
struct Staleness {
  /// In ascending order.
  private let sorted: [Int]

  /// Updates of the network between the parameters that each step used and those at its end.
  init(_ updates: [Int]) { sorted = updates.sorted() }

  static let columns = [
    Metric.Column("staleness_median", title: "staleness"),
    Metric.Column("staleness_p95", title: "p95"), Metric.Column("staleness_max", title: "max"),
  ]

  var metrics: [Metric] {
    zip(Self.columns, [0.5, 0.95, 1]).map { Metric($0.name, quantile($1).map(Double.init)) }
  }

  /// The smallest of which a share of all is not larger; nil without any.
  private func quantile(_ share: Double) -> Int? {
    if sorted.isEmpty { return nil }
    return sorted[max(0, Int((share * Double(sorted.count)).rounded(.up)) - 1)]
  }
}
