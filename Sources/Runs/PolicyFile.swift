import Configuration
public import Foundation
public import GPSCore

/// A trained policy in a file of its own: `policy.safetensors`.
///
/// Arrays (row-major): `layers.<i>.weights` (outputs × inputs) and `layers.<i>.biases` in single
/// precision; `observation.mean`, `observation.deviation`, `control.mean`, `control.deviation`,
/// `covariance`, `covariance_factor` and `precision` in double precision. The action for an
/// observation o is
///
///     a = (o − observation.mean) / observation.deviation
///     a = activation(W_i a + b_i) for every layer but the last, which has no activation
///     u = control.mean + control.deviation · a
///
/// The header's texts give format, version, layer sizes, activation, the task and the experiment.
public struct PolicyFile<Actor: Policy & Storable>: Sendable {
  /// The policy.
  public var policy: Actor
  /// The experiment's name.
  public var task: String
  /// The effective experiment, as YAML.
  public var experiment: String

  /// A policy and where it comes from.
  public init(policy: Actor, task: String, experiment: String) {
    self.policy = policy
    self.task = task
    self.experiment = experiment
  }

  /// The file.
  public var safetensors: Safetensors {
    var writer = ValueWriter()
    writer.put("format", text: PolicyFileFormat.name)
    writer.put("version", text: PolicyFileFormat.version)
    writer.put("program", text: ProgramVersion.current)
    writer.put("task", text: task)
    writer.put("experiment", text: experiment)
    policy.store(in: &writer)
    return writer.file
  }

  /// Reads a policy file, or the policy in a checkpoint.
  ///
  /// - Throws: `PolicyFileError`.
  public init(contentsOf url: URL) throws(PolicyFileError) {
    do {
      let bytes = try Safetensors.bytes(ofFile: url.path)
      let file = try Safetensors(bytes: bytes)
      if file.metadata["format"] == CheckpointFormat.name {
        let reader = ValueReader(try Safetensors(sealed: bytes))
        guard let policy: Actor = try reader.ifPresent("policy") else {
          throw StoredValueError("this checkpoint holds no policy")
        }
        self.init(
          policy: policy, task: try reader.text("task"),
          experiment: try reader.text("experiment"))
      } else {
        try self.init(file)
      }
    } catch let error as FileProblem {
      throw .unreadable(path: url.path, reason: "\(error)")
    } catch {
      throw .invalid(path: url.path, reason: "\(error)")
    }
  }

  /// Takes a policy out of a file's contents.
  ///
  /// - Throws: `StoredValueError` when something is missing or does not fit.
  public init(_ file: Safetensors) throws(StoredValueError) {
    let reader = ValueReader(file)
    if try reader.text("format") != PolicyFileFormat.name {
      throw StoredValueError("it is not a policy file")
    }
    let version = try reader.text("version")
    if version != PolicyFileFormat.version {
      throw StoredValueError(
        "it is of version \(abbreviated(version)), not \(PolicyFileFormat.version)")
    }
    self.init(
      policy: try Actor(stored: reader), task: try reader.text("task"),
      experiment: try reader.text("experiment"))
  }
}

private enum PolicyFileFormat {
  static let name = "gps-policy"
  static let version = "1"
}

/// The experiment that a policy file, or a checkpoint, says it belongs to, as YAML.
///
/// - Throws: `PolicyFileError`.
public func storedExperiment(at url: URL) throws(PolicyFileError) -> String {
  do {
    let file = try Safetensors(bytes: Safetensors.bytes(ofFile: url.path))
    let format = file.metadata["format"]
    if format != PolicyFileFormat.name && format != CheckpointFormat.name {
      throw StoredValueError("it is not a policy file")
    }
    return try ValueReader(file).text("experiment")
  } catch let error as FileProblem {
    throw .unreadable(path: url.path, reason: "\(error)")
  } catch {
    throw .invalid(path: url.path, reason: "\(error)")
  }
}

/// Why a policy file cannot be used.
public enum PolicyFileError: Error, Sendable, Equatable, CustomStringConvertible {
  /// It cannot be opened.
  case unreadable(path: String, reason: String)
  /// It is not a policy.
  case invalid(path: String, reason: String)

  /// One sentence for people.
  public var description: String {
    switch self {
    case .unreadable(let path, let reason): "cannot read \(path): \(reason)"
    case .invalid(let path, let reason): "\(path): \(reason)"
    }
  }
}
