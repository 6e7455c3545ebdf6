package import Configuration
import Foundation
import GPSCore

/// Where a Redis server is: `redis://[[user]:password@]host[:port][/database]`.
package struct RedisAddress: Sendable, Equatable {
  /// A name or an address.
  package var host: String
  /// From 1 to 65535.
  package var port = 6379
  /// Nil for the default one.
  package var user: String?
  /// Nil where none is asked for.
  package var password: String?
  /// The number of the database, which holds one run.
  package var database = 0

  /// An address.
  ///
  /// - Parameters:
  ///   - text: as users write it.
  ///   - password: where the text has none, as from the environment.
  /// - Throws: `InvalidOption` with what is allowed, and without the password.
  package init(_ text: String, password: String? = nil) throws(InvalidOption) {
    let allowed = "redis://[:password@]host[:port][/database]"
    guard let parts = URLComponents(string: text), parts.scheme == "redis", let host = parts.host,
      !host.isEmpty, parts.query == nil, parts.fragment == nil,
      let database = parts.path.count < 2 ? 0 : Int(parts.path.dropFirst()),
      (0..<1 << 16).contains(database), (1...65535).contains(parts.port ?? 6379)
    else {
      // What cannot be read may still hold a password.
      throw InvalidOption(key: "cluster", value: "an address of another form", allowed: allowed)
    }
    self.host = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
    port = parts.port ?? 6379
    user = parts.user.flatMap { $0.isEmpty ? nil : $0 }
    self.password = [parts.password, password].compactMap { $0 }.first { !$0.isEmpty }
    self.database = database
  }

  /// Where, without the password.
  package var place: String {
    "redis at \(host):\(port)" + (database == 0 ? "" : "/\(database)")
  }

  /// Whether no other machine is on the way.
  package var isLoopback: Bool {
    if host == "localhost" || host == "::1" { return true }
    let parts = host.split(separator: ".").map { UInt8($0) }
    return parts.count == 4 && parts[0] == 127 && !parts.contains(nil)
  }
}

/// What a Redis server replies.
enum RedisReply: Sendable, Equatable {
  /// Nothing of that name.
  case null
  case number(Int)
  /// A line, such as "OK".
  case status(String)
  case bytes([UInt8])
  /// Bytes that were not taken in because there are too many of them.
  case tooLong(Int)
  case list([RedisReply])
  case error(String)

  var text: String? {
    switch self {
    case .status(let text): text
    case .bytes(let bytes): String(validating: bytes, as: UTF8.self)
    default: nil
    }
  }

  var list: [RedisReply]? { if case .list(let list) = self { list } else { nil } }

  /// The value of a field, where the list is of names and values in turn.
  subscript(field name: String) -> RedisReply? {
    guard let list else { return nil }
    for i in stride(from: 0, to: list.count - 1, by: 2) where list[i].text == name {
      return list[i + 1]
    }
    return nil
  }
}

/// A connection to a Redis server, in the protocol that all its versions speak (RESP 2: redis.io/docs/reference/protocol-spec).
///
/// Spoken here and not by hiredis: what a server announces is bounded before there is room for it, every read and write has a
/// deadline, and a program that needs no cluster needs no library for it. (hiredis gives what it replies as a structure that
/// differs between its versions 0.14 and 1, so that it could not be loaded at run time either.)
final class RedisConnection {
  /// Why it cannot be used any more.
  struct Failure: Error { let reason: String }

  private let descriptor: Int32
  private let patience: Double
  /// Bytes of one value at most.
  private let longest: Int
  private var buffer: [UInt8] = []
  private var position = 0

  /// Parts of a reply at most, and how deep they may lie in each other.
  private static let (mostParts, deepest) = (1 << 16, 8)
  private static let chunk = 1 << 16

  /// Connects.
  ///
  /// - Parameters:
  ///   - address: where.
  ///   - patience: seconds without progress, at most.
  ///   - longest: bytes of one value, at most.
  /// - Throws: `Failure`.
  init(to address: RedisAddress, patience: Double, longest: Int) throws(Failure) {
    self.patience = patience
    self.longest = longest
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var first: UnsafeMutablePointer<addrinfo>?
    let problem = getaddrinfo(address.host, String(address.port), &hints, &first)
    guard problem == 0 else {
      throw Failure(reason: "its name is not known (\(String(cString: gai_strerror(problem))))")
    }
    defer { freeaddrinfo(first) }
    var reason = "it has no address"
    var next = first
    var connected: Int32 = -1
    while let info = next?.pointee {
      next = info.ai_next
      let candidate = socket(
        info.ai_family, info.ai_socktype | Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue),
        info.ai_protocol)
      if candidate < 0 {
        reason = systemReason(errno)
        continue
      }
      var isConnected = connect(candidate, info.ai_addr, info.ai_addrlen) == 0
      if !isConnected && errno == EINPROGRESS {
        var error: Int32 = ETIMEDOUT
        var size = socklen_t(MemoryLayout<Int32>.size)
        if Self.isReady(candidate, POLLOUT, patience) {
          getsockopt(candidate, SOL_SOCKET, SO_ERROR, &error, &size)
        }
        isConnected = error == 0
        reason = systemReason(error)
      } else if !isConnected {
        reason = systemReason(errno)
      }
      if isConnected {
        connected = candidate
        break
      }
      close(candidate)
    }
    if connected < 0 { throw Failure(reason: reason) }
    var yes: Int32 = 1
    setsockopt(
      connected, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
    descriptor = connected
  }

  deinit { close(descriptor) }

  /// Sends a command and waits for what is replied.
  ///
  /// - Parameters:
  ///   - command: its words.
  ///   - seconds: how long the server itself may take.
  /// - Returns: the reply.
  /// - Throws: `Failure`, after which the connection is of no use.
  func reply(
    to command: [[UInt8]], waiting seconds: Double = 0
  ) throws(Failure) -> RedisReply {
    var bytes = Array("*\(command.count)\r\n".utf8)
    bytes.reserveCapacity(command.reduce(64) { $0 + $1.count + 16 })
    for word in command {
      bytes += Array("$\(word.count)\r\n".utf8)
      bytes += word
      bytes += [13, 10]
    }
    try write(bytes)
    var parts = 0
    return try read(depth: 0, parts: &parts, waiting: seconds)
  }

  private static func isReady(_ descriptor: Int32, _ event: Int32, _ seconds: Double) -> Bool {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while true {
      var entry = pollfd(fd: descriptor, events: Int16(event), revents: 0)
      let rest = (deadline - ContinuousClock.now).inSeconds
      let result = poll(&entry, 1, Int32(max(0, min(rest * 1000, 1e9)).rounded(.up)))
      if result > 0 { return true }
      if result == 0 || errno != EINTR { return false }
    }
  }

  private func write(_ bytes: [UInt8]) throws(Failure) {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        buffer.baseAddress.map {
          send(descriptor, $0 + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
        } ?? 0
      }
      if count >= 0 {
        sent += count
      } else if errno == EAGAIN || errno == EINTR {
        if !Self.isReady(descriptor, POLLOUT, patience) {
          throw Failure(reason: "it has taken nothing in for \(patience) s")
        }
      } else {
        throw Failure(reason: systemReason(errno))
      }
    }
  }

  /// Makes the buffer longer by what comes.
  private func receive(waiting seconds: Double) throws(Failure) {
    if position == buffer.count {
      buffer.removeAll(keepingCapacity: buffer.count <= 16 * Self.chunk)
      position = 0
    }
    while true {
      var count = 0
      let piece = [UInt8](unsafeUninitializedCapacity: Self.chunk) { memory, size in
        count = recv(descriptor, memory.baseAddress, Self.chunk, 0)
        size = max(0, count)
      }
      if count > 0 {
        buffer += piece
        return
      }
      if count == 0 { throw Failure(reason: "it has closed the connection") }
      if errno == EINTR { continue }
      if errno != EAGAIN { throw Failure(reason: systemReason(errno)) }
      if !Self.isReady(descriptor, POLLIN, seconds + patience) {
        throw Failure(reason: "no reply for \(seconds + patience) s")
      }
    }
  }

  /// A line without its end.
  private func line(waiting seconds: Double) throws(Failure) -> ArraySlice<UInt8> {
    var searched = position
    while true {
      if let end = buffer[searched...].firstIndex(of: 10) {
        let line = buffer[position..<max(position, end - 1)]
        position = end + 1
        return line
      }
      if buffer.count - position > Self.chunk { throw Failure(reason: "it does not speak RESP") }
      let consumed = position
      searched = buffer.count
      try receive(waiting: seconds)
      // The buffer may have been begun anew.
      if position < consumed { searched = 0 }
    }
  }

  private func bytes(_ count: Int) throws(Failure) -> RedisReply {
    var missing = count
    var value: [UInt8] = []
    let isKept = count <= longest
    while missing > 0 {
      if position == buffer.count { try receive(waiting: 0) }
      let part = min(missing, buffer.count - position)
      if isKept { value += buffer[position..<position + part] }
      position += part
      missing -= part
    }
    _ = try line(waiting: 0)
    return isKept ? .bytes(value) : .tooLong(count)
  }

  private func read(
    depth: Int, parts: inout Int, waiting seconds: Double
  ) throws(Failure) -> RedisReply {
    parts += 1
    if depth > Self.deepest || parts > Self.mostParts {
      throw Failure(reason: "a reply has too many parts")
    }
    let line = try self.line(waiting: seconds)
    let rest = String(decoding: line.dropFirst(), as: UTF8.self)
    func number() throws(Failure) -> Int {
      guard let number = Int(rest) else { throw Failure(reason: "it does not speak RESP") }
      return number
    }
    switch line.first {
    case UInt8(ascii: "+"): return .status(rest)
    case UInt8(ascii: "-"): return .error(visible(rest, limit: 300))
    case UInt8(ascii: ":"): return .number(try number())
    case UInt8(ascii: "$"):
      let count = try number()
      return try count < 0 ? .null : bytes(count)
    case UInt8(ascii: "*"):
      let count = try number()
      if count < 0 { return .null }
      var list: [RedisReply] = []
      for _ in 0..<count { list.append(try read(depth: depth + 1, parts: &parts, waiting: 0)) }
      return .list(list)
    default: throw Failure(reason: "it does not speak RESP")
    }
  }
}
