// y = σ(z), entry by entry. A dense op and the activation behind it are one step of the kernels.

import CNeuralKernels
import Differentiation

/// A unit's function of its weighted input z.
public enum Activation: String, Codable, Sendable, CaseIterable {
  /// max(z, 0).
  case relu
  /// tanh z.
  case tanh
  /// log(1 + exp z).
  case softplus
  /// z / (1 + exp(−z)).
  case silu

  /// The kernels' name of it.
  var kernel: Int32 {
    let name: nk_activation =
      switch self {
      case .relu: NK_RELU
      case .tanh: NK_TANH
      case .softplus: NK_SOFTPLUS
      case .silu: NK_SILU
      }
    return Int32(name.rawValue)
  }

  /// The logistic function, by the branch that cannot overflow.
  private static func logistic<S: DifferentiableScalar>(_ z: S) -> S {
    let e = exp(-abs(z))
    return z.value < 0 ? e / (1 + e) : 1 / (1 + e)
  }

  /// σ(z).
  func value<S: DifferentiableScalar>(_ z: S) -> S {
    switch self {
    case .relu: z.value > 0 ? z : z.value.isNaN ? z : .zero
    case .tanh: Differentiation.tanh(z)
    case .softplus: (z.value > 0 ? z : .zero) + log(1 + exp(-abs(z)))
    case .silu: z * Self.logistic(z)
    }
  }

  /// σ'(z).
  func slope<S: DifferentiableScalar>(_ z: S) -> S {
    switch self {
    case .relu: return S(z.value > 0 ? 1 : 0)
    case .tanh:
      let t = Differentiation.tanh(z)
      return 1 - t * t
    case .softplus: return Self.logistic(z)
    case .silu:
      let s = Self.logistic(z)
      return s + z * s * (1 - s)
    }
  }
}

extension Activation: Formulas {
  func outputs(of inputs: [Int]) -> Int {
    precondition(inputs.count == 1, "\(inputs.count) inputs for an activation")
    return inputs[0]
  }

  func parameterRows(of inputs: [Int]) -> Int { 0 }

  func forward<S: DifferentiableScalar>(_ x: [[S]], _ parameters: ArraySlice<S>) -> [S] {
    x[0].map(value)
  }

  func pullback<S: DifferentiableScalar>(
    _ dy: [S], at x: [[S]], _ parameters: ArraySlice<S>
  ) -> (inputs: [[S]], parameters: [S]) {
    ([zip(dy, x[0]).map { $0 * slope($1) }], [])
  }
}

extension Plan.Step {
  func activationForward(
    _ samples: Int, _ x: UnsafePointer<Float>, _ y: Buffer, slope: Buffer?, variant: Int32
  ) {
    y.update(from: x, count: samples * outputsPadded)
    nk_activate(variant, activation, Int64(samples * outputsPadded), y, slope)
  }

  func activationBackward(
    _ samples: Int, _ dy: Buffer, _ y: UnsafePointer<Float>, slope: UnsafePointer<Float>?,
    to target: Buffer, variant: Int32
  ) {
    target.update(from: dy, count: samples * outputsPadded)
    nk_multiply_by_slope(variant, activation, Int64(samples * outputsPadded), y, slope, target)
  }
}
