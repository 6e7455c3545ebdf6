// The coupling of a local controller p and a policy π in Bregman ADMM guided policy search.
//
//   minimise  E_p[ℓ]   subject to  p(u_t | x_t) = π(u_t | x_t)
//
// The constraint is held on the mean controls by multipliers λ_t (m numbers per time step) and as a whole
// by a divergence with weights ν_t. Each half minimises its own augmented Lagrangian, with expectations
// over p's states:
//
//   C-step   E_p[ℓ] + Σ_t λ_tᵀ (E_π[u_t] − E_p[u_t]) + ν_t E[KL(p ‖ π)]
//   S-step            Σ_t λ_tᵀ (E_π[u_t] − E_p[u_t]) + ν_t E[KL(π ‖ p)]
//   λ-step   λ_t ← λ_t + α ν_t C_t⁻¹ (E_π[u_t] − E_p[u_t])
//
// In the C-step, what depends on p besides its entropy is the cost ℓ + λᵀ (K̄ x + k̄ − u) + ν (−log π̄):
// quadratic in [x; u] for the linearised policy π̄ = N(K̄ x + k̄, C̄). The paper writes ℓ − λᵀ u + ν (−log π̄):
// without λᵀ K̄ x, what p's states do to the policy's mean is forgotten, and where the policy depends on the
// state the iteration settles beside the optimum of the constrained problem (the tests show both).
// In the S-step, what depends on π's mean μ(x) is
//
//   ½ ν (μ − û)ᵀ C⁻¹ (μ − û) + λᵀ μ,   û = K x + k
//
// whose gradient ν C⁻¹ (μ − û) + λ vanishes at μ = û − C λ / ν: least squares to a shifted target.
//
// Signs: where π asks for more than p, λ grows; then −λᵀ u rewards p for more and the target û − C λ / ν asks
// less of π. The λ-step is gradient ascent on the dual. Its metric is that of the S-step's penalty, as the
// method of multipliers has it: a step of rate α then moves the targets by α (E_π[u] − E_p[u]) whatever
// units the controls have. The plain form, without C⁻¹, has a stable rate that depends on them.
//
// Levine, Finn, Darrell and Abbeel 2016 (arXiv 1504.00702).

package import Configuration
import Foundation
public import GPSCore
public import LinearAlgebra

/// The multipliers and weights by which a local controller and a policy hold each other in BADMM.
public struct AugmentedLagrangian: Sendable, Equatable {
  /// Settings of the updates.
  public struct Options: Sendable, Equatable {
    /// α: share of the difference of the mean controls by which the multipliers move the targets.
    public var rate = 0.1
    /// A weight is changed where its step's KL divergence lies this many standard deviations over time
    /// from the mean over time.
    public var deviations = 0.5
    /// The factor by which a weight grows or shrinks.
    public var factor = 2.0
    /// The smallest weight.
    public var smallestWeight = 1e-6
    /// The largest weight.
    public var largestWeight = 1e6

    /// The defaults.
    public init() {}

    /// Settings of one's own.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public init(
      rate: Double = 0.1, deviations: Double = 0.5, factor: Double = 2,
      smallestWeight: Double = 1e-6, largestWeight: Double = 1e6
    ) throws(InvalidOption) {
      self.rate = rate
      self.deviations = deviations
      self.factor = factor
      self.smallestWeight = smallestWeight
      self.largestWeight = largestWeight
      _ = try validated()
    }

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options { try checked() }
  }

  /// λ_t: m × T [cost per control].
  public private(set) var multipliers: Matrix
  /// ν_t > 0: T numbers [cost per nat].
  public private(set) var weights: [Double]

  /// m.
  public var control: Int { multipliers.rows }
  /// T.
  public var horizon: Int { multipliers.columns }

  /// Multipliers of 0 and equal weights.
  ///
  /// - Parameters:
  ///   - m: the controls' dimension.
  ///   - T: the horizon.
  ///   - weight: ν, more than 0.
  /// - Throws: `InvalidOption`.
  public init(control m: Int, horizon T: Int, weight: Double) throws(InvalidOption) {
    try InvalidOption.require(
      weight > 0 && weight.isFinite, "weight", weight, "finite, more than 0")
    multipliers = Matrix(rows: m, columns: T)
    weights = [Double](repeating: weight, count: T)
  }

  /// Multipliers and weights from elsewhere, such as a checkpoint.
  ///
  /// - Throws: `InvalidOption` when a multiplier is not finite, or a weight not finite and positive.
  public init(multipliers: Matrix, weights: [Double]) throws(InvalidOption) {
    precondition(
      multipliers.columns == weights.count,
      "multipliers of \(multipliers.columns) steps and weights of \(weights.count)")
    if let value = multipliers.storage.first(where: { !$0.isFinite }) {
      throw InvalidOption(key: "multipliers", value: "\(value)", allowed: "finite")
    }
    if let value = weights.first(where: { !($0 > 0 && $0.isFinite) }) {
      throw InvalidOption(key: "weights", value: "\(value)", allowed: "finite, more than 0")
    }
    self.multipliers = multipliers
    self.weights = weights
  }

  /// ν_t (−log π̄(u_t | x_t)) + λ_tᵀ (K̄_t x_t + k̄_t − u_t) as a quadratic cost: added to ℓ, it is what the
  /// C-step minimises.
  ///
  /// With P = C̄⁻¹ of π̄ = N(K̄ x + k̄, C̄), −log π̄ has the Hessian [K̄ᵀPK̄, −K̄ᵀP; −PK̄, P], the gradient
  /// [K̄ᵀPk̄; −Pk̄] and the constant ½ (k̄ᵀPk̄ + log|C̄| + m log 2π).
  ///
  /// - Parameter policy: π̄: the policy, linearised along the controller's rollouts.
  /// - Returns: a cost that is 0 at the last state.
  public func penalty(for policy: LinearGaussianController) -> QuadraticCost {
    requireShape(policy)
    let (n, m, d, T) = (policy.state, control, policy.state + control, horizon)
    var cost = QuadraticCost(state: n, control: m, horizon: T)
    let PK = Scratch<Double>(m * n)
    let Pk = Scratch<Double>(m)
    policy.gains.storage.withUnsafeBufferPointer { gains in
      policy.precisions.storage.withUnsafeBufferPointer { precisions in
        for t in 0..<T {
          let ν = weights[t]
          var logDeterminant = 0.0
          for i in 0..<m {
            logDeterminant +=
              2 * log(policy.covarianceFactors.storage[t * m * m + i + m * i])
            var sum = 0.0
            for j in 0..<m { sum += precisions[t * m * m + i + m * j] * policy.offsets[j, t] }
            Pk.pointer[i] = sum
            for c in 0..<n {
              var sum = 0.0
              for j in 0..<m {
                sum += precisions[t * m * m + i + m * j] * gains[t * m * n + j + m * c]
              }
              PK.pointer[i + m * c] = sum
            }
          }
          let base = t * d * d
          for c in 0..<n {
            for r in c..<n {
              var sum = 0.0
              for i in 0..<m { sum += gains[t * m * n + i + m * r] * PK.pointer[i + m * c] }
              cost.hessians.storage[base + r + d * c] = ν * sum
              cost.hessians.storage[base + c + d * r] = ν * sum
            }
            var sum = 0.0
            for i in 0..<m {
              cost.hessians.storage[base + n + i + d * c] = -ν * PK.pointer[i + m * c]
              cost.hessians.storage[base + c + d * (n + i)] = -ν * PK.pointer[i + m * c]
              sum +=
                gains[t * m * n + i + m * c] * (ν * Pk.pointer[i] + multipliers[i, t])
            }
            cost.gradients[c, t] = sum
          }
          var (square, pull) = (0.0, 0.0)
          for i in 0..<m {
            for j in 0..<m {
              cost.hessians.storage[base + n + i + d * (n + j)] =
                ν * precisions[t * m * m + i + m * j]
            }
            cost.gradients[n + i, t] = -ν * Pk.pointer[i] - multipliers[i, t]
            square += policy.offsets[i, t] * Pk.pointer[i]
            pull += policy.offsets[i, t] * multipliers[i, t]
          }
          cost.constants[t] =
            ν * 0.5 * (square + logDeterminant + Double(m) * log(2 * Double.pi)) + pull
        }
      }
    }
    return cost
  }

  /// The controller whose means are the S-step's targets: û − C_t λ_t / ν_t, with û = K x + k, and its
  /// precisions times ν_t the weights of their squares.
  ///
  /// - Parameter controller: p.
  /// - Returns: its offsets less C_t λ_t / ν_t: m × T.
  public func targetOffsets(for controller: LinearGaussianController) -> Matrix {
    requireShape(controller)
    let m = control
    var offsets = controller.offsets
    for t in 0..<horizon {
      for j in 0..<m {
        let scale = multipliers[j, t] / weights[t]
        for i in 0..<m {
          offsets[i, t] -= controller.covariances.storage[t * m * m + i + m * j] * scale
        }
      }
    }
    return offsets
  }

  /// λ_t ← λ_t + α ν_t C_t⁻¹ (E_π̄[u_t] − E_p[u_t]), where the difference of the mean controls is
  /// (K̄ − K) μ_t + k̄ − k: a mean over states needs no more of them than their mean.
  ///
  /// - Parameters:
  ///   - controller: p.
  ///   - policy: π̄.
  ///   - stateMeans: μ_t, of p's marginals or of its rollouts: n × (T + 1) or n × T.
  ///   - options: whose rate is used.
  /// - Throws: `LQRError.inputNotFinite`: the multipliers are left as they are.
  public mutating func updateMultipliers(
    from controller: LinearGaussianController, to policy: LinearGaussianController,
    stateMeans: Matrix, options: Options = Options()
  ) throws(LQRError) {
    requireShape(controller)
    requireShape(policy)
    let (n, m) = (controller.state, control)
    precondition(
      policy.state == n && stateMeans.rows == n && stateMeans.columns >= horizon,
      "a policy of \(policy.state) states and means of \(stateMeans.rows) × \(stateMeans.columns) "
        + "for a controller of \(n) states over \(horizon) steps")
    var next = multipliers
    let gap = Scratch<Double>(m)
    for t in 0..<horizon {
      for i in 0..<m { gap.pointer[i] = policy.offsets[i, t] - controller.offsets[i, t] }
      for j in 0..<n {
        for i in 0..<m {
          let entry = (t * n + j) * m + i
          gap.pointer[i] +=
            (policy.gains.storage[entry] - controller.gains.storage[entry]) * stateMeans[j, t]
        }
      }
      let step = options.rate * weights[t]
      for j in 0..<m {
        for i in 0..<m {
          next[i, t] +=
            step * controller.precisions.storage[t * m * m + i + m * j] * gap.pointer[j]
        }
      }
    }
    if let entry = next.storage.firstNonFinite {
      throw .inputNotFinite(field: "mean controls", step: entry / max(1, m))
    }
    multipliers = next
  }

  /// Doubles ν_t where the KL divergence of that step lies half a standard deviation above its mean over
  /// time, and halves it where it lies as far below (with the default settings): the penalty goes where
  /// the two disagree. Equal divergences change nothing.
  ///
  /// - Parameters:
  ///   - divergences: T numbers [nats], such as `klDivergences(from:to:over:)` gives them.
  ///   - options: of the update.
  /// - Throws: `LQRError.inputNotFinite`: the weights are left as they are.
  public mutating func updateWeights(
    divergences: [Double], options: Options = Options()
  ) throws(LQRError) {
    precondition(
      divergences.count == horizon, "\(divergences.count) divergences for \(horizon) steps")
    if let step = divergences.firstNonFinite {
      throw .inputNotFinite(field: "divergences", step: step)
    }
    if horizon == 0 { return }
    let mean = divergences.reduce(0) { $0 + $1 / Double(horizon) }
    let variance = divergences.reduce(0) { $0 + ($1 - mean) * ($1 - mean) / Double(horizon) }
    // Below it, a difference is the mean's rounding.
    let reach = max(options.deviations * variance.squareRoot(), 1e-12 * abs(mean))
    for (t, divergence) in divergences.enumerated() {
      if divergence > mean + reach {
        weights[t] = min(weights[t] * options.factor, options.largestWeight)
      } else if divergence < mean - reach {
        weights[t] = max(weights[t] / options.factor, options.smallestWeight)
      }
    }
  }

  private func requireShape(_ controller: LinearGaussianController) {
    precondition(
      controller.control == control && controller.horizon == horizon,
      "a controller of \(controller.control) controls and \(controller.horizon) steps for "
        + "multipliers of \(control) × \(horizon)")
  }
}

extension AugmentedLagrangian.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field("rate", \.rate, .notNegative, "How fast the multipliers follow the difference.")
    Field(
      "deviations", \.deviations, .notNegative,
      "Standard deviations over time of a step's divergence from which its weight changes.")
    Field(
      "factor", \.factor, .atLeastOne,
      "The factor by which it then changes.")
    Field("smallestWeight", \.smallestWeight, .above(0), "Smallest weight.")
    Field("largestWeight", \.largestWeight, .above(0), "Largest weight.")
  } rule: { options throws(InvalidOption) in
    try InvalidOption.require(
      options.largestWeight >= options.smallestWeight, "largestWeight", options.largestWeight,
      "at least smallestWeight")
  }
}
