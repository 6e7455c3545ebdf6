public import Statistics

/// The numbers of a network, or as many of another kind, such as a gradient or an optimizer's averages,
/// in the kernels' layout: per op its rows, each padded with zeros to a multiple of 16 floats. A dense op
/// has Wᵀ, one row per input, then b; a layer norm its gains, then its biases.
public typealias Parameters = AlignedFloats

/// How initial weights are drawn; initial biases are zero and initial gains one.
public enum Initialization: String, Codable, Sendable, CaseIterable {
  /// Normal with variance 2 / inputs (He et al. 2015), made for ReLU.
  case he
  /// Uniform with variance 2 / (inputs + outputs) (Glorot and Bengio 2010), made for tanh.
  case glorot

  /// One weight.
  func draw(inputs: Int, outputs: Int, _ stream: inout RandomStream) -> Double {
    switch self {
    case .he: stream.normal() * (2 / Double(inputs)).squareRoot()
    case .glorot: (2 * stream.uniform() - 1) * (6 / Double(inputs + outputs)).squareRoot()
    }
  }
}

extension Network {
  /// As many zeros as there are parameters.
  public var zeros: Parameters { Parameters(zeros: plan.parameterCount) }

  /// Random weights, zero biases, gains of one.
  ///
  /// - Parameters:
  ///   - initialization: how weights are drawn.
  ///   - stream: where from: op after op, input after input, output after output.
  /// - Returns: the parameters.
  public func initialParameters(
    _ initialization: Initialization, stream: RandomStream
  ) -> Parameters {
    var (parameters, stream) = (zeros, stream)
    for step in plan.steps {
      switch step.kind {
      case .dense:
        for i in 0..<step.inputs {
          for o in 0..<step.outputs {
            parameters[step.offset + i * step.outputsPadded + o] = Float(
              initialization.draw(inputs: step.inputs, outputs: step.outputs, &stream))
          }
        }
      case .layerNorm: for o in 0..<step.outputs { parameters[step.offset + o] = 1 }
      case .activation, .concatenation: break
      }
    }
    return parameters
  }

  /// Calls `body` with the place of every parameter, in order, in the kernels' layout.
  private func forEachPlace(_ body: (Int) -> Void) {
    for step in plan.steps {
      for row in 0..<step.rows {
        let start = step.offset + row * step.outputsPadded
        for o in 0..<step.outputs { body(start + o) }
      }
    }
  }

  /// One number per parameter, in the kernels' layout, less its padding.
  public func withoutPadding(_ values: some RandomAccessCollection<Float>) -> [Float] {
    precondition(
      values.count == plan.parameterCount,
      "\(values.count) floats for a network of \(plan.parameterCount)")
    var compact: [Float] = []
    compact.reserveCapacity(parameterCount)
    forEachPlace { compact.append(values[values.index(values.startIndex, offsetBy: $0)]) }
    return compact
  }

  /// The inverse of `withoutPadding`.
  public func padding(_ compact: [Float]) -> Parameters {
    precondition(
      compact.count == parameterCount,
      "\(compact.count) numbers for a network of \(parameterCount) parameters")
    var values = zeros
    var next = 0
    forEachPlace {
      values[$0] = compact[next]
      next += 1
    }
    return values
  }
}
