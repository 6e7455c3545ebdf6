package import Configuration
public import Differentiation
public import GPSCore

/// Two rods that hang from a hinge, with a motor between them alone: state [θ₁, θ₂, θ̇₁, θ̇₂], control [τ].
///
/// θ₁ = 0 hangs, θ₂ = 0 is straight. With lengths l_i, centres at r_i from the joint above, inertias I_i about them:
///
///     M(θ) θ̈ + h [−2 θ̇₁ θ̇₂ − θ̇₂²; θ̇₁²] + g(θ) = [0; τ] − c θ̇,   h = m₂ l₁ r₂ sin θ₂
///
/// (Spong 1995, "The swing up control problem for the acrobot"; Sutton and Barto, "Reinforcement learning", whose
/// numbers are the defaults). A policy sees sine and cosine of both angles, and the velocities.
public struct Acrobot: ContinuousSystem, Equatable {
  /// m₁ and m₂ [kg].
  public var masses: [Double]
  /// l₁ and l₂ [m].
  public var lengths: [Double]
  /// r₁ and r₂ [m].
  public var centers: [Double]
  /// I₁ and I₂ [kg·m²].
  public var inertias: [Double]
  /// c, the same at both joints [N·m·s/rad].
  public var damping: Double
  /// g [m/s²].
  public var gravity: Double
  /// Largest torque [N·m]; nil for no limit.
  public var torqueLimit: Double?
  /// How many torques there are, evenly spaced within the limit, if there are no others: with 3 they are the
  /// limit, none, and the limit backwards, by thirds of the control's range.
  public var torqueLevels: Int?
  /// Largest speeds of both joints [rad/s], at which they stay while they are driven further; nil for no limits.
  public var speedLimits: [Double]?

  /// An acrobot.
  public init(
    masses: [Double] = [1, 1], lengths: [Double] = [1, 1], centers: [Double] = [0.5, 0.5],
    inertias: [Double] = [1, 1], damping: Double = 0, gravity: Double = 9.8,
    torqueLimit: Double? = 1, torqueLevels: Int? = nil, speedLimits: [Double]? = nil
  ) {
    self.masses = masses
    self.lengths = lengths
    self.centers = centers
    self.inertias = inertias
    self.damping = damping
    self.gravity = gravity
    self.torqueLimit = torqueLimit
    self.torqueLevels = torqueLevels
    self.speedLimits = speedLimits
  }

  /// 4.
  public var stateCount: Int { 4 }
  /// 1.
  public var controlCount: Int { 1 }
  /// Names of the state.
  public var stateNames: [String] {
    ["shoulder_rad", "elbow_rad", "shoulder_velocity_rad_per_s", "elbow_velocity_rad_per_s"]
  }
  /// Names of the controls.
  public var controlNames: [String] { ["elbow_torque_Nm"] }
  /// The end of the second rod, in the plane of x and z (up).
  public var pointNames: [String] { ["tip"] }
  /// The torque accelerates the elbow.
  public var actuatedCoordinates: [ActuatedCoordinate] {
    [ActuatedCoordinate(control: 0, position: 1, velocity: 3)]
  }
  /// The torque limit, if there is one.
  public var controlLimits: ControlLimits? { torqueLimit.map { ControlLimits(magnitudes: [$0]) } }
  /// All torques within the limit, where there are levels.
  public var relaxation: Acrobot? { without(\.torqueLevels) }
  /// True.
  public var isSecondOrder: Bool { true }

  /// Writes [θ̇₁, θ̇₂, θ̈₁, θ̈₂].
  @inlinable @inline(__always)
  public func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let (l1, r1, r2) = (lengths[0], centers[0], centers[1])
    let (m1, m2) = (masses[0], masses[1])
    let (sine, cosine) = sinCos(x[1])
    let coupling = m2 * l1 * r2
    let a22 = m2 * r2 * r2 + inertias[1]
    let a12 = coupling * cosine + a22
    let a11 = 2 * coupling * cosine + (m1 * r1 * r1 + m2 * l1 * l1 + inertias[0] + a22)
    let h = coupling * sine
    let lower = m2 * r2 * gravity * sin(x[0] + x[1])
    let upper = (m1 * r1 + m2 * l1) * gravity * sin(x[0]) + lower
    let b1 = h * (2 * x[2] + x[3]) * x[3] - upper - damping * x[2]
    let torque = delivered(u[0], limit: torqueLimit, levels: torqueLevels)
    let b2 = torque - h * x[2] * x[2] - lower - damping * x[3]
    let determinant = a11 * a22 - a12 * a12
    rate[0] = x[2]
    rate[1] = x[3]
    rate[2] = (a22 * b1 - a12 * b2) / determinant
    rate[3] = (a11 * b2 - a12 * b1) / determinant
  }

  /// Takes away what is beyond the speed limits.
  @inlinable
  public func constrain<S: DifferentiableScalar>(_ x: inout MutableSpan<S>) {
    guard let speedLimits else { return }
    for i in 0..<2 { x[2 + i] = limited(x[2 + i], to: speedLimits[i]) }
  }

  /// The tip at (l₁ sin θ₁ + l₂ sin(θ₁ + θ₂), 0, −l₁ cos θ₁ − l₂ cos(θ₁ + θ₂)).
  @inlinable
  public func points<S: DifferentiableScalar>(_ x: Span<S>, positions: inout MutableSpan<S>) {
    let (first, second) = (sinCos(x[0]), sinCos(x[0] + x[1]))
    positions[0] = lengths[0] * first.sin + lengths[1] * second.sin
    positions[1] = .zero
    positions[2] = -lengths[0] * first.cos - lengths[1] * second.cos
  }

  /// Names of what a policy sees.
  public var observationNames: [String] {
    ["shoulder_sine", "shoulder_cosine", "elbow_sine", "elbow_cosine"] + stateNames[2...]
  }

  /// Writes sine and cosine of θ₁ and of θ₂, then θ̇₁ and θ̇₂.
  @inlinable
  public func observe(
    _ x: Span<Double>, goal: Span<Double>, into observation: inout MutableSpan<Double>
  ) {
    for i in 0..<2 {
      let (sine, cosine) = sinCos(x[i])
      (observation[2 * i], observation[2 * i + 1]) = (sine, cosine)
      observation[4 + i] = x[2 + i]
    }
  }

  /// Kinetic and potential energy [J]; zero at rest with both rods level.
  public func energy(_ x: [Double]) -> Double {
    let angle = x[0] + x[1]
    let (v1, v2) = (x[2], x[2] + x[3])
    let kinetic =
      0.5 * (masses[0] * centers[0] * centers[0] + inertias[0]) * v1 * v1
      + 0.5 * (masses[1] * centers[1] * centers[1] + inertias[1]) * v2 * v2
      + 0.5 * masses[1] * lengths[0] * lengths[0] * v1 * v1
      + masses[1] * lengths[0] * centers[1] * v1 * v2 * cos(x[1])
    let potential =
      (masses[0] * centers[0] + masses[1] * lengths[0]) * cos(x[0])
      + masses[1] * centers[1] * cos(angle)
    return kinetic - gravity * potential
  }

  /// Refuses parameters out of range.
  ///
  /// - Throws: `SimError.option`.
  public func validate() throws(SimError) { try checkSettings(kindName) }
}

extension Acrobot: ConfigurableSystem {
  package static let schema = Schema<Acrobot>(
    "acrobot", "Two rods that hang, with a motor between them alone; angle 0 hangs.", Acrobot()
  ) {
    Field(
      "masses", \.masses, .count(2, "numbers").and(.each(.positive)), "Masses of the rods [kg].")
    Field(
      "lengths", \.lengths, .count(2, "numbers").and(.each(.positive)), "Lengths of the rods [m].")
    Field(
      "centers", \.centers, .count(2, "numbers").and(.each(.notNegative)),
      "Where their centres are, from the joint above [m].")
    Field(
      "inertias", \.inertias, .count(2, "numbers").and(.each(.positive)),
      "Their inertias about these [kg m²].")
    Field("damping", \.damping, .notNegative, "Friction of both joints [N m s/rad].")
    Field("gravity", \.gravity, .notNegative, "Gravity [m/s²].")
    Field("torqueLimit", \.torqueLimit, .positive, "Largest torque [N m]; null for no limit.")
    Field(
      "torqueLevels", \.torqueLevels, .between(2, 1000),
      "Torques that there are, evenly spaced within the limit; null for all.")
    Field(
      "speedLimits", \.speedLimits, .count(2, "numbers").and(.each(.positive)),
      "Largest speeds of both joints [rad/s]; null for no limits.")
  } rule: { system throws(InvalidOption) in
    try checkLevels(system.torqueLevels, "torqueLevels", of: system.torqueLimit, "torqueLimit")
  }
}
