// The public names: each goes to the variant asked for.

#include "CMatrixKernels.h"
#include "layout.h"

int32_t mk_supports(int32_t variant) {
  switch (variant) {
  case MK_PLAIN: return 1;
#if defined(__x86_64__)
  case MK_AVX2:
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  case MK_AVX512:
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("fma");
#endif
  default: return 0;
  }
}

int32_t mk_best_variant(void) {
  return mk_supports(MK_AVX512) ? MK_AVX512 : mk_supports(MK_AVX2) ? MK_AVX2 : MK_PLAIN;
}

// Scratch has room for whichever variant.

int64_t mk_riccati_scratch(int64_t state, int64_t control) {
  const int64_t ld = column_distance(state + control + 1);
  return ld * (2 * state + 2 * (state + control + 1) + control + 16) + control + 8;
}

int64_t mk_gaussian_scratch(int64_t state, int64_t control) {
  return column_distance(state) * (3 * state + 2 * control) + column_distance(control) * (state + control) +
         control + 8;
}

#if defined(__x86_64__)
#define DEFINE(RESULT, f, PARAMETERS, ARGUMENTS)                                                  \
  RESULT mk_plain_##f PARAMETERS;                                                                 \
  RESULT mk_avx2_##f PARAMETERS;                                                                  \
  RESULT mk_avx512_##f PARAMETERS;                                                                \
  RESULT mk_##f(int32_t variant, UNWRAP PARAMETERS) {                                             \
    if (variant == MK_AVX512) return mk_avx512_##f ARGUMENTS;                                     \
    if (variant == MK_AVX2) return mk_avx2_##f ARGUMENTS;                                         \
    return mk_plain_##f ARGUMENTS;                                                                \
  }
#else
#define DEFINE(RESULT, f, PARAMETERS, ARGUMENTS)                                                  \
  RESULT mk_plain_##f PARAMETERS;                                                                 \
  RESULT mk_##f(int32_t variant, UNWRAP PARAMETERS) {                                             \
    (void)variant;                                                                                \
    return mk_plain_##f ARGUMENTS;                                                                \
  }
#endif
#define UNWRAP(...) __VA_ARGS__

DEFINE(void, gemm,
       (int32_t transpose_a, int32_t transpose_b, int64_t m, int64_t n, int64_t k, double alpha,
        const double *a, int64_t lda, const double *b, int64_t ldb, double beta, double *c,
        int64_t ldc),
       (transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))

DEFINE(void, syrk_lower,
       (int32_t transposed, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
        double beta, double *c, int64_t ldc),
       (transposed, n, k, alpha, a, lda, beta, c, ldc))

DEFINE(void, gemv,
       (int32_t transposed, int64_t m, int64_t n, double alpha, const double *a, int64_t lda,
        const double *x, double beta, double *y),
       (transposed, m, n, alpha, a, lda, x, beta, y))

DEFINE(int64_t, cholesky_lower, (int64_t n, double *a, int64_t lda), (n, a, lda))

DEFINE(void, solve_lower,
       (int32_t transposed, int64_t n, int64_t r, const double *l, int64_t ldl, double *b,
        int64_t ldb),
       (transposed, n, r, l, ldl, b, ldb))

DEFINE(void, solve_lower_right,
       (int64_t r, int64_t n, const double *l, int64_t ldl, double *b, int64_t ldb),
       (r, n, l, ldl, b, ldb))

DEFINE(int64_t, riccati_backward, (const mk_riccati *problem), (problem))
DEFINE(void, riccati_begin, (const mk_riccati *problem), (problem))
DEFINE(int32_t, riccati_step, (const mk_riccati *problem, int64_t t), (problem, t))

DEFINE(void, simulate, (const mk_riccati *problem, double *states, double *controls),
       (problem, states, controls))

DEFINE(int64_t, gaussian_forward, (const mk_gaussian *problem), (problem))
