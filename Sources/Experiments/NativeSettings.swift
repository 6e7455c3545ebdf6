package import Configuration
import Foundation
import GPSCore
public import Sim

/// A system of differential equations and how it is seen and driven.
public struct NativeSettings: Sendable, Equatable {
  /// The equations and their parameters.
  public var model = NativeModel(PointMass())
  /// Seconds between two controls.
  public var controlPeriod = 0.05
  /// Integration steps per control.
  public var substeps = 4
  /// How each of them is taken.
  public var integrator = Integrator.rungeKutta4
  /// What a policy sees.
  public var observation = NativeObservation()

  /// The defaults.
  public init() {}
}

extension NativeSettings: SystemKind {
  package static let schema = Schema<Self>("native", "A system that needs no simulator.", Self()) {
    Field("model", \.model, "The equations and their parameters.").required
    Field("controlPeriod", \.controlPeriod, .above(0), "Seconds between two controls.")
    Field("substeps", \.substeps, .between(1, 1_000_000), "Integration steps per control.")
    Field("integrator", \.integrator, "How each integration step is taken.")
    Field("observation", \.observation, "What the policy sees.")
  }

  func task(_ loader: ExperimentLoader) throws -> (task: any ControlTask, model: URL?) {
    (try task(model.base, loader), nil)
  }

  private func task<Model: DynamicSystem>(
    _ model: Model, _ loader: ExperimentLoader
  ) throws -> any ControlTask {
    let (experiment, names) = (loader.experiment, model.stateNames)
    let conditions = try loader.conditions { (settings, name, path) throws -> Condition in
      try condition(settings, name: name, path: path, names, loader)
    }
    do {
      return try NativeTask(
        name: experiment.task, model: model, controlPeriod: controlPeriod, substeps: substeps,
        integrator: integrator, horizon: experiment.horizon, conditions: conditions.train,
        testConditions: conditions.test, cost: experiment.cost, success: experiment.success,
        termination: experiment.termination,
        observation: observation)
    } catch {
      guard case .option(let option) = error, option.key.hasPrefix("observation.") else {
        throw error
      }
      throw SimError.option(option.within("system.native"))
    }
  }

  private func condition(
    _ settings: ConditionSettings, name: String, path: String, _ states: [String],
    _ loader: ExperimentLoader
  ) throws -> Condition {
    for (part, isGiven) in settings.partsForModels where isGiven {
      throw loader.refuse(
        "\(path).\(part)",
        problem: "is for MuJoCo models; a native system has "
          + (part.hasPrefix("draw") ? "draw.state and draw.goal" : "state and positionDeviation"))
    }
    try loader.refuseProcessParts(of: settings, path)
    if let state = settings.state, state.count != states.count {
      throw loader.refuse(
        "\(path).state", "a list of \(state.count)",
        "\(states.count) numbers (\(states.joined(separator: ", ")))")
    }
    var condition = Condition(
      name: name, initialPlantState: settings.state ?? states.map { _ in 0 },
      goal: settings.nominalGoal)
    condition.initialPlantStateDeviation = try loader.deviation(
      [("positionDeviation", settings.positionDeviation, states.count)], path)
    if let mismatch = settings.draw.state?.mismatch(with: states.count) {
      throw loader.refuse("\(path).draw.state", "of another length", mismatch)
    }
    settings.complete(
      &condition,
      starts: settings.draw.state.map {
        [ConditionDraws.Start(first: 0, count: states.count, distribution: $0)]
      } ?? [])
    return condition
  }
}
