// Problems on which methods of trajectory optimisation are compared: short, nonlinear, and with known
// answers to look like (a swing, a dive, a three-point turn).
//
//   problem      n  m    T   h [s]   from                  to
//   pendulum     2  1  100   0.03    hanging               upright
//   cart-pole    4  1  150   0.02    hanging               upright, the cart where it was
//   acrobot      4  1  200   0.02    hanging               upright
//   quadrotor    6  2  100   0.03    upside down, 2 m off  hovering at the origin
//   car          4  2  500   0.03    Tassa et al. 2014     parked at the origin
//
// Each step is one of the explicit Euler method (the car's is exact). scripts/peers/ilqr.cpp has the
// same equations, costs and numbers; `scripts/compare-ilqr` checks that it has.

import GuidedPolicySearch

/// A point mass on a massless rod: state [θ, θ̇], θ = 0 upright; control [torque].
///
///     m l² θ̈ = m g l sin θ + τ        m = 1 kg, l = 1 m
struct PendulumSwingUp: ContinuousSystem {
  var stateCount: Int { 2 }
  var controlCount: Int { 1 }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    rate[0] = x[1]
    rate[1] = 9.81 * sin(x[0]) + u[0]
  }
}

/// A uniform pole on a cart: state [p, θ, ṗ, θ̇], θ = 0 upright; control [force].
///
///     (m_c + m_p) p̈ + m_p l (θ̈ cos θ − θ̇² sin θ) = f
///     m_p l p̈ cos θ + J θ̈ − m_p g l sin θ = 0
///
/// with m_c = 1 kg, m_p = 0.2 kg, l = 0.5 m to the pole's centre, J = 4 m_p l² / 3. `CartPole` without
/// its damping and its point.
struct CartPoleSwingUp: ContinuousSystem {
  private let system = CartPole(cartDamping: 0, poleDamping: 0)

  var stateCount: Int { 4 }
  var controlCount: Int { 1 }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    system.derivative(x, u, into: &rate)
  }
}

/// Two uniform rods of 1 kg and 1 m, with a torque at the elbow alone: state [q₁, q₂, q̇₁, q̇₂], q₁ = 0
/// hanging, q₂ relative to the first rod (Spong 1995).
///
///     M(q) q̈ = [h q̇₂ (2 q̇₁ + q̇₂), −h q̇₁²] + gravity + [0, τ]
///
/// with h = m₂ l₁ c₂ sin q₂, moments of inertia 1/3 about each joint and centres half way.
struct AcrobotSwingUp: ContinuousSystem {
  var stateCount: Int { 4 }
  var controlCount: Int { 1 }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let (sine, cosine) = sinCos(x[1])
    let inertia = 1.0 / 3
    let m11 = 2 * inertia + 1 + cosine
    let m12 = inertia + 0.5 * cosine
    let h = 0.5 * sine
    let lower = -4.905 * sin(x[0] + x[1])
    let b1 = h * x[3] * (2 * x[2] + x[3]) - 14.715 * sin(x[0]) + lower
    let b2 = lower - h * x[2] * x[2] + u[0]
    let determinant = m11 * inertia - m12 * m12
    rate[0] = x[2]
    rate[1] = x[3]
    rate[2] = (inertia * b1 - m12 * b2) / determinant
    rate[3] = (m11 * b2 - m12 * b1) / determinant
  }
}

/// Two rotors on a beam in a vertical plane: state [y, z, φ, ẏ, ż, φ̇], control [thrusts].
///
///     m ÿ = −(f₁ + f₂) sin φ,   m z̈ = (f₁ + f₂) cos φ − m g,   I φ̈ = r (f₁ − f₂)
///
/// with m = 0.5 kg, r = 0.25 m, I = 0.0125 kg m². Thrusts may be negative.
struct PlanarQuadrotor: ContinuousSystem {
  var stateCount: Int { 6 }
  var controlCount: Int { 2 }

  func derivative<S: DifferentiableScalar>(
    _ x: Span<S>, _ u: Span<S>, into rate: inout MutableSpan<S>
  ) {
    let (sine, cosine) = sinCos(x[2])
    let lift = 2 * (u[0] + u[1])
    rate[0] = x[3]
    rate[1] = x[4]
    rate[2] = x[5]
    rate[3] = -(lift * sine)
    rate[4] = lift * cosine - 9.81
    rate[5] = 20 * (u[0] - u[1])
  }
}

/// A car that rolls without slip: state [x, y, θ, v], control [front wheels' angle ω, acceleration a],
/// over steps of h = 0.03 s, with d = 2 m between the axles (Tassa, Mansard, Todorov 2014, section IV).
///
///     f = h v,  b = d + f cos ω − √(d² − f² sin² ω)
///     x' = x + b cos θ,  y' = y + b sin θ,  θ' = θ + asin(f sin ω / d),  v' = v + h a
struct CarParking: DiscreteSystem {
  static let period = 0.03

  var stateCount: Int { 4 }
  var controlCount: Int { 2 }

  func step<S: DifferentiableScalar>(_ x: Span<S>, _ u: Span<S>, into next: inout MutableSpan<S>) {
    let length = 2.0
    let roll = Self.period * x[3]
    let (steerSine, steerCosine) = sinCos(u[0])
    let (sine, cosine) = sinCos(x[2])
    let across = roll * steerSine
    let advance = length + roll * steerCosine - sqrt(length * length - across * across)
    next[0] = x[0] + advance * cosine
    next[1] = x[1] + advance * sine
    next[2] = x[2] + asin(across / length)
    next[3] = x[3] + Self.period * u[1]
  }
}

/// A system, what is asked of it, and where the search starts.
struct ClassicalProblem<System: DynamicSystem>: Sendable {
  let name: String
  let dynamics: NativeDynamics<System>
  let horizon: Int
  let initialState: [Double]
  /// The guess, the same at every step.
  let controls: [Double]
  let limits: ControlLimits?
  let cost: SumCost

  init(
    _ name: String, _ system: System, period: Double, horizon: Int, from initialState: [Double],
    controls: [Double], limits: ControlLimits? = nil, cost: SumCost
  ) {
    self.name = name
    dynamics = NativeDynamics(
      system, timeStep: TimeStep(controlPeriod: period, substeps: 1, integrator: .euler))
    self.horizon = horizon
    self.initialState = initialState
    self.controls = controls
    self.limits = limits
    self.cost = cost
  }

  private static var condition: Condition { Condition(name: "only", initialPlantState: []) }

  func solve(_ options: ILQR.Options) async throws -> ILQR.Solution {
    try await ILQR(options: options).optimize(
      dynamics, cost: cost, in: Self.condition, from: initialState,
      controls: Matrix(
        rows: controls.count, columns: horizon,
        columnMajor: [[Double]](repeating: controls, count: horizon).flatMap { $0 }),
      limits: limits)
  }

  /// The cost of u_{t,i} = ū_i + 0.1 sin(0.1 (i + 1) (t + 1)): all of dynamics and cost in one number.
  func costOfWave() -> Double {
    let (n, m) = (initialState.count, controls.count)
    var states = Matrix(rows: n, columns: horizon + 1)
    var waves = Matrix(rows: m, columns: horizon)
    states.setColumn(0, to: initialState)
    var workspace = dynamics.makeWorkspace()
    var next = initialState
    for t in 0..<horizon {
      for i in 0..<m {
        waves[i, t] = controls[i] + 0.1 * sin(0.1 * Double(i + 1) * Double(t + 1))
      }
      let (x, u) = (states.column(t), waves.column(t))
      var target = next.mutableSpan
      dynamics.step(x.span, u.span, workspace: &workspace, into: &target)
      states.setColumn(t + 1, to: next)
    }
    let trajectory = Trajectory(
      states: states, controls: waves, observations: Matrix(rows: 0, columns: horizon + 1))
    return cost.values(along: trajectory, in: Self.condition).reduce(0, +)
  }
}

enum ClassicalProblems {
  /// ½ running (x − target)² at every step, ½ final (x − target)² at the last, ½ effort u² before it.
  private static func quadratic(
    target: [Double], running: [Double], final: [Double], effort: [Double]
  ) -> SumCost {
    let entries = Array(target.indices)
    return SumCost(
      .state(StateCost(entries: entries, target: .numbers(target), weights: running)),
      .state(
        StateCost(entries: entries, target: .numbers(target), weights: final, ramp: .finalOnly)),
      .control(ControlCost(weights: effort)))
  }

  static func pendulum(horizon: Int? = nil) -> ClassicalProblem<PendulumSwingUp> {
    ClassicalProblem(
      "pendulum", PendulumSwingUp(), period: 0.03, horizon: horizon ?? 100, from: [.pi, 0],
      controls: [0],
      cost: quadratic(
        target: [0, 0], running: [0.02, 0.002], final: [100, 10], effort: [0.01]))
  }

  static func cartPole(horizon: Int? = nil) -> ClassicalProblem<CartPoleSwingUp> {
    ClassicalProblem(
      "cart-pole", CartPoleSwingUp(), period: 0.02, horizon: horizon ?? 150, from: [0, .pi, 0, 0],
      controls: [0],
      cost: quadratic(
        target: [0, 0, 0, 0], running: [0.02, 0.02, 0.002, 0.002], final: [100, 100, 10, 10],
        effort: [0.002]))
  }

  static func acrobot(horizon: Int? = nil) -> ClassicalProblem<AcrobotSwingUp> {
    ClassicalProblem(
      "acrobot", AcrobotSwingUp(), period: 0.02, horizon: horizon ?? 200, from: [0, 0, 0, 0],
      controls: [0],
      cost: quadratic(
        target: [.pi, 0, 0, 0], running: [0.02, 0.02, 0.002, 0.002], final: [100, 100, 10, 10],
        effort: [0.002]))
  }

  static func quadrotor(horizon: Int? = nil) -> ClassicalProblem<PlanarQuadrotor> {
    ClassicalProblem(
      "quadrotor", PlanarQuadrotor(), period: 0.03, horizon: horizon ?? 100,
      from: [2, 0, .pi, 0, 0, 0], controls: [2.4525, 2.4525],
      cost: quadratic(
        target: [0, 0, 0, 0, 0, 0], running: [0.1, 0.1, 0.02, 0.01, 0.01, 0.002],
        final: [100, 100, 100, 10, 10, 10], effort: [0.02, 0.02]))
  }

  static func car(horizon: Int? = nil) -> ClassicalProblem<CarParking> {
    // c √(p² + x²) of one entry of the state.
    func rounded(_ entry: Int, _ c: Double, _ p: Double, _ ramp: Ramp) -> CostTerm {
      .state(
        StateCost(
          entries: [entry], target: .numbers([0]), norm: Norm(l2: 0, l1: c, alpha: p * p),
          ramp: ramp))
    }
    return ClassicalProblem(
      "car", CarParking(), period: CarParking.period, horizon: horizon ?? 500,
      from: [1, 1, 1.5 * .pi, 0], controls: [0, 0], limits: ControlLimits(magnitudes: [0.5, 2]),
      cost: SumCost(
        .control(ControlCost(weights: [0.02, 0.0002])),
        rounded(0, 0.001, 0.1, .constant), rounded(1, 0.001, 0.1, .constant),
        rounded(0, 0.1, 0.01, .finalOnly), rounded(1, 0.1, 0.01, .finalOnly),
        rounded(2, 1, 0.01, .finalOnly), rounded(3, 0.3, 1, .finalOnly)))
  }
}
