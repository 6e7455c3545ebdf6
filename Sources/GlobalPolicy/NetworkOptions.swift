public import GPSCore

/// Size and kind of the policy's network.
public struct NetworkOptions: Codable, Sendable, Equatable {
  /// A unit's function of its weighted input z.
  public enum Activation: String, Codable, Sendable, CaseIterable {
    /// max(z, 0).
    case relu
    /// tanh z.
    case tanh
    /// log(1 + exp z).
    case softplus
    /// z / (1 + exp(−z)).
    case silu
  }

  /// How initial weights are drawn; initial biases are zero.
  public enum Initialization: String, Codable, Sendable, CaseIterable {
    /// Normal with variance 2 / inputs (He et al. 2015), made for ReLU.
    case he
    /// Uniform with variance 2 / (inputs + outputs) (Glorot and Bengio 2010), made for tanh.
    case glorot
  }

  /// Units of each hidden layer, from the observation's side; none makes the policy affine.
  public var hiddenLayers: [Int] = [42, 42]
  /// The hidden units' function; the output layer is linear.
  public var activation: Activation = .relu
  /// How initial weights are drawn.
  public var initialization: Initialization = .he
  /// Each number of the observation is divided by its deviation, but by no less than this share of its
  /// largest magnitude, so that one that hardly moves is not blown up. A share has no unit: a length in
  /// kilometres is whitened as the same length in millimetres. With 1 the deviation matters no more and
  /// numbers are divided by their largest magnitude.
  public var deviationFloor = 1e-3

  /// The defaults: 42-42 ReLU units, as in the mirror-descent paper's experiments.
  public init() {}

  /// These options, if every one makes sense.
  ///
  /// - Throws: `InvalidOption` naming the key, the value and what is allowed.
  public func validated() throws(InvalidOption) -> NetworkOptions {
    for (index, units) in hiddenLayers.enumerated() {
      try InvalidOption.require(
        (1...65536).contains(units), "hiddenLayers.\(index)", units, "between 1 and 65536")
    }
    // Training keeps nine numbers per weight.
    let weights = zip(hiddenLayers, hiddenLayers.dropFirst()).reduce(0.0) {
      $0 + Double($1.0) * Double($1.1)
    }
    try InvalidOption.require(
      hiddenLayers.count <= 100 && weights <= 1e8, "hiddenLayers", hiddenLayers,
      "at most 100 layers with 1e8 weights between them")
    try InvalidOption.require(
      deviationFloor > 0 && deviationFloor.isFinite, "deviationFloor", deviationFloor,
      "a positive number")
    return self
  }

  /// Options from a keyed container; a key left out takes its default.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    try values.read(.hiddenLayers, &hiddenLayers)
    try values.read(.activation, &activation)
    try values.read(.initialization, &initialization)
    try values.read(.deviationFloor, &deviationFloor)
  }
}

extension KeyedDecodingContainer {
  /// Sets `target` to the value of a key; a key left out leaves it as it is.
  func read<Value: Decodable>(_ key: Key, _ target: inout Value) throws {
    if let value = try decodeIfPresent(Value.self, forKey: key) { target = value }
  }
}
