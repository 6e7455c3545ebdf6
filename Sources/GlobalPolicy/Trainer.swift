// One S-step's training: minimise the mean over samples of
//
//   ℓ(o) = ½ eᵀ P e,   e = f_θ(x) − y,
//
// with whitened observations x, scaled targets y and normalised precisions P, by minibatches.
//
// Synchronous parallel SGD in two phases per minibatch, each ended by a barrier. The minibatch is cut
// into parts of 128 samples or more. In the first phase the workers share the parts (forward, loss,
// backward and the part's own gradient); in the second they share the parameters by rows (sum of the
// parts' gradients, in the order of the parts, then the update). Parts and order are fixed by the
// minibatch alone, so the result is the serial one bit for bit for any number of workers. What
// travels between workers is gradients, not activations: from 128 samples on those are larger.
//
//   symbol   meaning                                        shape
//   S, B     samples in all, in a minibatch
//   b        samples of a part that pass through all layers together (at most 128)
//   x        whitened observations                          S × o'
//   y        scaled targets                                 S × m'
//   P        normalised precisions                          G × m × m'
//   a_l      inputs of layer l, of such samples             b × I'_l
//   dZ_l     loss by z_l, of such samples                   b × O'_l
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
/// (its parts of the minibatch and their gradients, its rows of the parameters, its flag; the order of
/// samples belongs to worker 0), and reads what others wrote only after the barrier between the phases.
final class Trainer: @unchecked Sendable {
  typealias Buffer = UnsafeMutablePointer<Float>

  let options: PolicyDistiller.Options
  let variant: Int32
  let layers: [NeuralNetwork.Layer]
  let workers: Int
  let samples: Int
  let batch: Int
  /// How many parts the minibatch has; no more workers are used.
  let parts: Int
  let outputs: Int
  /// Each worker's rows of each layer's weights: `shares[worker][layer]`.
  let shares: [[Range<Int>]]
  let priorSteps: Int

  private let arena: Arena
  private let parameterCount: Int
  let parameters: Buffer
  /// One gradient per part; the first becomes their sum.
  let gradients: Buffer
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
  private let transposes: [Buffer]
  private let losses: Buffer
  private let passes: [Pass]
  private let partialSquares: Buffer
  private let partialOffsets: [Int]
  private let partialCount: Int
  private let flags: Buffer
  /// The stream of the minibatches' order; worker 0 alone uses it.
  private let shuffler: Shuffler
  private let cancelled = Atomic(false)

  /// Rows that are updated by one worker together, and whose squares are summed together.
  private static let block = 4
  /// The fewest samples of a part if there are several, and the most that pass through all layers
  /// together: a part's gradient is worth its way through memory, and activations stay in the cache.
  private static let partSize = 128
  private static let maxParts = 16
  /// Rows of weights whose gradient is computed and applied at once.
  private static let fusedRows = 64
  private static let snapshotInterval = 100
  /// Retreats from a loss that exploded before the training is given up.
  static let attempts = 8

  private final class Shuffler {
    var stream: RandomStream
    init(_ stream: RandomStream) { self.stream = stream }
  }

  /// What one worker's samples leave on their way through the layers.
  private struct Pass {
    /// Inputs of each layer, and the outputs of the last.
    var activations: [Buffer] = []
    /// σ' of each layer where it cannot be had from the output.
    var slopes: [Buffer] = []
    /// dZ of each layer.
    var errors: [Buffer] = []
    let scratch: Buffer
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
    parts = max(1, min(Self.maxParts, batch / Self.partSize))
    workers = work < 1 << 20 ? 1 : max(1, min(requested, parts))
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
    let chunk = min(batch, Self.partSize)
    arena = Arena(
      floats: (8 + parts) * count + samples * (o + m + 2)
        + normalized.count * outputs * outputs + Int(NK_PADDING) + transposed + batch + blocks
        + workers * (3 * chunk * rows + Int(NK_SCRATCH) + 1),
      parts: 32 + layers.count + workers * (4 * layers.count + 2))
    parameters = arena.take(count)
    gradients = arena.take(parts * count)
    first = arena.take(count)
    second = arena.take(count)
    average = options.averaging == .none ? nil : arena.take(count)
    live = [parameters, first, second] + (average.map { [$0] } ?? [])
    var copies: [Buffer] = []
    for _ in live { copies.append(arena.take(count)) }
    snapshot = copies
    inputs = arena.take(samples * o)
    targets = arena.take(samples * m)
    precisions = arena.take(normalized.count * outputs * outputs + Int(NK_PADDING))
    groups = UnsafeMutableRawPointer(arena.take(samples)).bindMemory(
      to: Int32.self, capacity: samples)
    order = UnsafeMutableRawPointer(arena.take(samples)).bindMemory(
      to: Int32.self, capacity: samples)
    var transposes: [Buffer] = []
    for layer in layers {
      transposes.append(arena.take(padded(layer.outputs) * layer.inputsPadded))
    }
    self.transposes = transposes
    var passes: [Pass] = []
    for _ in 0..<workers {
      var pass = Pass(scratch: arena.take(Int(NK_SCRATCH)))
      pass.activations.append(arena.take(chunk * o))
      for layer in layers {
        pass.activations.append(arena.take(chunk * layer.outputsPadded))
        pass.slopes.append(arena.take(chunk * layer.outputsPadded))
        pass.errors.append(arena.take(chunk * layer.outputsPadded))
      }
      passes.append(pass)
    }
    self.passes = passes
    losses = arena.take(batch)
    partialSquares = arena.take(blocks)
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
    var s = 0
    for part in set.parts {
      for column in 0..<part.count {
        for i in 0..<network.inputs {
          inputs[s * o + i] = Float(
            (part.observations[i, column] - whitening.mean[i]) / whitening.deviation[i])
        }
        for i in 0..<outputs {
          targets[s * m + i] = Float(
            (part.targets[i, column] - scaling.mean[i]) / scaling.deviation[i])
        }
        groups[s] = Int32(set.precisionIndices[s])
        order[s] = Int32(s)
        s += 1
      }
    }
    for i in normalized.storage.indices { precisions[i] = Float(normalized.storage[i]) }
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
        propagate(worker: 0, cursor: progress.cursor, lossLimit: lossLimit)
        if lossIsSound() {
          if options.gradientClipping != nil { sumGradients(worker: 0) }
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
    if worker == 0 { shuffle() }
    await barrier.wait()
    while progress.step < options.steps {
      flushingSubnormals {
        propagate(worker: worker, cursor: progress.cursor, lossLimit: lossLimit)
      }
      await barrier.wait()
      if lossIsSound() {
        if options.gradientClipping != nil {
          flushingSubnormals { sumGradients(worker: worker) }
          await barrier.wait()
        }
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

  /// Whether a part's gradient is not needed as a whole, so that each block of weights is updated as
  /// soon as its gradient is known.
  private var fusesUpdate: Bool {
    parts == 1 && batch <= Self.partSize && options.gradientClipping == nil
  }

  /// Losses and gradients of this worker's parts of the minibatch.
  private func propagate(worker: Int, cursor: Int, lossLimit: Float) {
    var sound: Float = 1
    for part in parts * worker / workers..<parts * (worker + 1) / workers {
      let first = batch * part / parts
      let size = batch * (part + 1) / parts - first
      let chunks = (size + Self.partSize - 1) / Self.partSize
      for chunk in 0..<chunks {
        let start = first + size * chunk / chunks
        let count = first + size * (chunk + 1) / chunks - start
        propagate(start, count, cursor: cursor, pass: passes[worker])
        for s in start..<start + count where !(losses[s] < lossLimit) { sound = 0 }
        if fusesUpdate { break }
        for (l, layer) in layers.enumerated() {
          differentiate(
            l, 0..<layer.inputs, count, pass: passes[worker], part: part, accumulate: chunk > 0)
        }
      }
    }
    flags[worker] = sound
  }

  /// Losses and every layer's dZ of samples `start` … `start + size` of the minibatch.
  private func propagate(_ start: Int, _ size: Int, cursor: Int, pass: Pass) {
    let (count, L, m) = (Int64(size), layers.count, padded(outputs))
    nk_gather(
      variant, count, Int64(layers[0].inputsPadded), order + cursor + start, inputs,
      pass.activations[0])
    for l in 0..<L {
      let layer = layers[l]
      nk_dense_forward(
        variant, layer.activation, count, Int64(layer.inputs), Int64(layer.outputsPadded),
        pass.activations[l], Int64(layer.inputsPadded), parameters + layer.weights,
        parameters + layer.biases, pass.activations[l + 1], pass.slopes[l], pass.scratch)
    }
    nk_loss(
      variant, count, Int64(outputs), Int64(m), 1 / Float(batch), order + cursor + start, groups,
      pass.activations[L], targets, precisions, pass.errors[L - 1], losses + start)
    for l in stride(from: L - 1, to: 0, by: -1) {
      let layer = layers[l]
      nk_dense_backward_input(
        variant, layers[l - 1].activation, count, Int64(layer.outputs),
        Int64(layer.outputsPadded), Int64(layer.inputsPadded), pass.errors[l], transposes[l],
        pass.activations[l], pass.slopes[l - 1], pass.errors[l - 1], pass.scratch)
    }
  }

  /// The gradient of one part by `rows` of a layer's weights, and by its biases with the last row.
  private func differentiate(
    _ l: Int, _ rows: Range<Int>, _ count: Int, pass: Pass, part: Int, accumulate: Bool
  ) {
    let layer = layers[l]
    let target = gradients + part * parameterCount
    nk_dense_backward_weights(
      variant, Int64(count), Int64(rows.lowerBound), Int64(rows.upperBound),
      Int64(layer.outputsPadded), accumulate ? 1 : 0, pass.activations[l],
      Int64(layer.inputsPadded), pass.errors[l], target + layer.weights, pass.scratch)
    if rows.upperBound == layer.inputs {
      nk_dense_backward_bias(
        variant, Int64(count), Int64(layer.outputsPadded), accumulate ? 1 : 0, pass.errors[l],
        target + layer.biases)
    }
  }

  private func lossIsSound() -> Bool {
    for worker in 0..<workers where flags[worker] == 0 { return false }
    return true
  }

  /// Where this worker's rows of a layer are among the parameters: the biases follow the last row.
  private func span(_ l: Int, worker: Int) -> Range<Int> {
    let (layer, rows) = (layers[l], shares[worker][l])
    let offset = layer.weights + rows.lowerBound * layer.outputsPadded
    let ownsBiases = !rows.isEmpty && rows.upperBound == layer.inputs
    return offset..<offset + (rows.count + (ownsBiases ? 1 : 0)) * layer.outputsPadded
  }

  /// The minibatch's gradient by this worker's rows of every layer, and the squares of its entries.
  private func sumGradients(worker: Int) {
    for (l, layer) in layers.enumerated() {
      let span = span(l, worker: worker)
      if span.isEmpty { continue }
      sumParts(span)
      // Blocks end where a share may end, so that they are the same for any number of workers.
      let size = Self.block * layer.outputsPadded
      let firstBlock = partialOffsets[l] + shares[worker][l].lowerBound / Self.block
      for (block, start) in stride(from: span.lowerBound, to: span.upperBound, by: size)
        .enumerated()
      {
        partialSquares[firstBlock + block] = nk_sum_of_squares(
          variant, Int64(min(size, span.upperBound - start)), gradients + start)
      }
    }
  }

  private func sumParts(_ span: Range<Int>) {
    if parts == 1 { return }
    nk_sum_parts(
      variant, Int64(span.count), Int64(parts), Int64(parameterCount), gradients + span.lowerBound)
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
      let span = span(l, worker: worker)
      if snapshotIsDue { copySnapshot(span, restoring: false) }
      if options.gradientClipping == nil { sumParts(span) }
      step.decay = decay
      let block = fusesUpdate ? Self.fusedRows : rows.count
      for start in stride(from: rows.lowerBound, to: rows.upperBound, by: block) {
        let these = start..<min(start + block, rows.upperBound)
        if fusesUpdate {
          differentiate(l, these, batch, pass: passes[worker], part: 0, accumulate: false)
        }
        apply(
          step, layer.weights + start * layer.outputsPadded, these.count * layer.outputsPadded)
        if l > 0 { transpose(l, these) }
      }
      if rows.upperBound == layer.inputs {
        step.decay = 0
        apply(step, layer.biases, layer.outputsPadded)
      }
    }
  }

  private func copySnapshot(_ span: Range<Int>, restoring: Bool) {
    for (copy, buffer) in zip(snapshot, live) {
      let (from, to) = restoring ? (copy, buffer) : (buffer, copy)
      (to + span.lowerBound).update(from: from + span.lowerBound, count: span.count)
    }
  }

  private func apply(_ step: nk_update, _ offset: Int, _ count: Int) {
    let mean = average.map { $0 + offset }
    switch options.optimizer {
    case .adam:
      nk_adam(
        variant, Int64(count), step, gradients + offset, parameters + offset, first + offset,
        second + offset, mean)
    case .sgd:
      nk_sgd(
        variant, Int64(count), step, gradients + offset, parameters + offset, first + offset, mean)
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
    for l in layers.indices {
      let rows = shares[worker][l]
      if rows.isEmpty { continue }
      copySnapshot(span(l, worker: worker), restoring: true)
      if l > 0 { transpose(l, rows) }
    }
  }

  // MARK: Around the loop

  /// The parameters to keep: the average if there is one.
  var kept: AlignedFloats {
    AlignedFloats(copying: average ?? parameters, count: parameterCount)
  }

  /// The parameters of the last snapshot.
  var lastGood: AlignedFloats { AlignedFloats(copying: snapshot[0], count: parameterCount) }

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
    propagate(worker: 0, cursor: 0, lossLimit: .infinity)
    if fusesUpdate {
      for (l, layer) in layers.enumerated() {
        differentiate(
          l, 0..<layer.inputs, batch, pass: passes[0], part: 0, accumulate: false)
      }
    }
    sumGradients(worker: 0)
    var sum = 0.0
    for s in 0..<batch { sum += Double(losses[s]) }
    return (sum / Double(batch), copy(of: gradients))
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
