// One S-step's training: minimise the mean over samples of
//
//   ℓ(o) = ½ eᵀ P e,   e = f_θ(x) − y,
//
// with whitened observations x, scaled targets y and normalised precisions P, by minibatches.
//
// Synchronous parallel SGD in two phases per minibatch, each ended by a barrier. In the first the
// workers share the minibatch's samples (forward, loss, backward to every layer's dZ); in the second
// they share the parameters by rows (dW = Xᵀ dZ over the whole minibatch, then the update). Every
// number is computed by one worker, in an order fixed by the minibatch alone, so the result is the
// serial one bit for bit for any number of workers, and no gradients travel between them.
//
//   symbol   meaning                                        shape
//   S, B     samples in all, in a minibatch
//   x        whitened observations                          S × o'
//   y        scaled targets                                 S × m'
//   P        normalised precisions                          G × m × m'
//   a_l      inputs of layer l, of the minibatch            B × I'_l
//   dZ_l     loss by z_l, of the minibatch                  B × O'_l
//   V_l      transpose of W_l as stored (l > 0)             O_l × I'_l
//
// (' marks padding to a multiple of 16.)

import CNeuralKernels
import Foundation
import GPSCore
import LinearAlgebra
import Statistics
import Synchronization

/// The buffers and the fixed facts of one S-step's training.
///
/// Safe to share although the compiler cannot see it: every property is constant; the memory behind
/// the pointers is owned by `arena`, which lives as long; a phase writes only what its worker owns
/// (its rows of the minibatch, its rows of the parameters, its flag; the order of samples belongs to
/// worker 0), and reads what others wrote only after the barrier between the phases.
final class Trainer: @unchecked Sendable {
  typealias Buffer = UnsafeMutablePointer<Float>

  let options: PolicyDistiller.Options
  let variant: Int32
  let layers: [NeuralNetwork.Layer]
  let workers: Int
  let samples: Int
  let batch: Int
  let outputs: Int
  /// Each worker's rows of each layer's weights: `shares[worker][layer]`.
  let shares: [[Range<Int>]]
  let priorSteps: Int

  private let arena: Arena
  private let parameterCount: Int
  let parameters: Buffer
  let gradient: Buffer
  let first: Buffer
  let second: Buffer
  let average: Buffer?
  /// parameters, first, second and average as they were at the last good snapshot.
  private let snapshot: [Buffer]
  private let live: [Buffer]
  private let inputs: Buffer
  private let targets: Buffer
  private let precisions: Buffer
  private let groups: UnsafeMutablePointer<Int32>
  private let order: UnsafeMutablePointer<Int32>
  private let activations: [Buffer]
  private let slopes: [Buffer]
  private let errors: [Buffer]
  private let transposes: [Buffer]
  private let losses: Buffer
  private let partialSquares: Buffer
  private let partialOffsets: [Int]
  private let partialCount: Int
  private let scratch: [Buffer]
  private let flags: Buffer
  /// The stream of the minibatches' order; worker 0 alone uses it.
  private let shuffler: Shuffler
  private let cancelled = Atomic(false)

  /// Rows that are updated by one worker together, and whose squares are summed together.
  private static let block = 4
  /// Samples that pass through all layers before the next ones.
  private static let chunk = 128
  private static let snapshotInterval = 100
  /// Retreats from a loss that exploded before the training is given up.
  static let attempts = 8

  private final class Shuffler {
    var stream: RandomStream
    init(_ stream: RandomStream) { self.stream = stream }
  }

  /// Where a run stands. Every worker keeps its own, equal to the others'.
  struct Progress {
    var step = 0
    var cursor = 0
    var rateFactor = 1.0
    var failures = 0
    var snapshotStep = 0
    var lastFailure = 0
  }

  init(
    policy: NeuralPolicy, set: DistillationSet, precisions normalized: MatrixSequence,
    options: PolicyDistiller.Options, state: PolicyDistiller.OptimizerState?, stream: RandomStream,
    workers requested: Int, variant: KernelVariant
  ) {
    let network = policy.network
    let layers = network.layers
    let samples = set.count
    let batch = min(options.batchSize, samples)
    self.options = options
    self.variant = variant.rawValue
    self.layers = layers
    self.samples = samples
    self.batch = batch
    outputs = network.outputs
    priorSteps = state?.steps ?? 0
    shuffler = Shuffler(stream)
    // Below about a tenth of a millisecond per minibatch the barriers cost more than they bring.
    let work = batch * network.parameters.count
    workers = work < 1 << 20 ? 1 : max(1, min(requested, batch / 16))
    shares = Self.shares(of: layers, workers: workers)

    let count = network.parameters.count
    parameterCount = count
    let (o, m) = (layers[0].inputsPadded, padded(network.outputs))
    let rows = network.rowsWidth
    var blocks = 0
    partialOffsets = layers.map { layer in
      defer { blocks += (layer.inputs + Self.block - 1) / Self.block + 1 }
      return blocks
    }
    partialCount = blocks
    let transposed = layers.reduce(0) { $0 + padded($1.outputs) * $1.inputsPadded }
    arena = Arena(
      floats: 9 * count + samples * (o + m + 2) + normalized.count * outputs * m + 3 * batch * rows
        + transposed + batch + blocks + workers * Int(NK_SCRATCH) + workers,
      parts: 32 + 4 * layers.count + workers)
    parameters = arena.take(count)
    gradient = arena.take(count)
    first = arena.take(count)
    second = arena.take(count)
    average = options.averaging == .none ? nil : arena.take(count)
    live = [parameters, first, second] + (average.map { [$0] } ?? [])
    var copies: [Buffer] = []
    for _ in live { copies.append(arena.take(count)) }
    snapshot = copies
    inputs = arena.take(samples * o)
    targets = arena.take(samples * m)
    precisions = arena.take(normalized.count * outputs * m)
    groups = UnsafeMutableRawPointer(arena.take(samples)).bindMemory(
      to: Int32.self, capacity: samples)
    order = UnsafeMutableRawPointer(arena.take(samples)).bindMemory(
      to: Int32.self, capacity: samples)
    var activations: [Buffer] = []
    var slopes: [Buffer] = []
    var errors: [Buffer] = []
    var transposes: [Buffer] = []
    activations.append(arena.take(batch * o))
    for layer in layers {
      activations.append(arena.take(batch * layer.outputsPadded))
      slopes.append(arena.take(batch * layer.outputsPadded))
      errors.append(arena.take(batch * layer.outputsPadded))
      transposes.append(arena.take(padded(layer.outputs) * layer.inputsPadded))
    }
    self.activations = activations
    self.slopes = slopes
    self.errors = errors
    self.transposes = transposes
    losses = arena.take(batch)
    partialSquares = arena.take(blocks)
    scratch = (0..<workers).map { [arena] _ in arena.take(Int(NK_SCRATCH)) }
    flags = arena.take(workers)

    network.parameters.withUnsafeBufferPointer { source in
      for i in 0..<count { parameters[i] = source[i] }
    }
    if let state {
      for i in 0..<count {
        first[i] = state.first[i]
        second[i] = state.second[i]
      }
    }
    if let average { average.update(from: parameters, count: count) }
    for (copy, buffer) in zip(copies, live) { copy.update(from: buffer, count: count) }
    for (l, layer) in layers.enumerated() where l > 0 { transpose(l, 0..<layer.inputs) }

    let whitening = policy.observationWhitening
    let scaling = policy.controlScaling
    for s in 0..<samples {
      for i in 0..<network.inputs {
        inputs[s * o + i] = Float(
          (set.observations[i, s] - whitening.mean[i]) / whitening.deviation[i])
      }
      for i in 0..<outputs {
        targets[s * m + i] = Float((set.targets[i, s] - scaling.mean[i]) / scaling.deviation[i])
      }
      groups[s] = Int32(set.precisionIndices[s])
      order[s] = Int32(s)
    }
    for g in 0..<normalized.count {
      for j in 0..<outputs {
        for i in 0..<outputs {
          precisions[(g * outputs + j) * m + i] = Float(
            normalized.storage[g * normalized.stride + i + outputs * j])
        }
      }
    }
  }

  /// Ranges of rows, in blocks, so that every worker has about the same number of weights.
  static func shares(of layers: [NeuralNetwork.Layer], workers: Int) -> [[Range<Int>]] {
    let total = layers.reduce(0) { $0 + $1.inputs * $1.outputsPadded }
    var shares = [[Range<Int>]](
      repeating: layers.map { _ in 0..<0 }, count: workers)
    var done = 0
    for (l, layer) in layers.enumerated() {
      var row = 0
      while row < layer.inputs {
        let end = min(row + block, layer.inputs)
        // The worker in whose share the block's middle lies.
        let middle = done + (end - row) * layer.outputsPadded / 2
        let worker = min(workers - 1, middle * workers / max(1, total))
        let range = shares[worker][l]
        shares[worker][l] = range.isEmpty ? row..<end : range.lowerBound..<end
        done += (end - row) * layer.outputsPadded
        row = end
      }
    }
    return shares
  }

  // MARK: The loop

  /// Trains on the calling thread.
  ///
  /// - Parameter lossLimit: a sample's loss beyond this, or a NaN, makes the training retreat.
  /// - Returns: how far the training came.
  /// - Throws: `GlobalPolicyError.diverged`, `CancellationError`.
  func run(lossLimit: Float) throws -> Progress {
    var progress = Progress()
    shuffle()
    while progress.step < options.steps {
      flushingSubnormals {
        forwardBackward(
          0..<batch, worker: 0, cursor: progress.cursor, lossLimit: lossLimit)
        if lossIsSound() {
          differentiate(worker: 0)
          update(progress, worker: 0)
          advance(&progress)
        } else {
          retreat(&progress, worker: 0)
        }
        if progress.cursor == 0 { shuffle() }
      }
      if progress.failures > Self.attempts { throw divergence(progress) }
      if progress.step & 63 == 0 { try Task.checkCancellation() }
    }
    return progress
  }

  /// Trains as one of `workers` tasks; all of them return the same.
  func run(worker: Int, barrier: SpinBarrier, lossLimit: Float) async throws -> Progress {
    var progress = Progress()
    let rows = batch * worker / workers..<batch * (worker + 1) / workers
    if worker == 0 { shuffle() }
    await barrier.wait()
    while progress.step < options.steps {
      flushingSubnormals {
        forwardBackward(rows, worker: worker, cursor: progress.cursor, lossLimit: lossLimit)
      }
      await barrier.wait()
      if lossIsSound() {
        flushingSubnormals { differentiate(worker: worker) }
        if options.gradientClipping != nil { await barrier.wait() }
        flushingSubnormals { update(progress, worker: worker) }
        advance(&progress)
      } else {
        retreat(&progress, worker: worker)
      }
      if worker == 0 {
        if progress.cursor == 0 { shuffle() }
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

  private func divergence(_ progress: Progress) -> GlobalPolicyError {
    .diverged(
      step: progress.lastFailure, learningRate: options.learningRate * progress.rateFactor * 2,
      attempts: progress.failures)
  }

  /// A new order of the samples (Fisher and Yates), at the beginning of each epoch.
  private func shuffle() {
    for last in stride(from: samples - 1, to: 0, by: -1) {
      let other = shuffler.stream.index(below: last + 1)
      let held = order[last]
      order[last] = order[other]
      order[other] = held
    }
  }

  // MARK: Phases

  /// Loss and dZ of the minibatch's `rows`.
  private func forwardBackward(
    _ rows: Range<Int>, worker: Int, cursor: Int, lossLimit: Float
  ) {
    let scratch = scratch[worker]
    let L = layers.count
    let m = padded(outputs)
    var sound: Float = 1
    for start in stride(from: rows.lowerBound, to: rows.upperBound, by: Self.chunk) {
      let count = Int64(min(Self.chunk, rows.upperBound - start))
      let o = layers[0].inputsPadded
      nk_gather(
        variant, count, Int64(o), order + cursor + start, inputs, activations[0] + start * o)
      for l in 0..<L {
        let layer = layers[l]
        nk_dense_forward(
          variant, layer.activation, count, Int64(layer.inputs), Int64(layer.outputsPadded),
          activations[l] + start * layer.inputsPadded, Int64(layer.inputsPadded),
          parameters + layer.weights, parameters + layer.biases,
          activations[l + 1] + start * layer.outputsPadded,
          slopes[l] + start * layer.outputsPadded, scratch)
      }
      nk_loss(
        variant, count, Int64(outputs), Int64(m), 1 / Float(batch), order + cursor + start, groups,
        activations[L] + start * m, targets, precisions, errors[L - 1] + start * m, losses + start)
      for l in stride(from: L - 1, to: 0, by: -1) {
        let layer = layers[l]
        let below = layers[l - 1]
        nk_dense_backward_input(
          variant, below.activation, count, Int64(layer.outputs), Int64(layer.outputsPadded),
          Int64(layer.inputsPadded), errors[l] + start * layer.outputsPadded, transposes[l],
          activations[l] + start * layer.inputsPadded, slopes[l - 1] + start * layer.inputsPadded,
          errors[l - 1] + start * layer.inputsPadded, scratch)
      }
      for s in start..<start + Int(count) where !(losses[s] < lossLimit) { sound = 0 }
    }
    flags[worker] = sound
  }

  private func lossIsSound() -> Bool {
    for worker in 0..<workers where flags[worker] == 0 { return false }
    return true
  }

  /// Gradients of this worker's rows of every layer.
  private func differentiate(worker: Int) {
    for (l, layer) in layers.enumerated() {
      let rows = shares[worker][l]
      if rows.isEmpty { continue }
      let target = gradient + layer.weights
      nk_dense_backward_weights(
        variant, Int64(batch), Int64(rows.lowerBound), Int64(rows.upperBound),
        Int64(layer.outputsPadded), activations[l], Int64(layer.inputsPadded), errors[l], target,
        scratch[worker])
      let ownsBiases = rows.upperBound == layer.inputs
      if ownsBiases {
        nk_dense_backward_bias(
          variant, Int64(batch), Int64(layer.outputsPadded), errors[l], gradient + layer.biases)
      }
      if options.gradientClipping != nil {
        for row in stride(from: rows.lowerBound, to: rows.upperBound, by: Self.block) {
          let count = min(Self.block, rows.upperBound - row) * layer.outputsPadded
          partialSquares[partialOffsets[l] + row / Self.block] = nk_sum_of_squares(
            variant, Int64(count), target + row * layer.outputsPadded)
        }
        if ownsBiases {
          partialSquares[partialOffsets[l] + (layer.inputs + Self.block - 1) / Self.block] =
            nk_sum_of_squares(variant, Int64(layer.outputsPadded), gradient + layer.biases)
        }
      }
    }
  }

  /// Snapshot, if one is due, and update of this worker's rows of every layer.
  private func update(_ progress: Progress, worker: Int) {
    let rate = options.learningRate(at: progress.step) * progress.rateFactor
    let time = Double(priorSteps + progress.step + 1)
    var step = nk_update(
      rate: Float(rate), momentum: Float(options.momentum),
      secondMomentum: Float(options.secondMomentum), secondScale: 1,
      epsilon: Float(options.epsilon), decay: 0, gradientScale: Float(clippingFactor()),
      averageStep: Float(options.averagingWeight(at: progress.step) ?? 0))
    if options.optimizer == .adam {
      step.rate = Float(rate / (1 - pow(options.momentum, time)))
      step.secondScale = Float(1 / (1 - pow(options.secondMomentum, time)).squareRoot())
    }
    let decay = Float(rate * options.weightDecay)
    let snapshotIsDue = progress.step % Self.snapshotInterval == 0
    for (l, layer) in layers.enumerated() {
      let rows = shares[worker][l]
      if rows.isEmpty { continue }
      let offset = layer.weights + rows.lowerBound * layer.outputsPadded
      let count = rows.count * layer.outputsPadded
      let ownsBiases = rows.upperBound == layer.inputs
      if snapshotIsDue {
        let all = count + (ownsBiases ? layer.outputsPadded : 0)
        for (copy, buffer) in zip(snapshot, live) {
          (copy + offset).update(from: buffer + offset, count: all)
        }
      }
      step.decay = decay
      apply(step, offset, count)
      if ownsBiases {
        step.decay = 0
        apply(step, layer.biases, layer.outputsPadded)
      }
      if l > 0 { transpose(l, rows) }
    }
  }

  private func apply(_ step: nk_update, _ offset: Int, _ count: Int) {
    let mean = average.map { $0 + offset }
    switch options.optimizer {
    case .adam:
      nk_adam(
        variant, Int64(count), step, gradient + offset, parameters + offset, first + offset,
        second + offset, mean)
    case .sgd:
      nk_sgd(
        variant, Int64(count), step, gradient + offset, parameters + offset, first + offset, mean)
    }
  }

  private func clippingFactor() -> Double {
    guard let limit = options.gradientClipping else { return 1 }
    var sum = 0.0
    for i in 0..<partialCount { sum += Double(partialSquares[i]) }
    return sum.squareRoot() > limit ? limit / sum.squareRoot() : 1
  }

  private func transpose(_ l: Int, _ rows: Range<Int>) {
    let layer = layers[l]
    nk_transpose(
      Int64(rows.lowerBound), Int64(rows.upperBound), Int64(layer.outputs),
      Int64(layer.outputsPadded), Int64(layer.inputsPadded), parameters + layer.weights,
      transposes[l])
  }

  /// Back to the last snapshot with half the learning rate.
  private func retreat(_ progress: inout Progress, worker: Int) {
    restore(worker: worker)
    progress.lastFailure = progress.step
    progress.step = progress.snapshotStep
    progress.rateFactor /= 2
    progress.failures += 1
    moveCursor(&progress)
  }

  private func restore(worker: Int) {
    for (l, layer) in layers.enumerated() {
      let rows = shares[worker][l]
      if rows.isEmpty { continue }
      let offset = layer.weights + rows.lowerBound * layer.outputsPadded
      let count =
        rows.count * layer.outputsPadded
        + (rows.upperBound == layer.inputs ? layer.outputsPadded : 0)
      for (copy, buffer) in zip(snapshot, live) {
        (buffer + offset).update(from: copy + offset, count: count)
      }
      if l > 0 { transpose(l, rows) }
    }
  }

  // MARK: Around the loop

  /// The parameters to keep: the average if there is one.
  var kept: [Float] { copy(of: average ?? parameters) }

  /// The parameters of the last snapshot.
  var lastGood: [Float] { copy(of: snapshot[0]) }

  /// A copy of one of the parameter-sized buffers.
  func copy(of buffer: Buffer) -> [Float] {
    Array(UnsafeBufferPointer(start: buffer, count: parameterCount))
  }

  /// The mean loss over all samples.
  func loss(of network: NeuralNetwork, workers: Int) async throws -> Double {
    let size = 256
    let chunks = (samples + size - 1) / size
    let sums = try await parallelMap(
      chunks, workers: workers,
      makeContext: { [variant = KernelVariant(rawValue: variant) ?? .plain] in
        Evaluator(network: network, capacity: size, variant: variant)
      },
      body: { [self] chunk, evaluator in
        let start = chunk * size
        return evaluator.loss(
          start..<min(start + size, samples), inputs: inputs, targets: targets,
          precisions: precisions, groups: groups)
      })
    return sums.reduce(0, +) / Double(samples)
  }

  /// The gradient of the mean loss over samples 0..<batch at the initial parameters.
  func gradientOfFirstBatch() -> (loss: Double, gradient: [Float]) {
    precondition(workers == 1, "the gradient alone is computed by one worker")
    forwardBackward(0..<batch, worker: 0, cursor: 0, lossLimit: .infinity)
    differentiate(worker: 0)
    var sum = 0.0
    for s in 0..<batch { sum += Double(losses[s]) }
    return (sum / Double(batch), copy(of: gradient))
  }
}

/// Scratch of one worker that sums the loss over samples.
private final class Evaluator {
  private let network: NeuralNetwork
  private let variant: KernelVariant
  private let arena: Arena
  private let rows: UnsafeMutablePointer<Float>
  private let scratch: UnsafeMutablePointer<Float>
  private let errors: UnsafeMutablePointer<Float>
  private let losses: UnsafeMutablePointer<Float>
  private let indices: UnsafeMutablePointer<Int32>

  init(network: NeuralNetwork, capacity: Int, variant: KernelVariant) {
    self.network = network
    self.variant = variant
    let m = padded(network.outputs)
    arena = Arena(
      floats: capacity * (network.rowsWidth + m + 2) + Int(NK_SCRATCH), parts: 5)
    rows = arena.take(capacity * network.rowsWidth)
    scratch = arena.take(Int(NK_SCRATCH))
    errors = arena.take(capacity * m)
    losses = arena.take(capacity)
    indices = UnsafeMutableRawPointer(arena.take(capacity)).bindMemory(
      to: Int32.self, capacity: capacity)
  }

  /// The sum of the losses of samples `range`.
  func loss(
    _ range: Range<Int>, inputs: UnsafePointer<Float>, targets: UnsafePointer<Float>,
    precisions: UnsafePointer<Float>, groups: UnsafePointer<Int32>
  ) -> Double {
    let o = padded(network.inputs)
    let count = range.count
    for s in 0..<count { indices[s] = Int32(range.lowerBound + s) }
    rows.update(from: inputs + range.lowerBound * o, count: count * o)
    flushingSubnormals {
      let output = network.forward(
        samples: count, buffer: rows, scratch: scratch, variant: variant)
      nk_loss(
        variant.rawValue, Int64(count), Int64(network.outputs), Int64(padded(network.outputs)), 1,
        indices, groups, output, targets, precisions, errors, losses)
    }
    var sum = 0.0
    for s in 0..<count { sum += Double(losses[s]) }
    return sum
  }
}
