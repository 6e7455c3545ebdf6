import Configuration
import Dynamics
import GPSCore
import GlobalPolicy
import LQR
import PathIntegral
import PolicySearch
import SearchParts
import Sim
import Statistics

// The settings of experiment files, declared once: reading, writing, overrides and the reference all
// follow from these schemas.

extension Experiment {
  static var schema: Schema<Experiment> {
    Schema(
      Experiment(),
      [
        .required("task", \.task, .text, "Name of the experiment, for run directories."),
        Field("description", \.description, .text, "One line for people."),
        Field("seed", \.seed, .seed, "Root of all randomness."),
        .required("system", \.system, SystemSettings.codec, "What is controlled."),
        .required("horizon", \.horizon, .wholeNumber, "Control steps in a rollout."),
        .section("conditions", \.conditions, ConditionsSettings.schema, "Where rollouts start."),
        .required(
          "cost", \.cost, .list(of: CostSettings.codec, "a list of terms"),
          "What is minimised: the sum of these terms."),
        .required("success", \.success, SuccessSettings.codec, "What counts as a success."),
        .required(
          "initialController", \.initialController, InitialController.codec,
          "Local controllers of iteration 0, which hold the initial position and explore."),
        .section("algorithm", \.self, .algorithm, "The search and its step size."),
        Field(
          "rollouts", \.search.rollouts, Schema.rollouts.codec,
          "When a rollout is given up, and how often it is drawn again."),
        Field("noise", \.search.noise, Schema.noise.codec, "Exploration noise."),
        Field(
          "dynamics", \.dynamics, .source,
          "Fit of the dynamics; or \"known\", to linearise the task's own."),
        Field(
          "policyLinearization", \.policyLinearization, Schema.policyLinearization.codec,
          "Fit of linear controllers to the network, about the rollouts."),
        Field(
          "localOptimization", \.localOptimization, Schema.localOptimization.codec,
          "Search for the dual variable of the KL constraint."),
        Field(
          "pathIntegral", \.pathIntegral, Schema.pathIntegral.codec,
          "Local steps by sampled rollouts (localStep: pathIntegral or pilqr)."),
        Field(
          "badmm", \.badmm, Schema.badmm.codec,
          "How controllers and network are pulled together (algorithm.name: badmm)."),
        Field("network", \.network, Schema.network.codec, "The network."),
        Field("training", \.training, Schema.training.codec, "Training of the network."),
        Field(
          "optimization", \.optimization, Schema.optimization.codec,
          "Trajectory optimisation on known dynamics (gps optimize)."),
      ],
      validate: { experiment in
        try InvalidOption.require(
          !experiment.task.isEmpty && experiment.task.count <= 100, "task",
          "\"\(abbreviated(experiment.task))\"", "1 to 100 characters")
        try InvalidOption.require(
          (1...1_000_000).contains(experiment.horizon), "horizon", experiment.horizon,
          "between 1 and 1000000")
        try InvalidOption.require(
          !experiment.conditions.train.isEmpty, "conditions.train", "an empty list",
          "at least one condition")
        try InvalidOption.require(
          !experiment.cost.isEmpty, "cost", "an empty list", "at least one term")
      })
  }
}

// MARK: - Systems

extension SystemSettings {
  static var codec: Codec<SystemSettings> {
    .choice(
      "a system",
      [
        .settings(
          "mujoco", MuJoCoSettings.schema.codec, "A MuJoCo model.",
          make: { .mujoco($0) }, payload: { if case .mujoco(let value) = $0 { value } else { nil } }
        ),
        .settings(
          "native", NativeSettings.schema.codec, "A system that needs no simulator.",
          make: { .native($0) }, payload: { if case .native(let value) = $0 { value } else { nil } }
        ),
      ])
  }
}

extension MuJoCoSettings {
  static var schema: Schema<MuJoCoSettings> {
    Schema(
      MuJoCoSettings(),
      [
        .required("model", \.model, .text, "Model file (MJCF), relative to this file."),
        Field(
          "timestep", \.timestep, .optional(.number),
          "Seconds of one MuJoCo step; null for the model's own."),
        Field(
          "substeps", \.substeps, .wholeNumber,
          "MuJoCo steps per control: the control period is timestep times substeps."),
        .required(
          "state", \.state, .list(of: MuJoCoComponent.codec, "a list of components"),
          "What the state is made of."),
        Field(
          "observation", \.observation,
          .optional(.list(of: MuJoCoComponent.codec, "a list of components")),
          "What the policy sees; null for the state's components. It may tell less than the state."
        ),
        Field(
          "points", \.points, .list(of: .text, "a list of names"),
          "Sites that costs and success refer to by name."),
        Field(
          "stateLimit", \.stateLimit, .number,
          "A joint position or velocity beyond this magnitude fails the rollout."),
      ],
      validate: { settings in
        if let timestep = settings.timestep {
          try InvalidOption.require(timestep > 0, "timestep", timestep, "more than 0, or null")
        }
        try InvalidOption.require(
          (1...1_000_000).contains(settings.substeps), "substeps", settings.substeps,
          "between 1 and 1000000")
        try InvalidOption.require(
          !settings.state.isEmpty, "state", "an empty list",
          "at least one component, such as jointPositions")
        try InvalidOption.require(
          settings.stateLimit > 0, "stateLimit", settings.stateLimit, "more than 0")
      })
  }
}

/// Sites of a component and what their positions are taken relative to.
private struct SiteSettings: Sendable {
  var sites: [String] = []
  var relativeTo: String?

  static var codec: Codec<SiteSettings> {
    Schema(
      SiteSettings(),
      [
        .required("sites", \.sites, .list(of: .text, "a list of names"), "Names of sites."),
        Field(
          "relativeTo", \.relativeTo, .optional(.text),
          "A site whose values are subtracted; null for world coordinates."),
      ],
      validate: {
        try InvalidOption.require(!$0.sites.isEmpty, "sites", "an empty list", "at least one site")
      }
    ).codec
  }
}

private struct JointSettings: Sendable {
  var joints: [String]?

  static var codec: Codec<JointSettings> {
    Schema(
      JointSettings(),
      [
        Field(
          "joints", \.joints, .optional(.list(of: .text, "a list of names")),
          "Names of joints; null for all, in the model's order.")
      ]
    ).codec
  }
}

extension MuJoCoComponent {
  static var codec: Codec<MuJoCoComponent> {
    .choice(
      "a component",
      [
        .settings(
          "jointPositions", JointSettings.codec, "Joint positions [rad, m].",
          make: { .jointPositions(joints: $0.joints) },
          payload: {
            if case .jointPositions(let joints) = $0 { JointSettings(joints: joints) } else { nil }
          }),
        .settings(
          "jointVelocities", JointSettings.codec, "Joint velocities [rad/s, m/s].",
          make: { .jointVelocities(joints: $0.joints) },
          payload: {
            if case .jointVelocities(let joints) = $0 { JointSettings(joints: joints) } else { nil }
          }),
        .settings(
          "sitePositions", SiteSettings.codec, "Positions of sites [m].",
          make: { .sitePositions(sites: $0.sites, relativeTo: $0.relativeTo) },
          payload: {
            if case .sitePositions(let sites, let other) = $0 {
              SiteSettings(sites: sites, relativeTo: other)
            } else {
              nil
            }
          }),
        .settings(
          "siteVelocities", SiteSettings.codec, "Linear velocities of sites [m/s].",
          make: { .siteVelocities(sites: $0.sites, relativeTo: $0.relativeTo) },
          payload: {
            if case .siteVelocities(let sites, let other) = $0 {
              SiteSettings(sites: sites, relativeTo: other)
            } else {
              nil
            }
          }),
        .settings(
          "sensors", .list(of: .text, "a list of names"), "Readings of the model's sensors.",
          make: { .sensors($0) },
          payload: { if case .sensors(let names) = $0 { names } else { nil } }),
        .word(
          "actuatorActivations", .actuatorActivations, "Activations of actuators that have them.",
          matches: { $0 == .actuatorActivations }),
        .word("goal", .goal, "The condition's goal.", matches: { $0 == .goal }),
      ])
  }
}

extension NativeSettings {
  static var schema: Schema<NativeSettings> {
    Schema(
      NativeSettings(),
      [
        .required("model", \.model, NativeModel.codec, "The equations and their parameters."),
        Field("controlPeriod", \.controlPeriod, .number, "Seconds between two controls."),
        Field("substeps", \.substeps, .wholeNumber, "Integration steps per control."),
        Field("integrator", \.integrator, .word, "How each integration step is taken."),
        Field(
          "observation", \.observation, NativeObservationSettings.schema.codec,
          "What the policy sees."),
      ],
      validate: { settings in
        try InvalidOption.require(
          settings.controlPeriod > 0, "controlPeriod", settings.controlPeriod, "more than 0")
        try InvalidOption.require(
          (1...1_000_000).contains(settings.substeps), "substeps", settings.substeps,
          "between 1 and 1000000")
      })
  }
}

extension NativeObservationSettings {
  static var schema: Schema<NativeObservationSettings> {
    Schema(
      NativeObservationSettings(),
      [
        Field(
          "state", \.state, .optional(.list(of: .text, "a list of names")),
          "Names of entries of the state; null for all."),
        Field(
          "points", \.points, .list(of: .text, "a list of names"),
          "Points whose positions are seen."
        ),
        Field("goal", \.goal, .truth, "Whether the condition's goal is seen."),
      ])
  }
}

extension NativeModel {
  static var codec: Codec<NativeModel> {
    .choice(
      "a model",
      [
        .settings(
          "pointMass", PointMass.schema.codec, "A mass in the plane, pushed by two forces.",
          make: { .pointMass($0) },
          payload: { if case .pointMass(let value) = $0 { value } else { nil } }),
        .settings(
          "cartPole", CartPole.schema.codec, "A pole hinged to a cart; angle 0 is upright.",
          make: { .cartPole($0) },
          payload: { if case .cartPole(let value) = $0 { value } else { nil } }),
        .settings(
          "twoLinkArm", TwoLinkArm.schema.codec, "Two links in a plane, driven at both joints.",
          make: { .twoLinkArm($0) },
          payload: { if case .twoLinkArm(let value) = $0 { value } else { nil } }),
      ])
  }
}

extension PointMass {
  static var schema: Schema<PointMass> {
    Schema(
      PointMass(),
      [
        Field("mass", \.mass, .number, "Mass [kg]."),
        Field("damping", \.damping, .number, "Viscous friction [N s/m]."),
        Field(
          "forceLimit", \.forceLimit, .optional(.number),
          "Largest force along each axis [N]; null for no limit."),
        Field("walls", \.walls, .optional(Walls.schema.codec), "Walls of a room; null for none."),
      ])
  }
}

extension PointMass.Walls {
  static var schema: Schema<PointMass.Walls> {
    Schema(
      PointMass.Walls(lower: [-1, -1], upper: [1, 1]),
      [
        .required("lower", \.lower, .numbers, "Lowest x and y [m]."),
        .required("upper", \.upper, .numbers, "Highest x and y [m]."),
      ])
  }
}

extension CartPole {
  static var schema: Schema<CartPole> {
    Schema(
      CartPole(),
      [
        Field("cartMass", \.cartMass, .number, "Mass of the cart [kg]."),
        Field("poleMass", \.poleMass, .number, "Mass of the pole [kg]."),
        Field("poleLength", \.poleLength, .number, "Length of the pole [m]."),
        Field("cartDamping", \.cartDamping, .number, "Friction of the rail [N s/m]."),
        Field("poleDamping", \.poleDamping, .number, "Friction of the hinge [N m s/rad]."),
        Field("gravity", \.gravity, .number, "Gravity [m/s²]."),
        Field(
          "forceLimit", \.forceLimit, .optional(.number),
          "Largest force on the cart [N]; null for no limit."),
      ])
  }
}

extension TwoLinkArm {
  static var schema: Schema<TwoLinkArm> {
    Schema(
      TwoLinkArm(),
      [
        Field("masses", \.masses, .numbers, "Masses of the two links [kg]."),
        Field("lengths", \.lengths, .numbers, "Lengths of the two links [m]."),
        Field("damping", \.damping, .number, "Friction of each joint [N m s/rad]."),
        Field("gravity", \.gravity, .number, "Gravity in the plane [m/s²]."),
        Field(
          "torqueLimit", \.torqueLimit, .optional(.number),
          "Largest torque at each joint [N m]; null for no limit."),
      ])
  }
}

// MARK: - Conditions

extension ConditionsSettings {
  static var schema: Schema<ConditionsSettings> {
    Schema(
      ConditionsSettings(),
      [
        .section(
          "common", \.common, ConditionSettings.schema,
          "What holds for every condition that does not say otherwise."),
        .list(
          "train", \.train, of: ConditionSettings.schema, over: \.common,
          "Conditions that are trained on."),
        .list(
          "test", \.test, of: ConditionSettings.schema, over: \.common,
          "Conditions that are evaluated and never trained on."),
      ])
  }
}

extension ConditionSettings {
  static var schema: Schema<ConditionSettings> {
    Schema(
      ConditionSettings(),
      [
        Field("name", \.name, .text, "Name in CSV files; if empty, the condition's number."),
        Field(
          "keyframe", \.keyframe, .optional(.text),
          "Keyframe of the model to start from; null for its reference configuration."),
        Field(
          "jointPositions", \.jointPositions, .optional(.numbers),
          "Initial joint positions; null for the keyframe's."),
        Field(
          "jointVelocities", \.jointVelocities, .optional(.numbers),
          "Initial joint velocities; null for the keyframe's."),
        Field(
          "state", \.state, .optional(.numbers),
          "Initial state of a native system; null for zeros."),
        Field(
          "positionDeviation", \.positionDeviation, .numberOrNumbers,
          "Standard deviation of noise on joint positions, or on a native system's state."),
        Field(
          "velocityDeviation", \.velocityDeviation, .numberOrNumbers,
          "Standard deviation of noise on joint velocities."),
        Field(
          "bodyOffsets", \.bodyOffsets, .table(of: .numbers, "a mapping from bodies to [x, y, z]"),
          "Displacements of bodies, in their parents' frames [m]."),
        Field("goal", \.goal, .numbers, "The goal, in units the costs define."),
      ],
      validate: { condition in
        for (key, numbers) in [
          ("positionDeviation", condition.positionDeviation),
          ("velocityDeviation", condition.velocityDeviation),
        ] {
          for number in numbers {
            try InvalidOption.require(number >= 0, key, shortest(number), "at least 0")
          }
        }
        for (body, offset) in condition.bodyOffsets.sorted(by: { $0.key < $1.key }) {
          try InvalidOption.require(
            offset.count == 3, "bodyOffsets.\(body)", "a list of \(offset.count)",
            "3 numbers: x, y, z")
        }
      })
  }
}

// MARK: - Costs

extension Codec where Value == [Double] {
  /// A list of numbers.
  static let numbers = Codec.list(of: .number, "a list of numbers")

  /// A list of numbers, or one number.
  static let numberOrNumbers = Codec(
    expects: "a number, or a list of numbers",
    read: { (tree, path) throws(SettingsError) in
      switch tree.content {
      case .list: return try numbers.read(tree, path)
      case .plain: return [try Codec<Double>.number.read(tree, path)]
      default: throw wrongType(tree, path, "a number, or a list of numbers")
      }
    },
    write: { $0.count == 1 ? .plain(shortest($0[0])) : numbers.write($0) })
}

extension CostSettings {
  static var codec: Codec<CostSettings> {
    .choice(
      "a term",
      [
        .settings(
          "control", ControlCostSettings.schema.codec, "Effort: half the weighted squares.",
          make: { .control($0) },
          payload: { if case .control(let value) = $0 { value } else { nil } }),
        .settings(
          "state", StateCostSettings.schema.codec, "Entries of the state and their targets.",
          make: { .state($0) }, payload: { if case .state(let value) = $0 { value } else { nil } }),
        .settings(
          "point", PointCostSettings.schema.codec, "Points in space and their targets.",
          make: { .point($0) }, payload: { if case .point(let value) = $0 { value } else { nil } }),
        .settings(
          "region", RegionCostSettings.schema.codec, "A price for points in a region.",
          make: { .region($0) },
          payload: { if case .region(let value) = $0 { value } else { nil } }),
      ])
  }
}

/// `weight` of a term: finite and not negative.
private func requireWeight(_ weight: Double) throws {
  try InvalidOption.require(weight >= 0, "weight", shortest(weight), "at least 0")
}

private func requireNotNegative(_ numbers: [Double], _ key: String) throws {
  for number in numbers {
    try InvalidOption.require(number >= 0, key, shortest(number), "at least 0")
  }
}

extension ControlCostSettings {
  static var schema: Schema<ControlCostSettings> {
    Schema(
      ControlCostSettings(),
      [
        Field("weights", \.weights, .numberOrNumbers, "One per control, or one for all."),
        Field("ramp", \.ramp, Ramp.codec, "The factor over time."),
        Field("weight", \.weight, .number, "The factor on the term."),
      ],
      validate: {
        try requireNotNegative($0.weights, "weights")
        try requireWeight($0.weight)
      })
  }
}

/// The settings of a norm, which stand beside those of the term that it belongs to.
private func normFields<Root: Sendable>(
  _ norm: any WritableKeyPath<Root, Norm> & Sendable
) -> [Field<Root>] {
  func field<Value: Sendable>(
    _ key: String, _ path: any WritableKeyPath<Norm, Value> & Sendable, _ codec: Codec<Value>,
    _ text: String
  ) -> Field<Root> {
    Field(key, norm, path, codec, text)
  }
  return [
    field("l2", \.l2, .number, "Weight of half the squared distance."),
    field("l1", \.l1, .number, "Weight of the distance, rounded off near zero (pseudo-Huber)."),
    field("log", \.log, .number, "Weight of half the log of the squared distance (Lorentzian)."),
    field("alpha", \.alpha, .number, "Where l1 and log become round, in squared distance."),
    field("gaussNewton", \.gaussNewton, .truth, "Whether curvature is kept positive semidefinite."),
  ]
}

private func requireNorm(_ norm: Norm) throws {
  for (key, weight) in [("l2", norm.l2), ("l1", norm.l1), ("log", norm.log)] {
    try InvalidOption.require(weight >= 0, key, shortest(weight), "at least 0")
  }
  try InvalidOption.require(norm.alpha > 0, "alpha", shortest(norm.alpha), "more than 0")
}

extension StateCostSettings {
  static var schema: Schema<StateCostSettings> {
    Schema(
      StateCostSettings(),
      [
        Field(
          "entries", \.entries, .optional(.list(of: .text, "a list of names")),
          "Names of entries or components, such as jointVelocities; null for the whole state."),
        Field("target", \.target, TargetSettings.codec(points: false), "Where they should be."),
        Field("weights", \.weights, .numberOrNumbers, "One per entry, or one for all."),
      ] + normFields(\.norm) + [
        Field("ramp", \.ramp, Ramp.codec, "The factor over time."),
        Field("weight", \.weight, .number, "The factor on the term."),
      ],
      validate: {
        try requireNotNegative($0.weights, "weights")
        try requireNorm($0.norm)
        try requireWeight($0.weight)
      })
  }
}

extension PointCostSettings {
  static var schema: Schema<PointCostSettings> {
    Schema(
      PointCostSettings(),
      [
        .required("points", \.points, .list(of: .text, "a list of names"), "Names of points."),
        .required("target", \.target, TargetSettings.codec(points: true), "Where they should be."),
        Field(
          "weights", \.weights, .numberOrNumbers,
          "x, y, z of each point in turn, or one number for all."),
      ] + normFields(\.norm) + [
        Field("ramp", \.ramp, Ramp.codec, "The factor over time."),
        Field("weight", \.weight, .number, "The factor on the term."),
      ],
      validate: {
        try InvalidOption.require(
          !$0.points.isEmpty, "points", "an empty list", "at least one point")
        try requireNotNegative($0.weights, "weights")
        try requireNorm($0.norm)
        try requireWeight($0.weight)
      })
  }
}

extension RegionCostSettings {
  static var schema: Schema<RegionCostSettings> {
    Schema(
      RegionCostSettings(),
      [
        .required("points", \.points, .list(of: .text, "a list of names"), "Names of points."),
        .required("region", \.region, RegionSettings.codec, "The part of space."),
        Field("side", \.side, .word, "The side that costs."),
        Field("profile", \.profile, .word, "How the price depends on depth."),
        Field("smoothing", \.smoothing, .number, "Width of the step [m]."),
        Field("margin", \.margin, .number, "How far before the boundary the price begins [m]."),
        Field(
          "gaussNewton", \.gaussNewton, .truth, "Whether curvature is kept positive semidefinite."),
        Field("ramp", \.ramp, Ramp.codec, "The factor over time."),
        Field("weight", \.weight, .number, "The factor on the term."),
      ],
      validate: {
        try InvalidOption.require(
          !$0.points.isEmpty, "points", "an empty list", "at least one point")
        try InvalidOption.require(
          $0.smoothing > 0, "smoothing", shortest($0.smoothing), "more than 0")
        try requireWeight($0.weight)
      })
  }
}

extension RegionSettings {
  private struct Ball: Sendable {
    var center = TargetSettings.numbers([0, 0, 0])
    var radius = 1.0
  }

  private struct Box: Sendable {
    var center = TargetSettings.numbers([0, 0, 0])
    var halfExtents: [Double?] = [1, 1, 1]
  }

  static var codec: Codec<RegionSettings> {
    let center = TargetSettings.codec(points: true)
    let ball = Schema(
      Ball(),
      [
        .required("center", \.center, center, "The centre."),
        .required("radius", \.radius, .number, "The radius [m]."),
      ],
      validate: {
        try InvalidOption.require($0.radius > 0, "radius", shortest($0.radius), "more than 0")
      })
    let box = Schema(
      Box(),
      [
        .required("center", \.center, center, "The centre."),
        .required(
          "halfExtents", \.halfExtents,
          .list(of: .optional(.number), "a list of numbers, null where there is no end"),
          "Half the extents in x, y and z [m]."),
      ],
      validate: { box in
        try InvalidOption.require(
          box.halfExtents.count == 3, "halfExtents", "a list of \(box.halfExtents.count)",
          "3 numbers: x, y, z (null where there is no end)")
        for case let extent? in box.halfExtents {
          try InvalidOption.require(extent > 0, "halfExtents", shortest(extent), "more than 0")
        }
      })
    return .choice(
      "a region",
      [
        .settings(
          "ball", ball.codec, "Everything within a radius.",
          make: { .ball(center: $0.center, radius: $0.radius) },
          payload: {
            if case .ball(let center, let radius) = $0 {
              Ball(center: center, radius: radius)
            } else {
              nil
            }
          }),
        .settings(
          "box", box.codec, "Everything between walls along the axes.",
          make: { .box(center: $0.center, halfExtents: $0.halfExtents) },
          payload: {
            if case .box(let center, let halfExtents) = $0 {
              Box(center: center, halfExtents: halfExtents)
            } else {
              nil
            }
          }),
      ])
  }
}

extension Ramp {
  static var codec: Codec<Ramp> {
    let schema = Schema(
      Ramp(),
      [
        Field("shape", \.shape, .word, "The course from step 0 to step T."),
        Field(
          "finalMultiplier", \.finalMultiplier, .number, "A further factor at step T alone."),
      ],
      validate: {
        try InvalidOption.require(
          $0.finalMultiplier >= 0, "finalMultiplier", shortest($0.finalMultiplier), "at least 0")
      })
    let word = Codec<Shape>.word
    return Codec(
      expects: word.expects + ", or a mapping", entries: schema.codec.entries,
      read: { (tree, path) throws(SettingsError) in
        if case .mapping = tree.content { return try schema.read(tree, path) }
        return Ramp(try word.read(tree, path))
      },
      write: { $0.finalMultiplier == 1 ? word.write($0.shape) : schema.codec.write($0) })
  }
}

extension TargetSettings {
  private enum Key: Sendable {
    case goal(first: Int)
    case points([String])
  }

  /// Numbers, the goal or a part of it, or (for points) other points.
  static func codec(points allowsPoints: Bool) -> Codec<TargetSettings> {
    let expects =
      "numbers, goal, {goal: first number}" + (allowsPoints ? " or {points: [names]}" : "")
    let goal = Alternative<TargetSettings>.settings(
      "goal", .wholeNumber, "The condition's goal, from this number on (the first is 0).",
      make: { .goal(first: $0) },
      payload: { if case .goal(let first) = $0 { first } else { nil } })
    let names = Alternative<TargetSettings>.settings(
      "points", .list(of: .text, "a list of names"), "Other points, which may move.",
      make: { .points($0) },
      payload: { if case .points(let names) = $0 { names } else { nil } })
    let choice = Codec<TargetSettings>.choice(
      "a target", allowsPoints ? [goal, names] : [goal])
    return Codec(
      expects: expects, entries: choice.entries,
      read: { (tree, path) throws(SettingsError) in
        switch tree.content {
        case .list: return .numbers(try Codec<[Double]>.numbers.read(tree, path))
        case .plain("goal"), .quoted("goal"): return .goal(first: 0)
        case .plain where !allowsPoints:
          if let numbers = try? Codec<[Double]>.numberOrNumbers.read(tree, path) {
            return .numbers(numbers)
          }
          throw wrongType(tree, path, expects)
        case .mapping:
          let target = try choice.read(tree, path)
          if case .goal(let first) = target, first < 0 {
            throw SettingsError(
              origin: tree.origin(of: "goal"), path: join(path, "goal"), value: "\(first)",
              allowed: "at least 0")
          }
          return target
        default: throw wrongType(tree, path, expects)
        }
      },
      write: { target in
        switch target {
        case .numbers(let numbers):
          allowsPoints
            ? Codec<[Double]>.numbers.write(numbers)
            : Codec<[Double]>.numberOrNumbers.write(numbers)
        case .goal(0): .quoted("goal")
        default: choice.write(target)
        }
      })
  }
}

// MARK: - Success

extension SuccessSettings {
  private struct Distance: Sendable {
    var point = ""
    var target = TargetSettings.goal(first: 0)
    var below = 0.0
    var at = SuccessCriterion.Moment.final
  }

  private struct Within: Sendable {
    var entries: [String] = []
    var target = TargetSettings.numbers([0])
    var tolerance: [Double] = [0]
    var at = SuccessCriterion.Moment.final
  }

  private struct Inside: Sendable {
    var point = ""
    var region = RegionSettings.ball(center: .numbers([0, 0, 0]), radius: 1)
    var at = SuccessCriterion.Moment.final
  }

  static var codec: Codec<SuccessSettings> { codec(depth: 0) }

  // A criterion may hold others; files are not deeper than `SettingsTree` allows, and so the schema
  // need not be.
  private static func codec(depth: Int) -> Codec<SuccessSettings> {
    let at = SuccessCriterion.Moment.codec
    let distance = Schema(
      Distance(),
      [
        .required("point", \.point, .text, "Name of a point."),
        .required("target", \.target, TargetSettings.codec(points: true), "Where it should be."),
        .required("below", \.below, .number, "The distance that is near enough [m]."),
        Field("at", \.at, at, "When."),
      ],
      validate: {
        try InvalidOption.require($0.below > 0, "below", shortest($0.below), "more than 0")
      })
    let within = Schema(
      Within(),
      [
        .required(
          "entries", \.entries, .list(of: .text, "a list of names"),
          "Names of entries or components of the state."),
        Field("target", \.target, TargetSettings.codec(points: false), "Where they should be."),
        .required("tolerance", \.tolerance, .numberOrNumbers, "One per entry, or one for all."),
        Field("at", \.at, at, "When."),
      ],
      validate: {
        for number in $0.tolerance {
          try InvalidOption.require(number > 0, "tolerance", shortest(number), "more than 0")
        }
      })
    let inside = Schema(
      Inside(),
      [
        .required("point", \.point, .text, "Name of a point."),
        .required("region", \.region, RegionSettings.codec, "The part of space."),
        Field("at", \.at, at, "When."),
      ])
    var alternatives: [Alternative<SuccessSettings>] = [
      .settings(
        "pointDistance", distance.codec, "A point is near its target.",
        make: { .pointDistance(point: $0.point, target: $0.target, below: $0.below, at: $0.at) },
        payload: {
          if case .pointDistance(let point, let target, let below, let at) = $0 {
            Distance(point: point, target: target, below: below, at: at)
          } else {
            nil
          }
        }),
      .settings(
        "stateWithin", within.codec, "Entries of the state are near their targets.",
        make: {
          .stateWithin(entries: $0.entries, target: $0.target, tolerance: $0.tolerance, at: $0.at)
        },
        payload: {
          if case .stateWithin(let entries, let target, let tolerance, let at) = $0 {
            Within(entries: entries, target: target, tolerance: tolerance, at: at)
          } else {
            nil
          }
        }),
      .settings(
        "pointInside", inside.codec, "A point is inside a region.",
        make: { .pointInside(point: $0.point, region: $0.region, at: $0.at) },
        payload: {
          if case .pointInside(let point, let region, let at) = $0 {
            Inside(point: point, region: region, at: at)
          } else {
            nil
          }
        }),
      .settings(
        "pointOutside", inside.codec, "A point is outside a region.",
        make: { .pointOutside(point: $0.point, region: $0.region, at: $0.at) },
        payload: {
          if case .pointOutside(let point, let region, let at) = $0 {
            Inside(point: point, region: region, at: at)
          } else {
            nil
          }
        }),
    ]
    if depth < 2 {
      alternatives.append(
        .settings(
          "all", .list(of: codec(depth: depth + 1), "a list of criteria"),
          "All of these criteria.",
          make: { .all($0) },
          payload: { if case .all(let criteria) = $0 { criteria } else { nil } }
        ).withoutReferences)
    }
    return .choice("a criterion", alternatives)
  }
}

extension Alternative {
  /// The same alternative, whose settings the reference does not list again.
  fileprivate var withoutReferences: Alternative {
    var entry = reference
    entry.entries = []
    return Alternative(key: key, isWord: isWord, reference: entry, read: read, write: write)
  }
}

extension SuccessCriterion.Moment {
  static var codec: Codec<SuccessCriterion.Moment> {
    .choice(
      "a moment",
      [
        .word("final", .final, "At step T.", matches: { $0 == .final }),
        .word("any", .any, "At one step at least.", matches: { $0 == .any }),
        .word("always", .always, "At every step.", matches: { $0 == .always }),
        .settings(
          "last", .wholeNumber, "At each of the last so many steps.",
          make: { .last($0) }, payload: { if case .last(let count) = $0 { count } else { nil } }),
      ])
  }
}

// MARK: - Initial controllers

extension InitialController {
  static var codec: Codec<InitialController> {
    .choice(
      "an initial controller",
      [
        .settings(
          "lqr", LQROptions.schema.codec, "LQR about a double-integrator guess of the joints.",
          make: { .lqr($0) }, payload: { if case .lqr(let value) = $0 { value } else { nil } }),
        .settings(
          "pd", PDOptions.schema.codec, "Proportional and derivative gains.",
          make: { .pd($0) }, payload: { if case .pd(let value) = $0 { value } else { nil } }),
      ])
  }
}

extension InitialController.LQROptions {
  static var schema: Schema<InitialController.LQROptions> {
    Schema(
      InitialController.LQROptions(gains: [1]),
      [
        .required(
          "gains", \.gains, .numberOrNumbers,
          "Control per unit of acceleration of its joint; one per control, or one for all."),
        Field(
          "variance", \.variance, .numberOrNumbers,
          "The factor on the covariance; one per control, or one for all."),
        Field("stiffness", \.stiffness, .number, "Weight of the position."),
        Field(
          "velocityStiffness", \.velocityStiffness, .number,
          "Weight of the velocity, relative to stiffness [s²]."),
        Field("finalWeight", \.finalWeight, .number, "The factor on both at the last step."),
        Field("effort", \.effort, .word, "What counts as effort."),
      ],
      validate: { options in
        for (key, numbers) in [("gains", options.gains), ("variance", options.variance)] {
          for number in numbers {
            try InvalidOption.require(number > 0, key, shortest(number), "more than 0")
          }
        }
        for (key, number) in [
          ("stiffness", options.stiffness), ("velocityStiffness", options.velocityStiffness),
          ("finalWeight", options.finalWeight),
        ] {
          try InvalidOption.require(number >= 0, key, shortest(number), "at least 0")
        }
      })
  }
}

extension InitialController.PDOptions {
  static var schema: Schema<InitialController.PDOptions> {
    Schema(
      InitialController.PDOptions(positionGains: [1], velocityGains: [1]),
      [
        .required(
          "positionGains", \.positionGains, .numberOrNumbers,
          "Control per unit of position error; one per control, or one for all."),
        .required(
          "velocityGains", \.velocityGains, .numberOrNumbers,
          "Control per unit of velocity; one per control, or one for all."),
        Field(
          "variance", \.variance, .numberOrNumbers,
          "Variance of the noise; one per control, or one for all."),
      ],
      validate: { options in
        try requireNotNegative(options.positionGains, "positionGains")
        try requireNotNegative(options.velocityGains, "velocityGains")
        for number in options.variance {
          try InvalidOption.require(number > 0, "variance", shortest(number), "more than 0")
        }
      })
  }
}

// MARK: - Stages

extension Schema where Root == Experiment {
  static var algorithm: Schema<Experiment> {
    Schema(
      Experiment(),
      [
        Field(
          "name", \.algorithm, .kind(couplings),
          "How local controllers and network hold each other."),
        Field(
          "localStep", \.localStep, .kind(localSteps), "How a local controller is improved."),
        Field("iterations", \.search.iterations, .wholeNumber, "Iterations."),
        Field("samples", \.search.samples, .wholeNumber, "Rollouts per condition and iteration."),
        Field(
          "sampling", \.search.sampling, .optional(.word),
          "Which policy rolls out after iteration 0: the network, or the local controllers; null for "
            + "what suits the algorithm."),
        Field(
          "klStep", \.search.klStep, .number,
          "Bound on the KL divergence per time step [nats], before the step multiplier."),
        Field(
          "klStepDecay", \.search.klStepDecay, .number,
          "The factor on klStep from one iteration to the next."),
        Field(
          "minStepMultiplier", \.search.minStepMultiplier, .number, "Smallest step multiplier."),
        Field("maxStepMultiplier", \.search.maxStepMultiplier, .number, "Largest step multiplier."),
        Field(
          "modelSamples", \.search.modelSamples, .wholeNumber,
          "Trajectories per condition that are drawn from the fitted dynamics under the new controller "
            + "and added to what the network learns from."),
      ],
      // The stages have sections of their own, which answer for themselves.
      validate: { try $0.search.validateOwnOptions() })
  }
}

extension Schema where Root == RolloutOptions {
  static var rollouts: Schema<RolloutOptions> {
    Schema(
      RolloutOptions(),
      [
        Field(
          "maxAttempts", \.maxAttempts, .wholeNumber,
          "Tries of a rollout that fails, the first included."),
        Field(
          "timeLimit", \.timeLimit, .optional(.number),
          "Seconds that a rollout may take; null for any time. Results then depend on the machine."
        ),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Schema where Root == ExplorationNoise {
  static var noise: Schema<ExplorationNoise> {
    Schema(
      ExplorationNoise(),
      [
        Field("scale", \.scale, .number, "A factor: 1 explores with the policy's own covariance."),
        Field(
          "smoothing", \.smoothing, .number,
          "Standard deviation of a Gaussian filter over time [control steps]; 0 for white noise, from "
            + "which dynamics are easiest to fit."),
        Field(
          "renormalizes", \.renormalizes, .truth,
          "Whether filtered noise is brought back to unit variance."),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Schema where Root == GaussianMixture.Options {
  static var mixture: Schema<GaussianMixture.Options> {
    Schema(
      GaussianMixture.Options(),
      [
        Field("maxClusters", \.maxClusters, .wholeNumber, "Most clusters."),
        Field(
          "minSamplesPerCluster", \.minSamplesPerCluster, .wholeNumber,
          "Data points per cluster: decides the number of clusters."),
        Field("maxIterations", \.maxIterations, .wholeNumber, "Most passes of EM."),
        Field(
          "tolerance", \.tolerance, .number,
          "EM stops when the log-likelihood changes by less than this share."),
        Field(
          "covarianceFloor", \.covarianceFloor, .number,
          "Added to each dimension's variance, as a share of that over the data."),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Schema where Root == LinearGaussianRegression.Options {
  static var regression: Schema<LinearGaussianRegression.Options> {
    Schema(
      LinearGaussianRegression.Options(),
      [
        Field("strength", \.strength, .number, "The number of samples the prior counts for."),
        Field(
          "regularization", \.regularization, .number,
          "Added to the variance of each input, as a share of it."),
        Field(
          "covarianceFloor", \.covarianceFloor, .number,
          "Added to the variance of each output, as a share of that over the data."),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Codec where Value == DynamicsSource {
  /// The options of the fit; or "known", or those of known dynamics under that key.
  static var source: Codec {
    let fit = Schema<LinearGaussianFitter.Options>.dynamics.codec
    let known = Schema<DynamicsLinearizer.Options>.linearizer.codec
    return Codec(
      expects: "the options of a fit, or known",
      entries: fit.entries + [
        ReferenceEntry(
          key: "known", expects: known.expects,
          text: "Instead of all others: linearise the task's own dynamics; fit nothing.",
          entries: known.entries)
      ],
      read: { (tree, path) throws(SettingsError) in
        switch tree.content {
        case .plain("known"), .quoted("known"): return .known(DynamicsLinearizer.Options())
        case .mapping(let entries) where entries.count == 1 && entries[0].key == "known":
          return .known(try known.read(entries[0].value, join(path, "known")))
        case .mapping: return .fitted(try fit.read(tree, path))
        default: throw wrongType(tree, path, "a mapping of settings, or known")
        }
      },
      write: { source in
        switch source {
        case .fitted(let options): fit.write(options)
        case .known(let options):
          .mapping([
            SettingsTree.Entry(key: "known", content: known.write(options))
          ])
        }
      })
  }
}

extension Schema where Root == DynamicsLinearizer.Options {
  static var linearizer: Schema<DynamicsLinearizer.Options> {
    Schema(
      DynamicsLinearizer.Options(),
      [
        Field(
          "processNoise", \.processNoise, .number,
          "Standard deviation of the noise, as a share of each state's over the rollouts."),
        Field(
          "initialCovarianceFloor", \.initialCovarianceFloor, .number,
          "Added to the initial state's variance, as a share of that over the rollouts."),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Schema where Root == LinearGaussianFitter.Options {
  static var dynamics: Schema<LinearGaussianFitter.Options> {
    Schema(
      LinearGaussianFitter.Options(),
      [
        Field("prior", \.prior, .word, "Where the prior at each time step comes from."),
        Field(
          "maxTrajectories", \.maxTrajectories, .wholeNumber,
          "How many of the last rollouts the mixture is fitted to."),
        .section("mixture", \.mixture, .mixture, "Fit of the mixture."),
        .section("regression", \.regression, .regression, "The regression at each time step."),
        Field(
          "initialCovarianceFloor", \.initialCovarianceFloor, .number,
          "Added to the initial state's variance, as a share of that over the rollouts."),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Schema where Root == PolicyLinearizer.Options {
  static var policyLinearization: Schema<PolicyLinearizer.Options> {
    Schema(
      PolicyLinearizer.Options(),
      [
        Field(
          "maxTrajectories", \.maxTrajectories, .wholeNumber,
          "How many of the last rollouts the mixture is fitted to."),
        .section("mixture", \.mixture, .mixture, "Fit of the mixture."),
        .section("regression", \.regression, .regression, "The regression at each time step."),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Schema where Root == KLConstrainedLQR.Options {
  static var localOptimization: Schema<KLConstrainedLQR.Options> {
    Schema(
      KLConstrainedLQR.Options(),
      [
        Field("tolerance", \.tolerance, .number, "Relative distance from the bound to stop at."),
        Field("maxPasses", \.maxPasses, .wholeNumber, "Most backward passes."),
        Field("minDual", \.minDual, .number, "Smallest dual variable."),
        Field("maxDual", \.maxDual, .number, "Largest dual variable."),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Schema where Root == PathIntegralUpdate.Options {
  static var pathIntegral: Schema<PathIntegralUpdate.Options> {
    Schema(
      PathIntegralUpdate.Options(),
      [
        Field(
          "temperatureFloor", \.temperatureFloor, .number,
          "Smallest temperature, as a share of the costs' spread."),
        Field("covariance", \.covariance, .word, "How the rollouts change the covariance."),
        Field(
          "covarianceDamping", \.covarianceDamping, .number,
          "The covariance moves by this root of its ratio to the old one."),
        Field(
          "covarianceFloor", \.covarianceFloor, .number,
          "Smallest variance, as a share of the old one."),
        Field(
          "centersNoise", \.centersNoise, .truth,
          "Whether the rollouts' mean noise is left out (always so in pilqr)."),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Schema where Root == BADMM.Options {
  static var badmm: Schema<BADMM.Options> {
    Schema(
      BADMM.Options(),
      [
        Field("rounds", \.rounds, .wholeNumber, "Turns of local step and training in an iteration."),
        Field(
          "initialWeight", \.initialWeight, .number,
          "Weight of the divergence between controller and network at first [cost per nat]."),
        Field(
          "rate", \.lagrangian.rate, .number, "How fast the multipliers follow the difference."),
        Field(
          "deviations", \.lagrangian.deviations, .number,
          "Standard deviations over time of a step's divergence from which its weight changes."),
        Field("factor", \.lagrangian.factor, .number, "The factor by which it then changes."),
        Field("smallestWeight", \.lagrangian.smallestWeight, .number, "Smallest weight."),
        Field("largestWeight", \.lagrangian.largestWeight, .number, "Largest weight."),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Schema where Root == OptimizationSettings {
  static var optimization: Schema<OptimizationSettings> {
    Schema(
      OptimizationSettings(),
      [
        Field("maxIterations", \.ilqr.maxIterations, .wholeNumber, "Most iterations."),
        Field(
          "tolerance", \.ilqr.tolerance, .number,
          "Promised improvement, as a share of 1 + |cost|, at which the search has converged."),
        Field(
          "gapTolerance", \.ilqr.gapTolerance, .number,
          "Largest gap between a state and what the dynamics make of the one before."),
        Field(
          "secondDerivatives", \.ilqr.secondDerivatives, .truth,
          "Whether second derivatives of the dynamics speed up the end (differential dynamic programming)."
        ),
        Field(
          "initialRegularization", \.ilqr.initialRegularization, .number,
          "Regularisation of the first iteration."),
        Field(
          "minRegularization", \.ilqr.minRegularization, .number,
          "Smallest regularisation that is not 0."),
        Field(
          "maxRegularization", \.ilqr.maxRegularization, .number,
          "Regularisation above which the search gives up."),
        Field(
          "regularizationFactor", \.ilqr.regularizationFactor, .number,
          "Growth of the regularisation's own rate of change."),
        Field(
          "stepReduction", \.ilqr.stepReduction, .number,
          "What a step that was refused is multiplied by."),
        Field("maxTrials", \.ilqr.maxTrials, .wholeNumber, "Most steps that are tried."),
        Field(
          "acceptedShare", \.ilqr.acceptedShare, .number,
          "Share of the promised improvement that a step must keep."),
        Field(
          "controlLimits", \.controlLimits, .optional(ControlLimits.schema.codec),
          "Bounds on the controls, or null."),
      ],
      validate: { _ = try $0.ilqr.validated() })
  }
}

extension ControlLimits {
  static var schema: Schema<ControlLimits> {
    Schema(
      ControlLimits(lower: [], upper: []),
      [
        .required("lower", \.lower, .numbers, "Least value of each control."),
        .required("upper", \.upper, .numbers, "Largest value of each control."),
      ])
  }
}

extension Schema where Root == NetworkOptions {
  static var network: Schema<NetworkOptions> {
    Schema(
      NetworkOptions(),
      [
        Field(
          "hiddenLayers", \.hiddenLayers, .list(of: .wholeNumber, "a list of whole numbers"),
          "Units of each hidden layer; none makes the policy affine."),
        Field("activation", \.activation, .word, "The hidden units' function."),
        Field("initialization", \.initialization, .word, "How initial weights are drawn."),
        Field(
          "deviationFloor", \.deviationFloor, .number,
          "Observations are divided by their deviation, but by no less than this share of their "
            + "largest magnitude."),
      ],
      validate: { _ = try $0.validated() })
  }
}

extension Schema where Root == PolicyDistiller.Options {
  static var training: Schema<PolicyDistiller.Options> {
    Schema(
      PolicyDistiller.Options(),
      [
        Field("optimizer", \.optimizer, .word, "The rule that turns a gradient into a step."),
        Field("steps", \.steps, .wholeNumber, "Minibatches per iteration."),
        Field("batchSize", \.batchSize, .wholeNumber, "Samples per minibatch."),
        Field("learningRate", \.learningRate, .number, "Learning rate at the first step."),
        Field("decay", \.decay, .word, "How the rate falls within an iteration."),
        Field(
          "finalLearningRateFraction", \.finalLearningRateFraction, .number,
          "The rate's last value as a share of its first."),
        Field(
          "warmUpSteps", \.warmUpSteps, .wholeNumber,
          "Steps over which the rate first rises from zero."),
        Field("momentum", \.momentum, .number, "Decay of the average gradient."),
        Field(
          "secondMomentum", \.secondMomentum, .number, "Decay of Adam's average squared gradient."),
        Field("epsilon", \.epsilon, .number, "Adam's epsilon."),
        Field("weightDecay", \.weightDecay, .number, "Decoupled decay of the weights."),
        Field(
          "gradientClipping", \.gradientClipping, .optional(.number),
          "Longest gradient; null for any length."),
        Field("averaging", \.averaging, .word, "Which iterate is kept."),
        Field("averagingDecay", \.averagingDecay, .number, "Decay of the exponential average."),
        Field(
          "averagingFraction", \.averagingFraction, .number,
          "Share of the steps that the tail average covers."),
        Field(
          "precisionClipping", \.precisionClipping, .truth,
          "Whether outlying precisions are clipped."),
        Field(
          "precisionClippingFactor", \.precisionClippingFactor, .number,
          "A precision's trace is clipped at this multiple of the median trace."),
        Field(
          "keepOptimizerState", \.keepOptimizerState, .truth,
          "Whether the optimizer's averages live on in the next iteration."),
      ],
      validate: { _ = try $0.validated() })
  }
}
