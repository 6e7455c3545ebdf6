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
// Backwards from V = C_T:  Q_yy = C + Fᵀ V F,  Q_y = c + Fᵀ (V f + v),  Q_uu = L Lᵀ,  Y = L⁻¹ Q_ux,
// K = −L⁻ᵀ Y,  V = Q_xx − Yᵀ Y. The recursion itself is `mk_riccati_backward` (CMatrixKernels).
//
// Tassa, Erez, Todorov 2012, equations 5 and 11; Levine & Abbeel 2014, section 2.

import CMatrixKernels
import LinearAlgebra

/// The buffers of one linear-quadratic problem, borrowed for the length of a pass.
struct LQProblem {
  /// C: T + 1 matrices d × d. Only lower triangles and the blocks of states by controls are read.
  let hessians: UnsafePointer<Double>
  /// c: T + 1 columns of d.
  let gradients: UnsafePointer<Double>
  /// F: T matrices n × d.
  let transitions: UnsafePointer<Double>
  /// f: T columns of n.
  let offsets: UnsafePointer<Double>
  /// Factor on C and c.
  var scale = 1.0
  /// Added to the diagonal of Q_uu.
  var ridge = 0.0
}

/// What a Riccati pass computes, with its scratch.
struct RiccatiWorkspace: ~Copyable {
  let n: Int
  let m: Int
  let T: Int
  /// K: T matrices m × n.
  let gains: Scratch<Double>
  /// k: T columns of m.
  let offsets: Scratch<Double>
  /// Lower Cholesky factors of Q_uu, zero above: T matrices m × m.
  let curvatureFactors: Scratch<Double>
  /// V: T + 1 matrices n × n, and v: T + 1 columns of n. Empty if not wanted.
  let valueHessians: Scratch<Double>
  let valueGradients: Scratch<Double>
  private let scratch: Scratch<Double>

  init(n: Int, m: Int, T: Int, withValues: Bool = true) {
    self.n = n
    self.m = m
    self.T = T
    gains = Scratch(T * m * n)
    offsets = Scratch(T * m)
    curvatureFactors = Scratch(T * m * m)
    valueHessians = Scratch(withValues ? (T + 1) * n * n : 0)
    valueGradients = Scratch(withValues ? (T + 1) * n : 0)
    scratch = Scratch(Int(mk_riccati_scratch(Int64(n), Int64(m))))
  }

  private func arguments(_ problem: LQProblem) -> mk_riccati {
    mk_riccati(
      state: Int64(n), control: Int64(m), horizon: Int64(T), hessians: problem.hessians,
      gradients: problem.gradients, transitions: problem.transitions, offsets: problem.offsets,
      scale: problem.scale, ridge: problem.ridge, gains: gains.pointer,
      gain_offsets: offsets.pointer, factors: curvatureFactors.pointer,
      value_hessians: valueHessians.count > 0 ? valueHessians.pointer : nil,
      value_gradients: valueGradients.count > 0 ? valueGradients.pointer : nil,
      scratch: scratch.pointer)
  }

  /// The recursion from T to 0.
  ///
  /// - Returns: nil, or the step at which Q_uu is not positive definite.
  func backward(_ problem: LQProblem) -> Int? {
    var arguments = arguments(problem)
    let step = mk_riccati_backward(Kernels.Variant.best.rawValue, &arguments)
    return step < 0 ? nil : Int(step)
  }

  /// The same recursion by hand, for Hessians that depend on what follows: V and v of step T.
  func begin(_ problem: LQProblem) {
    var arguments = arguments(problem)
    mk_riccati_begin(Kernels.Variant.best.rawValue, &arguments)
  }

  /// Step t, after `begin` and steps T − 1 to t + 1.
  ///
  /// - Returns: whether Q_uu is positive definite.
  func step(_ problem: LQProblem, _ t: Int) -> Bool {
    var arguments = arguments(problem)
    return mk_riccati_step(Kernels.Variant.best.rawValue, &arguments, Int64(t)) != 0
  }

  /// States and controls under the gains without noise, from the state in the first n of `states`.
  func simulate(
    _ problem: LQProblem, states: UnsafeMutablePointer<Double>,
    controls: UnsafeMutablePointer<Double>
  ) {
    var arguments = arguments(problem)
    mk_simulate(Kernels.Variant.best.rawValue, &arguments, states, controls)
  }

  /// Whether V and v of step 0 are finite; only with values.
  var isFirstValueFinite: Bool {
    for i in 0..<n * n where !valueHessians.pointer[i].isFinite { return false }
    for i in 0..<n where !valueGradients.pointer[i].isFinite { return false }
    return true
  }

  /// Q_uu of the step that `backward` stopped at.
  func curvature(_ step: Int) -> Matrix {
    Matrix(rows: m, columns: m, copying: curvatureFactors.pointer + step * m * m)
  }
}

/// The smallest eigenvalue of a symmetric matrix; NaN if it is not finite.
func smallestEigenvalue(_ matrix: Matrix) -> Double {
  (try? matrix.symmetrized.symmetricEigen().values.first) ?? .nan
}
