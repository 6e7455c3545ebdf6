import GuidedPolicySearch

/// A pendulum on an arm that a motor turns about the vertical (Furuta et al. 1992): state [arm, rod, their rates], the rod's
/// angle 0 upright and π hanging, its mass at the end; the control is the motor's torque.
///
///     [J + m r² + m l² sin²α   m r l cos α] [θ̈]   [τ − c θ̇ − 2 m l² sin α cos α θ̇ α̇ + m r l sin α α̇²]
///     [m r l cos α             m l²       ] [α̈] = [m l² sin α cos α θ̇² + m g l sin α − d α̇           ]
struct Furuta: ContinuousSystem {
  /// m [kg], l and r [m].
  var mass = 0.1, rod = 0.3, arm = 0.2
  /// J, of the arm about the motor [kg·m²].
  var inertia = 0.2 * 0.04 / 3
  /// c and d, of motor and hinge [N·m·s/rad], and g [m/s²].
  var motorDamping = 0.001, hingeDamping = 0.0001, gravity = 9.81
  /// The most that the motor gives [N·m].
  var torqueLimit = 0.3

  let stateCount = 4
  let controlCount = 1
  var stateNames: [String] { ["arm_rad", "rod_rad", "arm_rad_per_s", "rod_rad_per_s"] }
  var controlNames: [String] { ["torque_Nm"] }
  var controlLimits: ControlLimits? { ControlLimits(magnitudes: [torqueLimit]) }
  var actuatedCoordinates: [ActuatedCoordinate] {
    [ActuatedCoordinate(control: 0, position: 0, velocity: 2)]
  }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let (sine, cosine) = sinCos(x[1])
    let (ml2, mrl) = (mass * rod * rod, mass * arm * rod)
    let M11 = inertia + mass * arm * arm + ml2 * sine * sine
    let M12 = mrl * cosine
    let turning = 2 * ml2 * sine * cosine * x[2] * x[3]
    let b1 = u[0] - motorDamping * x[2] - turning + mrl * sine * x[3] * x[3]
    let lifting = ml2 * sine * cosine * x[2] * x[2]
    let b2 = lifting + mass * gravity * rod * sine - hingeDamping * x[3]
    let determinant = M11 * ml2 - M12 * M12
    (rate[0], rate[1]) = (x[2], x[3])
    rate[2] = (ml2 * b1 - M12 * b2) / determinant
    rate[3] = (M11 * b2 - M12 * b1) / determinant
  }

  /// Kinetic and potential energy [J]: constant where nothing damps and no motor turns.
  func energy(_ x: [Double]) -> Double {
    let (ml2, mrl) = (mass * rod * rod, mass * arm * rod)
    let sine = sin(x[1])
    let M11 = inertia + mass * arm * arm + ml2 * sine * sine
    let kinetic = 0.5 * (M11 * x[2] * x[2] + ml2 * x[3] * x[3]) + mrl * cos(x[1]) * x[2] * x[3]
    return kinetic + mass * gravity * rod * cos(x[1])
  }
}

/// The rod up, whichever way it went, the arm in front, both at rest.
struct Standing: DifferentiableCost {
  func running<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, points: Span<S>, at moment: CostMoment
  ) -> S {
    stateCost(x) + u[0] * u[0]
  }

  func final<S: DifferentiableScalar>(_ x: Span<S>, points: Span<S>, at moment: CostMoment) -> S {
    10 * stateCost(x)
  }

  private func stateCost<S: DifferentiableScalar>(_ x: Span<S>) -> S {
    let height = 1 - cos(x[1])
    let speed = 0.001 * x[2] * x[2] + 0.001 * x[3] * x[3]
    return height + 0.1 * x[0] * x[0] + speed
  }
}

/// The rod within 0.2 rad of upright for the last half second.
struct Stood: SuccessJudge {
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    (trajectory.horizon - 20...trajectory.horizon).allSatisfy {
      cos(trajectory.states[1, $0]) > cos(0.2)
    }
  }
}
