package import Configuration
public import GPSCore

/// What a policy sees beside the system's own observation o_t: a memory and a clock for a network that
/// has none.
///
///     [o_t, o_{t−1}, …, o_{t−k}, u_{t−1}, clock]
///
/// Before the start the observation is taken to have been what it is at the start, and the action zero.
public struct ObservationMemory: Sendable, Equatable {
  /// What a clock shows.
  public enum Clock: String, Sendable, CaseIterable {
    /// Nothing: there is none.
    case none
    /// Seconds since the start.
    case time
    /// The share of the horizon that is over, from 0 to 1.
    case phase
  }

  /// k, how many earlier observations are seen too, the latest first.
  public var history = 0
  /// Whether the last action is seen, as it was applied.
  public var lastAction = false
  /// What the clock shows.
  public var clock = Clock.none

  /// Nothing beside the observation.
  public init(history: Int = 0, lastAction: Bool = false, clock: Clock = .none) {
    self.history = history
    self.lastAction = lastAction
    self.clock = clock
  }

  /// Whether there is nothing to remember.
  public var isEmpty: Bool { self == ObservationMemory() }

  /// How many numbers a policy sees of a system that shows o and takes m.
  func observationCount(_ o: Int, controls m: Int) -> Int {
    o * (1 + history) + (lastAction ? m : 0) + (clock == .none ? 0 : 1)
  }
}

extension ObservationMemory.Clock: Setting {}

extension ObservationMemory: Configurable {
  package static let schema = Schema<ObservationMemory>(ObservationMemory()) {
    Field(
      "history", \.history, .between(0, 1000),
      "How many earlier observations the policy sees beside the present one.")
    Field("lastAction", \.lastAction, "Whether it sees the last action, as it was applied.")
    Field(
      "clock", \.clock,
      "Whether it sees a clock: none, time in seconds, or the phase of the horizon from 0 to 1.")
  }
}

/// A task whose policy also sees earlier observations, its last action or a clock; all else is that of
/// the task within.
public struct RememberingTask<Base: ControlTask>: TaskWrapper {
  /// The task within.
  public let base: Base
  /// What the policy sees beside that task's own observation.
  public let memory: ObservationMemory

  /// A task with a memory.
  ///
  /// - Throws: `InvalidOption` when the history is out of range.
  public init(_ base: Base, memory: ObservationMemory) throws(InvalidOption) {
    self.base = base
    self.memory = try memory.checked()
  }

  /// Those of the task within, with more numbers in the observation.
  public var dimensions: Dimensions {
    var dimensions = base.dimensions
    dimensions.observation = memory.observationCount(
      dimensions.observation, controls: dimensions.control)
    return dimensions
  }
  /// o names: those of the task within, of what it showed before, of the last action, of the clock.
  public var observationNames: [String] {
    let names = base.observationNames
    // Without any within there are none for what is added either.
    if names.isEmpty { return [] }
    let past = (0..<memory.history).flatMap { age in names.map { "\($0).\(age + 1)_before" } }
    let action = memory.lastAction ? base.controlNames.map { "last_action.\($0)" } : []
    let clock = memory.clock == .none ? [] : ["clock"]
    return names + past + action + clock
  }

  /// A plant that remembers.
  public func makePlant() throws -> RememberingPlant<Base.System> {
    RememberingPlant(
      try base.makePlant(), memory: memory, dimensions: base.dimensions,
      controlPeriod: base.controlPeriod)
  }
}

/// A plant that shows, beside what another shows, what that one showed before, the last action and a
/// clock.
public struct RememberingPlant<Base: Plant>: Plant {
  private var base: Base
  private let memory: ObservationMemory
  /// o of the plant within.
  private let observed: Int
  private let horizon: Int
  private let controlPeriod: Double
  /// o_{t−1}, …, o_{t−k}.
  private var past: [Double]
  private var lastAction: [Double]
  private var step = 0

  /// A plant around another.
  public init(
    _ base: consuming Base, memory: ObservationMemory, dimensions: Dimensions,
    controlPeriod: Double
  ) {
    self.base = base
    self.memory = memory
    observed = dimensions.observation
    horizon = dimensions.horizon
    self.controlPeriod = controlPeriod
    past = [Double](repeating: 0, count: memory.history * dimensions.observation)
    lastAction = [Double](repeating: 0, count: memory.lastAction ? dimensions.control : 0)
  }

  /// Whether the plant within waits for real time.
  public static var waitsForRealTime: Bool { Base.waitsForRealTime }

  /// Starts the plant within, and forgets.
  public mutating func reset(to condition: Condition, plantState: Span<Double>) throws {
    try base.reset(to: condition, plantState: plantState)
    for age in 0..<memory.history {
      Self.show(base, in: &past, at: observed * age, count: observed)
    }
    for i in lastAction.indices { lastAction[i] = 0 }
    step = 0
  }

  /// Writes what a plant shows among the numbers from `first` on.
  private static func show(_ base: Base, in past: inout [Double], at first: Int, count: Int) {
    var all = past.mutableSpan
    var place = all._mutatingExtracting(first..<first + count)
    base.readObservation(into: &place)
  }

  /// Advances the plant within, and remembers what it showed before and the control.
  public mutating func step(control: Span<Double>) throws {
    if memory.history > 0 {
      for i in stride(from: past.count - 1, through: observed, by: -1) {
        past[i] = past[i - observed]
      }
      Self.show(base, in: &past, at: 0, count: observed)
    }
    try base.step(control: control)
    for i in lastAction.indices { lastAction[i] = control[i] }
    step += 1
  }

  /// What the plant within says.
  public var record: RolloutRecord { base.record }

  /// Writes the present state of the plant within.
  public func readState(into state: inout MutableSpan<Double>) { base.readState(into: &state) }

  /// Writes the present observation, those before, the last action and the clock.
  public func readObservation(into observation: inout MutableSpan<Double>) {
    var next = observed
    var present = observation._mutatingExtracting(0..<observed)
    base.readObservation(into: &present)
    for number in past {
      observation[next] = number
      next += 1
    }
    for number in lastAction {
      observation[next] = number
      next += 1
    }
    switch memory.clock {
    case .none: break
    case .time: observation[next] = Double(step) * controlPeriod
    case .phase: observation[next] = Double(step) / Double(horizon)
    }
  }

  /// Writes the points of the plant within.
  public func readPoints(
    positions: inout MutableSpan<Double>, jacobians: inout MutableSpan<Double>
  ) {
    base.readPoints(positions: &positions, jacobians: &jacobians)
  }
}
