import Foundation

/// A Redis server of a test's own, on a port of this machine that was free.
public final class RedisServer {
  /// Where it listens.
  public let port: Int
  private let folder: URL
  private let options: [String]
  private var process: Process?

  /// Whether Redis is installed here.
  public static let isInstalled = program != nil

  /// The sentence for whoever wonders why tests were left out.
  public static let note = "redis-server is not installed (scripts/setup --cluster)"

  private static let program: String? = {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    return (folders.map(String.init) + ["/usr/bin", "/usr/local/bin"])
      .map { $0 + "/redis-server" }.first { access($0, X_OK) == 0 }
  }()

  /// Starts one.
  ///
  /// - Parameters:
  ///   - isPersistent: whether what it holds is there again after a restart.
  ///   - password: that it asks for; nil for none.
  /// - Throws: when it does not start.
  public init(isPersistent: Bool = false, password: String? = nil) throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "gps-redis-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    port = try Self.freePort()
    options =
      [
        "--port", "\(port)", "--bind", "127.0.0.1", "--dir", folder.path, "--save", "",
        "--appendonly", isPersistent ? "yes" : "no", "--appendfsync", "always",
      ] + (password.map { ["--requirepass", $0] } ?? [])
    try start()
  }

  deinit {
    stop()
    try? FileManager.default.removeItem(at: folder)
  }

  /// Starts it again after `stop`.
  public func start() throws {
    guard let program = Self.program else { throw Failure(reason: Self.note) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = options
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    self.process = process
    for _ in 0..<1000 {
      if Self.answers(at: port) { return }
      usleep(10_000)
    }
    throw Failure(reason: "redis-server does not start")
  }

  /// Kills it.
  public func stop() {
    guard let process else { return }
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    self.process = nil
  }

  /// The process, while there is one.
  public func identifier() throws -> Int32 {
    guard let process else { throw Failure(reason: "redis-server does not run") }
    return process.processIdentifier
  }

  /// Lets it hang, or go on.
  public func suspend(_ isSuspended: Bool) {
    if let process { kill(process.processIdentifier, isSuspended ? SIGSTOP : SIGCONT) }
  }

  private struct Failure: Error, CustomStringConvertible {
    let reason: String
    var description: String { reason }
  }

  private static func withAddress<Result>(
    _ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
  ) -> Result {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  /// Whether it has read what it holds, and is ready.
  private static func answers(at port: Int) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    if withAddress(port, { connect(descriptor, $0, $1) }) != 0 { return false }
    _ = send(descriptor, "PING\r\n", 6, Int32(MSG_NOSIGNAL))
    var reply = [UInt8](repeating: 0, count: 100)
    let count = recv(descriptor, &reply, reply.count, 0)
    return count > 0 && !String(decoding: reply[..<count], as: UTF8.self).hasPrefix("-LOADING")
  }

  private static func freePort() throws -> Int {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withAddress(0) { bind(descriptor, $0, $1) } == 0
    let isKnown =
      withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
      } == 0
    if !isBound || !isKnown { throw Failure(reason: "there is no free port") }
    return Int(UInt16(bigEndian: address.sin_port))
  }
}
