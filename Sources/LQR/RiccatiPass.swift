// The Riccati recursion of a time-varying linear-quadratic problem.
//
//   minimise    Σ_{t<T} ½ y_tᵀ C_t y_t + c_tᵀ y_t  +  ½ x_Tᵀ C_T x_T + c_Tᵀ x_T,    y_t = [x_t; u_t]
//   subject to  x_{t+1} = F_t y_t + f_t
//
//   symbol   shape       meaning                         symbol   shape   meaning
//   n, m     -           state, control dimensions       V        n × n   value function's Hessian
//   d        -           n + m                           v        n       value function's gradient
//   C, c     d × d, d    cost                            Q_yy     d × d   action value's Hessian
//   F, f     n × d, n    dynamics                        K, k     m × n, m   u = K x + k
//
// Tassa, Erez, Todorov 2012, equations 5 and 11; Levine & Abbeel 2014, section 2.

import LinearAlgebra

/// The buffers of one linear-quadratic problem, borrowed for the length of a pass.
struct LQProblem {
  let n: Int
  let m: Int
  let T: Int
  /// C: T + 1 matrices d × d.
  let hessians: UnsafePointer<Double>
  /// c: T + 1 columns of d.
  let gradients: UnsafePointer<Double>
  /// F: T matrices n × d.
  let transitions: UnsafePointer<Double>
  /// f: T columns of n.
  let offsets: UnsafePointer<Double>

  var d: Int { n + m }
}

/// What a Riccati pass computes, with the scratch of one step.
struct RiccatiWorkspace: ~Copyable {
  let n: Int
  let m: Int
  let T: Int
  /// K: T matrices m × n.
  let gains: Scratch<Double>
  /// k: T columns of m.
  let offsets: Scratch<Double>
  /// Lower Cholesky factors of Q_uu: T matrices m × m (the upper triangles are not meaningful).
  let curvatureFactors: Scratch<Double>
  /// V: T + 1 matrices n × n.
  let valueHessians: Scratch<Double>
  /// v: T + 1 columns of n.
  let valueGradients: Scratch<Double>
  /// V F (n × d).
  let VF: Scratch<Double>
  /// Q_yy (d × d) and Q_y (d).
  let Qyy: Scratch<Double>
  let Qy: Scratch<Double>
  /// V f + v (n).
  let Vfv: Scratch<Double>

  init(n: Int, m: Int, T: Int) {
    self.n = n
    self.m = m
    self.T = T
    gains = Scratch(T * m * n)
    offsets = Scratch(T * m)
    curvatureFactors = Scratch(T * m * m)
    valueHessians = Scratch((T + 1) * n * n)
    valueGradients = Scratch((T + 1) * n)
    VF = Scratch(n * (n + m))
    Qyy = Scratch((n + m) * (n + m))
    Qy = Scratch(n + m)
    Vfv = Scratch(n)
  }

  /// The recursion from T to 0.
  ///
  /// - Returns: nil, or the step at which Q_uu is not positive definite.
  func backward(_ problem: LQProblem) -> Int? {
    let (n, d) = (problem.n, problem.d)
    let VT = valueHessians.pointer + T * n * n
    let vT = valueGradients.pointer + T * n
    let CT = problem.hessians + T * d * d
    for j in 0..<n {
      for i in 0..<n { VT[i + n * j] = CT[i + d * j] }
      vT[j] = problem.gradients[T * d + j]
    }
    var t = T - 1
    while t >= 0 {
      if !step(t, of: problem) { return t }
      t -= 1
    }
    return nil
  }

  /// One Bellman backup: V_{t+1}, v_{t+1} → K_t, k_t, V_t, v_t.
  ///
  /// - Returns: whether Q_uu is positive definite.
  private func step(_ t: Int, of problem: LQProblem) -> Bool {
    let (n, m, d) = (problem.n, problem.m, problem.d)
    let V = valueHessians.pointer + (t + 1) * n * n
    let v = valueGradients.pointer + (t + 1) * n
    let F = problem.transitions + t * n * d
    let Q = Qyy.pointer
    let q = Qy.pointer

    // Q_yy = C + Fᵀ V F
    Kernels.gemm(m: n, n: d, k: n, V, n, F, n, 0, VF.pointer, n)
    Q.update(from: problem.hessians + t * d * d, count: d * d)
    Kernels.gemm(transposeA: true, m: d, n: d, k: n, F, n, VF.pointer, n, 1, Q, d)
    // Q_y = c + Fᵀ (V f + v)
    Vfv.pointer.update(from: v, count: n)
    Kernels.gemv(m: n, n: n, V, n, problem.offsets + t * n, 1, Vfv.pointer)
    q.update(from: problem.gradients + t * d, count: d)
    Kernels.gemv(transpose: true, m: n, n: d, F, n, Vfv.pointer, 1, q)

    // Q_uu = L Lᵀ
    let L = curvatureFactors.pointer + t * m * m
    for j in 0..<m {
      for i in 0..<m { L[i + m * j] = 0.5 * (Q[n + i + d * (n + j)] + Q[n + j + d * (n + i)]) }
    }
    if Kernels.choleskyLower(n: m, L, m) != 0 { return false }

    // Y = L⁻¹ Q_ux, y = L⁻¹ Q_u, in place of K and k
    let Y = gains.pointer + t * m * n
    let y = offsets.pointer + t * m
    for j in 0..<n { for i in 0..<m { Y[i + m * j] = Q[n + i + d * j] } }
    for i in 0..<m { y[i] = q[n + i] }
    Kernels.solveLower(n: m, r: n, L, m, Y, m)
    Kernels.solveLower(n: m, r: 1, L, m, y, m)

    // V = Q_xx − Yᵀ Y, v = Q_x − Yᵀ y
    let Vt = valueHessians.pointer + t * n * n
    let vt = valueGradients.pointer + t * n
    for j in 0..<n {
      for i in j..<n { Vt[i + n * j] = 0.5 * (Q[i + d * j] + Q[j + d * i]) }
      vt[j] = q[j]
    }
    Kernels.syrkLower(transpose: true, n: n, k: m, alpha: -1, Y, m, 1, Vt, n)
    Kernels.mirrorLower(n: n, Vt, n)
    Kernels.gemv(transpose: true, m: m, n: n, alpha: -1, Y, m, y, 1, vt)

    // K = −L⁻ᵀ Y, k = −L⁻ᵀ y
    Kernels.solveLower(transpose: true, n: m, r: n, L, m, Y, m)
    Kernels.solveLower(transpose: true, n: m, r: 1, L, m, y, m)
    for i in 0..<(m * n) { Y[i] = -Y[i] }
    for i in 0..<m { y[i] = -y[i] }
    return true
  }

  /// The smallest eigenvalue of Q_uu in the step that `backward` stopped at; NaN if not finite.
  func smallestCurvature() -> Double {
    let d = n + m
    var Quu = Matrix(rows: m, columns: m)
    for j in 0..<m { for i in 0..<m { Quu[i, j] = Qyy.pointer[n + i + d * (n + j)] } }
    return (try? Quu.symmetrized.symmetricEigen().values.first) ?? .nan
  }
}
