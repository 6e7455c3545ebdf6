public import GPSCore
import LinearAlgebra
package import Statistics

/// x_0: the state of a task at the beginning of `condition`, without noise.
///
/// - Throws: what making and resetting a plant throws.
public func initialState<T: ControlTask>(
  of task: T, in condition: Condition
) throws -> [Double] {
  var plant = try task.makePlant()
  return try state(of: task, in: condition, at: condition.initialPlantState, &plant)
}

/// The state of a task where a plant is put.
private func state<T: ControlTask>(
  of task: T, in condition: Condition, at start: [Double], _ plant: inout T.System
) throws -> [Double] {
  try plant.reset(to: condition, plantState: start.span)
  var state = [Double](repeating: 0, count: task.dimensions.state)
  var target = state.mutableSpan
  plant.readState(into: &target)
  return state
}

/// States that rollouts may start from under a condition, noise and what is drawn anew included, each with the condition
/// that was drawn.
///
/// - Parameters:
///   - task: a plant of it is made.
///   - condition: where rollouts start.
///   - streams: one for each start.
/// - Returns: a start for each stream, and the condition that was drawn for it.
/// - Throws: what making and resetting a plant throws.
package func initialStates<T: ControlTask>(
  of task: T, in condition: Condition, streams: [RandomStream]
) throws -> [(condition: Condition, state: [Double])] {
  var plant = try task.makePlant()
  return try streams.map { stream in
    var stream = stream
    let drawn = condition.drawn(from: &stream)
    let start = task.initialPlantState(of: drawn, stream: &stream)
    return (drawn, try state(of: task, in: drawn, at: start, &plant))
  }
}

/// Rollouts of a controller that go on after its horizon, with what it does in its last step, for as long again.
///
/// - Parameters:
///   - task: a plant of it is made.
///   - condition: where rollouts start.
///   - controller: of the task's horizon T.
///   - streams: one for each rollout: its start and its noise.
/// - Returns: for each stream the condition that was drawn and the trajectory from step T on, of T steps; nil where the
///   rollout failed.
/// - Throws: what making a plant throws, or `CancellationError`.
package func holdingRollouts<T: ControlTask>(
  of task: T, in condition: Condition, under controller: LinearGaussianController,
  streams: [RandomStream]
) throws -> [(condition: Condition, trajectory: Trajectory)?] {
  var plant = try task.makePlant()
  var dimensions = task.dimensions
  let T = dimensions.horizon
  let longer = try controller.goingOn(for: T)
  dimensions.horizon = 2 * T
  return try streams.map { stream in
    var stream = stream
    let drawn = condition.drawn(from: &stream)
    let start = task.initialPlantState(of: drawn, stream: &stream)
    let noise = stream.normals(dimensions.control * dimensions.horizon)
    var workspace = longer.makeWorkspace()
    do throws(RolloutFailure) {
      let whole = try rollout(
        &plant, under: longer, workspace: &workspace, dimensions: dimensions, condition: drawn,
        plantState: start, noise: noise, limits: task.controlLimits)
      return (drawn, whole.steps(T...2 * T))
    } catch {
      // What was given up has not failed.
      try Task.checkCancellation()
      plant = try task.makePlant()
      return nil
    }
  }
}

extension LinearGaussianController {
  /// The same, followed by what it does in its last step.
  fileprivate func goingOn(for steps: Int) throws -> LinearGaussianController {
    let T = horizon
    func extended(_ sequence: MatrixSequence) -> MatrixSequence {
      let size = sequence.rows * sequence.columns
      let last = sequence.storage.suffix(size)
      return MatrixSequence(
        rows: sequence.rows, columns: sequence.columns, count: T + steps,
        columnMajor: sequence.storage + (0..<steps).flatMap { _ in last })
    }
    var all = Matrix(rows: control, columns: T + steps)
    for t in 0..<T + steps { all.setColumn(t, to: offsets.column(min(t, T - 1))) }
    return try LinearGaussianController(
      gains: extended(gains), offsets: all, covariances: extended(covariances))
  }
}

/// The controls that a condition's start comes with, as a MuJoCo keyframe's do; nil if it comes with none.
///
/// - Throws: what the model throws when the start is none of its own.
package func startControls(
  of task: some ControlTask, in condition: Condition
) throws -> [Double]? {
  try task.underlying(MuJoCoTask.self)?.interface.startControls(of: condition)
}
