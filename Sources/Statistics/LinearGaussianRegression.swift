// Time-varying linear regression by conditioning a joint normal distribution.
//
// At each step t, points z = [y; v] of p inputs and q outputs are taken as draws of N(μ, Σ). With the
// prior (μ0, Φ, m, n0) of that step (MixturePrior; none: m = n0 = 0, Φ = 0),
//
//   Σ = (Φ + S + (N m / (N + m)) (z̄ − μ0)(z̄ − μ0)ᵀ) / (N + n0)          LFDA16, appendix A.3
//   Σ_ii ← (1 + ρ) Σ_ii + ε_i             for inputs:  ρ = regularization
//   Σ_ii ← Σ_ii + φ                       for outputs: φ = covarianceFloor
//
// where ε_i is the square of what rounding makes of input i. Of the covariance floor that the mixture brings
// along in Φ_ii, an input keeps at most 1 % of its own variance: it belongs to no correlation, so that an
// input that moves less than the floor at a step would lose its coefficients to it.
//
//   v | y ~ N(F y + f, C),  F = Σ_vy Σ_yy⁻¹,  f = v̄ − F ȳ,  C = Σ_vv − Σ_vy Σ_yy⁻¹ Σ_yv
//
// all in whitened coordinates. One Cholesky factorisation gives everything:
//
//   Σ = [ L_y  0  ] [ L_yᵀ  Xᵀ   ]      F = X L_y⁻¹,   C = L_c L_cᵀ
//       [ X   L_c ] [ 0     L_cᵀ ]
//
// so that C is positive semidefinite by construction.
//
//   | z | d × N for each of T steps, d = p + q | F | q × p | f | q | C | q × q |

package import Configuration
import CMatrixKernels
public import LinearAlgebra

/// Fits v_t = F_t y_t + f_t + noise of covariance C_t to a few points per time step.
public struct LinearGaussianRegression: Sendable {
  /// How the regression is regularised.
  public struct Options: Sendable, Equatable {
    /// m = n0: the number of samples the mixture prior counts for.
    public var strength = 1.0
    /// ρ: what is added to the variance of each input, as a share of that variance.
    public var regularization = 1e-4
    /// φ: what is added to the variance of each output, as a share of its variance over the data set.
    public var covarianceFloor = 1e-10

    /// The defaults.
    public init() {}

    /// These options, checked.
    ///
    /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
    public func validated() throws(InvalidOption) -> Options { try checked() }
  }

  /// The fitted conditional distributions.
  public struct Fit: Sendable {
    /// F: T matrices, q × p.
    public var coefficients: MatrixSequence
    /// f: q × T.
    public var offsets: Matrix
    /// C: T matrices, q × q, symmetric positive semidefinite.
    public var covariances: MatrixSequence
    /// Steps whose joint covariance needed jitter before it factored.
    public var jitteredSteps: Int
    /// The largest jitter, as a share of each variance at its step.
    public var largestJitter: Double

    /// Puts the fit of some steps in its place.
    package mutating func replace(_ steps: Range<Int>, by part: Fit) {
      for (own, t) in zip(0..<part.coefficients.count, steps) {
        coefficients[t] = part.coefficients[own]
        covariances[t] = part.covariances[own]
        offsets.setColumn(t, to: part.offsets.column(own))
      }
      jitteredSteps += part.jitteredSteps
      largestJitter = max(largestJitter, part.largestJitter)
    }
  }

  /// How to regularise.
  public var options: Options

  /// A regression.
  public init(options: Options = Options()) { self.options = options }

  /// The conditional distributions of the outputs given the inputs.
  ///
  /// - Parameters:
  ///   - points: T matrices (p + q) × N, N > 0, inputs above outputs, in the data's own units.
  ///   - p: the number of inputs.
  ///   - prior: the mixture prior; without one this is ridge regression.
  ///   - priorFloor: the covariance floor with which the prior's mixture was fitted, in whitened units
  ///     (`GaussianMixture.Options.covarianceFloor`).
  /// - Returns: F_t, f_t and C_t of every step.
  /// - Throws: `StatisticsError`.
  public func fit(
    _ points: MatrixSequence, inputCount p: Int, prior: MixturePrior?, priorFloor: Double = 0
  ) throws(StatisticsError) -> Fit {
    let (d, N, T) = (points.rows, points.columns, points.count)
    precondition(p > 0 && p < d, "\(p) inputs among \(d) numbers")
    precondition(N > 0 && T > 0, "\(N) points at each of \(T) steps")
    precondition(
      (prior?.dimension ?? d) == d, "a prior in \(prior?.dimension ?? d) dimensions for \(d)")
    let whitening: Whitening
    if let prior {
      try Whitening.requireUsable(points.storage, dimension: d, pointsPerStep: N)
      whitening = prior.whitening
    } else {
      whitening = try Whitening(of: points)
    }
    let whitened = whitening.whitened(points)
    var fit = Fit(
      coefficients: MatrixSequence(rows: d - p, columns: p, count: T),
      offsets: Matrix(rows: d - p, columns: T),
      covariances: MatrixSequence(rows: d - p, columns: d - p, count: T), jitteredSteps: 0,
      largestJitter: 0)
    let K = prior?.mixture.clusters ?? 0
    let shares = MixtureShares(points: N * T, clusters: K)
    try prior?.mixture.evaluate(whitened.storage, into: shares)
    var workspace = Workspace(inputs: p, outputs: d - p, points: N, clusters: K)
    let strength = prior == nil ? 0 : options.strength
    // The floor's part of Σ, whose weights in Φ add to m / (N + m).
    let floor = strength == 0 ? 0 : priorFloor * strength / (Double(N) + strength)
    workspace.takeRounding(whitening, floor: floor)
    for t in 0..<T {
      // The priors of some steps at once: each covariance of the mixture is read once for all of them.
      let step = t % Workspace.steps
      if step == 0, let prior, strength > 0 {
        workspace.takePriors(
          prior.mixture, shares: shares, from: t * N, steps: min(Workspace.steps, T - t), strength)
      }
      whitened.storage.withUnsafeBufferPointer { z in
        guard let z = z.baseAddress else { return }
        workspace.takePoints(z + t * d * N, step: step, prior?.mixture, strength: strength)
      }
      let jitter: Double
      do {
        jitter = try workspace.factorize(step: step, options, floor: floor)
      } catch {
        throw .jointCovariance(step: t, error)
      }
      if jitter > 0 {
        fit.jitteredSteps += 1
        fit.largestJitter = max(fit.largestJitter, jitter)
      }
      fit.coefficients.storage.withUnsafeMutableBufferPointer { F in
        fit.offsets.storage.withUnsafeMutableBufferPointer { f in
          fit.covariances.storage.withUnsafeMutableBufferPointer { C in
            guard let F = F.baseAddress, let f = f.baseAddress, let C = C.baseAddress else {
              return
            }
            let q = d - p
            workspace.write(
              step: step, whitening, coefficients: F + t * q * p, offset: f + t * q,
              covariance: C + t * q * q)
          }
        }
      }
    }
    return fit
  }
}

/// The scratch of one fit, and its steps.
private struct Workspace: ~Copyable {
  /// The most that an input keeps of its prior's covariance floor, as a share of its own variance.
  static let keptFloor = 1e-2
  /// Steps whose priors are made at once.
  static let steps = Int(MK_SUMS)

  let p: Int
  let q: Int
  let N: Int
  let K: Int
  var d: Int { p + q }
  /// Σ, then its factor: d × d, lower triangle, for each of the steps.
  let joints: Scratch<Double>
  /// Σ again, in case it has to be factorised with jitter.
  let copy: Scratch<Double>
  /// z̄.
  let mean: Scratch<Double>
  /// μ0.
  let priorMean: Scratch<Double>
  /// The clusters with a share in any of the steps, and their weights at each step.
  let active: Scratch<Int32>
  let weights: Scratch<Double>
  let dense: Scratch<Double>
  /// d × (K + N + 1).
  let columns: Scratch<Double>
  /// Fᵀ in whitened coordinates: p × q.
  let solution: Scratch<Double>
  /// L_c: q × q.
  let residual: Scratch<Double>
  /// ε: p numbers.
  let rounding: Scratch<Double>
  private var activeCount = 0

  init(inputs p: Int, outputs q: Int, points N: Int, clusters K: Int) {
    (self.p, self.q, self.N, self.K) = (p, q, N, K)
    let d = p + q
    joints = Scratch(Self.steps * d * d)
    copy = Scratch(d * d)
    mean = Scratch(d)
    priorMean = Scratch(d)
    active = Scratch(K, repeating: 0)
    weights = Scratch(Self.steps * K)
    dense = Scratch(Self.steps * K)
    columns = Scratch(d * (K + N + 1))
    solution = Scratch(p * q)
    residual = Scratch(q * q)
    rounding = Scratch(p)
  }

  /// ε_i: an input that does not vary at a step, but for rounding, gets coefficients of 0.
  ///
  /// Whitening rounds to 1e-16 of the larger of 1 and the distance of the data from 0; a floor that is
  /// taken off leaves 1e-16 of itself.
  func takeRounding(_ whitening: Whitening, floor: Double) {
    for i in 0..<p {
      let relative = 1e-14 * (1 + abs(whitening.center[i]) / whitening.scale[i])
      rounding.pointer[i] = relative * relative + 1e-14 * floor
    }
  }

  /// The clusters' weights at some steps, and Σ_k w_k Σ_k / (N + n0), Φ's part within clusters.
  ///
  /// - Parameters:
  ///   - mixture: in whitened coordinates.
  ///   - shares: of all points.
  ///   - first: the first point of the first step.
  ///   - steps: at most `Workspace.steps`.
  ///   - strength: m = n0.
  mutating func takePriors(
    _ mixture: GaussianMixture, shares: borrowing MixtureShares, from first: Int, steps: Int,
    _ strength: Double
  ) {
    let factor = strength / (Double(N) + strength)
    for i in 0..<Self.steps * K { dense.pointer[i] = 0 }
    for step in 0..<steps {
      for n in first + step * N..<first + (step + 1) * N {
        for entry in n * K..<n * K + Int(shares.count.pointer[n]) {
          dense.pointer[Self.steps * Int(shares.cluster.pointer[entry]) + step] +=
            factor / Double(N) * shares.share.pointer[entry]
        }
      }
    }
    activeCount = 0
    for k in 0..<K {
      let weight = dense.pointer + Self.steps * k
      if (0..<steps).allSatisfy({ weight[$0] == 0 }) { continue }
      active.pointer[activeCount] = Int32(k)
      (weights.pointer + Self.steps * activeCount).update(from: weight, count: Self.steps)
      activeCount += 1
    }
    mixture.covariances.storage.withUnsafeBufferPointer { sigma in
      guard let sigma = sigma.baseAddress else { return }
      mk_weighted_sums(
        Kernels.Variant.best.rawValue, Int64(d * d), Int64(activeCount), active.pointer, sigma,
        weights.pointer,
        joints.pointer)
    }
  }

  /// Completes Σ: Φ's part between clusters, and the points' scatter.
  ///
  /// - Parameters:
  ///   - z: d × N.
  ///   - step: which of the steps that `takePriors` was called for.
  ///   - mixture: in whitened coordinates; not read if `strength` is 0.
  ///   - strength: m = n0.
  func takePoints(
    _ z: UnsafePointer<Double>, step: Int, _ mixture: GaussianMixture?, strength: Double
  ) {
    var count = 0
    if strength > 0, let mixture {
      mixture.means.storage.withUnsafeBufferPointer { mu in
        guard let mu = mu.baseAddress else { return }
        let total = strength / (Double(N) + strength)
        for i in 0..<d { priorMean.pointer[i] = 0 }
        for a in 0..<activeCount {
          let (w, center) = (
            weights.pointer[Self.steps * a + step] / total, mu + Int(active.pointer[a]) * d
          )
          if w > 0 { for i in 0..<d { priorMean.pointer[i] += w * center[i] } }
        }
        for a in 0..<activeCount where weights.pointer[Self.steps * a + step] > 0 {
          let root = weights.pointer[Self.steps * a + step].squareRoot()
          let (center, column) = (
            mu + Int(active.pointer[a]) * d, columns.pointer + count * d
          )
          for i in 0..<d { column[i] = root * (center[i] - priorMean.pointer[i]) }
          count += 1
        }
      }
    }
    count += NormalInverseWishart.fillColumns(
      d: d, N: N, z, prior: priorMean.pointer, strength: strength,
      factor: 1 / (Double(N) + strength), sampleMean: mean.pointer,
      columns: columns.pointer + count * d)
    Kernels.syrkLower(
      n: d, k: count, alpha: 1, columns.pointer, d, strength > 0 ? 1 : 0,
      joints.pointer + step * d * d, d)
  }

  /// Regularises Σ, less what is too much of its prior's floor, and factorises it in place.
  ///
  /// - Returns: the jitter it took, as a share of each variance; 0 for almost all data.
  func factorize(
    step: Int, _ options: LinearGaussianRegression.Options, floor: Double
  ) throws(LinearAlgebraError) -> Double {
    let joint = joints.pointer + step * d * d
    copy.pointer.update(from: joint, count: d * d)
    var floor = floor
    var jitter = 0.0
    var attempt = 0
    while true {
      for i in 0..<p {
        let variance = max(0, joint[i + d * i] - floor)
        let kept = min(floor, Self.keptFloor * variance)
        joint[i + d * i] =
          variance + options.regularization * variance + kept + rounding.pointer[i]
      }
      for i in p..<d { joint[i + d * i] += options.covarianceFloor }
      if jitter > 0 { for i in 0..<d { joint[i + d * i] += jitter * joint[i + d * i] } }
      let minor = Kernels.choleskyLower(n: d, joint, d)
      if minor == 0 { return jitter }
      joint.update(from: copy.pointer, count: d * d)
      if floor > 0 {
        // The mixture was made with less of a floor, as one is that EM has not changed.
        floor = 0
        continue
      }
      if attempt == 10 { throw .notPositiveDefinite(leadingMinor: minor, size: d) }
      jitter = attempt == 0 ? 1e-12 : 10 * jitter
      attempt += 1
    }
  }

  /// F, f and C in the data's own units.
  func write(
    step: Int, _ whitening: Whitening, coefficients F: UnsafeMutablePointer<Double>,
    offset f: UnsafeMutablePointer<Double>, covariance C: UnsafeMutablePointer<Double>
  ) {
    let joint = joints.pointer + step * d * d
    // Fᵀ = L_y⁻ᵀ Xᵀ.
    for j in 0..<p { for i in 0..<q { solution.pointer[j + p * i] = joint[p + i + d * j] } }
    Kernels.solveLower(transpose: true, n: p, r: q, joint, d, solution.pointer, p)
    for j in 0..<q {
      for i in 0..<j { residual.pointer[i + q * j] = 0 }
      for i in j..<q { residual.pointer[i + q * j] = joint[p + i + d * (p + j)] }
    }
    Kernels.syrkLower(n: q, k: q, alpha: 1, residual.pointer, q, 0, C, q)
    Kernels.mirrorLower(n: q, C, q)
    whitening.center.withUnsafeBufferPointer { center in
      whitening.scale.withUnsafeBufferPointer { scale in
        for i in 0..<q { f[i] = center[p + i] + scale[p + i] * mean.pointer[p + i] }
        for j in 0..<p {
          let y = center[j] + scale[j] * mean.pointer[j]
          for i in 0..<q {
            let entry = solution.pointer[j + p * i] * scale[p + i] / scale[j]
            F[i + q * j] = entry
            f[i] -= entry * y
          }
        }
        for j in 0..<q { for i in 0..<q { C[i + q * j] *= scale[p + i] * scale[p + j] } }
      }
    }
  }
}

extension LinearGaussianRegression.Options: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "strength", \.strength, Check("in [0, 1e9)") { 0 <= $0 && $0 < 1e9 },
      "The number of samples the prior counts for.")
    Field(
      "regularization", \.regularization, Check("in [1e-12, 1e3]") { 1e-12 <= $0 && $0 <= 1e3 },
      "Added to the variance of each input, as a share of it.")
    Field(
      "covarianceFloor", \.covarianceFloor, Check("in [1e-14, 1]") { 1e-14 <= $0 && $0 <= 1 },
      "Added to the variance of each output, as a share of that over the data.")
  }
}
