import Foundation
import GPSTestSupport
import Testing

@testable import GuidedPolicySearch

/// A point mass that is to come to rest at its goal, from two places.
func smallTask() throws -> NativeTask<PointMass> {
  try NativeTask(
    name: "small", model: PointMass(), controlPeriod: 0.1, horizon: 15,
    conditions: [
      Condition(
        name: "left", initialPlantState: [-1, 0, 0, 0],
        initialPlantStateDeviation: [0.05, 0.05, 0, 0], goal: [0.5, 0.5, 0, 0]),
      Condition(
        name: "right", initialPlantState: [1.5, 0, 0, 0],
        initialPlantStateDeviation: [0.05, 0.05, 0, 0], goal: [0.5, 0.5, 0, 0]),
    ],
    cost: SumCost(
      .state(
        StateCost(entries: [0, 1, 2, 3], target: .goal(first: 0), weights: [2, 2, 0.2, 0.2])),
      .control(ControlCost(weights: [0.01, 0.01]))),
    success: .stateWithin(
      entries: [0, 1], target: .goal(first: 0), tolerance: [0.2, 0.2], at: .final))
}

func smallSettings() -> SearchSettings {
  var settings = SearchSettings()
  settings.iterations = 3
  settings.samples = 5
  settings.modelSamples = 3
  settings.network.hiddenLayers = [16]
  settings.training.steps = 400
  return settings
}

func makeSearch(
  seed: UInt64 = 1, faults: [Fault] = [], always: [String: Fault.Kind] = [:],
  unmadePlants: Int = 0, change: (inout SearchSettings) -> Void = { _ in }
) throws -> PolicySearch<FaultyTask<NativeTask<PointMass>>> {
  let base = try smallTask()
  var settings = smallSettings()
  change(&settings)
  return PolicySearch(
    task: FaultyTask(
      base, seed: seed, faults: faults, always: always, unmadePlants: unmadePlants),
    settings: settings,
    initialControllers: try base.conditions.map {
      try InitialController.lqr(.init(gains: [1], stiffness: 0.5)).controller(for: base, in: $0)
    }, seed: seed)
}

/// All iterations of a search.
func run<Problem: ControlTask>(
  _ search: PolicySearch<Problem>
) async throws -> (state: State, reports: [Report]) {
  var state = search.initialState
  var reports: [Report] = []
  for try await (next, report) in search.iterations(from: state) {
    state = next
    reports.append(report)
  }
  return (state, reports)
}

/// All of a state and its reports that must not depend on the number of workers.
struct Outcome: Equatable {
  let controllers: [LinearGaussianController]
  let dynamicsPriors: [DynamicsPrior]
  let policyPriors: [PolicyPrior]
  let multipliers: [Double]
  let duals: [Double]
  let expectations: [StepExpectation?]
  let policy: NeuralPolicy?
  let rollouts: [[Trajectory]]
  let costs: [[Double]]
  let evaluationCosts: [[Double]]
  let losses: [Double?]
  let notes: [String]

  init(_ state: State, _ reports: [Report]) {
    controllers = state.conditions.map(\.controller)
    dynamicsPriors = state.conditions.map(\.dynamicsPrior)
    policyPriors = state.conditions.map(\.policyPrior)
    multipliers = state.conditions.map(\.stepMultiplier)
    duals = state.conditions.map(\.dual)
    expectations = state.conditions.map(\.expectation)
    policy = state.policy
    rollouts = reports.flatMap { $0.batches.map(\.trajectories) }
    costs = reports.flatMap { $0.conditions.map(\.costs) }
    evaluationCosts = reports.flatMap { $0.policy?.entries.map(\.costs) ?? [] }
    losses = reports.map(\.distillationLoss)
    notes = reports.flatMap(\.notes)
  }
}

/// Every number of a state and its reports that is not finite, by name; the mean of no rollouts is none.
func notFinite(_ state: State, _ reports: [Report]) -> [String] {
  var found: [String] = []
  func check(_ name: String, _ numbers: [Double]) {
    if let bad = numbers.first(where: { !$0.isFinite }) { found.append("\(name): \(bad)") }
  }
  for (i, condition) in state.conditions.enumerated() {
    let controller = condition.controller
    check("gains \(i)", controller.gains.storage)
    check("offsets \(i)", controller.offsets.storage)
    check("covariances \(i)", controller.covariances.storage)
    check("factors \(i)", controller.covarianceFactors.storage)
    check("precisions \(i)", controller.precisions.storage)
    check("multiplier and dual \(i)", [condition.stepMultiplier, condition.dual])
    if let expectation = condition.expectation {
      check("expectation \(i)", [expectation.cost, expectation.predictedImprovement])
    }
  }
  if let policy = state.policy {
    check("policy's covariance", policy.covariance.storage)
    let observation = Matrix(
      rows: policy.observation, columns: 1,
      columnMajor: [Double](repeating: 0.1, count: policy.observation))
    check("policy", policy.mean(for: observation).storage)
  }
  for report in reports {
    let name = "iteration \(report.iteration)"
    check("\(name) cost", [report.meanCost, report.divergence, report.divergenceBound])
    check("\(name) loss", report.distillationLoss.map { [$0] } ?? [])
    for condition in report.conditions {
      check("\(name) \(condition.name)", condition.costs + [condition.divergence, condition.dual])
      check(
        "\(name) \(condition.name) improvement",
        [condition.predictedImprovement, condition.actualImprovement].compactMap { $0 })
    }
    check("\(name) evaluation", report.policy?.entries.flatMap(\.costs) ?? [])
  }
  return found
}
