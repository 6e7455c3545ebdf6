import Configuration
import Foundation
import GPSCore
import LinearAlgebra

/// A channel through a Redis server, one run per database:
///
/// | key | what it is |
/// | --- | --- |
/// | `gps:leader` | the run, a line break, and what it says of itself; ends by itself unless it is kept |
/// | `gps:items` | a stream of work items (`key`, `message`), of which the group `workers` has leases |
/// | `gps:answers` | a stream of what they came to (`key`, `worker`, `message`) |
/// | `gps:shared` | a hash of bytes by name: the experiment, models, policies |
///
/// A lease is an entry that is pending for a consumer of the group: it ends when the entry has been idle for long enough, and
/// is kept by claiming it again. Whoever leads acknowledges an item, after its answer was found to be good, so that a lost or
/// useless answer is as good as none. A connection that breaks is made again; what the server has lost is put back.
package final class RedisChannel: Channel {
  /// Bytes of a message at most, unless told otherwise.
  package static let longest = 1 << 28

  private enum Key {
    static let (leader, items, answers, shared) = (
      "gps:leader", "gps:items", "gps:answers", "gps:shared"
    )
    static let group = "workers"
  }

  /// What whoever leads has put there.
  private struct Led {
    var run: String
    var notice: [UInt8]
    var shared: [String: [UInt8]] = [:]
    /// By key: the entry, the item, and how often it has been put back.
    var offered: [String: (entry: String, item: [UInt8], losses: Int)] = [:]
    var lastLook = ContinuousClock.now
  }

  private struct State {
    var connection: RedisConnection?
    var led: Led?
    /// Where the search for leases that have ended goes on.
    var cursor = "0-0"
  }

  private let state = Locked(State())
  private let address: RedisAddress
  private let times: ChannelTimes
  private let longest: Int

  /// A channel that is connected when it is first used.
  package init(
    _ address: RedisAddress, times: ChannelTimes = ChannelTimes(), longest: Int = longest
  ) {
    (self.address, self.times, self.longest) = (address, times, longest)
  }

  // MARK: For whoever leads

  package func lead(_ notice: [UInt8], run: String) throws(ChannelError) {
    try use { state throws(ChannelError) in
      let led = Led(run: run, notice: notice)
      try takeLead(&state, led)
      _ = try ask(&state, "DEL", Key.items, Key.answers, Key.shared)
      try makeGroup(&state)
      state.led = led
    }
  }

  package func stayInLead() throws(ChannelError) {
    try use { state throws(ChannelError) in
      guard let led = state.led else { return }
      try takeLead(&state, led)
    }
  }

  package func endLead() {
    try? use { state throws(ChannelError) in
      guard let led = state.led.take() else { return }
      if try runInLead(&state) == led.run {
        _ = try ask(&state, "DEL", Key.leader, Key.items, Key.answers, Key.shared)
      }
    }
  }

  package func share(_ bytes: [UInt8], as name: String) throws(ChannelError) {
    try use { state throws(ChannelError) in
      state.led?.shared[name] = bytes
      _ = try ask(&state, "HSET", Key.shared, name, bytes)
    }
  }

  package func unshare(_ name: String) throws(ChannelError) {
    try use { state throws(ChannelError) in
      state.led?.shared[name] = nil
      _ = try ask(&state, "HDEL", Key.shared, name)
    }
  }

  package func offer(_ item: [UInt8], as key: String) throws(ChannelError) {
    try use { state throws(ChannelError) in
      let entry = try add(&state, item, as: key)
      state.led?.offered[key] = (entry, item, 0)
    }
  }

  package func nextAnswer(within seconds: Double) throws(ChannelError) -> Answer? {
    try use { state throws(ChannelError) in
      if let led = state.led, led.lastLook + .seconds(0.5 * times.lease) < .now {
        try lookAfterItems(&state)
      }
      // The oldest there is: those before it have been taken away.
      let reply = try ask(
        &state, "XREAD", "COUNT", "1", "BLOCK", milliseconds(seconds), "STREAMS", Key.answers, "0",
        waiting: seconds)
      guard let entry = reply.list?.first?.list?.last?.list?.first?.list, entry.count == 2,
        let id = entry[0].text
      else { return nil }
      _ = try ask(&state, "XDEL", Key.answers, id)
      return Answer(
        key: visible(entry[1][field: "key"]?.text ?? "", limit: 100),
        worker: visible(entry[1][field: "worker"]?.text ?? "?", limit: 100),
        bytes: entry[1][field: "message"]?.bytes ?? [])
    }
  }

  package func settle(_ key: String) throws(ChannelError) {
    try use { state throws(ChannelError) in
      guard let (entry, _, _) = state.led?.offered.removeValue(forKey: key) else { return }
      try remove(&state, entry)
    }
  }

  // MARK: For whoever works

  package func notice() throws(ChannelError) -> [UInt8]? {
    let bytes = try use { state throws(ChannelError) in
      try ask(&state, "GET", Key.leader).bytes
    }
    guard let bytes, let end = bytes.firstIndex(of: 10) else { return nil }
    return Array(bytes[(end + 1)...])
  }

  package func take(as worker: String, within seconds: Double) throws(ChannelError) -> Lease? {
    let (lease, hasGroup): (Lease?, Bool) = try use { state throws(ChannelError) in
      let ended = try ask(
        &state, "XAUTOCLAIM", Key.items, Key.group, worker, milliseconds(times.lease),
        state.cursor, "COUNT", "1")
      if case .error = ended { return (nil, false) }
      state.cursor = ended.list?.first?.text ?? "0-0"
      if let entry = ended.list?.dropFirst().first?.list?.first,
        let lease = try leased(&state, entry, worker)
      {
        return (lease, true)
      }
      let new = try ask(
        &state, "XREADGROUP", "GROUP", Key.group, worker, "COUNT", "1", "BLOCK",
        milliseconds(seconds), "STREAMS", Key.items, ">", waiting: seconds)
      if case .error = new { return (nil, false) }
      guard let entry = new.list?.first?.list?.last?.list?.first else { return (nil, true) }
      return (try leased(&state, entry, worker), true)
    }
    if !hasGroup { Thread.sleep(forTimeInterval: seconds) }
    return lease
  }

  package func keep(_ lease: Lease) throws(ChannelError) -> Bool {
    try claim(lease, [])
  }

  package func giveBack(_ lease: Lease) throws(ChannelError) {
    _ = try claim(lease, ["IDLE", milliseconds(times.lease + 1)])
  }

  package func drop(_ lease: Lease) throws(ChannelError) {
    try use { state throws(ChannelError) in try remove(&state, lease.entry) }
  }

  package func answer(_ lease: Lease, with bytes: [UInt8]) throws(ChannelError) {
    try use { state throws(ChannelError) in
      // Without bounds, answers to a run that has died would fill the server's memory.
      _ = try ask(
        &state, "XADD", Key.answers, "MAXLEN", "~", "1000", "*", "key", lease.key, "worker",
        lease.worker, "message", bytes)
    }
  }

  package func shared(_ name: String) throws(ChannelError) -> [UInt8]? {
    try use { state throws(ChannelError) in
      try ask(&state, "HGET", Key.shared, name).bytes
    }
  }

  // MARK: Parts

  /// Does something with the connection, which is made if there is none and given up if it fails.
  private func use<Result: Sendable>(
    _ body: @Sendable (inout State) throws(ChannelError) -> Result
  ) throws(ChannelError) -> Result {
    try state.withLock { (state: inout sending State) throws(ChannelError) -> Result in
      if state.connection == nil { try connect(&state) }
      return try body(&state)
    }
  }

  private func connect(_ state: inout State) throws(ChannelError) {
    do throws(RedisConnection.Failure) {
      state.connection = try RedisConnection(
        to: address, patience: times.reply, longest: longest)
    } catch {
      throw .unreachable(place: address.place, reason: error.reason)
    }
    do throws(ChannelError) {
      if let password = address.password {
        let words = ["AUTH", address.user, password].compactMap { $0 }
        _ = try ask(&state, words)
      }
      if address.database != 0 { _ = try ask(&state, "SELECT", String(address.database)) }
      if let led = state.led {
        try takeLead(&state, led)
        try makeGroup(&state)
        for (name, bytes) in led.shared
        where try ask(&state, "HEXISTS", Key.shared, name) == .number(0) {
          _ = try ask(&state, "HSET", Key.shared, name, bytes)
        }
        try lookAfterItems(&state)
      }
    } catch {
      state.connection = nil
      throw error
    }
  }

  /// Sends a command. Errors that a caller may want to know (no such group, a group that is there already) are replies.
  private func ask(
    _ state: inout State, _ words: any Word..., waiting seconds: Double = 0
  ) throws(ChannelError) -> RedisReply {
    try ask(&state, words, waiting: seconds)
  }

  private func ask(
    _ state: inout State, _ words: [any Word], waiting seconds: Double = 0
  ) throws(ChannelError) -> RedisReply {
    guard let connection = state.connection else {
      throw .unreachable(place: address.place, reason: "there is no connection")
    }
    let reply: RedisReply
    do throws(RedisConnection.Failure) {
      reply = try connection.reply(to: words.map(\.word), waiting: seconds)
    } catch {
      state.connection = nil
      throw .unreachable(place: address.place, reason: error.reason)
    }
    guard case .error(let text) = reply else { return reply }
    let code = text.prefix { $0 != " " }
    switch code {
    case "NOGROUP", "BUSYGROUP", "UNBLOCKED": return reply
    case "NOAUTH", "WRONGPASS", "NOPERM":
      throw .refused(
        place: address.place, reason: "\(text) (redis://:PASSWORD@…, or REDISCLI_AUTH)")
    case "ERR" where text.contains("unknown command"):
      throw .refused(place: address.place, reason: "\(text): Redis 6.2 or newer is needed")
    case "ERR": throw .refused(place: address.place, reason: text)
    case "WRONGTYPE":
      throw .refused(place: address.place, reason: "other programs use the keys gps:… there")
    default: throw .unreachable(place: address.place, reason: text)
    }
  }

  /// The run that is led; empty for none.
  private func runInLead(_ state: inout State) throws(ChannelError) -> String {
    let bytes = try ask(&state, "GETRANGE", Key.leader, "0", "99").bytes ?? []
    return String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self)
  }

  private func takeLead(_ state: inout State, _ led: Led) throws(ChannelError) {
    let time = milliseconds(times.lead)
    let value = Array("\(led.run)\n".utf8) + led.notice
    if try ask(&state, "SET", Key.leader, value, "NX", "PX", time) != .null { return }
    let other = try runInLead(&state)
    if other != led.run {
      throw .led(place: address.place, by: visible(other, limit: 100))
    }
    _ = try ask(&state, "PEXPIRE", Key.leader, time)
  }

  private func makeGroup(_ state: inout State) throws(ChannelError) {
    _ = try ask(&state, "XGROUP", "CREATE", Key.items, Key.group, "0", "MKSTREAM")
  }

  private func add(
    _ state: inout State, _ item: [UInt8], as key: String
  ) throws(ChannelError) -> String {
    let reply = try ask(&state, "XADD", Key.items, "*", "key", key, "message", item)
    guard let entry = reply.text else {
      throw .unreachable(place: address.place, reason: "it gives no name to an entry")
    }
    return entry
  }

  private func remove(_ state: inout State, _ entry: String) throws(ChannelError) {
    _ = try ask(&state, "XACK", Key.items, Key.group, entry)
    _ = try ask(&state, "XDEL", Key.items, entry)
  }

  /// Puts items back that the server has lost, or a worker could not read; ends the run where that does not help.
  private func lookAfterItems(_ state: inout State) throws(ChannelError) {
    guard let led = state.led else { return }
    state.led?.lastLook = .now
    let pending = try ask(&state, "XPENDING", Key.items, Key.group, "-", "+", "1000")
    if case .error = pending { try makeGroup(&state) }
    for (key, (entry, item, losses)) in led.offered.sorted(by: { $0.key < $1.key }) {
      let place = pending.list?.first { $0.list?.first?.text == entry }?.list
      if let place, place.count == 4, case .number(let takes) = place[3], takes > times.takes {
        throw .abandoned(key: key, times: takes)
      }
      if place != nil { continue }
      let found = try ask(&state, "XRANGE", Key.items, entry, entry)
      if found.list?.isEmpty == false { continue }
      if losses >= times.takes { throw .abandoned(key: key, times: losses) }
      let again = try add(&state, item, as: key)
      state.led?.offered[key] = (again, item, losses + 1)
    }
  }

  /// An entry of the items as a lease; nil for one that is no item, which is taken away.
  private func leased(
    _ state: inout State, _ entry: RedisReply, _ worker: String
  ) throws(ChannelError) -> Lease? {
    guard let parts = entry.list, parts.count == 2, let id = parts[0].text else { return nil }
    guard let key = parts[1][field: "key"]?.text, let item = parts[1][field: "message"]?.bytes
    else {
      try remove(&state, id)
      return nil
    }
    return Lease(entry: id, key: visible(key, limit: 100), worker: worker, item: item)
  }

  /// Claims an entry anew, if it is still the worker's.
  private func claim(_ lease: Lease, _ more: [String]) throws(ChannelError) -> Bool {
    try use { state throws(ChannelError) in
      let pending = try ask(
        &state, "XPENDING", Key.items, Key.group, lease.entry, lease.entry, "1")
      guard let owner = pending.list?.first?.list, owner.count == 4,
        owner[1].text == lease.worker
      else { return false }
      _ = try ask(
        &state,
        ["XCLAIM", Key.items, Key.group, lease.worker, "0", lease.entry] + more + ["JUSTID"])
      return true
    }
  }
}

extension RedisReply {
  fileprivate var bytes: [UInt8]? { if case .bytes(let bytes) = self { bytes } else { nil } }
}

/// A word of a command.
private protocol Word { var word: [UInt8] { get } }
extension String: Word { fileprivate var word: [UInt8] { Array(utf8) } }
extension [UInt8]: Word { fileprivate var word: [UInt8] { self } }

/// At least one: none would be for ever.
private func milliseconds(_ seconds: Double) -> String { String(max(1, Int(1000 * seconds))) }
