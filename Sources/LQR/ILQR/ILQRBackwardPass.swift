// The backward pass of iterative LQR and differential dynamic programming.
//
// About an iterate (x̄, ū) whose states need not follow from its controls, with deviations
// δy = [δx; δu] and gaps e_t = f(x̄_t, ū_t) − x̄_{t+1}:
//
//   minimise    Σ ½ δy_tᵀ (H_t + μ I) δy_t + g_tᵀ δy_t      subject to  δx_{t+1} = F_t δy_t + e_t
//
//   symbol   shape        meaning
//   H, g     d × d, d     Hessian and gradient of the cost (T + 1 of them; d = n + m)
//   F, e     n × d, n     Jacobian of the dynamics, and the gap (T of them)
//   μ        -            regularisation: a proximal term that keeps the step near the iterate
//   V, v     n × n, n     value function
//   K, k     m × n, m     δu = k + K δx
//
// Without control limits it is the Riccati pass of `RiccatiWorkspace`. With second derivatives,
// Σ_i λ_i ∂²f_i/∂y² joins the Hessian of step t, with λ = v_{t+1} + V_{t+1} e_t (Tassa, Erez, Todorov
// 2012, equation 5), so that the pass goes step by step. With limits, k is the solution of a quadratic
// program with bounds and the rows of K of clamped controls are zero (Tassa, Mansard, Todorov 2014).

import GPSCore
import LinearAlgebra

/// The quadratic model about an iterate.
struct LocalModel: ~Copyable {
  let n: Int
  let m: Int
  let T: Int
  /// H and g: T + 1 matrices d × d, T + 1 columns of d.
  let hessians: Scratch<Double>
  let gradients: Scratch<Double>
  /// F: T matrices n × d.
  let jacobians: Scratch<Double>
  /// e: T columns of n.
  let gaps: Scratch<Double>
  /// Σ_i λ_i ∂²f_i/∂y²: T matrices d × d; zeros in iterative LQR.
  let curvatures: Scratch<Double>

  var d: Int { n + m }

  init(state n: Int, control m: Int, horizon T: Int) {
    self.n = n
    self.m = m
    self.T = T
    let d = n + m
    hessians = Scratch((T + 1) * d * d)
    gradients = Scratch((T + 1) * d)
    jacobians = Scratch(T * n * d)
    gaps = Scratch(T * n)
    curvatures = Scratch(T * d * d)
  }

  /// Back to iterative LQR.
  func forgetCurvatures() { curvatures.pointer.update(repeating: 0, count: curvatures.count) }

  /// The change of the cost that the model predicts for α times a step: α `slope` + ½ α² `curvature`.
  ///
  /// Deviations grow in proportion to α, so that one sweep tells both numbers exactly.
  func prediction(of law: borrowing FeedbackLaw) -> (slope: Double, curvature: Double) {
    let deviation = Scratch(d)
    let following = Scratch(n)
    let y = deviation.pointer
    let next = following.pointer
    var (slope, curvature) = (0.0, 0.0)
    let (n, m, d) = (self.n, self.m, self.d)
    law.gains.storage.withUnsafeBufferPointer { gains in
      law.steps.storage.withUnsafeBufferPointer { steps in
        for t in 0...T {
          let width = t < T ? d : n
          if t < T {
            for i in 0..<m {
              var sum = steps[t * m + i]
              for j in 0..<n { sum += gains[(t * n + j) * m + i] * y[j] }
              y[n + i] = sum
            }
          }
          let H = hessians.pointer + t * d * d
          let G = t < T ? curvatures.pointer + t * d * d : H
          let share = t < T ? 1.0 : 0
          for j in 0..<width {
            // Both are symmetric: what is below the diagonal counts twice.
            var below = 0.0
            for i in j + 1..<Swift.max(j + 1, width) {
              below += (H[i + d * j] + share * G[i + d * j]) * y[i]
            }
            let diagonal = H[j + d * j] + share * G[j + d * j]
            curvature += y[j] * (diagonal * y[j] + 2 * below)
            slope += gradients.pointer[t * d + j] * y[j]
          }
          if t == T { break }
          let F = jacobians.pointer + t * n * d
          let e = gaps.pointer + t * n
          for i in 0..<n { next[i] = e[i] }
          for j in 0..<d { for i in 0..<n { next[i] += F[i + n * j] * y[j] } }
          for i in 0..<n { y[i] = next[i] }
        }
      }
    }
    return (slope, curvature)
  }
}

/// The backward pass with its scratch.
struct ILQRBackwardPass: ~Copyable {
  let n: Int
  let m: Int
  let T: Int
  private let riccati: RiccatiWorkspace
  private let box: BoxQP
  /// H + μ I of all steps, for the shared pass.
  private let regularized: Scratch<Double>
  private let V: Scratch<Double>
  private let v: Scratch<Double>
  private let VF: Scratch<Double>
  private let Q: Scratch<Double>
  private let q: Scratch<Double>
  private let costate: Scratch<Double>
  private let bounds: Scratch<Double>
  private let rows: Scratch<Double>

  init(state n: Int, control m: Int, horizon T: Int) {
    self.n = n
    self.m = m
    self.T = T
    let d = n + m
    riccati = RiccatiWorkspace(n: n, m: m, T: T)
    box = BoxQP(controls: m)
    regularized = Scratch((T + 1) * d * d)
    V = Scratch(n * n)
    v = Scratch(n)
    VF = Scratch(n * d)
    Q = Scratch(d * d)
    q = Scratch(d)
    costate = Scratch(n)
    bounds = Scratch(2 * m)
    rows = Scratch(m * n)
  }

  /// Writes the dynamics' second derivatives for step t and a costate: d × d numbers.
  typealias WriteCurvature<Workspace> = (
    _ t: Int, _ costate: Span<Double>, _ workspace: inout Workspace,
    _ curvature: inout MutableSpan<Double>
  ) throws(PlantFailure) -> Void

  /// Writes the feedback law that is optimal for the model.
  ///
  /// - Parameters:
  ///   - model: about the iterate.
  ///   - regularization: μ.
  ///   - limits: bounds on u; nil for none.
  ///   - controls: ū, m × T, from which the bounds on δu follow.
  ///   - workspace: what `writeCurvature` works with.
  ///   - writeCurvature: nil for iterative LQR.
  ///   - law: written.
  /// - Returns: nil, or the step at which Q_uu is not positive definite or the dynamics' curvature not
  ///   finite; `law` is then what it was.
  /// - Throws: what `writeCurvature` threw.
  func run<Workspace>(
    _ model: borrowing LocalModel, regularization: Double, limits: ControlLimits?, controls: Matrix,
    workspace: inout Workspace, writeCurvature: WriteCurvature<Workspace>?,
    into law: inout FeedbackLaw
  ) throws(PlantFailure) -> Int? {
    if let writeCurvature {
      if limits == nil {
        return try stepwise(
          model, regularization: regularization, workspace: &workspace, writeCurvature, into: &law)
      }
    } else {
      model.forgetCurvatures()
      if limits == nil { return shared(model, regularization: regularization, into: &law) }
    }
    let d = n + m
    let HT = model.hessians.pointer + T * d * d
    for j in 0..<n {
      for i in 0..<n { V.pointer[i + n * j] = HT[i + d * j] + (i == j ? regularization : 0) }
      v.pointer[j] = model.gradients.pointer[T * d + j]
    }
    var t = T - 1
    while t >= 0 {
      formActionValue(model, t, regularization)
      if let writeCurvature {
        guard
          let curvature = try Self.write(
            writeCurvature, model, t, costate.pointer, workspace: &workspace)
        else { return t }
        for i in 0..<d * d { Q.pointer[i] += curvature[i] }
      }
      for i in 0..<m {
        let u = controls[i, t]
        bounds.pointer[i] = (limits?.lower[i] ?? -.infinity) - u
        bounds.pointer[m + i] = (limits?.upper[i] ?? .infinity) - u
      }
      guard
        let freeCount = box.solve(
          Q.pointer + n + d * n, stride: d, q.pointer + n, lower: bounds.pointer,
          upper: bounds.pointer + m)
      else { return t }
      backUp(t, freeCount)
      t -= 1
    }
    readLaw(into: &law)
    return nil
  }

  /// Writes and returns the curvature of step t; nil if it is not finite.
  private static func write<Workspace>(
    _ writeCurvature: WriteCurvature<Workspace>, _ model: borrowing LocalModel, _ t: Int,
    _ costate: UnsafePointer<Double>, workspace: inout Workspace
  ) throws(PlantFailure) -> UnsafePointer<Double>? {
    // Views of scratch that outlives this call.
    let d = model.d
    let lambda = UnsafeBufferPointer(start: costate, count: model.n)
    let curvature = UnsafeMutableBufferPointer(
      start: model.curvatures.pointer + t * d * d, count: d * d)
    var entries = curvature.mutableSpan
    try writeCurvature(t, lambda.span, &workspace, &entries)
    for i in 0..<d * d where !curvature[i].isFinite { return nil }
    return UnsafePointer(model.curvatures.pointer + t * d * d)
  }

  /// The pass that the rest of the module uses, on H + μ I.
  private func shared(
    _ model: borrowing LocalModel, regularization: Double, into law: inout FeedbackLaw
  ) -> Int? {
    let failedStep = riccati.backward(regularize(model, regularization))
    if failedStep == nil { readLaw(into: &law) }
    return failedStep
  }

  /// The same pass with second derivatives, which join H before each step.
  private func stepwise<Workspace>(
    _ model: borrowing LocalModel, regularization: Double, workspace: inout Workspace,
    _ writeCurvature: WriteCurvature<Workspace>, into law: inout FeedbackLaw
  ) throws(PlantFailure) -> Int? {
    let d = n + m
    let problem = regularize(model, regularization)
    riccati.begin(problem)
    var t = T - 1
    while t >= 0 {
      let e = model.gaps.pointer + t * n
      let V = riccati.valueHessians.pointer + (t + 1) * n * n
      costate.pointer.update(from: riccati.valueGradients.pointer + (t + 1) * n, count: n)
      for j in 0..<n where e[j] != 0 {
        for i in 0..<n { costate.pointer[i] += V[i + n * j] * e[j] }
      }
      guard
        let G = try Self.write(writeCurvature, model, t, costate.pointer, workspace: &workspace)
      else { return t }
      let H = regularized.pointer + t * d * d
      for i in 0..<d * d { H[i] += G[i] }
      if !riccati.step(problem, t) { return t }
      t -= 1
    }
    readLaw(into: &law)
    return nil
  }

  /// The model with H + μ I.
  private func regularize(
    _ model: borrowing LocalModel, _ regularization: Double
  ) -> LQProblem {
    let d = n + m
    regularized.pointer.update(from: model.hessians.pointer, count: (T + 1) * d * d)
    if regularization != 0 {
      for t in 0...T {
        for i in 0..<d { regularized.pointer[t * d * d + i * (d + 1)] += regularization }
      }
    }
    return LQProblem(
      hessians: regularized.pointer, gradients: model.gradients.pointer,
      transitions: model.jacobians.pointer, offsets: model.gaps.pointer)
  }

  /// Copies the gains of a pass that has reached the first step: a law is of one pass or another.
  private func readLaw(into law: inout FeedbackLaw) {
    law.gains.storage.withUnsafeMutableBufferPointer { K in
      for i in 0..<T * m * n { K[i] = riccati.gains.pointer[i] }
    }
    law.steps.storage.withUnsafeMutableBufferPointer { k in
      for i in 0..<T * m { k[i] = riccati.offsets.pointer[i] }
    }
  }

  /// λ = v + V e, Q = H + μ I + Fᵀ V F, q = g + Fᵀ λ.
  private func formActionValue(
    _ model: borrowing LocalModel, _ t: Int, _ regularization: Double
  ) {
    let d = n + m
    let F = model.jacobians.pointer + t * n * d
    costate.pointer.update(from: v.pointer, count: n)
    Kernels.gemv(m: n, n: n, V.pointer, n, model.gaps.pointer + t * n, 1, costate.pointer)
    Kernels.gemm(m: n, n: d, k: n, V.pointer, n, F, n, 0, VF.pointer, n)
    Q.pointer.update(from: model.hessians.pointer + t * d * d, count: d * d)
    for i in 0..<d { Q.pointer[i * (d + 1)] += regularization }
    Kernels.gemm(transposeA: true, m: d, n: d, k: n, F, n, VF.pointer, n, 1, Q.pointer, d)
    Kernels.symmetrize(n: d, Q.pointer, d)
    q.pointer.update(from: model.gradients.pointer + t * d, count: d)
    Kernels.gemv(transpose: true, m: n, n: d, F, n, costate.pointer, 1, q.pointer)
  }

  /// K_f = −Q_ff⁻¹ Q_fx, V = Q_xx + Q_xf K_f, v = q_x + Q_xu k: the free controls follow the state,
  /// clamped ones do not.
  private func backUp(_ t: Int, _ freeCount: Int) {
    let d = n + m
    let k = box.solution.pointer
    let free = box.free.pointer
    let Y = rows.pointer
    for j in 0..<n { for a in 0..<freeCount { Y[a + m * j] = Q.pointer[n + free[a] + d * j] } }
    Kernels.solveLower(n: freeCount, r: n, box.factor.pointer, m, Y, m)
    for j in 0..<n {
      for i in 0..<n { V.pointer[i + n * j] = Q.pointer[i + d * j] }
      var sum = q.pointer[j]
      for i in 0..<m { sum += Q.pointer[n + i + d * j] * k[i] }
      v.pointer[j] = sum
    }
    // Q_fx of the free controls is L Y, so that Q_xf K_f = −Yᵀ Y.
    if freeCount > 0 {
      Kernels.gemm(
        transposeA: true, m: n, n: n, k: freeCount, alpha: -1, Y, m, Y, m, 1, V.pointer, n)
      Kernels.symmetrize(n: n, V.pointer, n)
    }
    Kernels.solveLower(transpose: true, n: freeCount, r: n, box.factor.pointer, m, Y, m)
    let K = riccati.gains.pointer + t * m * n
    for i in 0..<m * n { K[i] = 0 }
    for j in 0..<n { for a in 0..<freeCount { K[j * m + free[a]] = -Y[a + m * j] } }
    (riccati.offsets.pointer + t * m).update(from: k, count: m)
  }
}
