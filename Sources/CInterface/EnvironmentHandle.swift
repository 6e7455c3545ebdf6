import Dispatch
import Foundation
import GuidedPolicySearch

/// Copies of a task, each of which is reset and stepped as a Gymnasium environment is.
class EnvironmentHandle {
  /// Sizes, names and limits, as JSON.
  var description: UnsafeMutablePointer<CChar>? { nil }

  /// Resets copies whose mark is not 0, and steps the others.
  func advance(_ inputs: Inputs, _ outputs: Outputs) {}

  /// What copies are told, one entry for each.
  struct Inputs {
    var controls: UnsafePointer<Double>
    var resets: UnsafePointer<UInt8>
    var conditions: UnsafePointer<Int32>
    var seeds: UnsafePointer<UInt64>
  }

  /// What they show, one entry for each.
  struct Outputs {
    var observations: UnsafeMutablePointer<Double>
    var rewards: UnsafeMutablePointer<Double>
    var ends: UnsafeMutablePointer<Int32>
  }

  /// How an episode goes on.
  enum End: Int32 {
    case none
    /// The task's termination holds.
    case terminated
    /// The horizon is reached, without or with success.
    case horizon
    case success
    /// The plant cannot go on.
    case failed
  }
}

/// Copies of a task of one type.
final class TaskCopies<Task: ControlTask>: EnvironmentHandle {
  private let task: Task
  private let copies: [EpisodeCopy<Task>]
  private let workers: Int

  init(_ task: Task, copies count: Int, workers: Int) {
    self.task = task
    self.workers = max(1, min(workers, count))
    copies = (0..<count).map { _ in EpisodeCopy(task) }
  }

  /// What a caller may know.
  private struct Facts: Encodable {
    var task: String
    var observations: Int
    var controls: Int
    var horizon: Int
    var controlPeriod: Double
    var observationNames: [String]
    var controlNames: [String]
    var lower: [Double]?
    var upper: [Double]?
    var conditions: [String]
    var testConditions: [String]
  }

  override var description: UnsafeMutablePointer<CChar>? {
    let d = task.dimensions
    return json(
      Facts(
        task: task.name, observations: d.observation, controls: d.control, horizon: d.horizon,
        controlPeriod: task.controlPeriod, observationNames: task.observationNames,
        controlNames: task.controlNames, lower: task.controlLimits?.lower,
        upper: task.controlLimits?.upper, conditions: task.conditions.map(\.name),
        testConditions: task.testConditions.map(\.name)))
  }

  override func advance(_ inputs: Inputs, _ outputs: Outputs) {
    let (o, m, workers) = (task.dimensions.observation, task.dimensions.control, workers)
    let conditions = task.conditions + task.testConditions
    func advance(_ i: Int) {
      var observation = UnsafeMutableBufferPointer(start: outputs.observations + i * o, count: o)
        .mutableSpan
      let end: End
      if inputs.resets[i] != 0 {
        outputs.rewards[i] = 0
        end = copies[i].reset(
          to: conditions[Int(inputs.conditions[i])], seed: inputs.seeds[i], &observation)
      } else {
        let control = UnsafeBufferPointer(start: inputs.controls + i * m, count: m)
        (outputs.rewards[i], end) = copies[i].step(control.span, &observation)
      }
      outputs.ends[i] = end.rawValue
    }
    if workers == 1 { return copies.indices.forEach(advance) }
    // Safe: each copy, and each entry of what is told and shown, is taken by one worker alone, and all of them are
    // done when this returns.
    nonisolated(unsafe) let shared = advance
    let count = copies.count
    DispatchQueue.concurrentPerform(iterations: workers) { worker in
      for i in stride(from: worker, to: count, by: workers) { shared(i) }
    }
  }
}

/// One copy of a task, and its episode so far.
private final class EpisodeCopy<Task: ControlTask> {
  private let task: Task
  private var plant: Task.System?
  private var condition: Condition
  /// Up to the present step; from there on the present state stays.
  private var states: Matrix
  private var points: Matrix
  private var controls: Matrix
  private let observations: Matrix
  private var jacobians: [Double]
  private var t = 0

  init(_ task: Task) {
    self.task = task
    let d = task.dimensions
    condition = task.conditions[0]
    states = Matrix(rows: d.state, columns: d.horizon + 1)
    points = Matrix(rows: 3 * d.points, columns: d.horizon + 1)
    controls = Matrix(rows: d.control, columns: d.horizon)
    observations = Matrix(rows: 0, columns: d.horizon + 1)
    jacobians = [Double](repeating: 0, count: 3 * d.points * d.state)
  }

  func reset(
    to own: Condition, seed: UInt64, _ observation: inout MutableSpan<Double>
  ) -> EnvironmentHandle.End {
    var stream = RandomStream(seed: seed)
    condition = own.drawn(from: &stream)
    let start = task.initialPlantState(of: condition, stream: &stream)
    do {
      var plant = try self.plant.take() ?? task.makePlant()
      try plant.reset(to: condition, plantState: start.span)
      t = 0
      controls = Matrix(rows: controls.rows, columns: controls.columns)
      return show(plant, &observation)
    } catch {
      return .failed
    }
  }

  func step(
    _ control: Span<Double>, _ observation: inout MutableSpan<Double>
  ) -> (reward: Double, end: EnvironmentHandle.End) {
    guard t < controls.columns, var plant = plant.take() else { return (0, .failed) }
    var applied = [Double](repeating: 0, count: control.count)
    for i in applied.indices {
      applied[i] = task.controlLimits?.clamped(control[i], i) ?? control[i]
    }
    controls.setColumn(t, to: applied)
    do { try plant.step(control: applied.span) } catch { return (0, .failed) }
    t += 1
    if show(plant, &observation) == .failed { return (0, .failed) }
    let trajectory = trajectory
    let values = task.cost.values(along: trajectory, in: condition)
    let T = controls.columns
    if let end = task.endStep(of: trajectory, in: condition), end <= t {
      // What every step from here on costs is charged at once.
      return (-values[(t - 1)...].reduce(0, +), .terminated)
    }
    if t < T { return (-values[t - 1], .none) }
    let isSuccess = task.judgesSuccess && task.isSuccess(trajectory, in: condition)
    return (-values[(T - 1)...].reduce(0, +), isSuccess ? .success : .horizon)
  }

  private var trajectory: Trajectory {
    Trajectory(states: states, controls: controls, observations: observations, points: points)
  }

  /// Takes in what a plant shows, and keeps the plant.
  private func show(
    _ plant: consuming Task.System, _ observation: inout MutableSpan<Double>
  ) -> EnvironmentHandle.End {
    var state = [Double](repeating: 0, count: states.rows)
    var x = state.mutableSpan
    plant.readState(into: &x)
    plant.readObservation(into: &observation)
    var positions = [Double](repeating: 0, count: points.rows)
    if !positions.isEmpty {
      var p = positions.mutableSpan
      var J = jacobians.mutableSpan
      plant.readPoints(positions: &p, jacobians: &J)
    }
    for s in t..<states.columns {
      states.setColumn(s, to: state)
      points.setColumn(s, to: positions)
    }
    self.plant = plant
    var isFinite = states.isFinite && points.isFinite
    for i in 0..<observation.count where !observation[i].isFinite { isFinite = false }
    return isFinite ? .none : .failed
  }
}

private func copies(
  of task: some ControlTask, _ count: Int, workers: Int
) -> EnvironmentHandle {
  TaskCopies(task, copies: count, workers: workers)
}

/// Makes copies of the task of an experiment.
///
/// - Parameters:
///   - path: the experiment file.
///   - overrides: settings "key.path=value", one a line.
///   - count: how many copies.
///   - workers: how many of them are stepped at once; one per core if 0.
///   - problem: why they cannot be made.
/// - Returns: a handle, to be given back by `gps_release`; null with the reason.
@c(gps_environment_make) public func gpsEnvironmentMake(
  _ path: UnsafePointer<CChar>, _ overrides: UnsafePointer<CChar>, _ count: Int, _ workers: Int,
  _ problem: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
) -> UnsafeMutableRawPointer? {
  attempt(problem) {
    let task = try Experiment.load(
      URL(fileURLWithPath: string(path)),
      overrides: string(overrides).split(whereSeparator: \.isNewline).map {
        Experiment.Override(String($0))
      }
    ).task
    let workers = workers > 0 ? workers : max(1, ProcessInfo.processInfo.activeProcessorCount)
    return given(copies(of: task, max(1, count), workers: workers))
  }
}

/// Sizes, names, limits and conditions, as JSON.
@c(gps_environment_describe) public func gpsEnvironmentDescribe(
  _ handle: UnsafeMutableRawPointer
) -> UnsafeMutablePointer<CChar>? { object(handle, EnvironmentHandle.self).description }

/// Resets the copies whose mark is not 0, and steps the others.
///
/// - Parameters:
///   - handle: from `gps_environment_make`; one thread at a time.
///   - controls: m numbers for each copy.
///   - resets: a mark for each.
///   - conditions: for each that is reset the number of a condition, test conditions after the others.
///   - seeds: for each that is reset the seed of what is drawn.
///   - observations: o numbers for each, written.
///   - rewards: minus the cost of the step, with all that follows where an episode ends.
///   - ends: 0 where an episode goes on, 1 where the task's termination holds, 2 at the horizon, 3 there with
///     success, 4 where the plant cannot go on.
@c(gps_environment_advance) public func gpsEnvironmentAdvance(
  _ handle: UnsafeMutableRawPointer, _ controls: UnsafePointer<Double>,
  _ resets: UnsafePointer<UInt8>, _ conditions: UnsafePointer<Int32>,
  _ seeds: UnsafePointer<UInt64>, _ observations: UnsafeMutablePointer<Double>,
  _ rewards: UnsafeMutablePointer<Double>, _ ends: UnsafeMutablePointer<Int32>
) {
  object(handle, EnvironmentHandle.self).advance(
    EnvironmentHandle.Inputs(
      controls: controls, resets: resets, conditions: conditions, seeds: seeds),
    EnvironmentHandle.Outputs(observations: observations, rewards: rewards, ends: ends))
}
