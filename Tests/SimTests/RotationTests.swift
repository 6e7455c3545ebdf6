import CMuJoCo
import Foundation
import Statistics
import Testing

@testable import Sim

@Suite("Rotations and their vectors") struct RotationTests {
  /// Vectors of all lengths, next to zero and to whole turns included.
  private var vectors: [SIMD3<Double>] {
    var stream = RandomStream(seed: 3)
    return [0, 1e-12, 1e-8, 1e-5, 1e-3, 0.01, 0.1, 1, 2, 3.1, .pi, 3.2, 5, 6, 7, 20].flatMap {
      angle in
      (0..<3).map { _ in
        let axis = SIMD3(stream.normal(), stream.normal(), stream.normal())
        return angle * axis / length(axis)
      }
    }
  }

  @Test("exp and log are MuJoCo's")
  func exponential() {
    for r in vectors {
      let q = Rotation(vector: r)
      var theirs = [1.0, 0, 0, 0]
      mju_quatIntegrate(&theirs, [r.x, r.y, r.z], 1)
      #expect(expectClose([q.w, q.v.x, q.v.y, q.v.z], theirs, within: 1e-14), "\(r)")
      var back = [0.0, 0, 0]
      mju_quat2Vel(&back, theirs, 1)
      let own = q.vector
      // Half a turn may be about either end of the axis.
      if length(r) != .pi {
        #expect(expectClose([own.x, own.y, own.z], back, within: 1e-8), "\(r)")
      }
      #expect(length(own) <= .pi + 1e-12)
    }
  }

  @Test("A product, an inverse and axes are those of matrices")
  func matrices() {
    let list = vectors
    for (r, s) in zip(list, list.dropFirst(7)) {
      let (a, b) = (Rotation(vector: r), Rotation(vector: s))
      var (A, B, AB) = ([Double](repeating: 0, count: 9), [Double](repeating: 0, count: 9), [0.0])
      AB = A
      mju_quat2Mat(&A, [a.w, a.v.x, a.v.y, a.v.z])
      mju_quat2Mat(&B, [b.w, b.v.x, b.v.y, b.v.z])
      mju_mulMatMat(&AB, A, B, 3, 3, 3)
      let axes = (a * b).axes
      for row in 0..<3 {
        #expect(abs(AB[3 * row] - axes.x[row]) < 1e-14)
        #expect(abs(AB[3 * row + 1] - axes.y[row]) < 1e-14)
        #expect(abs(AB[3 * row + 2] - axes.z[row]) < 1e-14)
      }
      let read = Rotation(matrix: AB)
      // One rotation has two quaternions.
      let sign = read.w * (a * b).w + (read.v * (a * b).v).sum() < 0 ? -1.0 : 1
      #expect(length(sign * read.v - (a * b).v) < 1e-13)
      #expect(length((a.inverse * a).vector) < 1e-15)
    }
  }

  @Test("A vector that is the nearest to the one before never jumps")
  func continuity() {
    // About one axis for five turns and back, and a tumble that stays clear of whole turns.
    let axis = SIMD3(2.0, -1, 0.5) / length(SIMD3(2.0, -1, 0.5))
    var last = SIMD3<Double>.zero
    for step in 0...400 {
      let angle = 0.3 * Double(step < 200 ? step : 400 - step) * 10 * .pi / 60
      let r = Rotation(vector: angle * axis).vector(near: last)
      #expect(length(r - angle * axis) < 1e-6, "\(angle)")
      last = r
    }
    last = SIMD3(0, 2, 0)
    for step in 0...500 {
      let t = 0.02 * Double(step)
      let path = (3 + sin(t)) * SIMD3(sin(t), cos(t), 0)
      let r = Rotation(vector: path).vector(near: last)
      if step > 0 { #expect(length(r - path) < 1e-9, "\(t)") }
      last = step == 0 ? path : r
    }
  }

  @Test("The right Jacobian is the derivative of the exponential, and its inverse undoes it")
  func jacobians() {
    for r in vectors {
      let J = Rotation.rightJacobian(r)
      let columns = [J.columns.0, J.columns.1, J.columns.2]
      for axis in 0..<3 {
        let h = 1e-6
        var (above, below) = (r, r)
        above[axis] += h
        below[axis] -= h
        // exp(r)⁻¹ exp(r + dr) = exp(J dr)
        let base = Rotation(vector: r).inverse
        let slope =
          ((base * Rotation(vector: above)).vector - (base * Rotation(vector: below)).vector)
          / (2 * h)
        #expect(length(columns[axis] - slope) < 1e-8, "\(r)")
        // Whole turns have no inverse.
        if abs(sin(0.5 * length(r))) > 0.05 || length(r) < 1 {
          let back = Rotation.inverseRightJacobian(r) * columns[axis]
          var unit = SIMD3<Double>.zero
          unit[axis] = 1
          #expect(length(back - unit) < 1e-10, "\(r)")
        }
      }
    }
  }
}
