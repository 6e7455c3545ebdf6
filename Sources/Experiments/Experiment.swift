public import Dynamics
public import GlobalPolicy
public import LQR
public import PathIntegral
public import PolicySearch
public import SearchParts
public import Sim

/// Everything a run needs, as an experiment file says it: names where the stages want indices, and
/// files where they want models. `load` makes it ready to run.
public struct Experiment: Sendable, Equatable {
  /// The name used for run directories and in messages.
  public var task = ""
  /// One line for people.
  public var description = ""
  /// The root of all randomness.
  public var seed: UInt64 = 0
  /// What is controlled.
  public var system = SystemSettings.mujoco(MuJoCoSettings())
  /// T, the number of control steps in a rollout.
  public var horizon = 100
  /// Where rollouts start.
  public var conditions = ConditionsSettings()
  /// What is minimised: a sum of terms.
  public var cost: [CostSettings] = []
  /// What counts as a success; separate from the cost.
  public var success: SuccessSettings = .all([])
  /// The local controllers of iteration 0.
  public var initialController = InitialController.lqr(InitialController.LQROptions(gains: [1]))
  /// How local controllers and network hold each other: a word of the registry.
  public var algorithm = couplings[0].name
  /// How a local controller is improved: a word of the registry.
  public var localStep = localSteps[0].name
  /// How the loop goes; `workers` is not part of an experiment.
  public var search = SearchSettings()
  /// Where the dynamics come from.
  public var dynamics = DynamicsSource.fitted(LinearGaussianFitter.Options())
  /// Linearisation of the network.
  public var policyLinearization = PolicyLinearizer.Options()
  /// Search for the dual variable.
  public var localOptimization = KLConstrainedLQR.Options()
  /// The sampled local steps: PI² and the residual's half of PILQR.
  public var pathIntegral = PathIntegralUpdate.Options()
  /// BADMM's pull.
  public var badmm = BADMM.Options()
  /// The network.
  public var network = NetworkOptions()
  /// Its training.
  public var training = PolicyDistiller.Options()
  /// What `optimize` does, if the dynamics are known.
  public var optimization = OptimizationSettings()

  /// The defaults; task, system, cost and success are for the caller to fill in.
  public init() {}
}

/// What is controlled.
public enum SystemSettings: Sendable, Equatable {
  /// A MuJoCo model.
  case mujoco(MuJoCoSettings)
  /// A system that needs no simulator.
  case native(NativeSettings)
}

/// A MuJoCo model and how it is seen and driven.
public struct MuJoCoSettings: Sendable, Equatable {
  /// Path of the model file, relative to the experiment file.
  public var model = ""
  /// Seconds of one MuJoCo step; nil for the model's own.
  public var timestep: Double?
  /// MuJoCo steps per control.
  public var substeps = 1
  /// What the state is made of.
  public var state: [MuJoCoComponent] = []
  /// What the observation is made of; nil for the state's components.
  public var observation: [MuJoCoComponent]?
  /// Sites that costs and success refer to.
  public var points: [String] = []
  /// A joint position or velocity beyond this magnitude fails the rollout.
  public var stateLimit = 1e6

  /// The defaults; model and state are for the caller to fill in.
  public init() {}
}

/// A system of differential equations and how it is seen and driven.
public struct NativeSettings: Sendable, Equatable {
  /// The equations and their parameters.
  public var model = NativeModel.pointMass(PointMass())
  /// Seconds between two controls.
  public var controlPeriod = 0.05
  /// Integration steps per control.
  public var substeps = 4
  /// How each of them is taken.
  public var integrator = Integrator.rungeKutta4
  /// What a policy sees.
  public var observation = NativeObservationSettings()

  /// The defaults.
  public init() {}
}

/// The systems that need no simulator.
public enum NativeModel: Sendable, Equatable {
  /// A mass in the plane.
  case pointMass(PointMass)
  /// A pole on a cart.
  case cartPole(CartPole)
  /// Two links in a plane.
  case twoLinkArm(TwoLinkArm)
}

/// What a policy sees of a native system: entries of the state, points, the goal.
public struct NativeObservationSettings: Sendable, Equatable {
  /// Names of entries; nil for the whole state.
  public var state: [String]?
  /// Names of points whose positions are seen.
  public var points: [String] = []
  /// Whether the condition's goal is seen.
  public var goal = true

  /// All of the state, and the goal.
  public init() {}
}

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

/// A position, or numbers, to be reached.
public enum TargetSettings: Sendable, Equatable {
  /// Fixed numbers.
  case numbers([Double])
  /// The condition's goal, from this number on.
  case goal(first: Int)
  /// Other points, by name.
  case points([String])
}

/// One term of a cost, times its weight.
public enum CostSettings: Sendable, Equatable {
  /// The effort of the controls.
  case control(ControlCostSettings)
  /// Entries of the state.
  case state(StateCostSettings)
  /// Points in space and their targets.
  case point(PointCostSettings)
  /// Points inside or outside a region.
  case region(RegionCostSettings)
}

/// The effort of the controls: ½ Σ w_i u_i².
public struct ControlCostSettings: Sendable, Equatable {
  /// w, one per control; one number stands for all.
  public var weights = [1.0]
  /// The factor over time.
  public var ramp = Ramp.constant
  /// The factor on the term.
  public var weight = 1.0

  /// The defaults.
  public init() {}
}

/// A norm of the distance of entries of the state from their targets.
public struct StateCostSettings: Sendable, Equatable {
  /// Names of entries or of components ("jointVelocities"); nil for the whole state.
  public var entries: [String]?
  /// Where they should be; one number stands for all.
  public var target = TargetSettings.numbers([0])
  /// One per entry; one number stands for all.
  public var weights = [1.0]
  /// How distance becomes cost.
  public var norm = Norm()
  /// The factor over time.
  public var ramp = Ramp.constant
  /// The factor on the term.
  public var weight = 1.0

  /// The defaults.
  public init() {}
}

/// A norm of the distance of points from their targets.
public struct PointCostSettings: Sendable, Equatable {
  /// Names of points.
  public var points: [String] = []
  /// Where they should be.
  public var target = TargetSettings.goal(first: 0)
  /// x, y, z of each point in turn; one number stands for all.
  public var weights = [1.0]
  /// How distance becomes cost.
  public var norm = Norm()
  /// The factor over time.
  public var ramp = Ramp.constant
  /// The factor on the term.
  public var weight = 1.0

  /// The defaults.
  public init() {}
}

/// A price for points inside, or outside, a region.
public struct RegionCostSettings: Sendable, Equatable {
  /// Names of points; each pays for itself.
  public var points: [String] = []
  /// The region.
  public var region = RegionSettings.ball(center: .numbers([0, 0, 0]), radius: 1)
  /// The side that costs.
  public var side = RegionCost.Side.inside
  /// How the price depends on depth.
  public var profile = RegionCost.Profile.step
  /// The width of the step and the rounding of a box's edges [m].
  public var smoothing = 0.01
  /// How far before the boundary the price begins [m].
  public var margin = 0.0
  /// Whether curvature is kept positive semidefinite.
  public var gaussNewton = true
  /// The factor over time.
  public var ramp = Ramp.constant
  /// The factor on the term.
  public var weight = 1.0

  /// The defaults.
  public init() {}
}

/// A part of space.
public enum RegionSettings: Sendable, Equatable {
  /// Everything nearer to the centre than the radius [m].
  case ball(center: TargetSettings, radius: Double)
  /// Everything within half an extent of the centre in x, y and z [m]; nil where there is no end.
  case box(center: TargetSettings, halfExtents: [Double?])
}

/// What counts as a success.
public indirect enum SuccessSettings: Sendable, Equatable {
  /// A point is nearer to its target than a distance [m].
  case pointDistance(
    point: String, target: TargetSettings, below: Double, at: SuccessCriterion.Moment)
  /// Entries of the state are within a tolerance of their targets.
  case stateWithin(
    entries: [String], target: TargetSettings, tolerance: [Double],
    at: SuccessCriterion.Moment)
  /// A point is inside a region.
  case pointInside(point: String, region: RegionSettings, at: SuccessCriterion.Moment)
  /// A point is outside a region.
  case pointOutside(point: String, region: RegionSettings, at: SuccessCriterion.Moment)
  /// All of these.
  case all([SuccessSettings])
}
