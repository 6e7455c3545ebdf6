import Differentiation

/// What a network computes in one node: a closed set, so that the kernels know every one of them.
public enum Op: Sendable, Equatable {
  /// W x + b.
  case dense(outputs: Int)
  /// A function of each entry.
  case activation(Activation)
  /// Each sample less its mean, over its deviation, times a gain plus a bias per entry.
  case layerNorm(epsilon: Double = 1e-5)
  /// Several values, one behind the other.
  case concatenation

  /// The op's formulas.
  var formulas: any Formulas {
    switch self {
    case .dense(let outputs): Dense(outputs: outputs)
    case .activation(let activation): activation
    case .layerNorm(let epsilon): LayerNorm(epsilon: epsilon)
    case .concatenation: Concatenation()
    }
  }
}

/// An op for one sample, as it stands in the books, generic over the scalar: doubles make it the slow
/// twin of the kernels, dual numbers differentiate it once more. The kernels' calls stand in the same
/// file.
protocol Formulas {
  /// Numbers in the output, given those in each input.
  func outputs(of inputs: [Int]) -> Int

  /// Rows of parameters, each as long as the output.
  func parameterRows(of inputs: [Int]) -> Int

  /// The output.
  func forward<S: DifferentiableScalar>(_ x: [[S]], _ parameters: ArraySlice<S>) -> [S]

  /// The derivatives by inputs and parameters of a function with the derivative dy by the output.
  func pullback<S: DifferentiableScalar>(
    _ dy: [S], at x: [[S]], _ parameters: ArraySlice<S>
  ) -> (inputs: [[S]], parameters: [S])
}
