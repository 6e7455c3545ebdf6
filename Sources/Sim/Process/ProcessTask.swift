public import GPSCore

/// A control problem around an environment in another program.
public struct ProcessTask: JudgedTask {
  /// The name used in file names and messages.
  public let name: String
  /// The program, and what it says of its environment.
  public let system: ProcessSystem
  /// The price of every step after the environment has ended a rollout, where it pays rewards.
  public let endCost: Double
  /// The training conditions.
  public let conditions: [Condition]
  /// Conditions that are evaluated and never trained on.
  public let testConditions: [Condition]
  /// What is minimised.
  public let cost: any Cost
  /// What decides about success; nil where nothing does.
  public let success: (any SuccessJudge)?
  /// What ends a rollout beside the environment; nil if nothing does.
  public let termination: Termination?
  /// n, m, o and T; there are no points.
  public let dimensions: Dimensions
  /// What is worth saying of the environment.
  public let remarks: [String]

  /// Seconds between two controls.
  public var controlPeriod: Double { system.controlPeriod }
  /// Names of the state.
  public var stateNames: [String] { system.stateNames }
  /// Names of what a policy sees.
  public var observationNames: [String] { system.observationNames }
  /// Names of the controls.
  public var controlNames: [String] { system.controlNames }
  /// What controls are brought within.
  public var controlLimits: ControlLimits? { system.controlLimits }

  /// A control problem, checked: each condition is reset twice, with steps between, and must begin in the same state.
  ///
  /// - Parameters:
  ///   - name: for file names and messages.
  ///   - system: the environment.
  ///   - horizon: T, the number of control steps.
  ///   - conditions: the training conditions.
  ///   - testConditions: conditions that are evaluated and never trained on.
  ///   - cost: what is minimised; `RewardCost` stands for the environment's own rewards.
  ///   - success: what decides about success, or nil.
  ///   - termination: what ends a rollout beside the environment; nil for nothing.
  ///   - endCost: the price of every step after the environment has ended a rollout.
  /// - Throws: `SimError` that names what does not fit, `PlantFailure` if the program fails.
  public init(
    name: String, system: ProcessSystem, horizon: Int, conditions: [Condition],
    testConditions: [Condition] = [], cost: any Cost, success: (any SuccessJudge)? = nil,
    termination: Termination? = nil, endCost: Double = 0
  ) throws {
    try SimError.check(horizon >= 1, key: "horizon", value: horizon, allowed: "1 or more")
    try SimError.check(
      endCost.isFinite && endCost >= 0, key: "endCost", value: endCost, allowed: "0 or more")
    if conditions.isEmpty {
      throw SimError.length(key: "conditions", found: 0, expected: "1 or more")
    }
    let dimensions = Dimensions(
      state: system.stateNames.count, control: system.controlNames.count,
      observation: system.observationNames.count, horizon: horizon)
    for condition in conditions + testConditions {
      if let problem = condition.drawProblem {
        throw SimError.option(
          InvalidOption(
            key: "draws of condition \(condition.name)", value: problem,
            allowed: "what fits its start and its goal"))
      }
      let count = condition.initialPlantState.count
      if count != 0 && !(system.setsState && count == dimensions.state) {
        throw SimError.length(
          key: "the start of condition \"\(condition.name)\"", found: count,
          expected: system.setsState
            ? "\(dimensions.state), or none" : "none: the environment cannot be put into a state")
      }
    }
    var scope = Scope(
      dimensions, conditions + testConditions, states: system.stateNames,
      controls: system.controlNames)
    scope.paysRewards = system.paysRewards
    let terms = try Terms(cost, success, termination, in: scope)
    (self.cost, self.success, self.termination) = (terms.cost, terms.success, terms.termination)
    self.name = name
    self.system = system
    self.endCost = endCost
    self.conditions = conditions
    self.testConditions = testConditions
    self.dimensions = dimensions
    remarks = try Self.checkRepeatability(
      system, conditions: conditions + testConditions, horizon: horizon)
  }

  /// Resets every condition twice, steps between.
  ///
  /// - Returns: what is out of the ordinary, if it does not forbid to learn.
  private static func checkRepeatability(
    _ system: ProcessSystem, conditions: [Condition], horizon: Int
  ) throws -> [String] {
    let plant = try ProcessLease(system.pool)
    let control = system.controlNames.indices.map { i in
      guard let limits = system.controlLimits, let half = limits.halfRange(of: i) else {
        return 0.0
      }
      return limits.lower[i] + 1.2 * half
    }
    var step = Safetensors(metadata: ["message": "step"])
    step.tensors["control"] = Safetensors.Tensor(control, shape: [control.count])
    var steps: [[ProcessSystem.Present]] = []
    for (index, condition) in conditions.enumerated() {
      var starts: [ProcessSystem.Present] = []
      for _ in 0..<2 {
        let start = system.start("reset", in: condition, condition.initialPlantState.span)
        starts.append(try system.present(plant.answer(to: start)))
        if index > 0 { continue }
        var rollout: [ProcessSystem.Present] = []
        for _ in 0..<min(3, horizon) where rollout.last?.end ?? ProcessSystem.End.none == .none {
          rollout.append(try system.present(plant.answer(to: step)))
        }
        steps.append(rollout)
      }
      if starts[0] != starts[1] {
        throw SimError.option(
          InvalidOption(
            key: "conditions", value: condition.name,
            allowed: "only what the environment can repeat: two resets of condition "
              + "\"\(condition.name)\" with the same seed and options begin in different states. Take all "
              + "that reset() draws from self.np_random, after super().reset(seed=seed)"))
      }
    }
    return steps[0] == steps[1]
      ? []
      : [
        "two rollouts of the environment with the same seed and controls differ: results depend on more "
          + "than the seed"
      ]
  }

  /// Where a rollout ended before its time: where the environment or the task's own termination ended it.
  public func endStep(of trajectory: Trajectory, in condition: Condition) -> Int? {
    let ends = [trajectory.endStep, termination?.endStep(of: trajectory, in: condition)]
    return ends.compactMap { $0 }.min()
  }

  /// A process of its own, one of those that are idle if there are any.
  public func makePlant() throws -> ProcessPlant {
    try ProcessPlant(system, horizon: dimensions.horizon, endCost: endCost)
  }
}
