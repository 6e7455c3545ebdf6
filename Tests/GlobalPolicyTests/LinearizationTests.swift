import GPSCore
import GPSTestSupport
import GlobalPolicy
import LinearAlgebra
import Statistics
import Testing

@Suite("Linearised policies") struct LinearizationTests {
  let stream = RandomStream(seed: 61)
  let W = Matrix([[0.5, -1, 0.25], [2, 0.1, -0.7]])
  let covariance = Matrix([[0.3, 0.1], [0.1, 0.2]])

  /// An affine policy u = mean + deviation (W (o − 1) / 2 + b).
  func affine(_ W: Matrix) throws -> NeuralPolicy {
    try NeuralPolicy(
      options: network([]), layers: [(weights: W, biases: [0.3, -0.2])],
      observationMean: [1, 1, 1], observationDeviation: [2, 2, 2], controlMean: [5, -5],
      controlDeviation: [3, 0.5], covariance: covariance,
      covarianceFactor: try CholeskyFactor(covariance).lower,
      precision: try CholeskyFactor(covariance).inverse)
  }

  /// K and k of that policy, worked out by hand.
  func law(_ W: Matrix) -> (gain: Matrix, offset: [Double]) {
    let gain = Matrix(diagonal: [3, 0.5]) * W
    let half = 0.5 * gain
    let shift = half * [1.0, 1, 1]
    return (half, [5 + 3 * 0.3 - shift[0], -5 - 0.5 * 0.2 - shift[1]])
  }

  /// Rollouts whose states vary freely and are observed as they are.
  func rollouts(_ count: Int, horizon: Int = 6, seed: Int) -> [Trajectory] {
    var stream = stream.child(.custom, seed)
    return (0..<count).map { _ in
      let states = randomMatrix(3, horizon + 1, &stream)
      return Trajectory(
        states: states, controls: Matrix(rows: 2, columns: horizon), observations: states)
    }
  }

  var exact: PolicyLinearizer {
    var options = PolicyLinearizer.Options()
    options.regression.regularization = 1e-10
    return PolicyLinearizer(options: options)
  }

  func expectLaw(
    _ controller: LinearGaussianController, _ W: Matrix, within tolerance: Double,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let (gain, offset) = law(W)
    for t in 0..<controller.horizon {
      #expect(
        relativeError(controller.gains[t].storage, gain.storage) < tolerance,
        "gains at step \(t)", sourceLocation: sourceLocation)
      #expect(
        relativeError(controller.offsets.column(t), offset) < tolerance, "offsets at step \(t)",
        sourceLocation: sourceLocation)
    }
  }

  @Test("an affine network is recovered: gains and offsets")
  func affineNetwork() throws {
    let policy = try affine(W)
    let result = try exact.linearize(
      policy, about: rollouts(20, seed: 1), updating: PolicyPrior(), stream: stream)
    expectLaw(result.controller, W, within: 1e-4)
    // The ridge of the defaults costs a few parts in a thousand.
    let usual = try PolicyLinearizer().linearize(
      policy, about: rollouts(20, seed: 1), updating: PolicyPrior(), stream: stream)
    expectLaw(usual.controller, W, within: 1e-2)
    // Nothing is left over: the covariance is the policy's.
    for t in 0..<6 {
      #expect(relativeError(result.controller.covariances[t].storage, covariance.storage) < 1e-3)
    }
  }

  @Test("the history holds exactly the last trajectories, oldest first")
  func history() throws {
    var linearizer = exact
    linearizer.options.maxTrajectories = 10
    let policy = try affine(W)
    var prior = PolicyPrior()
    var all: [Trajectory] = []
    for (batch, kept) in [4, 8, 10, 10].enumerated() {
      let trajectories = rollouts(4, seed: 10 + batch)
      all += trajectories
      prior = try linearizer.linearize(
        policy, about: trajectories, updating: prior, stream: stream
      ).prior
      #expect(prior.states.count == kept)
      #expect(prior.states == all.suffix(kept).map(\.states))
      #expect(prior.observations == all.suffix(kept).map(\.observations))
      for (mine, rollout) in zip(zip(prior.states, prior.observations), all.suffix(kept)) {
        #expect(sharesStorage(mine.0, rollout.states))
        #expect(sharesStorage(mine.1, rollout.observations))
      }
    }
  }

  @Test("a batch larger than the history is still fitted whole")
  func batchLargerThanHistory() throws {
    var linearizer = exact
    linearizer.options.maxTrajectories = 3
    let result = try linearizer.linearize(
      try affine(W), about: rollouts(12, seed: 2), updating: PolicyPrior(), stream: stream)
    #expect(result.prior.states.count == 3)
    expectLaw(result.controller, W, within: 1e-3)
  }

  @Test("old observations are asked anew when the network has changed")
  func changedNetwork() throws {
    var linearizer = exact
    // One rollout says next to nothing at a step: the history decides.
    linearizer.options.regression.strength = 1000
    let old = try linearizer.linearize(
      try affine(W), about: rollouts(15, seed: 3), updating: PolicyPrior(), stream: stream)
    let changed = Matrix([[-3, 1, 2], [0.4, -2, 0]])
    let result = try linearizer.linearize(
      try affine(changed), about: rollouts(1, seed: 4), updating: old.prior, stream: stream)
    #expect(result.prior.states.count == 16)
    expectLaw(result.controller, changed, within: 1e-2)
  }

  @Test("the covariance is the policy's plus what no line explains")
  func covarianceOfCurvedNetwork() throws {
    let start = NeuralPolicy.initial(
      observation: 3, control: 2, options: network([16], .tanh), stream: stream.child(.custom, 5))
    let policy = try start.withPrecision(try CholeskyFactor(covariance).inverse)
    let result = try PolicyLinearizer().linearize(
      policy, about: rollouts(10, seed: 6), updating: PolicyPrior(), stream: stream)
    for t in 0..<6 {
      let surplus = result.controller.covariances[t] - covariance
      let determinant = surplus[0, 0] * surplus[1, 1] - surplus[0, 1] * surplus[1, 0]
      #expect(surplus[0, 0] > 1e-6 && surplus[1, 1] > 1e-6 && determinant > 0)
    }
  }

  @Test("one rollout is enough for a finite controller")
  func oneRollout() throws {
    let result = try PolicyLinearizer().linearize(
      try affine(W), about: rollouts(1, seed: 7), updating: PolicyPrior(), stream: stream)
    #expect(result.controller.gains.isFinite && result.controller.offsets.isFinite)
    #expect(result.controller.covariances.isFinite)
  }
}
