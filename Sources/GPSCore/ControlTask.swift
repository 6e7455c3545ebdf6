/// The recipe of a control problem: what to control, from where, and how it is judged.
public protocol ControlTask: Sendable {
  /// The controlled system.
  associatedtype System: Plant

  /// The name used in file names and messages.
  var name: String { get }
  /// n, m, o, T and the number of points.
  var dimensions: Dimensions { get }
  /// Seconds between two controls.
  var controlPeriod: Double { get }
  /// n names with units where they have one, e.g. "joint_positions.elbow_rad".
  var stateNames: [String] { get }
  /// m names.
  var controlNames: [String] { get }
  /// Which entries of the state each control accelerates; what initial controllers are built from.
  var actuatedCoordinates: [ActuatedCoordinate] { get }
  /// The training conditions, M of them.
  var conditions: [Condition] { get }
  /// Conditions that are evaluated and never trained on.
  var testConditions: [Condition] { get }
  /// What is minimised.
  var cost: any Cost { get }

  /// A new copy of the system for one worker.
  ///
  /// - Throws: when the simulator cannot be made ready.
  func makePlant() throws -> System

  /// Whether a rollout reached what the task asks for; separate from the cost.
  func isSuccess(_ trajectory: Trajectory, in condition: Condition) -> Bool
}

extension ControlTask {
  /// No conditions are held out unless a task lists them.
  public var testConditions: [Condition] { [] }

  /// Nothing is known about the actuators unless a task says so.
  public var actuatedCoordinates: [ActuatedCoordinate] { [] }
}

/// Where in the state the coordinate is that a control acts on.
public struct ActuatedCoordinate: Sendable, Equatable {
  /// Index of the control.
  public var control: Int
  /// Index of the coordinate's position in the state; nil if the state does not hold it.
  public var position: Int?
  /// Index of the coordinate's velocity in the state; nil if the state does not hold it.
  public var velocity: Int?

  /// A coordinate and its actuator.
  public init(control: Int, position: Int?, velocity: Int?) {
    self.control = control
    self.position = position
    self.velocity = velocity
  }
}
