// Minibatch training: shuffle, gradient, step, average, and a way back from a loss that exploded.
//
// Synchronous parallel SGD in two phases per minibatch (WorkPhases): the workers share the
// parts of the minibatch (ParallelGradient), then the parameters by rows (sum, step, snapshot). What
// travels between workers is gradients, not activations.

import CNeuralKernels
import Foundation
public import Statistics

/// What a training leaves behind.
public struct TrainingOutcome: Sendable {
  /// The fitted parameters.
  public var parameters: Parameters
  /// The optimizer's state, for a training that goes on.
  public var state: Optimizer.State
  /// Mean loss over all samples before.
  public var initialLoss: Double
  /// Mean loss over all samples afterwards.
  public var finalLoss: Double
  /// Steps taken.
  public var steps: Int
  /// How many steps were taken by a gradient that was so many steps old; of an asynchronous training alone.
  public var staleness: [Int] = []
  /// What was out of the ordinary, one sentence each.
  public var notes: [String]
}

/// Minimises the mean loss of a network over a batch by minibatches.
///
/// If a minibatch's loss is not finite or a million times what it should be, the last good parameters are
/// restored and the learning rate is halved, which a note says. The result depends on the arguments
/// alone, `workers` aside: for any number of workers it is the same bit for bit, unless several train asynchronously.
///
/// - Parameters:
///   - network: the architecture.
///   - parameters: where training starts.
///   - inputs: one row per sample.
///   - objective: what the outputs are judged by. Losses should be of the order of 1 where nothing is
///     learned, for the test above.
///   - batch: what they are compared with.
///   - options: how.
///   - state: what an earlier training left, or nil.
///   - stream: the source of the minibatches' order.
///   - workers: threads to use at most; small minibatches are trained on one.
/// - Returns: the fitted parameters, the optimizer's state and the losses.
/// - Throws: `NetworkError.diverged`, or `CancellationError`.
public func train<O: Objective>(
  _ network: Network, from parameters: Parameters, inputs: Rows, objective: O, batch: O.Batch,
  options: TrainingOptions, state: Optimizer.State? = nil, stream: RandomStream, workers: Int
) async throws -> TrainingOutcome {
  let trainer = Trainer(
    network, from: parameters, inputs: inputs, objective: objective, batch: batch, options: options,
    state: state, stream: stream,
    workers: min(workers, ProcessInfo.processInfo.activeProcessorCount), variant: .best)
  return try await trainer.train(evaluationWorkers: workers)
}

/// The buffers and the fixed facts of one training.
///
/// Safe to share although the compiler cannot see it: every property but two is constant, and those are
/// written between the phases, or by who holds the server's lock (AsynchronousTraining); the memory behind the pointers is owned by `arena` and by the parts, which
/// live as long; a phase writes only what its worker has claimed, and reads what others wrote only in a
/// later one.
package final class Trainer: @unchecked Sendable {
  let options: TrainingOptions
  let optimizer: Optimizer
  let work: ParallelGradient
  let order: MinibatchOrder
  private let samples: Int
  let batch: Int
  let priorSteps: Int
  private let start: Parameters
  let first: Buffer
  let second: Buffer
  let average: Buffer?
  let snapshot: Snapshot
  /// Of an asynchronous training: makes what one worker computes gradients with; nil otherwise.
  let makeGradient: (@Sendable () -> ParallelGradient)?
  private let requested: Int
  private let arena: Arena
  /// Where a training by several workers stands: written between phases by who opens the next, read in
  /// phases.
  private var progress = Progress()
  private var isCancelled = false

  /// Rows of parameters whose gradient is computed and applied at once.
  private static let fusedRows = 64
  static let snapshotInterval = 100
  /// Retreats from a loss that exploded before the training is given up.
  package static let attempts = 8

  /// Where a training stands.
  package struct Progress: Sendable {
    var step = 0
    var cursor = 0
    var rateFactor = 1.0
    var failures = 0
    var snapshotStep = 0
    var lastFailure = 0
  }

  package init<O: Objective>(
    _ network: Network, from parameters: Parameters, inputs: Rows, objective: O,
    batch data: O.Batch, options: TrainingOptions, state: Optimizer.State?, stream: RandomStream,
    workers requested: Int, variant: KernelVariant
  ) {
    precondition(inputs.count > 0, "no sample to train on")
    self.options = options
    optimizer = options.stepRule
    samples = inputs.count
    batch = min(options.batchSize, samples)
    priorSteps = state?.steps ?? 0
    start = parameters
    let bound = objective.bound(to: data, width: network.outputs)
    let size = batch
    let isAsynchronous = options.parallel == .asynchronous
    self.requested = max(1, requested)
    work = ParallelGradient(
      network: network, parameters: parameters, inputs: inputs, objective: bound, batch: batch,
      workers: isAsynchronous ? 1 : requested, variant: variant)
    let make: @Sendable () -> ParallelGradient = {
      ParallelGradient(
        network: network, parameters: parameters, inputs: inputs, objective: bound, batch: size,
        workers: 1, variant: variant)
    }
    makeGradient = isAsynchronous ? make : nil
    order = MinibatchOrder(samples: samples, stream: stream)
    let count = network.plan.parameterCount
    arena = Arena(floats: 3 * count, parts: 3)
    first = arena.take(count)
    second = arena.take(count)
    average = options.averaging == .none ? nil : arena.take(count)
    if let state {
      for i in 0..<count {
        first[i] = state.first[i]
        second[i] = state.second[i]
      }
    }
    if let average { average.update(from: work.parameters, count: count) }
    snapshot = Snapshot(
      of: [work.parameters, first, second] + (average.map { [$0] } ?? []), count: count)
  }

  /// Workers that take part.
  package var workers: Int { makeGradient == nil ? work.workers : requested }

  /// The mean loss over all samples with given parameters.
  package func meanLoss(at parameters: Parameters, workers: Int) async throws -> Double {
    try await work.meanLoss(at: parameters, workers: workers)
  }

  // MARK: A whole training

  package func train(evaluationWorkers: Int) async throws -> TrainingOutcome {
    var notes: [String] = []
    let initialLoss = try await work.meanLoss(at: start, workers: evaluationWorkers)
    // A loss of 1 is what ignorance costs.
    let limit = 1e6 * max(1, initialLoss.isFinite ? initialLoss : 1)
    let progress: Progress
    var staleness: [Int] = []
    if let makeGradient {
      (progress, staleness) = try await runAsynchronously(
        limit: Float(min(limit, 1e30)), making: makeGradient)
    } else {
      progress = try await run(limit: Float(min(limit, 1e30)))
    }
    if progress.failures > 0 {
      notes.append(
        "the loss exploded \(progress.failures) times, the last time at training step "
          + "\(progress.lastFailure); the learning rate was halved each time")
    }
    var parameters = copy(of: average ?? work.parameters)
    var finalLoss = try await work.meanLoss(at: parameters, workers: evaluationWorkers)
    if !finalLoss.isFinite {
      notes.append("the last training steps were not finite and were undone")
      parameters = copy(of: snapshot.copies[0])
      finalLoss = try await work.meanLoss(at: parameters, workers: evaluationWorkers)
      guard finalLoss.isFinite else {
        throw NetworkError.diverged(
          step: progress.step, learningRate: options.learningRate * progress.rateFactor,
          attempts: progress.failures + 1)
      }
    }
    return TrainingOutcome(
      parameters: parameters,
      state: Optimizer.State(
        steps: priorSteps + progress.step, first: copy(of: first), second: copy(of: second)),
      initialLoss: initialLoss, finalLoss: finalLoss, steps: progress.step, staleness: staleness,
      notes: notes)
  }

  private func copy(of buffer: Buffer) -> Parameters {
    Parameters(copying: buffer, count: work.plan.parameterCount)
  }

  private func run(limit: Float) async throws -> Progress {
    if workers == 1 { return try run(lossLimit: limit) }
    order.shuffle()
    let phases = WorkPhases(tasks: max(work.parts, workers))
    phases.open(Stage.propagate.rawValue, tasks: work.parts)
    await withTaskGroup(of: Void.self) { group in
      for worker in 0..<workers {
        group.addTask { [self] in await run(worker: worker, phases, lossLimit: limit) }
      }
    }
    if progress.failures > Self.attempts { throw divergence(progress) }
    if isCancelled { throw CancellationError() }
    return progress
  }

  // MARK: The loop

  /// Trains on the calling thread.
  ///
  /// - Parameter lossLimit: a sample's loss beyond this, or a NaN, makes the training retreat.
  /// - Returns: how far the training came.
  /// - Throws: `NetworkError.diverged`, `CancellationError`.
  package func run(lossLimit: Float) throws -> Progress {
    var progress = Progress()
    order.shuffle()
    while progress.step < options.steps {
      flushingSubnormals {
        for part in 0..<work.parts { propagate(progress, part: part, worker: 0, lossLimit) }
        if work.isSound {
          if options.gradientClipping != nil { work.sumParts(share: 0) }
          update(progress, share: 0)
          advance(&progress)
        } else {
          restore(share: 0)
          retreat(&progress)
        }
      }
      if progress.failures > Self.attempts { throw divergence(progress) }
      if progress.step & 63 == 0 { try Task.checkCancellation() }
    }
    return progress
  }

  /// What is done in a phase, by part of the minibatch or by share of the parameters.
  private enum Stage: Int { case propagate, sum, update, restore }

  /// Trains as one of several workers.
  private func run(worker: Int, _ phases: WorkPhases, lossLimit: Float) async {
    var phase = WorkPhases.Phase.none
    while let next = await phases.phase(after: phase), let stage = Stage(rawValue: next.stage) {
      phase = next
      flushingSubnormals {
        let isByPart = stage == .propagate
        let tasks = isByPart ? work.parts : workers
        let first = isByPart ? work.parts * worker / workers : worker
        var isPrepared = false
        while let task = phases.claim(phase, from: first, of: tasks) {
          switch stage {
          case .propagate:
            if !isPrepared { work.prepare(worker: worker) }
            isPrepared = true
            propagate(progress, part: task, worker: worker, lossLimit)
          case .sum: work.sumParts(share: task)
          case .update: update(progress, share: task)
          case .restore: restore(share: task)
          }
          if !phases.finishedLast() { continue }
          if let next = stageAfter(stage) {
            phases.open(next.rawValue, tasks: next == .propagate ? work.parts : workers)
          } else {
            phases.close()
          }
        }
      }
    }
  }

  /// Moves the training on when all tasks of a stage are done: nobody else reads or writes `progress`.
  private func stageAfter(_ stage: Stage) -> Stage? {
    switch stage {
    case .propagate:
      return !work.isSound ? .restore : options.gradientClipping != nil ? .sum : .update
    case .sum: return .update
    case .update: advance(&progress)
    case .restore: retreat(&progress)
    }
    isCancelled = progress.step & 63 == 0 && Task.isCancelled
    let isOver =
      progress.step >= options.steps || progress.failures > Self.attempts || isCancelled
    return isOver ? nil : .propagate
  }

  private func advance(_ progress: inout Progress) {
    if progress.step % Self.snapshotInterval == 0 { progress.snapshotStep = progress.step }
    progress.step += 1
    moveCursor(&progress)
  }

  func moveCursor(_ progress: inout Progress) {
    progress.cursor += batch
    if progress.cursor + batch > samples {
      progress.cursor = 0
      order.shuffle()
    }
  }

  func divergence(_ progress: Progress) -> NetworkError {
    .diverged(
      step: progress.lastFailure, learningRate: options.learningRate * progress.rateFactor * 2,
      attempts: progress.failures)
  }

  // MARK: Phases

  /// Whether a part's gradient is not needed as a whole, so that each block of parameters is updated as
  /// soon as its gradient is known.
  private var isFused: Bool {
    work.parts == 1 && batch <= ParallelGradient.partSize && options.gradientClipping == nil
  }

  private func propagate(_ progress: Progress, part: Int, worker: Int, _ lossLimit: Float) {
    work.propagate(
      part: part, worker: worker, order.indices + progress.cursor, isFused: isFused,
      limit: lossLimit)
  }

  private var clippingFactor: Double {
    guard let limit = options.gradientClipping else { return 1 }
    let norm = work.norm
    return norm > limit ? limit / norm : 1
  }

  /// Snapshot, if one is due, and update of a share of every op's rows.
  private func update(_ progress: Progress, share: Int) {
    let kernel = StepKernel(
      optimizer, rate: options.learningRate(at: progress.step) * progress.rateFactor,
      steps: priorSteps + progress.step, gradientScale: clippingFactor,
      averageStep: options.averagingWeight(at: progress.step) ?? 0)
    let snapshotIsDue = progress.step % Self.snapshotInterval == 0
    let isFused = isFused
    for (s, step) in work.plan.steps.enumerated() {
      let rows = work.shares.rows[share][s]
      if rows.isEmpty { continue }
      if snapshotIsDue { snapshot.take(step.span(rows)) }
      if options.gradientClipping == nil { work.sumParts(step, rows) }
      let block = isFused ? Self.fusedRows : rows.count
      for start in stride(from: rows.lowerBound, to: rows.upperBound, by: block) {
        let these = start..<min(start + block, rows.upperBound)
        if isFused { work.differentiate(s, these, worker: 0) }
        kernel.apply(
          to: step, these, gradient: work.gradient, parameters: work.parameters, first: first,
          second: second, average: average, variant: work.variant)
        if workers == 1 { work.transpose(s, these, worker: 0) }
      }
    }
  }

  /// A share of every op's rows as they were at the last snapshot.
  func restore(share: Int) {
    for (s, step) in work.plan.steps.enumerated() {
      let rows = work.shares.rows[share][s]
      if rows.isEmpty { continue }
      snapshot.restore(step.span(rows))
      if workers == 1 { work.transpose(s, rows, worker: 0) }
    }
  }

  /// On from the last snapshot with half the learning rate.
  private func retreat(_ progress: inout Progress) {
    fallBack(&progress)
    moveCursor(&progress)
  }

  func fallBack(_ progress: inout Progress) {
    progress.lastFailure = progress.step
    progress.step = progress.snapshotStep
    progress.rateFactor /= 2
    progress.failures += 1
  }
}

extension Plan.Step {
  /// Where some of its rows are among the parameters.
  func span(_ rows: Range<Int>) -> Range<Int> {
    offset + rows.lowerBound * outputsPadded..<offset + rows.upperBound * outputsPadded
  }
}
