import Foundation
package import Configuration
package import GPSCore

/// A part of space.
public enum Region: Sendable, Equatable {
  /// All positions nearer to the centre than the radius [m].
  case ball(center: PointTarget, radius: Double)
  /// All positions within half an extent of the centre in x, y and z [m]; null or nil for an axis
  /// along which the box has no end. Without any end it is the whole of space.
  case box(center: PointTarget, halfExtents: [Double?])

  /// Its centre.
  public var center: PointTarget {
    switch self {
    case .ball(let center, _), .box(let center, _): center
    }
  }

  /// How deep inside a position, relative to the centre, lies, to the nearest wall [m]; negative outside,
  /// infinite where there is no wall.
  func depth(_ x: Double, _ y: Double, _ z: Double) -> Double {
    switch self {
    case .ball(_, let radius): return radius - (x * x + y * y + z * z).squareRoot()
    case .box(_, let halfExtents):
      var depth = Double.infinity
      if let extent = halfExtents[0] { depth = min(depth, extent - abs(x)) }
      if let extent = halfExtents[1] { depth = min(depth, extent - abs(y)) }
      if let extent = halfExtents[2] { depth = min(depth, extent - abs(z)) }
      return depth
    }
  }

  func resolved(in scope: Scope, key: String) throws(SimError) -> Region {
    switch self {
    case .ball(let center, let radius):
      let key = "\(key).ball"
      try Ball(center: center, radius: radius).checkSettings(key)
      return .ball(
        center: try center.resolved(points: 1, in: scope, key: "\(key).center"), radius: radius)
    case .box(let center, let halfExtents):
      let key = "\(key).box"
      try Box(center: center, halfExtents: halfExtents).checkSettings(key)
      return .box(
        center: try center.resolved(points: 1, in: scope, key: "\(key).center"),
        halfExtents: halfExtents)
    }
  }
}

extension Region: OneOfKinds {
  package static let noun = "a region"
  package static let kinds = [
    Kind<Region>(Ball.self) {
      .ball(center: $0.center, radius: $0.radius)
    } payload: {
      if case .ball(let center, let r) = $0 { Ball(center: center, radius: r) } else { nil }
    },
    Kind<Region>(Box.self) {
      .box(center: $0.center, halfExtents: $0.halfExtents)
    } payload: {
      if case .box(let center, let h) = $0 { Box(center: center, halfExtents: h) } else { nil }
    },
  ]

  private struct Ball: Configurable {
    var center = PointTarget.position([0, 0, 0])
    var radius = 1.0

    static let schema = Schema<Ball>("ball", "Everything within a radius.", Ball()) {
      Field("center", \.center, "The centre.").required
      Field("radius", \.radius, .above(0), "The radius [m].").required
    }
  }

  private struct Box: Configurable {
    var center = PointTarget.position([0, 0, 0])
    var halfExtents: [Double?] = [1, 1, 1]

    static let schema = Schema<Box>("box", "Everything between walls along the axes.", Box()) {
      Field("center", \.center, "The centre.").required
      Field(
        "halfExtents", \.halfExtents,
        [Double?].codec.expecting("a list of numbers, null where there is no end"),
        .count(3, "numbers: x, y, z (null where there is no end)"),
        "Half the extents in x, y and z [m]."
      ).required
    } rule: { box throws(InvalidOption) in
      for case let extent? in box.halfExtents {
        try Check.above(0).require(extent, "halfExtents")
      }
    }
  }
}

/// A price for points that are inside (or outside) a region of space.
///
/// With δ the position relative to the region's centre, φ(δ) is a smooth depth [m], positive inside
/// and falling with unit slope through the boundary, and h the `smoothing` [m]:
///
///     ball of radius r    φ = (r² − |δ|²) / 2r
///     box of faces f      φ = −h ln Σ_f exp(−e_f / h),   e_f: distance inside face f
///     box without faces   φ = ∞: inside everywhere, a step costs 1 and a hinge inside is refused
///
/// For a price outside, φ changes sign. The price of each point is then
///
///     step                σ((φ + margin) / h): the binary region, 0 or 1 except near the boundary
///     hinge               ½ max(0, φ + margin)²: a slope that leads out from any depth
///
/// Curvature by the state leaves out the points' own second derivative; with `gaussNewton` also the
/// region's, and what is negative of the price's. A negative weight turns the price into a reward.
public struct RegionCost: Sendable, Equatable {
  /// On which side of the boundary the price is paid.
  public enum Side: String, Sendable, CaseIterable {
    /// Inside: an obstacle.
    case inside
    /// Outside: a place to be in.
    case outside
  }

  /// How the price depends on depth.
  public enum Profile: String, Sendable, CaseIterable {
    /// 0 on one side, 1 on the other.
    case step
    /// Half the squared depth [m²].
    case hinge
  }

  /// The points, each by number or name; each pays for itself.
  public var points: [Reference]
  /// The region.
  public var region: Region
  /// The side that costs.
  public var side: Side
  /// How the price depends on depth.
  public var profile: Profile
  /// h: the width of the step and the rounding of a box's edges [m].
  public var smoothing: Double
  /// How far before the boundary the price begins [m].
  public var margin: Double
  /// Whether curvature is kept positive semidefinite.
  public var gaussNewton: Bool
  /// The factor over time.
  public var ramp: Ramp

  /// A cost on points in a region.
  public init(
    points: [some Referring], region: Region, side: Side = .inside, profile: Profile = .step,
    smoothing: Double = 0.01, margin: Double = 0, gaussNewton: Bool = true, ramp: Ramp = .constant
  ) {
    self.points = points.map(\.reference)
    self.region = region
    self.side = side
    self.profile = profile
    self.smoothing = smoothing
    self.margin = margin
    self.gaussNewton = gaussNewton
    self.ramp = ramp
  }
}

extension RegionCost.Side: Setting {}
extension RegionCost.Profile: Setting {}

extension RegionCost: CostKernel {
  package static let schema = Schema<RegionCost>(
    "region", "A price for points in a region.",
    RegionCost(points: [Reference](), region: .ball(center: .position([0, 0, 0]), radius: 1))
  ) {
    Field("points", \.points, .some("point"), "Names of points.").required
    Field("region", \.region, "The part of space.").required
    Field("side", \.side, "The side that costs.")
    Field("profile", \.profile, "How the price depends on depth.")
    Field("smoothing", \.smoothing, .above(0), "Width of the step [m].")
    Field(
      "margin", \.margin, Check("finite") { $0.isFinite },
      "How far before the boundary the price begins [m].")
    Field("gaussNewton", \.gaussNewton, "Whether curvature is kept positive semidefinite.")
    Field("ramp", \.ramp, "The factor over time.")
  } rule: { cost throws(InvalidOption) in
    if case .box(_, let halfExtents) = cost.region, cost.profile == .hinge, cost.side == .inside {
      try InvalidOption.require(
        halfExtents.contains { $0 != nil }, "region.box.halfExtents", "without ends",
        "at least one end for a hinge inside: a point in the whole of space is infinitely deep")
    }
  }

  package static var canReward: Bool { true }

  package func resolved(in scope: Scope, key: String) throws(SimError) -> RegionCost {
    try checkSettings(key)
    var cost = self
    cost.points = try scope.points(points, "\(key).points")
    cost.region = try region.resolved(in: scope, key: "\(key).region")
    return cost
  }

  package func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    for point in indices(points) {
      let differences = PointDifferences([point], region.center, in: condition, along: trajectory)
      for t in 0...trajectory.horizon {
        let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
        if factor == 0 { continue }
        values[t] += factor * price(depth(differences.offset(at: t, along: trajectory)).value).value
      }
    }
  }

  package func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition
  ) {
    let (n, d) = (trajectory.n, expansion.d)
    var J = [SIMD3<Double>](repeating: .zero, count: n)
    for point in indices(points) {
      let differences = PointDifferences([point], region.center, in: condition, along: trajectory)
      for t in 0...trajectory.horizon {
        let factor = scale * ramp.factor(at: t, horizon: trajectory.horizon)
        if factor == 0 { continue }
        let depth = depth(differences.offset(at: t, along: trajectory))
        let price = price(depth.value)
        expansion.values[t] += factor * price.value
        if price.slope == 0 && price.curvature == 0 { continue }

        // By position: g = c' ∇φ and H = c'' ∇φ ∇φᵀ + c' ∇²φ; by state: Jᵀ g and Jᵀ H J.
        let slope = factor * price.slope
        let curvature = factor * price.curvature
        let outer = gaussNewton ? max(0, curvature) : curvature
        let inner = gaussNewton ? 0 : slope
        for j in 0..<n {
          J[j] = SIMD3(
            differences.jacobian(0, j, at: t, along: trajectory),
            differences.jacobian(1, j, at: t, along: trajectory),
            differences.jacobian(2, j, at: t, along: trajectory))
        }
        for j in 0..<n where J[j] != .zero {
          let along = dot(J[j], depth.gradient)
          expansion.gradients[j + d * t] += slope * along
          // (c'' ∇φ ∇φᵀ + c' ∇²φ) J_j
          var HJ = outer * along * depth.gradient
          HJ += inner * (J[j].x * depth.hessian.0)
          HJ += inner * (J[j].y * depth.hessian.1)
          HJ += inner * (J[j].z * depth.hessian.2)
          for i in 0..<n { expansion.hessians[i + d * (j + d * t)] += dot(J[i], HJ) }
        }
      }
    }
  }

  /// c, c' and c'' at a depth.
  private func price(_ depth: Double) -> (value: Double, slope: Double, curvature: Double) {
    switch profile {
    case .step:
      let z = (depth + margin) / smoothing
      // The form whose exponential cannot overflow.
      let e = exp(-abs(z))
      let value = z >= 0 ? 1 / (1 + e) : e / (1 + e)
      let slope = e / ((1 + e) * (1 + e)) / smoothing
      return (value, slope, slope * (1 - 2 * value) / smoothing)
    case .hinge:
      let excess = depth + margin
      return excess > 0 ? (0.5 * excess * excess, excess, 1) : (0, 0, 0)
    }
  }

  private typealias Depth = (
    value: Double, gradient: SIMD3<Double>,
    hessian: (SIMD3<Double>, SIMD3<Double>, SIMD3<Double>)
  )

  /// ±φ with gradient and the columns of its Hessian.
  private func depth(_ offset: SIMD3<Double>) -> Depth {
    let sign = side == .inside ? 1.0 : -1.0
    switch region {
    case .ball(_, let radius):
      let curvature = -sign / radius
      return (
        sign * (radius * radius - dot(offset, offset)) / (2 * radius), curvature * offset,
        (SIMD3(curvature, 0, 0), SIMD3(0, curvature, 0), SIMD3(0, 0, curvature))
      )
    case .box(_, let halfExtents):
      // Faces f with normals ±e_i: softmax weights π_f ∝ exp(−e_f / h);
      // ∇φ = Σ π_f ∇e_f and ∇²φ = −(1/h) (Σ π_f ∇e_f ∇e_fᵀ − ∇φ ∇φᵀ).
      var nearest = Double.infinity
      for i in 0..<3 {
        guard let extent = halfExtents[i] else { continue }
        nearest = min(nearest, extent - abs(offset[i]))
      }
      if nearest == .infinity { return (sign * .infinity, .zero, (.zero, .zero, .zero)) }
      var (total, gradient, second) = (0.0, SIMD3<Double>.zero, SIMD3<Double>.zero)
      for i in 0..<3 {
        guard let extent = halfExtents[i] else { continue }
        let low = exp((nearest - extent - offset[i]) / smoothing)
        let high = exp((nearest - extent + offset[i]) / smoothing)
        total += low + high
        gradient[i] = low - high
        second[i] = low + high
      }
      gradient /= total
      second /= total
      var columns: (SIMD3<Double>, SIMD3<Double>, SIMD3<Double>) = (
        gradient * gradient.x, gradient * gradient.y, gradient * gradient.z
      )
      columns.0.x -= second.x
      columns.1.y -= second.y
      columns.2.z -= second.z
      let factor = sign / smoothing
      return (
        sign * (nearest - smoothing * log(total)), sign * gradient,
        (factor * columns.0, factor * columns.1, factor * columns.2)
      )
    }
  }
}

extension PointDifferences {
  /// The first point's offset from its target at step t.
  func offset(at t: Int, along view: TrajectoryView) -> SIMD3<Double> {
    SIMD3(value(0, at: t, along: view), value(1, at: t, along: view), value(2, at: t, along: view))
  }
}

private func dot(_ a: SIMD3<Double>, _ b: SIMD3<Double>) -> Double { (a * b).sum() }
