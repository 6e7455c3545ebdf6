import Foundation
import LinearAlgebra

/// A channel within a process: what Redis does for many, with the same promises.
package final class LocalChannel: Channel {
  private struct Entry {
    var key: String
    var item: [UInt8]
    var worker: String?
    var end = ContinuousClock.now
    var takes = 0
  }

  private struct Contents {
    var led: (run: String, notice: [UInt8], end: ContinuousClock.Instant)?
    var shared: [String: [UInt8]] = [:]
    var entries: [Int: Entry] = [:]
    var answers: [Answer] = []
    var count = 0
  }

  private let contents = Locked(Contents())
  private let times: ChannelTimes
  private let place = "this process"

  /// An empty channel.
  package init(times: ChannelTimes = ChannelTimes()) { self.times = times }

  package func lead(_ notice: [UInt8], run: String) throws(ChannelError) {
    let (now, end) = (ContinuousClock.now, ContinuousClock.now + .seconds(times.lead))
    let other: String? = contents.withLock { contents in
      if let led = contents.led, led.end > now { return led.run }
      contents = Contents()
      contents.led = (run, notice, end)
      return nil
    }
    if let other { throw .led(place: place, by: other) }
  }

  package func stayInLead() throws(ChannelError) {
    let end = ContinuousClock.now + .seconds(times.lead)
    contents.withLock { $0.led?.end = end }
  }

  package func endLead() { contents.withLock { $0 = Contents() } }

  package func share(_ bytes: [UInt8], as name: String) throws(ChannelError) {
    contents.withLock { $0.shared[name] = bytes }
  }

  package func unshare(_ name: String) throws(ChannelError) {
    contents.withLock { $0.shared[name] = nil }
  }

  package func offer(_ item: [UInt8], as key: String) throws(ChannelError) {
    contents.withLock { contents in
      contents.count += 1
      contents.entries[contents.count] = Entry(key: key, item: item)
    }
  }

  package func nextAnswer(within seconds: Double) throws(ChannelError) -> Answer? {
    let lost = contents.withLock { contents in
      contents.entries.values.first { $0.takes > times.takes }
    }
    if let lost { throw .abandoned(key: lost.key, times: lost.takes) }
    return wait(seconds) { $0.answers.isEmpty ? nil : $0.answers.removeFirst() }
  }

  package func settle(_ key: String) throws(ChannelError) {
    contents.withLock { contents in
      contents.entries = contents.entries.filter { $0.value.key != key }
    }
  }

  package func notice() throws(ChannelError) -> [UInt8]? {
    contents.withLock { contents in
      contents.led.flatMap { $0.end > .now ? $0.notice : nil }
    }
  }

  package func take(as worker: String, within seconds: Double) throws(ChannelError) -> Lease? {
    let lease = times.lease
    return wait(seconds) { contents in
      let now = ContinuousClock.now
      guard
        let number = contents.entries.keys.sorted().first(where: {
          contents.entries[$0].map { $0.worker == nil || $0.end < now } ?? false
        }), var entry = contents.entries[number]
      else { return nil }
      (entry.worker, entry.end, entry.takes) = (worker, now + .seconds(lease), entry.takes + 1)
      contents.entries[number] = entry
      return Lease(entry: String(number), key: entry.key, worker: worker, item: entry.item)
    }
  }

  package func keep(_ lease: Lease) throws(ChannelError) -> Bool {
    let end = ContinuousClock.now + .seconds(times.lease)
    return contents.withLock { contents in
      guard let number = Int(lease.entry), contents.entries[number]?.worker == lease.worker else {
        return false
      }
      contents.entries[number]?.end = end
      return true
    }
  }

  package func giveBack(_ lease: Lease) throws(ChannelError) {
    contents.withLock { contents in
      guard let number = Int(lease.entry), contents.entries[number]?.worker == lease.worker else {
        return
      }
      contents.entries[number]?.worker = nil
    }
  }

  package func drop(_ lease: Lease) throws(ChannelError) {
    contents.withLock { contents in
      if let number = Int(lease.entry) { contents.entries[number] = nil }
    }
  }

  package func answer(_ lease: Lease, with bytes: [UInt8]) throws(ChannelError) {
    contents.withLock {
      $0.answers.append(Answer(key: lease.key, worker: lease.worker, bytes: bytes))
    }
  }

  package func shared(_ name: String) throws(ChannelError) -> [UInt8]? {
    contents.withLock { $0.shared[name] }
  }

  /// What `look` finds, looking again and again for some time.
  private func wait<Found: Sendable>(
    _ seconds: Double, _ look: (inout Contents) -> Found?
  ) -> Found? {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while true {
      if let found = contents.withLock({ look(&$0) }) { return found }
      if ContinuousClock.now >= deadline || Task.isCancelled { return nil }
      usleep(500)
    }
  }
}
