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
// The passes work on w instead of u = K x + k + L w, where P⁻¹ = L Lᵀ: then q is N(0, I), −log q is
// ½ wᵀ w, and all that depends on q goes into the cost and the dynamics once. A pass scales the cost by
// 1/η, adds I to Q_ww, and its divergence needs nothing of q.
//
// Levine & Abbeel 2014, section 3; Montgomery & Levine 2016, section 4 and appendix A.

package import Configuration
import Foundation
public import GPSCore
import LinearAlgebra

/// Improves a local controller against a quadratic cost within a bound on the KL divergence from a
/// reference controller. What the reference is, the caller decides: the previous controller in
/// trajectory optimisation, the linearised global policy in mirror descent.
public struct KLConstrainedLQR: Sendable {
  /// Settings of the search for the dual variable.
  public struct Options: Sendable, Equatable {
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
    public func validated() throws(InvalidOption) -> Options { try checked() }
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
  /// Without a bound the reference does not matter either: gains and offsets are then those of the
  /// linear-quadratic optimum, if there is one, and the covariance is `minDual` · Q_uu⁻¹. A finite bound that
  /// is never reached ends at the smallest dual, which still weighs a reference of little noise.
  ///
  /// - Parameters:
  ///   - reference: q, from which the divergence is measured.
  ///   - cost: ℓ, in absolute coordinates; indefinite Hessians are allowed.
  ///   - dynamics: linear-Gaussian, with the distribution of the initial state.
  ///   - bound: ε > 0, on the divergence summed over the trajectory [nats]; infinity, or anything beyond
  ///     1e100, for none.
  ///   - initialDual: η to try first, such as the one of the previous iteration; nil for one of the cost's
  ///     own size.
  /// - Returns: the controller with the divergence closest to the bound.
  /// - Throws: `LQRError.inputNotFinite` with field and time step where an input is NaN or infinite, or
  ///   another `LQRError` when no dual up to `maxDual` gives a finite controller: the caller keeps the
  ///   controller it has.
  public func improve(
    from reference: LinearGaussianController, cost: QuadraticCost,
    dynamics: LinearGaussianDynamics, bound: Double, initialDual: Double? = nil
  ) throws(LQRError) -> Solution {
    requireSameShapes(cost, dynamics)
    precondition(
      reference.state == dynamics.state && reference.control == dynamics.control
        && reference.horizon == dynamics.horizon,
      "a reference of \(reference.state) × \(reference.control) × \(reference.horizon) for "
        + "dynamics of \(dynamics.state) × \(dynamics.control) × \(dynamics.horizon)")
    precondition(bound > 0, "a bound of \(bound) on the divergence")
    if let input = cost.nonFinite ?? dynamics.nonFinite ?? reference.nonFinite {
      throw input.error
    }

    let surrogate = SurrogateProblem(cost: cost, dynamics: dynamics, reference: reference)
    let unit = surrogate.costSize
    var search = DualSearch(
      options: options, bound: bound, initialDual: initialDual ?? unit, unit: unit)
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
    var isStale = dual != search.lastDual
    if search.status == .constraintInactive && bound > DualSearch.largestBound {
      search.passes += 1
      if case .success(let value) = surrogate.pass(dual: dual, ridge: 0) {
        return try surrogate.solution(cost: cost, divergence: value, dual: dual, search: search)
      }
      isStale = true
    }
    if isStale {
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

/// The search for the dual, in a unit of the cost's own, so that a factor on the cost changes nothing:
/// bracketing and a secant on log KL(η) − log ε against log η, with bisection
/// as its safeguard. It knows nothing of controllers, only pairs of numbers.
struct DualSearch {
  /// A point of the search, η as a multiple of the unit; `excess` is log KL − log ε, nil where the pass failed.
  struct Point {
    var logDual: Double
    var excess: Double?
  }

  /// Bounds beyond this [nats] are none.
  static let largestBound = 1e100

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
  private let unit: Double
  private let (lowest, highest): (Double, Double)
  private var logDual: Double
  private var isLastOnSameSide = 0

  init(
    options: KLConstrainedLQR.Options, bound: Double, initialDual: Double, unit: Double = 1
  ) {
    self.options = options
    self.bound = bound
    self.unit = unit
    lowest = log(options.minDual / unit)
    highest = log(options.maxDual / unit)
    // Without a bound the smallest dual is the answer, unless it fails.
    let start = bound > Self.largestBound ? options.minDual : initialDual
    logDual = min(max(log(start / unit), lowest), highest)
  }

  /// The dual to try next; nil when the search is over.
  var nextDual: Double? { status == nil && passes < options.maxPasses ? dual(logDual) : nil }

  /// The dual of the best feasible pass; nil if there was none.
  var chosenDual: Double? { above.map { dual($0.logDual) } }

  private func dual(_ log: Double) -> Double { exp(log) * unit }

  var finalStatus: KLConstrainedLQR.Status { status ?? .passesExhausted }

  mutating func recordFailure() {
    passes += 1
    indefinitePasses += 1
    lastDual = dual(logDual)
    below = Point(logDual: logDual, excess: nil)
    if logDual >= highest { passes = options.maxPasses }
    advance()
  }

  mutating func record(divergence: Double) {
    passes += 1
    lastDual = dual(logDual)
    let excess = log(max(divergence, 1e-300)) - log(bound)
    if bound.isFinite && abs(divergence - bound) <= options.tolerance * bound {
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
      if logDual >= highest { passes = options.maxPasses }
    } else {
      if isLastOnSameSide < 0, let b = below?.excess { below?.excess = b / 2 }
      isLastOnSameSide = -1
      above = Point(logDual: logDual, excess: excess)
      chosenDivergence = divergence
      if logDual <= lowest {
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
      logDual = min(low.logDual + step, highest)
    case (nil, let high?):
      let step = high.excess.map { min(max(-1.2 * $0 / slope, 0.1), log(1e4)) } ?? log(10)
      logDual = max(high.logDual - step, lowest)
    case (nil, nil): break
    }
  }
}

/// The linear-quadratic problem in the whitened controls, with everything that its passes need,
/// allocated once.
struct SurrogateProblem: ~Copyable {
  let n: Int
  let m: Int
  let T: Int
  private let dynamics: LinearGaussianDynamics
  private let reference: LinearGaussianController
  /// Cost (T + 1 of each) and dynamics (T of each) of [x; w].
  private let hessians: Scratch<Double>
  private let gradients: Scratch<Double>
  private let transitions: Scratch<Double>
  private let offsets: Scratch<Double>
  private let riccati: RiccatiWorkspace
  private let forward: MarginalsWorkspace

  init(
    cost: QuadraticCost, dynamics: LinearGaussianDynamics, reference: LinearGaussianController
  ) {
    (n, m, T) = (dynamics.state, dynamics.control, dynamics.horizon)
    let d = n + m
    self.dynamics = dynamics
    self.reference = reference
    hessians = Scratch((T + 1) * d * d)
    gradients = Scratch((T + 1) * d)
    transitions = Scratch(T * n * d)
    offsets = Scratch(T * n)
    riccati = RiccatiWorkspace(n: n, m: m, T: T, withValues: false)
    forward = MarginalsWorkspace(n: n, m: m, T: T)
    withProblem(cost: cost, dynamics: dynamics) { problem in
      withController(reference) { K, k, L in whiten(problem, K, k, L) }
    }
  }

  /// With [x; u] = M [x; w] + [0; k], M = [I 0; K L]: Hessian Mᵀ C M, gradient Mᵀ (c + C [0; k]),
  /// transition F M, offset f + B k.
  private func whiten(
    _ problem: LQProblem, _ K: UnsafePointer<Double>, _ k: UnsafePointer<Double>,
    _ L: UnsafePointer<Double>
  ) {
    let (n, m, d) = (self.n, self.m, self.n + self.m)
    hessians.pointer.update(from: problem.hessians, count: (T + 1) * d * d)
    gradients.pointer.update(from: problem.gradients, count: (T + 1) * d)
    transitions.pointer.update(from: problem.transitions, count: T * n * d)
    offsets.pointer.update(from: problem.offsets, count: T * n)
    let product = Scratch<Double>(d * m)
    for t in 0..<T {
      let (K, k, L) = (K + t * m * n, k + t * m, L + t * m * m)
      let H = hessians.pointer + t * d * d
      let g = gradients.pointer + t * d
      // [F_x + F_u K, F_u L], and the same for the columns of C.
      for (A, rows, offset) in [
        (transitions.pointer + t * n * d, n, offsets.pointer + t * n), (H, d, g),
      ] {
        let B = A + rows * n
        Kernels.gemv(m: rows, n: m, B, rows, k, 1, offset)
        Kernels.gemm(m: rows, n: n, k: m, B, rows, K, m, 1, A, rows)
        Kernels.gemm(m: rows, n: m, k: m, B, rows, L, m, 0, product.pointer, rows)
        B.update(from: product.pointer, count: rows * m)
      }
      // The same for its rows. Of the result, the rows of w are read only in the columns of w.
      Kernels.gemm(transposeA: true, m: n, n: d, k: m, K, m, H + n, d, 1, H, d)
      Kernels.gemm(
        transposeA: true, m: m, n: m, k: m, L, m, H + n + d * n, d, 0, product.pointer, m)
      for j in 0..<m { for i in 0..<m { H[n + i + d * (n + j)] = product.pointer[i + m * j] } }
      Kernels.gemv(transpose: true, m: m, n: n, K, m, g + n, 1, g)
      Kernels.gemv(transpose: true, m: m, n: m, L, m, g + n, 0, product.pointer)
      (g + n).update(from: product.pointer, count: m)
    }
  }

  /// The size of the cost in whitened coordinates, per time step: where a search for the dual may start, and
  /// the unit that it reckons in. 1 for a cost of 0.
  var costSize: Double {
    let d = n + m
    var sum = 0.0
    for t in 0...T {
      for i in 0..<d {
        sum += abs(hessians.pointer[t * d * d + i * (d + 1)]) + abs(gradients.pointer[t * d + i])
      }
    }
    let size = sum / Double(T + 1)
    return size.isFinite && size > 0 ? size : 1
  }

  /// Backward pass for one dual, forward pass, and the divergence that results.
  ///
  /// - Parameters:
  ///   - dual: η.
  ///   - ridge: the share of −log q in the surrogate cost; 0 for the cost alone.
  /// - Returns: Σ_t KL(p ‖ q) [nats], or why there is no such controller.
  func pass(dual: Double, ridge: Double = 1) -> Result<Double, LQRError> {
    let failedStep = riccati.backward(
      LQProblem(
        hessians: hessians.pointer, gradients: gradients.pointer, transitions: transitions.pointer,
        offsets: offsets.pointer, scale: 1 / dual, ridge: ridge))
    if let step = failedStep {
      return .failure(
        .notPositiveDefinite(step: step, eigenvalue: smallestCurvature(step), dual: dual))
    }
    let exploded = forward.forward(
      transitions.pointer, offsets.pointer, dynamics, riccati.gains.pointer,
      riccati.offsets.pointer, noise: .precisionFactors(riccati.curvatureFactors.pointer))
    if let step = exploded { return .failure(.marginalsNotFinite(step: step, dual: dual)) }
    var divergence = 0.0
    for t in 0..<T { divergence += forward.divergences.pointer[t] }
    return divergence.isFinite
      ? .success(divergence) : .failure(.marginalsNotFinite(step: T, dual: dual))
  }

  /// The smallest eigenvalue of Q_uu = L⁻ᵀ Q_ww L⁻¹ in the step that the backward pass stopped at.
  private func smallestCurvature(_ step: Int) -> Double {
    let Qww = riccati.curvature(step)
    guard Qww.isFinite else { return .nan }
    var half = Qww
    var Quu = Qww
    reference.covarianceFactors.storage.withUnsafeBufferPointer { L in
      guard let L = L.baseAddress.map({ $0 + step * m * m }) else { return }
      half.solveTransposed(L)
      Quu = half.transposed
      Quu.solveTransposed(L)
    }
    return smallestEigenvalue(Quu)
  }

  /// The result of the last pass, in terms of u: gains K + L K_w, offsets k + L k_w, covariance
  /// N Nᵀ with N = L L_w⁻ᵀ, where Q_ww = L_w L_wᵀ, and precision R Rᵀ with R = L⁻ᵀ L_w.
  func solution(
    cost: QuadraticCost, divergence: Double, dual: Double, search: DualSearch
  ) throws(LQRError) -> KLConstrainedLQR.Solution {
    let (n, m, T) = (self.n, self.m, self.T)
    let gains = Scratch<Double>(T * m * n)
    let offsets = Scratch<Double>(T * m)
    let controls = Scratch<Double>(T * m)
    let covariances = Scratch<Double>(T * m * m)
    let factors = Scratch<Double>(T * m * m)
    let precisions = Scratch<Double>(T * m * m)
    let failedStep: Int? = withController(reference) { K, k, L in
      gains.pointer.update(from: K, count: T * m * n)
      offsets.pointer.update(from: k, count: T * m)
      let root = Scratch<Double>(m * m)
      for t in 0..<T {
        let square = t * m * m
        let (L, Lw) = (L + square, riccati.curvatureFactors.pointer + square)
        let newGains = gains.pointer + t * m * n
        let newOffsets = offsets.pointer + t * m
        Kernels.gemm(m: m, n: n, k: m, L, m, riccati.gains.pointer + t * m * n, m, 1, newGains, m)
        Kernels.gemv(m: m, n: m, L, m, riccati.offsets.pointer + t * m, 1, newOffsets)
        (controls.pointer + t * m).update(from: newOffsets, count: m)
        Kernels.gemv(
          m: m, n: n, newGains, m, forward.means.pointer + t * n, 1, controls.pointer + t * m)
        root.pointer.update(from: L, count: m * m)
        Kernels.solveLowerRight(r: m, n: m, Lw, m, root.pointer, m)
        Kernels.syrkLower(n: m, k: m, alpha: 1, root.pointer, m, 0, covariances.pointer + square, m)
        Kernels.mirrorLower(n: m, covariances.pointer + square, m)
        root.pointer.update(from: Lw, count: m * m)
        Kernels.solveLower(transpose: true, n: m, r: m, L, m, root.pointer, m)
        Kernels.syrkLower(n: m, k: m, alpha: 1, root.pointer, m, 0, precisions.pointer + square, m)
        Kernels.mirrorLower(n: m, precisions.pointer + square, m)
        let factor = factors.pointer + square
        for j in 0..<m {
          for i in j..<m { factor[i + m * j] = covariances.pointer[square + i + m * j] }
        }
        if Kernels.choleskyLower(n: m, factor, m) != 0 { return t }
      }
      return nil
    }
    if let step = failedStep {
      throw .notPositiveDefinite(step: step, eigenvalue: .nan, dual: dual)
    }
    func squares(_ source: borrowing Scratch<Double>) -> MatrixSequence {
      MatrixSequence(rows: m, columns: m, count: T, copying: source.pointer)
    }
    do {
      let controller = try LinearGaussianController(
        gains: MatrixSequence(rows: m, columns: n, count: T, copying: gains.pointer),
        offsets: Matrix(rows: m, columns: T, copying: offsets.pointer),
        covariances: squares(covariances), covarianceFactors: squares(factors),
        precisions: squares(precisions))
      var marginals = forward.marginals()
      marginals.controlMeans = Matrix(rows: m, columns: T, copying: controls.pointer)
      return KLConstrainedLQR.Solution(
        controller: controller, marginals: marginals,
        expectedCosts: cost.expectations(over: marginals, under: controller),
        divergence: divergence, dual: dual, passes: search.passes,
        indefinitePasses: search.indefinitePasses, status: search.finalStatus)
    } catch {
      guard case .notFinite(let field, let step) = error else {
        throw .notPositiveDefinite(step: 0, eigenvalue: .nan, dual: dual)
      }
      throw .inputNotFinite(field: "new controller's \(field)", step: step)
    }
  }
}

extension Matrix {
  /// Multiplies by L⁻ᵀ from the left.
  fileprivate mutating func solveTransposed(_ L: UnsafePointer<Double>) {
    let (n, r) = (rows, columns)
    storage.withUnsafeMutableBufferPointer { b in
      guard let b = b.baseAddress else { return }
      Kernels.solveLower(transpose: true, n: n, r: r, L, n, b, n)
    }
  }
}

extension KLConstrainedLQR.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "tolerance", \.tolerance, .fraction,
      "Relative distance from the bound to stop at.")
    Field("maxPasses", \.maxPasses, .atLeast(4), "Most backward passes.")
    Field("minDual", \.minDual, .above(0), "Smallest dual variable.")
    Field("maxDual", \.maxDual, .above(0), "Largest dual variable.")
  } rule: { options throws(InvalidOption) in
    try InvalidOption.require(
      options.maxDual > options.minDual, "maxDual", options.maxDual, "more than minDual")
  }
}
