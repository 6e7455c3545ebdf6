public import Foundation
public import GlobalPolicy

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
public struct PolicyFile: Sendable {
  /// The policy.
  public var policy: NeuralPolicy
  /// The experiment's name.
  public var task: String
  /// The effective experiment, as YAML.
  public var experiment: String

  static let format = "gps-policy"
  static let version = "1"

  /// A policy and where it comes from.
  public init(policy: NeuralPolicy, task: String, experiment: String) {
    self.policy = policy
    self.task = task
    self.experiment = experiment
  }

  /// The file.
  public var safetensors: Safetensors {
    var writer = ValueWriter()
    writer.put("format", text: Self.format)
    writer.put("version", text: Self.version)
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
    let data: Data
    do {
      data = try Data(contentsOf: url)
    } catch {
      throw .unreadable(path: url.path, reason: plainReason(error))
    }
    do {
      let file = try Safetensors(bytes: Array(data))
      if file.metadata["format"] == Checkpoint.format {
        let checkpoint = try Checkpoint(bytes: Array(data))
        guard let policy = checkpoint.state.policy else {
          throw StoredValueError("this checkpoint holds no policy")
        }
        self.init(policy: policy, task: checkpoint.task, experiment: checkpoint.experiment)
      } else {
        try self.init(file)
      }
    } catch let error as StoredValueError {
      throw .invalid(path: url.path, reason: error.reason)
    } catch {
      throw .invalid(path: url.path, reason: "\(error)")
    }
  }

  /// Takes a policy out of a file's contents.
  ///
  /// - Throws: `GlobalPolicyError.corruptNetwork` when something is missing or does not fit.
  public init(_ file: Safetensors) throws(GlobalPolicyError) {
    do throws(StoredValueError) {
      let reader = ValueReader(file)
      if try reader.text("format") != Self.format {
        throw StoredValueError("it is not a policy file")
      }
      let version = try reader.text("version")
      if version != Self.version {
        throw StoredValueError("it is of version \(abbreviated(version)), not \(Self.version)")
      }
      self.init(
        policy: try NeuralPolicy(stored: reader), task: try reader.text("task"),
        experiment: try reader.text("experiment"))
    } catch {
      throw .corruptNetwork(error.reason)
    }
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
