// The kernels of one instruction set. Included once per variant, with
//   NAME(f)         the variant's name for f
//   LANES           floats per vector
//   TILE_VECTORS    columns of a tile, in vectors
//   TILE_ROWS(v)    rows of a tile of v vectors: as many sums as the registers hold

#include "CNeuralKernels.h"

#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef float vf_memory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

ALWAYS vf load(const float *p) { return *(const vf_memory *)p; }
ALWAYS void store(float *p, vf v) { *(vf_memory *)p = v; }
ALWAYS vf splat(float x) { return (vf){0} + x; }
ALWAYS vf choose(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }

// ---- Products -----------------------------------------------------------------------------------

enum { TILE = TILE_VECTORS * LANES, DEPTH = NK_SCRATCH / 64 };

// C (rows × vectors) = [bias, or C, or 0] + A B over `depth` terms; A's entry (r, k) is at
// a[r * a_row + k * a_step], B's row k at b + k * b_step.
ALWAYS void tile(const int rows, const int vectors, int64_t depth, const float *restrict a,
                 int64_t a_row, int64_t a_step, const float *restrict b, int64_t b_step,
                 const float *bias, int accumulate, float *restrict c, int64_t c_row) {
  vf sum[12][TILE_VECTORS];
  UNROLL for (int r = 0; r < rows; ++r)
    UNROLL for (int v = 0; v < vectors; ++v)
      sum[r][v] = bias         ? load(bias + v * LANES)
                  : accumulate ? load(c + r * c_row + v * LANES)
                               : splat(0);
  for (int64_t k = 0; k < depth; ++k) {
    vf row[TILE_VECTORS];
    UNROLL for (int v = 0; v < vectors; ++v) row[v] = load(b + v * LANES);
    UNROLL for (int r = 0; r < rows; ++r) {
      const float x = a[r * a_row];
      UNROLL for (int v = 0; v < vectors; ++v) sum[r][v] += x * row[v];
    }
    a += a_step;
    b += b_step;
  }
  UNROLL for (int r = 0; r < rows; ++r)
    UNROLL for (int v = 0; v < vectors; ++v) store(c + r * c_row + v * LANES, sum[r][v]);
}

typedef void (*tile_function)(int64_t depth, const float *a, int64_t a_row, int64_t a_step,
                              const float *b, int64_t b_step, const float *bias, int accumulate,
                              float *c, int64_t c_row);

#define TILE_CASE(R, V)                                                                            \
  static void NAME(tile_##R##_##V)(int64_t depth, const float *a, int64_t a_row, int64_t a_step,   \
                                   const float *b, int64_t b_step, const float *bias,              \
                                   int accumulate, float *c, int64_t c_row) {                      \
    if (a_row == 1)                                                                                \
      tile(R, V, depth, a, 1, a_step, b, b_step, bias, accumulate, c, c_row);                      \
    else                                                                                           \
      tile(R, V, depth, a, a_row, 1, b, b_step, bias, accumulate, c, c_row);                       \
  }
#define TILES_TO_6(V) \
  TILE_CASE(1, V) TILE_CASE(2, V) TILE_CASE(3, V) TILE_CASE(4, V) TILE_CASE(5, V) TILE_CASE(6, V)
#define TILES_TO_12(V)                                                                             \
  TILES_TO_6(V)                                                                                    \
  TILE_CASE(7, V) TILE_CASE(8, V) TILE_CASE(9, V) TILE_CASE(10, V) TILE_CASE(11, V) TILE_CASE(12, V)
#define NAMES_TO_6(V)                                                                              \
  NAME(tile_1_##V), NAME(tile_2_##V), NAME(tile_3_##V), NAME(tile_4_##V), NAME(tile_5_##V),        \
      NAME(tile_6_##V)
#define NAMES_TO_12(V)                                                                             \
  NAMES_TO_6(V), NAME(tile_7_##V), NAME(tile_8_##V), NAME(tile_9_##V), NAME(tile_10_##V),          \
      NAME(tile_11_##V), NAME(tile_12_##V)

TILES_TO_12(1)
#if TILE_VECTORS == 4
TILES_TO_12(2)
TILES_TO_6(3)
TILE_CASE(7, 3)
TILE_CASE(8, 3)
TILES_TO_6(4)
static const tile_function NAME(tiles)[4][12] = {
    {NAMES_TO_12(1)},
    {NAMES_TO_12(2)},
    {NAMES_TO_6(3), NAME(tile_7_3), NAME(tile_8_3)},
    {NAMES_TO_6(4)}};
#else
TILES_TO_6(2)
static const tile_function NAME(tiles)[2][12] = {{NAMES_TO_12(1)}, {NAMES_TO_6(2)}};
#endif

// C (m × n) = [bias, or C, or 0] + A B over k terms, n a multiple of LANES. A is read as in `tile`,
// with either a_row or a_step equal to 1. B's panels are copied to `scratch` when they are read often
// enough.
static void product(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, int64_t a_step,
                    const float *b, int64_t b_step, const float *bias, int accumulate, float *c,
                    int64_t c_row, float *scratch) {
  if (m <= 0) return;
  const int64_t all = n / LANES, panels = (all + TILE_VECTORS - 1) / TILE_VECTORS;
  const int pack = scratch && panels > 1 && m >= PACKING_ROWS;
  const int64_t block = pack ? DEPTH : k;
  for (int64_t p = 0, at = 0; p < panels; ++p) {
    const int64_t vectors = (all - at + panels - p - 1) / (panels - p);
    const int64_t limit = TILE_ROWS(vectors), tiles = (m + limit - 1) / limit;
    for (int64_t k0 = 0; k0 < k || k0 == 0; k0 += block) {
      const int64_t depth = k - k0 < block ? k - k0 : block;
      const float *panel = b + k0 * b_step + at * LANES;
      int64_t step = b_step;
      if (pack) {
        step = vectors * LANES;
        for (int64_t r = 0; r < depth; ++r)
          for (int64_t v = 0; v < vectors; ++v)
            store(scratch + r * step + v * LANES, load(panel + r * b_step + v * LANES));
        panel = scratch;
      }
      for (int64_t t = 0, row = 0; t < tiles; ++t) {
        const int64_t rows = (m - row + tiles - t - 1) / (tiles - t);
        NAME(tiles)[vectors - 1][rows - 1](
            depth, a + row * a_row + k0 * a_step, a_row, a_step, panel, step,
            bias && k0 == 0 ? bias + at * LANES : NULL, accumulate || k0 > 0,
            c + row * c_row + at * LANES, c_row);
        row += rows;
      }
      if (k == 0) break;
    }
    at += vectors;
  }
}

// y (vectors) = bias + x W over `depth` inputs, one sample. A single sum per output would wait for
// one multiply-add after the other; CHAINS of them, the same number on every machine, run side by side.
enum { CHAINS = 4 };
ALWAYS void row(const int vectors, int64_t depth, const float *restrict x, const float *restrict w,
                int64_t w_step, const float *bias, float *restrict y) {
  vf sum[CHAINS][TILE_VECTORS];
  UNROLL for (int c = 0; c < CHAINS; ++c)
    UNROLL for (int v = 0; v < vectors; ++v) sum[c][v] = c ? splat(0) : load(bias + v * LANES);
  int64_t k = 0;
  for (; k + CHAINS <= depth; k += CHAINS)
    UNROLL for (int c = 0; c < CHAINS; ++c)
      UNROLL for (int v = 0; v < vectors; ++v)
        sum[c][v] += x[k + c] * load(w + (k + c) * w_step + v * LANES);
  for (; k < depth; ++k)
    UNROLL for (int v = 0; v < vectors; ++v) sum[0][v] += x[k] * load(w + k * w_step + v * LANES);
  UNROLL for (int v = 0; v < vectors; ++v)
    store(y + v * LANES, (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]));
}

// ---- Elementary functions -----------------------------------------------------------------------

ALWAYS vf magnitude(vf x) { return (vf)((vi)x & 0x7fffffff); }
ALWAYS vf with_sign(vf x, vf of) { return (vf)((vi)x | ((vi)of & (int32_t)0x80000000)); }

typedef struct {
  vf scale; // 2ⁿ
  vf rest;  // exp(r) − 1, |r| ≤ ½ ln 2
} exponential;

// exp(x) = scale + scale · rest for x ≤ 0 (0 below −87): x = n ln 2 + r, Taylor series in r.
ALWAYS exponential exponentiate(vf x) {
  const vi vanishes = x < -87.0f;
  x = choose(vanishes, splat(-87.0f), x);
  const vf shifted = x * 1.44269504f + 12582912.0f; // adding 1.5 · 2²³ rounds to an integer
  const vf n = shifted - 12582912.0f;
  vf r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  vf sum = splat(1.0f / 5040);
  sum = sum * r + 1.0f / 720;
  sum = sum * r + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + 0.5f;
  const vi bits = (((vi)shifted - 0x4b400000 + 127) << 23) & ~vanishes;
  return (exponential){(vf)bits, (sum * r) * r + r};
}

// y ← σ(y) in place, slope ← σ' where it cannot be had from the result.
ALWAYS void activate(int32_t activation, int64_t count, float *y, float *slope) {
  switch (activation) {
  case NK_RELU: // written so that a NaN stays one
    for (int64_t i = 0; i < count; i += LANES) {
      const vf z = load(y + i);
      store(y + i, choose(z < 0, splat(0), z));
    }
    break;
  case NK_TANH: // −expm1(−2|z|) / (2 + expm1(−2|z|))
    for (int64_t i = 0; i < count; i += LANES) {
      const vf z = load(y + i);
      const exponential e = exponentiate(magnitude(z) * -2.0f);
      const vf minus = e.scale * e.rest + (e.scale - 1.0f);
      store(y + i, with_sign(-minus / (minus + 2.0f), z));
    }
    break;
  case NK_SOFTPLUS: // max(z, 0) + log1p(e), e = exp(−|z|), log1p(e) = 2 artanh(e / (2 + e))
    for (int64_t i = 0; i < count; i += LANES) {
      const vf z = load(y + i);
      const exponential x = exponentiate(-magnitude(z));
      const vf e = x.scale * x.rest + x.scale;
      const vf s = e / (e + 2.0f), s2 = s * s;
      vf sum = splat(1.0f / 17);
      sum = sum * s2 + 1.0f / 15;
      sum = sum * s2 + 1.0f / 13;
      sum = sum * s2 + 1.0f / 11;
      sum = sum * s2 + 1.0f / 9;
      sum = sum * s2 + 1.0f / 7;
      sum = sum * s2 + 1.0f / 5;
      sum = sum * s2 + 1.0f / 3;
      sum = sum * s2 + 1.0f;
      store(y + i, choose(z < 0, splat(0), z) + 2.0f * s * sum);
      if (slope) store(slope + i, choose(z < 0, e, splat(1)) / (e + 1.0f));
    }
    break;
  case NK_SILU: // z ς with ς the logistic function; derivative ς (1 + z (1 − ς))
    for (int64_t i = 0; i < count; i += LANES) {
      const vf z = load(y + i);
      const exponential x = exponentiate(-magnitude(z));
      const vf e = x.scale * x.rest + x.scale;
      const vf s = choose(z < 0, e, splat(1)) / (e + 1.0f);
      const vf complement = choose(z < 0, splat(1), e) / (e + 1.0f);
      store(y + i, z * s);
      if (slope) store(slope + i, s + s * complement * z);
    }
    break;
  default: break;
  }
}

ALWAYS void multiply_by_slope(int32_t activation, int64_t count, const float *y, const float *slope,
                              float *d) {
  switch (activation) {
  case NK_RELU:
    for (int64_t i = 0; i < count; i += LANES) {
      store(d + i, (vf)((load(y + i) > 0) & (vi)load(d + i)));
    }
    break;
  case NK_TANH:
    for (int64_t i = 0; i < count; i += LANES) {
      const vf t = load(y + i);
      store(d + i, load(d + i) * (1.0f - t * t));
    }
    break;
  case NK_SOFTPLUS:
  case NK_SILU:
    for (int64_t i = 0; i < count; i += LANES) store(d + i, load(d + i) * load(slope + i));
    break;
  default: break;
  }
}

// ---- Entry points -------------------------------------------------------------------------------

enum { AHEAD = 8 }; // samples are drawn at random: fetch them this many early

void NAME(gather)(int64_t count, int64_t width, const int32_t *index, const float *source,
                  float *target) {
  for (int64_t r = 0; r < count; ++r) {
    if (r + AHEAD < count)
      for (int64_t i = 0; i < width; i += 16)
        __builtin_prefetch(source + (int64_t)index[r + AHEAD] * width + i);
    const float *from = source + (int64_t)index[r] * width;
    for (int64_t i = 0; i < width; i += LANES) store(target + r * width + i, load(from + i));
  }
}

void NAME(dense_forward)(int32_t activation, int64_t samples, int64_t inputs,
                         int64_t outputs_padded, const float *x, int64_t x_stride, const float *w,
                         const float *b, float *y, float *slope, float *scratch) {
  product(samples, outputs_padded, inputs, x, x_stride, 1, w, outputs_padded, b, 0, y,
          outputs_padded, scratch);
  activate(activation, samples * outputs_padded, y, slope);
}

void NAME(dense_forward_row)(int32_t activation, int64_t inputs, int64_t outputs_padded,
                             const float *x, const float *w, const float *b, float *y) {
  int64_t at = 0;
  for (; at + TILE <= outputs_padded; at += TILE)
    row(TILE_VECTORS, inputs, x, w + at, outputs_padded, b + at, y + at);
  for (; at < outputs_padded; at += LANES)
    row(1, inputs, x, w + at, outputs_padded, b + at, y + at);
  activate(activation, outputs_padded, y, NULL);
}

void NAME(dense_backward_input)(int32_t activation, int64_t samples, int64_t outputs,
                                int64_t outputs_padded, int64_t inputs_padded, const float *dz,
                                const float *v, const float *y, const float *slope,
                                float *dz_below, float *scratch) {
  product(samples, inputs_padded, outputs, dz, outputs_padded, 1, v, inputs_padded, NULL, 0,
          dz_below, inputs_padded, scratch);
  multiply_by_slope(activation, samples * inputs_padded, y, slope, dz_below);
}

void NAME(dense_backward_weights)(int64_t samples, int64_t first, int64_t last,
                                  int64_t outputs_padded, int32_t accumulate, const float *x,
                                  int64_t x_stride, const float *dz, float *dw, float *scratch) {
  product(last - first, outputs_padded, samples, x + first, 1, x_stride, dz, outputs_padded, NULL,
          accumulate, dw + first * outputs_padded, outputs_padded, scratch);
}

void NAME(dense_backward_bias)(int64_t samples, int64_t outputs_padded, int32_t accumulate,
                               const float *dz, float *db) {
  for (int64_t o = 0; o < outputs_padded; o += LANES) {
    vf sum = accumulate ? load(db + o) : splat(0);
    for (int64_t r = 0; r < samples; ++r) sum += load(dz + r * outputs_padded + o);
    store(db + o, sum);
  }
}

void NAME(activate)(int32_t activation, int64_t count, float *y, float *slope) {
  activate(activation, count, y, slope);
}

void NAME(multiply_by_slope)(int32_t activation, int64_t count, const float *y, const float *slope,
                             float *d) {
  multiply_by_slope(activation, count, y, slope, d);
}

void NAME(add)(int64_t count, const float *source, float *target) {
  for (int64_t i = 0; i < count; i += LANES) store(target + i, load(target + i) + load(source + i));
}

// The sum of the first `width` of `count` floats, count a multiple of LANES, of which a · b is taken.
ALWAYS float sum_of_products(int64_t width, int64_t count, const float *a, const float *b) {
  vi lane;
  UNROLL for (int i = 0; i < LANES; ++i) lane[i] = i;
  vf sum = splat(0);
  for (int64_t i = 0; i < count; i += LANES) {
    const vf terms = load(a + i) * (b ? load(b + i) : splat(1));
    sum += (vf)((vi)terms & (lane < (int32_t)(width - i)));
  }
  float total = 0;
  for (int i = 0; i < LANES; ++i) total += sum[i];
  return total;
}

void NAME(layer_norm_forward)(int64_t samples, int64_t width, int64_t width_padded, float epsilon,
                              const float *x, const float *parameters, float *y, float *hat,
                              float *inverse) {
  for (int64_t s = 0; s < samples; ++s) {
    const float *from = x + s * width_padded;
    float *to = y + s * width_padded;
    const float mean = sum_of_products(width, width_padded, from, NULL) / width;
    for (int64_t i = 0; i < width_padded; i += LANES) store(to + i, load(from + i) - mean);
    const float variance = sum_of_products(width, width_padded, to, to) / width;
    const float scale = 1 / __builtin_sqrtf(variance + epsilon);
    for (int64_t i = 0; i < width_padded; i += LANES) {
      const vf normalized = load(to + i) * scale;
      if (hat) store(hat + s * width_padded + i, normalized);
      store(to + i, load(parameters + i) * normalized + load(parameters + width_padded + i));
    }
    if (inverse) inverse[s] = scale;
  }
}

void NAME(layer_norm_backward)(int64_t samples, int64_t width, int64_t width_padded,
                               const float *dy, const float *parameters, const float *hat,
                               const float *inverse, float *dx) {
  for (int64_t s = 0; s < samples; ++s) {
    const float *from = dy + s * width_padded, *h = hat + s * width_padded;
    float *to = dx + s * width_padded;
    for (int64_t i = 0; i < width_padded; i += LANES)
      store(to + i, load(from + i) * load(parameters + i));
    const float mean = sum_of_products(width, width_padded, to, NULL) / width;
    const float along = sum_of_products(width, width_padded, to, h) / width;
    for (int64_t i = 0; i < width_padded; i += LANES)
      store(to + i, (load(to + i) - mean - load(h + i) * along) * inverse[s]);
    memset(to + width, 0, sizeof(float) * (width_padded - width));
  }
}

void NAME(layer_norm_gain)(int64_t samples, int64_t width_padded, int32_t accumulate,
                           const float *dy, const float *hat, float *dg) {
  for (int64_t o = 0; o < width_padded; o += LANES) {
    vf sum = accumulate ? load(dg + o) : splat(0);
    for (int64_t r = 0; r < samples; ++r)
      sum += load(dy + r * width_padded + o) * load(hat + r * width_padded + o);
    store(dg + o, sum);
  }
}

void NAME(loss)(int64_t samples, int64_t outputs, int64_t outputs_padded, float scale,
                const int32_t *index, const int32_t *group, const float *y, const float *target,
                const float *precision, float *dz, float *loss) {
  const int64_t size = outputs * outputs;
  vi lane;
  UNROLL for (int i = 0; i < LANES; ++i) lane[i] = i;
  for (int64_t s = 0; s < samples; ++s) {
    if (s + AHEAD < samples) {
      const int64_t next = index[s + AHEAD];
      __builtin_prefetch(target + next * outputs_padded);
      for (int64_t i = 0; i < size + 15; i += 16)
        __builtin_prefetch(precision + (int64_t)group[next] * size + i);
    }
    const int64_t n = index[s];
    const float *u = y + s * outputs_padded, *goal = target + n * outputs_padded;
    const float *p = precision + (int64_t)group[n] * size;
    float *g = dz + s * outputs_padded;
    float sum = 0;
    for (int64_t o = 0; o < outputs_padded; o += LANES) {
      vf row = splat(0);
      if (o < outputs) {
        for (int64_t j = 0; j < outputs; ++j) row += (u[j] - goal[j]) * load(p + j * outputs + o);
        // The last lanes read on into the next row, or the next matrix.
        row = (vf)((vi)row & (lane < (int32_t)(outputs - o)));
        const vf terms = (load(u + o) - load(goal + o)) * row;
        for (int64_t j = 0; j < LANES && o + j < outputs; ++j) sum += terms[j];
      }
      store(g + o, row * scale);
    }
    loss[s] = 0.5f * sum;
  }
}

void NAME(adam)(int64_t count, nk_update u, const float *restrict gradient,
                float *restrict parameter, float *restrict first, float *restrict second,
                float *restrict average) {
  for (int64_t i = 0; i < count; i += LANES) {
    const vf g = load(gradient + i) * u.gradientScale;
    const vf m = g + u.momentum * (load(first + i) - g);
    const vf g2 = g * g;
    const vf v = g2 + u.secondMomentum * (load(second + i) - g2);
    store(first + i, m);
    store(second + i, v);
    const vf old = load(parameter + i);
    const vf root = __builtin_elementwise_sqrt(v) * u.secondScale + u.epsilon;
    const vf new = old - (u.rate * m / root + u.decay * old);
    store(parameter + i, new);
    if (average) {
      const vf mean = load(average + i);
      store(average + i, mean + u.averageStep * (new - mean));
    }
  }
}

void NAME(sgd)(int64_t count, nk_update u, const float *restrict gradient,
               float *restrict parameter, float *restrict velocity, float *restrict average) {
  for (int64_t i = 0; i < count; i += LANES) {
    const vf m = load(gradient + i) * u.gradientScale + u.momentum * load(velocity + i);
    store(velocity + i, m);
    const vf old = load(parameter + i);
    const vf new = old - (u.rate * m + u.decay * old);
    store(parameter + i, new);
    if (average) {
      const vf mean = load(average + i);
      store(average + i, mean + u.averageStep * (new - mean));
    }
  }
}

void NAME(sum_parts)(int64_t count, int64_t parts, int64_t stride, const float *values,
                     float *target) {
  for (int64_t i = 0; i < count; i += LANES) {
    vf sum = load(values + i);
    for (int64_t p = 1; p < parts; ++p) sum += load(values + p * stride + i);
    store(target + i, sum);
  }
}

float NAME(sum_of_squares)(int64_t count, const float *values) {
  vf sum = splat(0);
  for (int64_t i = 0; i < count; i += LANES) {
    const vf x = load(values + i);
    sum += x * x;
  }
  float total = 0;
  for (int i = 0; i < LANES; ++i) total += sum[i];
  return total;
}
