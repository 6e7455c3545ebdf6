package import Configuration
public import Differentiation
public import GPSCore

/// A rod that turns about its end, with a motor there: state [θ, θ̇], control [τ].
///
/// θ = 0 is upright, θ = π hangs. The rod is uniform, of length l and mass m, so that its inertia about the
/// end is J = m l²/3:
///
///     J θ̈ = τ − c θ̇ + ½ m g l sin θ
///
/// A policy sees sin θ, cos θ and θ̇.
public struct Pendulum: ContinuousSystem, Equatable {
  /// m [kg].
  public var mass: Double
  /// l [m].
  public var length: Double
  /// c [N·m·s/rad].
  public var damping: Double
  /// g [m/s²].
  public var gravity: Double
  /// Largest torque [N·m]; nil for no limit.
  public var torqueLimit: Double?
  /// Largest speed [rad/s], at which it stays while it is driven further; nil for no limit.
  public var speedLimit: Double?

  /// A pendulum.
  public init(
    mass: Double = 1, length: Double = 1, damping: Double = 0, gravity: Double = 9.81,
    torqueLimit: Double? = nil, speedLimit: Double? = nil
  ) {
    self.mass = mass
    self.length = length
    self.damping = damping
    self.gravity = gravity
    self.torqueLimit = torqueLimit
    self.speedLimit = speedLimit
  }

  /// 2.
  public var stateCount: Int { 2 }
  /// 1.
  public var controlCount: Int { 1 }
  /// Names of the state.
  public var stateNames: [String] { ["angle_rad", "velocity_rad_per_s"] }
  /// Names of the controls.
  public var controlNames: [String] { ["torque_Nm"] }
  /// The free end of the rod, in the plane of x and z (up).
  public var pointNames: [String] { ["tip"] }
  /// The torque accelerates the angle.
  public var actuatedCoordinates: [ActuatedCoordinate] {
    [ActuatedCoordinate(control: 0, position: 0, velocity: 1)]
  }
  /// The torque limit, if there is one.
  public var controlLimits: ControlLimits? { torqueLimit.map { ControlLimits(magnitudes: [$0]) } }
  /// True.
  public var isSecondOrder: Bool { true }

  /// Writes [θ̇, θ̈].
  @inlinable @inline(__always)
  public func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let weight = 0.5 * mass * gravity * length * sin(x[0])
    rate[0] = limited(x[1], to: speedLimit)
    rate[1] =
      (limited(u[0], to: torqueLimit) - damping * x[1] + weight) / (mass * length * length / 3)
  }

  /// Takes away what is beyond the speed limit.
  @inlinable
  public func constrain<S: DifferentiableScalar>(_ x: inout MutableSpan<S>) {
    x[1] = limited(x[1], to: speedLimit)
  }

  /// The tip at (l sin θ, 0, l cos θ).
  @inlinable
  public func points<S: DifferentiableScalar>(_ x: Span<S>, positions: inout MutableSpan<S>) {
    let (sine, cosine) = sinCos(x[0])
    (positions[0], positions[1], positions[2]) = (length * sine, .zero, length * cosine)
  }

  /// Names of what a policy sees.
  public var observationNames: [String] { ["angle_sine", "angle_cosine", "velocity_rad_per_s"] }

  /// Writes sin θ, cos θ and θ̇.
  @inlinable
  public func observe(
    _ x: Span<Double>, goal: Span<Double>, into observation: inout MutableSpan<Double>
  ) {
    let (sine, cosine) = sinCos(x[0])
    (observation[0], observation[1], observation[2]) = (sine, cosine, x[1])
  }

  /// Kinetic and potential energy [J]; zero at rest with the rod level.
  public func energy(_ x: [Double]) -> Double {
    mass * length * length / 6 * x[1] * x[1] + 0.5 * mass * gravity * length * cos(x[0])
  }

  /// Refuses parameters out of range.
  ///
  /// - Throws: `SimError.option`.
  public func validate() throws(SimError) { try checkSettings(kindName) }
}

extension Pendulum: ConfigurableSystem {
  package static let schema = Schema<Pendulum>(
    "pendulum", "A rod that a motor turns about its end; angle 0 is upright.", Pendulum()
  ) {
    Field("mass", \.mass, .positive, "Mass of the rod [kg].")
    Field("length", \.length, .positive, "Length of the rod [m].")
    Field("damping", \.damping, .notNegative, "Friction of the hinge [N m s/rad].")
    Field("gravity", \.gravity, .notNegative, "Gravity [m/s²].")
    Field("torqueLimit", \.torqueLimit, .positive, "Largest torque [N m]; null for no limit.")
    Field("speedLimit", \.speedLimit, .positive, "Largest speed [rad/s]; null for no limit.")
  }
}
