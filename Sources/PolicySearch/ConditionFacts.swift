import Dynamics
import Foundation
import GPSCore
import GlobalPolicy
import LQR
import LinearAlgebra
import SearchParts

/// What an iteration measured of one condition beside costs and steps: the evidence that a diagnosis rests on.
struct ConditionFacts: Sendable, Equatable {
  /// The share of the rollouts' controls that are at one of their limits, from 0 to 1; nil without limits.
  var saturatedShare: Double?
  /// The same for each control; nil for one that is fixed.
  var saturatedShares: [Double?] = []
  /// How far the mean controls of who rolled out lie from the middle of what a control can do, at the worst
  /// step of the worst control, in halves of its range: 1 is a limit. Nil where no control has two limits.
  var largestCommand: Double?
  /// That control.
  var largestCommandOf: Int?
  /// The deviation of the new controller's noise as a share of the initial one's: geometric mean over time
  /// steps and directions.
  var exploration: Double?
  /// The same as a share of half of what the controls can range over; nil where one has no two limits.
  var explorationOfRange: Double?
  /// The share of the variance of the rollouts' costs that lies between two groups of them, each of two or more,
  /// for the two groups that have most of it; nil for fewer than four rollouts.
  var splitShare: Double?
  /// By what factor per step a small deviation grows, where no controller was found within the bound: under the
  /// fitted dynamics and the reference of the bound. Nil otherwise.
  var growth: Double?
  /// Trajectories that were drawn from the model; 0 without a model.
  var drawn = 0
  /// Whether rollouts with goals of their own begin in the same state, which then holds nothing of the goal; nil where
  /// all have the same goal.
  var hidesGoals: Bool?
}

extension ConditionFacts {
  /// The names of what conditions report.
  static let columns = [
    "saturated_share", "largest_command", "exploration", "exploration_of_range", "split_share",
  ]

  /// What conditions report.
  var metrics: [Metric] {
    zip(
      Self.columns, [saturatedShare, largestCommand, exploration, explorationOfRange, splitShare]
    )
    .map { Metric($0, $1) }
  }

  /// What the rollouts show by themselves, and the mean controls of who took them.
  mutating func observe(_ batch: RolloutBatch, commands: [Matrix], limits: ControlLimits?) {
    let goals = Set(batch.trajectories.compactMap(\.condition?.goal))
    if goals.count > 1 {
      let starts = batch.trajectories.map { $0.states.storage.prefix($0.states.rows) }
      hidesGoals = Set(starts).count == 1
    }
    guard let limits else { return }
    let steps = Double(max(1, batch.steps))
    saturatedShare = batch.saturatedShare(limits)
    saturatedShares = batch.saturatedSteps(limits).map { $0.map { Double($0) / steps } }
    for i in limits.lower.indices {
      guard let half = limits.halfRange(of: i) else { continue }
      let middle = (limits.lower[i] + limits.upper[i]) / 2
      for (means, trajectory) in zip(commands, batch.trajectories) {
        for t in 0..<min(means.columns, trajectory.stepsToEnd) {
          let distance = abs(means[i, t] - middle) / half
          if distance > largestCommand ?? -1 { (largestCommand, largestCommandOf) = (distance, i) }
        }
      }
    }
  }

  /// How loud a controller still is.
  mutating func compare(
    _ controller: LinearGaussianController, with initial: LinearGaussianController,
    limits: ControlLimits?
  ) {
    // log √(det C / det C⁰) is the difference of the factors' diagonals.
    let own = controller.meanLogFactor
    exploration = exp(own - initial.meanLogFactor)
    guard let limits else { return }
    let halves = limits.lower.indices.compactMap { limits.halfRange(of: $0) }
    if halves.count == controller.control, !halves.isEmpty {
      explorationOfRange = exp(own - halves.reduce(0) { $0 + log($1) } / Double(halves.count))
    }
  }
}

extension LinearGaussianController {
  /// The mean over time steps and directions of the logarithm of the deviation.
  fileprivate var meanLogFactor: Double {
    var sum = 0.0
    for t in 0..<horizon {
      for i in 0..<control {
        sum += log(covarianceFactors.storage[t * control * control + i * (control + 1)])
      }
    }
    return sum / Double(max(1, horizon * control))
  }

  /// By what factor per step a small deviation of the state grows under this feedback: ‖Π_t (A_t + B_t K_t)‖^(1/T),
  /// the norm being that of Frobenius over √n.
  func growth(under dynamics: LinearGaussianDynamics) -> Double {
    let (n, m, T) = (state, control, min(horizon, dynamics.horizon))
    let size = Double(max(1, n)).squareRoot()
    var (product, logNorm) = (Matrix.identity(n), 0.0)
    for t in 0..<T {
      let (F, K) = (dynamics.transitions[t], gains[t])
      var loop = Matrix(rows: n, columns: n)
      for j in 0..<n {
        for i in 0..<n {
          loop[i, j] = F[i, j]
          for k in 0..<m { loop[i, j] += F[i, n + k] * K[k, j] }
        }
      }
      product = loop * product
      let norm = product.storage.reduce(0) { $0 + $1 * $1 }.squareRoot() / size
      guard norm > 0, norm.isFinite else { return norm }
      logNorm += log(norm)
      product = (1 / norm) * product
    }
    return exp(logNorm / Double(max(1, T)))
  }
}

/// The share of the variance of some costs that lies between two groups, for the two groups of at least
/// `smallest` that have most of it.
///
/// - Returns: a share from 0 to 1, and how many belong to the cheaper group; nil for too few costs, or costs that
///   are all the same.
func split(of costs: [Double], smallest: Int = 2) -> (share: Double, cheaper: Int)? {
  let sorted = costs.sorted()
  guard sorted.count >= 2 * smallest else { return nil }
  func squares(_ part: ArraySlice<Double>) -> Double {
    let mean = part.reduce(0, +) / Double(part.count)
    return part.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
  }
  let total = squares(sorted[...])
  guard total > 0, total.isFinite else { return nil }
  let best = (smallest...sorted.count - smallest).min {
    squares(sorted[..<$0]) + squares(sorted[$0...]) < squares(sorted[..<$1])
      + squares(sorted[$1...])
  }
  guard let best else { return nil }
  let within = squares(sorted[..<best]) + squares(sorted[best...])
  return (max(0, 1 - within / total), best)
}

extension LocalStep {
  /// Takes the facts of the rollouts, once they are in and judged.
  ///
  /// - Parameters:
  ///   - policy: who took them; nil for the controller in force.
  ///   - limits: of the controls.
  mutating func observe(under policy: (some DistillablePolicy)?, limits: ControlLimits?) {
    let commands =
      limits == nil
      ? []
      : samples.map { trajectory in
        policy?.mean(for: trajectory.observations)
          ?? DistillationSet.Part(along: trajectory, under: previous).targets
      }
    facts.observe(batch, commands: commands, limits: limits)
    facts.splitShare = split(of: report.costs)?.share
  }

  /// Where a stage's numbers failed: whether it was for want of a controller within the bound.
  mutating func observe(_ failure: some Error) {
    switch failure as? LQRError {
    case .boundNotReached, .marginalsNotFinite:
      let dynamics =
        (evidence as? KLStep.Evidence ?? (evidence as? PILQRStep.Evidence)?.model)?.dynamics
      facts.growth = dynamics.map {
        (ground?.anchor.reference ?? previous).growth(under: $0)
      }
    default: break
    }
  }
}
