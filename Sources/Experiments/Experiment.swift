package import Configuration
public import Distributed
public import Dynamics
import GPSCore
public import GlobalPolicy
public import LQR
public import PathIntegral
public import PolicySearch
public import SearchParts
public import Sim
public import Starts

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
  /// What the policy sees beside the system's own observation.
  public var memory = ObservationMemory()
  /// T, the number of control steps in a rollout.
  public var horizon = 100
  /// Where rollouts start.
  public var conditions = ConditionsSettings()
  /// What is minimised.
  public var cost = SumCost()
  /// What counts as a success, separate from the cost; nil where nothing does.
  public var success: SuccessCriterion?
  /// What ends a rollout before its time, and what that costs; nil for nothing.
  public var termination: Termination?
  /// The local controllers of iteration 0.
  public var initialController = InitialController.automatic
  /// How local controllers and network hold each other: a word of the registry.
  public var algorithm = couplings[0].name
  /// How a local controller is improved: a word of the registry.
  public var localStep = localSteps[0].name
  /// Who waits for whom.
  public var schedule = Schedule.synchronous
  /// How the asynchronous schedule goes.
  public var asynchronous = AsynchronousOptions()
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
  /// How `optimize` goes, if the dynamics are known.
  public var ilqr = ILQR.Options()
  /// How `optimize` samples first guesses.
  public var sampling = ILQR.Sampling()

  /// The defaults; task, system and cost are for the caller to fill in.
  public init() {}
}

/// Who waits for whom in a search.
public enum Schedule: String, Sendable, CaseIterable {
  /// All conditions for each other, before the network is trained, and for that: results depend on the seed alone.
  case synchronous
  /// Nobody: for robots, whose time is dear. Results depend on timing.
  case asynchronous
}

extension Schedule: Setting {}

extension Experiment: Configurable {
  package static let schema = Schema<Experiment>(Experiment()) {
    Field(
      "task", \.task,
      Check("1 to 100 characters", shown: { "\"\(abbreviated($0))\"" }) {
        (1...100).contains($0.count)
      }, "Name of the experiment, for run directories."
    ).required
    Field("description", \.description, "One line for people.")
    Field("seed", \.seed, "Root of all randomness.")
    Field("system", \.system, "What is controlled.").required
    Field(
      "memory", \.memory,
      "What the policy sees beside the system's observation: earlier ones, its last action, a clock."
    )
    Field("horizon", \.horizon, .between(1, 1_000_000), "Control steps in a rollout.").required
    Field("conditions", \.conditions, "Where rollouts start.")
    Field("cost", \.cost.entries, .some("term"), "What is minimised: the sum of these terms.")
      .required
    Field("success", \.success, "What counts as a success; null to judge costs alone.")
    Field(
      "termination", \.termination,
      "What ends a rollout before its time, such as a fall, and the price; null for nothing.")
    Field(
      "initialController", \.initialController,
      "Local controllers of iteration 0: where learning starts from, while their noise explores.")
    Field("algorithm", \.self, algorithmSchema, "The search and its step size.")
    Field(
      "asynchronous", \.asynchronous,
      "The asynchronous schedule (algorithm.schedule: asynchronous).")
    Field(
      "rollouts", \.search.rollouts,
      "When a rollout is given up, and how often it is drawn again.")
    Field("noise", \.search.noise, "Exploration noise.")
    Field(
      "dynamics", \.dynamics, "Fit of the dynamics; or \"known\", to linearise the task's own.")
    Field(
      "policyLinearization", \.policyLinearization,
      "Fit of linear controllers to the network, about the rollouts.")
    Field(
      "localOptimization", \.localOptimization,
      "Search for the dual variable of the KL constraint.")
    Field(
      "pathIntegral", \.pathIntegral,
      "Local steps by sampled rollouts (localStep: pathIntegral or pilqr).")
    Field(
      "badmm", \.badmm,
      "How controllers and network are pulled together (algorithm.name: badmm).")
    Field("network", \.network, "The network.")
    Field("training", \.training, "Training of the network.")
    Field(
      "optimization", \.self, optimizationSchema,
      "Trajectory optimisation on known dynamics (gps optimize).")
  }

  private static let algorithmSchema = Schema<Experiment>(Experiment()) {
    Field(
      "name", \.algorithm, .word(of: couplings),
      "How local controllers and network hold each other.")
    Field("localStep", \.localStep, .word(of: localSteps), "How a local controller is improved.")
    Field(
      "schedule", \.schedule,
      "Whether all wait for all between iterations, or nobody for anybody; results of the latter depend on timing."
    )
    SearchSettings.schema.fields(in: \.search)
  }

  private static let optimizationSchema = Schema<Experiment>(Experiment()) {
    ILQR.Options.schema.fields(in: \.ilqr)
    Field("sampling", \.sampling, "First guesses beside that of the initial controller.")
  } rule: { experiment throws(InvalidOption) in
    try ILQR.Options.schema.check(experiment.ilqr)
  }
}
