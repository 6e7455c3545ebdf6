import GPSCore
import LinearAlgebra
import Sim

/// One control's row of K_t (negative feedback has negative gains) and its variance.
struct ControllerStep {
  var positionGain: Double
  var velocityGain: Double
  var variance: Double
}

/// An initial controller that holds the joint, or other single coordinate, that each control drives.
protocol JointRule: ControllerRule {
  /// The rule with one number for each of m controls; refuses what is out of range.
  func resolved(controls m: Int) throws(SimError) -> Self

  /// A control's gains and variance at each of T steps.
  func steps(control: Int, horizon: Int, controlPeriod: Double) -> [ControllerStep]
}

extension JointRule {
  func controller(_ start: Start) throws -> LinearGaussianController {
    let (n, m, T) = (start.dimensions.state, start.dimensions.control, start.dimensions.horizon)
    var gains = MatrixSequence(rows: m, columns: n, count: T)
    var offsets = Matrix(rows: m, columns: T)
    var covariances = MatrixSequence(rows: m, columns: m, count: T)

    let rule = try resolved(controls: m)
    for control in 0..<m {
      guard let coordinate = start.coordinates.first(where: { $0.control == control }) else {
        throw SimError.actuator(control: control, missing: .coordinate)
      }
      guard let position = coordinate.position else {
        throw SimError.actuator(control: control, missing: .position)
      }
      guard let velocity = coordinate.velocity else {
        throw SimError.actuator(control: control, missing: .velocity)
      }
      let steps = rule.steps(control: control, horizon: T, controlPeriod: start.controlPeriod)
      let command = start.control?[control] ?? 0
      for (t, var step) in steps.enumerated() {
        if coordinate.isReversed {
          step.positionGain.negate()
          step.velocityGain.negate()
        }
        gains.storage[t * m * n + control + m * position] = step.positionGain
        gains.storage[t * m * n + control + m * velocity] = step.velocityGain
        offsets[control, t] = -step.positionGain * start.state[position]
        if command != 0 { offsets[control, t] += command }
        covariances.storage[t * m * m + control + m * control] = step.variance
      }
    }
    do {
      return try LinearGaussianController(
        gains: gains, offsets: offsets, covariances: covariances)
    } catch {
      throw SimError.controller(error)
    }
  }
}
