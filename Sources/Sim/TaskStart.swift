public import GPSCore

/// x_0: the state of a task at the beginning of `condition`, without noise.
///
/// - Throws: what making and resetting a plant throws.
public func initialState<T: ControlTask>(
  of task: T, in condition: Condition
) throws -> [Double] {
  var plant = try task.makePlant()
  try plant.reset(to: condition, plantState: condition.initialPlantState.span)
  var state = [Double](repeating: 0, count: task.dimensions.state)
  var target = state.mutableSpan
  plant.readState(into: &target)
  return state
}

/// The controls that a condition's start comes with, as a MuJoCo keyframe's do; nil if it comes with none.
///
/// - Throws: what the model throws when the start is none of its own.
package func startControls(
  of task: some ControlTask, in condition: Condition
) throws -> [Double]? {
  try task.underlying(MuJoCoTask.self)?.interface.startControls(of: condition)
}
