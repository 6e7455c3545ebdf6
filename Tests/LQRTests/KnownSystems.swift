import Foundation
import GPSCore
import LinearAlgebra

/// x' = F_t y + f for one and the same F and f at every step.
struct LinearKnownDynamics: KnownDynamics {
  /// F = [A B]: n × (n + m).
  var transition: Matrix
  /// f: n numbers.
  var offset: [Double]

  init(transition: Matrix, offset: [Double]) {
    self.transition = transition
    self.offset = offset
  }

  var state: Int { transition.rows }
  var control: Int { transition.columns - transition.rows }

  func makeWorkspace() {}

  func step(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Void,
    into next: inout MutableSpan<Double>
  ) {
    for i in 0..<state {
      var sum = offset[i]
      for j in 0..<state { sum += transition[i, j] * x[j] }
      for j in 0..<control { sum += transition[i, state + j] * u[j] }
      next[i] = sum
    }
  }

  func linearize(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Void,
    into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
  ) {
    step(x, u, workspace: &workspace, into: &next)
    for i in 0..<jacobian.count { jacobian[i] = transition.storage[i] }
  }
}

/// A pendulum without friction under a torque, integrated by the explicit Euler method: with ω the
/// angular velocity, θ' = θ + h ω and ω' = ω + h (g sin θ + u), θ = 0 upright.
struct EulerPendulum: KnownDynamics {
  /// h [s].
  var period: Double
  /// g [1/s²].
  var gravity = 9.81
  /// Beyond this |ω| the system refuses to be simulated.
  var fastest = Double.infinity

  init(period: Double) { self.period = period }

  var state: Int { 2 }
  var control: Int { 1 }
  var hasSecondDerivatives: Bool { true }

  func makeWorkspace() {}

  func step(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Void,
    into next: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    if abs(x[1]) > fastest { throw PlantFailure("it turns at \(x[1]) rad/s") }
    (next[0], next[1]) = (x[0] + period * x[1], x[1] + period * (gravity * sin(x[0]) + u[0]))
  }

  func linearize(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Void,
    into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    try step(x, u, workspace: &workspace, into: &next)
    (jacobian[0], jacobian[1]) = (1, period * gravity * cos(x[0]))
    (jacobian[2], jacobian[3]) = (period, 1)
    (jacobian[4], jacobian[5]) = (0, period)
  }

  func contractSecondDerivatives(
    _ x: Span<Double>, _ u: Span<Double>, costate: Span<Double>, workspace: inout Void,
    into hessian: inout MutableSpan<Double>
  ) {
    for i in 0..<9 { hessian[i] = 0 }
    hessian[0] = -costate[1] * period * gravity * sin(x[0])
  }
}

/// A quadratic cost in absolute coordinates as a `Cost`.
struct QuadraticTestCost: Cost {
  /// The quadratic.
  var quadratic: QuadraticCost

  init(_ quadratic: QuadraticCost) { self.quadratic = quadratic }

  private func y(_ trajectory: Trajectory, _ t: Int) -> [Double] {
    trajectory.states.column(t)
      + (t < trajectory.horizon
        ? trajectory.controls.column(t) : [Double](repeating: 0, count: quadratic.control))
  }

  func addValues(
    to values: inout [Double], along trajectory: Trajectory, in condition: Condition
  ) {
    for t in values.indices {
      let y = y(trajectory, t)
      let Cy = quadratic.hessians[t] * y
      values[t] +=
        quadratic.constants[t]
        + y.indices.reduce(0) { $0 + y[$1] * (0.5 * Cy[$1] + quadratic.gradients[$1, t]) }
    }
  }

  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    addValues(to: &expansion.values, along: trajectory, in: condition)
    for t in expansion.values.indices {
      let Cy = quadratic.hessians[t] * y(trajectory, t)
      for i in Cy.indices { expansion.gradients[i, t] += Cy[i] + quadratic.gradients[i, t] }
      for i in 0..<expansion.hessians.stride {
        expansion.hessians.storage[t * expansion.hessians.stride + i] +=
          quadratic.hessians.storage[t * expansion.hessians.stride + i]
      }
    }
  }
}
