package import GPSCore
import GlobalPolicy
import LinearAlgebra
import SearchParts
import Sim
import Statistics

/// Others who do the work items of a search, wherever they are.
package protocol Crew: Sendable {
  /// Has items done, each once, by whoever comes first.
  ///
  /// - Parameters:
  ///   - items: keys, all different, and what is stored of the items.
  ///   - policy: what all of them refer to; nil without a policy.
  ///   - accept: takes a result in; one that it refuses is as good as none.
  ///   - finish: what is left to do here; concurrent, and begun as soon as a result is in.
  /// - Returns: what `finish` returned, in the order of the items.
  /// - Throws: when nobody can do them, what `finish` throws, or `CancellationError`.
  func results<Value: Sendable, Result: Sendable>(
    of items: [(key: WorkKey, file: Safetensors)], sharing policy: Safetensors?,
    accept: @escaping @Sendable (Int, ValueReader) throws(StoredValueError) -> Value,
    finish: @escaping @Sendable (Int, Value) async throws -> Result
  ) async throws -> [Result]

  /// How many have sent results since this was asked last.
  func takeCount() -> Int
}

/// A learner that can have its work done by others, and do that of others.
package protocol SharedLearner: Learner {
  /// The same learner with others to do the work.
  func led(with crew: any Crew) -> Self
  /// Somebody who does work items of such a learner.
  func makePerformer() -> any WorkPerformer
}

/// Who does work items, one after the other. Owned by one thread.
package protocol WorkPerformer {
  /// Does one.
  ///
  /// - Parameters:
  ///   - item: as it was stored.
  ///   - policy: what it refers to; nil for nothing.
  /// - Returns: the result, to be sealed.
  /// - Throws: `StoredValueError` for an item that is none of this experiment's; `CancellationError`; else what ends a
  ///   search.
  mutating func perform(_ item: ValueReader, policy: Safetensors?) throws -> ValueWriter
}

extension GuidedSearch: SharedLearner {
  private typealias Item = WorkItem<Local.Memory, Link.Memory>
  private typealias Done = WorkResult<Local.Memory, Link.Memory>

  /// The same search with others to do the work.
  package func led(with crew: any Crew) -> GuidedSearch {
    var search = self
    search.crew = crew
    return search
  }

  /// Somebody who does work items of this search.
  package func makePerformer() -> any WorkPerformer { SearchPerformer(self) }

  /// Stages 1 to 3 of some conditions, by others.
  func steps(
    by crew: any Crew, in places: [Int], from state: State, purpose: WorkKey.Purpose,
    bringing own: [Step.State], _ begun: @escaping @Sendable (Int, RolloutBatch, Step.State) -> Step
  ) async throws -> [Step] {
    let items = places.indices.map { k in
      Item(
        WorkKey(
          iteration: state.iteration, purpose: purpose, condition: places[k],
          samples: settings.samples, attempt: 0),
        number: k,
        isByPolicy: purpose == .training && isPolicyTurn(in: places[k], state),
        isRolloutsAlone: keepsEvidence, state: own[k], evidence: state.evidence)
    }
    return try await crew.results(
      of: items.map { (key: $0.key, file: try parcel($0)) }, sharing: stored(state.policy)
    ) { k, reader throws(StoredValueError) in
      try accepted(reader, for: items[k])
    } finish: { k, result in
      var step = begun(places[k], result.batch, own[k])
      if let known = result.step {
        step.score(under: task)
        step.adopt(known)
      } else {
        try improve(&step, toward: state)
      }
      return step
    }
  }

  /// Noise-free rollouts of the policy, by others.
  func judged(
    _ policy: Student.Product, in conditions: [Condition], by crew: any Crew, as key: WorkKey
  ) async throws -> Evaluation {
    let items = conditions.indices.map { i in
      var key = key
      key.condition = i
      return Item(key, number: i, isByPolicy: true)
    }
    let entries = try await crew.results(
      of: items.map { (key: $0.key, file: try parcel($0)) }, sharing: stored(policy)
    ) { i, reader throws(StoredValueError) in
      try accepted(reader, for: items[i])
    } finish: { i, result in
      Evaluation.Entry(result.batch, in: conditions[i], of: task)
    }
    return Evaluation(entries: entries)
  }

  /// What is sent of an item: itself and, for whoever rolls out without drawing, all that is random in it.
  private func parcel(_ item: Item) throws -> Safetensors {
    var writer = ValueWriter()
    item.store(in: &writer)
    let condition = place(of: item.key)
    let sampler = sampler(of: item.key)
    let draws = (0..<item.key.samples).map {
      sampler.draws(of: $0, in: condition, number: item.number)
    }
    writer.put("condition_name", text: condition.name)
    writer.put("horizon", text: task.dimensions.horizon)
    writer.put("starts", Matrix(columns: draws.map(\.plantState)))
    writer.put("goals", Matrix(columns: draws.map(\.condition.goal)))
    if item.key.learns { writer.put("noise", MatrixSequence(of: draws.map(\.noise))) }
    if let name = writer.notFinite {
      throw StoredValueError("\"\(name)\" of work item \(item.key) is not finite")
    }
    return writer.file
  }

  private func stored(_ policy: Student.Product?) -> Safetensors? {
    policy.map {
      var writer = ValueWriter()
      $0.store(in: &writer)
      return writer.file
    }
  }

  /// A result, if it can be one of the item.
  private func accepted(_ reader: ValueReader, for item: Item) throws(StoredValueError) -> Done {
    var result = try Done(stored: reader)
    if let problem = mismatch(of: result, with: item) { throw StoredValueError(problem) }
    result.batch.condition = item.key.condition
    let (condition, sampler) = (place(of: item.key), sampler(of: item.key))
    for (i, sample) in result.batch.samples.enumerated() {
      if condition.draws != nil {
        result.batch.trajectories[i].condition = sampler.condition(
          of: sample, in: condition, number: item.number,
          attempt: result.batch.discarded.count { $0.sample == sample })
      }
      let trajectory = result.batch.trajectories[i]
      let own = trajectory.condition ?? condition
      let costs = task.cost.values(along: trajectory, in: own)
      guard costs.allSatisfy(\.isFinite) else {
        throw StoredValueError("the cost of a rollout is not finite")
      }
      result.batch.trajectories[i].endStep = task.endStep(of: trajectory, in: own)
    }
    return result
  }

  /// Why a result cannot be one of an item, as a clause; nil if it can.
  private func mismatch(of result: Done, with item: Item) -> String? {
    let (d, batch, key) = (task.dimensions, result.batch, item.key)
    let attempts = plan(of: key).options.maxAttempts
    for trajectory in batch.trajectories {
      if trajectory.states.rows != d.state || trajectory.controls.rows != d.control
        || trajectory.observations.rows != d.observation || trajectory.points.rows != 3 * d.points
        || trajectory.horizon != d.horizon
      {
        return "a rollout is not of \(d.state) states, \(d.control) controls, \(d.observation) "
          + "observations, \(d.points) points and \(d.horizon) steps"
      }
      if let limits = task.controlLimits {
        for t in 0..<d.horizon {
          for i in 0..<d.control
          where limits.clamped(trajectory.controls[i, t], i) != trajectory.controls[i, t] {
            return "a control is beyond its limits"
          }
        }
      }
    }
    if zip(batch.samples, batch.samples.dropFirst()).contains(where: { $0 >= $1 })
      || batch.samples.contains(where: { $0 >= key.samples })
      || batch.discarded.count > key.samples * attempts
      || batch.discarded.contains(where: {
        $0.sample >= key.samples || $0.attempt >= attempts || $0.step > d.horizon
      })
      || batch.trajectories.count
        + Set(batch.discarded.map(\.sample)).subtracting(batch.samples).count
        != key.samples
    {
      return "it does not say what became of each of \(key.samples) rollouts"
    }
    guard let step = result.step else {
      let needs = key.learns && task.cost.needsPointJacobians && d.points > 0
      return needs
        && batch.trajectories.contains(where: {
          $0.pointJacobians.rows != 3 * d.points || $0.pointJacobians.columns != d.state
        })
        ? "point_jacobians are missing, which the cost is expanded by" : nil
    }
    if !key.learns || item.isRolloutsAlone { return "nobody asked for a local step" }
    let fits =
      fits(step.next) && (step.teacher.map(hasShape) ?? true)
      && step.imagined.count <= settings.modelSamples
      && step.imagined.allSatisfy {
        $0.observations.rows == d.observation
      }
      && step.facts.saturatedShares.count <= d.control
      && (step.outcome.map { $0.metrics.map(\.name) == local.columns.map(\.name) } ?? true)
    return fits ? nil : "its local step is not of this experiment"
  }

  fileprivate func place(of key: WorkKey) -> Condition {
    key.purpose == .testing ? task.testConditions[key.condition] : task.conditions[key.condition]
  }

  private func plan(of key: WorkKey) -> RolloutPlan {
    key.learns
      ? plan(in: key.iteration, isRescue: key.purpose == .rescue)
      : .judging(rollouts: key.samples, timeLimit: settings.rollouts.timeLimit)
  }

  fileprivate func sampler(of key: WorkKey) -> RolloutSampler<System> {
    RolloutSampler(
      task, plan: plan(of: key), stream: key.purpose == .rescue ? rescueStream : stream)
  }
}

/// Does the work items of a search.
private struct SearchPerformer<
  System: ControlTask, Local: LocalImprovement, Link: Coupling, Student: Distiller
>: WorkPerformer {
  typealias Search = GuidedSearch<System, Local, Link, Student>
  typealias Who = PolicyOrController<Student.Product>

  let search: Search
  var own: RolloutWorker<System, Who>

  init(_ search: Search) {
    self.search = search
    own = RolloutWorker(search.task)
  }

  mutating func perform(_ item: ValueReader, policy: Safetensors?) throws -> ValueWriter {
    let item = try WorkItem<Local.Memory, Link.Memory>(stored: item)
    let policy = try policy.map { try Student.Product(stored: ValueReader($0)) }
    if let problem = mismatch(with: item, policy) { throw StoredValueError(problem) }
    let (key, place, sampler) = (item.key, search.place(of: item.key), search.sampler(of: item.key))
    let who: Who
    if item.isByPolicy, let policy {
      who = .policy(policy)
    } else if let controller = item.state?.controller {
      who = .controller(controller)
    } else {
      throw StoredValueError("there is nobody to roll out")
    }
    own.changePolicy()
    var outcomes: [SampleOutcome] = []
    for sample in 0..<key.samples {
      outcomes.append(
        try sampler.outcome(of: sample, in: place, number: item.number, under: who, by: &own))
    }
    var batch = RolloutBatch(condition: key.condition, outcomes: outcomes)
    if !key.learns {
      // Nobody expands the cost of what is judged.
      let d = search.task.dimensions
      for i in batch.trajectories.indices {
        batch.trajectories[i].pointJacobians = MatrixSequence(
          rows: 0, columns: d.state, count: d.horizon + 1)
      }
    }
    var result = WorkResult<Local.Memory, Link.Memory>(batch: batch, step: nil)
    if let state = item.state, !item.isRolloutsAlone {
      var view = Search.State(conditions: [])
      (view.iteration, view.policy) = (key.iteration, policy)
      if let evidence = item.evidence { view.record = [evidence] }
      var step = Search.Step(batch, from: state, in: place, byPolicy: item.isByPolicy)
      try search.improve(&step, toward: view)
      result.step = StepResult(step)
    }
    var writer = ValueWriter()
    result.store(in: &writer)
    return writer
  }

  /// Why an item is none of this experiment's, as a clause; nil if it is one.
  private func mismatch(
    with item: WorkItem<Local.Memory, Link.Memory>, _ policy: Student.Product?
  ) -> String? {
    let (key, task) = (item.key, search.task)
    let conditions = key.purpose == .testing ? task.testConditions : task.conditions
    if key.condition >= conditions.count || item.number >= conditions.count {
      return "there is no condition \(max(key.condition, item.number))"
    }
    if key.samples != (key.learns ? search.settings.samples : 1)
      || key.iteration >= 1 << 31 || key.attempt > search.settings.retries
    {
      return "it asks for \(key.samples) rollouts in try \(key.attempt)"
    }
    if let state = item.state, !search.fits(state) { return "its condition is of another task" }
    if let evidence = item.evidence, evidence.costs.count != task.conditions.count {
      return "its evidence is of \(evidence.costs.count) conditions"
    }
    return policy?.mismatch(with: task.dimensions).map { "its policy does not fit: \($0)" }
  }
}

extension Matrix {
  /// A matrix from its columns, all of one length.
  fileprivate init(columns: [[Double]]) {
    self.init(
      rows: columns.first?.count ?? 0, columns: columns.count, columnMajor: columns.flatMap { $0 })
  }
}
