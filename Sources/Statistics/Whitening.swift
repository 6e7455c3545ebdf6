public import LinearAlgebra

/// Centre and scale of each dimension of a data set, so that radians and metres per second meet as
/// equals: w = (z − centre) / scale has mean 0 and deviation 1, or is 0 where the data never moves.
public struct Whitening: Sendable, Equatable, Codable {
  /// The mean of each dimension.
  public let center: [Double]
  /// The standard deviation of each dimension, or a floor where it never moves; more than 0.
  public let scale: [Double]
  /// Which dimensions never move, rounding aside.
  public let isConstant: [Bool]

  /// d.
  public var dimension: Int { center.count }

  /// Coordinates from their parts, d numbers each; every scale is more than 0.
  public init(center: [Double], scale: [Double], isConstant: [Bool]) {
    precondition(
      scale.count == center.count && isConstant.count == center.count,
      "\(center.count) centres, \(scale.count) scales and \(isConstant.count) flags")
    precondition(scale.allSatisfy { $0 > 0 }, "a scale that is not more than 0 among \(scale)")
    self.center = center
    self.scale = scale
    self.isConstant = isConstant
  }

  /// Centre and scale of a data set.
  ///
  /// A dimension never moves if its deviation is below 1e-12 of its magnitude; its scale is then the
  /// smallest of the dimensions that move (1 if none does), but at least 1e-8 of its magnitude.
  ///
  /// - Parameter points: d × N, N > 0, one point a column.
  /// - Throws: `StatisticsError.unusableValue`.
  public init(of points: Matrix) throws(StatisticsError) {
    let d = points.rows
    try self.init(dimension: d, points.storage, pointsPerStep: nil)
  }

  /// Centre and scale of the points of all steps together.
  ///
  /// - Parameter points: T matrices d × N.
  /// - Throws: `StatisticsError.unusableValue`.
  public init(of points: MatrixSequence) throws(StatisticsError) {
    try self.init(dimension: points.rows, points.storage, pointsPerStep: points.columns)
  }

  private init(
    dimension d: Int, _ z: [Double], pointsPerStep: Int?
  ) throws(StatisticsError) {
    precondition(d > 0 && !z.isEmpty, "no points to whiten")
    try Self.requireUsable(z, dimension: d, pointsPerStep: pointsPerStep)
    let N = z.count / d
    var shift = [Double](repeating: 0, count: d)
    var squares = shift
    var magnitude = shift
    z.withUnsafeBufferPointer { z in
      for n in 0..<N { for i in 0..<d { shift[i] += z[n * d + i] - z[i] } }
      for i in 0..<d { shift[i] = z[i] + shift[i] / Double(N) }
      for n in 0..<N {
        for i in 0..<d {
          let gap = z[n * d + i] - shift[i]
          squares[i] += gap * gap
          magnitude[i] = max(magnitude[i], abs(z[n * d + i]))
        }
      }
    }
    let deviation = squares.map { ($0 / Double(N)).squareRoot() }
    let constant = (0..<d).map { deviation[$0] <= max(1e-12 * magnitude[$0], 1e-150) }
    let smallest = (0..<d).filter { !constant[$0] }.map { deviation[$0] }.min() ?? 1
    center = shift
    scale = (0..<d).map {
      constant[$0] ? max(smallest, 1e-8 * magnitude[$0]) : deviation[$0]
    }
    isConstant = constant
  }

  /// Throws the first number that is not finite, or too large; its step if the points belong to steps.
  static func requireUsable(
    _ z: [Double], dimension d: Int, pointsPerStep: Int?
  ) throws(StatisticsError) {
    // A square beyond this leaves the range of doubles on the way to a covariance.
    if let entry = z.firstIndex(where: { !(abs($0) < 1e100) }) {
      let (point, N) = (entry / d, pointsPerStep ?? Int.max)
      throw .unusableValue(
        step: pointsPerStep == nil ? nil : point / N, point: point % N, dimension: entry % d,
        value: z[entry])
    }
  }

  /// The points in whitened coordinates.
  public func whitened(_ points: Matrix) -> Matrix {
    precondition(points.rows == dimension, "\(points.rows) numbers a point for \(dimension)")
    var result = points
    whiten(&result.storage)
    return result
  }

  /// The points of every step in whitened coordinates.
  public func whitened(_ points: MatrixSequence) -> MatrixSequence {
    precondition(points.rows == dimension, "\(points.rows) numbers a point for \(dimension)")
    var result = points
    whiten(&result.storage)
    return result
  }

  private func whiten(_ z: inout [Double]) {
    z.withUnsafeMutableBufferPointer { z in
      if let base = z.baseAddress { whiten(UnsafeBufferPointer(z), into: base) }
    }
  }

  /// Writes the points in whitened coordinates.
  func whiten(_ points: [Double], into result: UnsafeMutablePointer<Double>) {
    points.withUnsafeBufferPointer { whiten($0, into: result) }
  }

  private func whiten(
    _ z: UnsafeBufferPointer<Double>, into result: UnsafeMutablePointer<Double>
  ) {
    let d = dimension
    let inverse = scale.map { 1 / $0 }
    center.withUnsafeBufferPointer { c in
      inverse.withUnsafeBufferPointer { s in
        for start in stride(from: 0, to: z.count, by: d) {
          for i in 0..<d { result[start + i] = (z[start + i] - c[i]) * s[i] }
        }
      }
    }
  }

  /// The mixture in whitened coordinates.
  public func whitened(_ mixture: GaussianMixture) -> GaussianMixture {
    mixture.mapped(factors: scale.map { 1 / $0 }) { (mean, i) in (mean - center[i]) / scale[i] }
  }

  /// The mixture in the data's own coordinates, given one in whitened coordinates.
  public func unwhitened(_ mixture: GaussianMixture) -> GaussianMixture {
    mixture.mapped(factors: scale) { (mean, i) in center[i] + scale[i] * mean }
  }
}
