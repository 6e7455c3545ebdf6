// Gains that hold a trajectory under noise. Those of the cost alone are optimal for small deviations; where controls
// are cheap they ask for many times what there is, the controls jump from limit to limit, and the trajectory is lost.
// An effort is therefore added to the cost, about the trajectory's own controls, so that it changes nothing but the
// gains, and rollouts of the known dynamics with noise decide how much of it.

import GPSCore
package import LinearAlgebra
import Statistics

extension ILQR {
  /// Rollouts of the known dynamics with noise.
  package struct Trials: Sendable, Equatable {
    /// J of each, ∞ where the dynamics failed.
    package var costs: [Double]
    /// How many do what is asked for; 0 where nothing says so.
    package var successes: Int

    /// Their mean.
    package var meanCost: Double { costs.reduce(0, +) / Double(costs.count) }

    package func isBetter(than other: Trials) -> Bool {
      successes == other.successes ? meanCost < other.meanCost : successes > other.successes
    }
  }
}

extension ILQR {
  /// Whether a trajectory ends at rest: in its last step each entry changes by less than a share of the most that it
  /// ever does.
  package static func comesToRest(_ states: Matrix) -> Bool {
    let T = states.columns - 1
    return (0..<states.rows).allSatisfy { i in
      let widest = (0..<T).reduce(0) { max($0, abs(states[i, $1 + 1] - states[i, $1])) }
      return abs(states[i, T] - states[i, T - 1]) <= rest * widest
    }
  }

  /// The share of a trajectory's largest change in a step that is none.
  private static var rest: Double { 0.3 }
}

/// The cost of a trajectory that comes to rest, and then rests for as long again: the steps after its end cost what its
/// last one does, and its end is the end of all.
private struct RestingCost: Cost {
  let base: any Cost
  /// T: steps before the rest.
  let horizon: Int

  var needsPointJacobians: Bool { base.needsPointJacobians }

  func addValues(to values: inout [Double], along trajectory: Trajectory, in condition: Condition) {
    for (t, value) in base.values(along: trajectory.steps(0...horizon), in: condition).enumerated()
    {
      values[t] += value
    }
  }

  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    let own = base.expansion(along: trajectory.steps(0...horizon), in: condition)
    let d = own.state + own.control
    for t in 0...expansion.horizon {
      let source = t == expansion.horizon ? horizon : min(t, horizon - 1)
      for i in 0..<d * d {
        expansion.hessians.storage[d * d * t + i] += own.hessians.storage[d * d * source + i]
      }
      for i in 0..<d { expansion.gradients[i, t] += own.gradients[i, source] }
    }
  }
}

/// The search for gains about a trajectory.
struct GainSearch<D: KnownDynamics>: Sendable {
  let ilqr: ILQR
  let dynamics: D
  let cost: any Cost
  let condition: Condition
  /// What clips controls when they are applied.
  let limits: ControlLimits?
  /// σ of the noise: m numbers.
  let noise: [Double]
  /// A rollout begins at each of them, under the condition that was drawn for it.
  let starts: [(condition: Condition, state: [Double])]
  let succeeds: (@Sendable (Trajectory) -> Bool)?

  /// What the effort of all controls at full range, all the time, comes to, as shares of the trajectory's worth.
  private static var efforts: [Double] { [0, 1e-3, 1e-2, 1e-1, 1, 10, 100] }

  /// The gains with which rollouts under noise succeed most often and, of these, cost least.
  ///
  /// - Parameters:
  ///   - states: x̄: n × (T + 1).
  ///   - controls: ū: m × T.
  ///   - worth: J of what is worse than the trajectory, less its own: the unit of efforts; 0 for no effort.
  ///   - scales: half of each control's range: m numbers.
  ///   - stream: of the noise, which is the same for all.
  /// - Returns: K, what came of it, and how many rollouts of the dynamics it took; nil if no pass succeeds.
  /// - Throws: an error of the dynamics' `makeWorkspace`, or of a pass.
  func gains(
    about states: Matrix, _ controls: Matrix, worth: Double, scales: [Double], stream: RandomStream
  ) async throws -> (gains: MatrixSequence, trials: ILQR.Trials, rollouts: Int)? {
    let efforts = Self.efforts.map { effort in
      scales.map { 2 * effort * worth / (Double(controls.columns) * $0 * $0) }
    }
    var found: [(gains: MatrixSequence, trials: ILQR.Trials)] = []
    let comesToRest = ILQR.comesToRest(states)
    // The gaps of a trajectory that is given take a rollout to find, those of a rest another.
    var rollouts = comesToRest ? 2 : 1
    for gains in try await passes(about: states, controls, resting: comesToRest, efforts) {
      guard let gains else { continue }
      rollouts += starts.count
      let law = TrajectoryLaw(controls: controls, states: states, gains: gains)
      found.append((gains, try trials(of: law, stream: stream)))
    }
    // The first of equals.
    guard let best = found.min(by: { $0.trials.isBetter(than: $1.trials) }) else { return nil }
    return (best.gains, best.trials, rollouts)
  }

  /// K for each of several efforts. About a trajectory that comes to rest they are those of one that rests for as long
  /// again: in the last steps of a finite horizon little is worth a correction, and a policy that is to go on learns to
  /// let go.
  private func passes(
    about states: Matrix, _ controls: Matrix, resting rests: Bool, _ efforts: [[Double]]
  ) async throws -> [MatrixSequence?] {
    let (n, m, T) = (states.rows, controls.rows, controls.columns)
    var (states, controls, cost) = (states, controls, cost)
    if rests {
      let (end, last) = (states.column(T), controls.column(T - 1))
      cost = RestingCost(base: cost, horizon: T)
      var (longer, all) = (Matrix(rows: n, columns: 2 * T + 1), Matrix(rows: m, columns: 2 * T))
      for t in 0...2 * T { longer.setColumn(t, to: t <= T ? states.column(t) : end) }
      for t in 0..<2 * T { all.setColumn(t, to: t < T ? controls.column(t) : last) }
      (states, controls) = (longer, all)
    }
    return try await ilqr.gains(
      dynamics, cost: cost, in: condition, states: states, controls: controls, efforts: efforts
    ).map { gains in
      gains.map {
        MatrixSequence(
          rows: m, columns: n, count: T, columnMajor: Array($0.storage.prefix(m * n * T)))
      }
    }
  }

  /// Cost and success of a law under noise.
  func trials(of law: TrajectoryLaw, stream: RandomStream) throws -> ILQR.Trials {
    var workspace = try dynamics.makeWorkspace()
    var trials = ILQR.Trials(costs: [], successes: 0)
    for (trial, start) in starts.enumerated() {
      var stream = stream.child(.custom, trial)
      let noises = stream.normals(dynamics.control * law.controls.columns)
      guard var found = rolledOut(law, from: start.state, noises, &workspace) else {
        try Task.checkCancellation()
        trials.costs.append(.infinity)
        continue
      }
      found.condition = start.condition
      let cost = cost.values(along: found, in: condition).reduce(0, +)
      trials.costs.append(cost.isFinite ? cost : .infinity)
      if cost.isFinite, succeeds?(found) == true { trials.successes += 1 }
    }
    return trials
  }

  /// A rollout with so much noise, in its deviations; nil if the dynamics fail or the task is cancelled.
  private func rolledOut(
    _ law: TrajectoryLaw, from start: [Double], _ noises: [Double], _ workspace: inout D.Workspace
  ) -> Trajectory? {
    let scaled = noises.enumerated().map { noise[$0.offset % noise.count] * $0.element }
    let found = law.rolledOut(
      on: dynamics, from: start,
      noise: Matrix(rows: noise.count, columns: law.controls.columns, columnMajor: scaled),
      within: limits, &workspace)
    guard let found else { return nil }
    do throws(PlantFailure) {
      return try Trajectory(found.states, found.controls, of: dynamics, &workspace)
    } catch {
      return nil
    }
  }
}
