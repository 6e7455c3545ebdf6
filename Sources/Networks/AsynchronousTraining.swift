// Asynchronous SGD (Dean et al. 2012): one holds the parameters, and the workers bring it gradients of minibatches of their
// own, each when it is done. Nobody waits for anybody, but for the moment in which a gradient is taken in. A gradient may so
// be older than the parameters that it changes, by as many steps as others have taken meanwhile: its staleness.

import CNeuralKernels
import LinearAlgebra

extension Trainer {
  /// What the holder of the parameters knows beside them. Whoever has its lock may read and write them: parameters,
  /// averages, snapshot and order of the trainer.
  struct Server: Sendable {
    var progress = Progress()
    /// Retreats so far: a gradient from before one is of no use after it.
    var retreats = 0
    /// How many steps were taken by a gradient that was so many steps old.
    var staleness: [Int] = []
    var isCancelled = false
  }

  /// Trains by several workers, none of which waits for another.
  ///
  /// - Parameters:
  ///   - limit: a sample's loss beyond this, or a NaN, makes the training retreat.
  ///   - make: makes what one worker computes gradients with.
  /// - Returns: how far the training came, and how many steps were taken by a gradient of each age.
  /// - Throws: `NetworkError.diverged`, `CancellationError`.
  func runAsynchronously(
    limit: Float, making make: @escaping @Sendable () -> ParallelGradient
  ) async throws -> (Progress, staleness: [Int]) {
    let server = AsynchronousServer()
    order.shuffle()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<workers {
        group.addTask { [self] in
          AsynchronousWorker(make(), batch: batch).run(for: self, server, limit: limit)
        }
      }
    }
    return try server.state.withLock { state throws in
      if state.progress.failures > Self.attempts { throw divergence(state.progress) }
      if state.isCancelled { throw CancellationError() }
      return (state.progress, state.staleness)
    }
  }

  /// Whether there is nothing more to do.
  fileprivate func isOver(_ state: Server) -> Bool {
    state.progress.step >= options.steps || state.progress.failures > Self.attempts
      || state.isCancelled
  }

  /// The newest parameters and the next minibatch; under the server's lock.
  fileprivate func hand(to worker: AsynchronousWorker, _ state: inout Server) {
    worker.work.parameters.update(from: work.parameters, count: work.plan.parameterCount)
    worker.indices.update(from: order.indices + state.progress.cursor, count: batch)
    (worker.step, worker.retreats) = (state.progress.step, state.retreats)
    moveCursor(&state.progress)
  }

  /// Takes in a gradient; under the server's lock.
  fileprivate func take(_ worker: AsynchronousWorker, _ state: inout Server) {
    if worker.retreats != state.retreats { return }
    if !worker.work.isSound {
      restore(share: 0)
      fallBack(&state.progress)
      state.retreats += 1
      return
    }
    let age = state.progress.step - worker.step
    if age > options.gradientStalenessBound { return }
    let step = state.progress.step
    let snapshotIsDue = step % Self.snapshotInterval == 0
    let kernel = StepKernel(
      optimizer, rate: options.learningRate(at: step) * state.progress.rateFactor,
      steps: priorSteps + step, gradientScale: worker.clippingFactor(options),
      averageStep: options.averagingWeight(at: step) ?? 0)
    for step in work.plan.steps where step.rows > 0 {
      if snapshotIsDue { snapshot.take(step.span(0..<step.rows)) }
      kernel.apply(
        to: step, 0..<step.rows, gradient: worker.work.gradient, parameters: work.parameters,
        first: first, second: second, average: average, variant: work.variant)
    }
    while state.staleness.count <= age { state.staleness.append(0) }
    state.staleness[age] += 1
    if snapshotIsDue { state.progress.snapshotStep = step }
    state.progress.step += 1
    if state.progress.step & 63 == 0 && Task.isCancelled { state.isCancelled = true }
  }
}

/// The lock that the parameters are behind.
private final class AsynchronousServer: Sendable {
  let state = Locked(Trainer.Server())
}

/// One worker: its copy of the parameters, its minibatch and its gradient.
private final class AsynchronousWorker {
  let work: ParallelGradient
  let indices: UnsafeMutablePointer<Int32>
  /// Steps taken before its parameters.
  var step = 0
  var retreats = 0
  private let arena: Arena

  init(_ work: ParallelGradient, batch: Int) {
    self.work = work
    arena = Arena(floats: batch, parts: 1)
    indices = UnsafeMutableRawPointer(arena.take(batch)).bindMemory(to: Int32.self, capacity: batch)
  }

  /// Brings gradients until there are enough.
  func run(for trainer: Trainer, _ server: AsynchronousServer, limit: Float) {
    var isOver = server.state.withLock { state in
      if !trainer.isOver(state) { trainer.hand(to: self, &state) }
      return trainer.isOver(state)
    }
    while !isOver {
      flushingSubnormals {
        work.prepare(worker: 0)
        for part in 0..<work.parts {
          work.propagate(part: part, worker: 0, indices, isFused: false, limit: limit)
        }
        work.sumParts(share: 0)
        isOver = server.state.withLock { state in
          // Others may have taken the last step meanwhile.
          if trainer.isOver(state) { return true }
          trainer.take(self, &state)
          if !trainer.isOver(state) { trainer.hand(to: self, &state) }
          return trainer.isOver(state)
        }
      }
    }
  }

  func clippingFactor(_ options: TrainingOptions) -> Double {
    guard let limit = options.gradientClipping else { return 1 }
    let norm = work.norm
    return norm > limit ? limit / norm : 1
  }
}
