// The local optimisation of guided policy search.
//
//   minimise    E_p[ℓ(τ)]      over time-varying linear-Gaussian controllers p
//   subject to  Σ_t KL(p(u_t | x_t) ‖ q(u_t | x_t)) ≤ ε
//
// For a multiplier η of the constraint, the minimiser is the maximum-entropy solution of a
// linear-quadratic problem with the surrogate cost
//
//   ℓ / η − log q      with Hessian  C / η + [Kᵀ P K, −Kᵀ P; −P K, P]   and gradient  c / η + [Kᵀ P k; −P k]
//
// where q = N(K x + k, P⁻¹), and its action covariance is Q_uu⁻¹. The divergence falls as η grows, so
// that η is the root of log KL(η) − log ε, sought on a logarithmic scale.
//
// Levine & Abbeel 2014, section 3; Montgomery & Levine 2016, section 4 and appendix A.

import Foundation
public import GPSCore
import LinearAlgebra

/// Improves a local controller against a quadratic cost within a bound on the KL divergence from a
/// reference controller. What the reference is, the caller decides: the previous controller in
/// trajectory optimisation, the linearised global policy in mirror descent.
public struct KLConstrainedLQR: Sendable {
  /// Settings of the search for the dual variable.
  public struct Options: Sendable, Codable, Equatable {
    /// Relative distance from the bound at which the search stops.
    public var tolerance = 0.1
    /// Backward passes after which the best feasible controller is taken.
    public var maxPasses = 30
    /// Smallest dual η; reached when the constraint is inactive.
    public var minDual = 1e-8
    /// Largest dual η.
    public var maxDual = 1e16

    /// The defaults.
    public init() {}

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options {
      try InvalidOption.require(tolerance > 0 && tolerance < 1, "tolerance", tolerance, "in (0, 1)")
      try InvalidOption.require(maxPasses >= 4, "maxPasses", maxPasses, "at least 4")
      try InvalidOption.require(minDual > 0, "minDual", minDual, "more than 0")
      try InvalidOption.require(
        maxDual > minDual && maxDual.isFinite, "maxDual", maxDual, "finite, more than minDual")
      return self
    }
  }

  /// How a search for the dual ended.
  public enum Status: String, Sendable, Codable {
    /// The divergence is within the tolerance of its bound.
    case converged
    /// Even the smallest dual keeps the divergence below its bound.
    case constraintInactive
    /// The passes ran out; the best feasible controller was taken.
    case passesExhausted
  }

  /// The improved controller and what the model expects of it.
  public struct Solution: Sendable {
    /// The new local controller.
    public var controller: LinearGaussianController
    /// Its state and control distribution under the dynamics.
    public var marginals: Marginals
    /// Expected cost at every step: T + 1 numbers.
    public var expectedCosts: [Double]
    /// Σ_t KL(p ‖ q) [nats].
    public var divergence: Double
    /// η.
    public var dual: Double
    /// Backward passes of the search, failed ones included.
    public var passes: Int
    /// Passes that failed because Q_uu was not positive definite, after which η was raised.
    public var indefinitePasses: Int
    /// How the search ended.
    public var status: Status
  }

  /// Settings of the search.
  public var options: Options

  /// A solver with the given settings.
  public init(options: Options = Options()) { self.options = options }

  /// One improvement of a local controller.
  ///
  /// - Parameters:
  ///   - reference: q, from which the divergence is measured.
  ///   - cost: ℓ, in absolute coordinates; indefinite Hessians are allowed.
  ///   - dynamics: linear-Gaussian, with the distribution of the initial state.
  ///   - bound: ε, on the divergence summed over the trajectory [nats].
  ///   - initialDual: η to try first, such as the one of the previous iteration.
  /// - Returns: the controller with the divergence closest to the bound.
  /// - Throws: `LQRError` when no dual up to `maxDual` gives a finite controller: the caller keeps
  ///   the controller it has.
  public func improve(
    from reference: LinearGaussianController, cost: QuadraticCost,
    dynamics: LinearGaussianDynamics, bound: Double, initialDual: Double = 1
  ) throws(LQRError) -> Solution {
    requireSameShapes(cost, dynamics)
    precondition(
      reference.state == dynamics.state && reference.control == dynamics.control
        && reference.horizon == dynamics.horizon,
      "a reference of \(reference.state) × \(reference.control) × \(reference.horizon) for "
        + "dynamics of \(dynamics.state) × \(dynamics.control) × \(dynamics.horizon)")
    precondition(bound > 0, "a bound of \(bound) on the divergence")
    if cost.firstNonFiniteStep != nil { throw .inputNotFinite(field: "cost") }
    if !dynamics.transitions.isFinite || !dynamics.offsets.isFinite {
      throw .inputNotFinite(field: "dynamics")
    }

    let surrogate = SurrogateProblem(cost: cost, dynamics: dynamics, reference: reference)
    var search = DualSearch(options: options, bound: bound, initialDual: initialDual)
    var lastFailure: LQRError?
    while let dual = search.nextDual {
      switch surrogate.pass(dual: dual) {
      case .success(let divergence):
        search.record(divergence: divergence)
        lastFailure = .boundNotReached(bound: bound, divergence: divergence, dual: dual)
      case .failure(let error):
        lastFailure = error
        search.recordFailure()
      }
    }
    guard let dual = search.chosenDual else {
      throw lastFailure ?? .marginalsNotFinite(step: 0, dual: options.maxDual)
    }
    var divergence = search.chosenDivergence
    if dual != search.lastDual {
      search.passes += 1
      switch surrogate.pass(dual: dual) {
      case .success(let value): divergence = value
      case .failure(let error): throw error
      }
    }
    return try surrogate.solution(
      cost: cost, divergence: divergence, dual: dual, search: search)
  }
}

/// The search for the dual: bracketing and a secant on log KL(η) − log ε against log η, with bisection
/// as its safeguard. It knows nothing of controllers, only pairs of numbers.
struct DualSearch {
  /// A point of the search; `excess` is log KL − log ε, nil where the pass failed.
  struct Point {
    var logDual: Double
    var excess: Double?
  }

  let options: KLConstrainedLQR.Options
  let bound: Double
  /// The highest dual known to be too small, and the lowest known to be large enough.
  private(set) var below: Point?
  private(set) var above: Point?
  private(set) var status: KLConstrainedLQR.Status?
  private(set) var chosenDivergence = 0.0
  private(set) var indefinitePasses = 0
  private(set) var lastDual = 0.0
  var passes = 0
  private var logDual: Double
  private var isLastOnSameSide = 0

  init(options: KLConstrainedLQR.Options, bound: Double, initialDual: Double) {
    self.options = options
    self.bound = bound
    logDual = log(min(max(initialDual, options.minDual), options.maxDual))
  }

  /// The dual to try next; nil when the search is over.
  var nextDual: Double? { status == nil && passes < options.maxPasses ? exp(logDual) : nil }

  /// The dual of the best feasible pass; nil if there was none.
  var chosenDual: Double? { above.map { exp($0.logDual) } }

  var finalStatus: KLConstrainedLQR.Status { status ?? .passesExhausted }

  mutating func recordFailure() {
    passes += 1
    indefinitePasses += 1
    lastDual = exp(logDual)
    below = Point(logDual: logDual, excess: nil)
    if logDual >= log(options.maxDual) { passes = options.maxPasses }
    advance()
  }

  mutating func record(divergence: Double) {
    passes += 1
    lastDual = exp(logDual)
    let excess = log(max(divergence, 1e-300)) - log(bound)
    if abs(divergence - bound) <= options.tolerance * bound {
      above = Point(logDual: logDual, excess: excess)
      chosenDivergence = divergence
      status = .converged
      return
    }
    if excess > 0 {
      // Two points in a row on one side: halve the other side's excess, so that the secant does not
      // creep (the Illinois rule).
      if isLastOnSameSide > 0, let a = above?.excess { above?.excess = a / 2 }
      isLastOnSameSide = 1
      below = Point(logDual: logDual, excess: excess)
      if logDual >= log(options.maxDual) { passes = options.maxPasses }
    } else {
      if isLastOnSameSide < 0, let b = below?.excess { below?.excess = b / 2 }
      isLastOnSameSide = -1
      above = Point(logDual: logDual, excess: excess)
      chosenDivergence = divergence
      if logDual <= log(options.minDual) {
        status = .constraintInactive
        return
      }
    }
    advance()
  }

  /// Chooses the next dual from the bracket.
  private mutating func advance() {
    // The divergence falls between like 1/η and like 1/η² where the bound matters.
    let slope = 1.5
    switch (below, above) {
    case (let low?, let high?):
      let width = high.logDual - low.logDual
      var next = 0.5 * (low.logDual + high.logDual)
      if let a = low.excess, let b = high.excess {
        next = low.logDual + width * a / (a - b)
      } else if let b = high.excess {
        next = max(next, high.logDual + b / slope)
      }
      logDual = min(max(next, low.logDual + 0.05 * width), high.logDual - 0.05 * width)
      // The bracket has closed on a jump: the feasible side is the answer.
      if width < 1e-2 * options.tolerance { status = .passesExhausted }
    case (let low?, nil):
      let step = low.excess.map { min(max(1.2 * $0 / slope, 0.1), log(1e4)) } ?? log(10)
      logDual = min(low.logDual + step, log(options.maxDual))
    case (nil, let high?):
      let step = high.excess.map { min(max(-1.2 * $0 / slope, 0.1), log(1e4)) } ?? log(10)
      logDual = max(high.logDual - step, log(options.minDual))
    case (nil, nil): break
    }
  }
}

/// The surrogate linear-quadratic problem with everything that its passes need, allocated once.
struct SurrogateProblem: ~Copyable {
  let n: Int
  let m: Int
  let T: Int
  private let cost: QuadraticCost
  private let dynamics: LinearGaussianDynamics
  private let reference: LinearGaussianController
  /// Hessians and gradients of −log q (T of each), and of the surrogate (T + 1).
  private let referenceHessians: Scratch<Double>
  private let referenceGradients: Scratch<Double>
  private let hessians: Scratch<Double>
  private let gradients: Scratch<Double>
  /// C = Q_uu⁻¹ and its lower factor (T matrices m × m each).
  private let covariances: Scratch<Double>
  private let factors: Scratch<Double>
  private let riccati: RiccatiWorkspace
  private let forward: MarginalsWorkspace
  private let kl: KLWorkspace

  init(
    cost: QuadraticCost, dynamics: LinearGaussianDynamics, reference: LinearGaussianController
  ) {
    (n, m, T) = (dynamics.state, dynamics.control, dynamics.horizon)
    let d = n + m
    self.cost = cost
    self.dynamics = dynamics
    self.reference = reference
    referenceHessians = Scratch(T * d * d)
    referenceGradients = Scratch(T * d)
    hessians = Scratch((T + 1) * d * d)
    gradients = Scratch((T + 1) * d)
    covariances = Scratch(T * m * m)
    factors = Scratch(T * m * m)
    riccati = RiccatiWorkspace(n: n, m: m, T: T)
    forward = MarginalsWorkspace(n: n, m: m, T: T)
    kl = KLWorkspace(n: n, m: m)
    expandReference()
  }

  /// −log q = ½ (u − K x − k)ᵀ P (u − K x − k) + …: Hessian [Kᵀ P K, −Kᵀ P; −P K, P], gradient [Kᵀ P k; −P k].
  private func expandReference() {
    let (n, m, d) = (self.n, self.m, self.n + self.m)
    let G = Scratch(m * d)
    let PG = Scratch(m * d)
    reference.gains.storage.withUnsafeBufferPointer { K in
      reference.offsets.storage.withUnsafeBufferPointer { k in
        reference.precisions.storage.withUnsafeBufferPointer { P in
          guard let P = P.baseAddress, let k = k.baseAddress else { return }
          for t in 0..<T {
            // With G = [−K I]: Hessian Gᵀ P G, gradient −Gᵀ P k.
            for j in 0..<n { for i in 0..<m { G.pointer[i + m * j] = -K[t * m * n + i + m * j] } }
            for j in 0..<m { for i in 0..<m { G.pointer[i + m * (n + j)] = i == j ? 1 : 0 } }
            Kernels.gemm(m: m, n: d, k: m, P + t * m * m, m, G.pointer, m, 0, PG.pointer, m)
            Kernels.gemm(
              transposeA: true, m: d, n: d, k: m, G.pointer, m, PG.pointer, m, 0,
              referenceHessians.pointer + t * d * d, d)
            Kernels.gemv(
              transpose: true, m: m, n: d, alpha: -1, PG.pointer, m, k + t * m, 0,
              referenceGradients.pointer + t * d)
          }
        }
      }
    }
  }

  /// Backward pass on the surrogate for one dual, forward pass, and the divergence that results.
  func pass(dual: Double) -> Result<Double, LQRError> {
    let (n, m, d) = (self.n, self.m, self.n + self.m)
    let scale = 1 / dual
    cost.hessians.storage.withUnsafeBufferPointer { C in
      for i in 0..<(T * d * d) {
        hessians.pointer[i] = scale * C[i] + referenceHessians.pointer[i]
      }
      for i in (T * d * d)..<((T + 1) * d * d) { hessians.pointer[i] = scale * C[i] }
    }
    cost.gradients.storage.withUnsafeBufferPointer { c in
      for i in 0..<(T * d) { gradients.pointer[i] = scale * c[i] + referenceGradients.pointer[i] }
      for i in (T * d)..<((T + 1) * d) { gradients.pointer[i] = scale * c[i] }
    }
    let failedStep = withDynamics(dynamics) { F, f in
      riccati.backward(
        LQProblem(
          n: n, m: m, T: T, hessians: hessians.pointer, gradients: gradients.pointer,
          transitions: F, offsets: f))
    }
    if let step = failedStep {
      return .failure(
        .notPositiveDefinite(step: step, eigenvalue: riccati.smallestCurvature(), dual: dual))
    }
    if let step = invertCurvatures() {
      return .failure(.notPositiveDefinite(step: step, eigenvalue: .nan, dual: dual))
    }
    let exploded = forward.forward(
      dynamics, riccati.gains.pointer, riccati.offsets.pointer, noise: factors.pointer)
    if let step = exploded { return .failure(.marginalsNotFinite(step: step, dual: dual)) }
    var divergence = 0.0
    for t in 0..<T {
      divergence += kl.divergence(
        riccati.gains.pointer + t * m * n, riccati.offsets.pointer + t * m,
        factors.pointer + t * m * m, reference, t, mean: forward.means.pointer + t * n,
        covariance: forward.covariances.pointer + t * n * n)
    }
    return divergence.isFinite
      ? .success(divergence) : .failure(.marginalsNotFinite(step: T, dual: dual))
  }

  /// C_t = Q_uu⁻¹ = XᵀX with X = L⁻¹, and C_t's own lower factor.
  ///
  /// - Returns: nil, or a step whose covariance cannot be factorised.
  private func invertCurvatures() -> Int? {
    let m = self.m
    let X = Scratch(m * m)
    for t in 0..<T {
      let C = covariances.pointer + t * m * m
      let L = factors.pointer + t * m * m
      for i in 0..<(m * m) { X.pointer[i] = 0 }
      for i in 0..<m { X.pointer[i + m * i] = 1 }
      Kernels.solveLower(
        n: m, r: m, riccati.curvatureFactors.pointer + t * m * m, m, X.pointer, m)
      Kernels.gemm(transposeA: true, m: m, n: m, k: m, X.pointer, m, X.pointer, m, 0, C, m)
      Kernels.symmetrize(n: m, C, m)
      L.update(from: C, count: m * m)
      if Kernels.choleskyLower(n: m, L, m) != 0 { return t }
      for j in 0..<m { for i in 0..<j { L[i + m * j] = 0 } }
    }
    return nil
  }

  /// The result of the last pass.
  func solution(
    cost: QuadraticCost, divergence: Double, dual: Double, search: DualSearch
  ) throws(LQRError) -> KLConstrainedLQR.Solution {
    let covariances = MatrixSequence(
      rows: m, columns: m, count: T, copying: self.covariances.pointer)
    // The precision of the new controller is Q_uu itself.
    var precisions = MatrixSequence(rows: m, columns: m, count: T)
    for t in 0..<T {
      var L = Matrix(
        rows: m, columns: m, copying: riccati.curvatureFactors.pointer + t * m * m)
      for j in 0..<m { for i in 0..<j { L[i, j] = 0 } }
      precisions[t] = L * L.transposed
    }
    do {
      let controller = try LinearGaussianController(
        gains: MatrixSequence(rows: m, columns: n, count: T, copying: riccati.gains.pointer),
        offsets: Matrix(rows: m, columns: T, copying: riccati.offsets.pointer),
        covariances: covariances,
        covarianceFactors: MatrixSequence(
          rows: m, columns: m, count: T, copying: factors.pointer),
        precisions: precisions)
      let marginals = forward.marginals()
      return KLConstrainedLQR.Solution(
        controller: controller, marginals: marginals,
        expectedCosts: cost.expectations(over: marginals, under: controller),
        divergence: divergence, dual: dual, passes: search.passes,
        indefinitePasses: search.indefinitePasses, status: search.finalStatus)
    } catch {
      throw .inputNotFinite(field: "\(error)")
    }
  }
}
