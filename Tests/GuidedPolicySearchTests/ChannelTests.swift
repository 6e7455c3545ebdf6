import Foundation
import GPSTestSupport
import Testing

@testable import Distributed
@testable import GuidedPolicySearch

/// The witnesses of `Channel`.
enum Witness: String, CaseIterable, CustomTestStringConvertible {
  case local, redis

  /// Those that can be tried on this machine.
  static let present = allCases.filter { $0 == .local || RedisServer.isInstalled }

  var testDescription: String { rawValue }

  /// Calls `body` with what makes channels of the same run.
  func with(
    _ times: ChannelTimes = ChannelTimes(), _ body: (() throws -> any Channel) async throws -> Void
  ) async throws {
    switch self {
    case .local:
      let channel = LocalChannel(times: times)
      try await body { channel }
    case .redis:
      let server = try RedisServer()
      try await body {
        RedisChannel(try RedisAddress("redis://127.0.0.1:\(server.port)/"), times: times)
      }
      withExtendedLifetime(server) {}
    }
  }
}

/// Times that a test can wait for.
let shortTimes: ChannelTimes = {
  var times = ChannelTimes()
  (times.lease, times.lead, times.reply) = (1, 1.5, 2)
  return times
}()

@Suite("Channels") struct ChannelTests {
  @Test("One worker at a time has an item, until its lease ends", arguments: Witness.present)
  func leases(_ witness: Witness) async throws {
    try await witness.with(shortTimes) { make in
      let (leader, a, b) = (try make(), try make(), try make())
      #expect(try a.notice() == nil)
      #expect(try a.take(as: "a", within: 0.01) == nil)
      try leader.lead([1, 2, 10, 3], run: "run")
      #expect(try a.notice() == [1, 2, 10, 3])
      try leader.offer([7, 0, 13, 10], as: "first")
      try leader.offer([], as: "second")
      let first = try #require(try a.take(as: "a", within: 1))
      #expect(first.key == "first" && first.item == [7, 0, 13, 10] && first.worker == "a")
      let second = try #require(try b.take(as: "b", within: 1))
      #expect(second.key == "second" && second.item.isEmpty)
      // As long as leases are kept, there is nothing to take.
      for _ in 0..<8 {
        usleep(100_000)
        #expect(try a.keep(first) && b.keep(second))
        #expect(try b.take(as: "c", within: 0) == nil)
      }
      // One that is not kept is taken by the next one, and is no longer its first owner's.
      try await Task.sleep(for: .seconds(1.2))
      #expect(try b.keep(second))
      let again = try #require(try b.take(as: "c", within: 1))
      #expect(again.key == "first" && again.item == first.item && again.worker == "c")
      #expect(try !a.keep(first))
      // Given back, it is there at once; one that is settled is there never again.
      try b.giveBack(again)
      let third = try #require(try a.take(as: "d", within: 1))
      #expect(third.key == "first")
      try leader.settle("first")
      try await Task.sleep(for: .seconds(1.2))
      let last = try #require(try a.take(as: "e", within: 1))
      #expect(last.key == "second")
      try a.drop(last)
      try leader.settle("second")
      #expect(try a.take(as: "e", within: 0.5) == nil)
      leader.endLead()
      #expect(try a.notice() == nil)
    }
  }

  @Test("Answers come in their order, late and second ones too", arguments: Witness.present)
  func answers(_ witness: Witness) async throws {
    try await witness.with(shortTimes) { make in
      let (leader, a) = (try make(), try make())
      try leader.lead([], run: "run")
      try leader.offer([1], as: "x")
      let lease = try #require(try a.take(as: "a", within: 1))
      let long = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      try a.answer(lease, with: long)
      try leader.settle("x")
      try a.answer(lease, with: [])
      var other = lease
      (other.key, other.worker) = ("nobody asked for this", "b")
      try a.answer(other, with: [5])
      #expect(
        try leader.nextAnswer(within: 1) == Answer(key: "x", worker: "a", bytes: long))
      #expect(try leader.nextAnswer(within: 1) == Answer(key: "x", worker: "a", bytes: []))
      #expect(
        try leader.nextAnswer(within: 1)
          == Answer(key: "nobody asked for this", worker: "b", bytes: [5]))
      #expect(try leader.nextAnswer(within: 0.05) == nil)
    }
  }

  @Test("One run is led at a time; one that is not kept ends", arguments: Witness.present)
  func lead(_ witness: Witness) async throws {
    try await witness.with(shortTimes) { make in
      let (one, two) = (try make(), try make())
      try one.lead([1], run: "one")
      try one.share([1, 2, 3], as: "file")
      try one.offer([1], as: "x")
      #expect(try two.shared("file") == [1, 2, 3] && two.shared("other") == nil)
      #expect { try two.lead([2], run: "two") } throws: { "\($0)".contains("(one) is led there") }
      for _ in 0..<4 {
        usleep(300_000)
        try one.stayInLead()
      }
      #expect(throws: ChannelError.self) { try two.lead([2], run: "two") }
      try await Task.sleep(for: .seconds(1.8))
      #expect(try two.notice() == nil)
      try two.lead([2], run: "two")
      // Nothing of the first is left.
      #expect(try two.shared("file") == nil)
      #expect(try two.take(as: "a", within: 0.05) == nil)
      #expect(try two.notice() == [2])
    }
  }

  @Test("An item that ends its workers ends the run, not all workers", arguments: Witness.present)
  func poison(_ witness: Witness) async throws {
    var times = shortTimes
    (times.lease, times.takes) = (0.1, 3)
    try await witness.with(times) { make in
      let (leader, worker) = (try make(), try make())
      try leader.lead([], run: "run")
      try leader.offer([1], as: "x")
      var taken = 0
      let ended = try #require(throws: ChannelError.self) {
        while taken < 100 {
          if try worker.take(as: "w\(taken)", within: 0.15) != nil { taken += 1 }
          _ = try leader.nextAnswer(within: 0.01)
        }
      }
      guard case .abandoned("x", let times) = ended else { return }
      #expect(times == 4 && taken <= 6, "\(taken)")
    }
  }
}

@Suite("Redis", .enabled(if: RedisServer.isInstalled, Comment(rawValue: RedisServer.note)))
struct RedisTests {
  private func channel(
    _ server: RedisServer, password: String = "", longest: Int = RedisChannel.longest
  ) throws -> RedisChannel {
    RedisChannel(
      try RedisAddress("redis://:\(password)@127.0.0.1:\(server.port)/"), times: shortTimes,
      longest: longest)
  }

  @Test("Addresses are read, and passwords are never shown")
  func addresses() throws {
    let full = try RedisAddress("redis://me:s%40cret@[::1]:7000/3")
    #expect(full.host == "::1" && full.port == 7000 && full.user == "me")
    #expect(full.password == "s@cret" && full.database == 3 && full.isLoopback)
    #expect(full.place == "redis at ::1:7000/3")
    let short = try RedisAddress("redis://head", password: "p")
    #expect(short.port == 6379 && short.password == "p" && !short.isLoopback)
    #expect(try RedisAddress("redis://127.0.0.9").isLoopback)
    #expect(try !RedisAddress("redis://127.evil.org").isLoopback)
    #expect(try !RedisAddress("redis://128.0.0.1").isLoopback)
    for text in [
      "", "head:6379", "http://head", "redis://", "redis://:pw@head/x", "redis://:pw@head:0",
      "redis://:pw@head:70000", "redis://:pw@head/-1", "redis://:pw@head/1?x=1",
    ] {
      #expect(Comment(rawValue: text)) { try RedisAddress(text) } throws: {
        !"\($0)".contains("pw")
      }
    }
  }

  @Test("A password is asked for, and a wrong one is refused at once")
  func passwords() throws {
    let server = try RedisServer(password: "secret")
    for password in ["", "wrong"] {
      #expect { try channel(server, password: password).notice() } throws: {
        guard case ChannelError.refused = $0 else { return false }
        return "\($0)".contains("PASS") && !"\($0)".contains("wrong")
      }
    }
    #expect(try channel(server, password: "secret").notice() == nil)
  }

  @Test("What a server without persistence loses is put back", arguments: [false, true])
  func restart(isPersistent: Bool) async throws {
    let server = try RedisServer(isPersistent: isPersistent)
    let (leader, worker) = (try channel(server), try channel(server))
    try leader.lead([9], run: "run")
    try leader.share([1, 2], as: "file")
    for i in 0..<3 { try leader.offer([UInt8(i)], as: "\(i)") }
    let first = try #require(try worker.take(as: "a", within: 1))
    server.stop()
    #expect(throws: ChannelError.self) { try worker.take(as: "a", within: 0.1) }
    #expect(throws: ChannelError.self) { try leader.nextAnswer(within: 0.1) }
    try server.start()
    #expect(try leader.nextAnswer(within: 0.1) == nil)
    #expect(try worker.notice() == [9] && worker.shared("file") == [1, 2])
    var keys: Set<String> = []
    // With persistence, the lease of the first item has to end before another worker gets it.
    for _ in 0..<20 where keys.count < 3 {
      if let lease = try worker.take(as: "b", within: 0.2) { keys.insert(lease.key) }
    }
    #expect(keys == ["0", "1", "2"] && first.key == "0")
    leader.endLead()
  }

  @Test("A server that hangs is noticed in seconds")
  func hang() throws {
    let server = try RedisServer()
    let leader = try channel(server)
    try leader.lead([], run: "run")
    server.suspend(true)
    let start = ContinuousClock.now
    #expect(throws: ChannelError.self) { try leader.nextAnswer(within: 0.2) }
    #expect(throws: ChannelError.self) {
      try leader.offer([UInt8](repeating: 1, count: 1 << 25), as: "x")
    }
    // The deadline of the tests' times is 2 s; that of TCP would be a quarter of an hour.
    #expect(ContinuousClock.now - start < .seconds(60))
    server.suspend(false)
  }

  @Test("Messages that are too long are not taken in, and what is no message is taken away")
  func bounds() throws {
    let server = try RedisServer()
    let (leader, worker) = (try channel(server, longest: 1000), try channel(server, longest: 1000))
    let other = try channel(server)
    try leader.lead([], run: "run")
    try leader.offer([1], as: "x")
    let lease = try #require(try other.take(as: "a", within: 1))
    try other.answer(lease, with: [UInt8](repeating: 1, count: 5000))
    try other.answer(lease, with: [4])
    #expect(try leader.nextAnswer(within: 1)?.bytes == [])
    #expect(try leader.nextAnswer(within: 1)?.bytes == [4])
    try leader.offer([UInt8](repeating: 1, count: 2000), as: "long")
    try leader.offer([2], as: "y")
    #expect(try worker.take(as: "b", within: 0.05) == nil)
    #expect(try worker.take(as: "b", within: 0.05)?.key == "y")
  }

  @Test("Replies that no server would give are refused")
  func protocolErrors() async throws {
    for reply in [
      "", "\r\n", "x\r\n", "$abc\r\n", "*100000000\r\n",
      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
      ":99999999999999999999999\r\n", "$9\r\nabc", String(repeating: "+", count: 1 << 18),
      "*2\r\n$1\r\na\r\n",
    ] {
      let server = try FakeServer(reply)
      let channel = RedisChannel(
        try RedisAddress("redis://127.0.0.1:\(server.port)"), times: shortTimes, longest: 1000)
      #expect(throws: ChannelError.self, "\(reply.prefix(20))") { try channel.notice() }
    }
  }
}

/// A server that says one thing to whoever comes, once, and then nothing.
private final class FakeServer {
  let port: Int
  private let listener: Int32

  init(_ reply: String) throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = bind(descriptor, $0, size)
        _ = listen(descriptor, 1)
        _ = getsockname(descriptor, $0, &size)
      }
    }
    port = Int(UInt16(bigEndian: address.sin_port))
    listener = descriptor
    Thread {
      let peer = accept(descriptor, nil, nil)
      let bytes = Array(reply.utf8)
      _ = send(peer, bytes, bytes.count, Int32(MSG_NOSIGNAL))
      usleep(100_000)
      close(peer)
    }.start()
  }

  deinit { close(listener) }
}
