public import Foundation
import Sim

extension LoadedExperiment {
  /// What the model was compiled from; nil for native systems.
  private var modelFiles: MuJoCoModelFiles? { (task as? MuJoCoTask)?.interface.model.files }

  /// The experiment as a run directory keeps it, so that it can be evaluated and resumed wherever it is
  /// moved: it names the copy of the model there.
  public var archivedYAML: String { archivedExperiment.yaml }

  /// The experiment as a run directory keeps it.
  var archivedExperiment: Experiment {
    guard let modelFiles, var settings = experiment.system.mujoco else { return experiment }
    var copy = experiment
    settings.model = modelFiles.copiedMain
    copy.system = .mujoco(settings)
    return copy
  }

  /// All files that the model was compiled from, below `model/`, and `model.json`, which lists them.
  public var attachments: [String: Data] { modelFiles?.copy ?? [:] }

  /// For each file that the model was compiled from, that with the model first, a line with the checksum of
  /// its contents in hexadecimal and its name; empty for native systems.
  public var modelIdentity: String { modelFiles?.identity ?? "" }

  /// That the model has changed since where the run began, which goes on with its own copy.
  public var remarks: [String] {
    guard let modelFiles else { return [] }
    let changed = modelFiles.changedSinceCopied
    guard let first = changed.first else { return [] }
    let others = changed.count > 1 ? " and \(changed.count - 1) more" : ""
    return [
      "the model has changed since in \(modelFiles.origin) ('\(first)'\(others)); the run goes on with "
        + "its own copy of it"
    ]
  }
}
