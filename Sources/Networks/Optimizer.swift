import CNeuralKernels
import Foundation

/// The rule that turns a gradient into a step, as a value: parameters, gradient and state in, new ones out.
public struct Optimizer: Sendable, Equatable {
  /// The rule.
  public enum Rule: String, Codable, Sendable, CaseIterable {
    /// Adam (Kingma and Ba 2015).
    case adam
    /// Stochastic gradient descent with momentum.
    case sgd
  }

  /// Which rule.
  public var rule: Rule = .adam
  /// Decay of the average gradient: Adam's β1, or SGD's momentum.
  public var momentum = 0.9
  /// Decay of Adam's average squared gradient, β2.
  public var secondMomentum = 0.999
  /// Adam's ε.
  public var epsilon = 1e-8
  /// Decoupled decay of the weights (not of biases and gains) per unit of learning rate (Loshchilov and
  /// Hutter 2019).
  public var weightDecay = 0.0

  /// Adam as its authors propose it.
  public init() {}

  /// What a rule knows beside the parameters.
  public struct State: Sendable, Equatable {
    /// Steps taken so far.
    public var steps: Int
    /// Average gradient, or SGD's velocity.
    public var first: Parameters
    /// Average squared gradient; zeros for SGD.
    public var second: Parameters

    /// A state from its parts.
    public init(steps: Int, first: Parameters, second: Parameters) {
      precondition(
        steps >= 0 && first.count == second.count,
        "averages of \(first.count) and \(second.count) parameters after \(steps) steps")
      (self.steps, self.first, self.second) = (steps, first, second)
    }

    /// The state before the first step.
    public init(for network: Network) {
      self.init(steps: 0, first: network.zeros, second: network.zeros)
    }
  }

  /// One step.
  ///
  /// - Parameters:
  ///   - parameters: θ.
  ///   - gradient: of the loss by θ.
  ///   - state: what the last step left.
  ///   - rate: η.
  ///   - network: whose parameters they are.
  /// - Returns: the parameters and the state after it.
  public func step(
    _ parameters: consuming Parameters, along gradient: Parameters, state: consuming State,
    rate: Double, network: Network
  ) -> (parameters: Parameters, state: State) {
    let count = network.plan.parameterCount
    var (parameters, state) = (parameters, state)
    precondition(
      parameters.count == count && gradient.count == count && state.first.count == count,
      "\(parameters.count) parameters, \(gradient.count) derivatives and \(state.first.count) averages "
        + "for a network of \(count)")
    let kernel = StepKernel(
      self, rate: rate, steps: state.steps, gradientScale: 1, averageStep: 0)
    gradient.withUnsafeBufferPointer { gradient in
      parameters.withUnsafeMutableBufferPointer { parameters in
        state.first.withUnsafeMutableBufferPointer { first in
          state.second.withUnsafeMutableBufferPointer { second in
            guard let gradient = gradient.baseAddress, let parameters = parameters.baseAddress,
              let first = first.baseAddress, let second = second.baseAddress
            else { return }
            for step in network.plan.steps {
              kernel.apply(
                to: step, 0..<step.rows, gradient: gradient, parameters: parameters, first: first,
                second: second, average: nil, variant: KernelVariant.best.rawValue)
            }
          }
        }
      }
    }
    state.steps += 1
    return (parameters, state)
  }
}

/// One step of an optimizer in the kernels' terms.
struct StepKernel {
  private let rule: Optimizer.Rule
  private var update: nk_update
  private let decay: Float

  /// - Parameters:
  ///   - optimizer: the rule.
  ///   - rate: η.
  ///   - steps: taken before this one.
  ///   - gradientScale: factor on the gradient.
  ///   - averageStep: weight of the new iterate in the average.
  init(
    _ optimizer: Optimizer, rate: Double, steps: Int, gradientScale: Double, averageStep: Double
  ) {
    let time = Double(steps + 1)
    rule = optimizer.rule
    update = nk_update(
      rate: Float(rate), momentum: Float(optimizer.momentum),
      secondMomentum: Float(optimizer.secondMomentum), secondScale: 1,
      epsilon: Float(optimizer.epsilon), decay: 0, gradientScale: Float(gradientScale),
      averageStep: Float(averageStep))
    if optimizer.rule == .adam {
      update.rate = Float(rate / (1 - pow(optimizer.momentum, time)))
      update.secondScale = Float(1 / (1 - pow(optimizer.secondMomentum, time)).squareRoot())
    }
    decay = Float(rate * optimizer.weightDecay)
  }

  /// Some rows of one op's parameters: those that decay, then those that do not.
  @inline(__always)
  func apply(
    to step: Plan.Step, _ rows: Range<Int>, gradient: UnsafePointer<Float>, parameters: Buffer,
    first: Buffer, second: Buffer, average: Buffer?, variant: Int32
  ) {
    // Where no weight decays one call does for all.
    let border =
      decay == 0 ? rows.lowerBound : min(max(rows.lowerBound, step.decaying), rows.upperBound)
    apply(
      step, rows.lowerBound..<border, decay, gradient, parameters, first, second, average, variant)
    apply(step, border..<rows.upperBound, 0, gradient, parameters, first, second, average, variant)
  }

  @inline(__always)
  private func apply(
    _ step: Plan.Step, _ rows: Range<Int>, _ decay: Float, _ gradient: UnsafePointer<Float>,
    _ parameters: Buffer, _ first: Buffer, _ second: Buffer, _ average: Buffer?, _ variant: Int32
  ) {
    if rows.isEmpty { return }
    var update = update
    update.decay = decay
    let offset = step.offset + rows.lowerBound * step.outputsPadded
    let count = Int64(rows.count * step.outputsPadded)
    let mean = average.map { $0 + offset }
    switch rule {
    case .adam:
      nk_adam(
        variant, count, update, gradient + offset, parameters + offset, first + offset,
        second + offset, mean)
    case .sgd:
      nk_sgd(variant, count, update, gradient + offset, parameters + offset, first + offset, mean)
    }
  }
}
