import Configuration
public import Foundation
public import GPSCore
import LinearAlgebra
import Pictures
public import Runs

/// An event file of TensorBoard's, in `tensorboard/` of a run directory, written as the run goes: every number of
/// `progress.csv` and `conditions.csv` by iteration, pictures of the policy's rollouts, and the settings.
///
/// The numbers of fields are those of event.proto, summary.proto and the plugin "hparams"
/// (https://github.com/tensorflow/tensorboard).
public final class TensorBoardLog {
  private let file: CheckedFile
  private let signals: RunDirectory.Signals
  /// Whether a picture has the pixels for more than one state.
  private static let (panelWidth, panelHeight, mostPanels) = (320, 150, 8)

  /// Begins a file.
  ///
  /// - Parameters:
  ///   - url: the run directory.
  ///   - task: what is learned.
  ///   - learner: whose reports will be written.
  ///   - experiment: the effective experiment, as YAML: its settings are shown beside the results.
  ///   - done: iterations of an earlier process; what an earlier file has of later ones is then void.
  /// - Throws: `RunDirectoryError`.
  public init(
    in url: URL, _ task: some ControlTask, learner: some Learner, experiment: String, done: Int = 0
  ) throws(RunDirectoryError) {
    signals = RunDirectory.Signals(task, columns: learner.columns)
    let folder = url.appendingPathComponent(RunDirectory.FileName.tensorBoard, isDirectory: true)
    // A link in its place is replaced, not followed.
    if (try? FileManager.default.destinationOfSymbolicLink(atPath: folder.path)) != nil {
      unlink(folder.path)
    }
    if mkdir(folder.path, 0o777) != 0 && errno != EEXIST {
      throw .cannotWrite(path: folder.path, reason: writeProblem(errno))
    }
    var host = [CChar](repeating: 0, count: 256)
    gethostname(&host, host.count - 1)
    let machine = String(
      decoding: host.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    let name =
      RunDirectory.FileName.tensorBoardPrefix + "\(Int(Date.now.timeIntervalSince1970))."
      + String(machine.map { $0.isLetter || $0.isNumber || $0 == "-" ? $0 : "-" })
      + ".\(getpid()).\(done)"
    file = try CheckedFile(creating: folder.appendingPathComponent(name).path)
    try append { $0.put(3, "brain.Event:2") }  // file_version
    if done > 0 {
      try append {
        $0.put(2, done)  // step
        $0.put(7) { $0.put(1, 1) }  // session_log: START
      }
    }
    try append(
      summary: [
        plugin("_hparams_/session_start_info") {
          $0.put(3) { start in  // session_start_info
            for (name, value) in settings(of: experiment) {
              start.put(1) { entry in  // hparams
                entry.put(1, name)
                entry.put(2) { value.write(to: &$0) }
              }
            }
            start.put(5, Date.now.timeIntervalSince1970)
          }
        }
      ], step: 0)
  }

  /// Writes an iteration.
  ///
  /// - Throws: `RunDirectoryError.cannotWrite`; the file then ends with the iteration before.
  public func append(_ report: Report) throws(RunDirectoryError) {
    var values: [ProtocolBuffer] = []
    func scalar(_ tag: String, _ value: Double?) {
      guard let value, value.isFinite else { return }
      var message = ProtocolBuffer()
      message.put(1, tag)
      message.put(2, Float(value))
      values.append(message)
    }
    scalar("run/rollouts", Double(report.rollouts))
    for metric in report.metrics { scalar("run/\(metric.name)", metric.number) }
    if let rate = report.successRate { scalar("run/success_rate", rate) }
    for stage in signals.columns.stages { scalar("seconds/\(stage)", report.seconds[stage]) }
    scalar("seconds/total", report.seconds.total)
    for condition in report.conditions {
      for metric in condition.metrics { scalar("\(metric.name)/\(condition.name)", metric.number) }
    }
    if let picture = picture(of: report) {
      var message = ProtocolBuffer()
      message.put(1, "rollouts/states")
      message.put(4) {  // image
        $0.put(1, picture.height)
        $0.put(2, picture.width)
        $0.put(3, 3)  // colorspace: RGB
        $0.put(4, bytes: picture.png)
      }
      values.append(message)
    }
    try append(summary: values, step: report.iteration)
  }

  /// Says how the run ended.
  ///
  /// - Throws: `RunDirectoryError.cannotWrite`.
  public func end(_ outcome: Summary.Outcome) throws(RunDirectoryError) {
    try append(
      summary: [
        plugin("_hparams_/session_end_info") {
          $0.put(4) { end in  // session_end_info
            end.put(1, outcome == .failed ? 2 : 1)  // status: FAILURE or SUCCESS
            end.put(2, Date.now.timeIntervalSince1970)
          }
        }
      ], step: 0)
    try file.synchronize()
  }

  // MARK: - Events

  private func append(_ make: (inout ProtocolBuffer) -> Void) throws(RunDirectoryError) {
    var event = ProtocolBuffer()
    event.put(1, Date.now.timeIntervalSince1970)  // wall_time
    make(&event)
    try file.append(TFRecord.bytes(of: event.bytes))
  }

  private func append(summary values: [ProtocolBuffer], step: Int) throws(RunDirectoryError) {
    try append { event in
      event.put(2, step)
      event.put(5) { summary in
        for value in values { summary.put(1, bytes: value.bytes) }
      }
    }
  }

  /// What belongs to the plugin for settings: its content is metadata, its value the number 0.
  private func plugin(_ tag: String, _ content: (inout ProtocolBuffer) -> Void) -> ProtocolBuffer {
    var (data, message) = (ProtocolBuffer(), ProtocolBuffer())
    content(&data)
    message.put(1, tag)
    message.put(8) { tensor in
      tensor.put(1, 1)  // dtype: DT_FLOAT
      tensor.put(2) { $0.put(2) { $0.put(1, 1) } }  // tensor_shape: one dimension of size 1
      tensor.put(5, Float(0))  // float_val
    }
    message.put(9) { metadata in
      metadata.put(1) {  // plugin_data
        $0.put(1, "hparams")
        $0.put(2, bytes: data.bytes)
      }
    }
    return message
  }

  // MARK: - Settings

  /// A value of google.protobuf.Value.
  enum Setting: Equatable {
    case number(Double)
    case text(String)
    case truth(Bool)

    func write(to message: inout ProtocolBuffer) {
      switch self {
      case .number(let number): message.put(2, number)
      case .text(let text): message.put(3, text)
      case .truth(let truth): message.put(4, truth ? 1 : 0)
      }
    }
  }

  /// The settings of an experiment that say how it learns, by their paths; those that say what are left out.
  private func settings(of yaml: String) -> [(name: String, value: Setting)] {
    guard let tree = try? SettingsTree(yaml: yaml, name: "experiment") else { return [] }
    let task: Set = [
      "task", "description", "system", "conditions", "cost", "success", "termination",
    ]
    var settings: [(name: String, value: Setting)] = []
    func visit(_ tree: SettingsTree, _ path: String) {
      switch tree.content {
      case .null: break
      case .plain(let word):
        let value: Setting =
          switch word {
          case "true", "false": .truth(word == "true")
          default: Double(word).map { .number($0) } ?? .text(word)
          }
        settings.append((path, value))
      case .quoted(let text): settings.append((path, .text(text)))
      case .list(let items):
        let words = items.compactMap { item in
          if case .plain(let word) = item.content { word } else { nil }
        }
        if words.count == items.count {
          settings.append((path, .text(words.joined(separator: ", "))))
        }
      case .mapping(let entries):
        for entry in entries where !(path.isEmpty && task.contains(entry.key)) {
          visit(entry.value, path.isEmpty ? entry.key : "\(path).\(entry.key)")
        }
      }
    }
    visit(tree, "")
    return settings
  }

  // MARK: - Pictures

  /// The states of the policy's rollouts over time, or of the training rollouts where there is no policy: a panel for
  /// each of the first states, a line for each rollout, a colour for each condition.
  private func picture(of report: Report) -> Raster? {
    let groups =
      report.policy.map { $0.entries.map { $0.batch.trajectories } }
      ?? report.conditions.map { $0.batch.trajectories }
    let panels = min(signals.stateNames.count, Self.mostPanels)
    guard panels > 0, groups.contains(where: { !$0.isEmpty }) else { return nil }
    let rows = (panels + 1) / 2
    var picture = Raster(
      width: panels > 1 ? 2 * Self.panelWidth : Self.panelWidth, height: rows * Self.panelHeight)
    for state in 0..<panels {
      picture.put(
        panel(of: state, groups), x: state % 2 * Self.panelWidth, y: state / 2 * Self.panelHeight)
    }
    return picture
  }

  private func panel(of state: Int, _ groups: [[Trajectory]]) -> Raster {
    var panel = Raster(width: Self.panelWidth, height: Self.panelHeight)
    let grey = Raster.Colour(90, 90, 90)
    let values = groups.joined().flatMap { trajectory in
      (0...trajectory.horizon).map { trajectory.states[state, $0] }
    }
    let low = values.min() ?? 0
    let span = max((values.max() ?? 0) - low, 1e-9 * max(abs(low), 1e-9))
    let (left, top) = (8.0, 16.0)
    let (width, height) = (Double(Self.panelWidth) - 2 * left, Double(Self.panelHeight) - top - 8)
    panel.rectangle(x: left..<left + width, y: top + height..<top + height + 1, grey)
    let range = "\(text(low)) to \(text(low + span))"
    panel.write(signals.stateNames[state], x: Int(left), y: 4, grey)
    panel.write(range, x: Self.panelWidth - Int(left) - Raster.width(of: range), y: 4, grey)
    for (condition, trajectories) in groups.enumerated() {
      let colour = Self.colours[condition % Self.colours.count]
      for trajectory in trajectories {
        let steps = max(1, trajectory.horizon)
        func point(_ step: Int) -> SIMD2<Double> {
          SIMD2(
            left + width * Double(step) / Double(steps),
            top + height * (1 - (trajectory.states[state, step] - low) / span))
        }
        // No more segments than pixels.
        let stride = max(1, trajectory.horizon / Self.panelWidth)
        var (step, last) = (0, point(0))
        while step < trajectory.horizon {
          step = min(step + stride, trajectory.horizon)
          let next = point(step)
          panel.line(last, next, colour)
          last = next
        }
      }
    }
    return panel
  }

  private func text(_ value: Double) -> String { String(format: "%.3g", value) }

  /// Okabe and Ito's colours, which the colour-blind can tell apart.
  private static let colours: [Raster.Colour] = [
    Raster.Colour(0, 114, 178), Raster.Colour(230, 159, 0), Raster.Colour(0, 158, 115),
    Raster.Colour(204, 121, 167), Raster.Colour(86, 180, 233), Raster.Colour(213, 94, 0),
    Raster.Colour(34, 34, 34),
  ]
}
