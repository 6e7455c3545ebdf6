public import Foundation
import GPSCore
import Sim
import Starts

extension LoadedExperiment {
  /// What the model was compiled from; nil for native systems.
  private var modelFiles: MuJoCoModelFiles? {
    task.underlying(MuJoCoTask.self)?.interface.model.files
  }

  /// The experiment as a run directory keeps it, so that it can be evaluated and resumed wherever it is
  /// moved: it names the copy of the model there.
  public var archivedYAML: String { archivedExperiment.yaml }

  /// The experiment as a run directory keeps it.
  var archivedExperiment: Experiment {
    var copy = experiment
    if let name = demonstrationsCopy {
      copy.initialController = experiment.initialController.reading(name)
    }
    // The program is where it was, wherever the run is moved to.
    if let program = task.underlying(ProcessTask.self)?.system.program {
      copy.system = copy.system.placed(in: program.folder)
    }
    guard let modelFiles, var settings = experiment.system.mujoco else { return copy }
    settings.model = modelFiles.copiedMain
    copy.system = .mujoco(settings)
    return copy
  }

  /// All files that the model was compiled from, below `model/`, and `model.json`, which lists them; and the
  /// initial controllers' demonstrations.
  public var attachments: [String: Data] {
    var files = modelFiles?.copy ?? [:]
    if let name = demonstrationsCopy { files[name] = demonstrations }
    return files
  }

  /// What the copy of the demonstrations is called; nil if there are none.
  private var demonstrationsCopy: String? {
    guard demonstrations != nil, let file = experiment.initialController.file else { return nil }
    return "demonstrations" + (file.hasSuffix(".safetensors") ? ".safetensors" : ".csv")
  }

  /// For each file that the model was compiled from, that with the model first, a line with the checksum of
  /// its contents in hexadecimal and its name; empty for native systems.
  public var modelIdentity: String { modelFiles?.identity ?? "" }

  /// All that was read for it: the experiment file, the files of the model, demonstrations, and the file with
  /// the conditions of a trial.
  public var inputs: [String] {
    (file.map { [$0.path] } ?? []) + furtherInputs
      + (modelFiles.map { files in files.contents.keys.sorted().map { files.folder + "/" + $0 } }
        ?? [])
  }

  /// What is worth saying when a run begins or goes on: why nothing was searched where that was left to the task, what
  /// was added to the state, what MuJoCo warns of, and that the model has changed since where the run began, which goes
  /// on with its own copy.
  public var remarks: [String] {
    let starts =
      start.why.flatMap { start.made.takesSearch ? nil : "initialController is constant: \($0)" }
      .map { [$0] } ?? []
    if let process = task.underlying(ProcessTask.self) { return starts + process.remarks }
    guard let interface = task.underlying(MuJoCoTask.self)?.interface else { return starts }
    let remarks = starts + interface.remarks + interface.warnings(in: task.conditions)
    let files = interface.model.files
    let changed = files.changedSinceCopied
    guard let first = changed.first else { return remarks }
    let others = changed.count > 1 ? " and \(changed.count - 1) more" : ""
    return remarks + [
      "the model has changed since in \(files.origin) ('\(first)'\(others)); the run goes on with "
        + "its own copy of it"
    ]
  }
}
