package import Configuration
public import Differentiation
public import GPSCore

/// A pole hinged to a cart on a rail: state [p, θ, ṗ, θ̇], control [f].
///
/// θ = 0 is upright, θ = π hangs, and θ grows as the tip leans towards +p. The angle is a plain number
/// rather than sine and cosine: a linear model of the swing is then as good as it can be. The pole is
/// a uniform rod of length L and mass m_p, with its centre at l = L/2 and inertia J = m_p L²/3 about
/// the hinge:
///
///     (m_c + m_p) p̈ + m_p l θ̈ cos θ − m_p l θ̇² sin θ = f − c_p ṗ
///     m_p l p̈ cos θ + J θ̈ − m_p g l sin θ = −c_θ θ̇
public struct CartPole: ContinuousSystem, Equatable {
  /// m_c [kg].
  public var cartMass: Double
  /// m_p [kg].
  public var poleMass: Double
  /// L [m].
  public var poleLength: Double
  /// c_p [N·s/m].
  public var cartDamping: Double
  /// c_θ [N·m·s/rad].
  public var poleDamping: Double
  /// g [m/s²].
  public var gravity: Double
  /// Largest force on the cart [N]; nil for no limit.
  public var forceLimit: Double?
  /// How many forces there are, evenly spaced within the limit, if there are no others: with 2 the force is
  /// the limit itself, with the sign of the control.
  public var forceLevels: Int?

  /// A cart and its pole.
  public init(
    cartMass: Double = 1, poleMass: Double = 0.2, poleLength: Double = 1, cartDamping: Double = 0.1,
    poleDamping: Double = 0.002, gravity: Double = 9.81, forceLimit: Double? = nil,
    forceLevels: Int? = nil
  ) {
    self.cartMass = cartMass
    self.poleMass = poleMass
    self.poleLength = poleLength
    self.cartDamping = cartDamping
    self.poleDamping = poleDamping
    self.gravity = gravity
    self.forceLimit = forceLimit
    self.forceLevels = forceLevels
  }

  /// 4.
  public var stateCount: Int { 4 }
  /// 1.
  public var controlCount: Int { 1 }
  /// Names of the state.
  public var stateNames: [String] {
    ["cart_position_m", "pole_angle_rad", "cart_velocity_m_per_s", "pole_velocity_rad_per_s"]
  }
  /// Names of the controls.
  public var controlNames: [String] { ["cart_force_N"] }
  /// The free end of the pole, in the plane of x (along the rail) and z (up).
  public var pointNames: [String] { ["tip"] }
  /// The force accelerates the cart.
  public var actuatedCoordinates: [ActuatedCoordinate] {
    [ActuatedCoordinate(control: 0, position: 0, velocity: 2)]
  }
  /// The force limit, if there is one.
  public var controlLimits: ControlLimits? { forceLimit.map { ControlLimits(magnitudes: [$0]) } }
  /// All forces within the limit, where there are levels.
  public var relaxation: CartPole? { without(\.forceLevels) }
  /// True.
  public var isSecondOrder: Bool { true }

  /// Writes [ṗ, θ̇, p̈, θ̈].
  @inlinable @inline(__always)
  public func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let lever = 0.5 * poleMass * poleLength
    let (sine, cosine) = sinCos(x[1])
    // The two equations as a symmetric system for p̈ and θ̈.
    let a11 = cartMass + poleMass
    let a12 = lever * cosine
    let a22 = poleMass * poleLength * poleLength / 3
    let force = delivered(u[0], limit: forceLimit, levels: forceLevels)
    let b1 = force - cartDamping * x[2] + lever * x[3] * x[3] * sine
    let b2 = lever * gravity * sine - poleDamping * x[3]
    let determinant = a11 * a22 - a12 * a12
    rate[0] = x[2]
    rate[1] = x[3]
    rate[2] = (a22 * b1 - a12 * b2) / determinant
    rate[3] = (a11 * b2 - a12 * b1) / determinant
  }

  /// The tip at (p + L sin θ, 0, L cos θ).
  @inlinable
  public func points<S: DifferentiableScalar>(_ x: Span<S>, positions: inout MutableSpan<S>) {
    let (sine, cosine) = sinCos(x[1])
    (positions[0], positions[1]) = (x[0] + poleLength * sine, .zero)
    positions[2] = poleLength * cosine
  }

  /// Kinetic and potential energy [J]; zero at rest with the pole level.
  public func energy(_ x: [Double]) -> Double {
    let half = 0.5 * poleLength
    let inertia = poleMass * poleLength * poleLength / 3
    return 0.5 * (cartMass + poleMass) * x[2] * x[2]
      + poleMass * half * x[2] * x[3] * cos(x[1]) + 0.5 * inertia * x[3] * x[3]
      + poleMass * gravity * half * cos(x[1])
  }

  /// Refuses parameters out of range.
  ///
  /// - Throws: `SimError.option`.
  public func validate() throws(SimError) { try checkSettings(kindName) }
}

extension CartPole: ConfigurableSystem {
  package static let schema = Schema<CartPole>(
    "cartPole", "A pole hinged to a cart; angle 0 is upright.", CartPole()
  ) {
    Field("cartMass", \.cartMass, .positive, "Mass of the cart [kg].")
    Field("poleMass", \.poleMass, .positive, "Mass of the pole [kg].")
    Field("poleLength", \.poleLength, .positive, "Length of the pole [m].")
    Field("cartDamping", \.cartDamping, .notNegative, "Friction of the rail [N s/m].")
    Field("poleDamping", \.poleDamping, .notNegative, "Friction of the hinge [N m s/rad].")
    Field("gravity", \.gravity, .notNegative, "Gravity [m/s²].")
    Field(
      "forceLimit", \.forceLimit, .positive,
      "Largest force on the cart [N]; null for no limit.")
    Field(
      "forceLevels", \.forceLevels, .between(2, 1000),
      "Forces that there are, evenly spaced within the limit: 2 for the control's sign; null for all."
    )
  } rule: { system throws(InvalidOption) in
    try checkLevels(system.forceLevels, "forceLevels", of: system.forceLimit, "forceLimit")
  }
}
