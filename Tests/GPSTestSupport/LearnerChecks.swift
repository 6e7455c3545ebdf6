public import GPSCore
public import Testing

/// A stored value comes back equal, and gives the same bytes again.
///
/// - Throws: what reading throws.
public func checkStorable<Value: Storable>(
  _ value: Value, sourceLocation: SourceLocation = #_sourceLocation
) throws {
  var writer = ValueWriter()
  value.store(in: &writer)
  #expect(writer.notFinite == nil, sourceLocation: sourceLocation)
  let bytes = writer.file.sealed()
  let read = try Value(stored: ValueReader(Safetensors(sealed: bytes)))
  #expect(read == value, sourceLocation: sourceLocation)
  var again = ValueWriter()
  read.store(in: &again)
  #expect(again.file.sealed() == bytes, sourceLocation: sourceLocation)
}

/// The same of a learner's state, which the learner must be able to go on from.
public func checkStorable<L: Learner>(
  _ state: L.State, fits learner: L, sourceLocation: SourceLocation = #_sourceLocation
) throws {
  try checkStorable(state, sourceLocation: sourceLocation)
  #expect(learner.mismatch(with: state) == nil, sourceLocation: sourceLocation)
}

/// What every learner promises: counted iterations, reports by its own columns, states that come back,
/// the same results from the same state, and from the one that was stored.
///
/// - Throws: what the learner throws.
public func checkLearner<L: Learner>(
  _ learner: L, iterations: Int = 2, sourceLocation: SourceLocation = #_sourceLocation
) async throws {
  var state = learner.initialState
  #expect(state.iteration == 0 && state.rollouts == 0, sourceLocation: sourceLocation)
  let (progress, conditions) = (
    learner.columns.progress.map(\.name), learner.columns.conditions.map(\.name)
  )
  #expect(
    Set(progress).count == progress.count && Set(conditions).count == conditions.count,
    "names of columns twice", sourceLocation: sourceLocation)
  for iteration in 0..<iterations where !learner.isFinished(state) {
    let (next, report) = try await learner.advancing(state)
    #expect(
      report.iteration == iteration && next.iteration == iteration + 1
        && report.rollouts == next.rollouts && next.rollouts >= state.rollouts,
      sourceLocation: sourceLocation)
    let strangers =
      report.metrics.map(\.name).filter { !progress.contains($0) }
      + report.conditions.flatMap { $0.metrics.map(\.name) }.filter { !conditions.contains($0) }
      + report.seconds.stages.keys.filter { !learner.columns.stages.contains($0) }
    #expect(strangers == [], "numbers without a column", sourceLocation: sourceLocation)
    #expect(
      report.policy == nil || learner.policy(of: next) != nil, sourceLocation: sourceLocation)
    try checkStorable(next, fits: learner, sourceLocation: sourceLocation)
    // The state was not used up, and a stored one is as good.
    var writer = ValueWriter()
    state.store(in: &writer)
    let stored = try L.State(stored: ValueReader(writer.file))
    let (again, _) = try await learner.advancing(stored)
    #expect(again == next, sourceLocation: sourceLocation)
    state = next
  }
}
