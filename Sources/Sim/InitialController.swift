public import GPSCore
import LinearAlgebra

/// The controller of the first iteration, made from little: it holds the initial position while its
/// noise explores.
public enum InitialController: Codable, Sendable, Equatable {
  /// LQR about a guess of the dynamics: each actuator moves a unit mass of its own.
  case lqr(LQROptions)
  /// Proportional and derivative gains.
  case pd(PDOptions)

  /// Settings of the LQR about double integrators.
  ///
  /// Each actuated coordinate (q, v) is taken to obey, over a control period h and with its gain g
  /// (control per unit of acceleration),
  ///
  ///     q' = q + h v + h²/2 · u/g,   v' = v + h · u/g
  ///
  /// and to cost, relative to the initial position q_0,
  ///
  ///     ½ stiffness (q − q_0)² + ½ stiffness · velocityStiffness · v² + ½ (u / e)²
  ///
  /// at each step, the first two `finalWeight` times at step T. e is g when effort is counted as
  /// acceleration and 1 when as control. The gains are the Riccati recursion's and the covariance is
  /// `variance` · Q_uu⁻¹. The guess couples no coordinates, so the recursion runs on one coordinate
  /// at a time, as 2 × 2 matrices.
  public struct LQROptions: Codable, Sendable, Equatable {
    /// What counts as effort.
    public enum Effort: String, Codable, Sendable, CaseIterable {
      /// ½ u²: noise has about the same standard deviation in every control.
      case control
      /// ½ (u / g)²: noise has about the same standard deviation in every acceleration.
      case acceleration
    }

    /// g, one per control: the control that accelerates the coordinate by 1 rad/s² or 1 m/s².
    public var gains: [Double]
    /// The factor on Q_uu⁻¹, how loud exploration is: one number, or one per control; more than 0.
    public var variance: [Double]
    /// The weight of the squared position error beside that of the effort: [s⁻⁴] where effort is counted
    /// as acceleration, [squared control per rad² or m²] where it is counted as control.
    public var stiffness: Double
    /// The weight of the velocity, relative to `stiffness` [s²].
    public var velocityStiffness: Double
    /// The factor on both weights at step T.
    public var finalWeight: Double
    /// What counts as effort.
    public var effort: Effort

    /// Settings.
    public init(
      gains: [Double], variance: [Double] = [1], stiffness: Double = 1,
      velocityStiffness: Double = 0.5, finalWeight: Double = 1, effort: Effort = .acceleration
    ) {
      self.gains = gains
      self.variance = variance
      self.stiffness = stiffness
      self.velocityStiffness = velocityStiffness
      self.finalWeight = finalWeight
      self.effort = effort
    }
  }

  /// Settings of u = −K_p (q − q_0) − K_d v + noise.
  public struct PDOptions: Codable, Sendable, Equatable {
    /// K_p [control per rad or m]: one number, or one per control.
    public var positionGains: [Double]
    /// K_d [control per rad/s or m/s]: one number, or one per control.
    public var velocityGains: [Double]
    /// Variance of the noise: one number, or one per control, in squared units of the control.
    public var variance: [Double]

    /// Settings.
    public init(positionGains: [Double], velocityGains: [Double], variance: [Double] = [1]) {
      self.positionGains = positionGains
      self.velocityGains = velocityGains
      self.variance = variance
    }
  }

  /// The controller for one initial state.
  ///
  /// - Parameters:
  ///   - dimensions: n, m and T.
  ///   - controlPeriod: h [s].
  ///   - actuatedCoordinates: where in the state each control's position and velocity are.
  ///   - initialState: x_0, n numbers; its positions are held.
  ///   - initialControl: what is added to each control, m numbers: the commands that hold x_0; nil for none.
  /// - Returns: a controller over the full state, with zero gains on all other entries.
  /// - Throws: `SimError` if options are out of range, a control acts on no coordinate, or the state does
  ///   not hold its position or velocity.
  public func controller(
    dimensions: Dimensions, controlPeriod: Double, actuatedCoordinates: [ActuatedCoordinate],
    initialState: [Double], initialControl: [Double]? = nil
  ) throws(SimError) -> LinearGaussianController {
    let (n, m, T) = (dimensions.state, dimensions.control, dimensions.horizon)
    precondition(initialState.count == n, "\(initialState.count) numbers for a state of \(n)")
    if let initialControl {
      precondition(
        initialControl.count == m, "\(initialControl.count) numbers for \(m) controls")
    }
    var gains = MatrixSequence(rows: m, columns: n, count: T)
    var offsets = Matrix(rows: m, columns: T)
    var covariances = MatrixSequence(rows: m, columns: m, count: T)

    for control in 0..<m {
      guard let coordinate = actuatedCoordinates.first(where: { $0.control == control }) else {
        throw .actuator(control: control, missing: .coordinate)
      }
      guard let position = coordinate.position else {
        throw .actuator(control: control, missing: .position)
      }
      guard let velocity = coordinate.velocity else {
        throw .actuator(control: control, missing: .velocity)
      }
      let steps = try steps(control: control, of: m, horizon: T, controlPeriod: controlPeriod)
      let command = initialControl?[control] ?? 0
      for (t, var step) in steps.enumerated() {
        if coordinate.isReversed {
          step.positionGain.negate()
          step.velocityGain.negate()
        }
        gains.storage[t * m * n + control + m * position] = step.positionGain
        gains.storage[t * m * n + control + m * velocity] = step.velocityGain
        offsets[control, t] = -step.positionGain * initialState[position]
        if command != 0 { offsets[control, t] += command }
        covariances.storage[t * m * m + control + m * control] = step.variance
      }
    }
    do {
      return try LinearGaussianController(
        gains: gains, offsets: offsets, covariances: covariances)
    } catch {
      throw .controller(error)
    }
  }

  /// The controller for the state that a task has at the beginning of `condition`.
  ///
  /// - Parameters:
  ///   - task: whose `actuatedCoordinates` say what each control drives; a plant is made and reset once.
  ///   - condition: where it starts; the controls of a keyframe are added to the controller's.
  /// - Returns: a controller over the full state, for all T steps.
  /// - Throws: `SimError`, or what making and resetting a plant throws.
  public func controller<T: ControlTask>(
    for task: T, in condition: Condition
  ) throws -> LinearGaussianController {
    try controller(
      dimensions: task.dimensions, controlPeriod: task.controlPeriod,
      actuatedCoordinates: task.actuatedCoordinates,
      initialState: initialState(of: task, in: condition),
      initialControl: (task as? MuJoCoTask)?.interface.startControls(of: condition))
  }

  /// One control's row of K_t (negative feedback has negative gains) and its variance.
  private struct Step {
    var positionGain: Double
    var velocityGain: Double
    var variance: Double
  }

  private func steps(
    control: Int, of count: Int, horizon: Int, controlPeriod: Double
  ) throws(SimError) -> [Step] {
    switch self {
    case .pd(let options):
      let step = Step(
        positionGain:
          -(try entry(
            options.positionGains, control, of: count, key: "pd.positionGains", allowsZero: true)),
        velocityGain:
          -(try entry(
            options.velocityGains, control, of: count, key: "pd.velocityGains", allowsZero: true)),
        variance: try entry(options.variance, control, of: count, key: "pd.variance"))
      return [Step](repeating: step, count: horizon)
    case .lqr(let options):
      let gain = try entry(options.gains, control, of: count, key: "lqr.gains")
      let variance = try entry(options.variance, control, of: count, key: "lqr.variance")
      try SimError.checkNotNegative(options.stiffness, key: "lqr.stiffness")
      try SimError.checkNotNegative(options.velocityStiffness, key: "lqr.velocityStiffness")
      try SimError.checkNotNegative(options.finalWeight, key: "lqr.finalWeight")
      return Self.riccati(
        options, gain: gain, variance: variance, horizon: horizon, h: controlPeriod)
    }
  }

  /// Backward from T with V = [V_qq V_qv; V_qv V_vv], A = [1 h; 0 1] and B = [h²/2; h] / g:
  ///
  ///     Q_uu = R + Bᵀ V B,  Q_ux = Bᵀ V A,  K = −Q_ux / Q_uu,  V ← Q + Aᵀ V A − Q_uxᵀ Q_ux / Q_uu
  private static func riccati(
    _ options: LQROptions, gain: Double, variance: Double, horizon: Int, h: Double
  ) -> [Step] {
    let position = options.stiffness
    let velocity = options.stiffness * options.velocityStiffness
    let effort = options.effort == .acceleration ? 1 / (gain * gain) : 1
    let (b0, b1) = (0.5 * h * h / gain, h / gain)
    var (Vqq, Vqv, Vvv) = (options.finalWeight * position, 0.0, options.finalWeight * velocity)
    var steps = [Step](
      repeating: Step(positionGain: 0, velocityGain: 0, variance: 0), count: horizon)
    for t in stride(from: horizon - 1, through: 0, by: -1) {
      let (w0, w1) = (Vqq * b0 + Vqv * b1, Vqv * b0 + Vvv * b1)  // V B
      let Quu = effort + b0 * w0 + b1 * w1
      let (Quq, Quv) = (w0, h * w0 + w1)
      steps[t] = Step(
        positionGain: -Quq / Quu, velocityGain: -Quv / Quu, variance: variance / Quu)
      (Vqq, Vqv, Vvv) = (
        position + Vqq - Quq * Quq / Quu,
        h * Vqq + Vqv - Quq * Quv / Quu,
        velocity + h * h * Vqq + 2 * h * Vqv + Vvv - Quv * Quv / Quu
      )
    }
    return steps
  }
}

/// x_0: the state of a task at the beginning of `condition`, without noise.
///
/// - Throws: what making and resetting a plant throws.
public func initialState<T: ControlTask>(
  of task: T, in condition: Condition
) throws -> [Double] {
  var plant = try task.makePlant()
  try plant.reset(to: condition, plantState: condition.initialPlantState.span)
  var state = [Double](repeating: 0, count: task.dimensions.state)
  var target = state.mutableSpan
  plant.readState(into: &target)
  return state
}

/// The one number of a list, or the one of this control.
private func entry(
  _ numbers: [Double], _ control: Int, of count: Int, key: String, allowsZero: Bool = false
) throws(SimError) -> Double {
  guard numbers.count == 1 || numbers.count == count else {
    throw .length(key: key, found: numbers.count, expected: count == 1 ? "1" : "1 or \(count)")
  }
  let number = numbers.count == 1 ? numbers[0] : numbers[control]
  if allowsZero {
    try SimError.checkNotNegative(number, key: key)
  } else {
    try SimError.checkPositive(number, key: key)
  }
  return number
}
