import GuidedPolicySearch

/// A weight on a rod, turned at the pivot by a motor that cannot lift it outright: level, the weight
/// pulls with m g l = 9.8 N·m. The angle is 0 upright and π hanging.
struct Pendulum: ContinuousSystem {
  /// m [kg], l [m], damping [N·m·s/rad], g [m/s²].
  var mass = 1.0, length = 1.0, damping = 0.1, gravity = 9.81
  /// The most that the motor gives [N·m].
  var torqueLimit = 6.0

  let stateCount = 2
  let controlCount = 1
  var stateNames: [String] { ["angle_rad", "velocity_rad_per_s"] }
  var controlNames: [String] { ["torque_Nm"] }
  /// The motor turns the angle: what the controllers of the first iteration are made from.
  var actuatedCoordinates: [ActuatedCoordinate] {
    [ActuatedCoordinate(control: 0, position: 0, velocity: 1)]
  }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let torque = torqueLimit * tanh(u[0] / torqueLimit)
    let weight = mass * gravity * length * sin(x[0])
    rate[0] = x[1]
    rate[1] = (torque + weight - damping * x[1]) / (mass * length * length)
  }
}

/// Upright and still, above all at the end.
struct Upright: DifferentiableCost {
  func running<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, points: Span<S>, at moment: CostMoment
  ) -> S {
    let weight = pow(Double(moment.step) / Double(moment.horizon), 2)
    let effort = 0.01 * x[1] * x[1] + 0.001 * u[0] * u[0]
    return weight * x[0] * x[0] + effort
  }

  func final<S: DifferentiableScalar>(_ x: Span<S>, points: Span<S>, at moment: CostMoment) -> S {
    20 * (x[0] * x[0] + 0.1 * x[1] * x[1])
  }
}
