// y = [x_1; x_2; …].

import Differentiation

struct Concatenation: Formulas {
  func outputs(of inputs: [Int]) -> Int {
    precondition(!inputs.isEmpty, "nothing to concatenate")
    return inputs.reduce(0, +)
  }

  func parameterRows(of inputs: [Int]) -> Int { 0 }

  func forward<S: DifferentiableScalar>(_ x: [[S]], _ parameters: ArraySlice<S>) -> [S] {
    x.flatMap { $0 }
  }

  func pullback<S: DifferentiableScalar>(
    _ dy: [S], at x: [[S]], _ parameters: ArraySlice<S>
  ) -> (inputs: [[S]], parameters: [S]) {
    var at = 0
    let parts = x.map { part in
      defer { at += part.count }
      return Array(dy[at..<at + part.count])
    }
    return (parts, [])
  }
}

extension Plan.Step {
  /// Entries `at …` of y from one of the inputs.
  func concatenate(
    _ samples: Int, _ x: UnsafePointer<Float>, _ value: Plan.Value, at: Int, _ y: Buffer
  ) {
    for s in 0..<samples {
      (y + s * outputsPadded + at).update(from: x + s * value.padded, count: value.width)
    }
  }

  /// The inverse, of derivatives.
  func split(
    _ samples: Int, _ dy: Buffer, at: Int, to target: Buffer, _ value: Plan.Value
  ) {
    for s in 0..<samples {
      let row = target + s * value.padded
      row.update(from: dy + s * outputsPadded + at, count: value.width)
      (row + value.width).update(repeating: 0, count: value.padded - value.width)
    }
  }
}
