import Configuration
import Foundation
import GPSCore
import LinearAlgebra
public import Logging

/// Where a run's messages go: `log.txt` and, from warnings up, standard error.
public final class RunLog: Sendable {
  // `CheckedFile` is not Sendable; the lock owns the only reference to it.
  private let file: Locked<CheckedFile?>
  private let echoes: Bool

  /// A log that is not kept, for evaluation and tests.
  public init(echoes: Bool) {
    file = Locked(nil)
    self.echoes = echoes
  }

  init(path: String, echoes: Bool) throws(RunDirectoryError) {
    let created = try CheckedFile(creating: path)
    file = Locked(created)
    self.echoes = echoes
  }

  /// Goes on with a log, or begins one.
  init(appendingTo path: String, echoes: Bool) throws(RunDirectoryError) {
    var status = stat()
    let opened: CheckedFile
    if lstat(path, &status) == 0 {
      opened = try CheckedFile(appendingTo: path, keeping: Int(status.st_size))
    } else {
      opened = try CheckedFile(creating: path)
    }
    file = Locked(opened)
    self.echoes = echoes
  }

  /// A logger whose messages come here.
  public func logger(label: String = "gps") -> Logger {
    Logger(label: label) { _ in Handler(log: self) }
  }

  /// Whether a log begins like one of this program.
  static func wrote(_ text: String) -> Bool {
    text.prefixMatch(of: #/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+Z [a-z]+: /#) != nil
  }

  fileprivate func write(_ level: Logger.Level, _ message: String) {
    let message = visible(message, limit: 2000)
    let line = "\(Date.now.formatted(.iso8601)) \(level): \(message)\n"
    file.withLock { file in
      // A full disk is reported by the files that matter; the log must not end the run.
      try? file?.append(Array(line.utf8))
    }
    if echoes && level >= .warning {
      // A terminal may show a line of progress at the cursor: the message takes its place.
      let clearing = isatty(STDERR_FILENO) == 1 ? "\r\u{1B}[K" : ""
      let bytes = Array("\(clearing)gps: \(level): \(message)\n".utf8)
      _ = bytes.withUnsafeBytes { Foundation.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
  }

  private struct Handler: LogHandler {
    let log: RunLog
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.MetadataValue? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let all = metadata.merging(event.metadata ?? [:]) { $1 }
      let suffix = all.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
      log.write(event.level, "\(event.message)\(suffix)")
    }
  }
}
