// The body of mk_mixture_shares for one instruction set; see MixtureKernels.h for the method.
//
//   D        d rounded up to a multiple of ROWS; the numbers of a point are the last d of D, after zeros
//   z, e     a block of points and of z − μ_k: D × POINTS, point fastest
//   W        four rows at a time: for columns 0 … 4 g + 3 of group g, four numbers each
//   logs     bounds on log p_kn, then log p_kn or −∞: K × POINTS

#include "MixtureKernels.h"

#include <math.h>

enum { POINTS = 16, ROWS = 4, PAIR = 2 * LANES };

typedef double vd __attribute__((vector_size(8 * LANES), aligned(8)));
typedef int64_t vi __attribute__((vector_size(8 * LANES), aligned(8)));

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("unroll")

ALWAYS vd load(const double *p) { return *(const vd *)p; }
ALWAYS void store(double *p, vd x) { *(vd *)p = x; }
ALWAYS vd splat(double x) { return x - (vd){}; }
ALWAYS vd choose(vi mask, vd a, vd b) { return (vd)(((vi)a & mask) | ((vi)b & ~mask)); }
ALWAYS vd larger(vd a, vd b) { return choose(a > b, a, b); }

// ‖four rows of W e‖² of 2 × LANES points, where e is z, or z − μ if `subtract` (a constant).
ALWAYS void add_squares(int subtract, int64_t columns, const double *w, const double *z,
                        const double *mean, vd *total) {
  vd sum[ROWS][2];
  UNROLL for (int r = 0; r < ROWS; ++r) sum[r][0] = sum[r][1] = splat(0);
  for (int64_t j = 0; j < columns; ++j) {
    vd e0 = load(z + j * POINTS), e1 = load(z + j * POINTS + LANES);
    if (subtract) {
      e0 -= mean[j];
      e1 -= mean[j];
    }
    UNROLL for (int r = 0; r < ROWS; ++r) {
      sum[r][0] += w[j * ROWS + r] * e0;
      sum[r][1] += w[j * ROWS + r] * e1;
    }
  }
  UNROLL for (int r = 0; r < ROWS; ++r) {
    total[0] += sum[r][0] * sum[r][0];
    total[1] += sum[r][1] * sum[r][1];
  }
}

// Whether any value reaches its limit.
ALWAYS int any_reaches(const double *value, const double *limit) {
  vi any = {};
  UNROLL for (int q = 0; q < POINTS; q += LANES) any |= load(value + q) >= load(limit + q);
  return __builtin_reduce_or(any) != 0;
}

// Takes the rows above the last four off the bounds; −∞ once none of them reaches its limit.
static void go_on(int64_t D, const double *whitener, const double *mean, const double *z,
                  double *e, const double *limit, double *value) {
  for (int64_t j = 0; j < D; ++j)
    UNROLL for (int q = 0; q < POINTS; q += LANES)
      store(e + j * POINTS + q, load(z + j * POINTS + q) - mean[j]);
  for (int64_t g = D / ROWS - 2; g >= 0; --g) {
    const double *w = whitener + 8 * g * (g + 1);
    for (int q = 0; q < POINTS; q += PAIR) {
      vd squares[2] = {splat(0), splat(0)};
      add_squares(0, ROWS * (g + 1), w, e + q, mean, squares);
      store(value + q, load(value + q) - 0.5 * squares[0]);
      store(value + q + LANES, load(value + q + LANES) - 0.5 * squares[1]);
    }
    if (!any_reaches(value, limit)) {
      UNROLL for (int q = 0; q < POINTS; q += LANES) store(value + q, splat(-INFINITY));
      return;
    }
  }
}

void NAME(weighted_sums)(int64_t size, int64_t terms, const int32_t *index, const double *sources,
                         const double *weights, double *sums) {
  int64_t i = 0;
  for (; i + LANES <= size; i += LANES) {
    vd sum[MK_SUMS];
    UNROLL for (int s = 0; s < MK_SUMS; ++s) sum[s] = splat(0);
    for (int64_t a = 0; a < terms; ++a) {
      const vd source = load(sources + index[a] * size + i);
      UNROLL for (int s = 0; s < MK_SUMS; ++s) sum[s] += weights[a * MK_SUMS + s] * source;
    }
    UNROLL for (int s = 0; s < MK_SUMS; ++s) store(sums + s * size + i, sum[s]);
  }
  for (; i < size; ++i)
    for (int s = 0; s < MK_SUMS; ++s) {
      double sum = 0;
      for (int64_t a = 0; a < terms; ++a)
        sum += weights[a * MK_SUMS + s] * sources[index[a] * size + i];
      sums[s * size + i] = sum;
    }
}

void NAME(squared_distances)(int64_t dimension, int64_t count, const double *points,
                             const double *center, double *distances) {
  const int64_t d = dimension;
  for (int64_t n = 0; n < count; ++n) {
    const double *z = points + n * d;
    vd total[2] = {splat(0), splat(0)};
    int64_t i = 0;
    for (; i + PAIR <= d; i += PAIR)
      UNROLL for (int v = 0; v < 2; ++v) {
        const vd gap = load(z + i + v * LANES) - load(center + i + v * LANES);
        total[v] += gap * gap;
      }
    for (; i + LANES <= d; i += LANES) {
      const vd gap = load(z + i) - load(center + i);
      total[0] += gap * gap;
    }
    const vd both = total[0] + total[1];
    double sum = 0;
    UNROLL for (int v = 0; v < LANES; ++v) sum += both[v];
    for (; i < d; ++i) sum += (z[i] - center[i]) * (z[i] - center[i]);
    distances[n] = sum;
  }
}

void NAME(mixture_shares)(const mk_mixture *m, int64_t count, const int32_t *index,
                          const double *points, double *scratch, mk_mixture_result out) {
  const int64_t d = m->dimension, K = m->clusters, D = mk_mixture_padded(d);
  const int64_t size = mk_mixture_whitener_size(d), last = D / ROWS - 1;
  double *z = scratch, *e = z + D * POINTS, *logs = e + D * POINTS, *limit = logs + K * POINTS;
  double *best = limit + POINTS, *sum = best + POINTS, *done = sum + POINTS;
  for (int64_t i = 0; i < (D - d) * POINTS; ++i) z[i] = 0;
  for (int64_t start = 0; start < count; start += POINTS) {
    const int64_t here = count - start < POINTS ? count - start : POINTS;
    int64_t number[POINTS], guess[POINTS];
    for (int64_t q = 0; q < POINTS; ++q) {
      const int64_t at = start + (q < here ? q : here - 1);
      number[q] = index ? index[at] : at;
    }
    for (int64_t q = 0; q < POINTS; ++q) {
      const double *point = points + number[q] * d;
      double *column = z + (D - d) * POINTS + q;
      for (int64_t i = 0; i < d; ++i) column[i * POINTS] = point[i];
    }

    // The bounds from the last rows, and each point's most promising cluster.
    for (int q = 0; q < POINTS; q += PAIR) {
      vd top[2] = {splat(-INFINITY), splat(-INFINITY)};
      vi which[2] = {};
      for (int64_t k = 0; k < K; ++k) {
        vd bound[2] = {splat(m->constants[k]), splat(m->constants[k])};
        if (m->constants[k] > -INFINITY) {
          vd squares[2] = {splat(0), splat(0)};
          add_squares(1, D, m->whiteners + k * size + 8 * last * (last + 1), z + q,
                      m->means + k * D, squares);
          UNROLL for (int v = 0; v < 2; ++v) {
            bound[v] -= 0.5 * squares[v];
            const vi better = bound[v] > top[v];
            which[v] = (better & k) | (~better & which[v]);
            top[v] = choose(better, bound[v], top[v]);
          }
        }
        store(logs + k * POINTS + q, bound[0]);
        store(logs + k * POINTS + q + LANES, bound[1]);
      }
      *(vi *)(guess + q) = which[0];
      *(vi *)(guess + q + LANES) = which[1];
    }

    // The most promising clusters in full.
    for (int64_t k = 0; k < K; ++k) done[k] = m->constants[k] == -INFINITY;
    UNROLL for (int q = 0; q < POINTS; q += LANES) {
      store(best + q, splat(-INFINITY));
      store(limit + q, splat(-INFINITY));
    }
    for (int64_t p = 0; p < here; ++p) {
      const int64_t k = guess[p];
      if (done[k]) continue;
      done[k] = 1;
      double *value = logs + k * POINTS;
      go_on(D, m->whiteners + k * size, m->means + k * D, z, e, limit, value);
      UNROLL for (int q = 0; q < POINTS; q += LANES)
        store(best + q, larger(load(value + q), load(best + q)));
    }

    // The others as far as they matter.
    UNROLL for (int q = 0; q < POINTS; q += LANES) store(limit + q, load(best + q) - m->cutoff);
    for (int64_t k = 0; k < K; ++k) {
      if (done[k]) continue;
      double *value = logs + k * POINTS;
      if (any_reaches(value, limit))
        go_on(D, m->whiteners + k * size, m->means + k * D, z, e, limit, value);
      else
        UNROLL for (int q = 0; q < POINTS; q += LANES) store(value + q, splat(-INFINITY));
      UNROLL for (int q = 0; q < POINTS; q += LANES) {
        store(best + q, larger(load(value + q), load(best + q)));
        store(limit + q, load(best + q) - m->cutoff);
      }
    }

    for (int64_t p = 0; p < here; ++p) {
      out.count[number[p]] = 0;
      sum[p] = 0;
    }
    for (int64_t k = 0; k < K; ++k) {
      const double *value = logs + k * POINTS;
      if (!any_reaches(value, limit)) continue;
      for (int64_t p = 0; p < here; ++p) {
        const double gap = value[p] - best[p]; // NaN for a point infinitely far from every cluster
        if (!(gap > -m->cutoff)) continue;
        const int64_t n = number[p], slot = n * K + out.count[n]++;
        if (gap == 0) out.home[n] = (int32_t)k;
        out.cluster[slot] = (int32_t)k;
        out.share[slot] = gap == 0 ? 1 : exp(gap);
        sum[p] += out.share[slot];
      }
    }
    for (int64_t p = 0; p < here; ++p) {
      const int64_t n = number[p], first = n * K;
      if (out.count[n] == 0) {
        for (int64_t k = 0; k < K; ++k) {
          if (m->constants[k] == -INFINITY) continue;
          out.cluster[first + out.count[n]] = (int32_t)k;
          out.share[first + out.count[n]++] = 1;
          sum[p] += 1;
        }
        out.home[n] = out.count[n] > 0 ? out.cluster[first] : 0;
      }
      out.log_density[n] = best[p] + log(sum[p]);
      if (out.count[n] > 1)
        for (int64_t c = 0; c < out.count[n]; ++c) out.share[first + c] /= sum[p];
    }
  }
}
