public import Statistics

/// A task around another: all that it does not say itself is as in the task within.
///
/// Every requirement of `ControlTask` but the plant is passed on here, those with defaults too.
public protocol TaskWrapper: ControlTask {
  /// The type of the task within.
  associatedtype Base: ControlTask

  /// The task within.
  var base: Base { get }
}

extension TaskWrapper {
  /// The name of the task within.
  public var name: String { base.name }
  /// Those of the task within.
  public var dimensions: Dimensions { base.dimensions }
  /// That of the task within.
  public var controlPeriod: Double { base.controlPeriod }
  /// Those of the task within.
  public var stateNames: [String] { base.stateNames }
  /// Those of the task within.
  public var stateVectors: [StateVector] { base.stateVectors }
  /// Those of the task within.
  public var observationNames: [String] { base.observationNames }
  /// Those of the task within.
  public var controlNames: [String] { base.controlNames }
  /// Those of the task within.
  public var conditions: [Condition] { base.conditions }
  /// Those of the task within.
  public var testConditions: [Condition] { base.testConditions }
  /// That of the task within.
  public var cost: any Cost { base.cost }
  /// Those of the task within.
  public var actuatedCoordinates: [ActuatedCoordinate] { base.actuatedCoordinates }
  /// Those of the task within.
  public var controlLimits: ControlLimits? { base.controlLimits }
  /// As in the task within.
  public var judgesSuccess: Bool { base.judgesSuccess }

  /// Those of the task within.
  public func knownDynamics(in condition: Condition) throws -> (any KnownDynamics)? {
    try base.knownDynamics(in: condition)
  }

  /// Those that the task within draws.
  public func initialPlantState(
    of condition: Condition, stream: inout RandomStream
  ) -> [Double] {
    base.initialPlantState(of: condition, stream: &stream)
  }

  /// As in the task within.
  public func initialDeviationCount(of condition: Condition) -> Int {
    base.initialDeviationCount(of: condition)
  }

  /// As the task within judges.
  public func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool {
    base.isSuccess(trajectory, in: condition)
  }

  /// As the task within judges.
  public func endStep(of trajectory: Trajectory, in condition: Condition) -> Int? {
    base.endStep(of: trajectory, in: condition)
  }

  /// As the task within judges.
  public func successMargin(of trajectory: Trajectory, in condition: Condition) -> Double? {
    base.successMargin(of: trajectory, in: condition)
  }
}

extension ControlTask {
  /// This task, or the one within it, if it is of a certain type.
  package func underlying<Task: ControlTask>(_ type: Task.Type) -> Task? {
    self as? Task ?? (self as? any TaskWrapper)?.base.underlying(type)
  }
}
