public import Foundation
import GPSCore
public import GlobalPolicy
import LinearAlgebra

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
    var file = Safetensors(metadata: [
      "format": Self.format, "version": Self.version, "program": ProgramVersion.current,
      "task": task, "experiment": experiment,
      "layer_sizes": policy.network.layerSizes.map(String.init).joined(separator: ","),
      "activation": policy.options.activation.rawValue,
      "initialization": policy.options.initialization.rawValue,
      "deviation_floor": shortest(policy.options.deviationFloor),
    ])
    for layer in 0..<(policy.network.layerSizes.count - 1) {
      let weights = policy.network.weights(ofLayer: layer)
      file.tensors["layers.\(layer).weights"] = Safetensors.Tensor(
        rowMajor(weights).map(Float.init), shape: [weights.rows, weights.columns])
      let biases = policy.network.biases(ofLayer: layer)
      file.tensors["layers.\(layer).biases"] = Safetensors.Tensor(
        biases.map { Float($0) }, shape: [biases.count])
    }
    for (name, values) in [
      ("observation.mean", policy.observationWhitening.mean),
      ("observation.deviation", policy.observationWhitening.deviation),
      ("control.mean", policy.controlScaling.mean),
      ("control.deviation", policy.controlScaling.deviation),
    ] {
      file.tensors[name] = Safetensors.Tensor(values, shape: [values.count])
    }
    for (name, matrix) in [
      ("covariance", policy.covariance), ("covariance_factor", policy.covarianceFactor),
      ("precision", policy.precision),
    ] {
      file.tensors[name] = Safetensors.Tensor(
        rowMajor(matrix), shape: [matrix.rows, matrix.columns])
    }
    return file
  }

  /// Reads a policy file.
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
      try self.init(Safetensors(bytes: Array(data)))
    } catch {
      throw .invalid(path: url.path, reason: "\(error)")
    }
  }

  /// Takes a policy out of a file's contents.
  ///
  /// - Throws: `GlobalPolicyError.corruptNetwork` when something is missing or does not fit.
  public init(_ file: Safetensors) throws(GlobalPolicyError) {
    func text(_ key: String) throws(GlobalPolicyError) -> String {
      guard let text = file.metadata[key] else {
        throw .corruptNetwork("its header lacks \"\(key)\"")
      }
      return text
    }
    func tensor(_ name: String, _ shape: [Int]) throws(GlobalPolicyError) -> Safetensors.Tensor {
      guard let tensor = file.tensors[name] else {
        throw .corruptNetwork("the array \"\(name)\" is missing")
      }
      if tensor.shape != shape {
        throw .corruptNetwork("\"\(name)\" has shape \(tensor.shape), not \(shape)")
      }
      return tensor
    }
    func numbers(_ name: String, _ shape: [Int]) throws(GlobalPolicyError) -> [Double] {
      let tensor = try tensor(name, shape)
      guard let numbers = tensor.doubles ?? tensor.floats?.map(Double.init) else {
        throw .corruptNetwork("\"\(name)\" does not hold floating-point numbers")
      }
      return numbers
    }
    func matrix(_ name: String, _ rows: Int, _ columns: Int) throws(GlobalPolicyError) -> Matrix {
      let numbers = try numbers(name, [rows, columns])
      var matrix = Matrix(rows: rows, columns: columns)
      for i in 0..<rows { for j in 0..<columns { matrix[i, j] = numbers[i * columns + j] } }
      return matrix
    }
    if try text("format") != Self.format { throw .corruptNetwork("it is not a policy file") }
    if try text("version") != Self.version {
      throw .corruptNetwork("it is of version \(abbreviated(try text("version"))), not 1")
    }
    let sizes = try text("layer_sizes").split(separator: ",").map { Int($0) ?? 0 }
    guard sizes.count >= 2, sizes.count <= 100, sizes.allSatisfy({ (1...65536).contains($0) })
    else { throw .corruptNetwork("its layer sizes are not usable") }
    var options = NetworkOptions()
    options.hiddenLayers = Array(sizes[1..<sizes.count - 1])
    guard let activation = NetworkOptions.Activation(rawValue: try text("activation")),
      let initialization = NetworkOptions.Initialization(rawValue: try text("initialization")),
      let floor = Double(try text("deviation_floor")), floor.isFinite, floor > 0
    else { throw .corruptNetwork("its activation or initialization is unknown") }
    options.activation = activation
    options.initialization = initialization
    options.deviationFloor = floor
    var layers: [(weights: Matrix, biases: [Double])] = []
    for layer in 0..<sizes.count - 1 {
      layers.append(
        (
          try matrix("layers.\(layer).weights", sizes[layer + 1], sizes[layer]),
          try numbers("layers.\(layer).biases", [sizes[layer + 1]])
        ))
    }
    let (o, m) = (sizes[0], sizes[sizes.count - 1])
    policy = try NeuralPolicy(
      options: options, layers: layers,
      observationMean: try numbers("observation.mean", [o]),
      observationDeviation: try numbers("observation.deviation", [o]),
      controlMean: try numbers("control.mean", [m]),
      controlDeviation: try numbers("control.deviation", [m]),
      covariance: try matrix("covariance", m, m),
      covarianceFactor: try matrix("covariance_factor", m, m),
      precision: try matrix("precision", m, m))
    task = try text("task")
    experiment = try text("experiment")
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

private func rowMajor(_ matrix: Matrix) -> [Double] {
  (0..<matrix.rows).flatMap { i in (0..<matrix.columns).map { matrix[i, $0] } }
}
