import Configuration
public import Foundation
public import GPSCore

/// All that a run needs to go on as if it had never been interrupted, in one sealed safetensors file.
///
/// The texts of the header are `format`, `version`, `program`, `task`, `experiment` (YAML), `model`
/// (the checksum of its file), `summary` (JSON), and those of the state;
/// the arrays are those of the state, row-major, and `checksum` as the last.
/// Nothing in it depends on the clock or on the number of workers: the same iteration of the same
/// run is the same file, byte for byte.
public struct Checkpoint<State: LearnerState>: Sendable, Equatable {
  /// What travels to the next iteration.
  public var state: State
  /// What the run came to so far, without times; nil outside of a run directory.
  public var summary: Summary?
  /// The experiment's name.
  public var task: String
  /// The effective experiment, as YAML.
  public var experiment: String
  /// The checksum of the model's file, in hexadecimal; empty for native systems.
  public var model: String
  /// The version of the program that wrote it.
  public var program = ProgramVersion.current

  /// A checkpoint.
  ///
  /// - Parameters:
  ///   - state: what travels to the next iteration.
  ///   - task: the task's name.
  ///   - experiment: the effective experiment, as YAML; empty for a task made in code.
  public init(state: State, task: String, experiment: String = "") {
    self.state = state
    self.task = task
    self.experiment = experiment
    model = ""
  }

  /// The file's bytes.
  ///
  /// - Throws: `CheckpointError.notFinite` if reading would refuse them.
  public func encoded() throws(CheckpointError) -> [UInt8] { try safetensors().sealed() }

  /// The file before it is sealed; its arrays share the state's storage.
  ///
  /// - Throws: `CheckpointError.notFinite` if reading would refuse it.
  func safetensors() throws(CheckpointError) -> Safetensors {
    var writer = ValueWriter()
    writer.put("format", text: CheckpointFormat.name)
    writer.put("version", text: CheckpointFormat.version)
    writer.put("program", text: program)
    writer.put("task", text: task)
    writer.put("experiment", text: experiment)
    writer.put("model", text: model)
    if let summary {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      guard let json = try? encoder.encode(summary.withoutTimes) else {
        throw .notFinite(name: "summary")
      }
      writer.put("summary", text: String(decoding: json, as: UTF8.self))
    }
    state.store(in: &writer)
    if let name = writer.notFinite { throw .notFinite(name: name) }
    return writer.file
  }

  /// Reads a file.
  ///
  /// - Throws: `CheckpointError`.
  public init(contentsOf url: URL) throws(CheckpointError) {
    do {
      try self.init(bytes: Safetensors.bytes(ofFile: url.path))
    } catch let error as FileProblem {
      throw .unreadable(path: url.path, reason: "\(error)")
    } catch {
      throw .invalid(path: url.path, reason: "\(error)")
    }
  }

  /// Writes the file at once: a reader sees the one before or the new one, never a part.
  ///
  /// - Throws: `CheckpointError.notFinite` or `RunDirectoryError.cannotWrite`; the file before is
  ///   then intact.
  public func write(to url: URL) throws {
    try CheckedFile.replace(url.path, sealing: safetensors())
  }

  init(bytes: [UInt8]) throws(StoredValueError) {
    let file: Safetensors
    do {
      // The format is told first: another file's missing checksum is not what is wrong with it.
      let form = try Safetensors(bytes: bytes).metadata
      if form["format"] != CheckpointFormat.name {
        throw StoredValueError("it is not a checkpoint")
      }
      if let version = form["version"], version != CheckpointFormat.version {
        throw StoredValueError(
          "it is of format version \(abbreviated(version)), this program reads \(CheckpointFormat.version)"
        )
      }
      file = try Safetensors(sealed: bytes)
    } catch let error as StoredValueError {
      throw error
    } catch {
      throw StoredValueError("\(error)")
    }
    let reader = ValueReader(file)
    self.init(
      state: try State(stored: reader), task: try reader.text("task"),
      experiment: try reader.text("experiment"))
    model = try reader.text("model")
    program = try reader.text("program")
    if reader.holdsText("summary") {
      let json = Data(try reader.text("summary").utf8)
      guard let summary = try? JSONDecoder().decode(Summary.self, from: json),
        summary.iterations == state.iteration, summary.rollouts == state.rollouts,
        (0..<1 << 53).contains(summary.discardedRollouts)
      else { throw StoredValueError("its summary is not that of its state") }
      self.summary = summary
    }
    var known = ValueWriter()
    state.store(in: &known)
    let names = Set(known.file.tensors.keys)
    if let name = file.tensors.keys.sorted().first(where: { !names.contains($0) }) {
      throw StoredValueError("the array \"\(abbreviated(name))\" belongs to nothing")
    }
  }

  /// Why this is not a checkpoint of a run, as a clause; nil if it is.
  func mismatch<L: Learner>(with learner: L, of source: some RunSource) -> String?
  where L.State == State {
    if let problem = learner.mismatch(with: state) ?? source.mismatch(with: experiment) {
      return problem
    }
    return source.modelMismatch(with: model)
  }
}

enum CheckpointFormat {
  static let name = "gps-checkpoint"
  static let version = "6"
}

/// Why a checkpoint cannot be used or written.
public enum CheckpointError: Error, Sendable, Equatable, CustomStringConvertible {
  /// It cannot be opened.
  case unreadable(path: String, reason: String)
  /// It is no checkpoint, is damaged, or is not one of this experiment.
  case invalid(path: String, reason: String)
  /// A run directory holds none.
  case none(path: String)
  /// More iterations are done than are asked for.
  case iterationsDone(path: String, done: Int, asked: Int)
  /// The state holds a NaN or an infinity where none is allowed.
  case notFinite(name: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .unreadable(let path, let reason): "cannot read \(path): \(reason)"
    case .invalid(let path, let reason): "\(path): \(reason)"
    case .none(let path):
      "\(path) holds no checkpoint: there is nothing to resume "
        + "(gps run with --output and --resume begins a run)"
    case .iterationsDone(let path, let done, let asked):
      "\(path): \(done) iterations are done, so the run cannot end after \(asked)"
    case .notFinite(let name): "\"\(name)\" of the state holds a number that is not finite"
    }
  }
}

/// When a run writes checkpoints and how many it keeps; the one with the best policy comes on top.
public struct CheckpointSchedule: Sendable, Equatable {
  /// Iterations from one to the next; the last iteration always has one.
  public var every: Int
  /// How many of the newest are kept.
  public var keep: Int

  /// A schedule; both numbers are at least 1.
  public init(every: Int = 1, keep: Int = 3) {
    precondition(every >= 1 && keep >= 1, "a checkpoint every \(every) iterations, \(keep) kept")
    self.every = every
    self.keep = keep
  }
}

/// The checkpoints of a run: `checkpoints/` in its directory.
struct CheckpointFolder {
  let url: URL
  static let best = "best.safetensors"
  private static let (prefix, suffix) = ("iteration-", ".safetensors")

  init(in directory: URL) {
    url = directory.appendingPathComponent(RunDirectory.FileName.checkpoints, isDirectory: true)
  }

  func path(_ name: String) -> String { url.appendingPathComponent(name).path }

  static func name(iteration: Int) -> String {
    let digits = String(iteration)
    return prefix + String(repeating: "0", count: max(0, 6 - digits.count)) + digits + suffix
  }

  /// Whether there is something of that name.
  func holds(_ name: String) -> Bool {
    var status = stat()
    return stat(path(name), &status) == 0
  }

  /// The numbered checkpoints, newest first; none where there is no folder, or it cannot be read.
  var names: [(iteration: Int, name: String)] { (try? readNames()) ?? [] }

  /// The numbered checkpoints, newest first; none where there is no folder.
  ///
  /// - Throws: `RunDirectoryError.cannotRead`.
  func readNames() throws(RunDirectoryError) -> [(iteration: Int, name: String)] {
    do throws(FileProblem) {
      if try RegularFile.status(of: url.path) == nil { return [] }
    } catch {
      throw .cannotRead(path: url.path, reason: error.description)
    }
    return try Folder.names(in: url.path).compactMap { name in
      guard name.hasPrefix(Self.prefix), name.hasSuffix(Self.suffix) else { return nil }
      let iteration = Int(name.dropFirst(Self.prefix.count).dropLast(Self.suffix.count))
      guard let iteration, name == Self.name(iteration: iteration) else { return nil }
      return (iteration, name)
    }.sorted { $0.iteration > $1.iteration }
  }

  /// Makes the folder; a link in its place is replaced, not followed.
  func make() throws(RunDirectoryError) {
    if (try? FileManager.default.destinationOfSymbolicLink(atPath: url.path)) != nil {
      unlink(url.path)
    }
    if mkdir(url.path, 0o755) != 0 && errno != EEXIST {
      throw .cannotWrite(path: url.path, reason: writeProblem(errno))
    }
  }

  /// Whether a file is a checkpoint of this program, damaged or not: its header begins like one.
  func isOurs(_ name: String) -> Bool {
    let size = 1 << 16
    guard let bytes = RegularFile.beginning(of: path(name), bytes: size) else { return false }
    // Texts come first in the header, in the order of their names; a long experiment is among them.
    let text = String(decoding: bytes.dropFirst(8), as: UTF8.self)
    return text.hasPrefix("{\"__metadata__\":{\"")
      && (text.contains("\"format\":\"\(CheckpointFormat.name)\"") || bytes.count == size)
  }

  /// Removes all checkpoints; a folder that is a link is not followed.
  func removeAll() {
    if (try? FileManager.default.destinationOfSymbolicLink(atPath: url.path)) != nil { return }
    for (_, name) in names { unlink(path(name)) }
    unlink(path(Self.best))
    removeDrafts()
  }

  /// Removes what a killed process left half-written.
  func removeDrafts() {
    let contents = (try? Folder.names(in: url.path)) ?? []
    for name in contents where name.hasSuffix(Self.suffix + CheckedFile.draftSuffix) {
      unlink(path(name))
    }
  }

  /// Removes all but the newest up to an iteration. Later ones are left over from before a fall-back
  /// to that iteration's predecessors, and cannot be used.
  func prune(keeping count: Int, upTo iteration: Int) {
    let names = self.names
    let stale = names.filter { $0.iteration > iteration }
    for (_, name) in stale + names.dropFirst(stale.count).dropFirst(count) { unlink(path(name)) }
  }

  /// The newest checkpoint that can be used, after `refuse` has had its say about each.
  ///
  /// - Returns: the checkpoint, its file's name, and what is wrong with those that are newer.
  /// - Throws: `CheckpointError` about the newest if none can be used.
  func newest<State: LearnerState>(
    refusing refuse: (Checkpoint<State>) -> String?
  ) throws(CheckpointError) -> (
    checkpoint: Checkpoint<State>, name: String, refused: [CheckpointError]
  ) {
    var refused: [CheckpointError] = []
    let candidates = names.map(\.name)
    if candidates.isEmpty && !holds(Self.best) {
      throw .none(path: url.deletingLastPathComponent().path)
    }
    for name in candidates + [Self.best] {
      do throws(CheckpointError) {
        let checkpoint = try Checkpoint<State>(contentsOf: url.appendingPathComponent(name))
        if let problem = refuse(checkpoint) { throw .invalid(path: path(name), reason: problem) }
        return (checkpoint, name, refused)
      } catch {
        refused.append(error)
      }
    }
    throw refused[0]
  }
}
