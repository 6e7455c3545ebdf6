import CNeuralKernels

/// What some samples leave on their way through a network and back, and the way itself. One worker's.
///
/// Safe to hand to the worker although the compiler cannot see it: every property is constant, the memory
/// behind the pointers is owned by `arena`, and one worker at a time uses it.
final class Pass: @unchecked Sendable {
  let plan: Plan
  let variant: Int32
  private let arena: Arena
  /// The plan's values: capacity × padded width each.
  let values: [Buffer]
  /// The derivatives by them; the input's is not computed.
  let derivatives: [Buffer]
  /// What each step keeps for the way back: slopes, or normalised inputs.
  private let extras: [Buffer]
  /// Of each dense step's W, where the way back needs it.
  private let transposes: [Buffer]
  private let spare: Buffer
  private let scratch: Buffer

  /// Room for `capacity` samples at once.
  init(plan: Plan, capacity: Int, variant: KernelVariant) {
    self.plan = plan
    self.variant = variant.rawValue
    let transposed = plan.steps.map {
      plan.needsTranspose($0) ? padded($0.outputs) * $0.inputsPadded : 0
    }
    let widest = plan.values.reduce(0) { max($0, $1.padded) }
    arena = Arena(
      floats: capacity * (2 * plan.rowsWidth + plan.steps.reduce(0) { $0 + $1.extra } + widest)
        + transposed.reduce(0, +) + Int(NK_SCRATCH),
      parts: 2 * plan.values.count + 2 * plan.steps.count + 2)
    var (values, derivatives, extras): ([Buffer], [Buffer], [Buffer]) = ([], [], [])
    for value in plan.values {
      values.append(arena.take(capacity * value.padded))
      derivatives.append(arena.take(capacity * value.padded))
    }
    for step in plan.steps { extras.append(arena.take(capacity * step.extra)) }
    (self.values, self.derivatives, self.extras) = (values, derivatives, extras)
    var transposes: [Buffer] = []
    for size in transposed { transposes.append(arena.take(size)) }
    self.transposes = transposes
    spare = arena.take(capacity * widest)
    scratch = arena.take(Int(NK_SCRATCH))
  }

  /// The network's outputs for the samples whose inputs stand in `values[0]`: samples × padded width.
  func forward(_ samples: Int, _ parameters: UnsafePointer<Float>) -> Buffer {
    for (s, step) in plan.steps.enumerated() {
      let (x, y) = (values[plan.sources[step.sources.lowerBound].value], values[step.output])
      switch step.kind {
      case .dense:
        step.denseForward(
          samples, x, parameters, y, slope: extras[s], scratch: scratch, variant: variant)
      case .activation:
        step.activationForward(samples, x, y, slope: extras[s], variant: variant)
      case .layerNorm:
        step.normForward(samples, x, parameters, y, extra: extras[s], variant: variant)
      case .concatenation:
        for source in plan.sources[step.sources] {
          step.concatenate(
            samples, values[source.value], plan.values[source.value], at: source.at, y)
        }
      }
    }
    return values[plan.outputIndex]
  }

  /// The derivatives by every value, from those by the output, which stand in its place.
  ///
  /// - Parameters:
  ///   - samples: how many.
  ///   - parameters: as on the way forward, their transposes brought up to date.
  func backward(_ samples: Int, _ parameters: UnsafePointer<Float>) {
    for s in plan.steps.indices.reversed() {
      let step = plan.steps[s]
      let (value, d) = (plan.values[step.output], derivatives[step.output])
      if value.activation != Int32(NK_IDENTITY.rawValue) && !value.isSlopedAbove {
        nk_multiply_by_slope(
          variant, value.activation, Int64(samples * value.padded), values[step.output], extras[s],
          d)
      }
      for index in step.sources {
        let source = plan.sources[index]
        if source.value == 0 { continue }
        let below = plan.values[source.value]
        let target = source.adds ? spare : derivatives[source.value]
        switch step.kind {
        case .dense:
          let isSloped = below.isSlopedAbove
          step.denseBackward(
            samples, d, transpose: transposes[s],
            below: isSloped ? below.activation : Int32(NK_IDENTITY.rawValue),
            values[source.value], slope: isSloped ? extras[below.producer] : nil, to: target,
            scratch: scratch, variant: variant)
        case .activation:
          step.activationBackward(
            samples, d, values[step.output], slope: extras[s], to: target, variant: variant)
        case .layerNorm:
          step.normBackward(
            samples, d, parameters, extra: extras[s], to: target, variant: variant)
        case .concatenation:
          step.split(samples, d, at: source.at, to: target, below)
        }
        if source.adds {
          nk_add(
            variant, Int64(samples * below.padded), spare, derivatives[source.value])
        }
      }
    }
  }

  /// Brings a step's transpose up to date with some rows of its parameters.
  func transpose(_ index: Int, _ rows: Range<Int>, _ parameters: UnsafePointer<Float>) {
    let step = plan.steps[index]
    if plan.needsTranspose(step) {
      step.transpose(rows, of: parameters, to: transposes[index])
    }
  }

  /// Brings all transposes up to date.
  func transpose(_ parameters: UnsafePointer<Float>) {
    for (s, step) in plan.steps.enumerated() { transpose(s, 0..<step.rows, parameters) }
  }

  /// The gradient by some rows of a step's parameters.
  ///
  /// - Parameters:
  ///   - index: the step's.
  ///   - rows: which of its rows.
  ///   - samples: those that went forward and back last.
  ///   - gradient: as long as the parameters.
  ///   - accumulate: whether to add to what is there.
  func differentiate(
    _ index: Int, _ rows: Range<Int>, _ samples: Int, to gradient: Buffer, accumulate: Bool
  ) {
    let step = plan.steps[index]
    let d = derivatives[step.output]
    switch step.kind {
    case .dense:
      step.denseGradient(
        rows, samples, values[plan.sources[step.sources.lowerBound].value], d, to: gradient,
        accumulate: accumulate, scratch: scratch, variant: variant)
    case .layerNorm:
      step.normGradient(
        rows, samples, d, extra: extras[index], to: gradient, accumulate: accumulate,
        variant: variant)
    case .activation, .concatenation: break
    }
  }
}

extension Plan {
  /// The output for one input, soonest: that of a pass but for rounding.
  ///
  /// - Parameters:
  ///   - buffer: rowsWidth floats, the input at their head and the rest zero; each value follows the
  ///     last one.
  ///   - parameters: in this layout.
  ///   - variant: the instruction set.
  /// - Returns: where in `buffer` the output is.
  @inline(__always)
  package func forwardRow(
    buffer: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, variant: KernelVariant
  ) -> UnsafeMutablePointer<Float> {
    steps.withUnsafeBufferPointer { steps in
      guard let first = steps.baseAddress else { return }
      for step in first..<first + steps.count {
        if step.pointee.kind == .dense {
          nk_dense_forward_row(
            variant.rawValue, step.pointee.activation, Int64(step.pointee.inputs),
            Int64(step.pointee.outputsPadded), buffer + step.pointee.from,
            parameters + step.pointee.offset, parameters + step.pointee.biases,
            buffer + step.pointee.to)
        } else {
          forwardRow(of: step.pointee, buffer: buffer, parameters, variant)
        }
      }
    }
    return buffer + outputOffset
  }

  @inline(never)
  private func forwardRow(
    of step: Step, buffer: UnsafeMutablePointer<Float>, _ parameters: UnsafePointer<Float>,
    _ variant: KernelVariant
  ) {
    let (from, to) = (buffer + step.from, buffer + step.to)
    switch step.kind {
    case .dense: break
    case .activation:
      step.activationForward(1, from, to, slope: nil, variant: variant.rawValue)
    case .layerNorm:
      nk_layer_norm_forward(
        variant.rawValue, 1, Int64(step.outputs), Int64(step.outputsPadded), step.epsilon, from,
        parameters + step.offset, to, nil, nil)
    case .concatenation:
      for source in sources[step.sources] {
        let value = values[source.value]
        step.concatenate(1, buffer + value.offset, value, at: source.at, to)
      }
    }
  }
}
