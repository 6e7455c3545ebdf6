import Foundation
import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Dynamics

/// Coordinates of a vector that only jitter are no causes.
@Suite("Jitter") struct JitterTests {
  private static let vector = [StateVector(0..<3, rates: 3..<6)]
  private static let period = 0.1

  /// A mass that two controls push in the plane from rest near the origin, and what its third coordinate does:
  /// [x, y, z, ẋ, ẏ, ż], given the number of the rollout, its step and a normal number.
  private func rollouts(
    _ count: Int, T: Int = 30, seed: UInt64 = 3, z: (Int, Int, Double) -> (Double, Double)
  ) -> [Trajectory] {
    var stream = RandomStream(seed: seed)
    return (0..<count).map { number in
      var states = Matrix(rows: 6, columns: T + 1)
      let controls = Matrix(rows: 2, columns: T, columnMajor: stream.normals(2 * T))
      var (p, v) = (
        [0.1 * stream.normal(), 0.1 * stream.normal()],
        [0.1 * stream.normal(), 0.1 * stream.normal()]
      )
      for t in 0...T {
        let third = z(number, t, stream.normal())
        states.setColumn(t, to: p + [third.0] + v + [third.1])
        if t == T { break }
        for k in 0..<2 {
          p[k] += Self.period * v[k]
          v[k] += Self.period * (controls[k, t] - 0.5 * v[k])
        }
      }
      return Trajectory(states: states, controls: controls, observations: states)
    }
  }

  @Test("What is small and does not last jitters, and so do its rates")
  func finds() {
    let shaking = rollouts(5) { _, t, noise in (0.4 + 1e-3 * noise, 1e-2 * noise + Double(t)) }
    #expect(shaking.jitter(in: Self.vector) == [2, 5])
    #expect(shaking.jitter(in: [StateVector(0..<3)]) == [2])
    // Two rollouts tell, one does not; nor does what is no vector.
    #expect(shaking.dropLast(3).map { $0 }.jitter(in: Self.vector) == [2, 5])
    #expect(Array(shaking.prefix(1)).jitter(in: Self.vector).isEmpty)
    #expect(shaking.jitter(in: []).isEmpty)
    // As large as the others: noise, but not beside them.
    let large = rollouts(5) { _, _, noise in (0.5 * noise, noise) }
    #expect(large.jitter(in: Self.vector).isEmpty)
    // Small and lasting: a weak axis is one that can be controlled.
    let weak = rollouts(5) { number, t, _ in (1e-3 * Double(number * t), 1e-2 * Double(number)) }
    #expect(weak.jitter(in: Self.vector).isEmpty)
    // The same in all rollouts, whatever the path, and standing still are known exactly.
    let path = rollouts(5) { _, t, _ in (sin(Double(t)), cos(Double(t))) }
    let still = rollouts(5) { _, _, _ in (0.4, 0) }
    for known in [path, still] {
      #expect(Set(known.jitter(in: Self.vector)).isSubset(of: [2, 5]))
    }
    // A vector that does not move at all has no larger coordinate.
    let nothing = rollouts(5) { _, _, _ in (0, 0) }.map { $0.fixing([0, 1, 2, 3, 4, 5]) }
    #expect(nothing.jitter(in: Self.vector).isEmpty)
  }

  @Test("The others are fitted as if they were alone; what jitters is its mean, with its variance")
  func fits() throws {
    let batch = rollouts(6) { _, t, noise in (0.4 + 1e-3 * noise + 1e-3 * Double(t), 1e-2 * noise) }
    var options = LinearGaussianFitter.Options()
    options.prior = .none
    let fitter = LinearGaussianFitter(options: options)
    let (fit, prior, _) = try fitter.fit(
      batch, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1),
      vectors: Self.vector)
    #expect(prior.jitter.isEmpty)
    let kept = [0, 1, 3, 4]
    let alone = batch.map { rollout in
      var states = Matrix(rows: 4, columns: rollout.horizon + 1)
      for t in 0...rollout.horizon {
        for (k, i) in kept.enumerated() { states[k, t] = rollout.states[i, t] }
      }
      return Trajectory(states: states, controls: rollout.controls, observations: states)
    }
    let expected = try fitter.fit(
      alone, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1)
    ).dynamics
    for t in 0..<fit.horizon {
      let (F, G) = (fit.transitions[t], expected.transitions[t])
      for (a, i) in kept.enumerated() {
        for (b, j) in (kept + [6, 7]).enumerated() { #expect(abs(F[i, j] - G[a, b]) < 1e-9) }
        #expect(abs(fit.offsets[i, t] - expected.offsets[a, t]) < 1e-9)
      }
      for i in [2, 5] {
        #expect((0..<6).allSatisfy { F[$0, i] == 0 } && (0..<8).allSatisfy { F[i, $0] == 0 })
        let next = batch.map { $0.states[i, t + 1] }
        let mean = next.reduce(0, +) / 6
        let variance = next.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 6
        #expect(abs(fit.offsets[i, t] - mean) < 1e-12)
        #expect(abs(fit.covariances[t][i, i] - variance) < 1e-3 * variance)
        #expect((0..<6).allSatisfy { $0 == i || fit.covariances[t][i, $0] == 0 })
      }
    }
  }

  @Test("Rollouts that are too few for all entries are enough for those that matter")
  func fewRollouts() throws {
    // Eight rollouts for six numbers and an offset; with those that jitter there are nine unknowns.
    let batch = rollouts(8) { _, _, noise in (0.4 + 1e-3 * noise, 1e-2 * noise) }
    func error(_ vectors: [StateVector]) throws -> Double {
      var options = LinearGaussianFitter.Options()
      options.prior = .none
      let dynamics = try LinearGaussianFitter(options: options).fit(
        batch, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1),
        vectors: vectors
      ).dynamics
      // Of a rollout that was not among them.
      let other = rollouts(1, seed: 8) { _, _, noise in (0.4 + 1e-3 * noise, 1e-2 * noise) }[0]
      return (0..<other.horizon).reduce(0) { sum, t in
        let y = other.states.column(t) + other.controls.column(t)
        return sum
          + [0, 1, 3, 4].reduce(0) { sum, i in
            let expected = (0..<8).reduce(dynamics.offsets[i, t]) {
              $0 + dynamics.transitions[t][i, $1] * y[$1]
            }
            return sum + pow(expected - other.states[i, t + 1], 2)
          }
      }
    }
    // The system is linear and has no noise of its own.
    let (with, without) = (try error(Self.vector), try error([]))
    #expect(with < 0.1 * without, "\(with), \(without)")
  }

  @Test(
    "A mixture knows what jittered, and says so when it is stored; where something else does, EM begins anew"
  )
  func mixtures() throws {
    func prior(after batch: [Trajectory], _ prior: DynamicsPrior) throws -> DynamicsPrior {
      try LinearGaussianFitter().fit(
        batch, updating: prior, condition: 0, stream: RandomStream(seed: 1), vectors: Self.vector
      ).prior
    }
    let shaking = try prior(
      after: rollouts(4) { _, _, noise in (1e-3 * noise, 1e-2 * noise) }, DynamicsPrior())
    #expect(shaking.jitter == [2, 5])
    #expect(
      shaking.mixture?.whitening.isConstant.prefix(6).map { $0 } == [
        false, false, true, false, false, true,
      ])
    try checkStorable(shaking)
    let moving = try prior(
      after: rollouts(4, seed: 4) { number, t, _ in
        (0.01 * Double(number * t), 0.1 * Double(number))
      },
      shaking)
    #expect(moving.jitter.isEmpty && moving.mixture?.whitening.isConstant.contains(true) == false)
    try checkStorable(moving)
  }

  @Test("Of rollouts that ended before their time only steps to their ends count")
  func ended() throws {
    var batch = rollouts(5) { number, t, noise in
      (number == 0 && t > 10 ? 50 * noise : 1e-3 * noise, 1e-2 * noise)
    }
    #expect(batch.jitter(in: Self.vector).isEmpty)
    batch[0].endStep = 10
    #expect(batch.jitter(in: Self.vector) == [2, 5])
    let dynamics = try LinearGaussianFitter().fit(
      batch, updating: DynamicsPrior(), condition: 0, stream: RandomStream(seed: 1),
      vectors: Self.vector
    ).dynamics
    #expect((0..<30).allSatisfy { abs(dynamics.offsets[2, $0]) < 1e-2 })
  }
}
