import GPSTestSupport
import LinearAlgebra
import Testing

@testable import LQR

@Suite("Discrete algebraic Riccati equation") struct DiscreteRiccatiTests {
  struct File: Decodable {
    struct Case: Decodable {
      var name: String
      var state: Int
      var control: Int
      var a: [Double]
      var b: [Double]
      var q: [Double]
      var r: [Double]
      var s: [Double]?
      var value: [Double]
      var gains: [Double]
    }
    var cases: [Case]
  }

  @Test("Value and gains are SciPy's")
  func scipy() throws {
    let cases = try Fixture.load("riccati", as: File.self).cases
    #expect(cases.count == 6)
    for one in cases {
      let (n, m) = (one.state, one.control)
      let solution = try DiscreteRiccati(
        Matrix(rows: n, columns: n, columnMajor: one.a),
        Matrix(rows: n, columns: m, columnMajor: one.b),
        Q: Matrix(rows: n, columns: n, columnMajor: one.q),
        R: Matrix(rows: m, columns: m, columnMajor: one.r),
        S: one.s.map { Matrix(rows: n, columns: m, columnMajor: $0) })
      #expect(relativeError(solution.value.storage, one.value) < 1e-8, "\(one.name)")
      #expect(relativeError(solution.gains.storage, one.gains) < 1e-8, "\(one.name)")
    }
  }

  @Test("What grows out of the controls' reach is refused and named")
  func unreachable() throws {
    // Entry 1 grows and drives entry 0, which the control moves.
    let A = Matrix([[0.9, 0.2, 0], [0, 1.3, 0], [0, 0, 0.5]])
    let B = Matrix([[1], [0], [1]])
    #expect(throws: LQRError.notStabilizable) {
      try DiscreteRiccati(A, B, Q: .identity(3), R: .identity(1))
    }
    let mode = try UnreachableMode.first(of: A, B)
    #expect(mode?.state == 1)
    #expect(abs((mode?.growth ?? 0) - 1.3) < 1e-12)
    // A pair that turns as it grows: both parts of its eigenvectors count.
    let turning = Matrix([[1.1, 0.4, 0], [-0.4, 1.1, 0], [0, 0, 0.3]])
    let pair = try UnreachableMode.first(of: turning, Matrix([[0], [0], [1]]))
    #expect(abs((pair?.growth ?? 0) - (1.1 * 1.1 + 0.4 * 0.4).squareRoot()) < 1e-12)
    #expect(pair.map { $0.state < 2 } == true)
    #expect(try UnreachableMode.first(of: turning, Matrix([[1], [0], [0]])) == nil)
  }

  @Test("Numbers that make no problem are named")
  func errors() {
    let I = Matrix.identity(2)
    #expect(throws: LQRError.inputNotFinite(field: "Q", step: nil)) {
      try DiscreteRiccati(I, I, Q: Matrix([[.nan, 0], [0, 1]]), R: I)
    }
    #expect(throws: LQRError.notPositiveDefinite(step: 0, eigenvalue: -1, dual: 0)) {
      try DiscreteRiccati(I, I, Q: I, R: Matrix(diagonal: [1, -1]))
    }
  }
}
