public import GPSCore
public import Statistics

/// A control problem on a MuJoCo model.
public struct MuJoCoTask: JudgedTask {
  /// The controlled system.
  public typealias System = MuJoCoPlant

  /// The name used in file names and messages.
  public let name: String
  /// How the model is seen and driven.
  public let interface: MuJoCoInterface
  /// n, m, o, T and the number of points.
  public let dimensions: Dimensions
  /// The training conditions.
  public let conditions: [Condition]
  /// Conditions that are evaluated and never trained on.
  public let testConditions: [Condition]
  /// What is minimised.
  public let cost: any Cost
  /// What counts as a success; nil where nothing does.
  public let success: (any SuccessJudge)?
  /// What ends a rollout before its time; nil if nothing does.
  public let termination: Termination?

  /// Seconds between two controls.
  public var controlPeriod: Double { interface.controlPeriod }
  /// n names with units.
  public var stateNames: [String] { interface.stateNames }
  /// Places and rotation vectors of free and ball joints.
  public var stateVectors: [StateVector] { interface.stateVectors }
  /// o names with units.
  public var observationNames: [String] { interface.observationNames }
  /// m names: those of the actuators, then those of controlled mocap bodies.
  public var controlNames: [String] { interface.controlNames }
  /// Where the positions and velocities of actuated hinges and slides are in the state.
  public var actuatedCoordinates: [ActuatedCoordinate] { interface.actuatedCoordinates }

  /// What the actuators can do (`MuJoCoModel.controlLimits`), and where controlled mocap bodies may go.
  public var controlLimits: ControlLimits? { interface.controlLimits }

  /// A control problem; everything about its conditions that can be wrong is found here, before
  /// anything runs.
  ///
  /// - Parameters:
  ///   - name: used in file names and messages.
  ///   - interface: how the model is seen and driven.
  ///   - horizon: T, the number of controls in a rollout.
  ///   - conditions: the training conditions.
  ///   - testConditions: evaluated, never trained on.
  ///   - cost: what is minimised: a `SumCost`, whose names are resolved, or a cost of your own.
  ///   - success: what counts as a success: a `SuccessCriterion`, a judge of your own, or nil.
  ///   - termination: what ends a rollout before its time, and what that costs; nil for nothing.
  /// - Throws: `MuJoCoError` when the horizon is not positive, or a condition, the cost or the criterion
  ///   does not fit the model.
  public init(
    name: String, interface: MuJoCoInterface, horizon: Int, conditions: [Condition],
    testConditions: [Condition] = [], cost: any Cost, success: (any SuccessJudge)?,
    termination: Termination? = nil
  ) throws(MuJoCoError) {
    guard horizon >= 1 else {
      throw .invalidValue(of: "horizon", value: "\(horizon)", allowed: "1 or more")
    }
    guard !conditions.isEmpty else {
      throw .invalidValue(of: "conditions", value: "empty", allowed: "at least one condition")
    }
    for condition in conditions + testConditions { try interface.validate(condition) }
    self.name = name
    var interface = interface
    interface.readsPointJacobians = cost.needsPointJacobians
    self.interface = interface
    // Starts of one task have as many numbers: where one says more than positions and velocities, all do.
    let count = interface.model.jointPositionCount + interface.model.jointVelocityCount
    let isWhole = (conditions + testConditions).contains { $0.initialPlantState.count > count }
    let rest = isWhole ? try interface.model.startRest(keyframe: nil) : []
    func whole(_ condition: Condition) -> Condition {
      var condition = condition
      if condition.initialPlantState.count == count { condition.initialPlantState += rest }
      return condition
    }
    self.conditions = conditions.map(whole)
    self.testConditions = testConditions.map(whole)
    let dimensions = Dimensions(
      state: interface.layout.state.count, control: interface.controlCount,
      observation: interface.layout.observation.count, horizon: horizon,
      points: interface.points.count)
    let scope = Scope(
      dimensions, conditions + testConditions, states: interface.stateNames,
      points: interface.points, controls: interface.controlNames)
    do {
      let terms = try Terms(cost, success, termination, in: scope)
      (self.cost, self.success, self.termination) = (terms.cost, terms.success, terms.termination)
    } catch {
      throw .task(error)
    }
    self.dimensions = dimensions
  }

  /// The condition's start with noise; that of quaternions turns the body about its own axes, so that
  /// they stay normalised.
  public func initialPlantState(
    of condition: Condition, stream: inout RandomStream
  ) -> [Double] {
    interface.model.displaced(
      condition.initialPlantState,
      by: condition.initialPlantStateDeviation.map { $0 * stream.normal() })
  }

  /// One for each degree of freedom of the positions, then of the velocities, then for each number of
  /// the rest.
  public func initialDeviationCount(of condition: Condition) -> Int {
    let deviations = condition.initialPlantStateDeviation.count
    let (nq, nv) = (interface.model.jointPositionCount, interface.model.jointVelocityCount)
    return deviations == 2 * nv ? deviations : condition.initialPlantState.count - nq + nv
  }

  /// A new plant for one worker.
  ///
  /// - Throws: `MuJoCoError` when MuJoCo cannot make the model's data.
  public func makePlant() throws -> MuJoCoPlant { try interface.makePlant() }

  /// The model itself, linearised by finite differences; see `MuJoCoDynamics` for what is supported.
  ///
  /// - Throws: `MuJoCoError` when the state does not say where the simulation starts.
  public func knownDynamics(in condition: Condition) throws -> (any KnownDynamics)? {
    try MuJoCoDynamics(interface, in: condition)
  }
}
