package import GPSCore
package import GlobalPolicy
import SearchParts
import Statistics

// A step that made things worse is taken back. What decides are rollouts: one without noise in each
// condition. Fewer successes, or as many at a higher cost, are worse. A new policy is judged against the last
// few that stand, not against the last one alone: contacts make such rollouts all or nothing, and a search that
// may never go down again stays on the first hill (non-monotone trust regions: Grippo et al. 1986; Toint
// 1996). In a single condition the order of noisy rollouts' costs decides, and only by more than chance (`Footing`).

/// What an iteration learned from its rollouts, before it is judged.
package struct SearchTrial<Product: DistillablePolicy, Training: Storable>: Sendable {
  package var policy: Product?
  package var training: Training?
  /// Nil where numbers failed, or without a distillation.
  package var loss: Double?
  /// The loss as a share of the labels' variance.
  package var unexplainedShare: Double?
  package var evaluation: Evaluation?
  package internal(set) var evidence: PolicyEvidence?
  /// Seconds of the rollouts that judged it, summed over workers.
  package var rolloutSeconds = 0.0
  package var notes: [String] = []

  package init(policy: Product?, training: Training?) {
    self.policy = policy
    self.training = training
  }

  /// Rollouts that it took to judge it.
  package var rollouts: Int {
    evaluation?.entries.reduce(0) { $0 + $1.batch.trajectories.count } ?? 0
  }

  /// What the evaluation says for it.
  package mutating func judge(in iteration: Int) {
    evidence = evaluation.map { PolicyEvidence($0, iteration: iteration) }
    rolloutSeconds = evaluation?.rolloutSeconds ?? 0
  }

  /// Whether its rollouts speak against it: it did worse than each of the last few.
  package func isWorse(than record: some Collection<PolicyEvidence>) -> Bool {
    guard let evidence, !record.isEmpty else { return false }
    return record.allSatisfy { evidence.isWorse(than: $0) }
  }
}

extension SearchState {
  /// Every noisy rollout of the policy failed in a condition: nothing is taken back to that.
  package mutating func discredit(in condition: Int) {
    guard var evidence = record.popLast() else { return }
    evidence.successRates[condition] = 0
    evidence.costs[condition] = .infinity
    record.append(evidence)
  }

  /// Goes on from what was learned, or from what was there before.
  ///
  /// - Parameters:
  ///   - trial: what was learned.
  ///   - isTakenBack: whether it is taken back.
  ///   - memory: how many judgements are kept.
  package mutating func take(
    _ trial: SearchTrial<Product, Training>, isTakenBack: Bool, memory: Int
  ) {
    if isTakenBack {
      lastPolicy = trial.policy
      return
    }
    lastPolicy = nil
    if let new = trial.evidence, let old = bestEvidence {
      if !new.isWorse(than: old) {
        best = nil
      } else if best == nil, let policy {
        best = Kept(policy: policy, evidence: old)
      }
    }
    policy = trial.policy
    training = trial.training
    if let new = trial.evidence { record = (record + [new]).suffix(max(1, memory)) }
  }
}

extension GuidedSearch {
  /// Where the policy did worse the bound is halved, and the local step taken again within it as far as what
  /// it was taken by is still there.
  package func shrink(_ steps: inout [Step], after trial: Trial, from state: State) throws {
    guard let evidence = trial.evidence, let kept = state.evidence else { return }
    for i in steps.indices where evidence.isWorse(than: kept, in: i) {
      let multiplier = rule.halved(steps[i].next.stepMultiplier)
      steps[i].next.stepMultiplier = multiplier
      try steps[i].attempt { step in
        guard let ground = step.ground, let evidence = step.evidence else { return }
        step.next = ground.next
        step.next.stepMultiplier = multiplier
        (step.outcome, step.imagined, step.teacher) = (nil, [], step.previous)
        step.facts.drawn = 0
        try improve(
          &step, by: evidence, ground.anchor, in: state.iteration,
          stream: stream.child(.mixture, state.iteration, i).child(.custom, 2))
      }
    }
  }

  /// The controllers return to what they were if it was the policy that rolled out; controllers that roll
  /// out themselves go on.
  package func takeBack(_ steps: inout [Step], to state: State) {
    for i in steps.indices where sampling == .onPolicy && !steps[i].hasReturned {
      steps[i].next.controller = steps[i].previous
      steps[i].next.expectation = nil
      steps[i].next.isLed = state.conditions[i].isLed
    }
  }

  /// Where the policy came out worse than the rollouts that it learned from, the local controller takes the next
  /// ones: what was learned there is not given up for what the policy made of it.
  package func lead(_ steps: inout [Step], after trial: Trial) {
    guard let evidence = trial.evidence, sampling == .onPolicy, settings.takeBack > 0,
      settings.reference == .cheaper
    else { return }
    for i in steps.indices where !steps[i].hasReturned {
      guard let footing = steps[i].next.footing else { continue }
      steps[i].next.isLed =
        footing.isBetter(
          than: [evidence.costs[i]], successRate: evidence.successRates[i],
          promise: steps[i].next.expectation?.predictedImprovement)
    }
  }
}
