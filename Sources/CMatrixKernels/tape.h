// The kernel of one instruction set. Included once per variant, with
//   NAME(f)   the variant's name for f
//   LANES     doubles per vector: 2, 4 or 8

#include "TapeKernels.h"

#define ALWAYS static inline __attribute__((always_inline))

typedef double vd __attribute__((vector_size(8 * LANES)));
typedef double vd_memory __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

ALWAYS vd load(const double *p) { return *(const vd_memory *)p; }
ALWAYS void store(double *p, vd v) { *(vd_memory *)p = v; }

// `rows`, the numbers that d lanes fill in whole vectors, is a constant where this is inlined.
ALWAYS void sweep(int64_t rows, int64_t d, int64_t count, const int32_t *arguments, const double *partials,
                  double *adjoints, uint8_t *reached, double *gradients, double *second) {
  const int64_t distance = mk_tape_distance(d);
#define FOR_ROWS for (int64_t i = 0; i < rows; i += LANES)
  for (int64_t k = 0; k < d; ++k) {
    double *g = gradients + k * distance, *s = second + k * distance;
    FOR_ROWS store(g + i, (vd){0});
    FOR_ROWS store(s + i, (vd){0});
    g[k] = 1;
  }
  for (int64_t k = d; k < count; ++k) {
    const int32_t first = arguments[2 * k], a = first < 0 ? ~first : first, b = arguments[2 * k + 1];
    const double *partial = partials + k * MK_TAPE_PARTIALS;
    const double *ga = gradients + a * distance, *gb = gradients + (b < 0 ? a : b) * distance;
    double *g = gradients + k * distance, *s = second + k * distance;
    const double by_a = partial[MK_TAPE_BY_A], by_b = partial[MK_TAPE_BY_B];
    FOR_ROWS store(s + i, (vd){0});
    if (b < 0) {
      FOR_ROWS store(g + i, by_a * load(ga + i));
    } else {
      FOR_ROWS store(g + i, by_a * load(ga + i) + by_b * load(gb + i));
    }
  }
  for (int64_t k = count - 1; k >= d; --k) {
    if (!reached[k]) continue;
    const int32_t first = arguments[2 * k], a = first < 0 ? ~first : first, b = arguments[2 * k + 1];
    const double *partial = partials + k * MK_TAPE_PARTIALS;
    const double *ga = gradients + a * distance, *gb = gradients + (b < 0 ? a : b) * distance;
    const double *s = second + k * distance;
    double *sa = second + a * distance, *sb = second + (b < 0 ? a : b) * distance;
    const double w = adjoints[k], by_a = partial[MK_TAPE_BY_A], aa = w * partial[MK_TAPE_BY_AA];
    adjoints[a] += w * by_a;
    reached[a] = 1;
    if (b < 0) {
      FOR_ROWS store(sa + i, load(sa + i) + by_a * load(s + i) + aa * load(ga + i));
      continue;
    }
    const double by_b = partial[MK_TAPE_BY_B];
    adjoints[b] += w * by_b;
    reached[b] = 1;
    if (first < 0) {
      FOR_ROWS store(sa + i, load(sa + i) + by_a * load(s + i));
      FOR_ROWS store(sb + i, load(sb + i) + by_b * load(s + i));
      continue;
    }
    const double ab = w * partial[MK_TAPE_BY_AB], bb = w * partial[MK_TAPE_BY_BB];
    FOR_ROWS {
      const vd x = load(ga + i), y = load(gb + i), z = load(s + i);
      store(sa + i, load(sa + i) + by_a * z + (aa * x + ab * y));
      store(sb + i, load(sb + i) + by_b * z + (ab * x + bb * y));
    }
  }
}

void NAME(tape_hessian)(int64_t inputs, int64_t count, const int32_t *arguments, const double *partials,
                        double *adjoints, uint8_t *reached, double *gradients, double *second) {
#define SWEEP(vectors)                                                                             \
  sweep((vectors) * LANES, inputs, count, arguments, partials, adjoints, reached, gradients, second)
  const int64_t vectors = (inputs + LANES - 1) / LANES;
  switch (vectors) {
  case 1: SWEEP(1); break;
  case 2: SWEEP(2); break;
  case 3: SWEEP(3); break;
  case 4: SWEEP(4); break;
  default: SWEEP(vectors);
  }
}
