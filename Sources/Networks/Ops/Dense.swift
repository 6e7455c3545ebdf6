// y = W x + b. Parameters: Wᵀ, one row per input, then b.

import CNeuralKernels
import Differentiation

struct Dense: Formulas {
  let outputs: Int

  func outputs(of inputs: [Int]) -> Int {
    precondition(
      inputs.count == 1 && outputs > 0, "\(inputs.count) inputs for \(outputs) dense units")
    return outputs
  }

  func parameterRows(of inputs: [Int]) -> Int { inputs[0] + 1 }

  func forward<S: DifferentiableScalar>(_ x: [[S]], _ parameters: ArraySlice<S>) -> [S] {
    let (x, at) = (x[0], parameters.startIndex)
    return (0..<outputs).map { o in
      var sum = parameters[at + x.count * outputs + o]
      for i in x.indices { sum += x[i] * parameters[at + i * outputs + o] }
      return sum
    }
  }

  func pullback<S: DifferentiableScalar>(
    _ dy: [S], at x: [[S]], _ parameters: ArraySlice<S>
  ) -> (inputs: [[S]], parameters: [S]) {
    let (x, at) = (x[0], parameters.startIndex)
    var dx = [S](repeating: .zero, count: x.count)
    var gradient: [S] = []
    for i in x.indices {
      for o in 0..<outputs {
        dx[i] += dy[o] * parameters[at + i * outputs + o]
        gradient.append(dy[o] * x[i])
      }
    }
    return ([dx], gradient + dy)
  }
}

extension Plan.Step {
  @inline(__always)
  func denseForward(
    _ samples: Int, _ x: UnsafePointer<Float>, _ parameters: UnsafePointer<Float>, _ y: Buffer,
    slope: Buffer?, scratch: Buffer?, variant: Int32
  ) {
    nk_dense_forward(
      variant, activation, Int64(samples), Int64(inputs), Int64(outputsPadded), x,
      Int64(inputsPadded), parameters + offset, parameters + biases, y, slope, scratch)
  }

  /// dZ of the value below from dZ, and V = the transpose of W.
  @inline(__always)
  func denseBackward(
    _ samples: Int, _ dz: Buffer, transpose: Buffer, below: Int32, _ y: UnsafePointer<Float>?,
    slope: UnsafePointer<Float>?, to target: Buffer, scratch: Buffer, variant: Int32
  ) {
    nk_dense_backward_input(
      variant, below, Int64(samples), Int64(outputs), Int64(outputsPadded), Int64(inputsPadded), dz,
      transpose, y, slope, target, scratch)
  }

  /// The gradient by some rows of the parameters, the biases' among them or not.
  @inline(__always)
  func denseGradient(
    _ rows: Range<Int>, _ samples: Int, _ x: UnsafePointer<Float>, _ dz: Buffer,
    to gradient: Buffer, accumulate: Bool, scratch: Buffer, variant: Int32
  ) {
    nk_dense_backward_weights(
      variant, Int64(samples), Int64(rows.lowerBound), Int64(min(rows.upperBound, inputs)),
      Int64(outputsPadded), accumulate ? 1 : 0, x, Int64(inputsPadded), dz, gradient + offset,
      scratch)
    if rows.upperBound > inputs {
      nk_dense_backward_bias(
        variant, Int64(samples), Int64(outputsPadded), accumulate ? 1 : 0, dz, gradient + biases)
    }
  }

  /// V by some rows of W.
  @inline(__always)
  func transpose(_ rows: Range<Int>, of parameters: UnsafePointer<Float>, to transpose: Buffer) {
    nk_transpose(
      Int64(rows.lowerBound), Int64(min(rows.upperBound, inputs)), Int64(outputs),
      Int64(outputsPadded), Int64(inputsPadded), parameters + offset, transpose)
  }
}
