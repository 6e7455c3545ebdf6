import CNeuralKernels

/// The instruction set that the network's kernels use.
package enum KernelVariant: Int32, CaseIterable, Sendable {
  case plain = 0
  case avx2 = 1
  case avx512 = 2

  /// Whether this machine has it.
  package var isSupported: Bool { nk_supports(rawValue) != 0 }

  /// The fastest this machine has.
  package static let best = KernelVariant(rawValue: nk_best_variant()) ?? .plain
}

/// Runs `body` with subnormal numbers flushed to zero: a unit that cannot learn decays into them, and
/// they compute several times slower.
@inline(__always)
package func flushingSubnormals<Result>(_ body: () -> Result) -> Result {
  let saved = nk_flush_subnormals()
  defer { nk_restore(saved) }
  return body()
}

/// `count` rounded up to the kernels' row length.
package func padded(_ count: Int) -> Int { (count + Int(NK_PADDING) - 1) & ~(Int(NK_PADDING) - 1) }
