import Configuration
package import GPSCore
import GlobalPolicy
import LinearAlgebra
import SearchParts

/// Which piece of a run's work it is. Its randomness follows from this alone: whoever does it, wherever and however
/// often, comes to the same result.
package struct WorkKey: Sendable, Hashable, CustomStringConvertible {
  /// What for.
  package enum Purpose: String, Sendable {
    /// Rollouts to learn from, the fit and the local step.
    case training
    /// The same by the local controller, after every rollout of the policy has failed.
    case rescue
    /// Rollouts without noise that judge a policy, in a training condition.
    case judging
    /// The same in a test condition.
    case testing
  }

  /// From 0.
  package var iteration: Int
  /// What for.
  package var purpose: Purpose
  /// The condition, by its number among the training or test conditions.
  package var condition: Int
  /// Rollouts.
  package var samples: Int
  /// Which try of the iteration, from 0.
  package var attempt: Int

  /// All of it, such as "3/training/0/5/0".
  package var description: String {
    "\(iteration)/\(purpose.rawValue)/\(condition)/\(samples)/\(attempt)"
  }

  /// Whether a local step follows the rollouts.
  var learns: Bool { purpose == .training || purpose == .rescue }
}

/// A piece of work that is whole by itself: the rollouts of a condition and, of those that are learned from, the fit and
/// the local step. With the experiment, and the policy where there is one, it is all that whoever does it needs to know.
package struct WorkItem<Local: Storable, Link: Storable>: Storable {
  /// Which one it is.
  package var key: WorkKey
  /// The condition's number in the paths of random streams: that among the conditions that are rolled out together.
  package var number: Int
  /// Whether the policy takes the rollouts, not the local controller.
  package var isByPolicy: Bool
  /// Whether the local step is left to whoever leads.
  package var isRolloutsAlone: Bool
  /// What the condition brings; nil where nothing is learned.
  package var state: ConditionState<Local, Link>?
  /// What speaks for the policy; nil without one.
  package var evidence: PolicyEvidence?

  /// Writes the parts.
  package func store(in writer: inout ValueWriter) {
    writer.put("iteration", text: key.iteration)
    writer.put("purpose", text: key.purpose.rawValue)
    writer.put("condition", text: key.condition)
    writer.put("samples", text: key.samples)
    writer.put("attempt", text: key.attempt)
    writer.put("number", text: number)
    writer.put("is_by_policy", [isByPolicy])
    writer.put("is_rollouts_alone", [isRolloutsAlone])
    writer.put("state", ifPresent: state)
    writer.put("evidence", ifPresent: evidence)
  }

  /// Reads the parts, all of them checked.
  package init(stored reader: ValueReader) throws(StoredValueError) {
    key = WorkKey(
      iteration: try reader.count("iteration"), purpose: try reader.choice("purpose"),
      condition: try reader.count("condition"), samples: try reader.count("samples"),
      attempt: try reader.count("attempt"))
    number = try reader.count("number")
    isByPolicy = try reader.flags("is_by_policy", 1)[0]
    isRolloutsAlone = try reader.flags("is_rollouts_alone", 1)[0]
    state = try reader.ifPresent("state")
    evidence = try reader.ifPresent("evidence")
    if key.learns != (state != nil) {
      throw StoredValueError("what the condition brings is missing, or is for nothing")
    }
  }

  init(
    _ key: WorkKey, number: Int, isByPolicy: Bool, isRolloutsAlone: Bool = false,
    state: ConditionState<Local, Link>? = nil, evidence: PolicyEvidence? = nil
  ) {
    self.key = key
    self.number = number
    self.isByPolicy = isByPolicy
    self.isRolloutsAlone = isRolloutsAlone
    self.state = state
    self.evidence = evidence
  }
}

/// What a work item came to.
package struct WorkResult<Local: Storable, Link: Storable>: Storable {
  /// The rollouts. Conditions that were drawn for them are not here: they follow from the item's key.
  package var batch: RolloutBatch
  /// The local step; nil where it is left to whoever leads, as by a robot that only rolls out.
  package var step: StepResult<Local, Link>?

  /// Writes the parts.
  package func store(in writer: inout ValueWriter) {
    let rollouts = batch.trajectories
    writer.put("samples", texts: batch.samples)
    if !rollouts.isEmpty {
      writer.put("states", MatrixSequence(of: rollouts.map(\.states)))
      writer.put("controls", MatrixSequence(of: rollouts.map(\.controls)))
      writer.put("observations", MatrixSequence(of: rollouts.map(\.observations)))
      writer.put("points", MatrixSequence(of: rollouts.map(\.points)))
      // Costs about points are expanded by whoever takes the local step.
      if step == nil, let first = rollouts.first?.pointJacobians, first.rows > 0 {
        writer.put(
          "point_jacobians",
          MatrixSequence(
            rows: first.rows, columns: first.columns, count: first.count * rollouts.count,
            columnMajor: rollouts.flatMap(\.pointJacobians.storage)))
      }
    }
    writer.put("discarded", text: batch.discarded.count)
    for (index, failure) in batch.discarded.enumerated() {
      writer.within("discarded.\(index)") {
        $0.put("place", texts: [failure.sample, failure.attempt, failure.step])
        $0.put("reason", text: shown(failure.reason))
      }
    }
    writer.put("seconds", batch.seconds)
    writer.put("step", ifPresent: step)
  }

  /// Reads the parts; their sizes are checked against each other.
  package init(stored reader: ValueReader) throws(StoredValueError) {
    let samples = try reader.counts("samples")
    var rollouts: [Trajectory] = []
    if !samples.isEmpty {
      let N = samples.count
      let states = try reader.sequence("states", count: N)
      let T = states.columns - 1
      if T < 1 { throw StoredValueError("its rollouts have no steps") }
      let controls = try reader.sequence("controls", columns: T, count: N)
      let observations = try reader.sequence("observations", columns: T + 1, count: N)
      let points = try reader.sequence("points", columns: T + 1, count: N)
      let jacobians =
        try reader.holds("point_jacobians")
        ? reader.sequence(
          "point_jacobians", rows: points.rows, columns: states.rows, count: N * (T + 1)) : nil
      for i in 0..<N {
        rollouts.append(
          Trajectory(
            states: states[i], controls: controls[i], observations: observations[i],
            points: points[i],
            pointJacobians: jacobians.map {
              let size = (T + 1) * $0.stride
              return MatrixSequence(
                rows: $0.rows, columns: $0.columns, count: T + 1,
                columnMajor: Array($0.storage[i * size..<(i + 1) * size]))
            }))
      }
    }
    let failures = try reader.count("discarded")
    if failures > reader.file.metadata.count {
      throw StoredValueError("it holds fewer texts than \(failures) failures have")
    }
    var discarded: [DiscardedRollout] = []
    for index in 0..<failures {
      let inner = reader.within("discarded.\(index)")
      let place = try inner.counts("place")
      if place.count != 3 { throw StoredValueError("a failure has no place") }
      discarded.append(
        DiscardedRollout(
          sample: place[0], attempt: place[1], step: place[2], reason: try inner.sentence("reason"))
      )
    }
    batch = RolloutBatch(
      condition: 0, trajectories: rollouts, samples: samples, discarded: discarded,
      seconds: try reader.number("seconds", in: 0...1e9))
    step = try reader.ifPresent("step")
  }

  init(batch: RolloutBatch, step: StepResult<Local, Link>?) {
    (self.batch, self.step) = (batch, step)
  }

  /// Two are the same if they are stored as the same.
  package static func == (a: WorkResult, b: WorkResult) -> Bool { isStoredAlike(a, b) }
}

/// What a local step came to, as far as whoever leads does not know it.
package struct StepResult<Local: Storable, Link: Storable>: Storable {
  var next: ConditionState<Local, Link>
  /// What the policy is to do; nil where it is the controller of `next`.
  var teacher: LinearGaussianController?
  var imagined: [DistillationSet.Part]
  var hasReturned: Bool
  var stays: Bool
  /// Nil where numbers failed, or no step was taken.
  var outcome: Outcome?
  var judgement: StepJudgement
  var facts: ConditionFacts
  var notes: [String]
  var seconds: (dynamics: Double, optimization: Double)

  /// What of a `LocalOutcome` is reported.
  struct Outcome {
    var expectedCost: Double
    var referenceCost: Double?
    var divergence: Double
    var status: LocalOutcome.Status
    var metrics: [Metric]
  }

  /// Two are the same if they are stored as the same.
  package static func == (a: StepResult, b: StepResult) -> Bool { isStoredAlike(a, b) }
}

extension StepResult {
  /// What is to be told of a step.
  init<Improvement: LocalImprovement, Bond: Coupling>(_ step: LocalStep<Improvement, Bond>)
  where Improvement.Memory == Local, Bond.Memory == Link {
    next = step.next
    teacher = step.teacher == step.next.controller ? nil : step.teacher
    imagined = step.imagined
    (hasReturned, stays) = (step.hasReturned, step.stays)
    outcome = step.outcome.map {
      Outcome(
        expectedCost: $0.expectedCost, referenceCost: $0.referenceCost, divergence: $0.divergence,
        status: $0.status, metrics: $0.metrics)
    }
    (judgement, facts, notes) = (step.judgement, step.facts, step.notes)
    seconds = (step.dynamicsSeconds, step.optimizationSeconds)
  }

  /// Writes the parts. What is reported may be any number.
  package func store(in writer: inout ValueWriter) {
    writer.within("next") { next.store(in: &$0) }
    writer.put("teacher", ifPresent: teacher)
    writer.put("imagined", imagined)
    writer.put("flags", [hasReturned, stays, outcome != nil])
    if let outcome {
      writer.put("status", text: outcome.status.rawValue)
      writer.put("divergence", outcome.divergence, mustBeFinite: false)
      writer.put("expected_cost", outcome.expectedCost, mustBeFinite: false)
      writer.put("reference_cost", ifKnown: outcome.referenceCost)
      writer.put("metrics", text: outcome.metrics.map(\.name).joined(separator: ","))
      writer.within("metric") { writer in
        for metric in outcome.metrics {
          switch metric.value {
          case .number(let number): writer.put(metric.name, ifKnown: number)
          case .word(let word): writer.put(metric.name, text: shown(word))
          }
        }
      }
    }
    writer.put("predicted_improvement", ifKnown: judgement.predictedImprovement)
    writer.put("actual_improvement", ifKnown: judgement.actualImprovement)
    writer.put("divergence_bound", judgement.divergenceBound, mustBeFinite: false)
    writer.within("facts") { facts.store(in: &$0) }
    writer.put("notes", text: notes.count)
    for (index, note) in notes.enumerated() { writer.put("note.\(index)", text: shown(note)) }
    writer.put("seconds", [seconds.dynamics, seconds.optimization])
  }

  /// Reads the parts, all of them checked.
  package init(stored reader: ValueReader) throws(StoredValueError) {
    next = try ConditionState(stored: reader.within("next"))
    teacher = try reader.ifPresent("teacher")
    imagined = try reader.parts(
      "imagined", controls: next.controller.control, steps: next.controller.horizon)
    let flags = try reader.flags("flags", 3)
    (hasReturned, stays) = (flags[0], flags[1])
    if flags[2] {
      let inner = reader.within("metric")
      var metrics: [Metric] = []
      for name in try reader.text("metrics").split(separator: ",").map(String.init) {
        metrics.append(
          try inner.holdsText(name)
            ? Metric(name, Word(rawValue: inner.sentence(name)))
            : Metric(name, inner.ifKnown(name)))
      }
      outcome = Outcome(
        expectedCost: try reader.number("expected_cost", mustBeFinite: false),
        referenceCost: try reader.ifKnown("reference_cost"),
        divergence: try reader.number("divergence", mustBeFinite: false),
        status: try reader.choice("status"), metrics: metrics)
    }
    judgement = StepJudgement(
      predictedImprovement: try reader.ifKnown("predicted_improvement"),
      actualImprovement: try reader.ifKnown("actual_improvement"),
      divergenceBound: try reader.number("divergence_bound", mustBeFinite: false))
    facts = try ConditionFacts(stored: reader.within("facts"))
    notes = []
    let remarks = try reader.count("notes")
    if remarks > reader.file.metadata.count {
      throw StoredValueError("it holds fewer texts than \(remarks) notes")
    }
    for index in 0..<remarks { notes.append(try reader.sentence("note.\(index)")) }
    let times = try reader.numbers("seconds", 2)
    if !times.allSatisfy({ (0...1e9).contains($0) }) {
      throw StoredValueError("it took no time that can be")
    }
    seconds = (times[0], times[1])
  }
}

/// A word of a column.
private struct Word: RawRepresentable { let rawValue: String }

extension LocalStep {
  /// Takes over what a local step came to elsewhere.
  mutating func adopt(_ result: StepResult<Local.Memory, Link.Memory>) {
    next = result.next
    teacher = result.teacher ?? result.next.controller
    imagined = result.imagined
    (hasReturned, stays) = (result.hasReturned, result.stays)
    outcome = result.outcome.map {
      LocalOutcome(
        controller: result.next.controller, expectedCost: $0.expectedCost,
        referenceCost: $0.referenceCost, divergence: $0.divergence, status: $0.status,
        metrics: $0.metrics)
    }
    (judgement, facts) = (result.judgement, result.facts)
    notes += result.notes
    (dynamicsSeconds, optimizationSeconds) = result.seconds
  }
}

extension ConditionFacts: Storable {
  /// Writes the parts.
  package func store(in writer: inout ValueWriter) {
    writer.put("saturated_share", ifKnown: saturatedShare)
    writer.put("saturated_shares", saturatedShares.map { $0 ?? -1 })
    writer.put("largest_command", ifKnown: largestCommand)
    writer.put("largest_command_of", ifKnown: largestCommandOf.map(Double.init))
    writer.put("exploration", ifKnown: exploration)
    writer.put("exploration_of_range", ifKnown: explorationOfRange)
    writer.put("split_share", ifKnown: splitShare)
    writer.put("growth", ifKnown: growth)
    writer.put("drawn", text: drawn)
    if let hidesGoals { writer.put("hides_goals", [hidesGoals]) }
  }

  /// Reads the parts, all of them checked.
  package init(stored reader: ValueReader) throws(StoredValueError) {
    self.init()
    saturatedShare = try reader.ifKnown("saturated_share")
    saturatedShares = try reader.numbers("saturated_shares").map { $0 < 0 ? nil : $0 }
    largestCommand = try reader.ifKnown("largest_command")
    largestCommandOf = try reader.ifKnown("largest_command_of").map {
      (0..<1e6).contains($0) ? Int($0) : 0
    }
    exploration = try reader.ifKnown("exploration")
    explorationOfRange = try reader.ifKnown("exploration_of_range")
    splitShare = try reader.ifKnown("split_share")
    growth = try reader.ifKnown("growth")
    drawn = try reader.count("drawn")
    if reader.holds("hides_goals") { hidesGoals = try reader.flags("hides_goals", 1)[0] }
  }
}

private func isStoredAlike(_ a: some Storable, _ b: some Storable) -> Bool {
  var (first, second) = (ValueWriter(), ValueWriter())
  a.store(in: &first)
  b.store(in: &second)
  return first.file.encoded() == second.file.encoded()
}

/// A text as logs and terminals may get it.
private func shown(_ text: String) -> String { visible(text, limit: 1000) }

extension ValueWriter {
  /// A number that may be unknown, and may be any.
  fileprivate mutating func put(_ name: String, ifKnown number: Double?) {
    if let number { put(name, number, mustBeFinite: false) }
  }
}

extension ValueReader {
  fileprivate func ifKnown(_ name: String) throws(StoredValueError) -> Double? {
    holds(name) ? try number(name, mustBeFinite: false) : nil
  }

  /// Whole numbers that are at least 0.
  fileprivate func counts(_ name: String) throws(StoredValueError) -> [Int] {
    let numbers = try text(name).split(separator: ",", omittingEmptySubsequences: true).map {
      Int($0) ?? -1
    }
    guard numbers.allSatisfy({ (0..<1 << 53).contains($0) }) else {
      throw StoredValueError("\"\(name)\" holds something that is no count")
    }
    return numbers
  }

  /// A text that is written to logs and terminals as it is.
  fileprivate func sentence(_ name: String) throws(StoredValueError) -> String {
    let text = try text(name)
    guard text.utf8.count <= 4000, text.unicodeScalars.allSatisfy(isVisible) else {
      throw StoredValueError("\"\(name)\" is no sentence that can be shown")
    }
    return text
  }
}

extension MatrixSequence {
  /// Matrices of one shape, at least one.
  init(of matrices: [Matrix]) {
    self.init(
      rows: matrices[0].rows, columns: matrices[0].columns, count: matrices.count,
      columnMajor: matrices.flatMap(\.storage))
  }
}
