package import Configuration
public import GPSCore
import LinearAlgebra
import Sim
import Statistics

/// The controller of the first iteration: where learning starts from, while its noise explores.
public struct InitialController: Sendable, Equatable {
  let base: any ControllerRule

  init(_ base: any ControllerRule) { self.base = base }

  /// LQR about a guess of the dynamics: each actuator moves a unit mass of its own.
  public static func lqr(_ options: LQROptions) -> InitialController { InitialController(options) }
  /// Proportional and derivative gains.
  public static func pd(_ options: PDOptions) -> InitialController { InitialController(options) }
  /// The same control at every step, for any actuator.
  public static func constant(_ options: ConstantOptions = ConstantOptions()) -> InitialController {
    InitialController(options)
  }

  /// Linear-quadratic control about the equilibrium nearest to the start.
  public static func linearized(
    _ options: LinearizedOptions = LinearizedOptions()
  ) -> InitialController { InitialController(options) }
  /// A trajectory that is searched on the task's known dynamics before the first rollout.
  public static func optimize(
    _ options: OptimizedOptions = OptimizedOptions()
  ) -> InitialController { InitialController(options) }

  /// What was demonstrated, from a file.
  public static func demonstrations(_ options: DemonstrationOptions) -> InitialController {
    InitialController(options)
  }

  /// Whether both are of one kind and equal.
  public static func == (a: InitialController, b: InitialController) -> Bool {
    areEqual(a.base, b.base)
  }

  /// The controller for one initial state, from what tells nothing of the task's dynamics and cost.
  ///
  /// - Parameters:
  ///   - dimensions: n, m and T.
  ///   - controlPeriod: h [s].
  ///   - actuatedCoordinates: where in the state each control's position and velocity are.
  ///   - initialState: x_0, n numbers; its positions are held.
  ///   - initialControl: the commands that hold x_0, m numbers; nil for zeros.
  ///   - limits: what the actuators can do; nil for no bounds.
  /// - Returns: a controller over the full state.
  /// - Throws: `SimError` if options are out of range, or a control acts on no coordinate that the state
  ///   holds and the kind of controller needs one; `StartError`.
  public func controller(
    dimensions: Dimensions, controlPeriod: Double, actuatedCoordinates: [ActuatedCoordinate],
    initialState: [Double], initialControl: [Double]? = nil, limits: ControlLimits? = nil
  ) throws -> LinearGaussianController {
    let m = dimensions.control
    precondition(
      initialState.count == dimensions.state,
      "\(initialState.count) numbers for a state of \(dimensions.state)")
    if let initialControl {
      precondition(
        initialControl.count == m, "\(initialControl.count) numbers for \(m) controls")
    }
    return try base.controller(
      Start(
        dimensions: dimensions, controlPeriod: controlPeriod, coordinates: actuatedCoordinates,
        limits: limits, state: initialState, control: initialControl))
  }

  /// The controller for the state that a task has at the beginning of `condition`.
  ///
  /// - Parameters:
  ///   - task: says what each control drives and can do; a plant is made and reset once.
  ///   - condition: where it starts, and with which controls.
  /// - Returns: a controller over the full state, for all T steps.
  /// - Throws: `SimError`, `StartError`, or what making and resetting a plant throws.
  public func controller<T: ControlTask>(
    for task: T, in condition: Condition
  ) throws -> LinearGaussianController {
    try base.controller(try Start(of: task, in: condition))
  }
}

/// What initial controllers are made of: a condition's start, and what is known of the task.
struct Start {
  var dimensions: Dimensions
  var controlPeriod: Double
  var coordinates: [ActuatedCoordinate]
  var stateNames: [String] = []
  var controlNames: [String] = []
  var limits: ControlLimits?
  /// x_0.
  var state: [Double]
  /// The controls that it comes with; nil for none.
  var control: [Double]?
  /// What is minimised, from where and to which goal; nil if the task is not known.
  var cost: (any Cost)?
  var condition: Condition?
  /// Whether a trajectory, with or without observations, does what the task asks for; nil if it does not say,
  /// or asks for observations.
  var succeeds: (@Sendable (Trajectory) -> Bool)?
  /// States that rollouts may start from, drawn from so many streams, with the conditions that were drawn; nil if
  /// the task is not known.
  var states: (@Sendable ([RandomStream]) throws -> [(condition: Condition, state: [Double])])?
  /// What follows when a controller goes on after its horizon, as in its last step, in one rollout per stream, with the
  /// conditions that were drawn; nil if the task is not known, or for a rollout that failed.
  var holding:
    (
      @Sendable (LinearGaussianController, [RandomStream]) throws
        -> [(condition: Condition, trajectory: Trajectory)?]
    )?
  /// The task's known dynamics; nil if there are none.
  var dynamics: (any KnownDynamics)?
  /// What the task threw when it was asked for them.
  var dynamicsProblem: String?
}

extension Start {
  init<T: ControlTask>(of task: T, in condition: Condition) throws {
    self.init(
      dimensions: task.dimensions, controlPeriod: task.controlPeriod,
      coordinates: task.actuatedCoordinates, stateNames: task.stateNames,
      controlNames: task.controlNames, limits: task.controlLimits,
      state: try initialState(of: task, in: condition),
      control: try startControls(of: task, in: condition), cost: task.cost, condition: condition)
    states = { try initialStates(of: task, in: condition, streams: $0) }
    holding = { try holdingRollouts(of: task, in: condition, under: $0, streams: $1) }
    // A judge of one's own may look at observations, which known dynamics do not make.
    if let success = (task as? any JudgedTask)?.success as? SuccessCriterion {
      succeeds = { success.isSuccess($0, in: condition) }
    }
    do {
      dynamics = try task.knownDynamics(in: condition)
    } catch {
      // Only some kinds need them.
      dynamicsProblem = "\(error)"
    }
  }

  /// The known dynamics; `kind` says who needs them, for errors.
  func requireDynamics(_ kind: String) throws(StartError) -> any KnownDynamics {
    if let dynamics { return dynamics }
    throw StartError(
      kind: kind,
      reason: "it needs known dynamics, and those of this task are not known"
        + (dynamicsProblem.map { " (\($0))" } ?? "") + ": use constant")
  }

  /// A control brought within the limits.
  func clamped(_ control: [Double]) -> [Double] {
    guard let limits else { return control }
    var control = control
    var span = control.mutableSpan
    limits.clamp(&span)
    return control
  }

  /// u = ū_t + K (x − x̄_t) with a diagonal covariance, the same at every step.
  func controller(
    gains: MatrixSequence, states: (Int) -> [Double], controls: (Int) -> [Double],
    variances: [Double]
  ) throws(SimError) -> LinearGaussianController {
    let T = dimensions.horizon
    var offsets = Matrix(rows: dimensions.control, columns: T)
    for t in 0..<T {
      offsets.setColumn(t, to: zip(controls(t), gains[t] * states(t)).map { $0 - $1 })
    }
    do {
      return try LinearGaussianController(
        gains: gains, offsets: offsets,
        covariances: MatrixSequence(repeating: Matrix(diagonal: variances), count: T))
    } catch {
      throw .controller(error)
    }
  }
}

/// Why a start cannot be made, beyond what its options say.
public struct StartError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The kind of initial controller, as in experiment files.
  public let kind: String
  /// Why, and what helps: a sentence without a final stop.
  public let reason: String

  /// An error of a kind of initial controller.
  public init(kind: String, reason: String) {
    self.kind = kind
    self.reason = reason
  }

  /// One sentence for people.
  public var description: String { "initial controller \(kind): \(reason)" }
}

// MARK: - Kinds

/// What every initial controller implements; it becomes a kind by a line in `InitialController.kinds`.
protocol ControllerRule: Configurable, Equatable {
  /// The controller of a start.
  func controller(_ start: Start) throws -> LinearGaussianController
}

/// The registry of initial controllers: a line each.
extension InitialController: OneOfKinds {
  package static let noun = "an initial controller"
  package static let kinds = [
    kind(AutomaticOptions.self), kind(LQROptions.self), kind(PDOptions.self),
    kind(ConstantOptions.self),
    kind(LinearizedOptions.self), kind(OptimizedOptions.self), kind(DemonstrationOptions.self),
  ]

  private static func kind<Value: ControllerRule>(_ type: Value.Type) -> Kind<InitialController> {
    Kind(type) {
      InitialController($0)
    } payload: {
      $0.base as? Value
    }
  }
}

extension ControllerRule {
  /// These options, if they are in range.
  func checkSettings() throws(SimError) {
    do throws(InvalidOption) { try Self.schema.check(self) } catch {
      throw .option(error.within(Self.schema.name))
    }
  }
}

/// One number for each of so many, where one may stand for all.
func each(_ numbers: [Double], _ count: Int, _ key: String) throws(SimError) -> [Double] {
  guard numbers.count == 1 || numbers.count == count else {
    throw .length(key: key, found: numbers.count, expected: count == 1 ? "1" : "1 or \(count)")
  }
  return numbers.count == count ? numbers : [Double](repeating: numbers[0], count: count)
}
