public import GPSCore
public import LinearAlgebra

/// What the global policy is fitted to: observations, the actions the local controllers would take
/// there, and how much each deviation costs.
///
/// Its parts share the rollouts' storage: the observations of hundreds of conditions are not copied.
public struct DistillationSet: Sendable {
  /// Some samples: what a local controller would do along one rollout, as a rule.
  public struct Part: Sendable {
    /// Observations: o × S_p or more, one sample per column; columns beyond S_p are not used.
    public let observations: Matrix
    /// The local controller's mean actions û at the samples: m × S_p.
    public let targets: Matrix

    /// S_p.
    public var count: Int { targets.columns }

    /// Samples from their parts.
    public init(observations: Matrix, targets: Matrix) {
      precondition(
        observations.columns >= targets.columns,
        "\(observations.columns) observations for \(targets.columns) targets")
      self.observations = observations
      self.targets = targets
    }

    /// û_t = K_t x_t + k_t at every step of a rollout.
    public init(along trajectory: Trajectory, under controller: LinearGaussianController) {
      precondition(
        trajectory.states.rows == controller.state && trajectory.horizon <= controller.horizon,
        "a rollout of \(trajectory.states.rows) states over \(trajectory.horizon) steps for a "
          + "controller of \(controller.state) states over \(controller.horizon) steps")
      self.init(
        observations: trajectory.observations,
        targets: Matrix(
          rows: controller.control, columns: trajectory.horizon,
          columnMajor: controller.meanActions(
            at: trajectory.states.storage, count: trajectory.horizon)))
    }

    /// The first number that is not finite, by sample.
    fileprivate var notFinite: (field: String, sample: Int)? {
      let o = observations.rows
      let badObservation = observations.storage[..<(o * count)].firstIndex { !$0.isFinite }
        .map { $0 / o }
      let badTarget = targets.storage.firstIndex { !$0.isFinite }.map { $0 / targets.rows }
      guard let sample = [badObservation, badTarget].compactMap({ $0 }).min() else { return nil }
      return (sample == badObservation ? "observation" : "target", sample)
    }
  }

  /// The samples, S in all.
  public let parts: [Part]
  /// Precisions of the local controllers: G matrices, m × m.
  public let precisions: MatrixSequence
  /// Which precision each of the S samples has.
  public let precisionIndices: [Int]

  /// S.
  public var count: Int { precisionIndices.count }
  /// o.
  public var observation: Int { parts[0].observations.rows }
  /// m.
  public var control: Int { precisions.rows }

  /// A set from its parts.
  ///
  /// - Parameters:
  ///   - parts: the samples.
  ///   - precisions: G matrices, m × m.
  ///   - precisionIndices: which of them each sample has, in the order of the parts.
  /// - Throws: `GlobalPolicyError.emptySet` or `.notFinite`, whose sample counts from the first of the
  ///   set.
  public init(
    parts: [Part], precisions: MatrixSequence, precisionIndices: [Int]
  ) throws(GlobalPolicyError) {
    let samples = parts.reduce(0) { $0 + $1.count }
    precondition(
      precisionIndices.count == samples && precisions.columns == precisions.rows
        && Set(parts.map(\.observations.rows)).count <= 1
        && parts.allSatisfy { $0.targets.rows == precisions.rows },
      "\(samples) samples with \(precisionIndices.count) precisions of "
        + "\(precisions.rows) × \(precisions.columns), targets of "
        + "\(Set(parts.map(\.targets.rows)).sorted()) and observations of "
        + "\(Set(parts.map(\.observations.rows)).sorted()) numbers")
    precondition(
      precisionIndices.allSatisfy { $0 >= 0 && $0 < precisions.count },
      "a precision index is outside 0..<\(precisions.count)")
    if samples == 0 { throw .emptySet }
    var first = 0
    for part in parts {
      if let bad = part.notFinite {
        throw .notFinite(field: bad.field, condition: nil, sample: first + bad.sample, step: nil)
      }
      first += part.count
    }
    try self.init(checked: parts, precisions, precisionIndices)
  }

  /// A set of one part.
  ///
  /// - Throws: as the initialiser from several parts.
  public init(
    observations: Matrix, targets: Matrix, precisions: MatrixSequence, precisionIndices: [Int]
  ) throws(GlobalPolicyError) {
    try self.init(
      parts: [Part(observations: observations, targets: targets)], precisions: precisions,
      precisionIndices: precisionIndices)
  }

  private init(
    checked parts: [Part], _ precisions: MatrixSequence, _ precisionIndices: [Int]
  ) throws(GlobalPolicyError) {
    if let entry = precisions.storage.firstIndex(where: { !$0.isFinite }) {
      throw .notFinite(
        field: "precision", condition: nil, sample: entry / max(1, precisions.stride), step: nil)
    }
    self.parts = parts
    self.precisions = precisions
    self.precisionIndices = precisionIndices
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
    try self.init(batches: batches, imagined: batches.map { _ in [] }, controllers: controllers)
  }

  /// The controllers' actions at every step of every rollout, and of others that were never taken.
  ///
  /// - Parameters:
  ///   - batches: the rollouts of each condition.
  ///   - imagined: samples of each batch's condition that follow its rollouts, made with the same
  ///     controller, each from step 0.
  ///   - controllers: the controller of each batch, in the same order.
  /// - Throws: `GlobalPolicyError.emptySet`, or `.notFinite` with condition, sample and step.
  public init(
    batches: [RolloutBatch], imagined: [[Part]], controllers: [LinearGaussianController]
  ) throws(GlobalPolicyError) {
    precondition(
      batches.count == controllers.count && batches.count == imagined.count,
      "\(controllers.count) controllers and \(imagined.count) lists of imagined rollouts for the "
        + "rollouts of \(batches.count) conditions")
    var parts: [Part] = []
    var indices: [Int] = []
    let m = controllers.first?.control ?? 0
    var precisions = MatrixSequence(
      rows: m, columns: m, count: controllers.reduce(0) { $0 + $1.horizon })
    var group = 0
    for ((batch, others), controller) in zip(zip(batches, imagined), controllers) {
      precondition(controller.control == m, "\(controller.control) controls beside \(m)")
      precisions.storage.replaceSubrange(
        group * m * m..<(group + controller.horizon) * m * m, with: controller.precisions.storage)
      let own = batch.trajectories.map { Part(along: $0, under: controller) }
      for (sample, part) in (own + others).enumerated() {
        if let bad = part.notFinite {
          throw .notFinite(
            field: bad.field, condition: batch.condition, sample: sample, step: bad.sample)
        }
        parts.append(part)
        indices += group..<group + part.count
      }
      group += controller.horizon
    }
    if indices.isEmpty { throw .emptySet }
    try self.init(checked: parts, precisions, indices)
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
