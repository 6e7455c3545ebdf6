import Foundation
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
public struct TwoLinkArm: NativeSystem {
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

  /// Names of the state.
  public static var stateNames: [String] {
    ["shoulder_rad", "elbow_rad", "shoulder_velocity_rad_per_s", "elbow_velocity_rad_per_s"]
  }
  /// Names of the controls.
  public static var controlNames: [String] { ["shoulder_torque_Nm", "elbow_torque_Nm"] }
  /// The end of the second rod, at z = 0.
  public static var pointNames: [String] { ["hand"] }
  /// Each torque accelerates one joint.
  public static var actuatedCoordinates: [ActuatedCoordinate] {
    [
      ActuatedCoordinate(control: 0, position: 0, velocity: 2),
      ActuatedCoordinate(control: 1, position: 1, velocity: 3),
    ]
  }

  /// M(q): its entries 11, 12 and 22.
  private static func inertia(_ cosine: Double, _ parameters: TwoLinkArm) -> (
    Double, Double, Double
  ) {
    let (m1, m2) = (parameters.masses[0], parameters.masses[1])
    let (l1, l2) = (parameters.lengths[0], parameters.lengths[1])
    let cross = 0.5 * m2 * l1 * l2 * cosine
    // I₂ + m₂ (l₂ / 2)² = m₂ l₂² / 3
    let own = m2 * l2 * l2 / 3
    return (m1 * l1 * l1 / 3 + m2 * l1 * l1 + own + 2 * cross, own + cross, own)
  }

  /// Writes [q̇, q̈].
  public static func derivative(
    _ x: Span<Double>, _ u: Span<Double>, _ parameters: TwoLinkArm,
    into derivative: inout MutableSpan<Double>
  ) {
    let (m1, m2) = (parameters.masses[0], parameters.masses[1])
    let (l1, l2) = (parameters.lengths[0], parameters.lengths[1])
    let (v1, v2) = (x[2], x[3])
    let (M11, M12, M22) = inertia(cos(x[1]), parameters)
    let h = 0.5 * m2 * l1 * l2 * sin(x[1])
    var b1 = limited(u[0], to: parameters.torqueLimit) - parameters.damping * v1
    var b2 = limited(u[1], to: parameters.torqueLimit) - parameters.damping * v2
    b1 += h * (2 * v1 * v2 + v2 * v2)
    b2 -= h * v1 * v1
    if parameters.gravity != 0 {
      let outer = 0.5 * m2 * l2 * parameters.gravity * cos(x[0] + x[1])
      b1 -= (0.5 * m1 + m2) * l1 * parameters.gravity * cos(x[0]) + outer
      b2 -= outer
    }
    let determinant = M11 * M22 - M12 * M12
    derivative[0] = v1
    derivative[1] = v2
    derivative[2] = (M22 * b1 - M12 * b2) / determinant
    derivative[3] = (M11 * b2 - M12 * b1) / determinant
  }

  /// The hand at l₁ (cos q₁, sin q₁) + l₂ (cos(q₁ + q₂), sin(q₁ + q₂)).
  public static func points(
    _ x: Span<Double>, _ parameters: TwoLinkArm, positions: inout MutableSpan<Double>,
    jacobians: inout MutableSpan<Double>
  ) {
    let (l1, l2) = (parameters.lengths[0], parameters.lengths[1])
    let (x2, y2) = (l2 * cos(x[0] + x[1]), l2 * sin(x[0] + x[1]))
    let (x1, y1) = (l1 * cos(x[0]), l1 * sin(x[0]))
    (positions[0], positions[1], positions[2]) = (x1 + x2, y1 + y2, 0)
    (jacobians[0], jacobians[1]) = (-y1 - y2, x1 + x2)
    (jacobians[3], jacobians[4]) = (-y2, x2)
  }

  /// Kinetic and potential energy [J].
  public func energy(_ x: [Double]) -> Double {
    let (M11, M12, M22) = Self.inertia(cos(x[1]), self)
    return 0.5 * (M11 * x[2] * x[2] + 2 * M12 * x[2] * x[3] + M22 * x[3] * x[3])
      + gravity
      * ((0.5 * masses[0] + masses[1]) * lengths[0] * sin(x[0])
        + 0.5 * masses[1] * lengths[1] * sin(x[0] + x[1]))
  }

  /// Refuses parameters out of range.
  ///
  /// - Throws: `SimError`.
  public func validate() throws(SimError) {
    for (key, numbers) in [("twoLinkArm.masses", masses), ("twoLinkArm.lengths", lengths)] {
      if numbers.count != 2 { throw .length(key: key, found: numbers.count, expected: "2") }
      for number in numbers { try SimError.checkPositive(number, key: key) }
    }
    try SimError.checkNotNegative(damping, key: "twoLinkArm.damping")
    try SimError.checkNotNegative(gravity, key: "twoLinkArm.gravity")
    if let torqueLimit { try SimError.checkPositive(torqueLimit, key: "twoLinkArm.torqueLimit") }
  }
}
