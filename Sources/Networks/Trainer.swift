// Minibatch training: shuffle, gradient, step, average, and a way back from a loss that exploded.
//
// Synchronous parallel SGD in two phases per minibatch, each ended by a barrier: the workers share the
// parts of the minibatch (ParallelGradient), then the parameters by rows (sum, step, snapshot). What
// travels between workers is gradients, not activations.

import CNeuralKernels
import Foundation
public import Statistics
import Synchronization

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
  /// What was out of the ordinary, one sentence each.
  public var notes: [String]
}

/// Minimises the mean loss of a network over a batch by minibatches.
///
/// If a minibatch's loss is not finite or a million times what it should be, the last good parameters are
/// restored and the learning rate is halved, which a note says. The result depends on the arguments
/// alone, `workers` aside: for any number of workers it is the same bit for bit.
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
/// Safe to share although the compiler cannot see it: every property is constant; the memory behind the
/// pointers is owned by `arena` and by the parts, which live as long; a phase writes only what its worker
/// owns, and reads what others wrote only after the barrier between the phases.
package final class Trainer: @unchecked Sendable {
  private let options: TrainingOptions
  private let optimizer: Optimizer
  private let work: ParallelGradient
  private let order: MinibatchOrder
  private let samples: Int
  private let batch: Int
  private let priorSteps: Int
  private let start: Parameters
  private let first: Buffer
  private let second: Buffer
  private let average: Buffer?
  private let snapshot: Snapshot
  private let arena: Arena
  private let cancelled = Atomic(false)

  /// Rows of parameters whose gradient is computed and applied at once.
  private static let fusedRows = 64
  private static let snapshotInterval = 100
  /// Retreats from a loss that exploded before the training is given up.
  package static let attempts = 8

  /// Where a run stands. Every worker keeps its own, equal to the others'.
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
    work = ParallelGradient(
      network: network, parameters: parameters, inputs: inputs,
      objective: objective.bound(to: data, width: network.outputs), batch: batch,
      workers: requested, variant: variant)
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
  package var workers: Int { work.workers }

  // MARK: A whole training

  package func train(evaluationWorkers: Int) async throws -> TrainingOutcome {
    var notes: [String] = []
    let initialLoss = try await work.meanLoss(at: start, workers: evaluationWorkers)
    // A loss of 1 is what ignorance costs.
    let limit = 1e6 * max(1, initialLoss.isFinite ? initialLoss : 1)
    let progress = try await run(limit: Float(min(limit, 1e30)))
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
      initialLoss: initialLoss, finalLoss: finalLoss, steps: progress.step, notes: notes)
  }

  private func copy(of buffer: Buffer) -> Parameters {
    Parameters(copying: buffer, count: work.plan.parameterCount)
  }

  private func run(limit: Float) async throws -> Progress {
    if workers == 1 { return try run(lossLimit: limit) }
    let barrier = SpinBarrier(parties: workers)
    return try await withThrowingTaskGroup(of: Progress.self) { group in
      for worker in 0..<workers {
        group.addTask { [self] in
          try await run(worker: worker, barrier: barrier, lossLimit: limit)
        }
      }
      // All workers leave the loop at the same step and return, or throw, the same.
      var last = Progress()
      for try await progress in group { last = progress }
      return last
    }
  }

  // MARK: The loop

  /// Trains on the calling thread.
  ///
  /// - Parameter lossLimit: a sample's loss beyond this, or a NaN, makes the training retreat.
  /// - Returns: how far the training came.
  /// - Throws: `NetworkError.diverged`, `CancellationError`.
  func run(lossLimit: Float) throws -> Progress {
    var progress = Progress()
    order.shuffle()
    while progress.step < options.steps {
      flushingSubnormals {
        propagate(progress, worker: 0, lossLimit)
        if work.isSound {
          if options.gradientClipping != nil { work.sumParts(worker: 0) }
          update(progress, worker: 0)
          advance(&progress)
        } else {
          retreat(&progress, worker: 0)
        }
        if progress.cursor == 0 { order.shuffle() }
      }
      if progress.failures > Self.attempts { throw divergence(progress) }
      if progress.step & 63 == 0 { try Task.checkCancellation() }
    }
    return progress
  }

  /// Trains as one of `workers` tasks; all of them return the same.
  func run(worker: Int, barrier: SpinBarrier, lossLimit: Float) async throws -> Progress {
    var progress = Progress()
    if worker == 0 { order.shuffle() }
    await barrier.wait()
    while progress.step < options.steps {
      flushingSubnormals {
        propagate(progress, worker: worker, lossLimit)
      }
      await barrier.wait()
      if work.isSound {
        if options.gradientClipping != nil {
          flushingSubnormals { work.sumParts(worker: worker) }
          await barrier.wait()
        }
        flushingSubnormals { update(progress, worker: worker) }
        advance(&progress)
      } else {
        retreat(&progress, worker: worker)
      }
      if worker == 0 {
        if progress.cursor == 0 { order.shuffle() }
        if progress.step & 63 == 0 && Task.isCancelled {
          cancelled.store(true, ordering: .relaxed)
        }
      }
      await barrier.wait()
      if progress.failures > Self.attempts { throw divergence(progress) }
      if cancelled.load(ordering: .relaxed) { throw CancellationError() }
    }
    return progress
  }

  private func advance(_ progress: inout Progress) {
    if progress.step % Self.snapshotInterval == 0 { progress.snapshotStep = progress.step }
    progress.step += 1
    moveCursor(&progress)
  }

  private func moveCursor(_ progress: inout Progress) {
    progress.cursor += batch
    if progress.cursor + batch > samples { progress.cursor = 0 }
  }

  private func divergence(_ progress: Progress) -> NetworkError {
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

  private func propagate(_ progress: Progress, worker: Int, _ lossLimit: Float) {
    work.propagate(
      worker: worker, order.indices + progress.cursor, isFused: isFused, limit: lossLimit)
  }

  private var clippingFactor: Double {
    guard let limit = options.gradientClipping else { return 1 }
    let norm = work.norm
    return norm > limit ? limit / norm : 1
  }

  /// Snapshot, if one is due, and update of this worker's rows of every op.
  private func update(_ progress: Progress, worker: Int) {
    let kernel = StepKernel(
      optimizer, rate: options.learningRate(at: progress.step) * progress.rateFactor,
      steps: priorSteps + progress.step, gradientScale: clippingFactor,
      averageStep: options.averagingWeight(at: progress.step) ?? 0)
    let snapshotIsDue = progress.step % Self.snapshotInterval == 0
    let isFused = isFused
    for (s, step) in work.plan.steps.enumerated() {
      let rows = work.shares.rows[worker][s]
      if rows.isEmpty { continue }
      if snapshotIsDue { snapshot.take(step.span(rows)) }
      if options.gradientClipping == nil { work.sumParts(step, rows) }
      let block = isFused ? Self.fusedRows : rows.count
      for start in stride(from: rows.lowerBound, to: rows.upperBound, by: block) {
        let these = start..<min(start + block, rows.upperBound)
        if isFused { work.differentiate(s, these, worker: worker) }
        kernel.apply(
          to: step, these, gradient: work.gradients, parameters: work.parameters, first: first,
          second: second, average: average, variant: work.variant)
        work.transpose(s, these)
      }
    }
  }

  /// Back to the last snapshot with half the learning rate.
  private func retreat(_ progress: inout Progress, worker: Int) {
    for (s, step) in work.plan.steps.enumerated() {
      let rows = work.shares.rows[worker][s]
      if rows.isEmpty { continue }
      snapshot.restore(step.span(rows))
      work.transpose(s, rows)
    }
    progress.lastFailure = progress.step
    progress.step = progress.snapshotStep
    progress.rateFactor /= 2
    progress.failures += 1
    moveCursor(&progress)
  }
}

extension Plan.Step {
  /// Where some of its rows are among the parameters.
  func span(_ rows: Range<Int>) -> Range<Int> {
    offset + rows.lowerBound * outputsPadded..<offset + rows.upperBound * outputsPadded
  }
}
