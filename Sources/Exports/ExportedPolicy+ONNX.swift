import Configuration
import GPSCore
import GlobalPolicy

/// The numbers of fields and of enumerations' members are those of onnx.proto
/// (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
extension ExportedPolicy {
  /// The numbers that an exported policy computes with.
  public enum Precision: Int, Sendable {
    /// Eight bytes: equal to the policy itself but for the roundings of its network, which is in single precision.
    case double = 11
    /// Four bytes, for runtimes that have no others.
    case single = 1
  }

  /// An ONNX model of operator set 17: `observation` (N × o) to `action` (N × m), in the task's own units and order.
  ///
  /// - Parameter precision: of inputs, outputs and all between.
  /// - Returns: the file's bytes.
  public func onnx(_ precision: Precision = .double) -> [UInt8] {
    var graph = Graph(precision: precision)
    let sizes = policy.network.layerSizes
    graph.add("observation.mean", policy.observationWhitening.mean)
    graph.add("observation.deviation", policy.observationWhitening.deviation)
    var value = graph.node("Sub", ["observation", "observation.mean"], "centred")
    value = graph.node("Div", [value, "observation.deviation"], "whitened")
    for layer in 0..<layerCount {
      let (weights, biases) = ("layers.\(layer).weights", "layers.\(layer).biases")
      graph.add(
        weights, self.weights(ofLayer: layer).map { Double($0) },
        shape: [sizes[layer + 1], sizes[layer]])
      graph.add(biases, self.biases(ofLayer: layer).map { Double($0) })
      value = graph.node("Gemm", [value, weights, biases], "layers.\(layer).sum", ("transB", 1))
      if layer == layerCount - 1 { break }
      let (sum, output) = (value, "layers.\(layer).output")
      switch policy.options.activation {
      case .relu: value = graph.node("Relu", [sum], output)
      case .tanh: value = graph.node("Tanh", [sum], output)
      case .softplus:
        // max(z, 0) + log(1 + exp(−|z|)): ONNX Runtime has its own Softplus in single precision alone.
        let name = "layers.\(layer)."
        graph.add(name + "one", [1])
        var tail = graph.node("Abs", [sum], name + "size")
        tail = graph.node("Neg", [tail], name + "negative")
        tail = graph.node("Exp", [tail], name + "exponential")
        tail = graph.node("Add", [tail, name + "one"], name + "above.one")
        tail = graph.node("Log", [tail], name + "logarithm")
        let positive = graph.node("Relu", [sum], name + "positive")
        value = graph.node("Add", [positive, tail], output)
      case .silu:
        let gate = graph.node("Sigmoid", [sum], "layers.\(layer).gate")
        value = graph.node("Mul", [sum, gate], output)
      }
    }
    graph.add("control.deviation", policy.controlScaling.deviation)
    graph.add("control.mean", policy.controlScaling.mean)
    value = graph.node("Mul", [value, "control.deviation"], "scaled")
    value = graph.node("Add", [value, "control.mean"], limits == nil ? "action" : "unlimited")
    if let limits {
      graph.add("control.lower", limits.lower)
      graph.add("control.upper", limits.upper)
      value = graph.node("Max", [value, "control.lower"], "limited.below")
      _ = graph.node("Min", [value, "control.upper"], "action")
    }

    var model = ProtocolBuffer()
    model.put(1, 8)  // ir_version: that of ONNX 1.12, which brought operator set 17
    model.put(2, "gps")  // producer_name
    model.put(3, ProgramVersion.current)  // producer_version
    model.put(
      6, "The policy of \"\(task)\": observation in, action out, in the task's own units and order."
    )
    model.put(7) {  // graph
      graph.write(
        to: &$0, named: task.isEmpty ? "policy" : task,
        inputs: [("observation", policy.observation)],
        outputs: [("action", policy.control)])
    }
    model.put(8) {  // opset_import
      $0.put(1, "")
      $0.put(2, 17)
    }
    var facts = [
      ("task", task), ("control_period_s", shortest(controlPeriod)),
      ("control_names", controlNames.joined(separator: "\n")),
    ]
    if !observationNames.isEmpty {
      facts.append(("observation_names", observationNames.joined(separator: "\n")))
    }
    for (key, text) in facts {
      model.put(14) {  // metadata_props
        $0.put(1, key)
        $0.put(2, text)
      }
    }
    return model.bytes
  }

  private struct Graph {
    let precision: Precision
    private var nodes: [[UInt8]] = []
    private var initializers: [[UInt8]] = []

    init(precision: Precision) { self.precision = precision }

    /// A constant array; a vector without a shape.
    mutating func add(_ name: String, _ values: [Double], shape: [Int]? = nil) {
      let shape = shape ?? [values.count]
      let array =
        precision == .double
        ? Safetensors.Tensor(values, shape: shape)
        : Safetensors.Tensor(values.map { Float($0) }, shape: shape)
      var tensor = ProtocolBuffer()
      for extent in shape { tensor.put(1, extent) }  // dims
      tensor.put(2, precision.rawValue)  // data_type
      tensor.put(8, name)
      tensor.put(9, bytes: array.bytes)  // raw_data, little-endian
      initializers.append(tensor.bytes)
    }

    /// An operation.
    ///
    /// - Returns: the name of its output, which is the node's own too.
    mutating func node(
      _ operation: String, _ inputs: [String], _ output: String,
      _ attribute: (name: String, value: Int)? = nil
    ) -> String {
      var node = ProtocolBuffer()
      for input in inputs { node.put(1, input) }
      node.put(2, output)
      node.put(3, output)  // name
      node.put(4, operation)  // op_type
      if let attribute {
        node.put(5) {
          $0.put(1, attribute.name)
          $0.put(3, attribute.value)  // i
          $0.put(20, 2)  // type: INT
        }
      }
      nodes.append(node.bytes)
      return output
    }

    func write(
      to message: inout ProtocolBuffer, named name: String, inputs: [(String, Int)],
      outputs: [(String, Int)]
    ) {
      for node in nodes { message.put(1, bytes: node) }
      message.put(2, name)
      for initializer in initializers { message.put(5, bytes: initializer) }
      for (field, values) in [(11, inputs), (12, outputs)] {
        for (name, width) in values {
          message.put(field) { value in
            value.put(1, name)
            value.put(2) { type in  // type
              type.put(1) { tensor in  // tensor_type
                tensor.put(1, precision.rawValue)
                tensor.put(2) { shape in
                  shape.put(1) { $0.put(2, "N") }  // dim_param
                  shape.put(1) { $0.put(1, width) }  // dim_value
                }
              }
            }
          }
        }
      }
    }
  }
}
