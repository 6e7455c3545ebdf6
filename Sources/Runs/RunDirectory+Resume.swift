public import Foundation
import GPSCore

/// The part of a CSV file that a run goes on from.
struct KeptRows {
  /// Bytes of the header and the rows kept.
  var length = 0
  /// The iteration of the last row kept; nil if there is none.
  var lastIteration: Int?

  /// Finds the rows before an iteration: whole rows, from the first on, up to one of that iteration
  /// or later, or one that is cut off.
  ///
  /// - Throws: `RunDirectoryError.cannotRead`, if the header is not the one given, too.
  init(of path: String, header: [UInt8], before iteration: Int) throws(RunDirectoryError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { throw .cannotRead(path: path, reason: reason(of: errno)) }
    defer { close(descriptor) }
    // Trajectories of a long run are gigabytes: a piece at a time.
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    var offset = 0
    var isQuoted = false
    var isFirstField = true
    var number: Int?
    while true {
      let count = buffer.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        if errno == EINTR { continue }
        throw .cannotRead(path: path, reason: reason(of: errno))
      }
      if count == 0 { break }
      for byte in buffer[..<count] {
        if offset < header.count {
          if byte != header[offset] {
            throw .cannotRead(path: path, reason: "its columns are not those of this run")
          }
          offset += 1
          length = offset
          continue
        }
        offset += 1
        if byte == UInt8(ascii: "\"") { isQuoted.toggle() }
        if byte == UInt8(ascii: "\n") && !isQuoted {
          guard let row = number, !isFirstField else { return }
          length = offset
          lastIteration = row
          number = nil
          isFirstField = true
        } else if isFirstField {
          if byte == UInt8(ascii: ",") {
            guard let row = number, row < iteration else { return }
            isFirstField = false
          } else {
            let digit = Int(byte) - 48
            guard (0...9).contains(digit), number ?? 0 < 1 << 53 else { return }
            number = 10 * (number ?? 0) + digit
          }
        }
      }
    }
    if length < header.count {
      throw .cannotRead(path: path, reason: "its columns are not those of this run")
    }
  }
}

extension RunDirectory {
  /// Seconds of the iterations that stand in `progress.csv`: of each stage, and in all.
  var recordedSeconds: StageSeconds {
    let path = url.appendingPathComponent(FileName.progress).path
    var seconds = StageSeconds()
    let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
    let names = signals.progressColumns
    // All fields of this file are numbers.
    for row in text.split(separator: "\n").dropFirst() {
      let fields = row.split(separator: ",", omittingEmptySubsequences: false)
      func field(_ name: String) -> Double {
        guard let index = names.firstIndex(of: name), fields.indices.contains(index)
        else { return 0 }
        return Double(fields[index]) ?? 0
      }
      for stage in signals.columns.stages {
        seconds.stages[stage, default: 0] += field("seconds_" + stage)
      }
      seconds.total += field("seconds_total")
    }
    return seconds
  }

  /// Whether the directory is what a process left that ended before its run's first iteration: it
  /// may be begun anew, and nothing is lost.
  public static func isUnstarted(_ url: URL) -> Bool {
    func path(_ name: String) -> String { url.appendingPathComponent(name).path }
    if !FileManager.default.fileExists(atPath: path(FileName.lock)) { return false }
    if holdsCheckpoints(url) { return false }
    let progress = (try? String(contentsOfFile: path(FileName.progress), encoding: .utf8)) ?? ""
    return progress.split(separator: "\n").count <= 1
  }

  /// Whether there is a run at this place that can be resumed, or could be if it were not damaged.
  public static func holdsCheckpoints(_ url: URL) -> Bool {
    let folder = CheckpointFolder(in: url)
    return !folder.names.isEmpty
      || FileManager.default.fileExists(atPath: folder.path(CheckpointFolder.best))
  }
}
