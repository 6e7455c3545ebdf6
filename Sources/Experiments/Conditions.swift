package import Configuration
public import GPSCore

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

extension ConditionsSettings {
  /// Turns what is drawn once into what is drawn for every rollout.
  mutating func redraw() {
    for list in [\ConditionsSettings.train, \.test] {
      for i in self[keyPath: list].indices where self[keyPath: list][i].draw.drawsAnything {
        self[keyPath: list][i].count = 1
        self[keyPath: list][i].draw.every = .rollout
      }
    }
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
  /// Bodies that are displaced by the first three numbers of the goal [m].
  public var goalBodies: [String] = []
  /// Factors on parameters of the model: by quantity, then by the name of the body, geom or joint.
  public var modelFactors: [String: [String: Double]] = [:]
  /// What an environment in a program of its own is seeded with at every reset; nil for 0.
  public var resetSeed: UInt64?
  /// The options of its resets.
  public var resetOptions = FreeSettings()
  /// How many conditions are made of this one.
  public var count = 1
  /// What of it is drawn.
  public var draw = DrawSettings()

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
    Field(
      "goalBodies", \.goalBodies,
      "Bodies displaced by the first three numbers of the goal, such as a marker to be seen [m].")
    Field(
      "modelFactors", \.modelFactors, .table("a mapping from quantities to names and factors"),
      "Factors on parameters of the model: mass of bodies; friction and size of geoms; damping, armature, "
        + "frictionLoss and stiffness of joints, as in {mass: {torso: 1.2}}.")
    Field(
      "resetSeed", \.resetSeed,
      "Seed of every reset of an environment in a program of its own; null for 0.")
    Field(
      "resetOptions", \.resetOptions, "Options of the resets of such an environment: any mapping.")
    Field(
      "count", \.count, .between(1, 100_000),
      "How many conditions are made of this one, each with a draw of its own, or the next resetSeed."
    )
    Field("draw", \.draw, "What is drawn, and added to what the condition says.")
  } rule: { condition throws(InvalidOption) in
    for (body, offset) in condition.bodyOffsets.sorted(by: { $0.key < $1.key }) {
      try Check.count(3, "numbers: x, y, z").require(offset, "bodyOffsets.\(body)")
    }
    for (quantity, factors) in condition.modelFactors.sorted(by: { $0.key < $1.key }) {
      try checkQuantity(quantity, "modelFactors")
      for (name, factor) in factors.sorted(by: { $0.key < $1.key }) {
        try Check.above(0).require(factor, "modelFactors.\(quantity).\(name)")
      }
    }
    if condition.count > 1 {
      try InvalidOption.require(
        condition.draw.drawsAnything || condition.resetSeed != nil, "count", condition.count,
        "1 where nothing is drawn")
    }
  }
}

/// What of a condition is drawn, and when.
public struct DrawSettings: Sendable, Equatable {
  /// How often.
  public enum Frequency: String, Sendable, CaseIterable {
    /// Once, when the experiment is loaded: the condition is as fixed as any other.
    case once
    /// For every iteration.
    case iteration
    /// For every rollout.
    case rollout
  }

  /// How often.
  public var every = Frequency.once
  /// Of what is drawn once; the same for runs of all seeds.
  public var seed: UInt64 = 0
  /// Of the goal.
  public var goal: VectorDistribution?
  /// Of the initial state of a native system.
  public var state: VectorDistribution?
  /// Of positions of named joints.
  public var joints: [String: VectorDistribution] = [:]
  /// Of displacements of named bodies.
  public var bodyOffsets: [String: VectorDistribution] = [:]
  /// Of factors on parameters of the model: bounds, by quantity and name.
  public var modelFactors: [String: [String: [Double]]] = [:]

  /// Nothing is drawn.
  public init() {}

  var drawsAnything: Bool {
    goal != nil || state != nil || !joints.isEmpty || !bodyOffsets.isEmpty || !modelFactors.isEmpty
  }
}

extension DrawSettings.Frequency: Setting {}

extension DrawSettings: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "every", \.every,
      "How often: once, when the file is read; for every iteration; or for every rollout.")
    Field("seed", \.seed, "Of what is drawn once, in runs of any seed.")
    Field("goal", \.goal, "Added to the goal, or the goal itself where none is given.")
    Field("state", \.state, "Added to the initial state of a native system.")
    Field(
      "joints", \.joints, .table("a mapping from joints to distributions"),
      "Added to positions of joints: one number of a hinge or slide, x, y, z of a free joint [rad, m]."
    )
    Field(
      "bodyOffsets", \.bodyOffsets, .table("a mapping from bodies to distributions"),
      "Added to displacements of bodies: x, y, z [m].")
    Field(
      "modelFactors", \.modelFactors, .table("a mapping from quantities to names and bounds"),
      "Times factors on parameters of the model: [least, greatest], as in {mass: {torso: [0.8, 1.2]}}."
    )
  } rule: { draw throws(InvalidOption) in
    for (quantity, factors) in draw.modelFactors.sorted(by: { $0.key < $1.key }) {
      try checkQuantity(quantity, "modelFactors")
      for (name, bounds) in factors.sorted(by: { $0.key < $1.key }) {
        let key = "modelFactors.\(quantity).\(name)"
        try Check.count(2, "numbers: the least and the greatest factor").require(bounds, key)
        try Check.each(.above(0)).require(bounds, key)
        try InvalidOption.require(
          bounds[0] <= bounds[1], key, "\(bounds)", "the least factor, then the greatest")
      }
    }
  }
}

private func checkQuantity(_ quantity: String, _ key: String) throws(InvalidOption) {
  let all = ModelParameter.Quantity.allCases.map(\.rawValue)
  try InvalidOption.require(
    all.contains(quantity), "\(key).\(quantity)", quantity, "one of \(all.joined(separator: ", "))")
}

/// By parameter instead of by quantity and name.
private func flattened<Value>(_ table: [String: [String: Value]]) -> [ModelParameter: Value] {
  var result: [ModelParameter: Value] = [:]
  for (quantity, values) in table {
    guard let quantity = ModelParameter.Quantity(rawValue: quantity) else { continue }
    for (name, value) in values { result[ModelParameter(quantity, of: name)] = value }
  }
  return result
}

extension ConditionSettings {
  /// The goal; where only its draw is given, zeros to which that is added.
  var nominalGoal: [Double] {
    goal.isEmpty ? [Double](repeating: 0, count: draw.goal?.ownCount ?? 0) : goal
  }

  /// Adds to a condition what does not depend on the kind of system: factors, bodies that go with the
  /// goal, and draws.
  ///
  /// - Parameters:
  ///   - condition: from the other settings.
  ///   - starts: draws of its start.
  func complete(_ condition: inout Condition, starts: [ConditionDraws.Start]) {
    condition.modelFactors = flattened(modelFactors)
    for body in goalBodies where condition.goal.count >= 3 {
      let sum = zip(condition.bodyOffsets[body] ?? [0, 0, 0], condition.goal).map { $0 + $1 }
      condition.bodyOffsets[body] = sum
    }
    if !draw.drawsAnything { return }
    var draws = ConditionDraws()
    draws.every = draw.every == .iteration ? .iteration : .rollout
    draws.starts = starts
    draws.goal = draw.goal
    draws.bodyOffsets = draw.bodyOffsets
    draws.goalBodies = goalBodies
    draws.modelFactors = flattened(draw.modelFactors)
    condition.draws = draws
  }
}
