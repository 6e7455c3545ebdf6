package import Configuration
public import Differentiation
public import GPSCore

/// Two uniform rods in the plane, driven by torques at shoulder and elbow: state [q₁, q₂, q̇₁, q̇₂],
/// control [τ₁, τ₂].
///
/// q₁ is measured from the x axis, q₂ from the first rod. With lengths l_i, centres at l_i / 2,
/// inertias I_i = m_i l_i² / 12 about them, and h = ½ m₂ l₁ l₂ sin q₂ (Spong, Hutchinson and Vidyasagar
/// 2006, "Robot modeling and control", section 7.4):
///
///     M(q) q̈ + h [−2 q̇₁ q̇₂ − q̇₂²; q̇₁²] + g(q) = τ − c q̇
///
/// Gravity, if any, acts along −y.
public struct TwoLinkArm: ContinuousSystem, Equatable {
  /// m₁ and m₂ [kg].
  public var masses: [Double]
  /// l₁ and l₂ [m].
  public var lengths: [Double]
  /// c, the same at both joints [N·m·s/rad].
  public var damping: Double
  /// g [m/s²]; 0 for an arm that moves in the horizontal plane.
  public var gravity: Double
  /// Largest torque [N·m]; nil for no limit.
  public var torqueLimit: Double?

  /// An arm.
  public init(
    masses: [Double] = [1, 1], lengths: [Double] = [0.5, 0.5], damping: Double = 0.1,
    gravity: Double = 0, torqueLimit: Double? = nil
  ) {
    self.masses = masses
    self.lengths = lengths
    self.damping = damping
    self.gravity = gravity
    self.torqueLimit = torqueLimit
  }

  /// 4.
  public var stateCount: Int { 4 }
  /// 2.
  public var controlCount: Int { 2 }
  /// True.
  public var isSecondOrder: Bool { true }
  /// Names of the state.
  public var stateNames: [String] {
    ["shoulder_rad", "elbow_rad", "shoulder_velocity_rad_per_s", "elbow_velocity_rad_per_s"]
  }
  /// Names of the controls.
  public var controlNames: [String] { ["shoulder_torque_Nm", "elbow_torque_Nm"] }
  /// The end of the second rod, at z = 0.
  public var pointNames: [String] { ["hand"] }
  /// Each torque accelerates one joint.
  public var actuatedCoordinates: [ActuatedCoordinate] {
    [
      ActuatedCoordinate(control: 0, position: 0, velocity: 2),
      ActuatedCoordinate(control: 1, position: 1, velocity: 3),
    ]
  }
  /// The torque limit, if there is one.
  public var controlLimits: ControlLimits? {
    torqueLimit.map { ControlLimits(magnitudes: [$0, $0]) }
  }

  /// M(q): its entries 11, 12 and 22.
  @inlinable
  func inertia<S: DifferentiableScalar>(_ cosine: S) -> (S, S, Double) {
    let (m1, m2) = (masses[0], masses[1])
    let (l1, l2) = (lengths[0], lengths[1])
    let cross = 0.5 * m2 * l1 * l2 * cosine
    // I₂ + m₂ (l₂ / 2)² = m₂ l₂² / 3
    let own = m2 * l2 * l2 / 3
    return (2 * cross + (m1 * l1 * l1 / 3 + m2 * l1 * l1 + own), own + cross, own)
  }

  /// Writes [q̇, q̈].
  @inlinable @inline(__always)
  public func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let (m1, m2) = (masses[0], masses[1])
    let (l1, l2) = (lengths[0], lengths[1])
    let (v1, v2) = (x[2], x[3])
    let (sine, cosine) = sinCos(x[1])
    let (M11, M12, M22) = inertia(cosine)
    let h = 0.5 * m2 * l1 * l2 * sine
    var b1 = limited(u[0], to: torqueLimit) - damping * v1
    var b2 = limited(u[1], to: torqueLimit) - damping * v2
    b1 += h * (2 * v1 + v2) * v2
    b2 -= h * v1 * v1
    if gravity != 0 {
      let outer = 0.5 * m2 * l2 * gravity * cos(x[0] + x[1])
      let inner = (0.5 * m1 + m2) * l1 * gravity * cos(x[0])
      b1 -= inner + outer
      b2 -= outer
    }
    let determinant = M11 * M22 - M12 * M12
    rate[0] = v1
    rate[1] = v2
    rate[2] = (M22 * b1 - M12 * b2) / determinant
    rate[3] = (M11 * b2 - M12 * b1) / determinant
  }

  /// The hand at l₁ (cos q₁, sin q₁) + l₂ (cos(q₁ + q₂), sin(q₁ + q₂)).
  @inlinable
  public func points<S: DifferentiableScalar>(_ x: Span<S>, positions: inout MutableSpan<S>) {
    let first = sinCos(x[0])
    let second = sinCos(x[0] + x[1])
    positions[0] = lengths[0] * first.cos + lengths[1] * second.cos
    positions[1] = lengths[0] * first.sin + lengths[1] * second.sin
    positions[2] = .zero
  }

  /// Kinetic and potential energy [J].
  public func energy(_ x: [Double]) -> Double {
    let (M11, M12, M22) = inertia(cos(x[1]))
    return 0.5 * (M11 * x[2] * x[2] + 2 * M12 * x[2] * x[3] + M22 * x[3] * x[3])
      + gravity
      * ((0.5 * masses[0] + masses[1]) * lengths[0] * sin(x[0])
        + 0.5 * masses[1] * lengths[1] * sin(x[0] + x[1]))
  }

  /// Refuses parameters out of range.
  ///
  /// - Throws: `SimError.option`.
  public func validate() throws(SimError) { try checkSettings(kindName) }
}

extension TwoLinkArm: ConfigurableSystem {
  package static let schema = Schema<TwoLinkArm>(
    "twoLinkArm", "Two links in a plane, driven at both joints.", TwoLinkArm()
  ) {
    Field(
      "masses", \.masses, .count(2, "numbers").and(.each(.positive)),
      "Masses of the two links [kg].")
    Field(
      "lengths", \.lengths, .count(2, "numbers").and(.each(.positive)),
      "Lengths of the two links [m].")
    Field("damping", \.damping, .notNegative, "Friction of each joint [N m s/rad].")
    Field("gravity", \.gravity, .notNegative, "Gravity in the plane [m/s²].")
    Field(
      "torqueLimit", \.torqueLimit, .positive,
      "Largest torque at each joint [N m]; null for no limit.")
  }
}
