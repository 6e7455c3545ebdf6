import CNeuralKernels
public import GPSCore
public import LinearAlgebra
public import Networks
public import Statistics

/// The global policy: π(u | o) = N(μ_θ(o), Σ_π), where μ_θ is a network between whitened observations
/// and scaled controls.
///
/// Both scalings are frozen when they are first used: statistics that moved under a trained network
/// would change the policy behind its back.
public struct NeuralPolicy: Sendable, Codable, Equatable {
  /// An affine map of each dimension to zero mean and unit deviation.
  public struct Standardization: Sendable, Codable, Equatable {
    /// What is subtracted, in the dimension's own unit.
    public var mean: [Double]
    /// What is divided by afterwards, in the same unit; more than 0.
    public var deviation: [Double]

    /// The map that changes nothing.
    static func identity(_ count: Int) -> Standardization {
      Standardization(
        mean: [Double](repeating: 0, count: count), deviation: [Double](repeating: 1, count: count))
    }
  }

  /// The network: whitened observation in, scaled control out.
  public package(set) var network: Perceptron
  /// Size and kind of the network.
  public let options: NetworkOptions
  /// Whitening of observations; the identity until it is frozen.
  public internal(set) var observationWhitening: Standardization
  /// Scaling of controls; the identity until it is frozen.
  public internal(set) var controlScaling: Standardization
  /// Whether the whitening of observations is fixed.
  public internal(set) var isWhitened: Bool
  /// Whether the scaling of controls is fixed.
  public internal(set) var isScaled: Bool
  /// Σ_π: m × m, in squared units of the controls.
  public internal(set) var covariance: Matrix
  /// Lower Cholesky factor of Σ_π: m × m.
  public internal(set) var covarianceFactor: Matrix
  /// Σ_π⁻¹: m × m.
  public internal(set) var precision: Matrix

  /// o, the numbers in an observation.
  public var observation: Int { network.inputs }
  /// m, the numbers in a control.
  public var control: Int { network.outputs }

  /// An untrained policy with random weights and the identity as its covariance.
  ///
  /// - Parameters:
  ///   - observation: o.
  ///   - control: m.
  ///   - options: size and kind of the network.
  ///   - stream: the source of the weights.
  /// - Returns: the policy.
  public static func initial(
    observation: Int, control: Int, options: NetworkOptions = NetworkOptions(),
    stream: RandomStream
  ) -> NeuralPolicy {
    let identity = Matrix.identity(control)
    return NeuralPolicy(
      network: Perceptron(
        layerSizes: [observation] + options.hiddenLayers + [control],
        activation: options.activation, initialization: options.initialization, stream: stream),
      options: options, observationWhitening: .identity(observation),
      controlScaling: .identity(control), isWhitened: false, isScaled: false, covariance: identity,
      covarianceFactor: identity, precision: identity)
  }

  /// The policy with its whitening fixed by these observations, or unchanged if it is fixed already.
  ///
  /// A dimension is divided by its deviation, or by the floor (a share of its largest magnitude) if that
  /// is larger; one that does not move at all by its magnitude, and one that is always 0 by 1. One that is
  /// never more than 1e-6 of the largest of all numbers is divided by that much, because its motion may be
  /// rounding.
  ///
  /// - Parameter observations: o × S, one sample per column.
  /// - Returns: the policy with fixed whitening.
  public func whitening(from observations: Matrix) -> NeuralPolicy {
    precondition(
      observations.rows == observation,
      "\(observations.rows) numbers per observation for a policy of \(observation)")
    return whitening(from: [(observations, observations.columns)])
  }

  /// The policy with its whitening and scaling fixed by a set. What is fixed already stays.
  func frozen(for set: DistillationSet) -> NeuralPolicy {
    whitening(from: set.parts.map { ($0.observations, $0.count) }).scaling(
      from: set.parts.map { ($0.targets, $0.count) }, noise: covariance)
  }

  private func whitening(from observations: [(Matrix, count: Int)]) -> NeuralPolicy {
    guard !isWhitened, let (mean, variance) = moments(observations) else { return self }
    var policy = self
    policy.observationWhitening.mean = mean
    let magnitudes = largestMagnitudes(observations)
    // Next to the others a number this small is what rounding or settling has left of 0.
    let rounding = 1e-6 * (magnitudes.max() ?? 0)
    policy.observationWhitening.deviation = mean.indices.map { i in
      if magnitudes[i] == 0 { return 1 }
      if magnitudes[i] < rounding { return rounding }
      let largest = magnitudes[i]
      // Squares of what can be observed may be too large for a number, the deviation is not.
      let deviation = min(variance[i].squareRoot(), 2 * min(largest, 1e300))
      return deviation <= 1e-12 * largest
        ? largest : max(deviation, min(options.deviationFloor * largest, 1e300))
    }
    policy.isWhitened = true
    return policy
  }

  /// The policy with its control scaling fixed by what the controllers do: mean and total deviation
  /// (of means and noise together) of the controls; unchanged if it is fixed already.
  func scaling(from targets: [(Matrix, count: Int)], noise covariance: Matrix) -> NeuralPolicy {
    guard !isScaled, let (mean, variance) = moments(targets) else { return self }
    var policy = self
    policy.controlScaling.mean = mean
    policy.controlScaling.deviation = variance.indices.map {
      (variance[$0] + covariance[$0, $0]).squareRoot()
    }
    policy.isScaled = true
    return policy
  }

  /// The mean actions for many observations at once; those of `act` but for the rounding of single
  /// precision, because one observation's sums are added in another order.
  ///
  /// - Parameter observations: o × S, one sample per column, in the task's own units.
  /// - Returns: m × S, in the controls' own units.
  public func mean(for observations: Matrix) -> Matrix {
    mean(for: observations, variant: .best)
  }

  func mean(for observations: Matrix, variant: KernelVariant) -> Matrix {
    precondition(
      observations.rows == observation,
      "\(observations.rows) numbers per observation for a policy of \(observation)")
    let (o, m) = (observation, control)
    var result = Matrix(rows: m, columns: observations.columns)
    network.forEachOutput(observations.columns, variant: variant) { sample, input in
      for i in 0..<o {
        input[i] = Float(
          (observations[i, sample] - observationWhitening.mean[i])
            / observationWhitening.deviation[i])
      }
    } read: { sample, output in
      for i in 0..<m {
        result[i, sample] =
          controlScaling.mean[i] + controlScaling.deviation[i] * Double(output[i])
      }
    }
    return result
  }

  /// The policy with another covariance.
  ///
  /// - Parameter precision: Σ_π⁻¹, m × m.
  /// - Returns: the policy with that precision, its covariance and its factor.
  /// - Throws: `GlobalPolicyError.covariance` if it has no inverse.
  public func withPrecision(_ precision: Matrix) throws(GlobalPolicyError) -> NeuralPolicy {
    precondition(
      precision.rows == control && precision.columns == control,
      "a \(precision.rows) × \(precision.columns) precision for \(control) controls")
    var policy = self
    do {
      policy.precision = precision.symmetrized
      policy.covariance = try CholeskyFactor(policy.precision).inverse
      policy.covarianceFactor = try CholeskyFactor(policy.covariance).lower
    } catch {
      throw .covariance(error)
    }
    return policy
  }
}

extension NeuralPolicy: ObservationPolicy {
  /// Room for one observation's way through the network.
  public struct Workspace: Sendable {
    var rows: [Float]
  }

  /// New scratch for one worker.
  public func makeWorkspace() -> Workspace {
    Workspace(rows: [Float](repeating: 0, count: network.rowsWidth))
  }

  /// Writes u = μ_θ(o) + L noise, where Σ_π = L Lᵀ; state and step are ignored.
  public func act(
    step: Int, state: Span<Double>, observation: Span<Double>, noise: Span<Double>,
    workspace: inout Workspace, action: inout MutableSpan<Double>
  ) {
    let (o, m) = (self.observation, control)
    precondition(
      observation.count == o && action.count == m && workspace.rows.count == network.rowsWidth,
      "\(observation.count) observations and \(action.count) controls for a policy of \(o) and \(m)"
    )
    workspace.rows.withUnsafeMutableBufferPointer { rows in
      guard let base = rows.baseAddress else { return }
      for i in 0..<o {
        base[i] = Float(
          (observation[i] - observationWhitening.mean[i]) / observationWhitening.deviation[i])
      }
      let saved = nk_flush_subnormals()
      let output = network.forwardRow(buffer: base, variant: .best)
      nk_restore(saved)
      covarianceFactor.storage.withUnsafeBufferPointer { L in
        for i in 0..<m {
          var sum = controlScaling.mean[i] + controlScaling.deviation[i] * Double(output[i])
          for j in 0...i { sum += L[i + m * j] * noise[j] }
          action[i] = sum
        }
      }
    }
  }
}
