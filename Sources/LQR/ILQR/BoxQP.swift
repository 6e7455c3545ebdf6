// A quadratic program with bounds, for the control limits of differential dynamic programming.
//
//   minimise  ½ zᵀ Q z + qᵀ z    subject to  lower ≤ z ≤ upper
//
//   symbol   shape    meaning
//   Q        m × m    symmetric, positive definite on the free coordinates
//   free     -        coordinates inside their bounds, or at one with a gradient that points inwards
//   L        f × f    lower Cholesky factor of Q restricted to the free coordinates
//
// Projected Newton (Bertsekas 1982) as in Tassa, Mansard, Todorov 2014, section III: clamp, take the
// Newton step in the free coordinates, search along the projected line.

import LinearAlgebra

/// Scratch of `BoxQP.solve`, for m coordinates.
struct BoxQP: ~Copyable {
  let m: Int
  /// z, m numbers: the solution.
  let solution: Scratch<Double>
  /// L: the leading `freeCount` × `freeCount` block, column-major with distance m.
  let factor: Scratch<Double>
  /// The free coordinates, ascending: the first `freeCount` numbers.
  let free: Scratch<Int>
  private let gradient: Scratch<Double>
  private let direction: Scratch<Double>
  private let trial: Scratch<Double>

  init(controls m: Int) {
    self.m = m
    solution = Scratch(m)
    factor = Scratch(m * m)
    free = Scratch(m, repeating: 0)
    gradient = Scratch(m)
    direction = Scratch(m)
    trial = Scratch(m)
  }

  /// Most Newton steps; a handful is usual, since each changes the set of free coordinates or ends.
  private static let maxSteps = 100

  /// Writes `solution`, `free` and `factor`.
  ///
  /// - Parameters:
  ///   - Q: m × m; both triangles are read.
  ///   - stride: from one column of Q to the next.
  ///   - q: m numbers.
  ///   - lower: m numbers; −∞ for no bound.
  ///   - upper: m numbers, each at least the lower one; +∞ for no bound.
  /// - Returns: the number of free coordinates; nil if Q is not positive definite on them.
  func solve(
    _ Q: UnsafePointer<Double>, stride: Int, _ q: UnsafePointer<Double>,
    lower: UnsafePointer<Double>, upper: UnsafePointer<Double>
  ) -> Int? {
    let z = solution.pointer
    for i in 0..<m { z[i] = min(max(0, lower[i]), upper[i]) }
    for _ in 0..<Self.maxSteps {
      let value = objective(Q, stride, q, z)
      var freeCount = 0
      for i in 0..<m {
        var g = q[i]
        for j in 0..<m { g += Q[i + stride * j] * z[j] }
        gradient.pointer[i] = g
        let isClamped = (z[i] <= lower[i] && g > 0) || (z[i] >= upper[i] && g < 0)
        if !isClamped {
          free.pointer[freeCount] = i
          freeCount += 1
        }
      }
      for b in 0..<freeCount {
        for a in b..<freeCount {
          factor.pointer[a + m * b] = Q[free.pointer[a] + stride * free.pointer[b]]
        }
      }
      if Kernels.choleskyLower(n: freeCount, factor.pointer, m) != 0 { return nil }
      if freeCount == 0 { return 0 }

      // Newton step in the free coordinates: direction = −Q_ff⁻¹ g_f.
      for a in 0..<freeCount { direction.pointer[a] = -gradient.pointer[free.pointer[a]] }
      Kernels.solveLower(n: freeCount, r: 1, factor.pointer, m, direction.pointer, freeCount)
      Kernels.solveLower(
        transpose: true, n: freeCount, r: 1, factor.pointer, m, direction.pointer, freeCount)
      var slope = 0.0
      for a in 0..<freeCount {
        slope += direction.pointer[a] * gradient.pointer[free.pointer[a]]
      }
      // The model's gain is −slope / 2; below rounding of the objective there is none.
      if -slope <= 1e-15 * (1 + abs(value)) { return freeCount }

      var step = 1.0
      while true {
        for i in 0..<m { trial.pointer[i] = z[i] }
        for a in 0..<freeCount {
          let i = free.pointer[a]
          trial.pointer[i] = min(max(z[i] + step * direction.pointer[a], lower[i]), upper[i])
        }
        let decrease = value - objective(Q, stride, q, trial.pointer)
        if decrease >= -0.1 * step * slope || step < 1e-8 { break }
        step *= 0.6
      }
      if step < 1e-8 { return freeCount }
      for i in 0..<m { z[i] = trial.pointer[i] }
    }
    return nil
  }

  private func objective(
    _ Q: UnsafePointer<Double>, _ stride: Int, _ q: UnsafePointer<Double>,
    _ z: UnsafePointer<Double>
  ) -> Double {
    var sum = 0.0
    for j in 0..<m {
      var Qz = 0.0
      for i in 0..<m { Qz += Q[i + stride * j] * z[i] }
      sum += z[j] * (0.5 * Qz + q[j])
    }
    return sum
  }
}
