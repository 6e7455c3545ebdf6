package import Configuration
public import GPSCore
public import Networks

/// Size and kind of the policy's network.
public struct NetworkOptions: Codable, Sendable, Equatable {
  /// A unit's function of its weighted input z.
  public typealias Activation = Networks.Activation
  /// How initial weights are drawn; initial biases are zero.
  public typealias Initialization = Networks.Initialization

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
  public func validated() throws(InvalidOption) -> NetworkOptions { try checked() }
}

extension Activation: Setting {}
extension Initialization: Setting {}

extension NetworkOptions: Configurable {
  package static let schema = Schema<Self>(Self()) {
    Field(
      "hiddenLayers", \.hiddenLayers, "Units of each hidden layer; none makes the policy affine.")
    Field("activation", \.activation, "The hidden units' function.")
    Field("initialization", \.initialization, "How initial weights are drawn.")
    Field(
      "deviationFloor", \.deviationFloor, .above(0),
      "Observations are divided by their deviation, but by no less than this share of their largest magnitude."
    )
  } rule: { options throws(InvalidOption) in
    for (index, units) in options.hiddenLayers.enumerated() {
      try Check.between(1, 65536).require(units, "hiddenLayers.\(index)")
    }
    // Training keeps nine numbers per weight.
    let weights = zip(options.hiddenLayers, options.hiddenLayers.dropFirst()).reduce(0.0) {
      $0 + Double($1.0) * Double($1.1)
    }
    try InvalidOption.require(
      options.hiddenLayers.count <= 100 && weights <= 1e8, "hiddenLayers", options.hiddenLayers,
      "at most 100 layers with 1e8 weights between them")
  }
}
