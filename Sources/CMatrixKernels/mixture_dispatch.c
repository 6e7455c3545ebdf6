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

int64_t mk_mixture_screens_size(int64_t dimension, int64_t clusters) {
  return (clusters + 1) / 2 * ROWS * mk_mixture_padded(dimension);
}

void mk_mixture_pack(int64_t dimension, int64_t k, const double *w, const double *mean,
                     double *whitener, double *screens, double *offsets) {
  const int64_t d = dimension, D = mk_mixture_padded(d), zeros = D - d;
  for (int64_t g = 0; g < D / ROWS; ++g)
    for (int64_t j = 0; j < ROWS * (g + 1); ++j)
      for (int64_t r = 0; r < ROWS; ++r) {
        const int64_t i = ROWS * g + r;
        *whitener++ = j >= zeros && j <= i ? w[i - zeros + d * (j - zeros)] : 0;
      }
  for (int64_t r = 0; r < 2; ++r) {
    const int64_t i = d - 2 + r, row = k % 2 * 2 + r;
    double *screen = screens + k / 2 * ROWS * D, offset = 0;
    for (int64_t j = 0; j < D; ++j) screen[j * ROWS + row] = 0;
    for (int64_t j = 0; j <= i; ++j) {
      screen[(zeros + j) * ROWS + row] = w[i + d * j];
      offset += w[i + d * j] * mean[j];
    }
    offsets[k / 2 * ROWS + row] = offset;
  }
}

#if defined(__x86_64__)
#define DEFINE(f, PARAMETERS, ARGUMENTS)                                                           \
  void mk_plain_##f PARAMETERS;                                                                    \
  void mk_avx2_##f PARAMETERS;                                                                     \
  void mk_avx512_##f PARAMETERS;                                                                   \
  void mk_##f(int32_t variant, UNPACK PARAMETERS) {                                                \
    switch (variant) {                                                                             \
    case MK_AVX2: mk_avx2_##f ARGUMENTS; break;                                                    \
    case MK_AVX512: mk_avx512_##f ARGUMENTS; break;                                                \
    default: mk_plain_##f ARGUMENTS;                                                               \
    }                                                                                              \
  }
#else
#define DEFINE(f, PARAMETERS, ARGUMENTS)                                                           \
  void mk_plain_##f PARAMETERS;                                                                    \
  void mk_##f(int32_t variant, UNPACK PARAMETERS) {                                                \
    (void)variant;                                                                                 \
    mk_plain_##f ARGUMENTS;                                                                        \
  }
#endif
#define UNPACK(...) __VA_ARGS__

DEFINE(mixture_shares,
       (const mk_mixture *mixture, int64_t count, const int32_t *index, const double *points,
        double *scratch, mk_mixture_result result),
       (mixture, count, index, points, scratch, result))
DEFINE(weighted_sums,
       (int64_t size, int64_t terms, const int32_t *index, const double *sources,
        const double *weights, double *sums),
       (size, terms, index, sources, weights, sums))
DEFINE(squared_distances,
       (int64_t dimension, int64_t count, const double *points, const double *center,
        double *distances),
       (dimension, count, points, center, distances))
