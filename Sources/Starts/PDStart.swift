package import Configuration
import Sim

extension InitialController {
  /// Settings of u = −K_p (q − q_0) − K_d v + noise.
  public struct PDOptions: Sendable, Equatable {
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
}

extension InitialController.PDOptions: JointRule {
  package static let schema = Schema<Self>(
    "pd", "Proportional and derivative gains.", Self(positionGains: [1], velocityGains: [1])
  ) {
    Field(
      "positionGains", \.positionGains, .numberOrNumbers, .each(.notNegative),
      "Control per unit of position error; one per control, or one for all."
    ).required
    Field(
      "velocityGains", \.velocityGains, .numberOrNumbers, .each(.notNegative),
      "Control per unit of velocity; one per control, or one for all."
    ).required
    Field(
      "variance", \.variance, .numberOrNumbers, .each(.above(0)),
      "Variance of the noise; one per control, or one for all.")
  }

  func resolved(controls m: Int) throws(SimError) -> Self {
    try checkSettings()
    return Self(
      positionGains: try each(positionGains, m, "pd.positionGains"),
      velocityGains: try each(velocityGains, m, "pd.velocityGains"),
      variance: try each(variance, m, "pd.variance"))
  }

  func steps(control: Int, horizon: Int, controlPeriod: Double) -> [ControllerStep] {
    let step = ControllerStep(
      positionGain: -positionGains[control], velocityGain: -velocityGains[control],
      variance: variance[control])
    return [ControllerStep](repeating: step, count: horizon)
  }
}
