// The public names of the mixture's kernels, and what does not depend on the instruction set.

#include "CMatrixKernels.h"

enum { ROWS = 4, POINTS = 16 };

int64_t mk_mixture_padded(int64_t dimension) { return (dimension + ROWS - 1) / ROWS * ROWS; }

int64_t mk_mixture_whitener_size(int64_t dimension) {
  const int64_t groups = mk_mixture_padded(dimension) / ROWS;
  return 8 * groups * (groups + 1);
}

int64_t mk_mixture_scratch(int64_t dimension, int64_t clusters) {
  return (2 * mk_mixture_padded(dimension) + clusters + 3) * POINTS + clusters;
}

void mk_mixture_pack(int64_t dimension, const double *w, double *packed) {
  const int64_t d = dimension, D = mk_mixture_padded(d), zeros = D - d;
  for (int64_t g = 0; g < D / ROWS; ++g)
    for (int64_t j = 0; j < ROWS * (g + 1); ++j)
      for (int64_t r = 0; r < ROWS; ++r) {
        const int64_t i = ROWS * g + r;
        *packed++ = j >= zeros && j <= i ? w[i - zeros + d * (j - zeros)] : 0;
      }
}

#define PARAMETERS                                                                                 \
  (const mk_mixture *m, int64_t count, const int32_t *index, const double *points,                 \
   double *scratch, mk_mixture_result result)
void mk_plain_mixture_shares PARAMETERS;
#if defined(__x86_64__)
void mk_avx2_mixture_shares PARAMETERS;
void mk_avx512_mixture_shares PARAMETERS;
#endif

void mk_mixture_shares(int32_t variant, const mk_mixture *mixture, int64_t count,
                       const int32_t *index, const double *points, double *scratch,
                       mk_mixture_result result) {
  switch (variant) {
#if defined(__x86_64__)
  case MK_AVX2: mk_avx2_mixture_shares(mixture, count, index, points, scratch, result); break;
  case MK_AVX512: mk_avx512_mixture_shares(mixture, count, index, points, scratch, result); break;
#endif
  default: mk_plain_mixture_shares(mixture, count, index, points, scratch, result);
  }
}
