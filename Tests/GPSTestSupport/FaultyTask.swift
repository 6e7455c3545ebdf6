public import GPSCore
import LinearAlgebra
import Statistics
import Synchronization

/// One fault in one rollout.
public struct Fault: Sendable {
  /// What goes wrong.
  public enum Kind: Sendable, Equatable {
    /// The plant throws.
    case throwing
    /// The plant throws, and every later step of that plant throws too, whatever it is reset to.
    case breaking
    /// An entry of the state is this number from that step on.
    case state(Double)
    /// An entry of the observation is this number from that step on.
    case observation(Double)
    /// The step takes this many seconds.
    case blocking(Double)
    /// The cost of that step is this number.
    case cost(Double)
    /// The gradient of the cost of that step is not a number, although its value is.
    case gradient
  }

  /// The iteration, from 0.
  public var iteration: Int
  /// Index of the training condition.
  public var condition: Int
  /// Index of the rollout in its condition.
  public var sample: Int
  /// Which try of that rollout, from 0.
  public var attempt: Int
  /// The control step.
  public var step: Int
  /// What goes wrong.
  public var kind: Kind

  /// A fault in the rollout whose random stream has this path.
  public init(
    iteration: Int, condition: Int, sample: Int, attempt: Int = 0, step: Int, _ kind: Kind
  ) {
    self.iteration = iteration
    self.condition = condition
    self.sample = sample
    self.attempt = attempt
    self.step = step
    self.kind = kind
  }
}

/// A task in whose rollouts chosen things go wrong.
///
/// A plant does not know which rollout it is in, but every rollout starts elsewhere: the initial state
/// with its noise, which follows from the path of the random stream alone, tells them apart. The base
/// must therefore have noise in its initial states, and its state must begin with its plant state.
public struct FaultyTask<Base: ControlTask>: ControlTask {
  /// The task without faults.
  public let base: Base
  /// Faults by initial plant state.
  let faults: [[Double]: (step: Int, kind: Fault.Kind)]
  /// Faults of all rollouts of a condition, training and evaluation alike, at step 0.
  let always: [String: Fault.Kind]
  /// How many plants cannot be made before one can.
  let unmadePlants: Countdown

  /// Plants that are still not to be made.
  final class Countdown: Sendable {
    let left: Atomic<Int>
    init(_ count: Int) { left = Atomic(count) }
    func next() -> Bool { left.wrappingSubtract(1, ordering: .relaxed).oldValue > 0 }
  }

  /// A task with faults; `seed` is that of the search.
  public init(
    _ base: Base, seed: UInt64 = 0, faults: [Fault] = [], always: [String: Fault.Kind] = [:],
    unmadePlants: Int = 0
  ) {
    self.base = base
    self.always = always
    self.unmadePlants = Countdown(unmadePlants)
    var table: [[Double]: (step: Int, kind: Fault.Kind)] = [:]
    for fault in faults {
      let condition = base.conditions[fault.condition]
      precondition(
        condition.initialPlantStateDeviation.contains { $0 > 0 }, "rollouts that start alike")
      var stream = RandomStream(seed: seed).child(
        .rollout, fault.iteration, fault.condition, fault.sample, fault.attempt)
      let start = zip(condition.initialPlantState, condition.initialPlantStateDeviation)
        .map { $0 + $1 * stream.normal() }
      table[start] = (fault.step, fault.kind)
    }
    self.faults = table
  }

  /// The base's.
  public var name: String { base.name }
  /// The base's.
  public var dimensions: Dimensions { base.dimensions }
  /// The base's.
  public var controlPeriod: Double { base.controlPeriod }
  /// The base's.
  public var stateNames: [String] { base.stateNames }
  /// The coordinates of vectors.
  public var stateVectors: [StateVector] { base.stateVectors }
  /// The base's.
  public var controlNames: [String] { base.controlNames }
  /// The base's.
  public var conditions: [Condition] { base.conditions }
  /// The base's.
  public var testConditions: [Condition] { base.testConditions }
  /// The base's.
  public var actuatedCoordinates: [ActuatedCoordinate] { base.actuatedCoordinates }
  /// The base's, with its faults.
  public var cost: any Cost { FaultyCost(task: self) }

  /// A plant with its faults.
  public func makePlant() throws -> FaultyPlant<Base> {
    if unmadePlants.next() { throw PlantFailure("the simulator's licence is in use") }
    return FaultyPlant(base: try base.makePlant(), task: self)
  }

  /// As the base judges.
  public func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    base.isSuccess(trajectory, in: condition)
  }

  func fault(of start: [Double], in condition: Condition) -> (step: Int, kind: Fault.Kind)? {
    always[condition.name].map { (0, $0) } ?? faults[start]
  }
}

/// The plant of a faulty task.
public struct FaultyPlant<Base: ControlTask>: Plant {
  var base: Base.System
  let task: FaultyTask<Base>
  var fault: (step: Int, kind: Fault.Kind)?
  var step = 0
  var isBroken = false

  /// Looks up what will go wrong.
  public mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    step = 0
    fault = task.fault(of: plantState.indices.map { plantState[$0] }, in: condition)
    try base.reset(to: condition, plantState: plantState)
  }

  /// A step, or what goes wrong in it.
  public mutating func step(control: Span<Double>) throws {
    if isBroken { throw PlantFailure("the plant has been broken before") }
    if let fault, fault.step == step {
      switch fault.kind {
      case .throwing: throw PlantFailure("the mass fell off the table")
      case .breaking:
        isBroken = true
        throw PlantFailure("the gripper broke")
      case .blocking(let seconds):
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end {}
      default: break
      }
    }
    try base.step(control: control)
    step += 1
  }

  /// The state, or what became of it.
  public func readState(into state: inout MutableSpan<Double>) {
    base.readState(into: &state)
    if let fault, step > fault.step, case .state(let value) = fault.kind { state[1] = value }
  }

  /// The observation, or what became of it.
  public func readObservation(into observation: inout MutableSpan<Double>) {
    base.readObservation(into: &observation)
    if let fault, step > fault.step, case .observation(let value) = fault.kind {
      observation[0] = value
    }
  }

  /// The base's points.
  public func readPoints(
    positions: inout MutableSpan<Double>, jacobians: inout MutableSpan<Double>
  ) {
    base.readPoints(positions: &positions, jacobians: &jacobians)
  }
}

struct FaultyCost<Base: ControlTask>: Cost {
  let task: FaultyTask<Base>

  func addValues(
    to values: inout [Double], along trajectory: Trajectory, in condition: Condition
  ) {
    task.base.cost.addValues(to: &values, along: trajectory, in: condition)
    if let fault = task.fault(of: trajectory.states.column(0), in: condition),
      case .cost(let value) = fault.kind
    {
      values[fault.step] = value
    }
  }

  func addExpansion(
    to expansion: inout CostExpansion, along trajectory: Trajectory, in condition: Condition
  ) {
    task.base.cost.addExpansion(to: &expansion, along: trajectory, in: condition)
    if let fault = task.fault(of: trajectory.states.column(0), in: condition),
      fault.kind == .gradient
    {
      expansion.gradients[0, fault.step] = .nan
    }
  }
}
