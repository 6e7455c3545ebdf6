import Configuration
import Foundation
package import GPSCore
import LinearAlgebra
package import PolicySearch

/// What a run says of itself to those who may work for it.
package struct RunNotice: Storable {
  /// A file that a worker needs.
  package struct File: Sendable, Equatable {
    /// Its path in the run's directory.
    package var path: String
    /// The name that its bytes are shared under: their checksum.
    package var name: String
  }

  /// Which run: a word that no other run has.
  package var run: String
  /// What has to be the same wherever results are to be the same bytes: versions and kernels by name.
  package var versions: [String: String]
  /// What tells its model from others; empty without a model.
  package var model: String
  /// The experiment first, then what it refers to.
  package var files: [File]

  /// A notice.
  package init(run: String, versions: [String: String], model: String, files: [File]) {
    (self.run, self.versions, self.model, self.files) = (run, versions, model, files)
  }

  /// Writes the parts.
  package func store(in writer: inout ValueWriter) {
    writer.put("run", text: run)
    writer.put("model", text: model)
    writer.put("version_names", text: versions.keys.sorted().joined(separator: ","))
    for (name, text) in versions { writer.put("version.\(name)", text: text) }
    writer.put("files", text: files.count)
    for (index, file) in files.enumerated() {
      writer.put("file.\(index).path", text: file.path)
      writer.put("file.\(index).name", text: file.name)
    }
  }

  /// Reads the parts. Every path stays below the folder that it is put into.
  package init(stored reader: ValueReader) throws(StoredValueError) {
    run = try reader.text("run")
    model = try reader.text("model")
    versions = [:]
    for name in try reader.text("version_names").split(separator: ",").map(String.init) {
      versions[name] = visible(try reader.text("version.\(name)"), limit: 100)
    }
    let count = try reader.count("files")
    if count == 0 || count > reader.file.metadata.count {
      throw StoredValueError("it holds fewer texts than \(count) files have")
    }
    files = []
    for index in 0..<count {
      let file = File(
        path: try reader.text("file.\(index).path"), name: try reader.text("file.\(index).name"))
      let parts = file.path.split(separator: "/", omittingEmptySubsequences: false)
      if file.path.utf8.contains(0) || parts.contains(where: { ["", ".", ".."].contains($0) }) {
        throw StoredValueError(
          "\"\(visible(file.path, limit: 60))\" is no path below a run's folder")
      }
      files.append(file)
    }
  }

  /// The name that bytes are shared under: their checksum and how many they are. The last eight count by themselves:
  /// where they are the checksum of the others, that of all is the same for all.
  package static func name(of bytes: [UInt8]) -> String {
    let sums = [CRC64.checksum(of: bytes.dropLast(8)), CRC64.checksum(of: bytes.suffix(8))]
    return sums.map { String($0, radix: 16) }.joined(separator: "-") + "-\(bytes.count)"
  }
}

/// Why a run that others work for cannot go on.
package enum ClusterError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Nobody has answered for as long as was to be waited.
  case gaveUp(String, seconds: Double)
  /// What a worker met would have ended a run on one machine, too.
  case failed(worker: String, key: String, reason: String)
  /// A worker and a run do not go together.
  case mismatch(String)

  /// One sentence for people.
  package var description: String {
    switch self {
    case .gaveUp(let reason, let seconds): "\(reason); nothing has changed for \(seconds) s"
    case .failed(let worker, let key, let reason):
      "worker \(worker) could not go on with work item \(key): \(reason)"
    case .mismatch(let reason): reason
    }
  }
}

/// Tries again what fails because nobody answers.
struct Patience: Sendable {
  /// For how long [s].
  var seconds: Double
  /// Told once of each time that nobody answers.
  var warn: @Sendable (String) -> Void

  /// Does something until it comes to an end or patience does.
  func callAsFunction<Result>(
    _ body: () throws(ChannelError) -> Result
  ) throws -> Result {
    var began: ContinuousClock.Instant?
    while true {
      do throws(ChannelError) {
        let result = try body()
        if began != nil { warn("it answers again") }
        return result
      } catch {
        guard case .unreachable = error else { throw error }
        let now = ContinuousClock.now
        if began == nil { warn("\(error); trying again for \(seconds) s") }
        let start = began ?? now
        began = start
        if start + .seconds(seconds) < now {
          throw ClusterError.gaveUp("\(error)", seconds: seconds)
        }
      }
      try Task.checkCancellation()
      Thread.sleep(forTimeInterval: 0.25)
    }
  }
}

/// Leads a run: gives work items out over a channel, and takes results in.
///
/// Results are those of one process, bit for bit: an item's randomness follows from its key, of several answers to one item
/// the first good one counts, and nothing else of a worker's doing reaches the search.
package final class ClusterLeader: Crew {
  private let channel: any Channel
  private let run: String
  private let patience: Patience
  private let warnings: Warnings
  private let heartbeat: Heartbeat
  private let senders = Locked<Set<String>>([])
  private let policy = Locked<String?>(nil)

  /// Takes the lead.
  ///
  /// - Parameters:
  ///   - channel: over which.
  ///   - versions: what a worker has to have the same of.
  ///   - model: what tells the run's model from others.
  ///   - files: what a worker needs, the experiment first, by their paths in the run's directory.
  ///   - patience: how long nobody may answer [s].
  ///   - warn: told what is out of the ordinary.
  /// - Throws: `ChannelError`.
  package init(
    over channel: any Channel, versions: [String: String], model: String,
    files: [(path: String, bytes: [UInt8])], patience: Double,
    warn: @escaping @Sendable (String) -> Void
  ) throws(ChannelError) {
    self.channel = channel
    run = String(UInt64.random(in: 0...UInt64.max), radix: 16)
    warnings = Warnings(warn)
    self.patience = Patience(seconds: patience, warn: warnings.add)
    let notice = RunNotice(
      run: run, versions: versions, model: model,
      files: files.map { .init(path: $0.path, name: RunNotice.name(of: $0.bytes)) })
    var writer = ValueWriter()
    notice.store(in: &writer)
    let bytes = Message.sealed(.notice, run: run, key: "", writer.file)
    // A leader that has died leads for some seconds more.
    let deadline = ContinuousClock.now + .seconds(ChannelTimes().lead + 3)
    var isWaiting = false
    while true {
      do {
        try channel.lead(bytes, run: run)
        break
      } catch {
        guard case .led = error, .now < deadline else { throw error }
        if !isWaiting { warn("\(error); waiting whether it goes on") }
        isWaiting = true
        Thread.sleep(forTimeInterval: 0.5)
      }
    }
    for file in files { try channel.share(file.bytes, as: RunNotice.name(of: file.bytes)) }
    heartbeat = Heartbeat(of: channel)
  }

  /// Gives up the lead.
  package func end() {
    heartbeat.stop()
    channel.endLead()
  }

  deinit { heartbeat.stop() }

  package func takeCount() -> Int {
    senders.withLock { senders in
      defer { senders = [] }
      return max(1, senders.count)
    }
  }

  package func results<Value: Sendable, Result: Sendable>(
    of items: [(key: WorkKey, file: Safetensors)], sharing policy: Safetensors?,
    accept: @escaping @Sendable (Int, ValueReader) throws(StoredValueError) -> Value,
    finish: @escaping @Sendable (Int, Value) async throws -> Result
  ) async throws -> [Result] {
    // The channel's calls block: a thread of its own waits for them.
    let executor = ThreadExecutor(threads: 1)
    defer { executor.stop() }
    let (stream, feed) = AsyncThrowingStream<(Int, Value), any Error>.makeStream()
    let gathering = Task(executorPreference: executor) {
      do {
        try self.gather(items, policy, accept) { feed.yield(($0, $1)) }
        feed.finish()
      } catch {
        feed.finish(throwing: error)
      }
    }
    do {
      let results = try await withTaskCancellationHandler {
        try await withThrowingTaskGroup(of: (Int, Result).self) { group in
          for try await (i, value) in stream {
            group.addTask { (i, try await finish(i, value)) }
          }
          var results = [Result?](repeating: nil, count: items.count)
          for try await (i, result) in group { results[i] = result }
          return results.compactMap { $0 }
        }
      } onCancel: {
        gathering.cancel()
      }
      await gathering.value
      try Task.checkCancellation()
      return results
    } catch {
      gathering.cancel()
      await gathering.value
      throw error
    }
  }

  /// Gives items out and hands each result on when it is in.
  private func gather<Value>(
    _ items: [(key: WorkKey, file: Safetensors)], _ policy: Safetensors?,
    _ accept: (Int, ValueReader) throws(StoredValueError) -> Value,
    _ deliver: (Int, Value) -> Void
  ) throws {
    let policyName = try share(policy)
    var missing: [String: Int] = [:]
    do {
      for (i, item) in items.enumerated() {
        let key = "\(run)/\(item.key)"
        let bytes = Message.sealed(.item, run: run, key: key, policy: policyName, item.file)
        try patience { () throws(ChannelError) in try channel.offer(bytes, as: key) }
        missing[key] = i
      }
      while !missing.isEmpty {
        try Task.checkCancellation()
        try heartbeat.check()
        guard
          let answer = try patience({ () throws(ChannelError) in
            try channel.nextAnswer(within: 0.5)
          })
        else { continue }
        // A late or second answer, or one to a run that is no more, is dropped; so is what nobody asked for.
        guard let i = missing[answer.key] else { continue }
        do {
          let (kind, reader) = try Message.read(
            answer.bytes, .result, .failure, run: run, key: answer.key)
          if kind == .failure {
            throw ClusterError.failed(
              worker: answer.worker, key: "\(items[i].key)",
              reason: visible(try reader.text("reason"), limit: 1000))
          }
          let value = try accept(i, reader)
          missing[answer.key] = nil
          try patience { () throws(ChannelError) in try channel.settle(answer.key) }
          _ = senders.withLock { $0.insert(answer.worker) }
          deliver(i, value)
        } catch let error as StoredValueError {
          warnings.add(
            "an answer of worker \(answer.worker) to work item \(items[i].key) is of no use: \(error)"
          )
        }
      }
    } catch {
      // Nobody shall work for nothing.
      for key in missing.keys { try? channel.settle(key) }
      throw error
    }
  }

  /// Shares a policy, in the place of the one before; those who are still at work with that need it no more.
  private func share(_ file: Safetensors?) throws -> String? {
    guard let bytes = file?.sealed() else { return nil }
    let name = RunNotice.name(of: bytes)
    let before = policy.withLock { $0 }
    if before == name { return name }
    try patience { () throws(ChannelError) in try channel.share(bytes, as: name) }
    if let before {
      try patience { () throws(ChannelError) in try channel.unshare(before) }
    }
    policy.withLock { $0 = name }
    return name
  }
}

/// What is out of the ordinary, told a limited number of times: whoever floods a channel shall not fill a log too.
package final class Warnings: Sendable {
  private let count = Locked(0)
  private let warn: @Sendable (String) -> Void
  private let limit = 50

  package init(_ warn: @escaping @Sendable (String) -> Void) { self.warn = warn }

  package func add(_ text: String) {
    let number = count.withLock { count in
      count += 1
      return count
    }
    if number <= limit { warn(text) }
    if number == limit { warn("further warnings of this kind are not shown") }
  }
}

/// Says every few seconds that a run is still led, whatever whoever leads it is at.
private final class Heartbeat: Sendable {
  private let state = Locked<(isStopped: Bool, error: ChannelError?)>((false, nil))

  init(of channel: any Channel) {
    let thread = Thread { [self] in
      var beats = 0
      while !isOver {
        Thread.sleep(forTimeInterval: 0.1)
        beats += 1
        if !beats.isMultiple(of: 30) { continue }
        do throws(ChannelError) { try channel.stayInLead() } catch {
          // Whoever waits for answers sees what is unreachable, and how long.
          if case .unreachable = error { continue }
          fail(error)
        }
      }
    }
    thread.name = "lead"
    thread.start()
  }

  private var isOver: Bool { state.withLock { $0.isStopped } }
  private func fail(_ error: ChannelError) { state.withLock { $0.error = error } }

  func stop() { state.withLock { $0.isStopped = true } }

  /// - Throws: why the run is not led any more.
  func check() throws(ChannelError) {
    if let error = state.withLock({ $0.error }) { throw error }
  }
}
