import GPSCore
import Logging

/// Writes a run down, iteration by iteration, in an order that leaves a directory to resume from
/// wherever the process ends: policy, rows, best checkpoint, checkpoint.
struct RunRecord<L: Learner> {
  private let learner: L
  private let source: any RunSource
  private let directory: RunDirectory
  private let schedule: CheckpointSchedule
  private let experiment: String
  private let model: String
  /// Iterations that are written down.
  private(set) var iteration: Int
  /// Whether the run is at its end.
  private(set) var isFinished: Bool
  /// The state after them; nil once the newest checkpoint holds it.
  private var unsaved: L.State?
  /// What it came to.
  private var summary: Summary?

  init(
    _ learner: L, of source: any RunSource, in directory: RunDirectory,
    schedule: CheckpointSchedule, from checkpoint: Checkpoint<L.State>?
  ) {
    self.learner = learner
    self.source = source
    self.directory = directory
    self.schedule = schedule
    experiment = source.archivedYAML
    model = source.modelIdentity
    let initial = learner.initialState
    iteration = checkpoint?.state.iteration ?? initial.iteration
    isFinished = learner.isFinished(checkpoint?.state ?? initial)
    unsaved = checkpoint == nil ? initial : nil
    summary = checkpoint?.summary
  }

  /// Writes an iteration.
  ///
  /// - Parameters:
  ///   - next: the state after it.
  ///   - report: what it did.
  ///   - summary: what the run came to with it.
  /// - Throws: `RunDirectoryError`, also when the policy could not be read again; the newest checkpoint
  ///   is then still that of an earlier iteration.
  mutating func add(
    _ next: L.State, _ report: Report, _ summary: Summary
  ) throws(RunDirectoryError) {
    try directory.writePolicies(of: next, by: learner, source)
    try directory.append(report)
    iteration = next.iteration
    isFinished = learner.isFinished(next)
    unsaved = next
    self.summary = summary
    let isBest = report.policy != nil && report.keepsPolicy
    let isDue = iteration.isMultiple(of: schedule.every)
    if isBest || isDue { try save(isBest: isBest, isDue: isDue) }
  }

  /// Writes a checkpoint of the beginning.
  mutating func save(_ summary: Summary) throws(RunDirectoryError) {
    self.summary = summary
    try save(isBest: false, isDue: true)
  }

  /// Writes a checkpoint unless the newest is one of this state.
  mutating func saveIfNew() throws(RunDirectoryError) {
    try save(isBest: false, isDue: true)
  }

  private mutating func save(isBest: Bool, isDue: Bool) throws(RunDirectoryError) {
    guard let state = unsaved else { return }
    var checkpoint = Checkpoint(state: state, task: source.taskName, experiment: experiment)
    checkpoint.summary = summary
    checkpoint.model = model
    let file: Safetensors
    do {
      file = try checkpoint.safetensors()
    } catch {
      // A checkpoint that could not be read again would be worse than an older one.
      directory.log.logger().warning("no checkpoint after iteration \(iteration): \(error)")
      return
    }
    // A checkpoint promises the rows before it.
    try directory.synchronize()
    try directory.write(
      checkpoint: file, iteration: isDue ? iteration : nil, isBest: isBest, keeping: schedule.keep)
    if isDue { unsaved = nil }
  }
}
