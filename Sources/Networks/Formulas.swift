// A network in its ops' formulas, one sample at a time and generic over the scalar: what the kernels are
// compared with, and what dual numbers differentiate once more.

public import Differentiation

extension Network {
  /// The output for one input.
  ///
  /// - Parameters:
  ///   - input: `inputs` numbers.
  ///   - parameters: `parameterCount` numbers, in the kernels' order without their padding.
  /// - Returns: `outputs` numbers.
  public func output<S: DifferentiableScalar>(_ input: [S], parameters: [S]) -> [S] {
    values(input, parameters)[nodes.count]
  }

  /// The mean loss over a batch, and its gradient by the parameters.
  ///
  /// - Parameters:
  ///   - parameters: as in `output`.
  ///   - inputs: one row per sample.
  ///   - objective: what the outputs are judged by.
  ///   - batch: what they are compared with.
  /// - Returns: both.
  public func gradientByFormulas<S: DifferentiableScalar, O: Objective>(
    at parameters: [S], inputs: Rows, objective: O, batch: O.Batch
  ) -> (loss: S, gradient: [S]) {
    precondition(
      parameters.count == parameterCount && inputs.width == self.inputs && inputs.count > 0,
      "\(parameters.count) parameters and \(inputs.count) inputs of \(inputs.width) numbers for a "
        + "network of \(parameterCount) and \(self.inputs)")
    let spans = parameterSpans
    var (loss, gradient) = (S.zero, [S](repeating: .zero, count: parameters.count))
    for sample in 0..<inputs.count {
      let values = values((0..<self.inputs).map { S(inputs[sample, $0]) }, parameters)
      let judged = objective.loss(values[nodes.count], sample: sample, of: batch)
      loss += judged.value
      var derivatives = values.map { [S](repeating: .zero, count: $0.count) }
      derivatives[nodes.count] = judged.derivatives
      for (index, node) in nodes.enumerated().reversed() {
        let back = node.op.formulas.pullback(
          derivatives[index + 1], at: node.inputs.map { values[$0] }, parameters[spans[index]])
        for (i, value) in back.parameters.enumerated() {
          gradient[spans[index].lowerBound + i] += value
        }
        for (input, derivative) in zip(node.inputs, back.inputs) {
          for i in derivative.indices { derivatives[input][i] += derivative[i] }
        }
      }
    }
    let share = 1 / Double(inputs.count)
    return (share * loss, gradient.map { share * $0 })
  }

  /// H v, where H is the Hessian of the mean loss by the parameters: exact, by the gradient of dual
  /// numbers (Pearlmutter 1994).
  ///
  /// - Parameters:
  ///   - direction: v, `parameterCount` numbers.
  ///   - parameters: where, likewise.
  ///   - inputs: one row per sample.
  ///   - objective: what the outputs are judged by.
  ///   - batch: what they are compared with.
  /// - Returns: H v, `parameterCount` numbers.
  public func hessianVectorProduct<O: Objective>(
    _ direction: [Double], at parameters: [Double], inputs: Rows, objective: O, batch: O.Batch
  ) -> [Double] {
    precondition(
      direction.count == parameters.count,
      "a direction of \(direction.count) numbers at \(parameters.count) parameters")
    let duals = zip(parameters, direction).map {
      Dual<SIMD2<Double>>($0, tangent: SIMD2($1, 0))
    }
    return gradientByFormulas(at: duals, inputs: inputs, objective: objective, batch: batch)
      .gradient.map { $0.tangent[0] }
  }

  /// Where each node's parameters are.
  private var parameterSpans: [Range<Int>] {
    var next = 0
    return nodes.map { node in
      defer { next += node.parameterRows * node.outputs }
      return next..<next + node.parameterRows * node.outputs
    }
  }

  /// The input and every node's output.
  private func values<S: DifferentiableScalar>(_ input: [S], _ parameters: [S]) -> [[S]] {
    precondition(
      input.count == inputs && parameters.count == parameterCount,
      "\(input.count) inputs and \(parameters.count) parameters for a network of \(inputs) and "
        + "\(parameterCount)")
    var values = [input]
    for (node, span) in zip(nodes, parameterSpans) {
      values.append(node.op.formulas.forward(node.inputs.map { values[$0] }, parameters[span]))
    }
    return values
  }
}
