import CBLASKernels
import CLAPACKE
import CMatrixKernels
import COpenBLAS

/// Dense kernels on raw column-major buffers, for loops that must not allocate.
///
/// `lda` is the distance between columns. Nothing here checks shapes or finiteness: callers do, once,
/// at their own door. Small matrices, the usual ones here, go to our own kernels (`CMatrixKernels`),
/// large ones to BLAS and LAPACK.
public enum Kernels {
  /// The instruction set that our own kernels use.
  public enum Variant: Int32, CaseIterable, Sendable {
    case plain = 0
    case avx2 = 1
    case avx512 = 2

    /// Whether this machine has it.
    public var isSupported: Bool { mk_supports(rawValue) != 0 }

    /// The fastest this machine has.
    public static let best = Variant(rawValue: mk_best_variant()) ?? .plain
  }

  /// Up to this size a matrix is small: it and its like stay in the cache without being packed.
  @usableFromInline static let small = Int(MK_ORDER)

  /// The name of the kernels BLAS computes with in this process, e.g. "SkylakeX".
  public static var blasName: String { String(cString: cblas_kernels_name()) }

  /// The version of BLAS, e.g. "0.3.21".
  public static var blasVersion: String {
    // "OpenBLAS 0.3.21 DYNAMIC_ARCH ..."
    let words = String(cString: openblas_get_config()).split(separator: " ")
    return words.count > 1 ? String(words[1]) : "unknown"
  }

  /// The name of the kernels BLAS had chosen by itself.
  public static var detectedBLASName: String { String(cString: cblas_kernels_detected_name()) }

  /// Whether the CPU has AVX2 and FMA, so that SSE3 kernels would waste most of it.
  public static var cpuHasAVX2: Bool { cblas_kernels_cpu_has_avx2() != 0 }

  /// C (m × n) ← α op(A) op(B) + β C, where op(A) is m × k and op(B) is k × n.
  public static func gemm(
    transposeA: Bool = false, transposeB: Bool = false, m: Int, n: Int, k: Int, alpha: Double = 1,
    _ a: UnsafePointer<Double>, _ lda: Int, _ b: UnsafePointer<Double>, _ ldb: Int,
    _ beta: Double, _ c: UnsafeMutablePointer<Double>, _ ldc: Int
  ) {
    if m == 0 || n == 0 { return }
    if m <= small && min(n, k) <= small {
      mk_gemm(
        Variant.best.rawValue, transposeA ? 1 : 0, transposeB ? 1 : 0, Int64(m), Int64(n), Int64(k),
        alpha, a, Int64(lda), b, Int64(ldb), beta, c, Int64(ldc))
      return
    }
    cblas_dgemm(
      CblasColMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
      Int32(m), Int32(n), Int32(k), alpha, a, Int32(max(1, lda)), b, Int32(max(1, ldb)), beta, c,
      Int32(max(1, ldc)))
  }

  /// C (m × n) ← A B + β C in single precision, with A m × k and B k × n.
  public static func gemm(
    m: Int, n: Int, k: Int, _ a: UnsafePointer<Float>, _ lda: Int, _ b: UnsafePointer<Float>,
    _ ldb: Int, _ beta: Float, _ c: UnsafeMutablePointer<Float>, _ ldc: Int
  ) {
    if m == 0 || n == 0 { return }
    cblas_sgemm(
      CblasColMajor, CblasNoTrans, CblasNoTrans, Int32(m), Int32(n), Int32(k), 1, a,
      Int32(max(1, lda)), b, Int32(max(1, ldb)), beta, c, Int32(max(1, ldc)))
  }

  /// Lower triangle of C (n × n) ← α A Aᵀ + β C with A n × k, or α AᵀA + β C with A k × n.
  public static func syrkLower(
    transpose: Bool = false, n: Int, k: Int, alpha: Double, _ a: UnsafePointer<Double>, _ lda: Int,
    _ beta: Double, _ c: UnsafeMutablePointer<Double>, _ ldc: Int
  ) {
    if n == 0 { return }
    if n <= small {
      mk_syrk_lower(
        Variant.best.rawValue, transpose ? 1 : 0, Int64(n), Int64(k), alpha, a, Int64(lda), beta, c,
        Int64(ldc))
      return
    }
    cblas_dsyrk(
      CblasColMajor, CblasLower, transpose ? CblasTrans : CblasNoTrans, Int32(n), Int32(k), alpha,
      a, Int32(max(1, lda)), beta, c, Int32(max(1, ldc)))
  }

  /// y (m) ← α op(A) x + β y, with A m × n as stored.
  public static func gemv(
    transpose: Bool = false, m: Int, n: Int, alpha: Double = 1, _ a: UnsafePointer<Double>,
    _ lda: Int, _ x: UnsafePointer<Double>, _ beta: Double, _ y: UnsafeMutablePointer<Double>
  ) {
    if m == 0 || n == 0 { return }
    if m <= small && n <= small {
      mk_gemv(
        Variant.best.rawValue, transpose ? 1 : 0, Int64(m), Int64(n), alpha, a, Int64(lda), x, beta,
        y)
      return
    }
    cblas_dgemv(
      CblasColMajor, transpose ? CblasTrans : CblasNoTrans, Int32(m), Int32(n), alpha, a,
      Int32(max(1, lda)), x, 1, beta, y, 1)
  }

  /// Cholesky factorisation in place: the lower triangle of A becomes L with A = L Lᵀ.
  ///
  /// - Returns: 0, or the order (from 1) of the first leading minor that is not positive. NaN counts
  ///   as not positive.
  public static func choleskyLower(n: Int, _ a: UnsafeMutablePointer<Double>, _ lda: Int) -> Int {
    if n == 0 { return 0 }
    if n <= small {
      return Int(mk_cholesky_lower(Variant.best.rawValue, Int64(n), a, Int64(lda)))
    }
    let info = LAPACKE_dpotrf_work(
      LAPACK_COL_MAJOR, CChar(UInt8(ascii: "L")), Int32(n), a, Int32(max(1, lda)))
    if info != 0 { return Int(info) }
    // LAPACK's test `pivot <= 0` lets NaN pass; a NaN anywhere reaches a later diagonal entry.
    for i in 0..<n where !(a[i + lda * i] > 0 && a[i + lda * i].isFinite) { return i + 1 }
    return 0
  }

  /// B (n × r) ← L⁻¹ B, or L⁻ᵀ B, with L lower triangular n × n.
  public static func solveLower(
    transpose: Bool = false, n: Int, r: Int, _ l: UnsafePointer<Double>, _ ldl: Int,
    _ b: UnsafeMutablePointer<Double>, _ ldb: Int
  ) {
    if n == 0 || r == 0 { return }
    if n <= small {
      mk_solve_lower(
        Variant.best.rawValue, transpose ? 1 : 0, Int64(n), Int64(r), l, Int64(ldl), b, Int64(ldb))
      return
    }
    cblas_dtrsm(
      CblasColMajor, CblasLeft, CblasLower, transpose ? CblasTrans : CblasNoTrans, CblasNonUnit,
      Int32(n), Int32(r), 1, l, Int32(max(1, ldl)), b, Int32(max(1, ldb)))
  }

  /// B (r × n) ← B L⁻ᵀ, with L lower triangular n × n.
  public static func solveLowerRight(
    r: Int, n: Int, _ l: UnsafePointer<Double>, _ ldl: Int, _ b: UnsafeMutablePointer<Double>,
    _ ldb: Int
  ) {
    if n == 0 || r == 0 { return }
    if n <= small {
      mk_solve_lower_right(
        Variant.best.rawValue, Int64(r), Int64(n), l, Int64(ldl), b, Int64(ldb))
      return
    }
    cblas_dtrsm(
      CblasColMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, Int32(r), Int32(n), 1, l,
      Int32(max(1, ldl)), b, Int32(max(1, ldb)))
  }

  /// Copies the lower triangle of A (n × n) onto its upper triangle.
  @inlinable
  public static func mirrorLower(n: Int, _ a: UnsafeMutablePointer<Double>, _ lda: Int) {
    for j in 0..<n { for i in 0..<j { a[i + lda * j] = a[j + lda * i] } }
  }

  /// Replaces A (n × n) by the mean of itself and its transpose.
  @inlinable
  public static func symmetrize(n: Int, _ a: UnsafeMutablePointer<Double>, _ lda: Int) {
    for j in 0..<n {
      for i in 0..<j {
        let mean = 0.5 * (a[i + lda * j] + a[j + lda * i])
        a[i + lda * j] = mean
        a[j + lda * i] = mean
      }
    }
  }
}
