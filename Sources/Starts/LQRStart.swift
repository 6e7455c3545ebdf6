package import Configuration
import Sim

extension InitialController {
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
  public struct LQROptions: Sendable, Equatable {
    /// What counts as effort.
    public enum Effort: String, Sendable, CaseIterable {
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
}

extension InitialController.LQROptions.Effort: Setting {}

extension InitialController.LQROptions: JointRule {
  package static let schema = Schema<Self>(
    "lqr", "LQR about a double-integrator guess of the joints.", Self(gains: [1])
  ) {
    Field(
      "gains", \.gains, .numberOrNumbers, .each(.above(0)),
      "Control per unit of acceleration of its joint; one per control, or one for all."
    ).required
    Field(
      "variance", \.variance, .numberOrNumbers, .each(.above(0)),
      "The factor on the covariance; one per control, or one for all.")
    Field("stiffness", \.stiffness, .notNegative, "Weight of the position.")
    Field(
      "velocityStiffness", \.velocityStiffness, .notNegative,
      "Weight of the velocity, relative to stiffness [s²].")
    Field(
      "finalWeight", \.finalWeight, .notNegative, "The factor on both at the last step.")
    Field("effort", \.effort, "What counts as effort.")
  }

  func resolved(controls m: Int) throws(SimError) -> Self {
    try checkSettings()
    var options = self
    options.gains = try each(gains, m, "lqr.gains")
    options.variance = try each(variance, m, "lqr.variance")
    return options
  }

  /// Backward from T with V = [V_qq V_qv; V_qv V_vv], A = [1 h; 0 1] and B = [h²/2; h] / g:
  ///
  ///     Q_uu = R + Bᵀ V B,  Q_ux = Bᵀ V A,  K = −Q_ux / Q_uu,  V ← Q + Aᵀ V A − Q_uxᵀ Q_ux / Q_uu
  func steps(control: Int, horizon: Int, controlPeriod h: Double) -> [ControllerStep] {
    let (gain, variance) = (gains[control], variance[control])
    let position = stiffness
    let velocity = stiffness * velocityStiffness
    let effort = effort == .acceleration ? 1 / (gain * gain) : 1
    let (b0, b1) = (0.5 * h * h / gain, h / gain)
    var (Vqq, Vqv, Vvv) = (finalWeight * position, 0.0, finalWeight * velocity)
    var steps = [ControllerStep](
      repeating: ControllerStep(positionGain: 0, velocityGain: 0, variance: 0), count: horizon)
    for t in stride(from: horizon - 1, through: 0, by: -1) {
      let (w0, w1) = (Vqq * b0 + Vqv * b1, Vqv * b0 + Vvv * b1)  // V B
      let Quu = effort + b0 * w0 + b1 * w1
      let (Quq, Quv) = (w0, h * w0 + w1)
      steps[t] = ControllerStep(
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
