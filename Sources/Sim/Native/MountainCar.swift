package import Configuration
public import Differentiation
public import GPSCore

/// A car in a valley that its engine is too weak to leave at once: state [p, v], control [f].
///
///     v̇ = c f − g cos 3p
///
/// in units of the problem's own (Moore 1990, "Efficient memory-based learning for robot control"; Singh and Sutton
/// 1996, with a step of 1 and semi-implicit Euler). The valley's height is sin(3p)/3; the left end stops the car, at
/// the right end, the goal, it stays for as long as it drives on.
public struct MountainCar: ContinuousSystem, Equatable {
  /// c, the acceleration by a force of 1.
  public var power: Double
  /// g, the acceleration down a vertical slope.
  public var gravity: Double
  /// The ends of the road: lowest and highest p.
  public var ends: [Double]
  /// Largest speed; nil for no limit.
  public var speedLimit: Double?
  /// Largest force; nil for no limit.
  public var forceLimit: Double?

  /// A valley and its car.
  public init(
    power: Double = 0.0015, gravity: Double = 0.0025, ends: [Double] = [-1.2, 0.6],
    speedLimit: Double? = 0.07, forceLimit: Double? = 1
  ) {
    self.power = power
    self.gravity = gravity
    self.ends = ends
    self.speedLimit = speedLimit
    self.forceLimit = forceLimit
  }

  /// 2.
  public var stateCount: Int { 2 }
  /// 1.
  public var controlCount: Int { 1 }
  /// Names of the state.
  public var stateNames: [String] { ["position", "velocity"] }
  /// Names of the controls.
  public var controlNames: [String] { ["force"] }
  /// The car, in the plane of x and z (up).
  public var pointNames: [String] { ["car"] }
  /// The force accelerates the car.
  public var actuatedCoordinates: [ActuatedCoordinate] {
    [ActuatedCoordinate(control: 0, position: 0, velocity: 1)]
  }
  /// The force limit, if there is one.
  public var controlLimits: ControlLimits? { forceLimit.map { ControlLimits(magnitudes: [$0]) } }
  /// True.
  public var isSecondOrder: Bool { true }

  /// Writes [v, v̇].
  @inlinable @inline(__always)
  public func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = limited(x[1], to: speedLimit)
    rate[1] = power * limited(u[0], to: forceLimit) - gravity * cos(3 * x[0])
  }

  /// Puts the car back to an end that it has passed, and takes away what is beyond the speed limit.
  @inlinable
  public func constrain<S: DifferentiableScalar>(_ x: inout MutableSpan<S>) {
    x[1] = limited(x[1], to: speedLimit)
    if x[0].value <= ends[0] {
      x[0] = S(ends[0])
      x[1] = max(.zero, x[1])
    } else if x[0].value > ends[1] {
      x[0] = S(ends[1])
    }
  }

  /// The car at (p, 0, sin(3p)/3).
  @inlinable
  public func points<S: DifferentiableScalar>(_ x: Span<S>, positions: inout MutableSpan<S>) {
    (positions[0], positions[1], positions[2]) = (x[0], .zero, sin(3 * x[0]) / 3)
  }

  /// Kinetic and potential energy of a mass of 1 that moves along p as the equation has it; zero at rest at p = 0.
  public func energy(_ x: [Double]) -> Double {
    0.5 * x[1] * x[1] + gravity * sin(3 * x[0]) / 3
  }

  /// Refuses parameters out of range.
  ///
  /// - Throws: `SimError.option`.
  public func validate() throws(SimError) { try checkSettings(kindName) }
}

extension MountainCar: ConfigurableSystem {
  package static let schema = Schema<MountainCar>(
    "mountainCar", "A car in a valley that its engine is too weak to leave at once.", MountainCar()
  ) {
    Field("power", \.power, .positive, "Acceleration by a force of 1.")
    Field("gravity", \.gravity, .notNegative, "Acceleration down a vertical slope.")
    Field("ends", \.ends, .count(2, "numbers"), "Lowest and highest position.")
    Field("speedLimit", \.speedLimit, .positive, "Largest speed; null for no limit.")
    Field("forceLimit", \.forceLimit, .positive, "Largest force; null for no limit.")
  } rule: { car throws(InvalidOption) in
    try InvalidOption.require(
      car.ends[0] < car.ends[1] && car.ends.allSatisfy(\.isFinite), "ends", car.ends,
      "two numbers, the lower one first")
  }
}
