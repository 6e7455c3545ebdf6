import Dynamics
import GPSCore
import GlobalPolicy
import LQR
import LinearAlgebra
import Sim
import Statistics

/// Stages 2 and 3 of one condition in one iteration: dynamics, then local optimisation.
struct LocalStep: Sendable {
  let batch: RolloutBatch
  /// What the condition carries: at first what the last iteration left, then what this one leaves.
  var next: ConditionState
  /// What the new controller does along trajectories drawn from the model under it, for the network
  /// to learn where it will go.
  var imagined: [DistillationSet.Part] = []
  var report: ConditionReport
  var notes: [String] = []
  var dynamicsSeconds = 0.0
  var optimizationSeconds = 0.0

  init(batch: RolloutBatch, from previous: consuming ConditionState, condition: String) {
    self.batch = batch
    report = ConditionReport(
      name: condition, costs: [], successes: [], predictedImprovement: nil, actualImprovement: nil,
      divergence: 0, divergenceBound: 0, stepMultiplier: previous.stepMultiplier,
      dual: previous.dual, passes: 0, status: "")
    next = previous
  }

  /// Costs and successes of the rollouts.
  mutating func judge(
    _ batch: RolloutBatch, under task: some ControlTask, in condition: Condition
  ) {
    report.costs = batch.trajectories.map {
      task.cost.values(along: $0, in: condition).reduce(0, +)
    }
    report.successes = batch.trajectories.map { task.isSuccess($0, in: condition) }
  }

  mutating func keepController(_ reason: String) {
    report.status = "kept previous controller"
    notes.append("\(report.name): kept the previous controller: \(reason)")
  }

  /// Fits the dynamics, or linearises those that are known, expands the cost and improves the controller.
  mutating func improve(
    settings: SearchSettings, task: some ControlTask, policy: NeuralPolicy?, iteration: Int,
    stream: RandomStream
  ) throws {
    let clock = ContinuousClock()
    let began = clock.now
    let samples = batch.trajectories
    if samples.count == 1 {
      notes.append("\(report.name): one rollout alone; the dynamics rest on the prior")
    } else if samples.allSatisfy({ $0.controls == samples[0].controls }) {
      notes.append(
        "\(report.name): all rollouts have the same controls, which do not tell how controls act")
    }

    // The step rule judges the last step by these rollouts.
    let rule = StepRule(
      smallest: settings.minStepMultiplier, largest: settings.maxStepMultiplier)
    if let expectation = next.expectation {
      next.stepMultiplier = rule.multiplier(
        after: next.stepMultiplier, expectation: expectation, cost: report.meanCost)
      report.predictedImprovement = expectation.predictedImprovement
      report.actualImprovement = expectation.cost - report.meanCost
      report.stepMultiplier = next.stepMultiplier
    }
    next.expectation = nil

    // 2. Dynamics, and the policy about the same samples.
    let condition = task.conditions[batch.condition]
    let dynamics: LinearGaussianDynamics
    if let options = settings.knownDynamics {
      guard let known = try task.knownDynamics(in: condition) else {
        throw SearchError.noKnownDynamics(task: task.name)
      }
      dynamics = try DynamicsLinearizer(options: options).linearize(
        known, about: samples, condition: batch.condition)
    } else {
      let fit = try LinearGaussianFitter(options: settings.dynamics).fit(
        samples, updating: next.dynamicsPrior, condition: batch.condition,
        stream: stream.child(.mixture, 0))
      next.dynamicsPrior = fit.prior
      notes += fit.notes
      dynamics = fit.dynamics
    }
    var reference = next.controller
    if let policy {
      let linearized = try PolicyLinearizer(options: settings.policyLinearization).linearize(
        policy, about: samples, updating: next.policyPrior,
        stream: stream.child(.mixture, 1))
      next.policyPrior = linearized.prior
      reference = linearized.controller
    }
    let fitted = clock.now
    dynamicsSeconds = (fitted - began).inSeconds

    // 3. Local optimisation.
    let cost = try task.cost.quadratic(over: samples, in: condition)
    let bound =
      settings.klStep(in: iteration) * next.stepMultiplier * Double(task.dimensions.horizon)
    report.divergenceBound = bound
    let solution = try KLConstrainedLQR(options: settings.localOptimization).improve(
      from: reference, cost: cost, dynamics: dynamics, bound: bound,
      initialDual: next.dual)
    if solution.indefinitePasses > 0 {
      notes.append(
        "\(report.name): raised the dual \(solution.indefinitePasses) times because the cost is not "
          + "convex enough, or the predicted states were not finite")
    }
    let imagined = try imagine(
      settings.modelSamples, under: solution.controller, dynamics: dynamics,
      stream: stream.child(.custom, 2))
    if imagined.isEmpty && settings.modelSamples > 0 {
      notes.append(
        "\(report.name): none of the \(settings.modelSamples) trajectories drawn from the model stayed "
          + "where the rollouts have been")
    }
    let expectation = try self.expectation(
      of: solution, reference: reference, cost: cost, dynamics: dynamics)
    // Nothing can fail from here on: either the whole step is taken or none of it.
    self.imagined = imagined
    next.controller = solution.controller
    next.dual = solution.dual
    next.expectation = expectation
    report.divergence = solution.divergence
    report.dual = solution.dual
    report.passes = solution.passes
    report.status = "\(solution.status)"
    optimizationSeconds = (clock.now - fitted).inSeconds
  }

  /// What the step promises: the model's improvement over its own cost of the reference, trusted only
  /// if that cost agrees with the rollouts'.
  private func expectation(
    of solution: KLConstrainedLQR.Solution, reference: LinearGaussianController,
    cost: QuadraticCost, dynamics: LinearGaussianDynamics
  ) throws -> StepExpectation {
    let expected = solution.expectedCosts.reduce(0, +)
    let monteCarlo = report.meanCost
    let modelled = try? cost.expectations(
      over: marginals(of: reference, under: dynamics), under: reference
    ).reduce(0, +)
    let tolerance = 3 * report.costStandardDeviation + 0.5 * abs(monteCarlo)
    let isTrustworthy = modelled.map { abs($0 - monteCarlo) <= tolerance } ?? false
    let baseline = isTrustworthy ? modelled ?? monteCarlo : monteCarlo
    return StepExpectation(
      cost: monteCarlo, predictedImprovement: baseline - expected, isTrustworthy: isTrustworthy)
  }

  /// Samples from trajectories of the new controller under the model, one part for each of the `count`
  /// that stays where the rollouts have been: beyond, the model knows nothing.
  private func imagine(
    _ count: Int, under controller: LinearGaussianController, dynamics: LinearGaussianDynamics,
    stream: RandomStream
  ) throws -> [DistillationSet.Part] {
    if count == 0 { return [] }
    let observations = try ObservationModel(about: batch.trajectories)
    let region = VisitedRegion(of: batch.trajectories, under: dynamics)
    let sampler = try TrajectorySampler(
      dynamics: dynamics, controller: controller, observations: observations)
    return (0..<count).compactMap { sample in
      var stream = stream.child(.custom, sample)
      guard let trajectory = sampler.trajectory(stream: &stream), region.contains(trajectory) else {
        return nil
      }
      return DistillationSet.Part(along: trajectory, under: controller)
    }
  }
}

/// The conditions' states on their way to their steps. Each is taken once, so that its step alone
/// holds it and lets go of what it replaces.
final class ConditionHandover: Sendable {
  private let states: Locked<[ConditionState?]>

  init(_ states: [ConditionState]) { self.states = Locked(states) }

  /// The state of a condition, the first time it is asked for.
  func take(_ condition: Int) -> ConditionState {
    guard let state = states.withLock({ $0[condition].take() }) else {
      preconditionFailure("condition \(condition) has been stepped already")
    }
    return state
  }
}
