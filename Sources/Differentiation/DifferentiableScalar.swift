import CMatrixKernels
public import Foundation

/// A real number that can carry derivatives with it: `Double`, `Dual`, `HyperDual` or `TapeScalar`.
///
/// A function written once, generic over this protocol, computes values when it is given doubles and
/// exact derivatives when it is given dual numbers (forward-mode automatic differentiation; Griewank
/// and Walther 2008, "Evaluating derivatives", chapter 3):
///
/// ```swift
/// func height<S: DifferentiableScalar>(_ angle: S, length: Double) -> S { length * cos(angle) }
/// ```
///
/// Arithmetic mixes with doubles, which are constants: `2 * x`, `x + 1`, `mass * gravity * sin(x)`.
/// A constant where a scalar is wanted is `S(0.5)`. Comparisons (`x < S(1)`, `max(x, y)`) look at values
/// alone, so that every type of scalar takes the same branch; the derivative is that of the branch
/// taken. Where the compiler finds an expression too complex, give a part of it a name.
///
/// The value is the one that doubles give, bit for bit. Where a derivative is infinite or does not exist,
/// as that of `sqrt` at 0 or those of `atan2` at the origin, a result has an infinite or NaN derivative
/// in the directions in which an argument moves, and 0 in those in which none does: what is computed
/// from constants is a constant.
public protocol DifferentiableScalar: Comparable, BitwiseCopyable, Sendable {
  /// A constant: its derivatives are zero.
  init(_ constant: Double)

  /// The number itself, without derivatives.
  var value: Double { get }

  /// f of this number, for a function of one variable given with its derivatives.
  ///
  /// - Parameters:
  ///   - function: f(x).
  ///   - slope: f'(x), given x and f(x).
  ///   - curvature: f''(x), given x, f(x) and f'(x).
  /// - Returns: f(x) with its derivatives.
  func applying(
    _ function: (Double) -> Double, slope: (_ x: Double, _ f: Double) -> Double,
    curvature: (_ x: Double, _ f: Double, _ slope: Double) -> Double
  ) -> Self

  /// f of this number and another one, for a function of two variables given with its derivatives.
  ///
  /// - Parameters:
  ///   - other: y.
  ///   - function: f(x, y).
  ///   - derivatives: those of f, given x, y and f(x, y).
  /// - Returns: f(x, y) with its derivatives.
  func applying(
    with other: Self, _ function: (_ x: Double, _ y: Double) -> Double,
    derivatives: (_ x: Double, _ y: Double, _ f: Double) -> BivariateDerivatives
  ) -> Self

  /// The sum.
  static func + (a: Self, b: Self) -> Self
  /// The difference.
  static func - (a: Self, b: Self) -> Self
  /// The product.
  static func * (a: Self, b: Self) -> Self
  /// The quotient.
  static func / (a: Self, b: Self) -> Self
  /// The negative.
  static prefix func - (a: Self) -> Self
  /// The sum with a constant.
  static func + (a: Self, b: Double) -> Self
  /// The difference from a constant.
  static func - (a: Self, b: Double) -> Self
  /// The product with a constant.
  static func * (a: Self, b: Double) -> Self
  /// The quotient by a constant.
  static func / (a: Self, b: Double) -> Self
  /// The sum with a constant.
  static func + (a: Double, b: Self) -> Self
  /// The difference from a constant.
  static func - (a: Double, b: Self) -> Self
  /// The product with a constant.
  static func * (a: Double, b: Self) -> Self
  /// The quotient of a constant.
  static func / (a: Double, b: Self) -> Self
}

/// First and second derivatives of a function of two variables, f(x, y).
@frozen
public struct BivariateDerivatives: Sendable {
  /// ∂f/∂x.
  public var byX: Double
  /// ∂f/∂y.
  public var byY: Double
  /// ∂²f/∂x².
  public var byXX: Double
  /// ∂²f/∂x∂y.
  public var byXY: Double
  /// ∂²f/∂y².
  public var byYY: Double

  /// Derivatives from their parts.
  @inlinable
  public init(byX: Double, byY: Double, byXX: Double, byXY: Double, byYY: Double) {
    self.byX = byX
    self.byY = byY
    self.byXX = byXX
    self.byXY = byXY
    self.byYY = byYY
  }
}

/// A derivative times a tangent; 0 where the tangent is, even if the derivative is infinite or NaN.
@inlinable @inline(__always)
func chained(_ derivative: Double, _ tangent: Double) -> Double {
  tangent == 0 ? 0 : derivative * tangent
}

/// The same in several directions.
@inlinable @inline(__always)
func chained<Lanes: SIMD>(
  _ derivative: Double, _ tangent: Lanes
) -> Lanes where Lanes.Scalar == Double {
  var product = derivative * tangent
  if !derivative.isFinite { product.replace(with: 0, where: tangent .== 0) }
  return product
}

extension DifferentiableScalar {
  /// The constant 0.
  @inlinable public static var zero: Self { Self(0) }

  /// Adds `b`.
  @inlinable public static func += (a: inout Self, b: Self) { a = a + b }
  /// Subtracts `b`.
  @inlinable public static func -= (a: inout Self, b: Self) { a = a - b }
  /// Multiplies by `b`.
  @inlinable public static func *= (a: inout Self, b: Self) { a = a * b }
  /// Divides by `b`.
  @inlinable public static func /= (a: inout Self, b: Self) { a = a / b }

  /// This number, or the nearer end of the range, where derivatives are zero.
  @inlinable public func clamped(to range: ClosedRange<Double>) -> Self {
    value < range.lowerBound
      ? Self(range.lowerBound) : value > range.upperBound ? Self(range.upperBound) : self
  }
}

extension Double: DifferentiableScalar {
  /// The number itself.
  @inlinable public var value: Double { self }

  /// f(x).
  @inlinable public func applying(
    _ function: (Double) -> Double, slope: (_ x: Double, _ f: Double) -> Double,
    curvature: (_ x: Double, _ f: Double, _ slope: Double) -> Double
  ) -> Double { function(self) }

  /// f(x, y).
  @inlinable public func applying(
    with other: Double, _ function: (_ x: Double, _ y: Double) -> Double,
    derivatives: (_ x: Double, _ y: Double, _ f: Double) -> BivariateDerivatives
  ) -> Double { function(self, other) }
}

// MARK: - Elementary functions

/// Sine of an angle [rad].
@inlinable public func sin<S: DifferentiableScalar>(_ x: S) -> S {
  if S.self == Double.self { return S(Foundation.sin(x.value)) }
  let (s, c) = sineAndCosine(x.value)
  return x.applying({ _ in s }, slope: { _, _ in c }, curvature: { _, _, _ in -s })
}

/// Cosine of an angle [rad].
@inlinable public func cos<S: DifferentiableScalar>(_ x: S) -> S {
  if S.self == Double.self { return S(Foundation.cos(x.value)) }
  let (s, c) = sineAndCosine(x.value)
  return x.applying({ _ in c }, slope: { _, _ in -s }, curvature: { _, _, _ in -c })
}

/// Both by one call of the C library, with the bits of two.
@usableFromInline func sineAndCosine(_ angle: Double) -> (sine: Double, cosine: Double) {
  var (sine, cosine) = (0.0, 0.0)
  mk_sine_and_cosine(angle, &sine, &cosine)
  return (sine, cosine)
}

/// Sine and cosine of an angle [rad]; cheaper than one after the other.
@inlinable public func sinCos<S: DifferentiableScalar>(_ x: S) -> (sin: S, cos: S) {
  let (s, c) = sineAndCosine(x.value)
  return (
    x.applying({ _ in s }, slope: { _, _ in c }, curvature: { _, _, _ in -s }),
    x.applying({ _ in c }, slope: { _, _ in -s }, curvature: { _, _, _ in -c })
  )
}

/// Tangent of an angle [rad].
@inlinable public func tan<S: DifferentiableScalar>(_ x: S) -> S {
  x.applying(Foundation.tan, slope: { _, f in 1 + f * f }, curvature: { _, f, d in 2 * f * d })
}

/// Angle in [−π/2, π/2] whose sine is x [rad].
@inlinable public func asin<S: DifferentiableScalar>(_ x: S) -> S {
  x.applying(
    Foundation.asin, slope: { x, _ in 1 / (1 - x * x).squareRoot() },
    curvature: { x, _, d in x * d * d * d })
}

/// Angle in [0, π] whose cosine is x [rad].
@inlinable public func acos<S: DifferentiableScalar>(_ x: S) -> S {
  x.applying(
    Foundation.acos, slope: { x, _ in -1 / (1 - x * x).squareRoot() },
    curvature: { x, _, d in x * d * d * d })
}

/// Angle in (−π/2, π/2) whose tangent is x [rad].
@inlinable public func atan<S: DifferentiableScalar>(_ x: S) -> S {
  x.applying(
    Foundation.atan, slope: { x, _ in 1 / (1 + x * x) }, curvature: { x, _, d in -2 * x * d * d })
}

/// Angle of the point (x, y) in [−π, π] [rad]; not differentiable at the origin.
@inlinable public func atan2<S: DifferentiableScalar>(_ y: S, _ x: S) -> S {
  y.applying(with: x, Foundation.atan2) { y, x, _ in
    // Divided twice by the radius, whose square may leave the range of doubles.
    let r = Foundation.hypot(x, y)
    let (c, s) = (x / r, y / r)
    let mixed = (s - c) * (s + c) / r / r
    let bend = 2 * c * s / r / r
    return BivariateDerivatives(byX: c / r, byY: -s / r, byXX: -bend, byXY: mixed, byYY: bend)
  }
}

/// Hyperbolic sine.
@inlinable public func sinh<S: DifferentiableScalar>(_ x: S) -> S {
  x.applying(Foundation.sinh, slope: { x, _ in Foundation.cosh(x) }, curvature: { _, f, _ in f })
}

/// Hyperbolic cosine.
@inlinable public func cosh<S: DifferentiableScalar>(_ x: S) -> S {
  x.applying(Foundation.cosh, slope: { x, _ in Foundation.sinh(x) }, curvature: { _, f, _ in f })
}

/// Hyperbolic tangent.
@inlinable public func tanh<S: DifferentiableScalar>(_ x: S) -> S {
  x.applying(Foundation.tanh, slope: { _, f in 1 - f * f }, curvature: { _, f, d in -2 * f * d })
}

/// e to the power of x.
@inlinable public func exp<S: DifferentiableScalar>(_ x: S) -> S {
  x.applying(Foundation.exp, slope: { _, f in f }, curvature: { _, f, _ in f })
}

/// Natural logarithm.
@inlinable public func log<S: DifferentiableScalar>(_ x: S) -> S {
  x.applying(Foundation.log, slope: { x, _ in 1 / x }, curvature: { _, _, d in -d * d })
}

/// Square root; not differentiable at 0.
@inlinable public func sqrt<S: DifferentiableScalar>(_ x: S) -> S {
  x.applying(
    { $0.squareRoot() }, slope: { _, f in 0.5 / f }, curvature: { x, _, d in -0.5 * d / x })
}

/// x², short where `x * x` is not, as in `square(p - q) + square(r - s)`.
@inlinable public func square<S: DifferentiableScalar>(_ x: S) -> S { x * x }

/// x to the power of a constant.
@inlinable public func pow<S: DifferentiableScalar>(_ x: S, _ exponent: Double) -> S {
  x.applying(
    { Foundation.pow($0, exponent) },
    slope: { x, _ in exponent == 0 ? 0 : exponent * Foundation.pow(x, exponent - 1) },
    curvature: { x, _, _ in
      exponent == 0 || exponent == 1
        ? 0 : exponent * (exponent - 1) * Foundation.pow(x, exponent - 2)
    })
}

// Between two doubles the function above is meant; without a preference the call is ambiguous.
/// x to the power of y; by y differentiable for x > 0.
@_disfavoredOverload
@inlinable public func pow<S: DifferentiableScalar>(_ x: S, _ y: S) -> S {
  x.applying(with: y, Foundation.pow) { x, y, f in
    // 0 to any power y > 0 is 0: the limits from x > 0, which 0 · ln 0 does not tell.
    let isRoot = x == 0 && y > 0
    let logarithm = Foundation.log(x)
    let byX = y == 0 ? 0 : y * Foundation.pow(x, y - 1)
    let byXX = y == 0 || y == 1 ? 0 : y * (y - 1) * Foundation.pow(x, y - 2)
    return BivariateDerivatives(
      byX: byX, byY: isRoot ? 0 : f * logarithm, byXX: byXX,
      byXY: isRoot && y > 1 ? 0 : Foundation.pow(x, y - 1) * (1 + y * logarithm),
      byYY: isRoot ? 0 : f * logarithm * logarithm)
  }
}

/// The magnitude; its derivative at 0 is that of x.
@inlinable public func abs<S: DifferentiableScalar>(_ x: S) -> S {
  // The sum makes 0 of −0.
  x.value < 0 ? -x : x + 0
}

/// The length of (x, y); not differentiable at the origin.
@inlinable public func hypot<S: DifferentiableScalar>(_ x: S, _ y: S) -> S {
  x.applying(with: y, Foundation.hypot) { x, y, r in
    let (c, s) = (x / r, y / r)
    return BivariateDerivatives(
      byX: c, byY: s, byXX: s * s / r, byXY: -c * s / r, byYY: c * c / r)
  }
}
