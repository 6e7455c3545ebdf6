public import GPSCore
public import LinearAlgebra
public import Statistics

/// π(u | o) = N(W o + b, Σ_π): the simplest global policy, a baseline and a case with a closed form.
public struct AffinePolicy: DistillablePolicy {
  /// W: m × o.
  public let gain: Matrix
  /// b: m numbers.
  public let offset: [Double]
  /// Σ_π: m × m.
  public let covariance: Matrix
  /// Lower Cholesky factor of Σ_π: m × m.
  public let covarianceFactor: Matrix
  /// Σ_π⁻¹: m × m.
  public let precision: Matrix

  /// o, the numbers in an observation.
  public var observation: Int { gain.columns }
  /// m, the numbers in a control.
  public var control: Int { gain.rows }

  /// A policy from W, b and Σ_π⁻¹.
  ///
  /// - Throws: `GlobalPolicyError.covariance` if the precision has no inverse.
  public init(
    gain: Matrix, offset: [Double], precision: Matrix
  ) throws(GlobalPolicyError) {
    let m = gain.rows
    precondition(
      offset.count == m && precision.rows == m && precision.columns == m,
      "a gain of \(m) × \(gain.columns) with \(offset.count) offsets and a \(precision.rows) × "
        + "\(precision.columns) precision")
    self.gain = gain
    self.offset = offset
    self.precision = precision.symmetrized
    do {
      covariance = try CholeskyFactor(self.precision).inverse
      covarianceFactor = try CholeskyFactor(covariance).lower
    } catch {
      throw .covariance(error)
    }
  }

  /// W o + b for every column.
  public func mean(for observations: Matrix) -> Matrix {
    precondition(
      observations.rows == observation,
      "\(observations.rows) numbers per observation for a policy of \(observation)")
    var means = gain * observations
    for s in 0..<means.columns { for i in 0..<control { means[i, s] += offset[i] } }
    return means
  }

  /// An affine policy needs no scratch.
  public struct Workspace: Sendable {}

  /// An affine policy needs no scratch.
  public func makeWorkspace() -> Workspace { Workspace() }

  /// Writes u = W o + b + L noise, where Σ_π = L Lᵀ; state and step are ignored.
  public func act(
    step: Int, state: Span<Double>, observation: Span<Double>, noise: Span<Double>,
    workspace: inout Workspace, action: inout MutableSpan<Double>
  ) {
    let (o, m) = (self.observation, control)
    precondition(
      observation.count == o && action.count == m && noise.count == m,
      "\(observation.count) observations and \(action.count) controls for a policy of \(o) and \(m)"
    )
    gain.storage.withUnsafeBufferPointer { W in
      covarianceFactor.storage.withUnsafeBufferPointer { L in
        for i in 0..<m {
          var sum = offset[i]
          for j in 0..<o { sum += W[i + m * j] * observation[j] }
          for j in 0...i { sum += L[i + m * j] * noise[j] }
          action[i] = sum
        }
      }
    }
  }
}

extension AffinePolicy {
  /// Writes the parts.
  public func store(in writer: inout ValueWriter) {
    writer.put("gain", gain)
    writer.put("offset", offset)
    writer.put("precision", precision)
  }

  /// Reads the parts, all of them checked.
  public init(stored reader: ValueReader) throws(StoredValueError) {
    let gain = try reader.matrix("gain")
    let m = gain.rows
    do {
      try self.init(
        gain: gain, offset: try reader.numbers("offset", m),
        precision: try reader.matrix("precision", m, m))
    } catch let error as StoredValueError {
      throw error
    } catch {
      throw StoredValueError("\(error)")
    }
  }
}

extension AffinePolicy: PortablePolicy {
  /// u = W o + b + L noise.
  package var kind: String { "affine" }

  /// The parts, with the factor of the covariance.
  package func writeForEvaluation(in writer: inout ValueWriter) {
    writer.put("gain", gain)
    writer.put("offset", offset)
    writer.put("covariance_factor", covarianceFactor)
  }
}

/// Distils into an affine policy: weighted least squares in closed form.
///
/// With x̃ = [x; 1], x the observation less its mean over its deviation, and Θ = [W b] in those units, it
/// minimises
///
///     Σ_s ½ ν_s (Θ x̃_s − û_s)ᵀ C_s⁻¹ (Θ x̃_s − û_s) + ½ λ tr(Wᵀ P W),   P = Σ_s ν_s C_s⁻¹,
///
/// by its normal equations, Σ_s (x̃ x̃ᵀ ⊗ ν C⁻¹) vec Θ = Σ_s x̃ ⊗ ν C⁻¹ û, and sets Σ_π to the inverse of
/// the mean precision. The penalty is what each dimension of x would add with a further variance of λ, so
/// that one that never moves does no harm.
public struct AffineDistiller: Distiller {
  /// λ, without a unit.
  public let regularization: Double

  /// A distiller.
  ///
  /// - Throws: `InvalidOption` unless λ is in [1e-12, 1e3].
  public init(regularization: Double = 1e-6) throws(InvalidOption) {
    try InvalidOption.require(
      regularization >= 1e-12 && regularization <= 1e3, "regularization", regularization,
      "in [1e-12, 1e3]")
    self.regularization = regularization
  }

  /// The solution; the last iteration's policy only gives the loss before.
  public func distill(
    _ policy: AffinePolicy?, onto set: DistillationSet, memory: NoMemory?, stream: RandomStream,
    workers: Int
  ) async throws -> Distillation<AffinePolicy, NoMemory> {
    let (o, m) = (set.observation, set.control)
    let samples = set.parts.map { ($0.observations, $0.count) }
    guard let (mean, variance) = moments(samples) else { throw GlobalPolicyError.emptySet }
    let deviation = zip(mean, variance).map { mean, variance in
      variance.squareRoot() <= 1e-12 * abs(mean) ? 1 : variance.squareRoot()
    }

    // Sums over the samples of each precision: x̃ x̃ᵀ and û x̃ᵀ.
    var squares = MatrixSequence(rows: o + 1, columns: o + 1, count: set.precisions.count)
    var products = MatrixSequence(rows: m, columns: o + 1, count: set.precisions.count)
    var x = [Double](repeating: 1, count: o + 1)
    var s = 0
    for part in set.parts {
      for column in 0..<part.count {
        for i in 0..<o { x[i] = (part.observations[i, column] - mean[i]) / deviation[i] }
        let group = set.precisionIndices[s]
        for j in 0...o {
          for i in 0...o {
            squares.storage[group * squares.stride + i + (o + 1) * j] += x[i] * x[j]
          }
          for i in 0..<m {
            products.storage[group * products.stride + i + m * j] += part.targets[i, column] * x[j]
          }
        }
        s += 1
      }
    }
    let size = (o + 1) * m
    var normal = Matrix(rows: size, columns: size)
    var right = Matrix(rows: m, columns: o + 1)
    for g in 0..<set.precisions.count {
      let P = set.weights[g] * set.precisions[g]
      right += P * products[g]
      for b in 0...o {
        for a in 0...o {
          let share = squares.storage[g * squares.stride + a + (o + 1) * b]
          if share == 0 { continue }
          for j in 0..<m { for i in 0..<m { normal[a * m + i, b * m + j] += share * P[i, j] } }
        }
      }
    }
    let total = set.totalWeight * set.meanPrecision
    for a in 0..<o {
      for j in 0..<m {
        for i in 0..<m { normal[a * m + i, a * m + j] += regularization * total[i, j] }
      }
    }
    let solution: Matrix
    do {
      solution = Matrix(
        rows: m, columns: o + 1,
        columnMajor: try CholeskyFactor(normal.symmetrized).solve(right.storage))
    } catch {
      throw GlobalPolicyError.covariance(error)
    }

    // Back to the observation's own units.
    var gain = Matrix(rows: m, columns: o)
    var offset = solution.column(o)
    for j in 0..<o {
      for i in 0..<m {
        gain[i, j] = solution[i, j] / deviation[j]
        offset[i] -= gain[i, j] * mean[j]
      }
    }
    let precision = set.meanPrecision
    let fitted = try AffinePolicy(gain: gain, offset: offset, precision: precision)
    let targets = set.parts.map { ($0.targets, $0.count) }
    let ignorant = try AffinePolicy(
      gain: Matrix(rows: m, columns: o), offset: moments(targets)?.mean ?? offset,
      precision: precision)
    return Distillation(
      policy: fitted, memory: nil, initialLoss: set.meanLoss(of: policy ?? ignorant),
      finalLoss: set.meanLoss(of: fitted), labelVariance: set.meanLoss(of: ignorant), notes: [])
  }
}

extension DistillationSet {
  /// The mean loss of a policy, in the units of `Distillation`.
  func meanLoss(of policy: some DistillablePolicy) -> Double {
    let (o, m) = (observation, control)
    var (sum, s) = (0.0, 0)
    for part in parts {
      let means = policy.mean(for: part.observations[0..<o, 0..<part.count])
      for column in 0..<part.count {
        let error = (0..<m).map { means[$0, column] - part.targets[$0, column] }
        let group = precisionIndices[s]
        sum += 0.5 * weights[group] * precisions[group].bilinear(error, error)
        s += 1
      }
    }
    let covariance = policy.covariance
    let variance = moments(parts.map { ($0.targets, $0.count) })?.variance ?? []
    var trace = 0.0
    for (group, share) in samplesPerPrecision.enumerated() where share > 0 {
      for i in 0..<m {
        trace +=
          share / Double(count) * weights[group] * precisions[group][i, i]
          * (variance[i] + covariance[i, i])
      }
    }
    return sum / Double(count) / max(trace, .leastNormalMagnitude)
  }
}
