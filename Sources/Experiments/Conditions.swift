package import Configuration

/// Where rollouts start.
public struct ConditionsSettings: Sendable, Equatable {
  /// What holds for every condition that does not say otherwise.
  public var common = ConditionSettings()
  /// The conditions that are trained on.
  public var train: [ConditionSettings] = []
  /// Conditions that are evaluated and never trained on.
  public var test: [ConditionSettings] = []

  /// No conditions.
  public init() {}
}

extension ConditionsSettings: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "common", \.common, "What holds for every condition that does not say otherwise.")
    Field("train", \.train, over: \.common, "Conditions that are trained on.")
    Field(
      "test", \.test, over: \.common, "Conditions that are evaluated and never trained on.")
  } rule: { conditions throws(InvalidOption) in
    try Check.some("condition").require(conditions.train, "train")
  }
}

/// One initial condition.
public struct ConditionSettings: Sendable, Equatable {
  /// The name used in CSV files and errors; empty for the condition's number.
  public var name = ""
  /// A keyframe of the MuJoCo model to start from; nil for its reference configuration.
  public var keyframe: String?
  /// Joint positions, in the model's order; nil for those of the keyframe.
  public var jointPositions: [Double]?
  /// Joint velocities, in the model's order; nil for those of the keyframe.
  public var jointVelocities: [Double]?
  /// Activations of actuators that have them, in the actuators' order; nil for those of the keyframe.
  public var activations: [Double]?
  /// Controls that hold the start, to which initial controllers add; nil for those of the keyframe.
  public var controls: [Double]?
  /// Positions of mocap bodies: x, y, z [m]; those of the keyframe for bodies that are not named.
  public var mocapPositions: [String: [Double]] = [:]
  /// Orientations of mocap bodies: w, x, y, z; those of the keyframe for bodies that are not named.
  public var mocapQuaternions: [String: [Double]] = [:]
  /// The initial state of a native system; nil for zeros.
  public var state: [Double]?
  /// Standard deviation of noise on joint positions, or on a native system's state; one number
  /// stands for all.
  public var positionDeviation = [0.0]
  /// Standard deviation of noise on joint velocities; one number stands for all.
  public var velocityDeviation = [0.0]
  /// Displacements of named bodies: x, y, z [m].
  public var bodyOffsets: [String: [Double]] = [:]
  /// The goal, in units the task defines.
  public var goal: [Double] = []

  /// A condition without noise, displacements and goal.
  public init() {}
}

extension ConditionSettings: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field("name", \.name, "Name in CSV files; if empty, the condition's number.")
    Field(
      "keyframe", \.keyframe,
      "Keyframe of the model to start from; null for its reference configuration.")
    Field(
      "jointPositions", \.jointPositions, "Initial joint positions; null for the keyframe's.")
    Field(
      "jointVelocities", \.jointVelocities, "Initial joint velocities; null for the keyframe's.")
    Field(
      "activations", \.activations,
      "Initial activations of actuators that have them; null for the keyframe's.")
    Field(
      "controls", \.controls,
      "Controls of the actuators that hold the start; null for the keyframe's.")
    Field(
      "mocapPositions", \.mocapPositions, .table("a mapping from bodies to [x, y, z]"),
      "Initial positions of mocap bodies [m]; the keyframe's for those that are not named.")
    Field(
      "mocapQuaternions", \.mocapQuaternions, .table("a mapping from bodies to [w, x, y, z]"),
      "Initial orientations of mocap bodies; the keyframe's for those that are not named.")
    Field("state", \.state, "Initial state of a native system; null for zeros.")
    Field(
      "positionDeviation", \.positionDeviation, .numberOrNumbers, .each(.notNegative),
      "Standard deviation of noise on joint positions (three numbers for an orientation [rad]), or on a "
        + "native system's state.")
    Field(
      "velocityDeviation", \.velocityDeviation, .numberOrNumbers, .each(.notNegative),
      "Standard deviation of noise on joint velocities.")
    Field(
      "bodyOffsets", \.bodyOffsets, .table("a mapping from bodies to [x, y, z]"),
      "Displacements of bodies, in their parents' frames [m].")
    Field("goal", \.goal, "The goal, in units the costs define.")
  } rule: { condition throws(InvalidOption) in
    for (body, offset) in condition.bodyOffsets.sorted(by: { $0.key < $1.key }) {
      try Check.count(3, "numbers: x, y, z").require(offset, "bodyOffsets.\(body)")
    }
  }
}
