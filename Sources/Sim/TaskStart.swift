public import GPSCore
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

/// The controls that a condition's start comes with, as a MuJoCo keyframe's do; nil if it comes with none.
///
/// - Throws: what the model throws when the start is none of its own.
package func startControls(
  of task: some ControlTask, in condition: Condition
) throws -> [Double]? {
  try task.underlying(MuJoCoTask.self)?.interface.startControls(of: condition)
}
