package import GPSCore
package import GlobalPolicy
package import SearchParts
import LQR
import LinearAlgebra
import Sim
import Statistics

/// Stages 2 and 3 of one condition in one iteration: what its rollouts say, then a better controller.
package struct LocalStep<Local: LocalImprovement, Link: Coupling>: Sendable {
  package typealias State = ConditionState<Local.Memory, Link.Memory>

  let condition: Condition
  package let batch: RolloutBatch
  /// The controller that was in force when the iteration began.
  let previous: LinearGaussianController
  /// The factor on the KL step that led to these rollouts.
  let previousMultiplier: Double
  /// What the condition carries: at first what the last iteration left, then what this one leaves.
  package var next: State
  /// What the rollouts said; nil without rollouts, or when numbers failed.
  var evidence: Local.Evidence?
  /// Whether the policy took the rollouts, not the controller.
  package let isByPolicy: Bool
  /// Whether the policy's own rollouts cost more than these.
  var isPolicyBehind = false
  /// Where the improvement began, for another try.
  var ground: Ground?
  /// What the policy is to learn here, as it does along trajectories drawn from the model.
  var teacher: LinearGaussianController
  var imagined: [DistillationSet.Part] = []
  /// Whether these rollouts were worse than those before, to which the condition has returned.
  var hasReturned = false
  /// Whether the controller is that of a search whose promise the rollouts bear out.
  var stays = false
  var outcome: LocalOutcome?
  /// Costs and successes of the rollouts.
  var report: ConditionReport
  var judgement = StepJudgement()
  /// What is measured for a diagnosis.
  var facts = ConditionFacts()
  package var notes: [String] = []
  var dynamicsSeconds = 0.0
  var optimizationSeconds = 0.0

  package var samples: [Trajectory] { batch.trajectories }

  /// How it ended.
  var status: LocalOutcome.Status {
    if stays { return .borneOut }
    if hasReturned { return .takenBack }
    return outcome?.status ?? .keptController
  }

  /// What stands before the local step is taken.
  struct Ground: Sendable {
    let next: State
    let anchor: Anchor
  }

  package init(
    _ batch: RolloutBatch, from previous: consuming State, in condition: Condition, byPolicy: Bool
  ) {
    self.batch = batch
    isByPolicy = byPolicy
    self.condition = condition
    report = ConditionReport(name: condition.name, batch: batch)
    self.previous = previous.controller
    previousMultiplier = previous.stepMultiplier
    teacher = previous.controller
    next = previous
  }

  /// The step of a condition in which all rollouts of the policy failed, and its controller rolled out instead.
  ///
  /// - Parameters:
  ///   - batch: the controller's rollouts.
  ///   - earlier: the policy's.
  ///   - previous: what the condition brings.
  ///   - condition: where.
  package init(
    rescued batch: RolloutBatch, after earlier: RolloutBatch, from previous: consuming State,
    in condition: Condition
  ) {
    var batch = batch
    batch.discarded = earlier.discarded + batch.discarded
    batch.seconds += earlier.seconds
    self.init(batch, from: previous, in: condition, byPolicy: false)
    if !batch.trajectories.isEmpty {
      notes.append(
        "\(condition.name): no rollout of the network succeeded "
          + "(\(earlier.discarded.last?.reason ?? "")); the local controller rolled out instead")
    }
  }

  /// Costs and successes of the rollouts.
  mutating func score(under task: some ControlTask) {
    let verdicts = samples.map { task.verdict(on: $0, in: condition) }
    report.costs = verdicts.map(\.cost)
    report.successes = verdicts.compactMap(\.isSuccess)
    report.margins = verdicts.map(\.margin)
  }

  /// Costs and successes of the rollouts, and by them the last step.
  mutating func judge(under task: some ControlTask, by rule: StepRule) {
    score(under: task)
    if let expectation = next.expectation {
      let cost = report.meanCost
      next.stepMultiplier = rule.multiplier(
        after: next.stepMultiplier, expectation: expectation, cost: cost)
      judgement.predictedImprovement = expectation.predictedImprovement
      judgement.actualImprovement = expectation.cost - cost
    }
    next.expectation = nil
  }

  /// Back to where the condition stood before the step that led to these rollouts, if they are worse: the
  /// controller and what the policy is to do are what they were, and the next step is half as long. Without a
  /// step there is nothing to return from.
  mutating func returnToFooting() -> Bool {
    guard let promise = judgement.predictedImprovement, let footing = next.footing,
      footing.isBetter(than: report.costs, successRate: report.successRate, promise: promise)
    else { return false }
    hasReturned = true
    next.stepMultiplier = min(next.stepMultiplier, 0.5 * previousMultiplier)
    next.controller = footing.controller
    next.isLed = true
    teacher = footing.controller
    imagined = []
    return true
  }

  /// Stays with a controller that a search on the known dynamics found, as long as rollouts bear out what it promised:
  /// it is optimal there, and all that a step could do is to follow the noise. What the policy learns from are then
  /// the rollouts of all iterations.
  ///
  /// Rollouts of the controller that do not bear it out tell that the dynamics are others: then steps are taken. Those
  /// of the policy tell that the policy is behind: then the controller rolls out next.
  ///
  /// - Returns: whether it stays.
  mutating func stay(within limits: ControlLimits?) -> Bool {
    guard var footing = next.footing, let gain = footing.gain else { return false }
    if footing.isBetter(
      than: report.costs, successRate: report.successRate, promise: Self.tolerance * gain)
    {
      if isByPolicy {
        (hasReturned, next.isLed) = (true, true)
        return true
      }
      next.footing = nil
      return false
    }
    // Where the trajectory was lost, its controller does not know what to do.
    let costs = report.costs.sorted()
    let lost = costs[costs.count / 2] + Self.lost * gain
    footing.lessons += zip(samples, report.costs).filter { $0.1 <= lost }.map {
      DistillationSet.Part(along: $0.0, under: footing.controller, limits: limits)
    }
    footing.lessons = footing.lessons.suffix(Footing.mostLessons)
    next.footing = footing
    stays = true
    return true
  }

  /// The share of what a search gained by twice of which rollouts may fall short of what it promised.
  private static var tolerance: Double { 0.2 }
  /// The share of it that a rollout has lost which is nothing to learn from.
  private static var lost: Double { 0.5 }

  /// What the policy is to do here.
  package func lessons(within limits: ControlLimits?) -> DistillationSet.Share {
    let parts =
      hasReturned || stays
      ? next.footing?.lessons ?? []
      : samples.map { DistillationSet.Part(along: $0, under: teacher, limits: limits) } + imagined
    return DistillationSet.Share(
      condition: batch.condition, parts: parts, precisions: teacher.precisions)
  }

  /// Runs a stage whose numbers may fail: the controller then in force stays, with a note.
  mutating func attempt(_ stage: (inout LocalStep) throws -> Void) throws {
    do {
      try stage(&self)
    } catch let error as any NumericalFailure where error.isNumerical {
      observe(error)
      keepController("\(error)")
    }
  }

  mutating func keepController(_ reason: String) {
    let kept = outcome == nil ? "the previous controller" : "the controller of the round before"
    notes.append("\(condition.name): kept \(kept): \(reason)")
  }

  /// Stage 3, after an anchor was found: a better controller, and where it will go.
  mutating func improve(
    by evidence: Local.Evidence, with local: Local, link: Link, anchor: Anchor, bound: Double,
    floor: ExplorationFloor, limits: ControlLimits?, modelSamples: Int, stream: RandomStream
  ) throws {
    judgement.divergenceBound = bound
    var memory = next.local
    var outcome = try local.improve(
      by: evidence, on: batch, anchor: anchor, bound: bound, memory: &memory)
    outcome.controller = try floor.raised(outcome.controller)
    let teacher = try link.teacher(outcome.controller, memory: next.link)
    let imagined = try imagine(
      modelSamples, by: outcome, teacher: teacher, limits: limits, stream: stream)
    // Nothing can fail from here on: either the whole step is taken or none of it.
    self.outcome = outcome
    self.teacher = teacher
    self.imagined = imagined
    facts.drawn = outcome.model == nil ? 0 : modelSamples
    next.local = memory
    next.controller = outcome.controller
    next.expectation = StepExpectation(
      of: outcome, from: report.meanCost, deviation: report.costStandardDeviation)
    notes += outcome.notes.map { "\(condition.name): \($0)" }
  }

  /// Samples from trajectories of the new controller under the model, one part for each of the `count`
  /// that stays where the rollouts have been: beyond, the model knows nothing.
  private func imagine(
    _ count: Int, by outcome: LocalOutcome, teacher: LinearGaussianController,
    limits: ControlLimits?, stream: RandomStream
  ) throws -> [DistillationSet.Part] {
    guard let dynamics = outcome.model, count > 0 else { return [] }
    let observations = try ObservationModel(about: samples)
    let region = VisitedRegion(of: samples, under: dynamics)
    let sampler = try TrajectorySampler(
      dynamics: dynamics, controller: outcome.controller, observations: observations)
    // Where every rollout has ended, the model knows nothing.
    let reached = samples.map(\.stepsToEnd).max() ?? 0
    return (0..<count).compactMap { sample in
      var stream = stream.child(.custom, sample)
      guard var trajectory = sampler.trajectory(stream: &stream), region.contains(trajectory) else {
        return nil
      }
      if reached < trajectory.horizon { trajectory.endStep = reached }
      return DistillationSet.Part(along: trajectory, under: teacher, limits: limits)
    }
  }
}

/// What the rollouts of one condition say of the step that led to them.
struct StepJudgement: Sendable {
  /// Improvement that the model predicted for the previous step; nil if there was none (in the first
  /// iteration, or after a failure) or if no rollout is left to judge it by.
  var predictedImprovement: Double?
  /// Improvement that the previous step brought; nil together with the predicted one.
  var actualImprovement: Double?
  /// The bound of the new step [nats per trajectory]; 0 if the local optimisation was not reached.
  var divergenceBound = 0.0
}

/// The conditions' states on their way to their steps. Each is taken once, so that its step alone
/// holds it and lets go of what it replaces.
final class ConditionHandover<State: Sendable>: Sendable {
  private let states: Locked<[State?]>

  init(_ states: [State]) { self.states = Locked(states) }

  /// The state of a condition, the first time it is asked for.
  func take(_ condition: Int) -> State {
    guard let state = states.withLock({ $0[condition].take() }) else {
      preconditionFailure("condition \(condition) has been stepped already")
    }
    return state
  }
}
