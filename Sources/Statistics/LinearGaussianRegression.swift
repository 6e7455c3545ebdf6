// Time-varying linear regression by conditioning a joint normal distribution.
//
// At each step t, points z = [y; v] of p inputs and q outputs are taken as draws of N(μ, Σ). With the
// prior (μ0, Φ, m, n0) of that step (MixturePrior; none: m = n0 = 0, Φ = 0),
//
//   Σ = (Φ + S + (N m / (N + m)) (z̄ − μ0)(z̄ − μ0)ᵀ) / (N + n0)          LFDA16, appendix A.3
//   Σ_ii ← (1 + ρ) Σ_ii + tiny            for inputs:  ρ = regularization
//   Σ_ii ← Σ_ii + φ                       for outputs: φ = covarianceFloor
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

public import LinearAlgebra

/// Fits v_t = F_t y_t + f_t + noise of covariance C_t to a few points per time step.
public struct LinearGaussianRegression: Sendable {
  /// How the regression is regularised.
  public struct Options: Sendable, Codable, Equatable {
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
    public func validated() throws(InvalidOption) -> Options {
      try InvalidOption.require(
        strength >= 0 && strength < 1e9, "strength", strength, "in [0, 1e9)")
      try InvalidOption.require(
        regularization >= 1e-12 && regularization <= 1e3, "regularization", regularization,
        "in [1e-12, 1e3]")
      try InvalidOption.require(
        covarianceFloor >= 1e-14 && covarianceFloor <= 1, "covarianceFloor", covarianceFloor,
        "in [1e-14, 1]")
      return self
    }
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
    /// The largest jitter, as a share of the mean variance at its step.
    public var largestJitter: Double
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
  /// - Returns: F_t, f_t and C_t of every step.
  /// - Throws: `StatisticsError`.
  public func fit(
    _ points: MatrixSequence, inputCount p: Int, prior: MixturePrior?
  ) throws(StatisticsError) -> Fit {
    let (d, N, T) = (points.rows, points.columns, points.count)
    precondition(p > 0 && p < d, "\(p) inputs among \(d) numbers")
    precondition(N > 0 && T > 0, "\(N) points at each of \(T) steps")
    precondition(
      (prior?.dimension ?? d) == d, "a prior in \(prior?.dimension ?? d) dimensions for \(d)")
    // Whitening by the data itself also finds what is not finite.
    let own = try Whitening(of: points)
    let whitening = prior?.whitening ?? own
    let whitened = whitening.whitened(points)
    var fit = Fit(
      coefficients: MatrixSequence(rows: d - p, columns: p, count: T),
      offsets: Matrix(rows: d - p, columns: T),
      covariances: MatrixSequence(rows: d - p, columns: d - p, count: T), jitteredSteps: 0,
      largestJitter: 0)
    let K = prior?.mixture.clusters ?? 0
    let shares = MixtureShares(points: N * T, clusters: K)
    try prior?.mixture.evaluate(whitened.storage, into: shares)
    let workspace = Workspace(inputs: p, outputs: d - p, points: N, clusters: K)
    for t in 0..<T {
      workspace.clear()
      var strength = 0.0
      if let prior, options.strength > 0 {
        strength = options.strength
        workspace.takePrior(prior.mixture, shares: shares, from: t * N, strength)
      }
      whitened.storage.withUnsafeBufferPointer { z in
        guard let z = z.baseAddress else { return }
        workspace.takePoints(z + t * d * N, strength: strength)
      }
      let jitter: Double
      do {
        jitter = try workspace.factorize(options)
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
              whitening, coefficients: F + t * q * p, offset: f + t * q, covariance: C + t * q * q)
          }
        }
      }
    }
    return fit
  }
}

/// The scratch of one fit, and its steps.
private struct Workspace: ~Copyable {
  let p: Int
  let q: Int
  let N: Int
  let K: Int
  var d: Int { p + q }
  /// Σ, then its factor: d × d, lower triangle.
  let joint: Scratch<Double>
  /// Σ again, in case it has to be factorised with jitter.
  let copy: Scratch<Double>
  /// z̄.
  let mean: Scratch<Double>
  /// μ0.
  let priorMean: Scratch<Double>
  let weights: Scratch<Double>
  /// d × max(N + 1, K).
  let columns: Scratch<Double>
  /// Fᵀ in whitened coordinates: p × q.
  let solution: Scratch<Double>
  /// L_c: q × q.
  let residual: Scratch<Double>

  init(inputs p: Int, outputs q: Int, points N: Int, clusters K: Int) {
    (self.p, self.q, self.N, self.K) = (p, q, N, K)
    let d = p + q
    joint = Scratch(d * d)
    copy = Scratch(d * d)
    mean = Scratch(d)
    priorMean = Scratch(d)
    weights = Scratch(K)
    columns = Scratch(d * max(N + 1, K))
    solution = Scratch(p * q)
    residual = Scratch(q * q)
  }

  func clear() { for i in 0..<d * d { joint.pointer[i] = 0 } }

  /// μ0, and Φ = strength × the mixture's covariance onto Σ.
  ///
  /// - Parameters:
  ///   - mixture: in whitened coordinates.
  ///   - shares: of all points.
  ///   - first: the first of this step's N points.
  ///   - strength: m = n0.
  func takePrior(
    _ mixture: GaussianMixture, shares: borrowing MixtureShares, from first: Int, _ strength: Double
  ) {
    for k in 0..<K { weights.pointer[k] = 0 }
    for n in first..<first + N {
      for entry in n * K..<n * K + Int(shares.count.pointer[n]) {
        weights.pointer[Int(shares.cluster.pointer[entry])] +=
          shares.share.pointer[entry] / Double(N)
      }
    }
    mixture.means.storage.withUnsafeBufferPointer { mu in
      mixture.covariances.storage.withUnsafeBufferPointer { sigma in
        guard let mu = mu.baseAddress, let sigma = sigma.baseAddress else { return }
        GaussianMixture.accumulateMoments(
          d: d, K: K, means: mu, covariances: sigma, weights: weights.pointer, factor: strength,
          mean: priorMean.pointer, columns: columns.pointer, onto: joint.pointer)
      }
    }
  }

  /// The points' scatter onto Σ, and the division by N + n0.
  func takePoints(_ z: UnsafePointer<Double>, strength: Double) {
    NormalInverseWishart.accumulate(
      d: d, N: N, z, prior: priorMean.pointer, strength: strength, sampleMean: mean.pointer,
      columns: columns.pointer, onto: joint.pointer)
    let share = 1 / (Double(N) + strength)
    for i in 0..<d * d { joint.pointer[i] *= share }
  }

  /// Regularises Σ and factorises it in place.
  ///
  /// - Returns: the jitter it took, as a share of the mean variance; 0 for almost all data.
  func factorize(_ options: LinearGaussianRegression.Options) throws(LinearAlgebraError) -> Double {
    // An input that does not vary at this step: its coefficients are 0, whatever this is.
    let tiny = 1e-12
    for i in 0..<p {
      joint.pointer[i + d * i] += options.regularization * joint.pointer[i + d * i] + tiny
    }
    for i in p..<d { joint.pointer[i + d * i] += options.covarianceFloor }
    var trace = 0.0
    for i in 0..<d { trace += joint.pointer[i + d * i] }
    copy.pointer.update(from: joint.pointer, count: d * d)
    var jitter = 0.0
    var attempt = 0
    while true {
      let minor = Kernels.choleskyLower(n: d, joint.pointer, d)
      if minor == 0 { return jitter }
      if attempt == 10 { throw .notPositiveDefinite(leadingMinor: minor, size: d) }
      jitter = attempt == 0 ? 1e-12 : 10 * jitter
      attempt += 1
      joint.pointer.update(from: copy.pointer, count: d * d)
      for i in 0..<d { joint.pointer[i + d * i] += jitter * trace / Double(d) }
    }
  }

  /// F, f and C in the data's own units.
  func write(
    _ whitening: Whitening, coefficients F: UnsafeMutablePointer<Double>,
    offset f: UnsafeMutablePointer<Double>, covariance C: UnsafeMutablePointer<Double>
  ) {
    // Fᵀ = L_y⁻ᵀ Xᵀ.
    for i in 0..<q { for j in 0..<p { solution.pointer[j + p * i] = joint.pointer[p + i + d * j] } }
    Kernels.solveLower(transpose: true, n: p, r: q, joint.pointer, d, solution.pointer, p)
    for j in 0..<q {
      for i in 0..<j { residual.pointer[i + q * j] = 0 }
      for i in j..<q { residual.pointer[i + q * j] = joint.pointer[p + i + d * (p + j)] }
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
