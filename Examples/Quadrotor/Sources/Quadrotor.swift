import GuidedPolicySearch

/// A quadrotor seen from the front: state [x, z, roll, v_x, v_z, roll rate], controls the thrusts of
/// its left and right rotors.
struct Quadrotor: ContinuousSystem {
  /// [kg], [kg·m²], [m/s²].
  var mass = 0.5, inertia = 0.005, gravity = 9.81
  /// From the middle to each rotor [m].
  var arm = 0.15
  /// What each rotor gives to hover [N].
  var hoverThrust: Double { mass * gravity / 2 }

  let stateCount = 6
  let controlCount = 2
  var stateNames: [String] {
    ["x_m", "z_m", "roll_rad", "x_velocity_m_per_s", "z_velocity_m_per_s", "roll_rate_rad_per_s"]
  }
  var controlNames: [String] { ["left_thrust_N", "right_thrust_N"] }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let acceleration = (u[0] + u[1]) / mass
    let (sine, cosine) = sinCos(x[2])
    for i in 0..<3 { rate[i] = x[3 + i] }
    rate[3] = -acceleration * sine
    rate[4] = acceleration * cosine - gravity
    rate[5] = arm * (u[1] - u[0]) / inertia
  }
}

/// A round obstacle in the plane of flight [m].
struct Disc: Sendable {
  var x: Double, z: Double, radius: Double
}

/// To the goal (the condition's x and z) and hover there, clear of all obstacles, with little thrust.
struct Flight: DifferentiableCost {
  var obstacles: [Disc]
  /// Between the middle of the quadrotor and an obstacle's edge [m].
  var clearance: Double
  var hoverThrust: Double

  func running<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, points: Span<S>, at moment: CostMoment
  ) -> S {
    var cost = 0.02 * x[5] * x[5]
    for i in 0..<2 {
      let effort = u[i] - hoverThrust
      cost += 0.02 * effort * effort
    }
    for disc in obstacles {
      // Quadratic from the clearance inwards, and nothing outside.
      let depth = disc.radius + clearance - hypot(x[0] - disc.x, x[1] - disc.z)
      if depth > .zero { cost += 200 * depth * depth }
    }
    return cost
  }

  func final<S: DifferentiableScalar>(_ x: Span<S>, points: Span<S>, at moment: CostMoment) -> S {
    let goal = moment.condition.goal
    let (dx, dz) = (x[0] - goal[0], x[1] - goal[1])
    var cost = 200 * (dx * dx + dz * dz) + 50 * x[2] * x[2] + 5 * x[5] * x[5]
    for i in 3..<5 { cost += 50 * x[i] * x[i] }
    return cost
  }
}
