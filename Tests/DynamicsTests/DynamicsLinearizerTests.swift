import GPSCore
import LinearAlgebra
import Testing

@testable import Dynamics

/// x' = [x₀ + 0.1 x₁², x₁ + 0.1 u − 0.2], and nothing beyond x₁ = 10.
private struct Curve: KnownDynamics {
  let state = 2
  let control = 1
  func makeWorkspace() {}
  func step(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Void,
    into next: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    if x[1] > 10 { throw PlantFailure("too fast") }
    next[0] = x[0] + 0.1 * x[1] * x[1]
    next[1] = x[1] + 0.1 * u[0] - 0.2
  }
  func linearize(
    _ x: Span<Double>, _ u: Span<Double>, workspace: inout Void,
    into next: inout MutableSpan<Double>, jacobian: inout MutableSpan<Double>
  ) throws(PlantFailure) {
    try step(x, u, workspace: &workspace, into: &next)
    for (i, entry) in [1, 0, 0.2 * x[1], 1, 0, 0.1].enumerated() { jacobian[i] = entry }
  }
}

@Suite struct DynamicsLinearizerTests {
  private func rollout(_ states: [[Double]], _ controls: [[Double]]) -> Trajectory {
    Trajectory(
      states: Matrix(states), controls: Matrix(controls),
      observations: Matrix(rows: 0, columns: states[0].count))
  }

  @Test("The linearisation is about the mean rollout, step by step")
  func aboutMean() throws {
    let batch = [
      rollout([[0, 1, 2], [1, 3, 0]], [[1, 2]]), rollout([[2, 1, 0], [3, -1, 4]], [[3, 6]]),
    ]
    var options = DynamicsLinearizer.Options()
    options.processNoise = 0.1
    let dynamics = try DynamicsLinearizer(options: options).linearize(
      Curve(), about: batch, condition: 3)
    // Means: x = (1, 2), (1, 1), u = 2, 4.
    for (t, x, u) in [(0, [1.0, 2], 2.0), (1, [1, 1], 4)] {
      #expect(
        (dynamics.transitions[t] - Matrix([[1, 0.2 * x[1], 0], [0, 1, 0.1]])).largestMagnitude
          < 1e-15)
      let predicted = dynamics.transitions[t] * (x + [u])
      #expect(
        abs(predicted[0] + dynamics.offsets[0, t] - x[0] - 0.1 * x[1] * x[1]) < 1e-14)
      #expect(abs(predicted[1] + dynamics.offsets[1, t] - x[1] - 0.1 * u + 0.2) < 1e-14)
    }
    // x₀ over all: 0 1 2 2 1 0, of variance 2/3; x₁: 1 3 0 3 −1 4, of variance 36/6 − (10/6)².
    let noise = dynamics.covariances[1]
    #expect(abs(noise[0, 0] - 0.01 * 2 / 3) < 1e-15)
    #expect(abs(noise[1, 1] - 0.01 * (6 - 100.0 / 36)) < 1e-15 && noise[0, 1] == 0)
    #expect(dynamics.initialMean == [1, 2])
    #expect(abs(dynamics.initialCovariance[0, 1] - 1) < 1e-15)
  }

  @Test("A state that never moves has noise all the same")
  func constant() throws {
    let dynamics = try DynamicsLinearizer().linearize(
      Curve(), about: [rollout([[5, 5, 5], [0, 1, 2]], [[0, 0]])], condition: nil)
    #expect(dynamics.covariances[0][0, 0] == 1e-6)
  }

  @Test("What cannot be linearised is an error with condition and step")
  func failures() throws {
    let fast = rollout([[0, 0, 0], [1, 11, 0]], [[1, 2]])
    #expect(throws: DynamicsError.linearization(condition: 2, step: 1, reason: "too fast")) {
      try DynamicsLinearizer().linearize(Curve(), about: [fast], condition: 2)
    }
    #expect(throws: DynamicsError.noTrajectories(condition: 0)) {
      try DynamicsLinearizer().linearize(Curve(), about: [], condition: 0)
    }
    let endless = rollout([[0, 0, 0], [1, -.infinity, 0]], [[1, 2]])
    #expect(throws: DynamicsError.self) {
      try DynamicsLinearizer().linearize(Curve(), about: [endless], condition: 2)
    }
  }

  @Test("A number of the rollouts that is not finite is named with sample and step")
  func notFinite() {
    var batch = [
      rollout([[0, 1, 2], [1, 3, 0]], [[1, 2]]), rollout([[2, 1, 0], [3, -1, 4]], [[3, 6]]),
    ]
    batch[1].controls[0, 1] = .infinity
    #expect(
      throws: DynamicsError.unusableValue(
        condition: 3, sample: 1, step: 1, dimension: 2, value: .infinity)
    ) { try DynamicsLinearizer().linearize(Curve(), about: batch, condition: 3) }
    batch[1].states[1, 2] = -.infinity
    #expect(
      throws: DynamicsError.unusableValue(
        condition: 3, sample: 1, step: 2, dimension: 1, value: -.infinity)
    ) { try DynamicsLinearizer().linearize(Curve(), about: batch, condition: 3) }
  }
}
