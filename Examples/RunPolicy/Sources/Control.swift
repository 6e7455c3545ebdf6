import Foundation
import GuidedPolicySearch

/// Runs a policy in real time: at every tick it acts on the newest observation, and whenever a control
/// period of the task has passed, the simulated plant advances by one under the newest action.
///
/// - Parameters:
///   - task: gives the plant, at the start of its first condition.
///   - policy: acts, without noise.
///   - rate: ticks per second.
///   - seconds: how long.
/// - Returns: how long the actions took, and what became of the plant.
/// - Throws: what the plant throws.
func control<Task: ControlTask>(
  _ task: Task, by policy: some Policy, rate: Int, seconds: Double
) throws -> Timing {
  let (clock, period) = (ContinuousClock(), Duration.seconds(1) / rate)
  let ticksPerStep = max(1, Int((task.controlPeriod * Double(rate)).rounded()))
  let dimensions = task.dimensions
  let condition = task.conditions[0]
  var plant = try task.makePlant()
  try plant.reset(to: condition, plantState: condition.initialPlantState.span)

  // All that an action needs is made before the loop.
  var workspace = policy.makeWorkspace()
  policy.beginRollout(workspace: &workspace)
  var state = [Double](repeating: 0, count: dimensions.state)
  var observation = [Double](repeating: 0, count: dimensions.observation)
  var action = [Double](repeating: 0, count: dimensions.control)
  let noise = action
  var timing = Timing(period: period, ticks: Int(Double(rate) * seconds))

  func act(_ step: Int) {
    var target = action.mutableSpan
    policy.act(
      step: step, state: state.span, observation: observation.span, noise: noise.span,
      workspace: &workspace, action: &target)
  }
  func observe() {
    var x = state.mutableSpan
    plant.readState(into: &x)
    var o = observation.mutableSpan
    plant.readObservation(into: &o)
  }

  observe()
  act(0)  // The first action warms up caches and is not timed, as before a robot is switched on.
  let start = clock.now
  for tick in 0..<timing.ticks {
    let due = start + period * tick
    wait(until: due, on: clock)
    let begin = clock.now
    if tick > 0 && tick.isMultiple(of: ticksPerStep) { try plant.step(control: action.span) }
    observe()
    let before = clock.now
    act(tick / ticksPerStep)
    let after = clock.now
    timing.record(lateness: begin - due, latency: after - before, whole: after - due)
  }
  timing.finalState = zip(task.stateNames, state).map { ($0, $1) }
  return timing
}

/// Sleeps for most of the time and spins for the rest: a sleeper is woken up to some 0.1 ms late.
private func wait(until due: ContinuousClock.Instant, on clock: ContinuousClock) {
  let slack = Duration.microseconds(200)
  let rest = due - clock.now
  if rest > slack { Thread.sleep(forTimeInterval: (rest - slack) / .seconds(1)) }
  while clock.now < due {}
}
