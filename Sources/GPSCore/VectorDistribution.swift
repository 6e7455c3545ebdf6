package import Configuration
import Foundation
public import Statistics

/// Where a vector is drawn from: a start, a goal, a displacement; about the origin unless its bounds say
/// otherwise, in the unit of what it is added to.
public enum VectorDistribution: Sendable, Equatable, Codable {
  /// Uniform between bounds, one of each per number, or one for all.
  case box(lower: [Double], upper: [Double])
  /// Gaussian with these standard deviations, one per number, or one for all.
  case normal(deviation: [Double])
  /// Uniform over the area of a ring in the plane of two of the numbers, or of a part of it; the other
  /// numbers are 0.
  case ring(Ring)
  /// Uniform in a ball of as many dimensions as there are numbers.
  case ball(radius: Double)

  /// A ring, a disk (without an inner radius) or a circle (of two equal radii).
  public struct Ring: Sendable, Equatable, Codable {
    /// The outer radius.
    public var radius = 1.0
    /// The inner radius, at most the outer one.
    public var innerRadius = 0.0
    /// Which two numbers of the vector are the plane's.
    public var axes = [0, 1]
    /// The angle where it begins, from the first axis towards the second [rad].
    public var from = 0.0
    /// The angle where it ends [rad].
    public var until = 2 * Double.pi

    /// A disk of radius 1.
    public init() {}
  }

  /// A whole disk in the plane of the first two numbers.
  public static func disk(radius: Double) -> VectorDistribution {
    var ring = Ring()
    ring.radius = radius
    return .ring(ring)
  }

  /// A whole circle in the plane of the first two numbers.
  public static func circle(radius: Double) -> VectorDistribution {
    var ring = Ring()
    (ring.radius, ring.innerRadius) = (radius, radius)
    return .ring(ring)
  }

  /// How many numbers it gives where nothing else says how many.
  package var ownCount: Int {
    switch self {
    case .box(let lower, let upper): max(lower.count, upper.count)
    case .normal(let deviation): deviation.count
    case .ring(let ring): (ring.axes.max() ?? 0) + 1
    case .ball: 3
    }
  }

  /// What a vector of `count` numbers would have to be, if it cannot be drawn from this; nil if it can.
  package func mismatch(with count: Int) -> String? {
    func fits(_ numbers: [Double]) -> Bool { numbers.count == 1 || numbers.count == count }
    switch self {
    case .box(let lower, let upper): return fits(lower) && fits(upper) ? nil : "\(count) bounds"
    case .normal(let deviation): return fits(deviation) ? nil : "\(count) deviations"
    case .ring(let ring):
      return ring.axes.count == 2 && ring.axes.allSatisfy { 0 <= $0 && $0 < count }
        ? nil : "two axes below \(count)"
    case .ball: return nil
    }
  }

  /// A vector of `count` numbers.
  ///
  /// - Parameters:
  ///   - count: as many as there are bounds, deviations or axes to draw for.
  ///   - stream: where the numbers come from.
  /// - Returns: the vector.
  public func draw(_ count: Int, from stream: inout RandomStream) -> [Double] {
    precondition(mismatch(with: count) == nil, "\(self) for \(count) numbers")
    switch self {
    case .box(let lower, let upper):
      return (0..<count).map { i in
        let (a, b) = (lower[lower.count == 1 ? 0 : i], upper[upper.count == 1 ? 0 : i])
        return a + (b - a) * stream.uniform()
      }
    case .normal(let deviation):
      return (0..<count).map { deviation[deviation.count == 1 ? 0 : $0] * stream.normal() }
    case .ring(let ring):
      // The area within a radius grows with its square.
      let (inner, outer) = (ring.innerRadius * ring.innerRadius, ring.radius * ring.radius)
      let radius = (inner + (outer - inner) * stream.uniform()).squareRoot()
      let angle = ring.from + (ring.until - ring.from) * stream.uniform()
      var vector = [Double](repeating: 0, count: count)
      vector[ring.axes[0]] = radius * cos(angle)
      vector[ring.axes[1]] = radius * sin(angle)
      return vector
    case .ball(let radius):
      let direction = stream.normals(count)
      let length = direction.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let factor = radius * pow(stream.uniform(), 1 / Double(count)) / length
      return direction.map { factor * $0 }
    }
  }
}

// MARK: - In files

extension VectorDistribution: OneOfKinds {
  package static let noun = "a distribution"
  package static let kinds = [
    Kind<Self>(Box.self) {
      .box(lower: $0.lower, upper: $0.upper)
    } payload: {
      if case .box(let lower, let upper) = $0 { Box(lower: lower, upper: upper) } else { nil }
    },
    Kind(Normal.self) {
      .normal(deviation: $0.deviation)
    } payload: {
      if case .normal(let deviation) = $0 { Normal(deviation: deviation) } else { nil }
    },
    Kind("circle", "Uniform on a circle, or on an arc of it.", Ring.circle.codec) {
      var ring = $0
      ring.innerRadius = ring.radius
      return .ring(ring)
    } payload: {
      if case .ring(let ring) = $0, ring.innerRadius == ring.radius { ring } else { nil }
    },
    Kind("disk", "Uniform over a disk, a ring or a part of it.", Ring.disk.codec) {
      .ring($0)
    } payload: {
      if case .ring(let ring) = $0 { ring } else { nil }
    },
    Kind(Ball.self) {
      .ball(radius: $0.radius)
    } payload: {
      if case .ball(let radius) = $0 { Ball(radius: radius) } else { nil }
    },
  ]

  private struct Box: Configurable {
    var lower = [0.0]
    var upper = [0.0]

    static let schema = Schema<Box>("box", "Uniform between bounds.", Box()) {
      Field("lower", \.lower, .numberOrNumbers, "One per number, or one for all.").required
      Field("upper", \.upper, .numberOrNumbers, "One per number, or one for all.").required
    } rule: { box throws(InvalidOption) in
      try Check.some("number").require(box.lower, "lower")
      try Check.some("number").require(box.upper, "upper")
      if box.lower.count > 1, box.upper.count > 1, box.lower.count != box.upper.count {
        throw InvalidOption(
          key: "upper", value: "a list of \(box.upper.count)",
          allowed: "one number, or \(box.lower.count), as lower has")
      }
      for i in 0..<max(box.lower.count, box.upper.count) {
        let (a, b) = (box.lower.count == 1 ? 0 : i, box.upper.count == 1 ? 0 : i)
        try InvalidOption.require(
          box.lower[a] <= box.upper[b], "upper", shortest(box.upper[b]),
          "no less than lower, \(shortest(box.lower[a]))")
      }
    }
  }

  private struct Normal: Configurable {
    var deviation = [0.0]

    static let schema = Schema<Normal>("normal", "Gaussian.", Normal()) {
      Field(
        "deviation", \.deviation, .numberOrNumbers, .each(.notNegative),
        "Standard deviation, one per number, or one for all."
      ).required
    } rule: { normal throws(InvalidOption) in
      try Check.some("number").require(normal.deviation, "deviation")
    }
  }

  private struct Ball: Configurable {
    var radius = 1.0

    static let schema = Schema<Ball>("ball", "Uniform in a ball of all its numbers.", Ball()) {
      Field("radius", \.radius, .notNegative, "The radius.").required
    }
  }
}

extension VectorDistribution.Ring {
  fileprivate static let disk = schema(
    Field("innerRadius", \.innerRadius, .notNegative, "The radius of what is left out within."))
  fileprivate static let circle = schema()

  private static func schema(_ more: Field<Self>...) -> Schema<Self> {
    Schema<Self>(Self()) {
      Field("radius", \.radius, .notNegative, "The radius.").required
      more
      Field("axes", \.axes, .count(2, "numbers"), "Which two numbers of the vector vary, from 0.")
      Field(
        "from", \.from, "The angle where it begins, from the first axis towards the second [rad].")
      Field("until", \.until, "The angle where it ends [rad].")
    } rule: { ring throws(InvalidOption) in
      try InvalidOption.require(
        ring.axes.allSatisfy { (0..<1000).contains($0) } && ring.axes[0] != ring.axes[1], "axes",
        "\(ring.axes)", "two different numbers from 0 to 999")
      try InvalidOption.require(
        more.isEmpty || ring.innerRadius <= ring.radius, "innerRadius", shortest(ring.innerRadius),
        "at most radius, \(shortest(ring.radius))")
    }
  }
}
