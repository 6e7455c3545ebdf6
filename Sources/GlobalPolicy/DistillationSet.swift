public import GPSCore
public import LinearAlgebra

/// What the global policy is fitted to: observations, the actions the local controllers would take
/// there, and how much each deviation costs.
public struct DistillationSet: Sendable {
  /// Observations: o × S, one sample per column.
  public let observations: Matrix
  /// The local controllers' mean actions û at the samples: m × S.
  public let targets: Matrix
  /// Precisions of the local controllers: G matrices, m × m.
  public let precisions: MatrixSequence
  /// Which precision each of the S samples has.
  public let precisionIndices: [Int]

  /// S.
  public var count: Int { observations.columns }

  /// A set from its parts.
  ///
  /// - Throws: `GlobalPolicyError.emptySet` or `.notFinite`.
  public init(
    observations: Matrix, targets: Matrix, precisions: MatrixSequence, precisionIndices: [Int]
  ) throws(GlobalPolicyError) {
    precondition(
      observations.columns == targets.columns && precisionIndices.count == targets.columns
        && precisions.rows == targets.rows && precisions.columns == targets.rows,
      "\(observations.columns) observations, \(targets.columns) targets of \(targets.rows), "
        + "\(precisionIndices.count) precisions of \(precisions.rows) × \(precisions.columns)")
    precondition(
      precisionIndices.allSatisfy { $0 >= 0 && $0 < precisions.count },
      "a precision index is outside 0..<\(precisions.count)")
    if observations.columns == 0 { throw .emptySet }
    try Self.checkFinite(observations, "observation")
    try Self.checkFinite(targets, "target")
    if let entry = precisions.storage.firstIndex(where: { !$0.isFinite }) {
      throw .notFinite(
        field: "precision", condition: nil, sample: entry / max(1, precisions.stride), step: nil)
    }
    self.observations = observations
    self.targets = targets
    self.precisions = precisions
    self.precisionIndices = precisionIndices
  }

  private static func checkFinite(_ matrix: Matrix, _ field: String) throws(GlobalPolicyError) {
    if let entry = matrix.storage.firstIndex(where: { !$0.isFinite }) {
      throw .notFinite(
        field: field, condition: nil, sample: entry / max(1, matrix.rows), step: nil)
    }
  }

  /// The controllers' actions at every step of every rollout: û = K_t x_t + k_t with precision C_t⁻¹.
  ///
  /// - Parameters:
  ///   - batches: the rollouts of each condition.
  ///   - controllers: the controller of each batch, in the same order.
  /// - Throws: `GlobalPolicyError.emptySet`, or `.notFinite` with condition, sample and step.
  public init(
    batches: [RolloutBatch], controllers: [LinearGaussianController]
  ) throws(GlobalPolicyError) {
    precondition(
      batches.count == controllers.count,
      "\(controllers.count) controllers for the rollouts of \(batches.count) conditions")
    let samples = batches.reduce(0) { $0 + $1.trajectories.reduce(0) { $0 + $1.horizon } }
    guard samples > 0, let first = batches.lazy.compactMap({ $0.trajectories.first }).first,
      let m = controllers.first?.control
    else { throw .emptySet }
    var observations = Matrix(rows: first.observations.rows, columns: samples)
    var targets = Matrix(rows: m, columns: samples)
    var precisions = MatrixSequence(
      rows: m, columns: m, count: controllers.reduce(0) { $0 + $1.horizon })
    var indices: [Int] = []
    indices.reserveCapacity(samples)
    var column = 0
    var group = 0
    for (batch, controller) in zip(batches, controllers) {
      let (n, o) = (controller.state, observations.rows)
      precisions.storage.replaceSubrange(
        group * m * m..<(group + controller.horizon) * m * m, with: controller.precisions.storage)
      for (sample, trajectory) in batch.trajectories.enumerated() {
        precondition(
          trajectory.states.rows == n && trajectory.observations.rows == o
            && controller.control == m && trajectory.horizon <= controller.horizon,
          "a rollout of \(trajectory.states.rows) states and \(trajectory.observations.rows) "
            + "observations over \(trajectory.horizon) steps for a controller of \(n) states over "
            + "\(controller.horizon) steps and \(o) observations")
        let T = trajectory.horizon
        observations.storage.replaceSubrange(
          column * o..<(column + T) * o, with: trajectory.observations.storage[0..<o * T])
        let actions = controller.meanActions(at: trajectory.states.storage, count: T)
        targets.storage.replaceSubrange(column * m..<(column + T) * m, with: actions)
        let badObservation = trajectory.observations.storage[0..<o * T].firstIndex { !$0.isFinite }
          .map { $0 / o }
        let badTarget = actions.firstIndex { !$0.isFinite }.map { $0 / m }
        if let step = [badObservation, badTarget].compactMap({ $0 }).min() {
          throw .notFinite(
            field: step == badObservation ? "observation" : "target", condition: batch.condition,
            sample: sample, step: step)
        }
        indices += group..<group + T
        column += T
      }
      group += controller.horizon
    }
    try self.init(
      observations: observations, targets: targets, precisions: precisions,
      precisionIndices: indices)
  }

  /// Mean of the samples' precisions, as they are: m × m.
  public var meanPrecision: Matrix {
    var shares = [Double](repeating: 0, count: precisions.count)
    for index in precisionIndices { shares[index] += 1 }
    var sum = Matrix(rows: precisions.rows, columns: precisions.columns)
    for (g, share) in shares.enumerated() where share > 0 {
      for i in 0..<precisions.stride {
        sum.storage[i] += share / Double(count) * precisions.storage[g * precisions.stride + i]
      }
    }
    return sum.symmetrized
  }

  /// The precisions in units of scaled controls, S P S, normalised: divided by the samples' mean
  /// trace, then every one whose trace exceeds `clipping` times the samples' median scaled down to it,
  /// so that no time step owns the gradient.
  func normalizedPrecisions(scale: [Double], clipping: Double?) -> (MatrixSequence, clipped: Int) {
    let m = precisions.rows
    var result = precisions
    var traces = [Double](repeating: 0, count: precisions.count)
    for g in 0..<precisions.count {
      for j in 0..<m {
        for i in 0..<m { result.storage[g * m * m + i + m * j] *= scale[i] * scale[j] }
        traces[g] += result.storage[g * m * m + j + m * j]
      }
    }
    let ofSamples = precisionIndices.map { traces[$0] }
    let mean = ofSamples.reduce(0, +) / Double(count)
    let median = ofSamples.sorted()[count / 2]
    var clipped = 0
    for g in 0..<precisions.count {
      var factor = 1 / max(mean, .leastNormalMagnitude)
      if let clipping, traces[g] > clipping * median, median > 0 {
        factor *= clipping * median / traces[g]
        clipped += 1
      }
      for i in 0..<m * m { result.storage[g * m * m + i] *= factor }
    }
    return (result, clipped)
  }
}

extension LinearGaussianController {
  /// K_t x_t + k_t for the first `count` steps: m × count.
  fileprivate func meanActions(at states: [Double], count: Int) -> [Double] {
    let (m, n) = (control, state)
    precondition(
      count <= horizon && states.count >= n * count,
      "\(states.count) numbers for \(count) states of \(n) under \(horizon) controls")
    var actions = Array(offsets.storage[0..<m * count])
    actions.withUnsafeMutableBufferPointer { u in
      gains.storage.withUnsafeBufferPointer { K in
        states.withUnsafeBufferPointer { x in
          for t in 0..<count {
            for j in 0..<n {
              let (column, value) = ((t * n + j) * m, x[t * n + j])
              for i in 0..<m { u[t * m + i] += K[column + i] * value }
            }
          }
        }
      }
    }
    return actions
  }
}
