import Configuration
public import Foundation
import GPSCore

/// The part of a CSV file that a run goes on from.
struct KeptRows {
  /// Bytes of the header and the rows kept.
  var length = 0
  /// The iteration of the last row kept; nil if there is none.
  var lastIteration: Int?
  /// Rows of the last iteration kept.
  private var rows = 0
  /// Whether each iteration up to the last kept has its rows, in order.
  private(set) var isComplete = true

  /// Finds the rows before an iteration: whole rows, from the first on, up to one of that iteration
  /// or later, or one that is cut off.
  ///
  /// - Parameters:
  ///   - path: the file.
  ///   - header: its first line.
  ///   - iteration: the first whose rows are not kept.
  ///   - rowsEach: how many rows an iteration has, where that is known.
  /// - Throws: `RunDirectoryError.cannotRead`, if the header is not the one given, too.
  init(of path: String, header: [UInt8], before iteration: Int, rowsEach: Int? = nil)
    throws(RunDirectoryError)
  {
    defer { if !isLastComplete(rowsEach) { isComplete = false } }
    let descriptor: Int32
    do throws(FileProblem) {
      descriptor = try RegularFile.open(path)
    } catch {
      throw .cannotRead(path: path, reason: "\(error)")
    }
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
        throw .cannotRead(path: path, reason: systemReason(errno))
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
          if row != lastIteration {
            if row != (lastIteration ?? -1) + 1 || !isLastComplete(rowsEach) { isComplete = false }
            rows = 0
          }
          rows += 1
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

extension KeptRows {
  private func isLastComplete(_ rowsEach: Int?) -> Bool {
    guard let rowsEach, lastIteration != nil else { return true }
    return rows == rowsEach
  }
}

extension RunDirectory {
  /// Seconds of the iterations that stand in `progress.csv`: of each stage, and in all.
  var recordedSeconds: StageSeconds { Self.recordedSeconds(in: url, signals: signals) }

  static func recordedSeconds(in url: URL, signals: Signals) -> StageSeconds {
    let path = url.appendingPathComponent(FileName.progress).path
    var seconds = StageSeconds()
    let bytes = (try? RegularFile.read(path, atMost: 1 << 30)) ?? []
    let text = String(decoding: bytes, as: UTF8.self)
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
    if RegularFile.beginning(of: path(FileName.lock), bytes: 1) != [] { return false }
    if (try? holdsCheckpoints(url)) != false { return false }
    guard let names = try? Folder.names(in: url.path) else { return false }
    if names == [FileName.lock] { return true }
    // What a run makes first; with files of somebody else's it is none.
    func text(_ name: String) -> String? {
      RegularFile.beginning(of: path(name), bytes: 1 << 16).map {
        String(decoding: $0, as: UTF8.self)
      }
    }
    if names.contains(FileName.progress) {
      guard let progress = text(FileName.progress), progress.split(separator: "\n").count <= 1,
        "iteration,rollouts".hasPrefix(progress.prefix(18))
      else { return false }
    }
    var status = stat()
    guard stat(path(FileName.checkpoints), &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
      return false
    }
    guard names.contains(FileName.log) else { return names.count == 2 }
    return text(FileName.log).map { $0.isEmpty || RunLog.wrote($0) } ?? false
  }

  /// Whether there is a run at this place that can be resumed, or could be if it were not damaged.
  ///
  /// - Throws: `RunDirectoryError.cannotRead` where nobody can tell.
  public static func holdsCheckpoints(_ url: URL) throws(RunDirectoryError) -> Bool {
    let folder = CheckpointFolder(in: url)
    return try !folder.readNames().isEmpty || folder.holds(CheckpointFolder.best)
  }

  /// What has changed in a run's directory since its newest checkpoint, as a clause; nil if nothing has.
  ///
  /// - Parameters:
  ///   - url: the directory.
  ///   - source: what is there now.
  /// - Returns: the clause.
  public static func change(in url: URL, to source: some RunSource) -> String? {
    let folder = CheckpointFolder(in: url)
    for name in folder.names.map(\.name) + [CheckpointFolder.best] {
      guard let bytes = try? Safetensors.bytes(ofFile: folder.path(name)),
        let file = try? Safetensors(sealed: bytes),
        file.metadata["format"] == CheckpointFormat.name
      else { continue }
      return file.metadata["model"].flatMap { source.modelMismatch(with: $0) }
        ?? file.metadata["experiment"].flatMap { source.mismatch(with: $0) }
    }
    return nil
  }

  /// The name of the checkpoint that is written after so many iterations, in the folder of the checkpoints.
  public static func checkpointName(iterations: Int) -> String {
    CheckpointFolder.name(iteration: iterations)
  }

  /// The iterations, from 0, that the numbered checkpoints of a run were written after, in order.
  public static func checkpointedIterations(in url: URL) -> [Int] {
    CheckpointFolder(in: url).names.map { $0.iteration - 1 }.filter { $0 >= 0 }.sorted()
  }
}
