// y = g ∘ x̂ + b, x̂ = (x − mean x) / √(variance x + ε) over the entries of one sample (Ba, Kiros and
// Hinton 2016). Parameters: g, then b.

import CNeuralKernels
import Differentiation

struct LayerNorm: Formulas {
  let epsilon: Double

  func outputs(of inputs: [Int]) -> Int {
    precondition(
      inputs.count == 1 && epsilon > 0, "\(inputs.count) inputs and ε = \(epsilon) for a norm")
    return inputs[0]
  }

  func parameterRows(of inputs: [Int]) -> Int { 2 }

  private func normalized<S: DifferentiableScalar>(_ x: [S]) -> (x: [S], inverse: S) {
    let count = Double(x.count)
    let mean = x.reduce(S.zero, +) / count
    let variance = x.reduce(S.zero) { $0 + square($1 - mean) } / count
    let inverse = 1 / sqrt(variance + epsilon)
    return (x.map { ($0 - mean) * inverse }, inverse)
  }

  func forward<S: DifferentiableScalar>(_ x: [[S]], _ parameters: ArraySlice<S>) -> [S] {
    let (n, at) = (x[0].count, parameters.startIndex)
    let hat = normalized(x[0]).x
    return (0..<n).map { parameters[at + $0] * hat[$0] + parameters[at + n + $0] }
  }

  func pullback<S: DifferentiableScalar>(
    _ dy: [S], at x: [[S]], _ parameters: ArraySlice<S>
  ) -> (inputs: [[S]], parameters: [S]) {
    let (n, at) = (x[0].count, parameters.startIndex)
    let (hat, inverse) = normalized(x[0])
    let d = (0..<n).map { parameters[at + $0] * dy[$0] }
    let mean = d.reduce(S.zero, +) / Double(n)
    let along = zip(d, hat).reduce(S.zero) { $0 + $1.0 * $1.1 } / Double(n)
    let dx = (0..<n).map { inverse * (d[$0] - mean - hat[$0] * along) }
    return ([dx], zip(dy, hat).map { $0 * $1 } + dy)
  }
}

extension Plan.Step {
  /// `extra` receives x̂ of every sample (outputsPadded each), then 1 / deviation of every sample.
  func normForward(
    _ samples: Int, _ x: UnsafePointer<Float>, _ parameters: UnsafePointer<Float>, _ y: Buffer,
    extra: Buffer, variant: Int32
  ) {
    nk_layer_norm_forward(
      variant, Int64(samples), Int64(outputs), Int64(outputsPadded), epsilon, x,
      parameters + offset, y, extra, extra + samples * outputsPadded)
  }

  func normBackward(
    _ samples: Int, _ dy: Buffer, _ parameters: UnsafePointer<Float>, extra: Buffer,
    to target: Buffer, variant: Int32
  ) {
    nk_layer_norm_backward(
      variant, Int64(samples), Int64(outputs), Int64(outputsPadded), dy, parameters + offset, extra,
      extra + samples * outputsPadded, target)
  }

  func normGradient(
    _ rows: Range<Int>, _ samples: Int, _ dy: Buffer, extra: Buffer, to gradient: Buffer,
    accumulate: Bool, variant: Int32
  ) {
    if rows.contains(0) {
      nk_layer_norm_gain(
        variant, Int64(samples), Int64(outputsPadded), accumulate ? 1 : 0, dy, extra,
        gradient + offset)
    }
    if rows.contains(1) {
      nk_dense_backward_bias(
        variant, Int64(samples), Int64(outputsPadded), accumulate ? 1 : 0, dy,
        gradient + offset + outputsPadded)
    }
  }
}
