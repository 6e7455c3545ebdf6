import CMatrixKernels

/// A record of a computation, from which the second derivatives of a weighted sum of its results
/// follow in one sweep forwards and one backwards.
///
/// ```swift
/// let tape = Tape()
/// let (x, y) = (tape.input(3), tape.input(2))
/// tape.contractSecondDerivatives(of: [x * x * y].span, weights: [1].span, into: &hessian)
/// ```
///
/// Where `HyperDual` carries second derivatives through every operation, a tape spends them only on
/// operations that are not linear, and on the inputs that these depend on. A tape that is used again
/// allocates nothing once it has seen the longest computation.
///
/// One tape serves one thread, and so do the numbers made from it: they may be used until the tape
/// begins again or is let go of.
public final class Tape {
  @usableFromInline let nodes: UnsafeMutablePointer<TapeNodes>
  /// Scratch of the sweeps; the symbols are those of TapeKernels.h.
  private var adjoints: UnsafeMutableBufferPointer<Double> = .allocate(capacity: 0)
  private var reached: UnsafeMutableBufferPointer<UInt8> = .allocate(capacity: 0)
  /// g of all nodes, then s.
  private var tangents: UnsafeMutableBufferPointer<Double> = .allocate(capacity: 0)

  /// The instruction set that the sweeps use.
  private let variant: Int32

  private static let bestVariant = mk_best_variant()

  /// An empty tape.
  public convenience init() { self.init(variant: Self.bestVariant) }

  init(variant: Int32) {
    self.variant = variant
    nodes = .allocate(capacity: 1)
    nodes.initialize(to: TapeNodes())
  }

  deinit {
    nodes.pointee.deallocate()
    nodes.deallocate()
    adjoints.deallocate()
    reached.deallocate()
    tangents.deallocate()
  }

  /// Forgets what was recorded; numbers made before are no longer valid.
  @inlinable public func restart() {
    nodes.pointee.count = 0
    nodes.pointee.inputs = 0
  }

  /// The next input, at `value`. All inputs come before any computation.
  @inlinable public func input(_ value: Double) -> TapeScalar {
    precondition(
      nodes.pointee.count == nodes.pointee.inputs, "an input after computations with others")
    nodes.pointee.inputs += 1
    let node = nodes.append(-1, -1, 0, 0, 0, 0, 0)
    return TapeScalar(value, slope: 1, node: node, tape: nodes)
  }

  /// Writes Σ_i w_i ∂²r_i/∂y², y being the inputs.
  ///
  /// - Parameters:
  ///   - results: r, numbers made from the inputs.
  ///   - weights: w, as many.
  ///   - hessian: d × d numbers for d inputs, symmetric, written.
  public func contractSecondDerivatives(
    of results: Span<TapeScalar>, weights: Span<Double>, into hessian: inout MutableSpan<Double>
  ) {
    let (d, count) = (nodes.pointee.inputs, nodes.pointee.count)
    precondition(
      results.count == weights.count && hessian.count == d * d,
      "\(weights.count) weights for \(results.count) results, and \(hessian.count) numbers for "
        + "\(d) × \(d)")
    let distance = Int(mk_tape_distance(Int64(d)))
    makeRoom(nodes.pointee.capacity, distance)
    guard let w = adjoints.baseAddress, let isReached = reached.baseAddress,
      let g = tangents.baseAddress
    else { return }
    w.update(repeating: 0, count: count)
    isReached.update(repeating: 0, count: count)
    for i in 0..<results.count where results[i].tape != nil {
      precondition(results[i].tape == nodes, "a result of another tape")
      // What has no weight does not count, even if its derivatives are infinite.
      let weight = chained(weights[i], results[i].slope)
      if weight == 0 { continue }
      let node = Int(results[i].node)
      w[node] += weight
      isReached[node] = 1
    }
    let s = g + nodes.pointee.capacity * distance
    mk_tape_hessian(
      variant, Int64(d), Int64(count), nodes.pointee.arguments, nodes.pointee.partials, w,
      isReached, g, s)
    // Symmetric but for rounding.
    for j in 0..<d {
      for i in j..<d {
        let entry = s[i + distance * j]
        hessian[i + d * j] = entry
        hessian[j + d * i] = entry
      }
    }
  }

  private func makeRoom(_ capacity: Int, _ distance: Int) {
    if adjoints.count < capacity {
      adjoints.deallocate()
      reached.deallocate()
      adjoints = .allocate(capacity: capacity)
      reached = .allocate(capacity: capacity)
    }
    if tangents.count < 2 * capacity * distance {
      tangents.deallocate()
      tangents = .allocate(capacity: 2 * capacity * distance)
    }
  }
}

/// What a tape has recorded, laid out as `mk_tape_hessian` reads it.
@frozen @usableFromInline
struct TapeNodes {
  @usableFromInline var inputs = 0
  @usableFromInline var count = 0
  @usableFromInline var capacity: Int
  /// Two per node.
  @usableFromInline var arguments: UnsafeMutablePointer<Int32>
  /// Five per node.
  @usableFromInline var partials: UnsafeMutablePointer<Double>

  init(capacity: Int = 64) {
    self.capacity = capacity
    arguments = .allocate(capacity: 2 * capacity)
    partials = .allocate(capacity: MK_TAPE_PARTIALS * capacity)
  }

  /// Room for twice as many nodes.
  @usableFromInline @inline(never)
  mutating func grow() {
    var larger = TapeNodes(capacity: 2 * capacity)
    larger.arguments.update(from: arguments, count: 2 * count)
    larger.partials.update(from: partials, count: MK_TAPE_PARTIALS * count)
    (larger.inputs, larger.count) = (inputs, count)
    deallocate()
    self = larger
  }

  func deallocate() {
    arguments.deallocate()
    partials.deallocate()
  }
}

extension UnsafeMutablePointer where Pointee == TapeNodes {
  /// Adds a node with its arguments and its partial derivatives by a, b, aa, ab and bb.
  @inlinable @inline(__always)
  func append(
    _ a: Int32, _ b: Int32, _ byA: Double, _ byB: Double, _ byAA: Double, _ byAB: Double,
    _ byBB: Double
  ) -> Int32 {
    if pointee.count == pointee.capacity { pointee.grow() }
    let node = pointee.count
    let arguments = pointee.arguments + 2 * node
    arguments[0] = a
    arguments[1] = b
    let partials = pointee.partials + 5 * node
    partials[0] = byA
    partials[1] = byB
    partials[2] = byAA
    partials[3] = byAB
    partials[4] = byBB
    pointee.count = node + 1
    return Int32(truncatingIfNeeded: node)
  }
}

// Sendable because a scalar has to be. Only a tape makes these, for one thread; a function of a system
// or a cost gets them as spans, which do not outlive the call, and is not asynchronous.
/// A number whose computation is recorded on a `Tape`: a linear function of one of its nodes, so that
/// constants that are added or multiplied leave no trace there.
@frozen
public struct TapeScalar: DifferentiableScalar, @unchecked Sendable {
  /// The number.
  public var value: Double
  /// Its derivative by its node.
  @usableFromInline var slope: Double
  @usableFromInline var node: Int32
  /// Where it is recorded; nil for a constant.
  @usableFromInline var tape: UnsafeMutablePointer<TapeNodes>?

  @inlinable
  init(
    _ value: Double, slope: Double, node: Int32, tape: UnsafeMutablePointer<TapeNodes>?
  ) {
    self.value = value
    self.slope = slope
    self.node = node
    self.tape = tape
  }

  /// A constant.
  @inlinable public init(_ constant: Double) { self.init(constant, slope: 0, node: 0, tape: nil) }

  /// Records f of this number.
  @inlinable public func applying(
    _ function: (Double) -> Double, slope: (_ x: Double, _ f: Double) -> Double,
    curvature: (_ x: Double, _ f: Double, _ slope: Double) -> Double
  ) -> Self {
    let f = function(value)
    // What was multiplied by 0 does not move: it is a constant.
    guard let tape, self.slope != 0 else { return Self(f) }
    let first = slope(value, f)
    let second = curvature(value, f, first)
    return unary(f, first * self.slope, second * self.slope * self.slope, tape)
  }

  /// Records f of this number and another one.
  @inlinable public func applying(
    with other: Self, _ function: (_ x: Double, _ y: Double) -> Double,
    derivatives: (_ x: Double, _ y: Double, _ f: Double) -> BivariateDerivatives
  ) -> Self {
    let f = function(value, other.value)
    let (a, b) = (tape == nil ? 0 : slope, other.tape == nil ? 0 : other.slope)
    guard let tape = a == 0 ? other.tape : tape, a != 0 || b != 0 else { return Self(f) }
    let by = derivatives(value, other.value, f)
    // By the nodes.
    let (byA, byB) = (chained(by.byX, a), chained(by.byY, b))
    let byAA = chained(chained(by.byXX, a), a)
    let byAB = chained(chained(by.byXY, a), b)
    let byBB = chained(chained(by.byYY, b), b)
    if a == 0 { return other.unary(f, byB, byBB, tape) }
    if b == 0 { return unary(f, byA, byAA, tape) }
    if node == other.node { return unary(f, byA + byB, byAA + 2 * byAB + byBB, tape) }
    let node = tape.append(node, other.node, byA, byB, byAA, byAB, byBB)
    return Self(f, slope: 1, node: node, tape: tape)
  }

  /// Records a function of this number's node.
  @inlinable @inline(__always)
  func unary(
    _ value: Double, _ first: Double, _ second: Double, _ tape: UnsafeMutablePointer<TapeNodes>
  ) -> Self {
    Self(value, slope: 1, node: tape.append(node, -1, first, 0, second, 0, 0), tape: tape)
  }

  /// This number's value with another one, of the same slope.
  @inlinable @inline(__always)
  func moved(to value: Double) -> Self { Self(value, slope: slope, node: node, tape: tape) }

  /// α times this number.
  @inlinable @inline(__always)
  func scaled(by factor: Double, to value: Double) -> Self {
    Self(value, slope: chained(factor, slope), node: node, tape: tape)
  }

  /// a ± b.
  @inlinable @inline(__always)
  static func sum(_ a: Self, _ b: Self, sign: Double, _ value: Double) -> Self {
    guard let tape = a.tape else { return b.scaled(by: sign, to: value) }
    if b.tape == nil { return a.moved(to: value) }
    if a.node == b.node {
      return Self(value, slope: a.slope + sign * b.slope, node: a.node, tape: tape)
    }
    let node = tape.append(~a.node, b.node, a.slope, sign * b.slope, 0, 0, 0)
    return Self(value, slope: 1, node: node, tape: tape)
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
    sum(a, b, sign: 1, a.value + b.value)
  }
  /// The difference.
  @inlinable public static func - (a: Self, b: Self) -> Self {
    sum(a, b, sign: -1, a.value - b.value)
  }
  /// The product.
  @inlinable public static func * (a: Self, b: Self) -> Self {
    guard let tape = a.tape else { return b * a.value }
    if b.tape == nil { return a * b.value }
    let (byA, byB) = (a.slope * b.value, a.value * b.slope)
    let mixed = a.slope * b.slope
    if a.node == b.node { return a.unary(a.value * b.value, byA + byB, 2 * mixed, tape) }
    let node = tape.append(a.node, b.node, byA, byB, 0, mixed, 0)
    return Self(a.value * b.value, slope: 1, node: node, tape: tape)
  }
  /// The quotient.
  @inlinable public static func / (a: Self, b: Self) -> Self {
    guard let tape = a.tape else { return a.value / b }
    if b.tape == nil || b.slope == 0 { return a / b.value }
    let quotient = a.value / b.value
    let (ratioA, ratioB) = (a.slope / b.value, b.slope / b.value)
    let (byB, byAB) = (-quotient * ratioB, -ratioA * ratioB)
    let byBB = 2 * quotient * ratioB * ratioB
    if a.node == b.node { return a.unary(quotient, ratioA + byB, 2 * byAB + byBB, tape) }
    let node = tape.append(a.node, b.node, ratioA, byB, 0, byAB, byBB)
    return Self(quotient, slope: 1, node: node, tape: tape)
  }
  /// The negative.
  @inlinable public static prefix func - (a: Self) -> Self { a.scaled(by: -1, to: -a.value) }
  /// The sum with a constant.
  @inlinable public static func + (a: Self, b: Double) -> Self { a.moved(to: a.value + b) }
  /// The difference from a constant.
  @inlinable public static func - (a: Self, b: Double) -> Self { a.moved(to: a.value - b) }
  /// The product with a constant.
  @inlinable public static func * (a: Self, b: Double) -> Self {
    a.scaled(by: b, to: a.value * b)
  }
  /// The quotient by a constant.
  @inlinable public static func / (a: Self, b: Double) -> Self {
    a.scaled(by: 1 / b, to: a.value / b)
  }
  /// The sum with a constant.
  @inlinable public static func + (a: Double, b: Self) -> Self { b + a }
  /// The difference from a constant.
  @inlinable public static func - (a: Double, b: Self) -> Self { b.scaled(by: -1, to: a - b.value) }
  /// The product with a constant.
  @inlinable public static func * (a: Double, b: Self) -> Self { b * a }
  /// The quotient of a constant.
  @inlinable public static func / (a: Double, b: Self) -> Self {
    let quotient = a / b.value
    guard let tape = b.tape, b.slope != 0 else { return Self(quotient) }
    let ratio = b.slope / b.value
    return b.unary(quotient, -quotient * ratio, 2 * quotient * ratio * ratio, tape)
  }
}
