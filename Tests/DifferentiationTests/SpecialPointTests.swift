import Foundation
import Testing

@testable import Differentiation

/// Every function of `DifferentiableScalar`, once for the C library's doubles and once for any scalar.
private struct GridFunction {
  let name: String
  let double: (Double, Double) -> Double
  let dual: (Dual<SIMD2<Double>>, Dual<SIMD2<Double>>) -> Dual<SIMD2<Double>>
  let hyper: (HyperDual<SIMD2<Double>>, HyperDual<SIMD2<Double>>) -> HyperDual<SIMD2<Double>>
  let tape: (TapeScalar, TapeScalar) -> TapeScalar
  let generic: (Double, Double) -> Double
}

/// A function for any scalar.
private protocol AnyScalar {
  func callAsFunction<S: DifferentiableScalar>(_ x: S, _ y: S) -> S
}

private func entry(
  _ name: String, _ double: @escaping (Double, Double) -> Double, _ any: some AnyScalar
) -> GridFunction {
  GridFunction(
    name: name, double: double, dual: { any($0, $1) }, hyper: { any($0, $1) },
    tape: { any($0, $1) }, generic: { any($0, $1) })
}

private struct Call: AnyScalar {
  enum Kind: CaseIterable {
    case sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, exp, log, sqrt, square, abs, negative
    case atan2, hypot, power, root, cube, inverse, zeroth, first, sesqui
    case sum, difference, product, quotient, larger, smaller, clamped
    case plus, minus, from, times, by, into, sinOfBoth, cosOfBoth
  }
  let kind: Kind

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
    case .square: Differentiation.square(x)
    case .abs: Differentiation.abs(x)
    case .negative: -x
    case .atan2: Differentiation.atan2(x, y)
    case .hypot: Differentiation.hypot(x, y)
    case .power: Differentiation.pow(x, y)
    case .root: Differentiation.pow(x, 0.5)
    case .cube: Differentiation.pow(x, 3.0)
    case .inverse: Differentiation.pow(x, -1.0)
    case .zeroth: Differentiation.pow(x, 0.0)
    case .first: Differentiation.pow(x, 1.0)
    case .sesqui: Differentiation.pow(x, 1.5)
    case .sum: x + y
    case .difference: x - y
    case .product: x * y
    case .quotient: x / y
    case .larger: max(x, y)
    case .smaller: min(x, y)
    case .clamped: x.clamped(to: -0.5...2)
    case .plus: x + 0.3
    case .minus: x - 0.3
    case .from: 0.3 - x
    case .times: x * 0.3
    case .by: x / 0.3
    case .into: 0.3 / x
    case .sinOfBoth: sinCos(x).sin
    case .cosOfBoth: sinCos(x).cos
    }
  }

  func double(_ x: Double, _ y: Double) -> Double {
    switch kind {
    case .sin, .sinOfBoth: Foundation.sin(x)
    case .cos, .cosOfBoth: Foundation.cos(x)
    case .tan: Foundation.tan(x)
    case .asin: Foundation.asin(x)
    case .acos: Foundation.acos(x)
    case .atan: Foundation.atan(x)
    case .sinh: Foundation.sinh(x)
    case .cosh: Foundation.cosh(x)
    case .tanh: Foundation.tanh(x)
    case .exp: Foundation.exp(x)
    case .log: Foundation.log(x)
    case .sqrt: x.squareRoot()
    case .square: x * x
    case .abs: x.magnitude
    case .negative: -x
    case .atan2: Foundation.atan2(x, y)
    case .hypot: Foundation.hypot(x, y)
    case .power: Foundation.pow(x, y)
    case .root: Foundation.pow(x, 0.5)
    case .cube: Foundation.pow(x, 3)
    case .inverse: Foundation.pow(x, -1)
    case .zeroth: Foundation.pow(x, 0)
    case .first: Foundation.pow(x, 1)
    case .sesqui: Foundation.pow(x, 1.5)
    case .sum: x + y
    case .difference: x - y
    case .product: x * y
    case .quotient: x / y
    case .larger: Swift.max(x, y)
    case .smaller: Swift.min(x, y)
    case .clamped: x < -0.5 ? -0.5 : x > 2 ? 2 : x
    case .plus: x + 0.3
    case .minus: x - 0.3
    case .from: 0.3 - x
    case .times: x * 0.3
    case .by: x / 0.3
    case .into: 0.3 / x
    }
  }
}

private var functions: [GridFunction] {
  Call.Kind.allCases.map { entry("\($0)", Call(kind: $0).double, Call(kind: $0)) }
}

/// Zeros of both signs, ends of domains, the least and the largest numbers, and ordinary ones.
private let grid: [Double] = [
  0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3, 0.3, -1.7, 1e-300, -2.3e-308, 1e-8, 1e8, 710, -745, .pi,
  1e300,
]

@Suite struct SpecialPointTests {
  /// The same bits, or both not a number.
  private func isSame(_ a: Double, _ b: Double) -> Bool {
    a.bitPattern == b.bitPattern || (a.isNaN && b.isNaN)
  }

  @Test("Every function has the bits of the C library's, with and without derivatives")
  func values() {
    for f in functions {
      for x in grid + [.infinity, -.infinity, .nan] {
        for y in grid + [.infinity, -.infinity, .nan] {
          let expected = f.double(x, y)
          let place = "\(f.name) at (\(x), \(y)): \(expected)"
          let tape = Tape()
          let results = [
            f.generic(x, y), f.dual(Dual(x), Dual(y)).value,
            f.dual(Dual(x, tangent: SIMD2(1, 0)), Dual(y, tangent: SIMD2(0, 1))).value,
            f.hyper(HyperDual(x), HyperDual(y)).value,
            f.hyper(
              HyperDual(x, outer: 1, inner: SIMD2(1, 0), mixed: .zero),
              HyperDual(y, outer: 0, inner: SIMD2(0, 1), mixed: .zero)
            ).value, f.tape(tape.input(x), tape.input(y)).value,
            f.tape(TapeScalar(x), TapeScalar(y)).value,
          ]
          for (i, result) in results.enumerated() {
            #expect(isSame(result, expected), "\(place), scalar \(i): \(result)")
          }
        }
      }
    }
  }

  /// Arithmetic with an infinite value aside, which has no tangent to speak of.
  @Test("What is computed from constants is a constant, also where there is no derivative")
  func constants() {
    for f in functions {
      for x in grid {
        for y in grid where f.double(x, y).isFinite {
          let place = "\(f.name) at (\(x), \(y))"
          #expect(f.dual(Dual(x), Dual(y)).tangent == .zero, "\(place)")
          let second = f.hyper(HyperDual(x), HyperDual(y))
          #expect(
            second.outer == 0 && second.inner == .zero && second.mixed == .zero, "\(place)")
          // A direction in which nothing moves beside one in which something does.
          let one = f.dual(Dual(x, tangent: SIMD2(1, 0)), Dual(y, tangent: SIMD2(1, 0)))
          #expect(one.tangent[1] == 0, "\(place): \(one.tangent)")
          let inner = f.hyper(
            HyperDual(x, outer: 1, inner: SIMD2(1, 0), mixed: .zero),
            HyperDual(y, outer: 1, inner: SIMD2(1, 0), mixed: .zero))
          #expect(inner.inner[1] == 0 && inner.mixed[1] == 0, "\(place)")
          // An input times 0 is a constant too.
          let tape = Tape()
          let (p, q) = (tape.input(1), tape.input(1))
          let result = f.tape(0 * p + x, 0 * q + y)
          var hessian = [Double](repeating: .nan, count: 4)
          var target = hessian.mutableSpan
          tape.contractSecondDerivatives(
            of: [result].span, weights: [1.0].span, into: &target)
          #expect(hessian == [0, 0, 0, 0], "\(place): \(hessian)")
        }
      }
    }
  }

  @Test("Derivatives are those that central differences find, where they exist")
  func differences() {
    let ordinary: [Double] = [0.3, -0.3, 0.7, -0.8, 1.4, -1.7, 3.1]
    for f in functions where !["larger", "smaller", "clamped"].contains(f.name) {
      for x in ordinary {
        for y in ordinary {
          let h = 1e-4
          func isDefined(_ x: Double, _ y: Double) -> Bool { f.double(x, y).isFinite }
          func slope(_ dx: Double, _ dy: Double, _ x: Double, _ y: Double) -> Double {
            (8 * (f.double(x + dx * h, y + dy * h) - f.double(x - dx * h, y - dy * h))
              - (f.double(x + 2 * dx * h, y + 2 * dy * h)
                - f.double(x - 2 * dx * h, y - 2 * dy * h)))
              / (12 * h)
          }
          // Across the branch of atan2 there are none; nor by y where the power of a negative number ends.
          if f.name == "atan2" && y < 0 && abs(x) < 0.01 { continue }
          guard isDefined(x, y), isDefined(x + 3 * h, y), isDefined(x - 3 * h, y) else { continue }
          let hasY = isDefined(x, y + 3 * h)
          let dual = f.dual(Dual(x, tangent: SIMD2(1, 0)), Dual(y, tangent: SIMD2(0, 1)))
          let place = "\(f.name) at (\(x), \(y))"
          func agree(_ a: Double, _ b: Double, _ tolerance: Double) -> Bool {
            abs(a - b) <= tolerance * Swift.max(1, abs(b))
          }
          #expect(agree(dual.tangent[0], slope(1, 0, x, y), 1e-8), "\(place)")
          if hasY { #expect(agree(dual.tangent[1], slope(0, 1, x, y), 1e-8), "\(place)") }
          // Second derivatives as differences of the first.
          func gradient(_ x: Double, _ y: Double) -> SIMD2<Double> {
            f.dual(Dual(x, tangent: SIMD2(1, 0)), Dual(y, tangent: SIMD2(0, 1))).tangent
          }
          let byX = (gradient(x + h, y) - gradient(x - h, y)) / (2 * h)
          let mixed = f.hyper(
            HyperDual(x, outer: 1, inner: SIMD2(1, 0), mixed: .zero),
            HyperDual(y, outer: 0, inner: SIMD2(0, 1), mixed: .zero)
          ).mixed
          #expect(agree(mixed[0], byX[0], 1e-5), "\(place): \(mixed[0]) for \(byX[0])")
          let tape = Tape()
          let result = f.tape(tape.input(x), tape.input(y))
          var hessian = [Double](repeating: .nan, count: 4)
          var target = hessian.mutableSpan
          tape.contractSecondDerivatives(
            of: [result].span, weights: [1.0].span, into: &target)
          if hasY && byX[1].isFinite {
            #expect(agree(mixed[1], byX[1], 1e-5), "\(place): \(mixed[1]) for \(byX[1])")
            #expect(
              agree(hessian[0], mixed[0], 1e-12) && agree(hessian[1], mixed[1], 1e-12), "\(place)")
            let byY = (gradient(x, y + h) - gradient(x, y - h)) / (2 * h)
            #expect(agree(hessian[3], byY[1], 1e-5), "\(place): \(hessian[3]) for \(byY[1])")
          }
        }
      }
    }
  }

  @Test("0 to a power has the limits of its derivatives; a root at 0 has an infinite one")
  func atZero() {
    func power(_ y: Double) -> HyperDual<SIMD2<Double>> {
      pow(
        HyperDual(0, outer: 1, inner: SIMD2(1, 0), mixed: .zero),
        HyperDual(y, outer: 0, inner: SIMD2(0, 1), mixed: .zero))
    }
    #expect(power(3).inner == SIMD2(0, 0) && power(3).mixed == SIMD2(0, 0))
    #expect(power(2).mixed == SIMD2(2, 0))
    #expect(power(1).inner == SIMD2(1, 0))
    #expect(sqrt(Dual(0, tangent: SIMD2(1, 0))).tangent == SIMD2(.infinity, 0))
    #expect(abs(hypot(Dual(3e200, tangent: SIMD2(1, 0)), Dual(4e200)).tangent[0] - 0.6) < 1e-15)
  }
}
