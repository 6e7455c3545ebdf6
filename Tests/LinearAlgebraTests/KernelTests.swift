import CMatrixKernels
import LinearAlgebra
import Testing

/// Every variant against plain loops, at all sizes that a vector, a tile or a block can end at.
@Suite("Kernels") struct KernelTests {
  static let variants = Kernels.Variant.allCases.filter(\.isSupported)
  static let sizes = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 23, 24, 25, 33, 49]

  /// Numbers in a buffer whose columns are `rows + gap` apart; the gaps hold `canary`.
  struct Buffer {
    static let canary = -77.0
    let rows: Int
    let columns: Int
    let distance: Int
    var numbers: [Double]

    init(_ rows: Int, _ columns: Int, gap: Int = 3, _ value: (Int, Int) -> Double) {
      (self.rows, self.columns, distance) = (rows, columns, rows + gap)
      numbers = [Double](repeating: Self.canary, count: (rows + gap) * columns)
      for j in 0..<columns { for i in 0..<rows { self[i, j] = value(i, j) } }
    }

    subscript(_ i: Int, _ j: Int) -> Double {
      get { numbers[i + distance * j] }
      set { numbers[i + distance * j] = newValue }
    }

    var areGapsUntouched: Bool {
      (0..<columns).allSatisfy { j in
        (rows..<distance).allSatisfy { numbers[$0 + distance * j] == Self.canary }
      }
    }

    func differs(from other: Buffer) -> Double {
      zip(numbers, other.numbers).reduce(0) { max($0, abs($1.0 - $1.1)) }
    }
  }

  /// Numbers without a pattern that a wrong index could keep.
  static func number(_ i: Int, _ j: Int) -> Double {
    let mixed = i * 7919 + j * 104_729 + i * j * 31
    return Double(mixed % 199) / 100 - 1
  }

  static func lower(_ n: Int) -> Buffer {
    Buffer(n, n) { i, j in
      if i < j { return Buffer.canary }
      return i == j ? 1.5 + Double(i % 3) : number(i, j) / Double(n)
    }
  }

  @Test(arguments: variants, [false, true])
  func products(_ variant: Kernels.Variant, _ transposeA: Bool) {
    for transposeB in [false, true] {
      for m in Self.sizes {
        for (n, k) in [(1, 1), (3, 9), (8, 8), (11, 5), (17, 66), (26, 130), (2, 0)] {
          let a = transposeA ? Buffer(k, m, Self.number) : Buffer(m, k, Self.number)
          let b = transposeB ? Buffer(n, k, Self.number) : Buffer(k, n, Self.number)
          for beta in [0, -0.5] {
            // With β = 0 the old numbers are not read.
            var c = Buffer(m, n) { beta == 0 ? .nan : Self.number($1, $0) }
            let expected = Buffer(m, n) { i, j in
              var sum = 0.0
              for p in 0..<k {
                let left = transposeA ? a[p, i] : a[i, p]
                let right = transposeB ? b[j, p] : b[p, j]
                sum += left * right
              }
              return 1.5 * sum + (beta == 0 ? 0 : beta * c[i, j])
            }
            mk_gemm(
              variant.rawValue, transposeA ? 1 : 0, transposeB ? 1 : 0, Int64(m), Int64(n),
              Int64(k),
              1.5, a.numbers, Int64(a.distance), b.numbers, Int64(b.distance), beta, &c.numbers,
              Int64(c.distance))
            #expect(c.differs(from: expected) < 1e-12, "\(m) × \(n) × \(k), \(transposeB), \(beta)")
          }
        }
      }
    }
  }

  @Test(arguments: variants, [false, true])
  func symmetricProducts(_ variant: Kernels.Variant, _ transpose: Bool) {
    for n in Self.sizes {
      for k in [1, 4, 9, 70] {
        let a = transpose ? Buffer(k, n, Self.number) : Buffer(n, k, Self.number)
        for beta in [0, 2.0] {
          var c = Buffer(n, n, Self.number)
          let expected = Buffer(n, n) { i, j in
            if i < j { return c[i, j] }  // the upper triangle stays
            var sum = 0.0
            for p in 0..<k { sum += transpose ? a[p, i] * a[p, j] : a[i, p] * a[j, p] }
            return -sum + beta * c[i, j]
          }
          mk_syrk_lower(
            variant.rawValue, transpose ? 1 : 0, Int64(n), Int64(k), -1, a.numbers,
            Int64(a.distance), beta, &c.numbers, Int64(c.distance))
          #expect(c.differs(from: expected) < 1e-12, "\(n) × \(k), \(beta)")
        }
      }
    }
  }

  @Test(arguments: variants, [false, true])
  func productsWithVectors(_ variant: Kernels.Variant, _ transpose: Bool) {
    for m in Self.sizes {
      for n in [1, 2, 5, 8, 31] {
        let a = Buffer(m, n, Self.number)
        let x = Buffer(transpose ? m : n, 1, Self.number)
        for beta in [0, 0.25] {
          var y = Buffer(transpose ? n : m, 1) { beta == 0 ? .nan : Self.number($0 + 5, $1) }
          let expected = Buffer(y.rows, 1) { i, _ in
            var sum = 0.0
            for p in 0..<x.rows {
              let entry = transpose ? a[p, i] : a[i, p]
              sum += entry * x[p, 0]
            }
            return 2 * sum + (beta == 0 ? 0 : beta * y[i, 0])
          }
          mk_gemv(
            variant.rawValue, transpose ? 1 : 0, Int64(m), Int64(n), 2, a.numbers,
            Int64(a.distance), x.numbers, beta, &y.numbers)
          #expect(y.differs(from: expected) < 1e-12, "\(m) × \(n), \(beta)")
        }
      }
    }
  }

  @Test(arguments: variants)
  func cholesky(_ variant: Kernels.Variant) {
    for n in Self.sizes {
      let factor = Self.lower(n)
      var a = Buffer(n, n) { i, j in
        i < j ? Buffer.canary : (0...j).reduce(0) { $0 + factor[i, $1] * factor[j, $1] }
      }
      let original = a
      #expect(mk_cholesky_lower(variant.rawValue, Int64(n), &a.numbers, Int64(a.distance)) == 0)
      // The factor below, and the canaries above and in the gaps.
      #expect(a.differs(from: factor) < 1e-12, "\(n)")
      #expect(a.areGapsUntouched)
      for bad in [0, n / 2, n - 1] {
        for value in [-1.0, 0, .nan, .infinity] {
          var spoilt = original
          spoilt[bad, bad] = value
          let minor = mk_cholesky_lower(
            variant.rawValue, Int64(n), &spoilt.numbers, Int64(a.distance))
          #expect(minor == bad + 1, "order \(n), \(value) at \(bad)")
        }
      }
    }
  }

  @Test(arguments: variants, [false, true])
  func triangularSolves(_ variant: Kernels.Variant, _ transpose: Bool) {
    for n in Self.sizes {
      let l = Self.lower(n)
      for r in [1, 2, 7, 8, 15, 16, 17, 35] {
        let x = Buffer(n, r, Self.number)
        var b = Buffer(n, r) { i, j in
          var sum = 0.0
          for p in transpose ? i..<n : 0..<i + 1 {
            sum += (transpose ? l[p, i] : l[i, p]) * x[p, j]
          }
          return sum
        }
        mk_solve_lower(
          variant.rawValue, transpose ? 1 : 0, Int64(n), Int64(r), l.numbers, Int64(l.distance),
          &b.numbers, Int64(b.distance))
        #expect(b.differs(from: x) < 1e-12, "order \(n), \(r) right-hand sides")
      }
    }
  }

  @Test(arguments: variants)
  func triangularSolvesFromTheRight(_ variant: Kernels.Variant) {
    for n in Self.sizes {
      let l = Self.lower(n)
      for r in Self.sizes {
        let x = Buffer(r, n, Self.number)
        // B = X Lᵀ
        var b = Buffer(r, n) { i, j in (0...j).reduce(0) { $0 + x[i, $1] * l[j, $1] } }
        mk_solve_lower_right(
          variant.rawValue, Int64(r), Int64(n), l.numbers, Int64(l.distance), &b.numbers,
          Int64(b.distance))
        #expect(b.differs(from: x) < 1e-12, "order \(n), \(r) rows")
      }
    }
  }
}
