import Configuration
import Foundation
import GPSCore
import LinearAlgebra
package import PolicySearch

/// Works for whatever run is led over a channel, one item at a time, until it is told to stop.
package struct ClusterWorker: Sendable {
  /// What it is called: no two workers of a channel may have one name.
  package var name: String
  /// Over which it works.
  package var channel: any Channel
  /// Makes whoever does a run's items, with the run's files by their paths.
  package var prepare: @Sendable (RunNotice, [String: [UInt8]]) throws -> any WorkPerformer
  /// How long nobody may answer [s].
  package var patience = 60.0
  /// How long there may be nothing to do [s]; nil for ever.
  package var idle: Double?
  /// Seconds after which a lease is kept anew; a third of what it lasts.
  package var beat = 5.0
  /// Told what happens.
  package var tell: @Sendable (String) -> Void

  /// A worker.
  package init(
    _ name: String, over channel: any Channel, tell: @escaping @Sendable (String) -> Void,
    prepare: @escaping @Sendable (RunNotice, [String: [UInt8]]) throws -> any WorkPerformer
  ) {
    (self.name, self.channel, self.tell, self.prepare) = (name, channel, tell, prepare)
  }

  /// Bytes of a run's files at most.
  private static let mostBytes = 1 << 30

  /// Works. Blocks the thread.
  ///
  /// - Returns: when there has been nothing to do for long enough.
  /// - Throws: `ClusterError` when nobody answers, or the run is one of another program; what `prepare` throws;
  ///   `CancellationError`.
  package func work() throws {
    let warnings = Warnings(tell)
    let patience = Patience(seconds: patience, warn: warnings.add)
    let keeper = Keeper(channel, every: beat)
    defer { keeper.stop() }
    var present: (notice: RunNotice, performer: any WorkPerformer)?
    var (lastNotice, policy): ([UInt8], (name: String, file: Safetensors)?) = ([], nil)
    var (lastWork, lastLook, mustLook) = (ContinuousClock.now, ContinuousClock.now, true)
    while true {
      try Task.checkCancellation()
      if let idle, lastWork + .seconds(idle) < .now { return }
      // Who leads is looked up whenever there is nothing to do, when an item is of another run, and now and then: where
      // nobody leads any more, work would be for nothing.
      if lastLook + .seconds(beat) < .now { mustLook = true }
      guard !mustLook, case let (notice, known)? = present,
        let lease = try patience({ () throws(ChannelError) in
          try channel.take(as: name, within: 1)
        })
      else {
        guard let bytes = try patience({ () throws(ChannelError) in try channel.notice() }) else {
          mustLook = true
          Thread.sleep(forTimeInterval: 0.25)
          continue
        }
        lastLook = .now
        if present == nil || bytes != lastNotice {
          present = try join(bytes, patience, after: present)
          (lastNotice, policy) = (bytes, nil)
        }
        mustLook = present == nil
        if mustLook { Thread.sleep(forTimeInterval: 0.25) }
        continue
      }
      var performer = known
      let item: ValueReader
      do {
        item = try Message.read(lease.item, .item, key: lease.key).reader
        if try item.text("run") != notice.run {
          // Somebody else may lead now. Whoever knows that run is to have the item.
          if try patience({ () throws(ChannelError) in try channel.notice() }) == lastNotice {
            throw StoredValueError("it belongs to another run")
          }
          try patience { () throws(ChannelError) in try channel.giveBack(lease) }
          mustLook = true
          continue
        }
      } catch let error as StoredValueError {
        warnings.add("a work item is of no use: \(error)")
        try patience { () throws(ChannelError) in try channel.drop(lease) }
        continue
      }
      keeper.keep(lease)
      defer { keeper.keep(nil) }
      do {
        if item.holdsText("policy"), try policy?.name != item.text("policy") {
          let name = try item.text("policy")
          guard
            let bytes = try patience({ () throws(ChannelError) in try channel.shared(name) })
          else { throw StoredValueError("its policy is not there any more") }
          policy = (name, try file(bytes, named: name))
        }
        let result = try performer.perform(
          item, policy: item.holdsText("policy") ? policy?.file : nil)
        present = (notice, performer)
        if let name = result.notFinite {
          try fail("\"\(name)\" is not finite", lease, of: notice.run, patience)
        } else {
          let bytes = Message.sealed(.result, run: notice.run, key: lease.key, result.file)
          try patience { () throws(ChannelError) in try channel.answer(lease, with: bytes) }
        }
        lastWork = .now
      } catch let error as StoredValueError {
        warnings.add("work item \(lease.key) is of no use: \(error)")
        try patience { () throws(ChannelError) in try channel.drop(lease) }
      } catch let error as CancellationError {
        // Somebody else is to have it at once.
        try? channel.giveBack(lease)
        throw error
      } catch let error as ClusterError {
        throw error
      } catch let error as ChannelError {
        throw error
      } catch {
        try fail("\(error)", lease, of: notice.run, patience)
      }
    }
  }

  private func fail(
    _ reason: String, _ lease: Lease, of run: String, _ patience: Patience
  ) throws {
    var writer = ValueWriter()
    writer.put("reason", text: visible(reason, limit: 1000))
    let bytes = Message.sealed(.failure, run: run, key: lease.key, writer.file)
    try patience { () throws(ChannelError) in try channel.answer(lease, with: bytes) }
  }

  /// Learns what a run needs. One whose files are those of the run before is known already.
  private func join(
    _ bytes: [UInt8], _ patience: Patience,
    after present: (notice: RunNotice, performer: any WorkPerformer)?
  ) throws -> (notice: RunNotice, performer: any WorkPerformer)? {
    let notice: RunNotice
    var files: [String: [UInt8]] = [:]
    do {
      notice = try RunNotice(stored: Message.read(bytes, .notice).reader)
      if let present, present.notice.files == notice.files,
        present.notice.versions == notice.versions, present.notice.model == notice.model
      {
        return (notice, present.performer)
      }
      var size = 0
      for entry in notice.files {
        guard
          let bytes = try patience({ () throws(ChannelError) in try channel.shared(entry.name) })
        else { return nil }  // It is being put there, or the run has just ended.
        size += bytes.count
        if RunNotice.name(of: bytes) != entry.name || size > Self.mostBytes {
          throw StoredValueError("\"\(visible(entry.path, limit: 60))\" is not what it was")
        }
        files[entry.path] = bytes
      }
    } catch let error as StoredValueError {
      throw ClusterError.mismatch("what the run says of itself is of no use: \(error)")
    }
    let performer = try prepare(notice, files)
    tell("works for run \(notice.run)")
    return (notice, performer)
  }

  private func file(
    _ bytes: [UInt8], named name: String
  ) throws(StoredValueError) -> Safetensors {
    if RunNotice.name(of: bytes) != name { throw StoredValueError("its policy is damaged") }
    do { return try Safetensors(sealed: bytes) } catch { throw StoredValueError("\(error)") }
  }
}

/// Keeps the lease of what a worker is at.
private final class Keeper: Sendable {
  private let state = Locked<(lease: Lease?, isStopped: Bool)>((nil, false))

  init(_ channel: any Channel, every seconds: Double) {
    let thread = Thread { [self] in
      var last = ContinuousClock.now
      while let lease = next() {
        Thread.sleep(forTimeInterval: min(0.1, seconds))
        if last + .seconds(seconds) > .now { continue }
        last = .now
        // One that has ended is somebody else's; the answer is late then, and nothing is lost.
        if let lease = lease.lease { _ = try? channel.keep(lease) }
      }
    }
    thread.name = "lease"
    thread.start()
  }

  private func next() -> (lease: Lease?, isStopped: Bool)? {
    state.withLock { $0.isStopped ? nil : $0 }
  }

  func keep(_ lease: Lease?) { state.withLock { $0.lease = lease } }
  func stop() { state.withLock { $0.isStopped = true } }
}
