import GuidedPolicySearch

/// An arm in a vertical plane, its masses at elbow and hand: state [shoulder, elbow, their rates],
/// controls the torques of both joints. The shoulder's angle is measured from the x axis, the elbow's
/// from the upper arm; gravity acts along −y.
///
///     M(q) q̈ + h [−2 q̇₁ q̇₂ − q̇₂²; q̇₁²] + g(q) = τ − c q̇,   h = m₂ l₁ l₂ sin q₂
struct Arm: ContinuousSystem {
  /// At elbow and hand [kg].
  var elbowMass = 1.0, handMass = 0.5
  /// Of upper arm and forearm [m].
  var upperArm = 0.4, forearm = 0.4
  /// c [N·m·s/rad] and g [m/s²].
  var damping = 0.2, gravity = 9.81
  /// The most that the motors of shoulder and elbow give [N·m].
  var torqueLimits = (shoulder: 25.0, elbow: 10.0)

  let stateCount = 4
  let controlCount = 2
  var stateNames: [String] {
    ["shoulder_rad", "elbow_rad", "shoulder_rate_rad_per_s", "elbow_rate_rad_per_s"]
  }
  var controlNames: [String] { ["shoulder_torque_Nm", "elbow_torque_Nm"] }
  /// What the cost and the success criterion speak of.
  var pointNames: [String] { ["elbow", "hand"] }
  var actuatedCoordinates: [ActuatedCoordinate] {
    (0..<2).map { ActuatedCoordinate(control: $0, position: $0, velocity: $0 + 2) }
  }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let (sine, cosine) = sinCos(x[1])
    let coupling = handMass * upperArm * forearm
    let outer = handMass * forearm * forearm
    let inner = (elbowMass + handMass) * upperArm * upperArm
    let M12 = coupling * cosine + outer
    let M11 = inner + coupling * cosine + M12
    let h = coupling * sine
    let outerWeight = handMass * gravity * forearm * cos(x[0] + x[1])
    let innerWeight = (elbowMass + handMass) * gravity * upperArm * cos(x[0])
    let spin = h * (2 * x[2] + x[3]) * x[3]
    let torque1 = torqueLimits.shoulder * tanh(u[0] / torqueLimits.shoulder)
    let torque2 = torqueLimits.elbow * tanh(u[1] / torqueLimits.elbow)
    let b1 = torque1 - damping * x[2] + spin - innerWeight - outerWeight
    let b2 = torque2 - damping * x[3] - h * x[2] * x[2] - outerWeight
    let determinant = M11 * outer - M12 * M12
    (rate[0], rate[1]) = (x[2], x[3])
    rate[2] = (outer * b1 - M12 * b2) / determinant
    rate[3] = (M11 * b2 - M12 * b1) / determinant
  }

  func points<S: DifferentiableScalar>(_ x: Span<S>, positions: inout MutableSpan<S>) {
    let (first, second) = (sinCos(x[0]), sinCos(x[0] + x[1]))
    (positions[0], positions[1]) = (upperArm * first.cos, upperArm * first.sin)
    positions[3] = positions[0] + forearm * second.cos
    positions[4] = positions[1] + forearm * second.sin
    (positions[2], positions[5]) = (.zero, .zero)
  }
}

/// The hand to the condition's goal, softly, with both joints above the table.
struct Reach: DifferentiableCost {
  /// The height of the table [m].
  var table: Double

  func running<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, points: Span<S>, at moment: CostMoment
  ) -> S {
    let effort = 0.001 * (u[0] * u[0] + u[1] * u[1])
    let speed = 0.02 * (x[2] * x[2] + x[3] * x[3])
    return effort + speed + position(points, moment)
  }

  func final<S: DifferentiableScalar>(_ x: Span<S>, points: Span<S>, at moment: CostMoment) -> S {
    5 * position(points, moment)
  }

  private func position<S: DifferentiableScalar>(_ points: Span<S>, _ moment: CostMoment) -> S {
    let goal = moment.condition.goal
    let (dx, dy) = (points[3] - goal[0], points[4] - goal[1])
    // Like |d| from a few centimetres on, and smooth at 0.
    var cost = 4 * sqrt(dx * dx + dy * dy + 0.0025)
    for height in [points[1], points[4]] {
      let depth = table + 0.03 - height
      if depth > .zero { cost += 300 * depth * depth }
    }
    return cost
  }
}

/// The hand within 4 cm of the goal for the last quarter of the time, and nothing ever in the table.
struct Reached: SuccessJudge {
  var table: Double

  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    let (T, points) = (trajectory.horizon, trajectory.points)
    let isClear = (0...T).allSatisfy { min(points[1, $0], points[4, $0]) > table }
    return isClear
      && (T * 3 / 4...T).allSatisfy { distance(trajectory, at: $0, in: condition) < 0.04 }
  }
}

/// From the hand to the goal [m].
func distance(_ trajectory: Trajectory, at t: Int, in condition: Condition) -> Double {
  let (dx, dy) = (
    trajectory.points[3, t] - condition.goal[0], trajectory.points[4, t] - condition.goal[1]
  )
  return (dx * dx + dy * dy).squareRoot()
}
