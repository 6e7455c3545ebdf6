import Configuration
public import Foundation
public import GPSCore
import LinearAlgebra

/// What a run leaves behind, written as it goes.
///
/// Rows of an iteration are written in the order trajectories, rollouts, conditions, progress: an
/// iteration that stands in `progress.csv` is complete everywhere.
public final class RunDirectory {
  /// Names of the files in a run directory.
  public enum FileName {
    /// The effective experiment, every default spelled out.
    public static let experiment = "experiment.yaml"
    /// One row per iteration.
    public static let progress = "progress.csv"
    /// One row per iteration and training condition.
    public static let conditions = "conditions.csv"
    /// One row per rollout.
    public static let rollouts = "rollouts.csv"
    /// One row per rollout and time step.
    public static let trajectories = "trajectories.csv"
    /// One row per worker and what it did, for learners that tell.
    public static let workers = "workers.csv"
    /// The trained policy with the best evidence.
    public static let policy = "policy.safetensors"
    /// The policy that was trained last.
    public static let lastPolicy = "policy-last.safetensors"
    /// What the run came to.
    public static let summary = "summary.json"
    /// Messages.
    public static let log = "log.txt"
    /// A page about the run, if somebody asked for one (`gps report`).
    public static let report = "report.html"
    /// A film of its policy, if somebody asked for one (`gps video`).
    public static let film = "film.mp4"
    /// The same as a strip of pictures.
    public static let filmStrip = "film.png"

    /// The folder of the checkpoints.
    public static let checkpoints = "checkpoints"
    /// An empty file that the process that writes to the directory keeps locked.
    public static let lock = ".lock"

    /// The folder of event files, if TensorBoard is to look at the run.
    public static let tensorBoard = "tensorboard"
    /// How their names begin.
    public static let tensorBoardPrefix = "events.out.tfevents."

    /// The folder of the model's files.
    public static let model = "model"
    /// Which files of the folder are the model's.
    public static let modelList = "model.json"

    static let all = [
      experiment, progress, conditions, rollouts, trajectories, workers, policy, lastPolicy,
      summary,
      log,
    ]
  }

  /// The paths of all files that a run has in its directory, checkpoints and model included.
  public static func files(in url: URL) -> [String] {
    var files = (FileName.all + [FileName.lock, FileName.modelList]).map {
      url.appendingPathComponent($0).path
    }
    for name in [FileName.checkpoints, FileName.model, FileName.tensorBoard] {
      let folder = url.appendingPathComponent(name).path
      files += (FileManager.default.subpaths(atPath: folder) ?? []).map { folder + "/" + $0 }
    }
    return files
  }

  /// What the columns of the CSV files are called and how far apart the rows of `trajectories.csv` are.
  public struct Signals: Sendable {
    /// n names.
    public var stateNames: [String]
    /// m names.
    public var controlNames: [String]
    /// Seconds between two controls.
    public var controlPeriod: Double
    /// Training conditions: rows that an iteration has in `conditions.csv`.
    public var conditionCount: Int
    /// Training conditions, then test conditions.
    public var conditions: [Condition]
    /// What the learner reports.
    public var columns: Report.Columns

    /// The signals of a task, and the numbers of a learner.
    public init(_ task: some ControlTask, columns: Report.Columns) {
      stateNames = task.stateNames
      controlNames = task.controlNames
      controlPeriod = task.controlPeriod
      conditionCount = task.conditions.count
      conditions = task.conditions + task.testConditions
      self.columns = columns
    }
  }

  /// The directory.
  public let url: URL
  /// Where messages go.
  public let log: RunLog
  private let lock: RunLock
  private let checkpoints: CheckpointFolder
  let signals: Signals
  private let progress: CheckedFile
  private let conditions: CheckedFile
  private let rollouts: CheckedFile
  private let trajectories: CheckedFile
  /// Nil where the learner does not tell.
  private let workers: CheckedFile?
  /// Seconds of the iterations that earlier processes did: what the workers' clock begins with.
  private let earlierSeconds: Double

  /// Makes the directory and begins its files.
  ///
  /// - Parameters:
  ///   - url: made with its parents if it does not exist.
  ///   - experiment: the effective experiment as YAML.
  ///   - attachments: further files that the experiment refers to, by their paths in the directory.
  ///   - signals: names of states, controls and conditions.
  ///   - replacing: whether files of an earlier run there may be replaced.
  ///   - echoesWarnings: whether warnings go to standard error too.
  /// - Throws: `RunDirectoryError`.
  public init(
    at url: URL, experiment: String, attachments: [String: Data] = [:], signals: Signals,
    replacing: Bool, echoesWarnings: Bool = true
  ) throws(RunDirectoryError) {
    lock = try Self.prepare(url, replacing: replacing)
    func path(_ name: String) -> String { url.appendingPathComponent(name).path }
    self.url = url
    self.signals = signals
    checkpoints = CheckpointFolder(in: url)
    try checkpoints.make()
    log = try RunLog(path: path(FileName.log), echoes: echoesWarnings)
    for (name, data) in attachments.sorted(by: { $0.key < $1.key }) {
      try Self.attach(data, as: name, in: url)
    }
    try CheckedFile.replace(path(FileName.experiment), with: Array(experiment.utf8))
    progress = try CheckedFile(creating: path(FileName.progress))
    conditions = try CheckedFile(creating: path(FileName.conditions))
    rollouts = try CheckedFile(creating: path(FileName.rollouts))
    trajectories = try CheckedFile(creating: path(FileName.trajectories))
    for (file, columns) in zip([progress, conditions, rollouts, trajectories], signals.headers) {
      try file.append(CSVRows(header: columns).bytes)
    }
    earlierSeconds = 0
    workers =
      signals.columns.tellsActivities ? try CheckedFile(creating: path(FileName.workers)) : nil
    try workers?.append(CSVRows(header: Self.workerColumns).bytes)
    warnWithoutLock()
  }

  /// Goes on with the run in a directory: rows of later iterations, or of half an iteration, go.
  ///
  /// - Parameters:
  ///   - url: where the run is.
  ///   - lock: the right to write there.
  ///   - iterations: how many of the run's iterations stand.
  ///   - signals: names of states, controls and conditions.
  ///   - echoesWarnings: whether warnings go to standard error too.
  /// - Throws: `RunDirectoryError`.
  init(
    reopening url: URL, lock: RunLock, keeping iterations: Int, signals: Signals,
    echoesWarnings: Bool
  ) throws(RunDirectoryError) {
    func path(_ name: String) -> String { url.appendingPathComponent(name).path }
    self.url = url
    self.lock = lock
    self.signals = signals
    checkpoints = CheckpointFolder(in: url)
    log = try RunLog(appendingTo: path(FileName.log), echoes: echoesWarnings)
    let logger = log.logger()
    func reopen(
      _ name: String, _ columns: [String], rowsEach: Int? = nil
    ) throws(RunDirectoryError) -> CheckedFile {
      let header = CSVRows(header: columns).bytes
      if !FileManager.default.fileExists(atPath: path(name)) {
        logger.warning("\(name) is gone, and is begun anew")
        let file = try CheckedFile(creating: path(name))
        try file.append(header)
        return file
      }
      let kept = try KeptRows(
        of: path(name), header: header, before: iterations, rowsEach: rowsEach)
      if (kept.lastIteration ?? -1) + 1 < iterations || !kept.isComplete {
        logger.warning("\(name) lacks rows of the iterations before \(iterations)")
      }
      return try CheckedFile(appendingTo: path(name), keeping: kept.length)
    }
    let columns = signals.headers
    progress = try reopen(FileName.progress, columns[0], rowsEach: 1)
    conditions = try reopen(FileName.conditions, columns[1], rowsEach: signals.conditionCount)
    rollouts = try reopen(FileName.rollouts, columns[2])
    trajectories = try reopen(FileName.trajectories, columns[3])
    workers =
      signals.columns.tellsActivities ? try reopen(FileName.workers, Self.workerColumns) : nil
    earlierSeconds = Self.recordedSeconds(in: url, signals: signals).total
    checkpoints.removeDrafts()
    for name in [FileName.experiment, FileName.policy, FileName.lastPolicy, FileName.summary] {
      unlink(path(name) + CheckedFile.draftSuffix)
    }
    warnWithoutLock()
  }

  /// Writes a file that may stand in a folder of the directory.
  private static func attach(
    _ data: Data, as name: String, in url: URL
  ) throws(RunDirectoryError) {
    let components = PathParts.components(of: name, omittingEmptySubsequences: false)
    precondition(
      !components.contains { ["", ".", ".."].contains($0) }, "'\(name)' leads out of the directory")
    let file = url.appendingPathComponent(name)
    // A link in place of a folder is replaced, never followed.
    for count in 1..<components.count {
      let folder = url.appendingPathComponent(components[..<count].joined(separator: "/")).path
      if isLink(folder) { unlink(folder) }
      if mkdir(folder, 0o777) != 0 && errno != EEXIST {
        throw .cannotWrite(path: folder, reason: writeProblem(errno))
      }
    }
    try CheckedFile.replace(file.path, with: Array(data))
  }

  private static func isLink(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
  }

  /// Removes the files of an earlier run's model, and folders that are empty then: what somebody else has
  /// put there stays.
  private static func removeModel(in url: URL) {
    struct List: Decodable { var files: [String] }
    let listURL = url.appendingPathComponent(FileName.modelList)
    guard let bytes = try? RegularFile.read(listURL.path, atMost: 1 << 24),
      let list = try? JSONDecoder().decode(List.self, from: Data(bytes))
    else { return }
    var folders: Set<String> = []
    for name in list.files {
      let components = PathParts.components(
        of: FileName.model + "/" + name, omittingEmptySubsequences: false)
      if components.contains(where: { ["", ".", ".."].contains($0) }) { continue }
      let above = (1..<components.count).map { count in
        url.appendingPathComponent(components[..<count].joined(separator: "/")).path
      }
      // What a link leads to is not of this run.
      if above.contains(where: isLink) { continue }
      unlink(url.appendingPathComponent(components.joined(separator: "/")).path)
      folders.formUnion(above)
    }
    // The longest first: a folder is longer than those that it is in.
    for path in folders.sorted(by: { $0.utf8.count > $1.utf8.count }) { rmdir(path) }
    unlink(listURL.path)
  }

  /// Removes an earlier run's event files, and their folder if it is empty then.
  private static func removeEventFiles(in url: URL) {
    let folder = url.appendingPathComponent(FileName.tensorBoard).path
    if isLink(folder) { return }
    for name in (try? Folder.names(in: folder)) ?? []
    where name.hasPrefix(FileName.tensorBoardPrefix) { unlink(folder + "/" + name) }
    rmdir(folder)
  }

  private func warnWithoutLock() {
    if !lock.isEffective {
      log.logger().notice(
        "this file system keeps no locks: see to it that no other run writes here")
    }
  }

  private static func prepare(
    _ url: URL, replacing: Bool
  ) throws(RunDirectoryError) -> RunLock {
    try Folder.make(url.path)
    func requireEmpty() throws(RunDirectoryError) {
      if try Folder.names(in: url.path).contains(where: { $0 != FileName.lock }) {
        throw .notEmpty(path: url.path)
      }
    }
    func requireRun() throws(RunDirectoryError) {
      let isEmpty = try Folder.names(in: url.path).allSatisfy { $0 == FileName.lock }
      if !isEmpty && !isRun(url) { throw .noRun(path: url.path) }
    }
    if replacing { try requireRun() } else { try requireEmpty() }
    let lock = try RunLock(in: url)
    if !replacing {
      // Another run may have come and gone before the lock was ours.
      try requireEmpty()
      return lock
    }
    try requireRun()
    // What cannot be replaced whole is left whole.
    let checkpoints = CheckpointFolder(in: url)
    for folder in [url.path, checkpoints.url.path] where access(folder, W_OK | X_OK) != 0 {
      if errno != ENOENT { throw .cannotWrite(path: folder, reason: writeProblem(errno)) }
    }
    _ = try checkpoints.readNames()
    // Results of the earlier run must not be taken for those of this one.
    for name in FileName.all + [FileName.report, FileName.film, FileName.filmStrip] {
      let path = url.appendingPathComponent(name).path
      if unlink(path) != 0 && errno != ENOENT {
        throw .cannotWrite(path: path, reason: writeProblem(errno))
      }
    }
    removeModel(in: url)
    removeEventFiles(in: url)
    checkpoints.removeAll()
    return lock
  }

  /// Whether a directory holds a run of this program: a checkpoint of one, its table of iterations, or
  /// the files that a run begins with, as the program writes them.
  public static func isRun(_ url: URL) -> Bool {
    func path(_ name: String) -> String { url.appendingPathComponent(name).path }
    var status = stat()
    // Every run has locked its directory before it wrote to it.
    if lstat(path(FileName.lock), &status) != 0 || status.st_mode & S_IFMT != S_IFREG
      || status.st_size != 0
    {
      return false
    }
    if isUnstarted(url) { return true }
    let beginning = RegularFile.beginning(of: path(FileName.progress), bytes: 1 << 14) ?? []
    let header = String(decoding: beginning.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    if header.hasPrefix("iteration,rollouts,") && header.hasSuffix(",seconds_total") { return true }
    let checkpoints = CheckpointFolder(in: url)
    return (checkpoints.names.map(\.name) + [CheckpointFolder.best]).contains {
      checkpoints.isOurs($0)
    }
  }

  /// Makes a directory for a run: `<task>-<date>-<seed>`, with a number behind it if that is taken.
  ///
  /// - Parameters:
  ///   - task: the experiment's name, of which the path takes what is safe.
  ///   - seed: of the run.
  ///   - date: when it begins.
  ///   - folder: made with its parents if it does not exist.
  /// - Returns: the new directory, which is empty and nobody else's.
  /// - Throws: `RunDirectoryError.cannotWrite`.
  public static func claim(
    task: String, seed: UInt64, date: Date = .now, in folder: URL
  ) throws(RunDirectoryError) -> URL {
    let style = Date.VerbatimFormatStyle(
      format:
        "\(year: .defaultDigits)\(month: .twoDigits)\(day: .twoDigits)T\(hour: .twoDigits(clock: .twentyFourHour, hourCycle: .zeroBased))\(minute: .twoDigits)\(second: .twoDigits)",
      timeZone: .current, calendar: Calendar(identifier: .gregorian))
    // The task's name comes from a file: it must not lead out of the folder, nor be too long for it.
    var safe = String(
      task.map { $0.isLetter || $0.isNumber || "-_.".contains($0) ? $0 : "-" }
    ).drop { $0 == "." }
    while safe.utf8.count > 150 { safe.removeLast() }
    let name = "\(safe)-\(date.formatted(style))-\(seed)"
    try Folder.make(folder.path)
    for number in 1... {
      let url = folder.appendingPathComponent(
        number == 1 ? name : "\(name)-\(number)", isDirectory: true)
      if try Folder.makeNew(url.path) { return url }
    }
    throw .cannotWrite(path: folder.path, reason: "all names are taken (choose an --output)")
  }

  /// Writes the experiment in place of the one before.
  func write(experiment: String) throws(RunDirectoryError) {
    try CheckedFile.replace(
      url.appendingPathComponent(FileName.experiment).path, with: Array(experiment.utf8))
  }

  /// Waits until all rows are on the disk.
  func synchronize() throws(RunDirectoryError) {
    for file in [workers, trajectories, rollouts, conditions, progress] {
      try file?.synchronize()
    }
  }

  /// Writes a checkpoint, and removes those that are older than the newest few.
  ///
  /// - Parameters:
  ///   - checkpoint: the file, not yet sealed.
  ///   - iteration: iterations done, or nil if it is kept as the best alone.
  ///   - isBest: whether it takes the place of the one with the best policy so far.
  ///   - count: how many are kept beside that.
  /// - Throws: `RunDirectoryError`; the checkpoints before are then intact.
  func write(checkpoint: Safetensors, iteration: Int?, isBest: Bool, keeping count: Int)
    throws(RunDirectoryError)
  {
    let best = checkpoints.path(CheckpointFolder.best)
    if isBest { try CheckedFile.replace(best, sealing: checkpoint) }
    guard let iteration else { return }
    let path = checkpoints.path(CheckpointFolder.name(iteration: iteration))
    // One file with two names is written once. Where no older one is kept, a copy is worth its price.
    var isLinked = false
    if isBest && count > 1 { isLinked = try CheckedFile.replace(path, withLinkTo: best) }
    if !isLinked {
      try CheckedFile.replace(path, sealing: checkpoint)
    }
    checkpoints.prune(keeping: count, upTo: iteration)
  }

  /// Writes a policy in place of the one before: a reader sees one or the other, never a part.
  ///
  /// - Throws: `RunDirectoryError.cannotWrite`; the one before is then intact.
  public func write(
    policy: Safetensors, as name: String = FileName.policy
  ) throws(RunDirectoryError) {
    try CheckedFile.replace(url.appendingPathComponent(name).path, with: policy.encoded())
  }

  /// Writes the policy that is kept and the one that was learned last. Where a state has none, there is no
  /// file.
  ///
  /// - Throws: `RunDirectoryError.cannotWrite`; the one before is then intact.
  func writePolicies<L: Learner>(
    of state: L.State, by learner: L, _ source: some RunSource
  ) throws(RunDirectoryError) {
    for (name, policy) in [
      (FileName.policy, learner.policy(of: state)),
      (FileName.lastPolicy, learner.lastPolicy(of: state)),
    ] {
      if let policy {
        let file = PolicyFile(
          policy: policy, task: source.taskName, experiment: source.archivedYAML)
        // A run that ends well promises a policy that can be read again.
        do {
          _ = try PolicyFile<L.Actor>(file.safetensors)
        } catch {
          throw .unusablePolicy(iteration: state.iteration - 1, reason: "\(error)")
        }
        try write(policy: file.safetensors, as: name)
      } else {
        unlink(url.appendingPathComponent(name).path)
      }
    }
  }

  /// Writes the summary in place of the one before, as JSON.
  ///
  /// - Throws: `RunDirectoryError.cannotWrite`; the one before is then intact.
  public func write(summary: Summary) throws(RunDirectoryError) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let path = url.appendingPathComponent(FileName.summary).path
    let data: Data
    do {
      data = try encoder.encode(summary)
    } catch {
      throw .cannotWrite(path: path, reason: "a number is not finite")
    }
    try CheckedFile.replace(path, with: Array(data) + [UInt8(ascii: "\n")])
  }
}

// MARK: - Rows

extension RunDirectory.Signals {
  /// The columns of progress, conditions, rollouts and trajectories.
  fileprivate var headers: [[String]] {
    [
      progressColumns, ["iteration", "condition"] + columns.conditions.map(\.name),
      RunDirectory.rolloutColumns + (0..<goalCount).map { "goal.\($0)" },
      RunDirectory.trajectoryColumns + stateNames.map { "state." + $0 }
        + controlNames.map { "control." + $0 },
    ]
  }

  /// The numbers of the longest goal.
  var goalCount: Int { conditions.map(\.goal.count).max() ?? 0 }

  /// Columns of `progress.csv`.
  var progressColumns: [String] {
    ["iteration", "rollouts"] + columns.progress.map(\.name)
      + (columns.stages + ["total"]).map { "seconds_" + $0 }
  }
}

extension RunDirectory {
  /// The first columns of `rollouts.csv`; the numbers of the goal follow.
  public static let rolloutColumns = [
    "iteration", "condition", "sample", "kind", "cost", "success", "success_margin", "attempts",
    "reason", "end_step",
  ]
  /// The first columns of `trajectories.csv`; states and controls follow by name.
  public static let trajectoryColumns = [
    "iteration", "condition", "sample", "kind", "step", "time_s",
  ]

  /// The columns of `workers.csv`.
  public static let workerColumns = [
    "iteration", "worker", "activity", "condition", "start_s", "end_s",
  ]

  /// Appends the rows of one iteration.
  ///
  /// - Parameters:
  ///   - report: its trajectories have the states and controls that the signals name.
  ///   - isWhole: whether the iteration came to its end; one that did not has no row in
  ///     `progress.csv`.
  /// - Throws: `RunDirectoryError`; the files keep the iterations before.
  public func append(_ report: Report, isWhole: Bool = true) throws(RunDirectoryError) {
    var rolloutRows = CSVRows()
    func add(
      _ kind: String, _ name: String, _ batch: RolloutBatch, costs: [Double], successes: [Bool],
      margins: [Double?], condition: Int
    ) throws(RunDirectoryError) {
      var trajectoryRows = CSVRows()
      for failure in batch.discarded {
        rolloutRows.append(report.iteration)
        rolloutRows.append(name)
        rolloutRows.append(failure.sample)
        rolloutRows.append("discarded")
        rolloutRows.appendEmpty()
        rolloutRows.appendEmpty()
        rolloutRows.appendEmpty()
        rolloutRows.append(failure.attempt + 1)
        rolloutRows.append("step \(failure.step): \(failure.reason)")
        for _ in 0..<1 + signals.goalCount { rolloutRows.appendEmpty() }
        rolloutRows.endRow()
      }
      for (index, trajectory) in batch.trajectories.enumerated() {
        let sample = batch.samples[index]
        rolloutRows.append(report.iteration)
        rolloutRows.append(name)
        rolloutRows.append(sample)
        rolloutRows.append(kind)
        rolloutRows.append(costs.indices.contains(index) ? costs[index] : nil)
        if successes.indices.contains(index) {
          rolloutRows.append(successes[index] ? 1 : 0)
        } else {
          rolloutRows.appendEmpty()
        }
        rolloutRows.append(margins.indices.contains(index) ? margins[index] : nil)
        rolloutRows.append(batch.discarded.count { $0.sample == sample } + 1)
        rolloutRows.appendEmpty()
        if let end = trajectory.endStep {
          rolloutRows.append(end)
        } else {
          rolloutRows.appendEmpty()
        }
        let own =
          signals.conditions.indices.contains(condition) ? signals.conditions[condition] : nil
        let goal = (trajectory.condition ?? own)?.goal ?? []
        for i in 0..<signals.goalCount {
          rolloutRows.append(goal.indices.contains(i) ? goal[i] : nil)
        }
        rolloutRows.endRow()
        appendRows(
          of: trajectory, to: &trajectoryRows, iteration: report.iteration, condition: name,
          sample: sample, kind: kind)
      }
      try trajectories.append(trajectoryRows.bytes)
    }
    for condition in report.conditions {
      try add(
        "training", condition.name, condition.batch, costs: condition.costs,
        successes: condition.successes, margins: condition.margins,
        condition: condition.batch.condition)
    }
    for entry in report.policy?.entries ?? [] {
      try add(
        "evaluation", entry.condition, entry.batch, costs: entry.costs, successes: entry.successes,
        margins: entry.margins, condition: entry.batch.condition)
    }
    for entry in report.test?.entries ?? [] {
      try add(
        "test", entry.condition, entry.batch, costs: entry.costs, successes: entry.successes,
        margins: entry.margins, condition: signals.conditionCount + entry.batch.condition)
    }
    try rollouts.append(rolloutRows.bytes)
    try workers?.append(workerRows(report).bytes)
    try conditions.append(conditionRows(report).bytes)
    if isWhole { try progress.append(progressRow(report).bytes) }
  }

  private func appendRows(
    of trajectory: Trajectory, to rows: inout CSVRows, iteration: Int, condition: String,
    sample: Int, kind: String
  ) {
    for step in 0...trajectory.horizon {
      rows.append(iteration)
      rows.append(condition)
      rows.append(sample)
      rows.append(kind)
      rows.append(step)
      rows.append(Double(step) * signals.controlPeriod)
      for i in 0..<trajectory.states.rows { rows.append(trajectory.states[i, step]) }
      for i in 0..<trajectory.controls.rows {
        rows.append(step < trajectory.horizon ? trajectory.controls[i, step] : nil)
      }
      rows.endRow()
    }
  }

  private func conditionRows(_ report: Report) -> CSVRows {
    var rows = CSVRows()
    for condition in report.conditions {
      rows.append(report.iteration)
      rows.append(condition.name)
      rows.append(condition.metrics, by: signals.columns.conditions)
      rows.endRow()
    }
    return rows
  }

  private func workerRows(_ report: Report) -> CSVRows {
    var rows = CSVRows()
    for activity in report.activities {
      rows.append(report.iteration)
      rows.append(activity.worker)
      rows.append(activity.kind.rawValue)
      rows.append(activity.condition ?? "")
      rows.append(earlierSeconds + activity.start)
      rows.append(earlierSeconds + activity.end)
      rows.endRow()
    }
    return rows
  }

  private func progressRow(_ report: Report) -> CSVRows {
    var row = CSVRows()
    row.append(report.iteration)
    row.append(report.rollouts)
    row.append(report.metrics, by: signals.columns.progress)
    for stage in signals.columns.stages { row.append(report.seconds[stage]) }
    row.append(report.seconds.total)
    row.endRow()
    return row
  }
}
