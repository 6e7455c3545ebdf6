package import Configuration
public import GPSCore

/// What a policy sees of a native system: the state as the system shows it
/// (`DynamicSystem.observe`), or some entries of it instead, then points, then the goal.
public struct NativeObservation: Sendable, Equatable {
  /// Entries of the state by number or name, for a policy that is blind to the rest; nil for what the
  /// system shows, which is all of it unless the system says otherwise.
  public var state: [Reference]?
  /// Points whose positions are seen, by number or name.
  public var points: [Reference]
  /// Whether the condition's goal is seen.
  public var goal: Bool

  /// An observation; with no arguments, what the system shows of its state and the goal, if there
  /// is one.
  public init(state: [Reference]? = nil, goal: Bool = true) {
    self.init(state: state, points: [Reference](), goal: goal)
  }

  /// An observation with points.
  public init(state: [Reference]? = nil, points: [some Referring], goal: Bool = true) {
    self.state = state
    self.points = points.map(\.reference)
    self.goal = goal
  }

  /// An observation by numbers.
  public init(stateEntries: [Int]?, points: [Int] = [], goal: Bool = true) {
    self.init(state: stateEntries?.map(\.reference), points: points, goal: goal)
  }

  func resolved(in scope: Scope) throws(SimError) -> NativeObservation {
    NativeObservation(
      state: try state.map { list throws(SimError) in
        try scope.entries(list, "observation.state")
      },
      points: try scope.points(points, "observation.points"), goal: goal)
  }
}

extension NativeObservation: Configurable {
  package static let schema = Schema<NativeObservation>(NativeObservation()) {
    Field("state", \.state, "Names of entries of the state; null for all.")
    Field("points", \.points, "Points whose positions are seen.")
    Field("goal", \.goal, "Whether the condition's goal is seen.")
  }
}

/// A control problem around a system written in Swift.
public struct NativeTask<Model: DynamicSystem>: JudgedTask {
  /// The name used in file names and messages.
  public let name: String
  /// The system's parameters.
  public let model: Model
  /// Seconds between two controls.
  public let controlPeriod: Double
  /// How a continuous system is integrated over them.
  public let timeStep: TimeStep
  /// The training conditions.
  public let conditions: [Condition]
  /// Conditions that are evaluated and never trained on.
  public let testConditions: [Condition]
  /// What is minimised.
  public let cost: any Cost
  /// What decides about success; nil where nothing does.
  public let success: (any SuccessJudge)?
  /// What ends a rollout before its time; nil if nothing does.
  public let termination: Termination?
  /// What a policy sees.
  public let observation: NativeObservation
  /// n, m, o, T and P.
  public let dimensions: Dimensions

  /// Names of the state, with units.
  public let stateNames: [String]
  /// Names of the controls, with units.
  public let controlNames: [String]
  /// o names of what a policy sees, with units: entries, coordinates of points, the goal.
  public var observationNames: [String] {
    let entries = observation.state.map { indices($0).map { stateNames[$0] } }
    let points = indices(observation.points).flatMap { point in
      ["x", "y", "z"].map { "\(pointNames[point])_\($0)_m" }
    }
    let goal = observation.goal ? conditions[0].goal.indices.map { "goal_\($0)" } : []
    return (entries ?? model.observationNames) + points + goal
  }
  /// Names of the points.
  public var pointNames: [String] { model.pointNames }
  /// Which entries of the state each control accelerates.
  public var actuatedCoordinates: [ActuatedCoordinate] { model.actuatedCoordinates }
  /// What the system's actuators can do.
  public let controlLimits: ControlLimits?

  /// A control problem, checked.
  ///
  /// - Parameters:
  ///   - name: for file names and messages.
  ///   - model: the system.
  ///   - controlPeriod: seconds between two controls.
  ///   - substeps: integration steps per control period; a discrete system takes none.
  ///   - integrator: how each of them is taken.
  ///   - horizon: T, the number of control steps.
  ///   - conditions: the training conditions.
  ///   - testConditions: conditions that are evaluated and never trained on.
  ///   - cost: what is minimised: a `SumCost`, which is checked, or a cost of your own.
  ///   - success: what decides about success: a `SuccessCriterion`, which is checked, a judge of
  ///     your own, or nil.
  ///   - termination: what ends a rollout before its time, and what that costs; nil for nothing.
  ///   - observation: what a policy sees; how the system shows its state is the system's affair.
  /// - Throws: `SimError` that names what does not fit and what is allowed.
  public init(
    name: String, model: Model, controlPeriod: Double, substeps: Int = 4,
    integrator: Integrator = .rungeKutta4, horizon: Int, conditions: [Condition],
    testConditions: [Condition] = [], cost: any Cost,
    success: (any SuccessJudge)? = nil, termination: Termination? = nil,
    observation: NativeObservation = NativeObservation()
  ) throws(SimError) {
    try model.validate()
    try SimError.checkPositive(controlPeriod, key: "controlPeriod")
    try SimError.check(substeps >= 1, key: "substeps", value: substeps, allowed: "1 or more")
    try SimError.check(horizon >= 1, key: "horizon", value: horizon, allowed: "1 or more")
    try SimError.check(
      integrator != .semiImplicitEuler || model.isSecondOrder, key: "integrator", value: integrator,
      allowed: "another one: this system does not say that its state is coordinates and their rates"
    )
    let (n, points) = (model.stateCount, model.pointNames.count)
    for (key, names, count) in [
      ("stateNames", model.stateNames, n), ("controlNames", model.controlNames, model.controlCount),
    ] where names.count != count {
      throw .length(key: key, found: names.count, expected: "\(count)")
    }
    do {
      controlLimits = try model.controlLimits?.validated(controls: model.controlCount)
    } catch {
      throw .option(error)
    }
    let all = conditions + testConditions
    guard let first = conditions.first else {
      throw .length(key: "conditions", found: 0, expected: "1 or more")
    }
    for condition in all {
      for (key, numbers, isOptional) in [
        ("initialPlantState", condition.initialPlantState, false),
        ("initialPlantStateDeviation", condition.initialPlantStateDeviation, true),
      ] where numbers.count != n && !(isOptional && numbers.isEmpty) {
        throw .length(
          key: "\(key) of condition \"\(condition.name)\"", found: numbers.count, expected: "\(n)")
      }
      if condition.goal.count != first.goal.count {
        throw .length(
          key: "the goal of condition \"\(condition.name)\"", found: condition.goal.count,
          expected: "\(first.goal.count), as in condition \"\(first.name)\",")
      }
      let draws = condition.draws ?? ConditionDraws()
      if !condition.modelFactors.isEmpty || !draws.modelFactors.isEmpty
        || !draws.bodyOffsets.isEmpty || !draws.goalBodies.isEmpty
      {
        throw .option(
          InvalidOption(
            key: "factors and draws of condition \(condition.name)",
            value: "one of a model's parts",
            allowed: "left out: a native system has no bodies and parameters of its own"))
      }
      if let problem = condition.drawProblem {
        throw .option(
          InvalidOption(
            key: "draws of condition \(condition.name)", value: problem,
            allowed: "what fits its start and its goal"))
      }
      if !condition.bodyOffsets.isEmpty {
        throw .option(
          InvalidOption(
            key: "bodyOffsets of condition \(condition.name)",
            value: condition.bodyOffsets.keys.sorted().joined(separator: ", "),
            allowed: "empty: a native system has no bodies to displace"))
      }
    }
    var dimensions = Dimensions(
      state: n, control: model.controlCount, observation: 0, horizon: horizon, points: points)
    let scope = Scope(
      dimensions, all, states: model.stateNames, points: model.pointNames,
      controls: model.controlNames)
    let observation = try observation.resolved(in: scope)
    dimensions.observation =
      (observation.state?.count ?? model.observationNames.count) + 3 * observation.points.count
      + (observation.goal ? first.goal.count : 0)
    let terms = try Terms(cost, success, termination, in: scope)
    (self.cost, self.success, self.termination) = (terms.cost, terms.success, terms.termination)
    self.dimensions = dimensions
    self.name = name
    self.model = model
    self.controlPeriod = controlPeriod
    timeStep = TimeStep(
      controlPeriod: controlPeriod, substeps: substeps, integrator: integrator)
    (stateNames, controlNames) = (model.stateNames, model.controlNames)
    self.conditions = conditions
    self.testConditions = testConditions
    self.observation = observation
  }

  /// A control problem judged by a criterion.
  ///
  /// - Throws: `SimError` that names what does not fit and what is allowed.
  public init(
    name: String, model: Model, controlPeriod: Double, substeps: Int = 4,
    integrator: Integrator = .rungeKutta4, horizon: Int, conditions: [Condition],
    testConditions: [Condition] = [], cost: any Cost, success: SuccessCriterion,
    termination: Termination? = nil, observation: NativeObservation = NativeObservation()
  ) throws(SimError) {
    let judge: (any SuccessJudge)? = success
    try self.init(
      name: name, model: model, controlPeriod: controlPeriod, substeps: substeps,
      integrator: integrator, horizon: horizon, conditions: conditions,
      testConditions: testConditions, cost: cost, success: judge, termination: termination,
      observation: observation)
  }

  /// A new plant; it never throws.
  public func makePlant() throws -> NativePlant<Model> {
    NativePlant(model, timeStep: timeStep, observation: observation)
  }

  /// The equations themselves, or those of the system's relaxation; conditions do not change them.
  public func knownDynamics(in condition: Condition) -> (any KnownDynamics)? {
    let relaxation = model.relaxation
    return NativeDynamics(
      relaxation ?? model, timeStep: timeStep, isRelaxed: relaxation != nil)
  }
}
