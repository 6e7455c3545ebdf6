import Differentiation
import CNeuralKernels
import LinearAlgebra
import Networks

/// The S-step's loss of a sample,
///
///     ℓ(o) = ½ eᵀ P e,   e = f_θ(x) − y,
///
/// with scaled targets y and normalised precisions P of which samples share some.
struct DistillationObjective: Objective {
  /// What the outputs are compared with.
  struct Batch: Sendable {
    /// y: S rows of m numbers.
    let targets: Rows
    /// P: G matrices, m × m, one behind the other, and room behind the last.
    let precisions: AlignedFloats
    /// Which precision each sample has.
    let groups: [Int32]

    init(targets: Rows, precisions source: MatrixSequence, groups: [Int]) {
      self.targets = targets
      self.groups = groups.map { Int32($0) }
      var precisions = AlignedFloats(zeros: source.storage.count + Int(NK_PADDING))
      for (i, value) in source.storage.enumerated() { precisions[i] = Float(value) }
      self.precisions = precisions
    }
  }

  /// The instruction set.
  let variant: KernelVariant

  func loss<S: DifferentiableScalar>(
    _ outputs: [S], sample: Int, of batch: Batch
  ) -> (value: S, derivatives: [S]) {
    let m = outputs.count
    let errors = (0..<m).map { outputs[$0] - batch.targets[sample, $0] }
    let start = Int(batch.groups[sample]) * m * m
    let slopes = (0..<m).map { i in
      (0..<m).reduce(S.zero) { $0 + Double(batch.precisions[start + i * m + $1]) * errors[$1] }
    }
    return (0.5 * zip(errors, slopes).reduce(S.zero) { $0 + $1.0 * $1.1 }, slopes)
  }

  func losses(
    _ outputs: Span<Float>, width: Int, stride: Int, samples: Span<Int32>, of batch: Batch,
    scale: Float, losses: inout MutableSpan<Float>, derivatives: inout MutableSpan<Float>
  ) {
    let count = samples.count
    precondition(
      outputs.count == count * stride && derivatives.count == count * stride
        && losses.count == count && batch.targets.width == width,
      "targets of \(batch.targets.width) numbers for \(count) outputs of \(width)")
    outputs.withUnsafeBufferPointer { y in
      samples.withUnsafeBufferPointer { index in
        batch.groups.withUnsafeBufferPointer { group in
          batch.targets.floats.withUnsafeBufferPointer { target in
            batch.precisions.withUnsafeBufferPointer { precision in
              losses.withUnsafeMutableBufferPointer { loss in
                derivatives.withUnsafeMutableBufferPointer { dz in
                  nk_loss(
                    variant.rawValue, Int64(count), Int64(width), Int64(stride), scale,
                    index.baseAddress, group.baseAddress, y.baseAddress, target.baseAddress,
                    precision.baseAddress, dz.baseAddress, loss.baseAddress)
                }
              }
            }
          }
        }
      }
    }
  }
}
