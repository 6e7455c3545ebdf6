package import Configuration
import Foundation
import GPSCore
import LinearAlgebra
import Sim

extension InitialController {
  /// Settings of a start that does what was demonstrated: u = ū_t + K (x − x̄_t) + noise, with the means of
  /// the demonstrations at each step.
  public struct DemonstrationOptions: Sendable, Equatable {
    /// Path of the file, relative to the experiment file.
    ///
    /// CSV: columns `state.NAME` and `control.NAME` for all of the task's names, a row per step, such as
    /// `trajectories.csv` of a run; where there is a column `condition`, each condition has its own
    /// demonstrations, and where there is one `iteration`, the last counts. safetensors: `states`,
    /// [T + 1, n] or [N, T + 1, n], and `controls`, [T, m] or [N, T, m], for all conditions or, as
    /// `CONDITION.states` and `CONDITION.controls`, for one.
    public var file: String
    /// The noise.
    public var exploration: Exploration
    /// K by names of controls and entries of the state; what is not named is 0.
    public var gains: FeedbackGains
    /// What the file holds, if it has been read (`InitialController.loaded`).
    var contents: [UInt8]?

    /// Settings.
    public init(
      file: String, deviation: [Double] = [0.1], variance: [Double]? = nil,
      gains: FeedbackGains = [:]
    ) {
      self.file = file
      exploration = Exploration(deviation: deviation, variance: variance)
      self.gains = gains
    }
  }

  /// The file that it is made from, if there is one.
  public var file: String? { (base as? DemonstrationOptions)?.file }

  /// Bytes of the largest file that is read.
  package static let maximumFileBytes = 1 << 28

  /// The same with its file read, if there is one: so that all conditions start from one state of it.
  package func loaded() throws(StartError) -> InitialController {
    guard var options = base as? DemonstrationOptions, options.contents == nil else { return self }
    options.contents = try DemonstrationFile.read(options.file)
    return .demonstrations(options)
  }

  /// What its file holds; nil if there is none or it has not been read.
  package var contents: [UInt8]? { (base as? DemonstrationOptions)?.contents }

  /// The same, made from another file.
  public func reading(_ file: String) -> InitialController {
    guard var options = base as? DemonstrationOptions else { return self }
    options.file = file
    return .demonstrations(options)
  }
}

extension InitialController.DemonstrationOptions: ControllerRule {
  package static let schema = Schema<Self>(
    "demonstrations", "The mean of states and controls in a file.", Self(file: "")
  ) {
    Field(
      "file", \.file, Check("the name of a file", shown: { "\"\($0)\"" }) { !$0.isEmpty },
      "CSV with columns state.NAME and control.NAME, as trajectories.csv, or safetensors with states and "
        + "controls; relative to this file."
    ).required
    InitialController.Exploration.schema.fields(in: \.exploration)
    Field(
      "gains", \.gains, .feedbackGains,
      "Feedback on the distance from the demonstrated state: for each control, the gains of entries of the "
        + "state.")
  }

  func controller(_ start: Start) throws -> LinearGaussianController {
    try checkSettings()
    let kind = Self.schema.name
    let K = try start.matrix(of: gains, "\(kind).gains")
    let variances = try exploration.variances(start, kind)
    let (states, controls) = try DemonstrationFile(file, contents ?? DemonstrationFile.read(file))
      .means(for: start)
    return try start.controller(
      gains: MatrixSequence(repeating: K, count: start.dimensions.horizon),
      states: { states.column($0) }, controls: { start.clamped(controls.column($0)) },
      variances: variances)
  }
}

/// A file of states and controls.
private struct DemonstrationFile {
  static let kind = InitialController.DemonstrationOptions.schema.name

  let path: String
  let bytes: [UInt8]

  init(_ path: String, _ bytes: [UInt8]) {
    self.path = path
    self.bytes = bytes
  }

  /// All bytes of a file.
  static func read(_ path: String) throws(StartError) -> [UInt8] {
    do throws(FileProblem) {
      return try RegularFile.read(path, atMost: InitialController.maximumFileBytes)
    } catch {
      throw StartError(
        kind: kind,
        reason: error.description == systemReason(ENOENT)
          ? "no such file: \(path)" : "\(path) cannot be read: \(error)")
    }
  }

  func refuse(_ problem: String) -> StartError {
    StartError(kind: Self.kind, reason: "\(path)\(problem)")
  }

  /// Mean states x̄_0 … x̄_{T−1} and controls of the demonstrations that belong to a start.
  func means(for start: Start) throws(StartError) -> (states: Matrix, controls: Matrix) {
    let all =
      path.hasSuffix(".safetensors") ? try tensors(for: start) : try rows(for: start)
    let (n, m, T) = (start.dimensions.state, start.dimensions.control, start.dimensions.horizon)
    var (states, controls) = (Matrix(rows: n, columns: T), Matrix(rows: m, columns: T))
    let share = 1 / Double(all.count)
    for one in all {
      for t in 0..<T {
        for i in 0..<n { states[i, t] += share * one.states[t][i] }
        for i in 0..<m { controls[i, t] += share * one.controls[t][i] }
      }
    }
    return (states, controls)
  }

  /// What one demonstration holds, T rows of each at least.
  typealias Demonstration = (states: [[Double]], controls: [[Double]])

  // MARK: - CSV

  private func rows(for start: Start) throws(StartError) -> [Demonstration] {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      let place = UTF8Text.firstFault(in: bytes)
      throw refuse(", line \(place.line), column \(place.column): not UTF-8 text")
    }
    let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    guard let first = lines.first, !first.isEmpty else { throw refuse(" is empty") }
    let header = cells(first)
    func column(_ name: String) throws(StartError) -> Int {
      if let index = header.firstIndex(of: name) { return index }
      throw refuse(
        ", line 1: there is no column \(name) (the next are "
          + nearest(to: name.lowercased(), among: header).prefix(3).joined(separator: ", ") + ")")
    }
    var (stateColumns, controlColumns): ([Int], [Int]) = ([], [])
    for name in start.stateNames { stateColumns.append(try column("state." + name)) }
    for name in start.controlNames { controlColumns.append(try column("control." + name)) }
    let keys = ["iteration", "condition", "sample", "kind"].map { header.firstIndex(of: $0) }
    let stepColumn = header.firstIndex(of: "step")
    let name = start.condition?.name

    var demonstrations: [(iteration: Double, line: Int, rows: Demonstration)] = []
    var (lastKey, lastStep, isComplete): ([String]?, Double, Bool) = (nil, -.infinity, false)
    var others: [String] = []
    for (index, line) in lines.enumerated().dropFirst() where !line.isEmpty {
      let fields = cells(line)
      guard fields.count == header.count else {
        throw refuse(
          ", line \(index + 1): \(fields.count) cells where the first line has \(header.count)")
      }
      func number(_ column: Int) throws(StartError) -> Double {
        guard let value = Double(fields[column]), value.isFinite else {
          throw refuse(
            ", line \(index + 1), column \(header[column]): \"\(abbreviated(fields[column]))\" is not a finite "
              + "number")
        }
        return value
      }
      if let column = keys[1], let name, fields[column] != name {
        if !others.contains(fields[column]) { others.append(fields[column]) }
        lastKey = nil
        continue
      }
      let key = keys.map { $0.map { fields[$0] } ?? "" }
      let step = try stepColumn.map { column throws(StartError) in try number(column) }
      let isNew = key != lastKey || isComplete || step.map { $0 <= lastStep } ?? false
      if isNew {
        let iteration = try keys[0].map { column throws(StartError) in try number(column) } ?? 0
        demonstrations.append((iteration, index + 1, ([], [])))
      }
      (lastKey, lastStep, isComplete) = (key, step ?? lastStep, false)
      let last = demonstrations.count - 1
      var states: [Double] = []
      for column in stateColumns { states.append(try number(column)) }
      demonstrations[last].rows.states.append(states)
      // After the last control there is one more state.
      if controlColumns.allSatisfy({ fields[$0].isEmpty }) {
        isComplete = true
        continue
      }
      var controls: [Double] = []
      for column in controlColumns { controls.append(try number(column)) }
      demonstrations[last].rows.controls.append(controls)
    }
    guard let newest = demonstrations.map(\.iteration).max() else {
      throw refuse(
        others.isEmpty
          ? " holds no demonstration"
          : " holds no demonstration of condition \(name ?? "") (but of "
            + others.prefix(8).joined(separator: ", ") + ")")
    }
    let used = demonstrations.filter { $0.iteration == newest }
    for one in used where one.rows.controls.count < start.dimensions.horizon {
      throw refuse(
        ", line \(one.line): the demonstration that begins here has \(one.rows.controls.count) controls, the "
          + "horizon is \(start.dimensions.horizon)")
    }
    return used.map(\.rows)
  }

  /// The cells of a line (RFC 4180).
  private func cells(_ line: Substring) -> [String] {
    var cells: [String] = []
    var cell = ""
    var (isQuoted, wasQuote) = (false, false)
    for character in line {
      switch character {
      case "\"":
        // A quote after one that ended the quoted part stands for itself.
        if !isQuoted && wasQuote { cell.append(character) }
        isQuoted.toggle()
        wasQuote = !isQuoted
        continue
      case "," where !isQuoted:
        cells.append(cell)
        cell = ""
      default: cell.append(character)
      }
      wasQuote = false
    }
    cells.append(cell)
    return cells
  }

  // MARK: - safetensors

  private func tensors(for start: Start) throws(StartError) -> [Demonstration] {
    let file: Safetensors
    do { file = try Safetensors(bytes: bytes) } catch { throw refuse(": \(error)") }
    let own = start.condition.map { $0.name + "." } ?? ""
    let prefix = file.tensors[own + "states"] != nil ? own : ""
    func samples(_ name: String, _ width: Int, _ least: Int) throws(StartError) -> [[[Double]]] {
      let name = prefix + name
      guard let tensor = file.tensors[name] else {
        throw refuse(
          ": there is no array \"\(name)\" (it has "
            + file.tensors.keys.sorted().prefix(8).joined(separator: ", ") + ")")
      }
      let shape = tensor.shape.count == 2 ? [1] + tensor.shape : tensor.shape
      guard shape.count == 3, shape[0] > 0, shape[1] >= least, shape[2] == width else {
        throw refuse(
          ": array \"\(name)\" has the shape \(tensor.shape), where [\(least), \(width)] or [N, \(least), "
            + "\(width)] is needed")
      }
      guard let numbers = tensor.doubles ?? tensor.floats?.map(Double.init) else {
        throw refuse(": array \"\(name)\" is of whole numbers, not of F64 or F32")
      }
      if let entry = numbers.firstNonFinite {
        throw refuse(
          ": array \"\(name)\": number \(entry % width) of step \(entry / width % shape[1]) of demonstration "
            + "\(entry / width / shape[1]) is not finite")
      }
      return (0..<shape[0]).map { sample in
        (0..<shape[1]).map { step in
          let first = (sample * shape[1] + step) * width
          return Array(numbers[first..<first + width])
        }
      }
    }
    let T = start.dimensions.horizon
    let states = try samples("states", start.dimensions.state, T)
    let controls = try samples("controls", start.dimensions.control, T)
    guard states.count == controls.count else {
      throw refuse(
        ": \(states.count) demonstrations of states and \(controls.count) of controls")
    }
    return zip(states, controls).map { ($0, $1) }
  }
}
