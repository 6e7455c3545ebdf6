/// A number with first and second derivatives: one outer direction, and as many inner directions as
/// `Lanes` is wide (Fike and Alonso 2011, "The development of hyper-dual numbers for exact
/// second-derivative calculations").
///
/// With outer direction p and inner directions q_k, `mixed` is ∂²/∂p∂q_k: a row of the Hessian when
/// p is a coordinate and the q_k are others.
@frozen
public struct HyperDual<Lanes: SIMD>: DifferentiableScalar
where Lanes.Scalar == Double, Lanes: BitwiseCopyable & Sendable {
  /// The number.
  public var value: Double
  /// ∂/∂p.
  public var outer: Double
  /// ∂/∂q_k.
  public var inner: Lanes
  /// ∂²/∂p∂q_k.
  public var mixed: Lanes

  /// A number with its derivatives.
  @inlinable public init(_ value: Double, outer: Double, inner: Lanes, mixed: Lanes) {
    self.value = value
    self.outer = outer
    self.inner = inner
    self.mixed = mixed
  }

  /// A constant.
  @inlinable public init(_ constant: Double) {
    self.init(constant, outer: 0, inner: .zero, mixed: .zero)
  }

  /// The chain rule to second order: ∂²f/∂p∂q = f' ∂²x/∂p∂q + f'' ∂x/∂p ∂x/∂q.
  @inlinable public func applying(
    _ function: (Double) -> Double, slope: (_ x: Double, _ f: Double) -> Double,
    curvature: (_ x: Double, _ f: Double, _ slope: Double) -> Double
  ) -> Self {
    let f = function(value)
    let first = slope(value, f)
    let second = curvature(value, f, first)
    return Self(
      f, outer: chained(first, outer), inner: chained(first, inner),
      mixed: chained(first, mixed) + chained(chained(second, outer), inner))
  }

  /// The chain rule to second order, for two arguments.
  @inlinable public func applying(
    with other: Self, _ function: (_ x: Double, _ y: Double) -> Double,
    derivatives: (_ x: Double, _ y: Double, _ f: Double) -> BivariateDerivatives
  ) -> Self {
    let f = function(value, other.value)
    let by = derivatives(value, other.value, f)
    // ∂f_x/∂p and ∂f_y/∂p.
    let slopeX = chained(by.byXX, outer) + chained(by.byXY, other.outer)
    let slopeY = chained(by.byXY, outer) + chained(by.byYY, other.outer)
    let bend = chained(slopeX, inner) + chained(slopeY, other.inner)
    return Self(
      f, outer: chained(by.byX, outer) + chained(by.byY, other.outer),
      inner: chained(by.byX, inner) + chained(by.byY, other.inner),
      mixed: chained(by.byX, mixed) + chained(by.byY, other.mixed) + bend)
  }

  /// Compares values.
  @inlinable public static func == (a: Self, b: Self) -> Bool { a.value == b.value }
  /// Compares values.
  @inlinable public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
  // Not by default: what is not less is not for that reason more, as NaN is neither.
  /// Compares values.
  @inlinable public static func <= (a: Self, b: Self) -> Bool { a.value <= b.value }
  /// Compares values.
  @inlinable public static func > (a: Self, b: Self) -> Bool { a.value > b.value }
  /// Compares values.
  @inlinable public static func >= (a: Self, b: Self) -> Bool { a.value >= b.value }

  /// The sum.
  @inlinable public static func + (a: Self, b: Self) -> Self {
    Self(
      a.value + b.value, outer: a.outer + b.outer, inner: a.inner + b.inner,
      mixed: a.mixed + b.mixed)
  }
  /// The difference.
  @inlinable public static func - (a: Self, b: Self) -> Self {
    Self(
      a.value - b.value, outer: a.outer - b.outer, inner: a.inner - b.inner,
      mixed: a.mixed - b.mixed)
  }
  /// The product.
  @inlinable public static func * (a: Self, b: Self) -> Self {
    let products = a.value * b.mixed + b.value * a.mixed
    return Self(
      a.value * b.value, outer: a.value * b.outer + b.value * a.outer,
      inner: a.value * b.inner + b.value * a.inner,
      mixed: products + (a.outer * b.inner + b.outer * a.inner))
  }
  /// The quotient.
  @inlinable public static func / (a: Self, b: Self) -> Self {
    // From q b = a by the product rule, order by order.
    let inverse = 1 / b.value
    let quotient = a.value / b.value
    let outer = chained(inverse, a.outer - chained(quotient, b.outer))
    let inner = chained(inverse, a.inner - chained(quotient, b.inner))
    let rest = a.mixed - chained(quotient, b.mixed)
    return Self(
      quotient, outer: outer, inner: inner,
      mixed: chained(inverse, rest - (chained(outer, b.inner) + b.outer * inner)))
  }
  /// The negative.
  @inlinable public static prefix func - (a: Self) -> Self { a * -1 }
  /// The sum with a constant.
  @inlinable public static func + (a: Self, b: Double) -> Self {
    Self(a.value + b, outer: a.outer, inner: a.inner, mixed: a.mixed)
  }
  /// The difference from a constant.
  @inlinable public static func - (a: Self, b: Double) -> Self {
    Self(a.value - b, outer: a.outer, inner: a.inner, mixed: a.mixed)
  }
  /// The product with a constant.
  @inlinable public static func * (a: Self, b: Double) -> Self {
    Self(a.value * b, outer: a.outer * b, inner: b * a.inner, mixed: b * a.mixed)
  }
  /// The quotient by a constant.
  @inlinable public static func / (a: Self, b: Double) -> Self {
    let inverse = 1 / b
    return Self(
      a.value / b, outer: chained(inverse, a.outer), inner: chained(inverse, a.inner),
      mixed: chained(inverse, a.mixed))
  }
  /// The sum with a constant.
  @inlinable public static func + (a: Double, b: Self) -> Self { b + a }
  /// The difference from a constant.
  @inlinable public static func - (a: Double, b: Self) -> Self { -b + a }
  /// The product with a constant.
  @inlinable public static func * (a: Double, b: Self) -> Self { b * a }
  /// The quotient of a constant.
  @inlinable public static func / (a: Double, b: Self) -> Self { Self(a) / b }
}
