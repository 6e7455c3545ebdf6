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

/// Controllers that hold the mass where it is, loosely.
func loosely(_ task: NativeTask<PointMass>) throws -> [LinearGaussianController] {
  try task.conditions.map {
    try InitialController.lqr(.init(gains: [1], stiffness: 0.5)).controller(for: task, in: $0)
  }
}

/// The settings of a loop and of all its parts.
@dynamicMemberLookup
struct TestSettings {
  var search = SearchSettings()
  var dynamics = DynamicsSource.fitted(LinearGaussianFitter.Options())
  var localOptimization = KLConstrainedLQR.Options()
  var network = NetworkOptions()
  var training = PolicyDistiller.Options()

  subscript<Value>(dynamicMember path: WritableKeyPath<SearchSettings, Value>) -> Value {
    get { search[keyPath: path] }
    set { search[keyPath: path] = newValue }
  }
}

func smallSettings() -> TestSettings {
  var settings = TestSettings()
  settings.iterations = 3
  settings.samples = 5
  settings.modelSamples = 3
  // Tests of the stages want to see what these came to.
  settings.takeBack = 0
  settings.network.hiddenLayers = [16]
  settings.training.steps = 400
  settings.training.maxRounds = 1
  return settings
}

/// Mirror descent with a network.
typealias MirrorSearch<System: ControlTask> = GuidedSearch<
  System, KLStep, MirrorDescent, NeuralDistiller
>
typealias State = SearchState<
  KLStep.Memory, PolicyPrior, NeuralPolicy, PolicyDistiller.OptimizerState
>

/// A search with the coupling of one's choice.
func search<System: ControlTask, Link: Coupling>(
  _ task: System, from controllers: [LinearGaussianController], _ settings: TestSettings,
  link: Link, seed: UInt64
) throws -> GuidedSearch<System, KLStep, Link, NeuralDistiller> {
  try GuidedSearch(
    task, from: controllers, settings: settings.search,
    local: KLStep(dynamics: settings.dynamics, search: settings.localOptimization), link: link,
    student: NeuralDistiller(
      network: settings.network, training: settings.training, seed: seed), seed: seed)
}

func makeSearch<Link: Coupling>(
  seed: UInt64 = 1, faults: [Fault] = [], always: [String: Fault.Kind] = [:],
  unmadePlants: Int = 0, link: Link, change: (inout TestSettings) -> Void = { _ in }
) throws -> GuidedSearch<FaultyTask<NativeTask<PointMass>>, KLStep, Link, NeuralDistiller> {
  let base = try smallTask()
  var settings = smallSettings()
  change(&settings)
  return try search(
    FaultyTask(base, seed: seed, faults: faults, always: always, unmadePlants: unmadePlants),
    from: try base.conditions.map {
      try InitialController.lqr(.init(gains: [1], stiffness: 0.5)).controller(for: base, in: $0)
    }, settings, link: link, seed: seed)
}

func makeSearch(
  seed: UInt64 = 1, faults: [Fault] = [], always: [String: Fault.Kind] = [:],
  unmadePlants: Int = 0, change: (inout TestSettings) -> Void = { _ in }
) throws -> MirrorSearch<FaultyTask<NativeTask<PointMass>>> {
  try makeSearch(
    seed: seed, faults: faults, always: always, unmadePlants: unmadePlants, link: MirrorDescent(),
    change: change)
}

/// All iterations of a search.
func run<L: Learner>(_ learner: L) async throws -> (state: L.State, reports: [Report]) {
  var reports: [Report] = []
  let state = try await learner.run { reports.append($0) }
  return (state, reports)
}

extension Report {
  var batches: [RolloutBatch] { conditions.map(\.batch) }
  var distillationLoss: Double? { metrics["distillation_loss"] }
  var actualImprovement: Double? { metrics["actual_improvement"] }
  var divergence: Double { metrics["kl_divergence"] ?? .nan }
  var divergenceBound: Double { metrics["kl_bound"] ?? .nan }
}

extension ConditionReport {
  var divergence: Double { metrics["kl_divergence"] ?? .nan }
  var divergenceBound: Double { metrics["kl_bound"] ?? .nan }
  var dual: Double? { metrics["dual"] }
  var predictedImprovement: Double? { metrics["predicted_improvement"] }
  var actualImprovement: Double? { metrics["actual_improvement"] }
  var status: String? {
    guard case .word(let word) = metrics.first(where: { $0.name == "status" })?.value else {
      return nil
    }
    return word
  }
}

/// All of a state and its reports that must not depend on the number of workers.
struct Outcome: Equatable {
  let controllers: [LinearGaussianController]
  let state: [UInt8]
  let policy: NeuralPolicy?
  let rollouts: [[Trajectory]]
  let costs: [[Double]]
  let evaluationCosts: [[Double]]
  let losses: [Double?]
  let notes: [String]

  init<Local: Storable, Link: Storable, Memory: Storable>(
    _ state: SearchState<Local, Link, NeuralPolicy, Memory>, _ reports: [Report]
  ) {
    controllers = state.conditions.map(\.controller)
    policy = state.policy
    var writer = ValueWriter()
    state.store(in: &writer)
    self.state = writer.file.sealed()
    rollouts = reports.flatMap { $0.batches.map(\.trajectories) }
    costs = reports.flatMap { $0.conditions.map(\.costs) }
    evaluationCosts = reports.flatMap { $0.policy?.entries.map(\.costs) ?? [] }
    losses = reports.map(\.distillationLoss)
    notes = reports.flatMap(\.notes)
  }
}

/// Every number of a state and its reports that is not finite, by name; the mean of no rollouts is none.
func notFinite<Local: Storable, Link: Storable, Memory: Storable>(
  _ state: SearchState<Local, Link, NeuralPolicy, Memory>, _ reports: [Report]
) -> [String] {
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
    check("multiplier \(i)", [condition.stepMultiplier])
    if let expectation = condition.expectation {
      check("expectation \(i)", [expectation.cost, expectation.predictedImprovement])
    }
  }
  var writer = ValueWriter()
  state.store(in: &writer)
  if let name = writer.notFinite { found.append(name) }
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
      check("\(name) \(condition.name)", condition.costs + [condition.divergence])
      check(
        "\(name) \(condition.name) improvement",
        [condition.predictedImprovement, condition.actualImprovement].compactMap { $0 })
    }
    check("\(name) evaluation", report.policy?.entries.flatMap(\.costs) ?? [])
  }
  return found
}
