public import Statistics

/// The recipe of a control problem: what to control, from where, and how it is judged.
public protocol ControlTask: Sendable {
  /// The controlled system.
  associatedtype System: Plant

  /// The name used in file names and messages; not empty.
  var name: String { get }
  /// n, m, o, T and the number of points.
  var dimensions: Dimensions { get }
  /// Seconds between two controls; more than 0.
  var controlPeriod: Double { get }
  /// n names with units where they have one, e.g. "joint_positions.elbow_rad".
  var stateNames: [String] { get }
  /// Entries of the state that are coordinates of one vector in space, such as a body's place. By default none.
  var stateVectors: [StateVector] { get }
  /// o names, for people; by default none.
  var observationNames: [String] { get }
  /// m names, with units where they have one, e.g. "torque_Nm".
  var controlNames: [String] { get }
  /// The training conditions, M > 0 of them.
  var conditions: [Condition] { get }
  /// Conditions that are evaluated and never trained on; by default none.
  var testConditions: [Condition] { get }
  /// What is minimised over a rollout, in a unit of the task's own.
  var cost: any Cost { get }
  /// Where the coordinates that single controls drive are in the state, if that is known: what an
  /// initial controller is built from.
  var actuatedCoordinates: [ActuatedCoordinate] { get }
  /// What the actuators can do: a control beyond is brought to its bound before it is applied, and
  /// recorded, charged and fitted as applied. By default nil, no bounds.
  var controlLimits: ControlLimits? { get }

  /// The dynamics under one condition with their derivatives, if they are known; nil if they can only
  /// be fitted to rollouts.
  ///
  /// - Parameter condition: one of `conditions` or `testConditions`; displaced bodies change dynamics.
  /// - Returns: x' = f(x, u) over one control period, or nil; by default nil.
  /// - Throws: when the dynamics are known and cannot be made ready.
  func knownDynamics(in condition: Condition) throws -> (any KnownDynamics)?

  /// The numbers that one rollout starts from: the condition's, with noise.
  ///
  /// - Parameters:
  ///   - condition: one of `conditions` or `testConditions`.
  ///   - stream: draws a standard-normal number for each deviation.
  /// - Returns: a plant state; by default each number of the condition's own plus its deviation times
  ///   the number drawn.
  func initialPlantState(of condition: Condition, stream: inout RandomStream) -> [Double]

  /// How many deviations go with a start of so many numbers; by default as many. They differ where
  /// noise has fewer degrees of freedom, as with quaternions.
  ///
  /// - Parameter condition: one of `conditions` or `testConditions`.
  /// - Returns: the length of a list of deviations that is not empty.
  func initialDeviationCount(of condition: Condition) -> Int

  /// A new copy of the system for one worker.
  ///
  /// - Returns: a plant that no other worker holds.
  /// - Throws: when the simulator cannot be made ready; the rollout that wanted it has then failed.
  func makePlant() throws -> System

  /// Whether a rollout reached what the task asks for; separate from the cost.
  ///
  /// - Parameters:
  ///   - trajectory: a complete rollout, T controls and T + 1 states.
  ///   - condition: the one it started from.
  /// - Returns: true for a success.
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool

  /// The step at which a rollout ended before its time, from 0 to T: what follows teaches a policy
  /// nothing. By default nil, none ends.
  ///
  /// - Parameters: as those of `isSuccess`.
  func endStep(of trajectory: Trajectory, in condition: Condition) -> Int?

  /// Whether rollouts are judged at all: where they are not, there are costs and no successes. By default
  /// true.
  var judgesSuccess: Bool { get }

  /// How far a rollout is from the threshold of success, positive for a success; by default nil, unknown.
  ///
  /// - Parameters: as those of `isSuccess`.
  /// - Returns: a signed distance in a unit of the task's own, or nil.
  func successMargin(of trajectory: Trajectory, in condition: Condition) -> Double?
}

extension ControlTask {
  /// No conditions are held out unless a task lists them.
  public var testConditions: [Condition] { [] }

  /// None is known unless a task says so.
  public var stateVectors: [StateVector] { [] }

  /// What a policy sees needs no names.
  public var observationNames: [String] { [] }

  /// None is known unless a task says so.
  public var actuatedCoordinates: [ActuatedCoordinate] { [] }

  /// None are known unless a task says so.
  public var controlLimits: ControlLimits? { nil }

  /// Independent noise on each number.
  public func initialPlantState(
    of condition: Condition, stream: inout RandomStream
  ) -> [Double] {
    var start = condition.initialPlantState
    for (i, deviation) in condition.initialPlantStateDeviation.enumerated() {
      start[i] += deviation * stream.normal()
    }
    return start
  }

  /// One for each number.
  public func initialDeviationCount(of condition: Condition) -> Int {
    condition.initialPlantState.count
  }

  /// None ends unless a task says so.
  public func endStep(of trajectory: Trajectory, in condition: Condition) -> Int? { nil }

  /// A task says what a success is.
  public var judgesSuccess: Bool { true }

  /// None is known unless a task says so.
  public func successMargin(of trajectory: Trajectory, in condition: Condition) -> Double? { nil }

  /// Dynamics are fitted to rollouts unless a task knows better.
  public func knownDynamics(in condition: Condition) throws -> (any KnownDynamics)? { nil }
}

/// A coordinate of the system that one control drives directly, such as a motor's joint.
public struct ActuatedCoordinate: Sendable, Equatable, Codable {
  /// Index of the control.
  public var control: Int
  /// Index of the coordinate's position in the state, if it is there.
  public var position: Int?
  /// Index of the coordinate's velocity in the state, if it is there.
  public var velocity: Int?
  /// Whether a greater control pushes towards lesser positions, as a motor with a negative gear does.
  public var isReversed: Bool

  /// A coordinate that one control drives.
  public init(control: Int, position: Int?, velocity: Int?, isReversed: Bool = false) {
    self.control = control
    self.position = position
    self.velocity = velocity
    self.isReversed = isReversed
  }
}
