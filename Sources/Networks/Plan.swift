// How the kernels go through a network. A dense op and the activation behind it, where nobody else looks
// at what stands between them, are one step; every other op is a step of its own.
//
//   symbol   meaning                                                       shape
//   b        samples that pass together
//   a_v      value v of such samples (0: the network's input)              b × width'_v
//   d_v      derivative of the loss by value v; before the activation      b × width'_v
//            where value v is a dense step's
//   V_s      transpose of dense step s's W, where somebody below needs it  O × I'
//
// (' marks padding to a multiple of 16.) Parameters: step after step, one row of outputs' floats per row.

import CNeuralKernels

typealias Buffer = UnsafeMutablePointer<Float>

/// A network as a list of kernel calls. All copies of a network share one, so that a policy is a small
/// value that is cheap to call.
package final class Plan: Sendable {
  enum Kind: Sendable { case dense, activation, layerNorm, concatenation }

  /// One step. Trivial, so that going through a plan counts no references.
  package struct Step: Sendable, Equatable {
    let kind: Kind
    /// Which of the plan's sources it is fed with.
    let sources: Range<Int>
    /// The value that it makes.
    var output: Int
    /// Numbers in its first input, and in its output.
    let inputs, outputs: Int
    let inputsPadded, outputsPadded: Int
    /// Where its first input and its output are among the values of one sample.
    let from, to: Int
    /// Rows of its parameters, of `outputsPadded` floats each, and where they begin.
    let rows, offset: Int
    /// The kernels' name of the activation.
    var activation = Int32(NK_IDENTITY.rawValue)
    var epsilon: Float = 0

    /// Where a dense step's biases begin.
    var biases: Int { offset + inputs * outputsPadded }
    /// How many of the rows, from the first, weight decay applies to.
    var decaying: Int { kind == .dense ? inputs : 0 }
    /// Floats per sample beside the output that the way back needs.
    var extra: Int {
      switch kind {
      case .dense, .activation: outputsPadded
      case .layerNorm: outputsPadded + 1
      case .concatenation: 0
      }
    }
  }

  struct Value: Sendable, Equatable {
    let width, padded: Int
    /// Floats of one sample's values before this one.
    let offset: Int
    /// The activation of the dense step that makes it, or the identity.
    var activation = Int32(NK_IDENTITY.rawValue)
    /// The step that makes it; −1 for the network's input.
    let producer: Int
    /// Whether the step above multiplies its derivative by the activation's slope.
    var isSlopedAbove = false
  }

  /// An input of a step.
  struct Source: Sendable, Equatable {
    let value: Int
    /// Where it begins in a concatenation.
    let at: Int
    /// Whether a later step has written to the value's derivative before.
    var adds = false
  }

  let steps: [Step]
  let values: [Value]
  let sources: [Source]
  /// Floats of the parameters, padding included.
  package let parameterCount: Int
  /// Floats of one sample's values.
  package let rowsWidth: Int
  /// Which value is the network's output.
  let outputIndex: Int
  /// Where it is among the values of one sample.
  let outputOffset: Int

  /// Floats of one sample's input.
  package var inputsPadded: Int { values[0].padded }
  var output: Value { values[outputIndex] }

  init(inputs: Int, nodes: [Network.Node]) {
    var steps: [Step] = []
    var values = [Value(width: inputs, padded: padded(inputs), offset: 0, producer: -1)]
    var sources: [Source] = []
    var (parameterCount, rowsWidth) = (0, padded(inputs))
    var readers = [Int](repeating: 0, count: nodes.count + 1)
    for node in nodes { for input in node.inputs { readers[input] += 1 } }
    // Which of the plan's values each of the network's values is.
    var planned = [0]
    for node in nodes {
      let from = node.inputs.map { planned[$0] }
      let producer = values[from[0]].producer
      if case .activation(let activation) = node.op, producer >= 0, readers[node.inputs[0]] == 1,
        steps[producer].kind == .dense, steps[producer].activation == Int32(NK_IDENTITY.rawValue)
      {
        steps[producer].activation = activation.kernel
        values[from[0]].activation = activation.kernel
        planned.append(from[0])
        continue
      }
      let first = sources.count
      var at = 0
      for value in from {
        sources.append(Source(value: value, at: at))
        at += values[value].width
      }
      let (input, row) = (values[from[0]], padded(node.outputs))
      let kind: Kind =
        switch node.op {
        case .dense: .dense
        case .activation: .activation
        case .layerNorm: .layerNorm
        case .concatenation: .concatenation
        }
      var step = Step(
        kind: kind, sources: first..<sources.count, output: values.count, inputs: input.width,
        outputs: node.outputs, inputsPadded: input.padded, outputsPadded: row,
        from: input.offset, to: rowsWidth, rows: node.parameterRows, offset: parameterCount)
      if case .activation(let activation) = node.op { step.activation = activation.kernel }
      if case .layerNorm(let epsilon) = node.op { step.epsilon = Float(epsilon) }
      parameterCount += node.parameterRows * row
      planned.append(values.count)
      values.append(
        Value(width: node.outputs, padded: row, offset: rowsWidth, producer: steps.count))
      rowsWidth += row
      steps.append(step)
    }
    // On the way back the last reader of a value comes first.
    var readersAbove = [Int](repeating: 0, count: values.count)
    for step in steps.reversed() {
      for s in step.sources {
        sources[s].adds = readersAbove[sources[s].value] > 0
        readersAbove[sources[s].value] += 1
      }
    }
    for step in steps where step.kind == .dense {
      let below = sources[step.sources.lowerBound].value
      values[below].isSlopedAbove = readersAbove[below] == 1
    }
    (self.steps, self.values, self.sources) = (steps, values, sources)
    (self.parameterCount, self.rowsWidth) = (parameterCount, rowsWidth)
    outputIndex = planned[nodes.count]
    outputOffset = values[outputIndex].offset
  }

  /// Whether some step needs the derivative by a dense step's input, and so its transpose.
  func needsTranspose(_ step: Step) -> Bool {
    step.kind == .dense && sources[step.sources.lowerBound].value > 0
  }
}
