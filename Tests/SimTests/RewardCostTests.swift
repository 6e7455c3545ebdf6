import GPSCore
import GPSTestSupport
import LinearAlgebra
import Statistics
import Testing

@testable import Sim

@Suite("A cost of which values alone are known") struct RewardCostTests {
  private let n = 3
  private let m = 2
  private let T = 20

  /// Rollouts about a curve, with rewards from a formula.
  private func rollouts(
    _ count: Int, seed: UInt64 = 1, spread: Double = 0.3, endSteps: [Int: Int] = [:],
    reward: (_ x: [Double], _ u: [Double], _ t: Int, _ noise: Double) -> Double
  ) -> [Trajectory] {
    var stream = RandomStream(seed: seed)
    return (0..<count).map { sample in
      var states = Matrix(rows: n, columns: T + 1)
      var controls = Matrix(rows: m, columns: T)
      var rewards: [Double] = []
      for t in 0...T {
        for i in 0..<n { states[i, t] = Double(t * (i + 1)) / 20 + spread * stream.normal() }
        if t == T { break }
        for i in 0..<m { controls[i, t] = spread * stream.normal() - Double(i) }
        rewards.append(reward(states.column(t), controls.column(t), t, stream.normal()))
      }
      var trajectory = Trajectory(states: states, controls: controls, observations: states)
      trajectory.rewards = rewards
      trajectory.endStep = endSteps[sample]
      return trajectory
    }
  }

  private let condition = Condition(name: "a", initialPlantState: [])
  private let cost = SumCost([SumCost.Entry(weight: 2, .reward(RewardCost()))])

  @Test("A quadratic reward is found again: value, slope and curvature, at every step")
  func quadratic() throws {
    // Half of the weight of 2.
    let weights = [3.0, 0.5, 1, 0.2, 0.4]
    let rollouts = rollouts(8) { x, u, _, _ in
      -0.5 * zip(weights, x + u).reduce(0) { $0 + 0.5 * $1.0 * ($1.1 - 1) * ($1.1 - 1) }
        - 0.25 * x[0] * u[1]
    }
    let fit = try cost.quadratic(over: rollouts, in: condition)
    #expect(try #require(fit.explainedShare) > 0.999)
    for t in 0..<T {
      for i in 0..<5 {
        let (found, expected) = (fit.hessians[t][i, i], weights[i])
        #expect(abs(found - expected) < 0.02 * max(1, expected), "\(t) \(i): \(found)")
        #expect(abs(fit.gradients[i, t] + weights[i]) < 0.1, "\(t) \(i): \(fit.gradients[i, t])")
      }
      #expect(abs(fit.hessians[t][0, 4] - 0.5) < 0.02)
    }
    // On average it costs what the rollouts cost, and so does each of them.
    for trajectory in rollouts {
      let values = cost.values(along: trajectory, in: condition)
      for (a, b) in zip(fit.values(along: trajectory), values) { #expect(abs(a - b) < 0.02) }
    }
  }

  @Test("Slopes that change from step to step are followed")
  func slopes() throws {
    let rollouts = rollouts(8) { x, u, t, _ in
      -(x[0] * (t < 10 ? 1 : -1)) - u[0] * u[0]
    }
    let fit = try cost.quadratic(over: rollouts, in: condition)
    let mean = rollouts.map { $0.states.column(3)[0] }.reduce(0, +) / 8
    // The slope at the mean of the rollouts.
    let early = fit.gradients[0, 3] + fit.hessians[3][0, 0] * mean
    #expect(early > 1 && fit.gradients[0, 17] < 0 && fit.explainedShare.map { $0 > 0.5 } == true)
  }

  @Test("The mean over the rollouts is what they cost; where they have ended nothing has a slope")
  func ends() throws {
    let rollouts = rollouts(6, endSteps: [0: 5, 1: 12, 2: 12, 3: 12, 4: 12, 5: 12]) { x, u, t, _ in
      t < 12 ? -x[0] * x[0] - u[1] * u[1] : -7
    }
    let fit = try cost.quadratic(over: rollouts, in: condition)
    for t in 0..<T {
      let mean = rollouts.map { -2 * $0.rewards[t] }.reduce(0, +) / 6
      if t < 5 {
        let all = rollouts.map { fit.values(along: $0)[t] }
        #expect(abs(all.reduce(0, +) / 6 - mean) < 1e-9)
      }
      if t >= 12 {
        #expect(fit.gradients.column(t).allSatisfy { $0 == 0 } && fit.constants[t] == mean)
      }
    }
    #expect(fit.gradients.isFinite && fit.hessians.isFinite)
  }

  @Test("Rewards that follow from nothing are told from those that do")
  func noise() throws {
    let rollouts = rollouts(6) { _, _, _, noise in noise }
    let fit = try cost.quadratic(over: rollouts, in: condition)
    #expect(try #require(fit.explainedShare) < 0.1)
    // One rollout has nothing to be judged by.
    #expect(try cost.quadratic(over: [rollouts[0]], in: condition).explainedShare == nil)
  }

  @Test("No curvature is negative, and a reward that never changes has none")
  func convex() throws {
    let curved = try cost.quadratic(
      over: rollouts(6) { x, u, _, _ in x[0] * x[0] - u[0] * u[0] }, in: condition)
    for t in 0..<T {
      let values = try curved.hessians[t].symmetrized.symmetricEigen().values
      #expect(values.allSatisfy { $0 > -1e-9 }, "\(values)")
      #expect(curved.hessians[t][3, 3] > 3)
    }
    let flat = try cost.quadratic(over: rollouts(3) { _, _, _, _ in 1.5 }, in: condition)
    #expect(flat.constants == [Double](repeating: -3, count: T) + [0])
    #expect(flat.hessians.storage.allSatisfy { $0 == 0 } && flat.explainedShare == nil)
  }

  @Test("Beside other terms and a termination the fit is added to their expansions")
  func together() throws {
    let rollouts = rollouts(6) { x, u, _, _ in -x[1] * x[1] }
    let control = CostTerm.control(ControlCost(weights: [1, 1]))
    let reward = try SumCost(.reward(RewardCost())).quadratic(over: rollouts, in: condition)
    let both = SumCost(.reward(RewardCost()), control)
    let sum =
      reward
      + (try SumCost(control).quadratic(over: rollouts, in: condition))
    let found = try both.quadratic(over: rollouts, in: condition)
    #expect(found.explainedShare == reward.explainedShare && found.explainedShare != nil)
    for (a, b) in zip(found.gradients.storage, sum.gradients.storage) { #expect(abs(a - b) < 1e-9) }
    let never = Termination(
      when: .stateAbove(entries: [0], target: .numbers([1e9]), at: .any))
    let terminated = try TerminatedCost(base: both, termination: never).quadratic(
      over: rollouts, in: condition)
    #expect(terminated == found)
  }
}
