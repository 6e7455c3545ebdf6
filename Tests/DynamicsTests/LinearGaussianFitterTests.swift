import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Dynamics

@Suite struct LinearGaussianFitterTests {
  /// x' = A x + B u + f + noise: with many rollouts the parts come back.
  @Test(arguments: LinearGaussianFitter.PriorKind.allCases)
  func recoversALinearSystem(_ kind: LinearGaussianFitter.PriorKind) throws {
    let system = LinearSystem(seed: 61, n: 4, m: 2)
    let rollouts = system.rollouts(400, T: 12, noise: 0.01)
    var options = LinearGaussianFitter.Options()
    options.prior = kind
    let (dynamics, _, notes) = try LinearGaussianFitter(options: options).fit(
      rollouts, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1))
    for t in 0..<12 {
      #expect((dynamics.transitions[t] - system.F).largestMagnitude < 0.03)
      let expected = 1e-4 * Matrix.identity(4)
      #expect((dynamics.covariances[t] - expected).largestMagnitude < 1e-4)
    }
    #expect(notes.isEmpty)
    // x_0 ~ N(1, I): 400 draws.
    #expect(dynamics.initialMean.allSatisfy { abs($0 - 1) < 0.25 })
    #expect((dynamics.initialCovariance - Matrix.identity(4)).largestMagnitude < 0.4)
  }

  /// x₁' = x₁ / 4 comes to rest: at step 10 it moves by 1e-6 of its range, at step 13 by 1e-8, and is still
  /// the same system. A constant beside it stays one.
  @Test(arguments: LinearGaussianFitter.PriorKind.allCases, [20, 60])
  func whatHardlyMovesKeepsItsDynamics(
    _ kind: LinearGaussianFitter.PriorKind, _ count: Int
  ) throws {
    let (T, F) = (14, Matrix([[0.9, 0.3, 0, 0.2], [0, 0.25, 0, 0], [0, 0, 1, 0]]))
    var stream = RandomStream(seed: 70)
    let rollouts = (0..<count).map { _ in
      var states = Matrix(rows: 3, columns: T + 1)
      let controls = Matrix(rows: 1, columns: T, columnMajor: stream.normals(T))
      states.setColumn(0, to: [stream.normal(), stream.normal(), -3])
      for t in 0..<T { states.setColumn(t + 1, to: F * (states.column(t) + controls.column(t))) }
      return Trajectory(states: states, controls: controls, observations: states)
    }
    var options = LinearGaussianFitter.Options()
    options.prior = kind
    let dynamics = try LinearGaussianFitter(options: options).fit(
      rollouts, updating: DynamicsPrior(), condition: nil, stream: RandomStream(seed: 2)
    ).dynamics
    expectSound(dynamics)
    for t in 0..<T {
      let found = dynamics.transitions[t]
      // Row by row: the rest of x₀' is 1e8 times what x₁ has a part in.
      // 1 % of the floor's share is kept.
      #expect(abs(found[1, 1] - 0.25) < 4e-3, "\(kind), step \(t): \(found[1, 1])")
      #expect(abs(found[0, 0] - 0.9) < 0.01 && abs(found[0, 3] - 0.2) < 0.01, "step \(t)")
      #expect(found[0, 2] == 0 && found[1, 2] == 0 && found[2, 2] == 1)
    }
  }

  /// x' = F [x; u] + f up to a rollout's end, and another system after it: where any rollout goes on the first
  /// one comes back, and beyond that the state stays what it is.
  @Test(arguments: LinearGaussianFitter.PriorKind.allCases)
  func whatFollowsAnEndIsNoData(_ kind: LinearGaussianFitter.PriorKind) throws {
    let (T, system, fallen) = (
      12, LinearSystem(seed: 61, n: 4, m: 2), LinearSystem(seed: 90, n: 4, m: 2)
    )
    var rollouts = system.rollouts(60, T: T, noise: 0.01)
    for i in rollouts.indices {
      let end = [4, 7, 10][i % 3]
      rollouts[i].endStep = end
      for t in end..<T {
        let next =
          fallen.F * (rollouts[i].states.column(t) + rollouts[i].controls.column(t))
        rollouts[i].states.setColumn(t + 1, to: next)
      }
    }
    var options = LinearGaussianFitter.Options()
    options.prior = kind
    let (dynamics, prior, _) = try LinearGaussianFitter(options: options).fit(
      rollouts, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1))
    for t in 0..<10 {
      #expect((dynamics.transitions[t] - system.F).largestMagnitude < 0.1, "\(t)")
      #expect((dynamics.covariances[t] - 1e-4 * .identity(4)).largestMagnitude < 2e-4, "\(t)")
    }
    for t in 10..<T {
      for i in 0..<4 {
        for j in 0..<6 { #expect(dynamics.transitions[t][i, j] == (i == j ? 1 : 0)) }
      }
      #expect(dynamics.offsets.column(t) == [0, 0, 0, 0])
    }
    expectSound(dynamics)
    #expect(
      prior.states.map(\.columns)
        == (kind == .none ? [] : rollouts.suffix(20).map { ($0.endStep ?? T) + 1 }))

    // Whatever follows an end, the model is the same.
    var others = rollouts
    for i in others.indices {
      for t in (others[i].endStep ?? T)..<T {
        others[i].states.setColumn(t + 1, to: [1e6, 0, -3, 2])
      }
    }
    let again = try LinearGaussianFitter(options: options).fit(
      others, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1)
    ).dynamics
    #expect(again.transitions == dynamics.transitions && again.covariances == dynamics.covariances)

    // A search that saw all of them end at once has nothing to go by, and says so.
    for i in rollouts.indices { rollouts[i].endStep = 0 }
    #expect(throws: DynamicsError.noTrajectories(condition: 3)) {
      try LinearGaussianFitter(options: options).fit(
        rollouts, updating: DynamicsPrior(), condition: 3, stream: RandomStream(seed: 1))
    }
  }

  /// Five rollouts for eleven numbers a point: the prior makes up for what they do not say.
  @Test func thePriorPredictsBetterThanRidgeOnNewRollouts() throws {
    let system = LinearSystem(seed: 62, n: 7, m: 4)
    let seen = system.rollouts(5, T: 40, noise: 0.01)
    let new = system.rollouts(20, T: 40, noise: 0, first: 5)
    func error(_ kind: LinearGaussianFitter.PriorKind) throws -> Double {
      var options = LinearGaussianFitter.Options()
      options.prior = kind
      let dynamics = try LinearGaussianFitter(options: options).fit(
        seen, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1)
      ).dynamics
      return meanSquaredError(dynamics, new)
    }
    let (withPrior, ridge) = (try error(.mixture), try error(.none))
    #expect(withPrior < 0.2 * ridge, "\(withPrior) against \(ridge)")
  }

  /// Few rollouts need the mixture; many in a narrow tube of a system that changes along it know better.
  @Test func thePriorCountsForAsMuchAsHeldOutRolloutsSay() throws {
    func strength(_ rollouts: [Trajectory]) throws -> Double? {
      var options = LinearGaussianFitter.Options()
      options.prior = .automatic
      return try LinearGaussianFitter(options: options).fit(
        rollouts, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1)
      ).prior.strength
    }
    let system = LinearSystem(seed: 62, n: 7, m: 4)
    #expect(try strength(system.rollouts(5, T: 40, noise: 0.01)) == 1)
    // x' = x + 0.1 cos(4 x) u along x = 0 … 2: the effect of u changes sign, and the mixture knows its mean.
    var stream = RandomStream(seed: 9)
    let tube = (0..<12).map { _ in
      let T = 40
      var states = Matrix(rows: 1, columns: T + 1)
      var controls = Matrix(rows: 1, columns: T)
      for t in 0..<T {
        controls[0, t] = 0.5 / (0.2 + abs(cos(4 * states[0, t]))) + 0.02 * stream.normal()
        states[0, t + 1] = states[0, t] + 0.05 + 0.1 * cos(4 * states[0, t]) * controls[0, t]
      }
      return Trajectory(states: states, controls: controls, observations: states)
    }
    #expect(try #require(try strength(tube)) < 1)
    #expect(try strength(Array(tube[..<2])) == 1)
  }

  @Test func theHistoryHoldsExactlyTheLastTrajectories() throws {
    let system = LinearSystem(seed: 63, n: 2, m: 1)
    var options = LinearGaussianFitter.Options()
    options.maxTrajectories = 7
    let fitter = LinearGaussianFitter(options: options)
    let all = system.rollouts(12, T: 6, noise: 0.1)
    var prior = DynamicsPrior()
    for (batch, expected) in [(0..<4, 4), (4..<7, 7), (7..<8, 7), (8..<12, 7)] {
      prior = try fitter.fit(
        Array(all[batch]), updating: prior, condition: nil, stream: RandomStream(seed: 1)
      ).prior
      #expect(prior.states.count == expected)
      // The newest is the last rollout of the batch, and the oldest the seventh before it.
      let last = batch.upperBound
      let kept = all[max(0, last - 7)..<last]
      #expect(prior.states == kept.map(\.states) && prior.controls == kept.map(\.controls))
      // Kept without copies: the history costs nothing while the rollouts live.
      for (mine, rollout) in zip(zip(prior.states, prior.controls), kept) {
        #expect(sharesStorage(mine.0, rollout.states) && sharesStorage(mine.1, rollout.controls))
      }
      // Its points are x_t, u_t and x_{t+1} of every step, trajectory by trajectory.
      for (r, rollout) in kept.enumerated() {
        for t in 0..<6 {
          #expect(
            prior.points.column(6 * r + t)
              == rollout.states.column(t) + rollout.controls.column(t)
              + rollout.states.column(t + 1))
        }
      }
    }
    // A batch larger than the window keeps its own last ones.
    let large = try fitter.fit(
      all, updating: DynamicsPrior(), condition: nil, stream: RandomStream(seed: 1)
    ).prior
    #expect(large.states == all.suffix(7).map(\.states))
  }

  /// States that never move: a fixed target, a locked joint, a number that is always zero.
  @Test(arguments: LinearGaussianFitter.PriorKind.allCases, [1, 2, 5])
  func constantStatesStayWhatTheyWere(_ kind: LinearGaussianFitter.PriorKind, _ N: Int) throws {
    let system = LinearSystem(seed: 64, n: 3, m: 2)
    let constants = [0.0, 0.731, -4e8]
    let rollouts = system.rollouts(N, T: 15, noise: 0.01).map { rollout in
      var states = Matrix(rows: 6, columns: 16)
      for t in 0...15 { states.setColumn(t, to: rollout.states.column(t) + constants) }
      return Trajectory(states: states, controls: rollout.controls, observations: states)
    }
    var options = LinearGaussianFitter.Options()
    options.prior = kind
    let dynamics = try LinearGaussianFitter(options: options).fit(
      rollouts, updating: DynamicsPrior(), condition: 3, stream: RandomStream(seed: 1)
    ).dynamics
    expectSound(dynamics)
    for t in 0..<15 {
      for i in 3..<6 {
        for j in 0..<8 { #expect(dynamics.transitions[t][i, j] == (i == j ? 1 : 0)) }
        #expect(dynamics.offsets[i, t] == 0)
      }
      // What moves does not lean on what does not.
      for i in 0..<3 { for j in 3..<6 { #expect(dynamics.transitions[t][i, j] == 0) } }
    }
    #expect(predictionError(dynamics, at: 3..<6, rollouts) == 0)
  }

  /// Initial states without noise: the covariance at t = 0 is exactly zero, in the initial state and in
  /// the inputs of the first step.
  @Test(arguments: LinearGaussianFitter.PriorKind.allCases)
  func initialStatesWithoutNoise(_ kind: LinearGaussianFitter.PriorKind) throws {
    let system = LinearSystem(seed: 65, n: 4, m: 2)
    let rollouts = system.rollouts(5, T: 20, noise: 0.01, startNoise: 0)
    var options = LinearGaussianFitter.Options()
    options.prior = kind
    let dynamics = try LinearGaussianFitter(options: options).fit(
      rollouts, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1)
    ).dynamics
    expectSound(dynamics)
    #expect(dynamics.initialCovariance.largestMagnitude == 0)
    #expect(dynamics.initialMean == rollouts[0].states.column(0))
  }

  @Test(arguments: LinearGaussianFitter.PriorKind.allCases)
  func oneRolloutAndDuplicates(_ kind: LinearGaussianFitter.PriorKind) throws {
    let system = LinearSystem(seed: 66, n: 5, m: 2)
    let one = system.rollouts(1, T: 30, noise: 0.01)
    var options = LinearGaussianFitter.Options()
    options.prior = kind
    for rollouts in [one, one + one + one] {
      let dynamics = try LinearGaussianFitter(options: options).fit(
        rollouts, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1)
      ).dynamics
      expectSound(dynamics)
      #expect(predictionError(dynamics, at: 0..<5, rollouts) < 1e-9)
    }
  }

  @Test func aFitGoesOnFromTheLastMixtureAndDependsOnTheSeedAlone() throws {
    let system = LinearSystem(seed: 67, n: 4, m: 2)
    let fitter = LinearGaussianFitter()
    let stream = RandomStream(seed: 1)
    func run() throws -> (LinearGaussianDynamics, DynamicsPrior) {
      var prior = DynamicsPrior()
      var dynamics: LinearGaussianDynamics?
      for iteration in 0..<3 {
        let result = try fitter.fit(
          system.rollouts(5, T: 30, noise: 0.02, first: 5 * iteration), updating: prior,
          condition: 0, stream: stream.child(.mixture, iteration))
        prior = result.prior
        dynamics = result.dynamics
      }
      return (try #require(dynamics), prior)
    }
    let (one, two) = (try run(), try run())
    #expect(one == two)
    // 150 points make 3 clusters, 450 make 11: the mixture has grown with the history.
    #expect(one.1.mixture?.mixture.clusters == 11)
  }

  @Test func failuresSayWhere() {
    let system = LinearSystem(seed: 68, n: 2, m: 1)
    let fitter = LinearGaussianFitter()
    #expect(throws: DynamicsError.noTrajectories(condition: 2)) {
      try fitter.fit(
        [], updating: DynamicsPrior(), condition: 2, stream: RandomStream(seed: 1))
    }
    var rollouts = system.rollouts(3, T: 5, noise: 0.1)
    rollouts[1].controls[0, 4] = 1e300
    #expect(
      throws: DynamicsError.unusableValue(
        condition: 2, sample: 1, step: 4, dimension: 2, value: 1e300)
    ) {
      try fitter.fit(
        rollouts, updating: DynamicsPrior(), condition: 2, stream: RandomStream(seed: 1))
    }
  }

  @Test func optionsNameWhatIsWrong() {
    var options = LinearGaussianFitter.Options()
    #expect(throws: Never.self) { try options.validated() }
    options.mixture.tolerance = 2
    #expect(
      throws: InvalidOption(key: "mixture.tolerance", value: "2.0", allowed: "in [0, 1)")
    ) { try options.validated() }
    options = .init()
    options.regression.strength = -1
    #expect(throws: InvalidOption.self) { try options.validated() }
    options = .init()
    options.maxTrajectories = 0
    #expect(
      throws: InvalidOption(key: "maxTrajectories", value: "0", allowed: "at least 1")
    ) { try options.validated() }
  }

  private func meanSquaredError(
    _ dynamics: LinearGaussianDynamics, _ rollouts: [Trajectory]
  ) -> Double {
    var sum = 0.0
    for rollout in rollouts {
      for t in 0..<dynamics.horizon {
        let y = rollout.states.column(t) + rollout.controls.column(t)
        let predicted = dynamics.transitions[t] * y
        for i in 0..<dynamics.state {
          let error = predicted[i] + dynamics.offsets[i, t] - rollout.states[i, t + 1]
          sum += error * error
        }
      }
    }
    return sum / Double(rollouts.count * dynamics.horizon * dynamics.state)
  }

  private func predictionError(
    _ dynamics: LinearGaussianDynamics, at rows: Range<Int>, _ rollouts: [Trajectory]
  ) -> Double {
    var largest = 0.0
    for rollout in rollouts {
      for t in 0..<dynamics.horizon {
        let predicted =
          dynamics.transitions[t] * (rollout.states.column(t) + rollout.controls.column(t))
        for i in rows {
          largest = max(
            largest, abs(predicted[i] + dynamics.offsets[i, t] - rollout.states[i, t + 1]))
        }
      }
    }
    return largest
  }

  private func expectSound(
    _ dynamics: LinearGaussianDynamics, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(
      dynamics.transitions.isFinite && dynamics.offsets.isFinite && dynamics.covariances.isFinite
        && dynamics.initialCovariance.isFinite, sourceLocation: sourceLocation)
    for t in 0..<dynamics.horizon {
      let C = dynamics.covariances[t]
      let s = C.diagonal.map { $0.squareRoot() }
      var correlation = C
      for j in s.indices { for i in s.indices { correlation[i, j] /= s[i] * s[j] } }
      let smallest = (try? correlation.symmetricEigen().values[0]) ?? -1
      #expect(C == C.transposed && smallest > -1e-10, sourceLocation: sourceLocation)
    }
  }
}

/// x' = F [x; u] + f + noise, with a stable random F.
struct LinearSystem {
  let n: Int
  let m: Int
  let F: Matrix
  let f: [Double]
  private let stream: RandomStream

  init(seed: UInt64, n: Int, m: Int) {
    (self.n, self.m) = (n, m)
    var stream = RandomStream(seed: seed)
    var F =
      (0.3 / Double(n).squareRoot())
      * Matrix(rows: n, columns: n + m, columnMajor: stream.normals(n * (n + m)))
    for i in 0..<n { F[i, i] += 0.6 }
    self.F = F
    f = stream.normals(n)
    self.stream = stream
  }

  /// Rollouts `first` … `first + count − 1` of an endless list.
  func rollouts(
    _ count: Int, T: Int, noise: Double, startNoise: Double = 1, first: Int = 0
  ) -> [Trajectory] {
    (first..<first + count).map { sample in
      var stream = stream.child(.custom, sample)
      var states = Matrix(rows: n, columns: T + 1)
      let controls = Matrix(rows: m, columns: T, columnMajor: stream.normals(m * T))
      states.setColumn(0, to: (0..<n).map { _ in 1 + startNoise * stream.normal() })
      for t in 0..<T {
        let next = F * (states.column(t) + controls.column(t))
        states.setColumn(t + 1, to: (0..<n).map { next[$0] + f[$0] + noise * stream.normal() })
      }
      return Trajectory(states: states, controls: controls, observations: states)
    }
  }
}
