import CMatrixKernels
import Foundation
import Testing

@testable import Differentiation

/// A function of two variables, for every type of scalar.
private protocol TestFunction {
  var name: String { get }
  /// Where to try it.
  var points: [(Double, Double)] { get }
  func callAsFunction<S: DifferentiableScalar>(_ x: S, _ y: S) -> S
  /// Value, ∂/∂x, ∂/∂y, ∂²/∂x², ∂²/∂x∂y, ∂²/∂y², from a table of derivatives.
  func closedForm(_ x: Double, _ y: Double) -> [Double]
}

private struct Unary: TestFunction {
  enum Kind: CaseIterable {
    case sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, exp, log, sqrt, abs, cube, root
    case constantPower, negative
  }
  var kind: Kind
  var name: String { "\(kind)" }
  var points: [(Double, Double)] {
    let isBounded = [.asin, .acos].contains(kind)
    let isPositive = [.log, .sqrt, .root].contains(kind)
    let list = isBounded ? [-0.7, 0.3, 0.9] : isPositive ? [0.2, 1, 7] : [-1.3, 0.4, 1.1]
    return list.map { ($0, 0) }
  }

  func callAsFunction<S: DifferentiableScalar>(_ x: S, _ y: S) -> S {
    switch kind {
    case .sin: Differentiation.sin(x)
    case .cos: Differentiation.cos(x)
    case .tan: Differentiation.tan(x)
    case .asin: Differentiation.asin(x)
    case .acos: Differentiation.acos(x)
    case .atan: Differentiation.atan(x)
    case .sinh: Differentiation.sinh(x)
    case .cosh: Differentiation.cosh(x)
    case .tanh: Differentiation.tanh(x)
    case .exp: Differentiation.exp(x)
    case .log: Differentiation.log(x)
    case .sqrt: Differentiation.sqrt(x)
    case .abs: Differentiation.abs(x)
    case .cube: pow(x, 3.0)
    case .root: pow(x, 0.5)
    case .constantPower: pow(x, 1.0)
    case .negative: -x
    }
  }

  func closedForm(_ x: Double, _ y: Double) -> [Double] {
    func list(_ f: Double, _ d: Double, _ dd: Double) -> [Double] { [f, d, 0, dd, 0, 0] }
    let (s, c) = (Foundation.sin(x), Foundation.cos(x))
    switch kind {
    case .sin: return list(s, c, -s)
    case .cos: return list(c, -s, -c)
    case .tan: return list(s / c, 1 / (c * c), 2 * s / (c * c * c))
    case .asin:
      return list(
        Foundation.asin(x), Foundation.pow(1 - x * x, -0.5), x * Foundation.pow(1 - x * x, -1.5))
    case .acos:
      return list(
        Foundation.acos(x), -Foundation.pow(1 - x * x, -0.5), -x * Foundation.pow(1 - x * x, -1.5))
    case .atan:
      return list(Foundation.atan(x), 1 / (1 + x * x), -2 * x / Foundation.pow(1 + x * x, 2))
    case .sinh: return list(Foundation.sinh(x), Foundation.cosh(x), Foundation.sinh(x))
    case .cosh: return list(Foundation.cosh(x), Foundation.sinh(x), Foundation.cosh(x))
    case .tanh:
      let sech2 = 1 / Foundation.pow(Foundation.cosh(x), 2)
      return list(Foundation.tanh(x), sech2, -2 * Foundation.tanh(x) * sech2)
    case .exp: return list(Foundation.exp(x), Foundation.exp(x), Foundation.exp(x))
    case .log: return list(Foundation.log(x), 1 / x, -1 / (x * x))
    case .sqrt, .root:
      return list(x.squareRoot(), 0.5 * Foundation.pow(x, -0.5), -0.25 * Foundation.pow(x, -1.5))
    case .abs: return list(x.magnitude, x < 0 ? -1 : 1, 0)
    case .cube: return list(x * x * x, 3 * x * x, 6 * x)
    case .constantPower: return list(x, 1, 0)
    case .negative: return list(-x, -1, 0)
    }
  }
}

private struct Binary: TestFunction {
  enum Kind: CaseIterable { case product, quotient, power, angle, length, larger, smaller, mixed }
  var kind: Kind
  var name: String { "\(kind)" }
  var points: [(Double, Double)] {
    kind == .power
      ? [(0.7, -1.2), (2, 0.5)] : [(0.7, -1.2), (-2, 0.5), (-0.3, -0.4), (1, 2), (-1, 1e-9)]
  }

  func callAsFunction<S: DifferentiableScalar>(_ x: S, _ y: S) -> S {
    switch kind {
    case .product: x * y
    case .quotient: x / y
    case .power: pow(x, y)
    case .angle: atan2(y, x)
    case .length: hypot(x, y)
    case .larger: max(x, y)
    case .smaller: min(x, y)
    case .mixed: 3 / y - (2 - x) / 4 + 5 * (x - 1) * (y * 2 + 1)
    }
  }

  func closedForm(_ x: Double, _ y: Double) -> [Double] {
    let r2 = x * x + y * y
    let r = r2.squareRoot()
    switch kind {
    case .product: return [x * y, y, x, 0, 1, 0]
    case .quotient: return [x / y, 1 / y, -x / (y * y), 0, -1 / (y * y), 2 * x / (y * y * y)]
    case .power:
      let (f, l) = (Foundation.pow(x, y), Foundation.log(x))
      return [f, y * f / x, l * f, y * (y - 1) * f / (x * x), f / x * (1 + y * l), l * l * f]
    case .angle:
      return [
        Foundation.atan2(y, x), -y / r2, x / r2, 2 * x * y / (r2 * r2),
        (y * y - x * x) / (r2 * r2), -2 * x * y / (r2 * r2),
      ]
    case .length:
      return [r, x / r, y / r, y * y / (r * r2), -x * y / (r * r2), x * x / (r * r2)]
    case .larger: return x > y ? [x, 1, 0, 0, 0, 0] : [y, 0, 1, 0, 0, 0]
    case .smaller: return x < y ? [x, 1, 0, 0, 0, 0] : [y, 0, 1, 0, 0, 0]
    case .mixed:
      return [
        3 / y - (2 - x) / 4 + 5 * (x - 1) * (2 * y + 1), 0.25 + 5 * (2 * y + 1),
        -3 / (y * y) + 10 * (x - 1), 0, 10, 6 / (y * y * y),
      ]
    }
  }
}

private func isClose(_ a: Double, _ b: Double, _ tolerance: Double) -> Bool {
  (a - b).magnitude <= tolerance * Swift.max(1, b.magnitude)
}

@Suite struct DifferentiationTests {
  private func check(_ function: some TestFunction) {
    for (x, y) in function.points {
      let expected = function.closedForm(x, y)
      let place = "\(function.name) at (\(x), \(y))"
      #expect(isClose(function(x, y), expected[0], 1e-14), "\(place)")

      let dual = function(
        Dual(x, tangent: SIMD4(1, 0, 2, 0)), Dual(y, tangent: SIMD4(0, 1, 3, 0)))
      let slopes = [expected[1], expected[2], 2 * expected[1] + 3 * expected[2], 0]
      #expect(isClose(dual.value, expected[0], 1e-14), "\(place)")
      for lane in 0..<4 {
        #expect(isClose(dual.tangent[lane], slopes[lane], 1e-12), "\(place), direction \(lane)")
      }

      for (outer, row) in [((1.0, 0.0), [3, 4]), ((0, 1), [4, 5])] {
        let second = function(
          HyperDual(x, outer: outer.0, inner: SIMD2(1, 0), mixed: .zero),
          HyperDual(y, outer: outer.1, inner: SIMD2(0, 1), mixed: .zero))
        #expect(isClose(second.value, expected[0], 1e-14), "\(place)")
        #expect(
          isClose(second.outer, outer.0 * expected[1] + outer.1 * expected[2], 1e-12), "\(place)")
        for lane in 0..<2 {
          #expect(isClose(second.inner[lane], expected[1 + lane], 1e-12), "\(place)")
          #expect(
            isClose(second.mixed[lane], expected[row[lane]], 1e-11),
            "\(place), second derivative \(row[lane])")
        }
      }
      // Twice the function less three times its first argument, whose second derivatives are 0.
      let tape = Tape()
      let (p, q) = (tape.input(x), tape.input(y))
      let result = function(p, q)
      #expect(isClose(result.value, expected[0], 1e-14), "\(place)")
      let hessian = contract(tape, [result, p], [2, -3], inputs: 2)
      for (entry, derivative) in zip(hessian, [3, 4, 4, 5]) {
        #expect(
          isClose(entry, 2 * expected[derivative], 1e-11),
          "\(place), second derivative \(derivative) from a tape")
      }
    }
  }

  private func contract(
    _ tape: Tape, _ results: [TapeScalar], _ weights: [Double], inputs d: Int
  ) -> [Double] {
    var hessian = [Double](repeating: .nan, count: d * d)
    var target = hessian.mutableSpan
    tape.contractSecondDerivatives(of: results.span, weights: weights.span, into: &target)
    return hessian
  }

  @Test(
    "A tape agrees with hyper-dual numbers, whatever the number of inputs and the instruction set",
    arguments: [1, 3, 4, 5, 8, 9, 17, 33, 70])
  func tape(inputs d: Int) {
    // Three results in which sums, products, quotients and functions follow upon each other.
    func f<S: DifferentiableScalar>(_ y: [S]) -> [S] {
      var (a, b) = (S(0.5), S(1))
      for (i, x) in y.enumerated() {
        let wave = sin(x + 0.3 * a)
        a = a * 0.7 + x * wave - b / (square(x) + 2)
        b = (i % 3 == 0 ? -x : a - x) / (2 + square(wave)) + b * 0.5
      }
      return [a * b, y[0], exp(0.1 * a) - (b - 1) * 3]
    }
    let point = (0..<d).map { 0.2 + 0.9 * Foundation.cos(1.7 * Double($0)) }
    let weights = [0.8, -2, 1.3]
    for variant in 0...Int32(2) where mk_supports(variant) != 0 {
      let tape = Tape(variant: variant)
      // A tape that is used again forgets.
      for scale in [3.0, 1] {
        tape.restart()
        let y = point.map { tape.input(scale * $0) }
        let hessian = contract(tape, f(y), weights, inputs: d)
        for column in 0..<d where scale == 1 {
          for row in 0..<d {
            let numbers = point.indices.map {
              HyperDual(
                point[$0], outer: $0 == column ? 1 : 0, inner: SIMD2($0 == row ? 1 : 0, 0),
                mixed: .zero)
            }
            let expected = zip(weights, f(numbers)).reduce(0) { $0 + $1.0 * $1.1.mixed[0] }
            #expect(
              isClose(hessian[row + d * column], expected, 1e-10), "\(variant) \(row) \(column)")
          }
        }
      }
    }
  }

  @Test("What the results do not depend on may be infinite; constants have no derivatives")
  func tapeCorners() {
    let tape = Tape()
    let (x, y) = (tape.input(0), tape.input(2))
    _ = sqrt(x) * y
    #expect(contract(tape, [y * y * y, TapeScalar(4) * 2], [1, 1], inputs: 2) == [0, 0, 0, 12])
    // The same node on both sides, with and without constants.
    let twice = 3 * y
    let same = (twice * (y + 1)) / (y - 4) + (twice - y) - twice / twice
    // 3 y (y + 1) / (y − 4) has the second derivative 120 / (y − 4)³.
    #expect(isClose(contract(tape, [same], [1], inputs: 2)[3], 120 / -8, 1e-12))
    #expect(square(3.0) == 9 && y.clamped(to: -1...1) == TapeScalar(1))
  }

  @Test("Functions of one variable have the derivatives of the tables")
  func unary() { for kind in Unary.Kind.allCases { check(Unary(kind: kind)) } }

  @Test("Functions of two variables have the derivatives of the tables")
  func binary() { for kind in Binary.Kind.allCases { check(Binary(kind: kind)) } }

  @Test("Sine and cosine at once are sine and cosine")
  func both() {
    let x = HyperDual(0.8, outer: 2, inner: SIMD2(1, -3), mixed: SIMD2(0.5, 0))
    let (s, c) = sinCos(x)
    for (a, b) in [(s, sin(x)), (c, cos(x))] {
      #expect(a.value == b.value && a.outer == b.outer && a.inner == b.inner && a.mixed == b.mixed)
    }
    // The bits of the C library's two functions, so that a value has the same with and without derivatives.
    for i in -20_000...20_000 {
      let angle = Double(i) * 0.017 + 1e-3
      let (sine, cosine) = sinCos(angle)
      #expect(sine == Foundation.sin(angle) && cosine == Foundation.cos(angle))
    }
  }

  @Test("A compound function has the second derivatives that central differences of the first have")
  func compound() {
    func f<S: DifferentiableScalar>(_ x: S, _ y: S) -> S {
      let r = sqrt(x * x + y * y + 1)
      let s = 0.5 * sin(2 * x) * exp(-y / 3) + 1.5
      return log(r) / s - tanh(x * y)
    }
    func gradient(_ x: Double, _ y: Double) -> SIMD2<Double> {
      f(Dual(x, tangent: SIMD2(1, 0)), Dual(y, tangent: SIMD2(0, 1))).tangent
    }
    let (x, y, h) = (0.6, -0.9, 1e-5)
    let byX = (gradient(x + h, y) - gradient(x - h, y)) / (2 * h)
    let byY = (gradient(x, y + h) - gradient(x, y - h)) / (2 * h)
    for (outer, row) in [((1.0, 0.0), byX), ((0, 1), byY)] {
      let mixed = f(
        HyperDual(x, outer: outer.0, inner: SIMD2(1, 0), mixed: .zero),
        HyperDual(y, outer: outer.1, inner: SIMD2(0, 1), mixed: .zero)
      ).mixed
      for lane in 0..<2 { #expect(isClose(mixed[lane], row[lane], 1e-9)) }
    }
  }

  @Test("A function of one's own brings its derivatives along")
  func custom() {
    // Softplus, written so that it does not overflow.
    func softplus<S: DifferentiableScalar>(_ x: S) -> S {
      x.applying(
        { Swift.max($0, 0) + Foundation.log1p(Foundation.exp(-$0.magnitude)) },
        slope: { x, _ in 1 / (1 + Foundation.exp(-x)) },
        curvature: { _, _, d in d * (1 - d) })
    }
    let (x, h) = (0.3, 1e-4)
    let y = softplus(HyperDual(x, outer: 1, inner: SIMD2(1, 0), mixed: .zero))
    #expect(isClose(y.outer, (softplus(x + h) - softplus(x - h)) / (2 * h), 1e-8))
    #expect(
      isClose(y.mixed[0], (softplus(x + h) - 2 * softplus(x) + softplus(x - h)) / (h * h), 1e-6))
    #expect(softplus(Dual(800, tangent: SIMD2(1, 0))).tangent[0] == 1)
  }

  @Test("Branches follow values; a clamped number has no slope")
  func branches() {
    let x = Dual(2, tangent: SIMD2(1, 0))
    #expect(x.clamped(to: -1...1).tangent == .zero && x.clamped(to: -1...1).value == 1)
    #expect(x.clamped(to: 0...3).tangent[0] == 1)
    #expect(x < Dual(3) && x == Dual(2) && x > Dual(-5))
  }
}
