// The public names: each goes to the variant asked for.

#include "CNeuralKernels.h"

#include <stddef.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

int32_t nk_supports(int32_t variant) {
  switch (variant) {
  case NK_PLAIN: return 1;
#if defined(__x86_64__)
  case NK_AVX2:
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  case NK_AVX512:
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("fma");
#endif
  default: return 0;
  }
}

int32_t nk_best_variant(void) {
  return nk_supports(NK_AVX512) ? NK_AVX512 : nk_supports(NK_AVX2) ? NK_AVX2 : NK_PLAIN;
}

uint32_t nk_flush_subnormals(void) {
#if defined(__x86_64__)
  const uint32_t saved = _mm_getcsr();
  _mm_setcsr(saved | 0x8040); // flush results to zero, read subnormals as zero
  return saved;
#elif defined(__aarch64__)
  uint64_t saved;
  __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
  __asm__ volatile("msr fpcr, %0" : : "r"(saved | (1ull << 24)) : "memory");
  return (uint32_t)saved;
#else
  return 0;
#endif
}

void nk_restore(uint32_t saved) {
#if defined(__x86_64__)
  _mm_setcsr(saved);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)saved) : "memory");
#else
  (void)saved;
#endif
}

void nk_spin(void) {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#if defined(__x86_64__)
#define DEFINE(RESULT, f, PARAMETERS, ARGUMENTS)                                                  \
  RESULT nk_plain_##f PARAMETERS;                                                                 \
  RESULT nk_avx2_##f PARAMETERS;                                                                  \
  RESULT nk_avx512_##f PARAMETERS;                                                                \
  RESULT nk_##f(int32_t variant, UNWRAP PARAMETERS) {                                         \
    if (variant == NK_AVX512) return nk_avx512_##f ARGUMENTS;                                     \
    if (variant == NK_AVX2) return nk_avx2_##f ARGUMENTS;                                         \
    return nk_plain_##f ARGUMENTS;                                                                \
  }
#else
#define DEFINE(RESULT, f, PARAMETERS, ARGUMENTS)                                                  \
  RESULT nk_plain_##f PARAMETERS;                                                                 \
  RESULT nk_##f(int32_t variant, UNWRAP PARAMETERS) {                                         \
    (void)variant;                                                                                \
    return nk_plain_##f ARGUMENTS;                                                                \
  }
#endif
#define UNWRAP(...) __VA_ARGS__

DEFINE(void, gather,
       (int64_t count, int64_t width, const int32_t *index, const float *source,
        float *target),
       (count, width, index, source, target))

DEFINE(void, dense_forward,
       (int32_t activation, int64_t samples, int64_t inputs, int64_t outputs_padded, const float *x,
        int64_t x_stride, const float *w, const float *b, float *y, float *slope, float *scratch),
       (activation, samples, inputs, outputs_padded, x, x_stride, w, b, y, slope, scratch))

DEFINE(void, dense_forward_row,
       (int32_t activation, int64_t inputs, int64_t outputs_padded, const float *x, const float *w,
        const float *b, float *y),
       (activation, inputs, outputs_padded, x, w, b, y))

DEFINE(void, dense_backward_input,
       (int32_t activation, int64_t samples, int64_t outputs, int64_t outputs_padded,
        int64_t inputs_padded, const float *dz, const float *v, const float *y, const float *slope,
        float *dz_below, float *scratch),
       (activation, samples, outputs, outputs_padded, inputs_padded, dz, v, y, slope, dz_below,
        scratch))

DEFINE(void, dense_backward_weights,
       (int64_t samples, int64_t first, int64_t last, int64_t outputs_padded, int32_t accumulate,
        const float *x, int64_t x_stride, const float *dz, float *dw, float *scratch),
       (samples, first, last, outputs_padded, accumulate, x, x_stride, dz, dw, scratch))

DEFINE(void, dense_backward_bias,
       (int64_t samples, int64_t outputs_padded, int32_t accumulate, const float *dz, float *db),
       (samples, outputs_padded, accumulate, dz, db))

DEFINE(void, sum_parts,
       (int64_t count, int64_t parts, int64_t stride, const float *values, float *target),
       (count, parts, stride, values, target))

DEFINE(void, activate,
       (int32_t activation, int64_t count, float *y, float *slope),
       (activation, count, y, slope))

DEFINE(void, multiply_by_slope,
       (int32_t activation, int64_t count, const float *y, const float *slope, float *d),
       (activation, count, y, slope, d))

DEFINE(void, add,
       (int64_t count, const float *source, float *target),
       (count, source, target))

DEFINE(void, layer_norm_forward,
       (int64_t samples, int64_t width, int64_t width_padded, float epsilon, const float *x,
        const float *parameters, float *y, float *hat, float *inverse),
       (samples, width, width_padded, epsilon, x, parameters, y, hat, inverse))

DEFINE(void, layer_norm_backward,
       (int64_t samples, int64_t width, int64_t width_padded, const float *dy,
        const float *parameters, const float *hat, const float *inverse, float *dx),
       (samples, width, width_padded, dy, parameters, hat, inverse, dx))

DEFINE(void, layer_norm_gain,
       (int64_t samples, int64_t width_padded, int32_t accumulate, const float *dy,
        const float *hat, float *dg),
       (samples, width_padded, accumulate, dy, hat, dg))

DEFINE(void, loss,
       (int64_t samples, int64_t outputs, int64_t outputs_padded, float scale,
        const int32_t *index, const int32_t *group, const float *y, const float *target,
        const float *precision, float *dz, float *loss),
       (samples, outputs, outputs_padded, scale, index, group, y, target, precision, dz, loss))

DEFINE(void, adam,
       (int64_t count, nk_update u, const float *gradient, float *parameter, float *first,
        float *second, float *average),
       (count, u, gradient, parameter, first, second, average))

DEFINE(void, sgd,
       (int64_t count, nk_update u, const float *gradient, float *parameter, float *velocity,
        float *average),
       (count, u, gradient, parameter, velocity, average))

DEFINE(float, sum_of_squares,
       (int64_t count, const float *values),
       (count, values))

// Four rows by four columns at a time in registers, in blocks of 16 × 16 that meet whole cache lines.
typedef float v4 __attribute__((vector_size(16)));
typedef float v4_memory __attribute__((vector_size(16), aligned(4), may_alias));

static inline void transpose_four(const float *from, int64_t from_row, float *to, int64_t to_row) {
  const v4 a = *(const v4_memory *)from, b = *(const v4_memory *)(from + from_row),
           c = *(const v4_memory *)(from + 2 * from_row),
           d = *(const v4_memory *)(from + 3 * from_row);
  const v4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5),
           cd = __builtin_shufflevector(c, d, 0, 4, 1, 5),
           ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7),
           cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  *(v4_memory *)to = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
  *(v4_memory *)(to + to_row) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
  *(v4_memory *)(to + 2 * to_row) = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5);
  *(v4_memory *)(to + 3 * to_row) = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);
}

void nk_transpose(int64_t first, int64_t last, int64_t outputs, int64_t outputs_padded,
                  int64_t inputs_padded, const float *w, float *v) {
  for (int64_t i0 = first; i0 < last; i0 += 16) {
    for (int64_t o0 = 0; o0 < outputs; o0 += 16) {
      const float *from = w + i0 * outputs_padded + o0;
      float *to = v + o0 * inputs_padded + i0;
      if (i0 + 16 <= last && o0 + 16 <= outputs) {
        for (int64_t o = 0; o < 16; o += 4)
          for (int64_t i = 0; i < 16; i += 4)
            transpose_four(from + i * outputs_padded + o, outputs_padded, to + o * inputs_padded + i,
                           inputs_padded);
      } else {
        for (int64_t o = 0; o < 16 && o0 + o < outputs; ++o)
          for (int64_t i = 0; i < 16 && i0 + i < last; ++i)
            to[o * inputs_padded + i] = from[i * outputs_padded + o];
      }
    }
  }
}
