public import GPSCore
public import LinearAlgebra

/// What the global policy is fitted to: observations, the actions the local controllers would take
/// there, and how much each deviation costs.
///
/// Its parts share the rollouts' storage: the observations of hundreds of conditions are not copied.
public struct DistillationSet: Sendable {
  /// Some samples: what a local controller would do along one rollout, as a rule.
  public struct Part: Sendable, Equatable {
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

    /// û_t = K_t x_t + k_t at every step of a rollout, up to its end, brought within limits: what is beyond
    /// has no effect, and a network that has to reach it misses what has.
    public init(
      along trajectory: Trajectory, under controller: LinearGaussianController,
      limits: ControlLimits? = nil
    ) {
      precondition(
        trajectory.states.rows == controller.state && trajectory.horizon <= controller.horizon,
        "a rollout of \(trajectory.states.rows) states over \(trajectory.horizon) steps for a "
          + "controller of \(controller.state) states over \(controller.horizon) steps")
      let count = trajectory.stepsToEnd
      var targets = Matrix(
        rows: controller.control, columns: count,
        columnMajor: controller.meanActions(at: trajectory.states.storage, count: count))
      limits?.clamp(&targets)
      self.init(observations: trajectory.observations, targets: targets)
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

  /// What one condition gives to a set.
  public struct Share: Sendable, Equatable {
    /// The condition's number, for messages.
    public var condition: Int
    /// Samples along rollouts, real or imagined, each from step 0.
    public var parts: [Part]
    /// Precisions of the condition's controller at steps 0, 1, …: m × m each.
    public var precisions: MatrixSequence
    /// What each step counts for, at least 0: the ν_t of BADMM (Levine et al. 2016). Nil is 1 everywhere.
    public var weights: [Double]?

    /// A condition's share from its parts.
    public init(
      condition: Int, parts: [Part], precisions: MatrixSequence, weights: [Double]? = nil
    ) {
      precondition(
        (weights?.count ?? precisions.count) == precisions.count
          && parts.allSatisfy { $0.count <= precisions.count },
        "rollouts of \(parts.map(\.count)) steps with \(precisions.count) precisions and "
          + "\(weights?.count ?? precisions.count) weights")
      self.condition = condition
      self.parts = parts
      self.precisions = precisions
      self.weights = weights
    }
  }

  /// The samples, S in all.
  public let parts: [Part]
  /// Precisions of the local controllers: G matrices, m × m.
  public let precisions: MatrixSequence
  /// What a sample with each of the precisions counts for: G numbers.
  public let weights: [Double]
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
    try self.init(
      checked: parts, precisions, [Double](repeating: 1, count: precisions.count), precisionIndices)
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
    checked parts: [Part], _ precisions: MatrixSequence, _ weights: [Double],
    _ precisionIndices: [Int]
  ) throws(GlobalPolicyError) {
    if !precisionIndices.contains(where: { weights[$0] != 0 }) { throw .emptySet }
    if let entry = precisions.storage.firstNonFinite {
      throw .notFinite(
        field: "precision", condition: nil, sample: entry / max(1, precisions.stride), step: nil)
    }
    self.parts = parts
    self.precisions = precisions
    self.weights = weights
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
    precondition(
      batches.count == controllers.count,
      "\(controllers.count) controllers for the rollouts of \(batches.count) conditions")
    try self.init(
      shares: zip(batches, controllers).map { batch, controller in
        Share(
          condition: batch.condition,
          parts: batch.trajectories.map { Part(along: $0, under: controller) },
          precisions: controller.precisions)
      })
  }

  /// The samples of several conditions, each with precisions and weights by time step.
  ///
  /// - Throws: `GlobalPolicyError.emptySet` if nothing has any weight, or `.notFinite` with condition,
  ///   sample and step.
  public init(shares: [Share]) throws(GlobalPolicyError) {
    var parts: [Part] = []
    var indices: [Int] = []
    var weights: [Double] = []
    let m = shares.first?.precisions.rows ?? 0
    var precisions = MatrixSequence(
      rows: m, columns: m, count: shares.reduce(0) { $0 + $1.precisions.count })
    for share in shares {
      let (group, steps) = (weights.count, share.precisions.count)
      precondition(
        share.precisions.rows == m && share.precisions.columns == m
          && share.parts.allSatisfy { $0.targets.rows == m },
        "precisions of \(share.precisions.rows) × \(share.precisions.columns) and targets of "
          + "\(Set(share.parts.map(\.targets.rows)).sorted()) numbers beside \(m) controls")
      precisions.storage.replaceSubrange(
        group * m * m..<(group + steps) * m * m, with: share.precisions.storage)
      let own = share.weights ?? [Double](repeating: 1, count: steps)
      if let step = own.firstIndex(where: { !$0.isFinite || $0 < 0 }) {
        throw .notFinite(field: "weight", condition: share.condition, sample: 0, step: step)
      }
      weights += own
      for (sample, part) in share.parts.enumerated() {
        if let bad = part.notFinite {
          throw .notFinite(
            field: bad.field, condition: share.condition, sample: sample, step: bad.sample)
        }
        parts.append(part)
        indices += group..<group + part.count
      }
    }
    precondition(
      Set(parts.map(\.observations.rows)).count <= 1,
      "observations of \(Set(parts.map(\.observations.rows)).sorted()) numbers")
    if indices.isEmpty { throw .emptySet }
    try self.init(checked: parts, precisions, weights, indices)
  }

  /// Every eighth part, and the others; nil if there are fewer than eight. Whole rollouts are held out: the
  /// next step of one that was learned tells nothing new.
  func holdingOut() -> (rest: DistillationSet, heldOut: DistillationSet)? {
    let stride = 8
    if parts.count < stride { return nil }
    var (rest, heldOut) = (([Part](), [Int]()), ([Part](), [Int]()))
    var first = 0
    for (i, part) in parts.enumerated() {
      let indices = precisionIndices[first..<first + part.count]
      if i % stride == stride - 1 {
        heldOut.0.append(part)
        heldOut.1 += indices
      } else {
        rest.0.append(part)
        rest.1 += indices
      }
      first += part.count
    }
    guard let one = try? DistillationSet(checked: rest.0, precisions, weights, rest.1),
      let other = try? DistillationSet(checked: heldOut.0, precisions, weights, heldOut.1)
    else { return nil }
    return (one, other)
  }

  /// How many samples have each of the precisions.
  var samplesPerPrecision: [Double] {
    var shares = [Double](repeating: 0, count: precisions.count)
    for index in precisionIndices { shares[index] += 1 }
    return shares
  }

  /// Σ ν over the samples: S if every weight is 1.
  var totalWeight: Double {
    zip(samplesPerPrecision, weights).reduce(0) { $0 + $1.0 * $1.1 }
  }

  /// Weighted mean of the samples' precisions, as they are: m × m.
  public var meanPrecision: Matrix {
    var sum = Matrix(rows: precisions.rows, columns: precisions.columns)
    let total = totalWeight
    for (g, share) in samplesPerPrecision.enumerated() where share > 0 {
      let part = share * weights[g] / total
      for i in 0..<precisions.stride {
        sum.storage[i] += part * precisions.storage[g * precisions.stride + i]
      }
    }
    return sum.symmetrized
  }

  /// The loss of the constant that fits best, min_c mean ½ (û − c)ᵀ P (û − c): what the labels' variance
  /// comes to in units of the loss.
  ///
  /// - Parameters:
  ///   - precisions: P, in units of scaled controls.
  ///   - scale: of the controls.
  /// - Returns: a loss, at least 0.
  func labelVariance(precisions: MatrixSequence, scale: [Double]) -> Double {
    let m = control
    // c solves (Σ P) c = Σ P û; the loss is then ½ mean (ûᵀ P û) − ½ cᵀ mean(P) c. All labels are taken
    // from the first, so that nothing is lost to a large mean.
    guard let origin = parts.first(where: { $0.count > 0 })?.targets else { return 0 }
    var sum = [Double](repeating: 0, count: m * m)
    var (moment, label, square) = (
      [Double](repeating: 0, count: m), [Double](repeating: 0, count: m), 0.0
    )
    precisions.storage.withUnsafeBufferPointer { precisions in
      var sample = 0
      for part in parts {
        for s in 0..<part.count {
          for j in 0..<m { label[j] = (part.targets[j, s] - origin[j, 0]) / scale[j] }
          let first = precisionIndices[sample] * m * m
          for i in 0..<m {
            var product = 0.0
            for j in 0..<m {
              let entry = precisions[first + i + m * j]
              product += entry * label[j]
              sum[i + m * j] += entry
            }
            moment[i] += product
            square += product * label[i]
          }
          sample += 1
        }
      }
    }
    let total = Matrix(rows: m, columns: m, columnMajor: sum)
    guard let factor = try? CholeskyFactor(total) else { return 0.5 * square / Double(count) }
    let constant = factor.solve(moment)
    let explained = zip(constant, moment).reduce(0) { $0 + $1.0 * $1.1 }
    return max(0, 0.5 * (square - explained) / Double(count))
  }

  /// The weighted precisions in units of scaled controls, ν S P S, normalised: divided by the samples' mean
  /// trace, then every one whose trace exceeds `clipping` times the samples' median scaled down to it,
  /// so that no time step owns the gradient.
  func normalizedPrecisions(scale: [Double], clipping: Double?) -> (MatrixSequence, clipped: Int) {
    let m = precisions.rows
    var result = precisions
    var traces = [Double](repeating: 0, count: precisions.count)
    for g in 0..<precisions.count {
      for j in 0..<m {
        for i in 0..<m { result.storage[g * m * m + i + m * j] *= scale[i] * scale[j] * weights[g] }
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
