// Path integral policy improvement of a time-varying linear-Gaussian controller, and its use on what a
// model leaves unexplained.
//
// Rollouts n = 1 … N were drawn under p(u|x) = N(K x + k, L Lᵀ). In units of their noise
//
//   z_{n,t} = L_t⁻¹ (u_{n,t} − K_t x_{n,t} − k_t)
//
// the weights w_{n,t} ∝ exp(−S_{n,t} / η_t) of the costs-to-go give a mean and a covariance
//
//   z̄_t = Σ_n w_{n,t} z_{n,t},   M_t = Σ_n w_{n,t} (z_{n,t} − z̄_t)(z_{n,t} − z̄_t)ᵀ
//
// and those move a controller N(K̂ x + k̂, L̂ L̂ᵀ), whose gains stay:
//
//   k_t ← k̂_t + L̂_t z̄_t,   C_t ← L̂_t R_t L̂_tᵀ,   R_t: M_t damped (see `CovarianceAdaptation`)
//
// PI² moves p itself: then k_t = Σ_n w_{n,t} (u_{n,t} − K_t x_{n,t}) and the weighted covariance is that of
// those offsets. PILQR moves the LQR step's result, with weights from the residual costs: the rollouts'
// noise stands for rollouts of the new controller.
//
// Theodorou, Buchli and Schaal 2010; Stulp and Sigaud 2012 (covariance); Chebotar et al. 2016
// (arXiv 1610.00529) and 2017 (arXiv 1703.03078).

package import Configuration
import Foundation
public import GPSCore
public import LinearAlgebra

/// Improves a local controller by the costs of its rollouts alone, without a model: PI² with a bound on
/// the weights' relative entropy at every step, or its residual form after a model-based step.
public struct PathIntegralUpdate: Sendable {
  /// What becomes of the controller's covariance. R is in units of the old covariance (C_new = L R Lᵀ
  /// with C_old = L Lᵀ), M the weighted covariance in the same units, γ = 1 / `covarianceDamping`.
  public enum CovarianceAdaptation: String, Sendable, Codable, CaseIterable {
    /// It stays: R = I.
    case none
    /// One factor: R = (tr M / m)^γ I. Sound with fewer effective samples than controls.
    case scale
    /// Every direction by itself: R = M^γ, so that C_new is the point at γ on the geodesic from C_old to
    /// the weighted covariance: their geometric mean for γ = ½, whatever the units of the controls.
    case matrix
  }

  /// Settings.
  public struct Options: Sendable, Equatable {
    /// ε: bound on KL(w ‖ 1/N) at every step [nats]. At 1 about a third of the samples count.
    public var bound = 1.0
    /// Lowest temperature, relative to the spread of the costs-to-go (see `RelativeEntropyWeights`).
    public var temperatureFloor = 1e-3
    /// How the covariance follows the samples.
    public var covariance = CovarianceAdaptation.scale
    /// 1/γ: the ratio to the old covariance is taken to the power 1 / `covarianceDamping`.
    public var covarianceDamping = 2.0
    /// R is at least this, so that no direction loses more of its variance in one update.
    public var covarianceFloor = 0.1
    /// Whether the mean noise of the rollouts, whose expectation is known to be 0, is taken from the
    /// weighted one: z̄ = Σ_n (w_n − 1/N) z_n. The same in expectation with less variance, and without
    /// any change where all weights are equal. The papers do without.
    public var centersNoise = false

    /// The defaults.
    public init() {}

    /// Settings of one's own.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public init(
      bound: Double = 1, temperatureFloor: Double = 1e-3, covariance: CovarianceAdaptation = .scale,
      covarianceDamping: Double = 2, covarianceFloor: Double = 0.1, centersNoise: Bool = false
    ) throws(InvalidOption) {
      self.bound = bound
      self.temperatureFloor = temperatureFloor
      self.covariance = covariance
      self.covarianceDamping = covarianceDamping
      self.covarianceFloor = covarianceFloor
      self.centersNoise = centersNoise
      _ = try validated()
    }

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options { try checked() }
  }

  /// How one step of the controller was found.
  public enum Status: String, Sendable, Codable {
    /// The divergence of the weights is at its bound.
    case atBound
    /// Even at the lowest temperature the divergence is within its bound.
    case lowestTemperature
    /// There is one rollout, or all cost the same.
    case indifferent
    /// The temperature is that of the whole costs; the residuals' weights diverge less.
    case withinBound
    /// The model explains the costs to their rounding: the controller is the one given.
    case explained
  }

  /// The new controller and how it came about.
  public struct Outcome: Sendable {
    /// The new controller.
    public var controller: LinearGaussianController
    /// η_t: T numbers [cost].
    public var temperatures: [Double]
    /// 1 / Σ_n w²: T numbers, from 1 to N.
    public var effectiveSampleSizes: [Double]
    /// KL(w_t ‖ 1/N): T numbers [nats].
    public var weightDivergences: [Double]
    /// KL of the new controller's actions from those of the one it started from: T numbers [nats]. The
    /// gains are the same, so that they depend on no state.
    public var divergences: [Double]
    /// How each step was found: T of them.
    public var statuses: [Status]
    /// mean S_0 − Σ_n w_{n,0} S_{n,0}, of the costs that gave the weights: what the weights at step 0
    /// promise of the whole rollout [cost].
    public var expectedImprovement: Double
  }

  /// Settings.
  public var options: Options

  /// An update with the given settings.
  public init(options: Options = Options()) { self.options = options }

  /// PI²: moves the offsets of a controller to the weighted mean of the rollouts' u − K x, and its
  /// covariance towards theirs.
  ///
  /// Neither a constant added to the costs nor a factor on them changes the controller.
  ///
  /// - Parameters:
  ///   - reference: p, under which the rollouts were drawn; its gains are kept. Rollouts of another
  ///     policy, such as the network near p, are allowed: their u − K x are averaged all the same.
  ///   - rollouts: N > 0 of the controller's shape.
  ///   - costsToGo: S: N × T, see `costsToGo(_:)`.
  /// - Returns: the new controller and how it came about.
  /// - Throws: `PathIntegralError`: the caller keeps the controller it has.
  public func improve(
    _ reference: LinearGaussianController, rollouts: [Trajectory], costsToGo: Matrix
  ) throws(PathIntegralError) -> Outcome {
    try move(reference, drawnFrom: reference, rollouts, costsToGo, residuals: nil)
  }

  /// PILQR's second half: PI² on the costs that a model does not explain, about the controller that the
  /// model-based step made.
  ///
  /// Of p exp(−S/η) with S = Ŝ + S̃ the model-based step takes the part of the quadratic Ŝ in closed
  /// form; what is left of the samples' weight is exp(−S̃/η). The samples should come from the new
  /// controller; since it is Gaussian, the noise of the rollouts drawn serves instead: its offsets are
  /// k̂ + L̂ z (Chebotar et al. 2017).
  ///
  /// η_t is the temperature of the whole costs S, so that a small residual moves little; only where the
  /// residuals' weights would exceed the bound is it raised to their own.
  ///
  /// * Where the model explains everything (residuals equal up to rounding at that step), the result is
  ///   `improved` itself, bit for bit. Set `centersNoise` and it is so in the limit too: a step whose
  ///   weights are nearly equal is then hardly moved, instead of by the rollouts' mean noise.
  /// * Where it explains nothing (S̃ = S, up to a constant, and `improved` = `old`), the result is that of
  ///   `improve(_:rollouts:costsToGo:)`.
  ///
  /// - Parameters:
  ///   - improved: the result of the model-based step; its gains are kept.
  ///   - old: under which the rollouts were drawn.
  ///   - rollouts: N > 0 of the controllers' shape.
  ///   - costsToGo: S: N × T, of the whole costs.
  ///   - residualCostsToGo: S̃: N × T, the whole costs-to-go less the model's (`residualCostsToGo`).
  /// - Returns: as of PI²; its divergences are those from `improved`.
  /// - Throws: `PathIntegralError`: the caller keeps `improved`, or the controller it had.
  public func residualUpdate(
    _ improved: LinearGaussianController, drawnFrom old: LinearGaussianController,
    rollouts: [Trajectory], costsToGo: Matrix, residualCostsToGo: Matrix
  ) throws(PathIntegralError) -> Outcome {
    try move(improved, drawnFrom: old, rollouts, costsToGo, residuals: residualCostsToGo)
  }

  /// Residuals whose spread is under this share of the costs' magnitude are rounding.
  private static let rounding = 1e-11

  private func move(
    _ controller: LinearGaussianController, drawnFrom old: LinearGaussianController,
    _ rollouts: [Trajectory], _ costs: Matrix, residuals: Matrix?
  ) throws(PathIntegralError) -> Outcome {
    let (n, m, T, N) = (controller.state, controller.control, controller.horizon, rollouts.count)
    precondition(
      old.state == n && old.control == m && old.horizon == T,
      "rollouts of a controller of \(old.state) × \(old.control) × \(old.horizon) for one of "
        + "\(n) × \(m) × \(T)")
    precondition(N > 0, "no rollouts to learn from")
    for rollout in rollouts {
      precondition(
        rollout.states.rows == n && rollout.controls.rows == m && rollout.horizon == T,
        "a rollout of \(rollout.states.rows) × \(rollout.controls.rows) × \(rollout.horizon) for a "
          + "controller of \(n) × \(m) × \(T)")
    }
    for costs in [costs, residuals ?? costs] {
      precondition(
        costs.rows == N && costs.columns == T,
        "costs-to-go of \(costs.rows) × \(costs.columns) for \(N) rollouts of \(T) steps")
    }

    var update = Accumulator(controller)
    let weigher = Weigher(count: N)
    let costsOfStep = Scratch<Double>(N)
    let noise = Scratch<Double>(m * N)
    for t in 0..<T {
      for s in 0..<N { costsOfStep.pointer[s] = costs.storage[s + N * t] }
      var weights = try weigher.weigh(
        costsOfStep.pointer, bound: options.bound, temperatureFloor: options.temperatureFloor,
        step: t)
      var status = Status(weights.status)
      if let residuals {
        var size = 0.0
        for s in 0..<N { size = max(size, abs(costsOfStep.pointer[s])) }
        let temperature = weights.temperature
        for s in 0..<N { costsOfStep.pointer[s] = residuals.storage[s + N * t] }
        // The residuals' own temperature, which is the lowest that keeps their weights in the bound.
        weights = try weigher.weigh(
          costsOfStep.pointer, bound: options.bound, temperatureFloor: options.temperatureFloor,
          step: t)
        status = Status(weights.status)
        if Self.spread(costsOfStep.pointer, N) <= Self.rounding * size {
          update.keep(
            t, temperature: temperature, count: N)
          continue
        }
        if temperature > weights.temperature {
          weights = try weigher.weigh(costsOfStep.pointer, temperature: temperature, step: t)
          status = .withinBound
        }
      }
      for (s, rollout) in rollouts.enumerated() {
        Self.readNoise(of: rollout, t, under: old, into: noise.pointer + s * m)
      }
      old.covarianceFactors.storage.withUnsafeBufferPointer { L in
        guard let L = L.baseAddress else { return }
        Kernels.solveLower(n: m, r: N, L + t * m * m, m, noise.pointer, m)
      }
      for i in 0..<(m * N) where !noise.pointer[i].isFinite {
        throw .noiseNotFinite(sample: i / m, step: t)
      }
      if t == 0 {
        var gain = 0.0
        for s in 0..<N {
          gain += (1 / Double(N) - weigher.weights.pointer[s]) * costsOfStep.pointer[s]
        }
        update.expectedImprovement = gain
      }
      try update.move(
        t, by: noise.pointer, weights: weigher.weights.pointer, summary: weights, status: status,
        count: N, options: options)
    }
    return try update.outcome()
  }

  /// max − min; half the costs are subtracted from half, because their distance may be infinite.
  private static func spread(_ costs: UnsafePointer<Double>, _ count: Int) -> Double {
    var (low, high) = (Double.infinity, -Double.infinity)
    for s in 0..<count {
      low = min(low, costs[s])
      high = max(high, costs[s])
    }
    return 2 * (0.5 * high - 0.5 * low)
  }

  /// u − K x − k of a step.
  private static func readNoise(
    of rollout: Trajectory, _ t: Int, under controller: LinearGaussianController,
    into noise: UnsafeMutablePointer<Double>
  ) {
    let (n, m) = (controller.state, controller.control)
    rollout.controls.storage.withUnsafeBufferPointer { u in
      rollout.states.storage.withUnsafeBufferPointer { x in
        controller.offsets.storage.withUnsafeBufferPointer { k in
          controller.gains.storage.withUnsafeBufferPointer { K in
            for i in 0..<m {
              var mean = k[t * m + i]
              for j in 0..<n { mean += K[(t * n + j) * m + i] * x[t * n + j] }
              noise[i] = u[t * m + i] - mean
            }
          }
        }
      }
    }
  }
}

extension PathIntegralUpdate.Status {
  init(_ status: RelativeEntropyWeights.Status) {
    switch status {
    case .atBound: self = .atBound
    case .lowestTemperature: self = .lowestTemperature
    case .indifferent: self = .indifferent
    case .given: self = .withinBound
    }
  }
}

/// The controller that is being made, step by step.
private struct Accumulator {
  let start: LinearGaussianController
  var offsets: Matrix
  var covariances: MatrixSequence
  var factors: MatrixSequence
  var precisions: MatrixSequence
  var temperatures: [Double] = []
  var effectiveSampleSizes: [Double] = []
  var weightDivergences: [Double] = []
  var divergences: [Double] = []
  var statuses: [PathIntegralUpdate.Status] = []
  var expectedImprovement = 0.0

  init(_ start: LinearGaussianController) {
    self.start = start
    offsets = start.offsets
    covariances = start.covariances
    factors = start.covarianceFactors
    precisions = start.precisions
  }

  /// Leaves step t as it is.
  mutating func keep(_ t: Int, temperature: Double, count: Int) {
    record(temperature, Double(count), 0, 0, .explained)
  }

  private mutating func record(
    _ temperature: Double, _ samples: Double, _ weightDivergence: Double, _ divergence: Double,
    _ status: PathIntegralUpdate.Status
  ) {
    temperatures.append(temperature)
    effectiveSampleSizes.append(samples)
    weightDivergences.append(weightDivergence)
    divergences.append(divergence)
    statuses.append(status)
  }

  /// Moves step t by the weighted noise, m × N.
  mutating func move(
    _ t: Int, by noise: UnsafePointer<Double>, weights: UnsafePointer<Double>,
    summary: Weigher.Summary, status: PathIntegralUpdate.Status, count N: Int,
    options: PathIntegralUpdate.Options
  ) throws(PathIntegralError) {
    let m = start.control
    var mean = [Double](repeating: 0, count: m)
    let baseline = options.centersNoise ? 1 / Double(N) : 0
    for s in 0..<N {
      for i in 0..<m { mean[i] += (weights[s] - baseline) * noise[i + m * s] }
    }
    for i in 0..<m {
      for j in 0...i {
        offsets[i, t] += start.covarianceFactors.storage[(t * m + j) * m + i] * mean[j]
      }
    }
    var divergence = 0.5 * mean.reduce(0) { $0 + $1 * $1 }
    switch options.covariance {
    case .none: break
    case .scale:
      var trace = 0.0
      for s in 0..<N {
        for i in 0..<m {
          let gap = noise[i + m * s] - mean[i]
          trace += weights[s] * gap * gap
        }
      }
      let ratio = Self.damped(trace / Double(m), options)
      for i in t * m * m..<(t + 1) * m * m {
        covariances.storage[i] *= ratio
        factors.storage[i] *= ratio.squareRoot()
        precisions.storage[i] /= ratio
      }
      divergence += Self.divergence(ratio: ratio) * Double(m)
    case .matrix:
      var moment = Matrix(rows: m, columns: m)
      for s in 0..<N {
        for j in 0..<m {
          let gap = weights[s] * (noise[j + m * s] - mean[j])
          for i in j..<m { moment[i, j] += gap * (noise[i + m * s] - mean[i]) }
        }
      }
      do {
        let (ratios, vectors) = try moment.symmetricEigen()
        // A = L V R^½: C = A Aᵀ
        var root = Matrix(rows: m, columns: m)
        for (j, value) in ratios.enumerated() {
          let ratio = Self.damped(value, options)
          for i in 0..<m { root[i, j] = vectors[i, j] * ratio.squareRoot() }
          divergence += Self.divergence(ratio: ratio)
        }
        root = start.covarianceFactors[t] * root
        let covariance = (root * root.transposed).symmetrized
        let factor = try CholeskyFactor(covariance)
        covariances[t] = covariance
        factors[t] = factor.lower
        precisions[t] = factor.inverse
      } catch {
        throw .controller(.covariance(step: t, error))
      }
    }
    record(
      summary.temperature, summary.effectiveSampleSize, summary.divergence, divergence, status)
  }

  /// max(ratio^γ, floor).
  private static func damped(_ ratio: Double, _ options: PathIntegralUpdate.Options) -> Double {
    max(pow(max(ratio, 0), 1 / options.covarianceDamping), options.covarianceFloor)
  }

  /// KL(N(0, r) ‖ N(0, 1)) = ½ (r − 1 − ln r).
  private static func divergence(ratio: Double) -> Double {
    max(0, 0.5 * (ratio - 1 - log(ratio)))
  }

  func outcome() throws(PathIntegralError) -> PathIntegralUpdate.Outcome {
    do {
      return PathIntegralUpdate.Outcome(
        controller: try LinearGaussianController(
          gains: start.gains, offsets: offsets, covariances: covariances,
          covarianceFactors: factors, precisions: precisions),
        temperatures: temperatures, effectiveSampleSizes: effectiveSampleSizes,
        weightDivergences: weightDivergences, divergences: divergences, statuses: statuses,
        expectedImprovement: expectedImprovement)
    } catch {
      throw .controller(error)
    }
  }
}

extension PathIntegralUpdate.CovarianceAdaptation: Setting {}

/// `bound` is not among them: it is the search's, with its step rule.
extension PathIntegralUpdate.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "temperatureFloor", \.temperatureFloor, .above(0),
      "Smallest temperature, as a share of the costs' spread.")
    Field("covariance", \.covariance, "How the rollouts change the covariance.")
    Field(
      "covarianceDamping", \.covarianceDamping,
      .atLeastOne,
      "The covariance moves by this root of its ratio to the old one.")
    Field(
      "covarianceFloor", \.covarianceFloor, .positiveShare,
      "Smallest variance, as a share of the old one.")
    Field(
      "centersNoise", \.centersNoise,
      "Whether the rollouts' mean noise is left out (always so in pilqr).")
  } rule: { options throws(InvalidOption) in
    try InvalidOption.require(options.bound > 0, "bound", options.bound, "more than 0")
  }
}
