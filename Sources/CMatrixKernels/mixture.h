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

// Four rows times 2 × LANES points.
ALWAYS void multiply(int64_t columns, const double *w, const double *z, vd sum[ROWS][2]) {
  UNROLL for (int r = 0; r < ROWS; ++r) sum[r][0] = sum[r][1] = splat(0);
  for (int64_t j = 0; j < columns; ++j) {
    const vd z0 = load(z + j * POINTS), z1 = load(z + j * POINTS + LANES);
    UNROLL for (int r = 0; r < ROWS; ++r) {
      sum[r][0] += w[j * ROWS + r] * z0;
      sum[r][1] += w[j * ROWS + r] * z1;
    }
  }
}

// Whether any value comes within `slack` of its limit.
ALWAYS int any_reaches(const double *value, const double *limit, double slack) {
  vi any = {};
  UNROLL for (int q = 0; q < POINTS; q += LANES) any |= load(value + q) + slack >= load(limit + q);
  return __builtin_reduce_or(any) != 0;
}

ALWAYS void fill(double *value, double x) {
  UNROLL for (int q = 0; q < POINTS; q += LANES) store(value + q, splat(x));
}

// log p_kn, or −∞ once none of the points reaches its limit.
static void evaluate(int64_t D, double constant, const double *whitener, const double *mean,
                     const double *z, double *e, const double *limit, double *value) {
  for (int64_t j = 0; j < D; ++j)
    UNROLL for (int q = 0; q < POINTS; q += LANES)
      store(e + j * POINTS + q, load(z + j * POINTS + q) - mean[j]);
  fill(value, constant);
  for (int64_t g = D / ROWS - 1; g >= 0; --g) {
    const double *w = whitener + 8 * g * (g + 1);
    for (int q = 0; q < POINTS; q += PAIR) {
      vd row[ROWS][2];
      multiply(ROWS * (g + 1), w, e + q, row);
      UNROLL for (int v = 0; v < 2; ++v) {
        vd squares = splat(0);
        UNROLL for (int r = 0; r < ROWS; ++r) squares += row[r][v] * row[r][v];
        store(value + q + v * LANES, load(value + q + v * LANES) - 0.5 * squares);
      }
    }
    if (!any_reaches(value, limit, 0)) {
      fill(value, -INFINITY);
      return;
    }
  }
}

// Bounds on log p_kn from the last two rows of each cluster.
ALWAYS void screen(const mk_mixture *m, int64_t D, const double *z, double *logs) {
  for (int64_t k = 0; k < m->clusters; k += 2) {
    const double *offset = m->offsets + ROWS / 2 * k;
    for (int q = 0; q < POINTS; q += PAIR) {
      vd row[ROWS][2];
      multiply(D, m->screens + ROWS / 2 * k * D, z + q, row);
      for (int64_t c = 0; c < 2 && k + c < m->clusters; ++c) {
        UNROLL for (int v = 0; v < 2; ++v) {
          const vd r0 = row[2 * c][v] - offset[2 * c], r1 = row[2 * c + 1][v] - offset[2 * c + 1];
          store(logs + (k + c) * POINTS + q + v * LANES,
                m->constants[k + c] - 0.5 * (r0 * r0 + r1 * r1));
        }
      }
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
  const int64_t size = mk_mixture_whitener_size(d);
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
      // Scatter instructions are slower than single stores.
      _Pragma("clang loop vectorize(disable)") for (int64_t i = 0; i < d; ++i)
          column[i * POINTS] = point[i];
    }
    screen(m, D, z, logs);

    // Homes in full: those of the last time, or the clusters of the largest bounds.
    if (m->homes_known)
      for (int64_t p = 0; p < here; ++p) guess[p] = out.home[number[p]];
    else
      for (int64_t p = 0; p < here; ++p) {
        guess[p] = 0;
        for (int64_t k = 1; k < K; ++k)
          if (logs[k * POINTS + p] > logs[guess[p] * POINTS + p]) guess[p] = k;
      }
    for (int64_t k = 0; k < K; ++k) done[k] = m->constants[k] == -INFINITY;
    fill(best, -INFINITY);
    fill(limit, -INFINITY);
    for (int64_t p = 0; p < here; ++p) {
      const int64_t k = guess[p];
      if (done[k]) continue;
      done[k] = 1;
      double *value = logs + k * POINTS;
      evaluate(D, m->constants[k], m->whiteners + k * size, m->means + k * D, z, e, limit, value);
      UNROLL for (int q = 0; q < POINTS; q += LANES)
        store(best + q, larger(load(value + q), load(best + q)));
    }

    // The others as far as they matter. The screen's rounding is far below 1.
    UNROLL for (int q = 0; q < POINTS; q += LANES) store(limit + q, load(best + q) - m->cutoff);
    for (int64_t k = 0; k < K; ++k) {
      if (done[k]) continue;
      double *value = logs + k * POINTS;
      if (!any_reaches(value, limit, 1)) {
        fill(value, -INFINITY);
        continue;
      }
      evaluate(D, m->constants[k], m->whiteners + k * size, m->means + k * D, z, e, limit, value);
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
      if (!any_reaches(value, limit, 0)) continue;
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
