import Configuration
import Foundation
import GPSCore

/// A program that serves one environment, and how it is started.
public struct ProcessProgram: Sendable, Equatable {
  /// The program and its arguments; a name without a slash is sought on the PATH.
  public var command: [String]
  /// Its working folder.
  public var folder: String
  /// What it is told about the environment when it starts, a JSON object.
  public var settings: String
  /// Seconds without an answer after which it is ended; more than 0.
  public var deadline: Double

  /// A program.
  public init(
    command: [String], folder: String = ".", settings: String = "{}", deadline: Double = 60
  ) {
    self.command = command
    self.folder = folder
    self.settings = settings
    self.deadline = deadline
  }
}

/// A running program that answers each message with one, both of them frames: eight bytes with the length
/// (little-endian), then as many of a safetensors file whose texts say what it is.
///
/// Its standard input and output are one socket; what it writes to standard error is kept as far as the last
/// lines go. It is in a process group of its own, so that Ctrl-C in a terminal does not reach it, and ends when
/// the socket is closed.
struct WorkerProcess: Sendable {
  private let process: Process
  private let socket: Int32
  private let errors: Int32
  /// The end of what it has said.
  private var said: [UInt8] = []

  private static let largestFrame = 1 << 31
  private static let mostSaid = 1 << 14
  /// How often it is asked whether the work was given up [ms].
  private static let slice: Int32 = 100

  /// Starts a program.
  ///
  /// - Throws: `PlantFailure` when it cannot be started.
  init(_ program: ProcessProgram) throws(PlantFailure) {
    guard let name = program.command.first, !name.isEmpty else {
      throw PlantFailure("no program is named")
    }
    var ends: [Int32] = [-1, -1]
    var pipes: [Int32] = [-1, -1]
    #if canImport(Glibc)
      let kind = Int32(SOCK_STREAM.rawValue)
    #else
      let kind = SOCK_STREAM
    #endif
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
      throw PlantFailure("no socket for a process: \(systemReason(errno))")
    }
    guard pipe(&pipes) == 0 else {
      let reason = systemReason(errno)
      ends.forEach { close($0) }
      throw PlantFailure("no pipe for a process: \(reason)")
    }
    // Not for programs that are started later: they would keep this one from seeing the end.
    for descriptor in ends + pipes { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    (socket, errors) = (ends[0], pipes[0])
    _ = fcntl(errors, F_SETFL, O_NONBLOCK)
    process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = program.command
    process.currentDirectoryURL = URL(filePath: program.folder)
    process.environment = Self.environment
    let inner = FileHandle(fileDescriptor: ends[1], closeOnDealloc: false)
    process.standardInput = inner
    process.standardOutput = inner
    process.standardError = FileHandle(fileDescriptor: pipes[1], closeOnDealloc: false)
    do { try process.run() } catch {
      (ends + pipes).forEach { close($0) }
      throw PlantFailure("\(name) cannot be started: \(error)")
    }
    close(ends[1])
    close(pipes[1])
  }

  /// That of this program, with the package's Python beside what is installed, and one thread for each library:
  /// there are as many processes as workers.
  private static let environment: [String: String] = {
    var environment = ProcessInfo.processInfo.environment
    for key in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
    where environment[key] == nil {
      environment[key] = "1"
    }
    if let root = environment["GPS_ROOT"], !root.isEmpty {
      let own = root + "/python"
      environment["PYTHONPATH"] = environment["PYTHONPATH"].map { "\($0):\(own)" } ?? own
    }
    return environment
  }()

  // MARK: - Messages

  /// Sends a message and waits for the answer.
  ///
  /// - Parameters:
  ///   - message: texts and arrays; the text "message" says what it is.
  ///   - deadline: seconds for all of it.
  /// - Returns: the answer.
  /// - Throws: `RolloutFailure` when the program says that it cannot do what was asked for; `PlantFailure` when it
  ///   has ended, keeps silent for too long or answers with something else. It is of no use then.
  mutating func answer(to message: Safetensors, deadline: Double) throws -> ValueReader {
    let end = ContinuousClock.now + .seconds(deadline)
    let body = message.encoded()
    try send(Self.bytes(of: body.count) + body, by: end, deadline)
    let head = try receive(8, by: end, deadline)
    let count = head.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard count <= UInt64(Self.largestFrame) else {
      throw PlantFailure(
        "the process does not keep to the protocol: its answer begins with \"\(Self.text(head))\"; "
          + "what it prints must go to standard error")
    }
    let file: Safetensors
    do { file = try Safetensors(bytes: try receive(Int(count), by: end, deadline)) } catch {
      guard error is SafetensorsError else { throw error }
      throw PlantFailure("the process does not keep to the protocol: \(error)")
    }
    if file.metadata["message"] == "failure" {
      throw RolloutFailure(
        step: file.metadata["step"].flatMap { Int($0) } ?? 0,
        reason: visible(file.metadata["reason"] ?? "it failed and does not say why", limit: 500))
    }
    return ValueReader(file)
  }

  private static func bytes(of count: Int) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }
  }

  private static func text(_ bytes: [UInt8]) -> String {
    visible(String(decoding: bytes, as: UTF8.self), limit: 100)
  }

  private mutating func send(
    _ bytes: [UInt8], by end: ContinuousClock.Instant, _ deadline: Double
  ) throws {
    #if canImport(Glibc)
      let flags = Int32(MSG_NOSIGNAL | MSG_DONTWAIT)
    #else
      let flags = MSG_DONTWAIT
    #endif
    var offset = 0
    while offset < bytes.count {
      let count = bytes.withUnsafeBytes {
        Foundation.send(
          socket, $0.baseAddress?.advanced(by: offset), bytes.count - offset, flags)
      }
      if count > 0 {
        offset += count
      } else if errno == EAGAIN {
        try wait(for: POLLOUT, by: end, deadline)
      } else if errno != EINTR {
        throw ended()
      }
    }
  }

  private mutating func receive(
    _ count: Int, by end: ContinuousClock.Instant, _ deadline: Double
  ) throws -> [UInt8] {
    #if canImport(Glibc)
      let flags = Int32(MSG_DONTWAIT)
    #else
      let flags = MSG_DONTWAIT
    #endif
    var bytes = [UInt8](repeating: 0, count: count)
    var offset = 0
    while offset < count {
      let received = bytes.withUnsafeMutableBytes {
        recv(socket, $0.baseAddress?.advanced(by: offset), count - offset, flags)
      }
      if received > 0 {
        offset += received
      } else if received == 0 || (errno != EAGAIN && errno != EINTR) {
        throw ended()
      } else {
        try wait(for: POLLIN, by: end, deadline)
      }
    }
    return bytes
  }

  /// Waits until the socket is ready; what is said meanwhile is read, so that the program is never kept from going
  /// on because nobody listens.
  private mutating func wait(
    for event: Int32, by end: ContinuousClock.Instant, _ deadline: Double
  ) throws {
    while true {
      if Task.isCancelled { throw PlantFailure("it was given up") }
      let rest = (end - ContinuousClock.now).inSeconds
      if rest <= 0 {
        throw PlantFailure("the process has not answered for \(shortest(deadline)) s\(lastLine)")
      }
      var places = [
        pollfd(fd: socket, events: Int16(event), revents: 0),
        pollfd(fd: errors, events: Int16(POLLIN), revents: 0),
      ]
      let ready = poll(&places, 2, min(Self.slice, Int32(1000 * rest) + 1))
      let isSilent = places[1].revents == 0
      if !isSilent { listen() }
      if ready > 0 && places[0].revents != 0 { return }
      // A pipe whose other end is closed is ready for ever.
      if !isSilent && Int32(places[1].revents) & POLLIN == 0 { usleep(1000) }
    }
  }

  /// Takes in what has been said.
  private mutating func listen() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(errors, &buffer, buffer.count)
      if count <= 0 { break }
      said += buffer[..<count]
    }
    said = said.suffix(Self.mostSaid)
  }

  /// What it said last, after a colon; empty if it said nothing.
  private var lastLine: String {
    let lines = String(decoding: said, as: UTF8.self).split(whereSeparator: \.isNewline)
      .map { visible(String($0), limit: 300) }
    return lines.last(where: { !$0.allSatisfy(\.isWhitespace) }).map { ": \($0)" } ?? ""
  }

  // MARK: - Ends

  /// Why it is not there any more.
  private mutating func ended() -> PlantFailure {
    let isOver = Self.waits(for: process, seconds: 1)
    listen()
    let code =
      !isOver
      ? "has closed its standard output"
      : process.terminationReason == .exit
        ? "ended with code \(process.terminationStatus)"
        : "was ended by signal \(process.terminationStatus)"
    return PlantFailure("the process \(code)\(lastLine)")
  }

  /// Ends it: by the end of its input, or by a signal if that does not.
  ///
  /// - Parameter atOnce: whether it gets no time to end by itself, as when it hangs.
  func end(atOnce: Bool = false) {
    close(socket)
    close(errors)
    if !Self.waits(for: process, seconds: atOnce ? 0 : 0.5) {
      // Its group, with whatever it has started.
      kill(-process.processIdentifier, SIGKILL)
      _ = Self.waits(for: process, seconds: 1)
    }
  }

  private static func waits(for process: Process, seconds: Double) -> Bool {
    let end = ContinuousClock.now + .seconds(seconds)
    while process.isRunning {
      if ContinuousClock.now > end { return false }
      usleep(1000)
    }
    return true
  }
}
