#pragma once

// Small dense linear algebra in double precision, and the passes of linear-quadratic control made of it.
//
// Swift is compiled for the baseline of the architecture (SSE2 on x86-64), so these few loops are C
// with one variant per instruction set, chosen at run time. They are meant for orders up to about 150,
// where a BLAS spends much of its time on calls, checks and copies.
//
// All matrices are column-major; `lda` is the distance between the columns of A. Nothing is allocated,
// and shapes are not checked: callers do, once, at their own door. Every entry of a result is one
// fixed sum: results do not depend on threads or addresses.

#include <stdint.h>

#include "ElementaryKernels.h"
#include "MixtureKernels.h"
#include "NormalKernels.h"
#include "TapeKernels.h"

/// The largest order of a triangular factor that `mk_solve_lower` takes.
#define MK_ORDER 256

/// Instruction sets.
enum mk_variant { MK_PLAIN = 0, MK_AVX2 = 1, MK_AVX512 = 2 };

/// Whether this machine can run a variant (an `mk_variant`).
int32_t mk_supports(int32_t variant);

/// The fastest variant this machine can run.
int32_t mk_best_variant(void);

/// C (m × n) ← α op(A) op(B) + β C, where op(A) is m × k and op(B) is k × n. C is not read if β = 0.
void mk_gemm(int32_t variant, int32_t transpose_a, int32_t transpose_b, int64_t m, int64_t n,
             int64_t k, double alpha, const double *a, int64_t lda, const double *b, int64_t ldb,
             double beta, double *c, int64_t ldc);

/// Lower triangle of C (n × n) ← α A Aᵀ + β C with A n × k, or α AᵀA + β C with A k × n.
void mk_syrk_lower(int32_t variant, int32_t transpose, int64_t n, int64_t k, double alpha,
                   const double *a, int64_t lda, double beta, double *c, int64_t ldc);

/// y (m) ← α op(A) x + β y, with A m × n as stored. y is not read if β = 0.
void mk_gemv(int32_t variant, int32_t transpose, int64_t m, int64_t n, double alpha,
             const double *a, int64_t lda, const double *x, double beta, double *y);

/// The lower triangle of A (n × n) becomes L with A = L Lᵀ. Returns 0, or the order (from 1) of a
/// leading minor that is not positive and finite.
int64_t mk_cholesky_lower(int32_t variant, int64_t n, double *a, int64_t lda);

/// B (n × r) ← L⁻¹ B, or L⁻ᵀ B, with L lower triangular n × n, n ≤ MK_ORDER.
void mk_solve_lower(int32_t variant, int32_t transpose, int64_t n, int64_t r, const double *l,
                    int64_t ldl, double *b, int64_t ldb);

/// B (r × n) ← B L⁻ᵀ, with L lower triangular n × n.
void mk_solve_lower_right(int32_t variant, int64_t r, int64_t n, const double *l, int64_t ldl,
                          double *b, int64_t ldb);

/// A time-varying linear-quadratic problem and room for its solution; y = [x; u], d = n + m.
///
///   minimise    Σ_{t<T} s (½ yᵀ C y + cᵀ y) + ½ ρ uᵀ u  +  s (½ xᵀ C_T x + c_Tᵀ x)
///   subject to  x' = F y + f
typedef struct {
  int64_t state, control, horizon;  // n, m, T
  const double *hessians;           // C: T + 1 matrices d × d, of which the lower triangles and the
                                    //    blocks (x, u) are read
  const double *gradients;          // c: T + 1 columns of d
  const double *transitions;        // F: T matrices n × d
  const double *offsets;            // f: T columns of n
  double scale, ridge;              // s, ρ
  double *gains;                    // K: T matrices m × n
  double *gain_offsets;             // k: T columns of m
  double *factors;                  // lower factors of Q_uu: T matrices m × m, zero above
  double *value_hessians;           // V: T + 1 matrices n × n, or NULL
  double *value_gradients;          // v: T + 1 columns of n, or NULL
  double *scratch;                  // mk_riccati_scratch numbers, aligned to 64 bytes
} mk_riccati;

/// Doubles of scratch for a problem of n states and m controls.
int64_t mk_riccati_scratch(int64_t state, int64_t control);

/// The Riccati recursion from T to 0. Returns −1, or the step at which Q_uu is not positive definite,
/// whose `factors` then hold Q_uu itself.
int64_t mk_riccati_backward(int32_t variant, const mk_riccati *problem);

/// The same recursion by hand, for costs that become known on the way: begin, then step T − 1 to 0 with
/// the same problem; C, c, F and f of step t are first read by step t. Returns 0 where Q_uu is not
/// positive definite.
void mk_riccati_begin(int32_t variant, const mk_riccati *problem);
int32_t mk_riccati_step(int32_t variant, const mk_riccati *problem, int64_t t);

/// x' = F [x; u] + f with u = K x + k, from the first column of `states` (n × (T + 1)); fills the
/// others and `controls` (m × T).
void mk_simulate(int32_t variant, const mk_riccati *problem, double *states, double *controls);

/// Linear-Gaussian dynamics under a linear-Gaussian controller u = K x + k + noise.
typedef struct {
  int64_t state, control, horizon;           // n, m, T
  const double *transitions, *offsets;       // F: T matrices n × d; f: T columns of n
  const double *process;                     // Σ: T matrices n × n, symmetric
  const double *gains, *gain_offsets;        // K: T matrices m × n; k: T columns of m
  const double *noise;                       // L: T matrices m × m, lower, zero above
  int32_t noise_is_precision;                // whether the noise's covariance is (L Lᵀ)⁻¹, not L Lᵀ
  const double *initial_mean;                // n
  const double *initial_covariance;          // n × n, symmetric
  double *means;                             // μ_x: T + 1 columns of n
  double *controls;                          // μ_u: T columns of m
  double *covariances;                       // Σ_x: T + 1 matrices n × n, or NULL
  double *divergences;                       // T numbers, or NULL
  double *scratch;                           // mk_gaussian_scratch numbers, aligned to 64 bytes
} mk_gaussian;

/// Doubles of scratch for n states and m controls.
int64_t mk_gaussian_scratch(int64_t state, int64_t control);

/// Means and covariances from 0 to T, and per step ½ (tr C − m − ln|C| + |μ_u|² + tr K Σ_x Kᵀ), the
/// divergence of the controller from N(0, I) (with `noise_is_precision` only). Returns −1, or the
/// step whose marginals are not finite.
int64_t mk_gaussian_forward(int32_t variant, const mk_gaussian *problem);
