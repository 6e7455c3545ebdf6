public import Differentiation

/// What a network's outputs are judged by: a loss per sample, whose mean is minimised.
///
/// One sample's loss and its derivatives are written once, generic over the scalar; an objective whose
/// training must be fast writes them once more for floats.
public protocol Objective<Batch>: Sendable {
  /// What the outputs of a data set are compared with, by sample: targets, weights, advantages.
  associatedtype Batch: Sendable

  /// The loss of one sample, and its derivatives by the outputs.
  ///
  /// - Parameters:
  ///   - outputs: the network's, for this sample.
  ///   - sample: its number in the batch.
  ///   - batch: what to compare with.
  /// - Returns: both.
  func loss<S: DifferentiableScalar>(
    _ outputs: [S], sample: Int, of batch: Batch
  ) -> (value: S, derivatives: [S])

  /// The losses of some samples, and `scale` times their derivatives by the outputs.
  ///
  /// - Parameters:
  ///   - outputs: one row of `width` numbers per sample, from each row to the next `stride`.
  ///   - width: numbers in an output.
  ///   - stride: a multiple of 16.
  ///   - samples: the number in the batch of each.
  ///   - batch: what to compare with.
  ///   - scale: factor on the derivatives.
  ///   - losses: one per sample, written.
  ///   - derivatives: laid out like the outputs, written; zero beyond `width`.
  func losses(
    _ outputs: Span<Float>, width: Int, stride: Int, samples: Span<Int32>, of batch: Batch,
    scale: Float, losses: inout MutableSpan<Float>, derivatives: inout MutableSpan<Float>)
}

extension Objective {
  /// The formulas in double precision, sample by sample.
  public func losses(
    _ outputs: Span<Float>, width: Int, stride: Int, samples: Span<Int32>, of batch: Batch,
    scale: Float, losses: inout MutableSpan<Float>, derivatives: inout MutableSpan<Float>
  ) {
    for s in samples.indices {
      let (value, slopes) = loss(
        (0..<width).map { Double(outputs[s * stride + $0]) }, sample: Int(samples[s]), of: batch)
      losses[s] = Float(value)
      for i in 0..<stride {
        derivatives[s * stride + i] = i < width ? scale * Float(slopes[i]) : 0
      }
    }
  }
}

/// ½ |f(x) − y|², averaged over the samples.
public struct MeanSquaredError: Objective {
  /// The objective.
  public init() {}

  /// ½ |u − y|² and u − y; the batch holds y.
  public func loss<S: DifferentiableScalar>(
    _ outputs: [S], sample: Int, of batch: Rows
  ) -> (value: S, derivatives: [S]) {
    let errors = outputs.indices.map { outputs[$0] - batch[sample, $0] }
    return (0.5 * errors.reduce(S.zero) { $0 + square($1) }, errors)
  }

  /// The same for floats.
  public func losses(
    _ outputs: Span<Float>, width: Int, stride: Int, samples: Span<Int32>, of batch: Rows,
    scale: Float, losses: inout MutableSpan<Float>, derivatives: inout MutableSpan<Float>
  ) {
    precondition(
      batch.width == width, "targets of \(batch.width) numbers for outputs of \(width)")
    batch.floats.withUnsafeBufferPointer { targets in
      for s in samples.indices {
        var sum: Float = 0
        for i in 0..<width {
          let error = outputs[s * stride + i] - targets[Int(samples[s]) * stride + i]
          sum += error * error
          derivatives[s * stride + i] = scale * error
        }
        for i in width..<stride { derivatives[s * stride + i] = 0 }
        losses[s] = 0.5 * sum
      }
    }
  }
}

/// An objective and its batch, bound for the kernels: some samples' outputs in, losses and derivatives
/// out.
typealias BoundObjective =
  @Sendable (
    _ outputs: UnsafePointer<Float>, _ samples: UnsafePointer<Int32>, _ count: Int, _ scale: Float,
    _ losses: UnsafeMutablePointer<Float>, _ derivatives: UnsafeMutablePointer<Float>
  ) -> Void

extension Objective {
  func bound(to batch: Batch, width: Int) -> BoundObjective {
    let stride = padded(width)
    return { outputs, samples, count, scale, losses, derivatives in
      var target = MutableSpan<Float>(_unsafeStart: losses, count: count)
      var slopes = MutableSpan<Float>(_unsafeStart: derivatives, count: count * stride)
      self.losses(
        Span(_unsafeStart: outputs, count: count * stride), width: width, stride: stride,
        samples: Span(_unsafeStart: samples, count: count), of: batch, scale: scale,
        losses: &target, derivatives: &slopes)
    }
  }
}
