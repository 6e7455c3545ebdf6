/// A number and its derivatives in as many directions as `Lanes` is wide, for exact Jacobians by
/// forward-mode automatic differentiation: a + b ε with ε² = 0, one b per direction.
@frozen
public struct Dual<Lanes: SIMD>: DifferentiableScalar
where Lanes.Scalar == Double, Lanes: BitwiseCopyable & Sendable {
  /// The number.
  public var value: Double
  /// Its derivative along each direction.
  public var tangent: Lanes

  /// A number with its derivatives.
  @inlinable public init(_ value: Double, tangent: Lanes) {
    self.value = value
    self.tangent = tangent
  }

  /// A constant.
  @inlinable public init(_ constant: Double) { self.init(constant, tangent: .zero) }

  /// The chain rule: f(a) + f'(a) b ε.
  @inlinable public func applying(
    _ function: (Double) -> Double, slope: (_ x: Double, _ f: Double) -> Double,
    curvature: (_ x: Double, _ f: Double, _ slope: Double) -> Double
  ) -> Self {
    let f = function(value)
    return Self(f, tangent: chained(slope(value, f), tangent))
  }

  /// The chain rule: f(a, c) + (f_x b + f_y d) ε.
  @inlinable public func applying(
    with other: Self, _ function: (_ x: Double, _ y: Double) -> Double,
    derivatives: (_ x: Double, _ y: Double, _ f: Double) -> BivariateDerivatives
  ) -> Self {
    let f = function(value, other.value)
    let by = derivatives(value, other.value, f)
    return Self(f, tangent: chained(by.byX, tangent) + chained(by.byY, other.tangent))
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
    Self(a.value + b.value, tangent: a.tangent + b.tangent)
  }
  /// The difference.
  @inlinable public static func - (a: Self, b: Self) -> Self {
    Self(a.value - b.value, tangent: a.tangent - b.tangent)
  }
  /// The product.
  @inlinable public static func * (a: Self, b: Self) -> Self {
    Self(a.value * b.value, tangent: a.value * b.tangent + b.value * a.tangent)
  }
  /// The quotient.
  @inlinable public static func / (a: Self, b: Self) -> Self {
    let inverse = 1 / b.value
    // The value is a / b itself, rounded as doubles are.
    let quotient = a.value / b.value
    return Self(
      quotient, tangent: chained(inverse, a.tangent - chained(quotient, b.tangent)))
  }
  /// The negative.
  @inlinable public static prefix func - (a: Self) -> Self {
    Self(-a.value, tangent: -1 * a.tangent)
  }
  /// The sum with a constant.
  @inlinable public static func + (a: Self, b: Double) -> Self {
    Self(a.value + b, tangent: a.tangent)
  }
  /// The difference from a constant.
  @inlinable public static func - (a: Self, b: Double) -> Self {
    Self(a.value - b, tangent: a.tangent)
  }
  /// The product with a constant.
  @inlinable public static func * (a: Self, b: Double) -> Self {
    Self(a.value * b, tangent: b * a.tangent)
  }
  /// The quotient by a constant.
  @inlinable public static func / (a: Self, b: Double) -> Self {
    Self(a.value / b, tangent: chained(1 / b, a.tangent))
  }
  /// The sum with a constant.
  @inlinable public static func + (a: Double, b: Self) -> Self { b + a }
  /// The difference from a constant.
  @inlinable public static func - (a: Double, b: Self) -> Self {
    Self(a - b.value, tangent: -1 * b.tangent)
  }
  /// The product with a constant.
  @inlinable public static func * (a: Double, b: Self) -> Self { b * a }
  /// The quotient of a constant.
  @inlinable public static func / (a: Double, b: Self) -> Self {
    let quotient = a / b.value
    return Self(quotient, tangent: chained(-quotient / b.value, b.tangent))
  }
}
