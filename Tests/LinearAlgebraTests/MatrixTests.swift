import Foundation
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@Suite("Matrix") struct MatrixTests {
  @Test("the first number that is not finite is found, wherever it is and whatever the others are")
  func finiteness() {
    let finite = [
      0, -0.0, 1, -1e308, .greatestFiniteMagnitude, -.greatestFiniteMagnitude,
      .leastNonzeroMagnitude, .leastNormalMagnitude, -.ulpOfOne,
    ]
    for count in 0...finite.count {
      let numbers = Array(finite[..<count])
      #expect(numbers.isFinite && numbers.firstNonFinite == nil)
      for bad in [Double.nan, -.nan, .signalingNaN, .infinity, -.infinity] {
        for place in 0..<count {
          var spoilt = numbers
          spoilt[place] = bad
          #expect(!spoilt.isFinite && spoilt.firstNonFinite == place)
          spoilt[count - 1] = bad
          #expect(spoilt.firstNonFinite == place)
        }
      }
    }
  }

  @Test("products agree with the definition, also for odd shapes")
  func products() {
    var stream = RandomStream(seed: 1)
    for (m, k, n) in [(1, 1, 1), (3, 5, 2), (17, 4, 9), (2, 0, 3)] {
      let a = RandomProblem.matrix(m, k, &stream)
      let b = RandomProblem.matrix(k, n, &stream)
      let c = a * b
      for i in 0..<m {
        for j in 0..<n {
          let sum = (0..<k).reduce(0) { $0 + a[i, $1] * b[$1, j] }
          #expect(abs(c[i, j] - sum) < 1e-12)
        }
      }
      let x = stream.normals(k)
      let y = a * x
      for i in 0..<m { #expect(abs(y[i] - (0..<k).reduce(0) { $0 + a[i, $1] * x[$1] }) < 1e-12) }
    }
  }

  @Test("equal matrices share their storage, others and signs of zero do not")
  func sharing() {
    func address(_ matrix: Matrix) -> UnsafePointer<Double>? {
      matrix.storage.withUnsafeBufferPointer(\.baseAddress)
    }
    let a = Matrix([[1, 2], [0, 4]])
    let equal = Matrix([[1, 2], [0, 4]])
    #expect(address(equal) != address(a))
    #expect(equal.sharing(a) == a && address(equal.sharing(a)) == address(a))
    for other in [
      Matrix([[1, 2], [-0.0, 4]]), Matrix([[1, 2], [0, 5]]), Matrix(rows: 1, columns: 4),
    ] {
      #expect(address(other.sharing(a)) == address(other))
    }
  }

  @Test("blocks are read and written where they belong")
  func blocks() {
    var a = Matrix(rows: 3, columns: 4)
    a[1..<3, 2..<4] = Matrix([[1, 2], [3, 4]])
    #expect(a == Matrix([[0, 0, 0, 0], [0, 0, 1, 2], [0, 0, 3, 4]]))
    #expect(a[1..<2, 1..<4] == Matrix([[0, 1, 2]]))
    #expect(a.transposed.transposed == a)
  }

  @Test("a sequence keeps its matrices apart")
  func sequence() {
    var sequence = MatrixSequence(rows: 2, columns: 3, count: 4)
    let a = Matrix([[1, 2, 3], [4, 5, 6]])
    sequence[2] = a
    #expect(sequence[2] == a)
    #expect(sequence[1] == Matrix(rows: 2, columns: 3))
    #expect(sequence[3] == Matrix(rows: 2, columns: 3))
    #expect(sequence.storage[2 * sequence.stride + 1] == 4)
  }
}

@Suite("Cholesky factor") struct CholeskyTests {
  @Test("reproduces the matrix, its determinant and its inverse", arguments: [1, 2, 7, 33])
  func factor(_ n: Int) throws {
    var stream = RandomStream(seed: 2).child(.custom, n)
    let a = RandomProblem.positiveDefinite(n, &stream)
    let factor = try CholeskyFactor(a)
    #expect((factor.matrix - a).largestMagnitude < 1e-12)
    let b = RandomProblem.matrix(n, 2, &stream)
    let x = factor.solve(b)
    for j in 0..<2 {
      let dense = denseSolve(a, b.column(j))
      for i in 0..<n { #expect(abs(x[i, j] - dense[i]) < 1e-9) }
    }
    #expect((a * factor.inverse - .identity(n)).largestMagnitude < 1e-10)
    let eigen = try a.symmetricEigen()
    let product = eigen.values.reduce(1, *)
    #expect(abs(exp(factor.logDeterminant) / product - 1) < 1e-9)
  }

  @Test("an indefinite matrix and a NaN are different errors")
  func failures() {
    #expect(throws: LinearAlgebraError.notPositiveDefinite(leadingMinor: 2, size: 3)) {
      try CholeskyFactor(Matrix(diagonal: [1, -1, 1]))
    }
    var a = Matrix.identity(3)
    a[2, 1] = .nan
    #expect(throws: LinearAlgebraError.notFinite(row: 2, column: 1)) { try CholeskyFactor(a) }
  }

  @Test("jitter is reported and no larger than needed")
  func jitter() throws {
    let healthy = try CholeskyFactor.regularizing(.identity(4))
    #expect(healthy.jitter == 0)
    let singular = Matrix.outer([1, 2, 3], [1, 2, 3])
    let mended = try CholeskyFactor.regularizing(singular)
    #expect(mended.jitter <= 1e-8)
    #expect((mended.factor.matrix - singular).largestMagnitude < 1e-7)
    #expect(throws: LinearAlgebraError.self) {
      try CholeskyFactor.regularizing(Matrix(diagonal: [1, -1]), attempts: 3)
    }
    // Relative to each variance: numbers in units 1e12 apart take no harm from each other.
    let far = Matrix.outer([1e6, 1e-6, 1], [1e6, 1e-6, 1])
    let (factor, share) = try CholeskyFactor.regularizing(far)
    #expect(share > 0 && share <= 1e-8)
    for i in 0..<3 {
      #expect(abs(factor.matrix[i, i] / far[i, i] - 1) < 1e-7)
    }
  }
}

@Suite("BLAS") struct BLASTests {
  @Test("does not run on fallback kernels where the CPU has vector units")
  func kernels() {
    #if arch(x86_64)
      if Kernels.cpuHasAVX2 {
        #expect(!["Prescott", "Core2", "Nehalem"].contains(Kernels.blasName))
      }
    #endif
    #expect(!Kernels.blasName.isEmpty)
  }
}
