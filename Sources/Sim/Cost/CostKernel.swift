package import Configuration
package import GPSCore
import LinearAlgebra

/// What every term of a cost implements: `Cost` on raw buffers and times a factor, so that a sum
/// neither copies nor allocates per time step. It becomes a kind of term by a line in
/// `SumCost.Entry.kinds`.
package protocol CostKernel: Configurable, Equatable {
  /// Whether the weight of the term may be negative, which makes a price a reward; false unless a term
  /// says otherwise.
  static var canReward: Bool { get }

  /// The factor over time.
  var ramp: Ramp { get }

  /// Whether expansions read the points' Jacobians; true unless a term says otherwise.
  var readsPoints: Bool { get }

  /// Adds `scale` × ℓ_t to T + 1 values.
  func addValues(
    to values: UnsafeMutableBufferPointer<Double>, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition)

  /// Adds `scale` × value, gradient and Hessian at every step.
  func addExpansion(
    to expansion: ExpansionView, scale: Double, along trajectory: TrajectoryView,
    in condition: Condition)

  /// The term with numbers for names and one number for each entry; refuses what does not fit. `key`
  /// names the term in errors.
  func resolved(in scope: Scope, key: String) throws(SimError) -> Self
}

/// The buffers of one trajectory.
package struct TrajectoryView {
  /// x_t: entry i at `i + n * t`.
  var states: UnsafeBufferPointer<Double>
  /// u_t: entry i at `i + m * t`.
  var controls: UnsafeBufferPointer<Double>
  /// Coordinate r of the points at `r + pointRows * t`.
  var points: UnsafeBufferPointer<Double>
  /// Derivative of coordinate r by state entry j at `r + pointRows * (j + n * t)`.
  var jacobians: UnsafeBufferPointer<Double>
  /// What the system paid for each control; empty if it pays nothing.
  var rewards: UnsafeBufferPointer<Double>
  /// n.
  var n: Int
  /// m.
  var m: Int
  /// 3 P.
  var pointRows: Int
  /// T.
  var horizon: Int
}

/// The buffers of one expansion; d = n + m.
package struct ExpansionView {
  /// T + 1 numbers.
  var values: UnsafeMutableBufferPointer<Double>
  /// Entry i at `i + d * t`.
  var gradients: UnsafeMutableBufferPointer<Double>
  /// Entry (i, j) at `i + d * (j + d * t)`.
  var hessians: UnsafeMutableBufferPointer<Double>
  /// n + m.
  var d: Int
}

extension CostKernel {
  package static var canReward: Bool { false }
  package var readsPoints: Bool { true }
}

func withViews(
  of values: inout [Double], _ trajectory: Trajectory,
  _ body: (UnsafeMutableBufferPointer<Double>, TrajectoryView) -> Void
) {
  precondition(
    values.count == trajectory.horizon + 1,
    "\(values.count) values for \(trajectory.horizon + 1) steps")
  values.withUnsafeMutableBufferPointer { values in
    withView(of: trajectory) { body(values, $0) }
  }
}

func withViews(
  of expansion: inout CostExpansion, _ trajectory: Trajectory,
  _ body: (ExpansionView, TrajectoryView) -> Void
) {
  let d = expansion.state + expansion.control
  precondition(
    expansion.horizon == trajectory.horizon && expansion.state == trajectory.states.rows
      && expansion.control == trajectory.controls.rows,
    "an expansion of \(expansion.state) + \(expansion.control) numbers over "
      + "\(expansion.horizon) steps about a trajectory of \(trajectory.states.rows) + "
      + "\(trajectory.controls.rows) over \(trajectory.horizon)")
  expansion.values.withUnsafeMutableBufferPointer { values in
    expansion.gradients.storage.withUnsafeMutableBufferPointer { gradients in
      expansion.hessians.storage.withUnsafeMutableBufferPointer { hessians in
        let target = ExpansionView(values: values, gradients: gradients, hessians: hessians, d: d)
        withView(of: trajectory) { body(target, $0) }
      }
    }
  }
}

private func withView(of trajectory: Trajectory, _ body: (TrajectoryView) -> Void) {
  trajectory.states.storage.withUnsafeBufferPointer { states in
    trajectory.controls.storage.withUnsafeBufferPointer { controls in
      trajectory.points.storage.withUnsafeBufferPointer { points in
        trajectory.pointJacobians.storage.withUnsafeBufferPointer { jacobians in
          trajectory.rewards.withUnsafeBufferPointer { rewards in
            body(
              TrajectoryView(
                states: states, controls: controls, points: points, jacobians: jacobians,
                rewards: rewards, n: trajectory.states.rows, m: trajectory.controls.rows,
                pointRows: trajectory.points.rows, horizon: trajectory.horizon))
          }
        }
      }
    }
  }
}
