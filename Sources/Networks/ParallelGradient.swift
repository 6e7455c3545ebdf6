// The gradient of a minibatch's mean loss by several workers.
//
// The minibatch is cut into parts. In a first phase the workers share the parts (forward, loss, back, and
// the part's own gradient); in a second one they share the parameters by rows, and sum the parts'
// gradients in the order of the parts. Parts and order are fixed by the minibatch alone, so the result is
// the same bit for bit for any number of workers.

import CNeuralKernels
import Statistics

/// The buffers and the fixed facts of it.
///
/// Safe to share although the compiler cannot see it: every property is constant; the memory behind the
/// pointers is owned by `arena` and the passes, which live as long; a phase writes only what its worker
/// has claimed (parts of the minibatch, their gradients and flags, rows of the sum) or owns (its pass),
/// and reads what others wrote only in a later phase.
final class ParallelGradient: @unchecked Sendable {
  let plan: Plan
  let variant: Int32
  let batch: Int
  /// How many parts the minibatch has; no more workers are used.
  let parts: Int
  let workers: Int
  let shares: RowShares
  let parameters: Buffer
  /// The minibatch's, after the second phase: written by who reads it, and by nobody else.
  let gradient: Buffer
  /// One per part; of a single part it is the minibatch's.
  private let partial: Buffer
  private let inputs: Rows
  private let objective: BoundObjective
  private let losses: Buffer
  private let partialSquares: Buffer
  private let flags: Buffer
  /// Floats of a cache line: two parts' flags do not share one.
  private static let line = 16
  private let passes: [Pass]
  private let arena: Arena

  /// Samples of a part where there are more than two, and the most that pass through all layers
  /// together: a part's gradient is worth its way through memory, and activations stay in the cache.
  static let partSize = 128
  static let maxParts = 16
  /// The fewest samples that are two parts: with fewer a step takes about as long as the way of
  /// gradients and parameters from core to core.
  static let smallestPair = 64
  /// Below so many multiplications by parameters the same is true of any minibatch.
  private static let smallestWork = 1 << 18

  /// How many parts a minibatch has.
  static func parts(of batch: Int) -> Int {
    if batch < smallestPair { return 1 }
    // A power of two, so that two or four workers have the same number of them.
    var parts = 2
    while parts < maxParts && batch >= 2 * parts * partSize { parts *= 2 }
    return parts
  }

  // `inputs` are those of all samples, of which `batch` make a minibatch.
  init(
    network: Network, parameters start: Parameters, inputs: Rows,
    objective: @escaping BoundObjective,
    batch: Int, workers requested: Int, variant: KernelVariant
  ) {
    let plan = network.plan
    precondition(
      inputs.width == network.inputs && start.count == plan.parameterCount,
      "inputs of \(inputs.width) numbers and \(start.count) floats of parameters for a network of "
        + "\(network.inputs) and \(plan.parameterCount)")
    (self.plan, self.inputs, self.objective, self.batch) = (plan, inputs, objective, batch)
    self.variant = variant.rawValue
    parts = Self.parts(of: batch)
    workers =
      batch * plan.parameterCount < Self.smallestWork ? 1 : max(1, min(requested, parts))
    shares = RowShares(plan, workers: workers)
    let count = plan.parameterCount
    arena = Arena(
      floats: (2 + parts) * count + batch + shares.blockCount + parts * Self.line, parts: 6)
    parameters = arena.take(count)
    gradient = arena.take(count)
    partial = parts == 1 ? gradient : arena.take(parts * count)
    losses = arena.take(batch)
    partialSquares = arena.take(shares.blockCount)
    flags = arena.take(parts * Self.line)
    let chunk = min(batch, Self.partSize)
    passes = (0..<workers).map { _ in Pass(plan: plan, capacity: chunk, variant: variant) }
    set(start)
  }

  /// Sets the parameters.
  func set(_ values: Parameters) {
    values.withUnsafeBufferPointer { source in
      for i in source.indices { parameters[i] = source[i] }
    }
    for pass in passes { pass.transpose(parameters) }
  }

  // MARK: First phase

  /// Brings a worker's copies of what the last step changed up to date, where others changed it too.
  ///
  /// Each worker transposes for itself: what another core wrote is dear to read, and the way forward
  /// reads the parameters anyway.
  func prepare(worker: Int) { passes[worker].transpose(parameters) }

  /// Losses and gradient of one part of the minibatch `samples`.
  ///
  /// - Parameters:
  ///   - part: which.
  ///   - worker: who does it.
  ///   - samples: the minibatch's numbers among all samples.
  ///   - isFused: whether gradients are left to the second phase, which there is but one part for.
  ///   - limit: a sample's loss beyond this, or a NaN, makes the minibatch unsound.
  func propagate(
    part: Int, worker: Int, _ samples: UnsafePointer<Int32>, isFused: Bool, limit: Float
  ) {
    var sound: Float = 1
    let pass = passes[worker]
    let first = batch * part / parts
    let size = batch * (part + 1) / parts - first
    let chunks = (size + Self.partSize - 1) / Self.partSize
    for chunk in 0..<chunks {
      let start = first + size * chunk / chunks
      let count = first + size * (chunk + 1) / chunks - start
      propagate(start, count, samples, pass: pass)
      for s in start..<start + count where !(losses[s] < limit) { sound = 0 }
      if isFused { break }
      for (s, step) in plan.steps.enumerated() where step.rows > 0 {
        pass.differentiate(
          s, 0..<step.rows, count, to: partial + part * plan.parameterCount, accumulate: chunk > 0)
      }
    }
    flags[part * Self.line] = sound
  }

  /// Losses and derivatives of samples `start` … `start + size` of the minibatch.
  private func propagate(
    _ start: Int, _ size: Int, _ samples: UnsafePointer<Int32>, pass: Pass
  ) {
    let indices = samples + start
    inputs.floats.withUnsafeBufferPointer { inputs in
      guard let inputs = inputs.baseAddress else { return }
      nk_gather(variant, Int64(size), Int64(plan.inputsPadded), indices, inputs, pass.values[0])
    }
    let outputs = pass.forward(size, parameters)
    objective(
      outputs, indices, size, 1 / Float(batch), losses + start,
      pass.derivatives[plan.outputIndex])
    pass.backward(size, parameters)
  }

  /// Whether every sample's loss was below the limit.
  var isSound: Bool {
    for part in 0..<parts where flags[part * Self.line] == 0 { return false }
    return true
  }

  /// The minibatch's mean loss.
  var loss: Double {
    var sum = 0.0
    for s in 0..<batch { sum += Double(losses[s]) }
    return sum / Double(batch)
  }

  // MARK: Second phase

  /// The gradient by some rows, of a minibatch of one part.
  func differentiate(_ step: Int, _ rows: Range<Int>, worker: Int) {
    passes[worker].differentiate(step, rows, batch, to: gradient, accumulate: false)
  }

  /// The parts' gradients by some rows of a step, summed.
  func sumParts(_ step: Plan.Step, _ rows: Range<Int>) {
    if parts == 1 { return }
    let offset = step.offset + rows.lowerBound * step.outputsPadded
    nk_sum_parts(
      variant, Int64(rows.count * step.outputsPadded), Int64(parts), Int64(plan.parameterCount),
      partial + offset, gradient + offset)
  }

  /// The minibatch's gradient by a share of the rows, and the squares of its entries.
  func sumParts(share: Int) {
    for (s, step) in plan.steps.enumerated() {
      let rows = shares.rows[share][s]
      if rows.isEmpty { continue }
      sumParts(step, rows)
      for row in stride(from: rows.lowerBound, to: rows.upperBound, by: RowShares.block) {
        let count = min(RowShares.block, rows.upperBound - row)
        partialSquares[shares.blockOffsets[s] + row / RowShares.block] = nk_sum_of_squares(
          variant, Int64(count * step.outputsPadded),
          gradient + step.offset + row * step.outputsPadded)
      }
    }
  }

  /// The gradient's length, after `sumParts(share:)` of all shares.
  var norm: Double {
    var sum = 0.0
    for i in 0..<shares.blockCount { sum += Double(partialSquares[i]) }
    return sum.squareRoot()
  }

  /// Brings a worker's transpose of a step up to date with some rows of its parameters.
  func transpose(_ step: Int, _ rows: Range<Int>, worker: Int) {
    passes[worker].transpose(step, rows, parameters)
  }

  // MARK: Around it

  /// The mean loss over all samples with other parameters.
  func meanLoss(at parameters: Parameters, workers: Int) async throws -> Double {
    let (size, samples) = (256, inputs.count)
    let chunks = (samples + size - 1) / size
    let workers = max(1, min(workers, chunks))
    let sums = try await withThrowingTaskGroup(of: (Int, [Double]).self) { group in
      for worker in 0..<workers {
        group.addTask { [self] in
          let evaluator = Evaluator(self, capacity: min(size, samples))
          var sums: [Double] = []
          for chunk in stride(from: worker, to: chunks, by: workers) {
            try Task.checkCancellation()
            let range = chunk * size..<min((chunk + 1) * size, samples)
            sums.append(evaluator.sum(range, at: parameters))
          }
          return (worker, sums)
        }
      }
      var sums = [Double](repeating: 0, count: chunks)
      for try await (worker, part) in group {
        for (i, sum) in part.enumerated() { sums[worker + i * workers] = sum }
      }
      return sums
    }
    return sums.reduce(0, +) / Double(samples)
  }

  /// One worker's sums of losses.
  private final class Evaluator {
    private let owner: ParallelGradient
    private let pass: Pass
    private let arena: Arena
    private let losses: Buffer
    private let indices: UnsafeMutablePointer<Int32>

    init(_ owner: ParallelGradient, capacity: Int) {
      self.owner = owner
      pass = Pass(
        plan: owner.plan, capacity: capacity,
        variant: KernelVariant(rawValue: owner.variant) ?? .plain)
      arena = Arena(floats: 2 * capacity, parts: 2)
      losses = arena.take(capacity)
      indices = UnsafeMutableRawPointer(arena.take(capacity)).bindMemory(
        to: Int32.self, capacity: capacity)
    }

    func sum(_ range: Range<Int>, at parameters: Parameters) -> Double {
      for (i, s) in range.enumerated() { indices[i] = Int32(s) }
      owner.inputs.floats.withUnsafeBufferPointer { inputs in
        guard let inputs = inputs.baseAddress else { return }
        let stride = owner.inputs.stride
        pass.values[0].update(
          from: inputs + range.lowerBound * stride, count: range.count * stride)
      }
      parameters.withUnsafeBufferPointer { parameters in
        guard let parameters = parameters.baseAddress else { return }
        flushingSubnormals {
          let outputs = pass.forward(range.count, parameters)
          owner.objective(
            outputs, indices, range.count, 1, losses, pass.derivatives[owner.plan.outputIndex])
        }
      }
      var sum = 0.0
      for s in 0..<range.count { sum += Double(losses[s]) }
      return sum
    }
  }
}

/// The mean loss of a network over a batch, and its gradient by the parameters.
///
/// - Parameters:
///   - network: the architecture.
///   - parameters: where.
///   - inputs: one row per sample.
///   - objective: what the outputs are judged by.
///   - batch: what they are compared with.
///   - workers: tasks at most; the result is the same bit for bit for any number.
/// - Returns: both.
/// - Throws: `CancellationError`.
public func gradient<O: Objective>(
  of network: Network, at parameters: Parameters, inputs: Rows, objective: O, batch: O.Batch,
  workers: Int = 1
) async throws -> (loss: Double, gradient: Parameters) {
  try await gradient(
    of: network, at: parameters, inputs: inputs, objective: objective, batch: batch,
    workers: workers, variant: .best)
}

package func gradient<O: Objective>(
  of network: Network, at parameters: Parameters, inputs: Rows, objective: O, batch: O.Batch,
  workers: Int, variant: KernelVariant
) async throws -> (loss: Double, gradient: Parameters) {
  precondition(inputs.count > 0, "no sample to differentiate at")
  let work = ParallelGradient(
    network: network, parameters: parameters, inputs: inputs,
    objective: objective.bound(to: batch, width: network.outputs), batch: inputs.count,
    workers: workers, variant: variant)
  let order = MinibatchOrder(samples: inputs.count, stream: RandomStream(seed: 0))
  try await withThrowingTaskGroup(of: Void.self) { group in
    for worker in 0..<work.workers {
      group.addTask {
        try Task.checkCancellation()
        flushingSubnormals {
          for part in work.parts * worker / work.workers..<work.parts * (worker + 1) / work.workers
          {
            work.propagate(
              part: part, worker: worker, order.indices, isFused: false, limit: .infinity)
          }
        }
      }
    }
    try await group.waitForAll()
  }
  for step in work.plan.steps { work.sumParts(step, 0..<step.rows) }
  return (work.loss, Parameters(copying: work.gradient, count: work.plan.parameterCount))
}
