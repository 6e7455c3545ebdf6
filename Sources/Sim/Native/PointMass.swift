public import Differentiation
public import GPSCore

/// A mass in the plane, pushed by two forces: state [p_x, p_y, v_x, v_y], control [f_x, f_y].
///
///     ṗ = v,   m v̇ = f − c v
///
/// Obstacles are a matter of cost and success (`RegionCost`, `SuccessCriterion.pointOutside`).
public struct PointMass: ContinuousSystem, Codable, Equatable {
  /// The straight walls of a room; the mass stops dead against them.
  public struct Walls: Codable, Sendable, Equatable {
    /// Lowest p_x and p_y [m].
    public var lower: [Double]
    /// Highest p_x and p_y [m].
    public var upper: [Double]

    /// A room.
    public init(lower: [Double], upper: [Double]) {
      self.lower = lower
      self.upper = upper
    }
  }

  /// m [kg].
  public var mass: Double
  /// c [N·s/m].
  public var damping: Double
  /// Largest force along each axis [N]; nil for no limit.
  public var forceLimit: Double?
  /// Walls around the plane; nil for none.
  public var walls: Walls?

  /// A point mass.
  public init(
    mass: Double = 1, damping: Double = 0.5, forceLimit: Double? = nil, walls: Walls? = nil
  ) {
    self.mass = mass
    self.damping = damping
    self.forceLimit = forceLimit
    self.walls = walls
  }

  /// 4.
  public var stateCount: Int { 4 }
  /// 2.
  public var controlCount: Int { 2 }
  /// Names of the state.
  public var stateNames: [String] {
    ["position_x_m", "position_y_m", "velocity_x_m_per_s", "velocity_y_m_per_s"]
  }
  /// Names of the controls.
  public var controlNames: [String] { ["force_x_N", "force_y_N"] }
  /// The mass itself, at z = 0.
  public var pointNames: [String] { ["mass"] }
  /// Each force accelerates one axis.
  public var actuatedCoordinates: [ActuatedCoordinate] {
    [
      ActuatedCoordinate(control: 0, position: 0, velocity: 2),
      ActuatedCoordinate(control: 1, position: 1, velocity: 3),
    ]
  }

  /// Writes [v, (f − c v) / m].
  @inlinable @inline(__always)
  public func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    for i in 0..<2 {
      rate[i] = x[2 + i]
      rate[2 + i] = (limited(u[i], to: forceLimit) - damping * x[2 + i]) / mass
    }
  }

  /// The mass's own position.
  @inlinable
  public func points<S: DifferentiableScalar>(_ x: Span<S>, positions: inout MutableSpan<S>) {
    (positions[0], positions[1], positions[2]) = (x[0], x[1], .zero)
  }

  /// Puts the mass back to a wall it has passed and takes away the velocity into it.
  @inlinable
  public func constrain<S: DifferentiableScalar>(_ x: inout MutableSpan<S>) {
    guard let walls else { return }
    for i in 0..<2 {
      if x[i].value < walls.lower[i] {
        x[i] = S(walls.lower[i])
        x[2 + i] = max(.zero, x[2 + i])
      } else if x[i].value > walls.upper[i] {
        x[i] = S(walls.upper[i])
        x[2 + i] = min(.zero, x[2 + i])
      }
    }
  }

  /// Refuses parameters out of range.
  ///
  /// - Throws: `SimError`.
  public func validate() throws(SimError) {
    try SimError.checkPositive(mass, key: "pointMass.mass")
    try SimError.checkNotNegative(damping, key: "pointMass.damping")
    if let forceLimit { try SimError.checkPositive(forceLimit, key: "pointMass.forceLimit") }
    guard let walls else { return }
    for (name, side) in [("lower", walls.lower), ("upper", walls.upper)] where side.count != 2 {
      throw .length(key: "pointMass.walls.\(name)", found: side.count, expected: "2")
    }
    for i in 0..<2 {
      try SimError.check(
        walls.lower[i] < walls.upper[i], key: "pointMass.walls.lower", value: walls.lower[i],
        allowed: "below upper")
    }
  }
}

/// What an actuator with a symmetric limit delivers.
@inlinable
func limited<S: DifferentiableScalar>(_ command: S, to limit: Double?) -> S {
  guard let limit else { return command }
  return command.clamped(to: -limit...limit)
}
