/// The architecture of a network as a value: ops, what each is fed with, and shapes. It holds no
/// parameters.
///
/// Values are numbered: 0 is the network's input, every op appended makes the next one, and the last is
/// the network's output.
///
/// ```swift
/// var network = Network(inputs: 6)
/// var hidden = network.append(.dense(outputs: 32), to: network.input)
/// hidden = network.append(.layerNorm(), to: hidden)
/// hidden = network.append(.activation(.silu), to: hidden)
/// let both = network.append(.concatenation, to: [hidden, network.input])
/// network.append(.dense(outputs: 2), to: both)
/// ```
public struct Network: Sendable, Equatable {
  /// An op and what it is fed with.
  public struct Node: Sendable, Equatable {
    /// What is computed.
    public let op: Op
    /// The numbers of the values it is computed from.
    public let inputs: [Int]
    /// Numbers in its output.
    public let outputs: Int
    /// Rows of its parameters, each as long as the output.
    public let parameterRows: Int
  }

  /// Numbers in the input.
  public let inputs: Int
  /// The ops, each after those it is fed from.
  public private(set) var nodes: [Node] = []
  /// How the kernels go through it.
  package private(set) var plan: Plan

  /// A network whose output is its input.
  public init(inputs: Int) {
    precondition(inputs > 0, "no network has \(inputs) inputs")
    self.inputs = inputs
    plan = Plan(inputs: inputs, nodes: [])
  }

  /// A multilayer perceptron: dense layers with an activation between each two.
  ///
  /// - Parameters:
  ///   - layerSizes: numbers in the input, in each hidden layer and in the output.
  ///   - activation: the hidden units' function; the output is linear.
  public init(layerSizes: [Int], activation: Activation) {
    precondition(
      layerSizes.count >= 2 && layerSizes.allSatisfy { $0 > 0 },
      "no network has layers of \(layerSizes) units")
    inputs = layerSizes[0]
    for (layer, outputs) in layerSizes.enumerated().dropFirst() {
      let dense = Node(
        op: .dense(outputs: outputs), inputs: [nodes.count], outputs: outputs,
        parameterRows: layerSizes[layer - 1] + 1)
      nodes.append(dense)
      if layer < layerSizes.count - 1 {
        nodes.append(
          Node(
            op: .activation(activation), inputs: [nodes.count], outputs: outputs, parameterRows: 0))
      }
    }
    plan = Plan(inputs: inputs, nodes: nodes)
  }

  /// Compares architectures; the plan follows from them.
  public static func == (a: Network, b: Network) -> Bool {
    a.inputs == b.inputs && a.nodes == b.nodes
  }

  /// The number of the network's input among the values.
  public var input: Int { 0 }
  /// Numbers in the output.
  public var outputs: Int { width(of: nodes.count) }
  /// How many parameters there are, padding aside.
  public var parameterCount: Int { nodes.reduce(0) { $0 + $1.parameterRows * $1.outputs } }

  /// Numbers in a value.
  public func width(of value: Int) -> Int {
    precondition(
      (0...nodes.count).contains(value), "value \(value) of a network of \(nodes.count) ops")
    return value == 0 ? inputs : nodes[value - 1].outputs
  }

  /// Appends an op.
  ///
  /// - Parameters:
  ///   - op: what to compute.
  ///   - values: the numbers of the values it is computed from; all ops but the concatenation take one.
  /// - Returns: the number of its output among the values.
  @discardableResult
  public mutating func append(_ op: Op, to values: [Int]) -> Int {
    let widths = values.map(width)
    let formulas = op.formulas
    nodes.append(
      Node(
        op: op, inputs: values, outputs: formulas.outputs(of: widths),
        parameterRows: formulas.parameterRows(of: widths)))
    plan = Plan(inputs: inputs, nodes: nodes)
    return nodes.count
  }

  /// Appends an op to one value.
  @discardableResult
  public mutating func append(_ op: Op, to value: Int) -> Int { append(op, to: [value]) }
}
