#pragma once

// The shares of a Gaussian mixture's clusters in points, in double precision.
//
//   log p_kn = c_k − ½ ‖W_k (z_n − μ_k)‖²,   ℓ_n = log Σ_k p_kn,   r_kn = p_kn / Σ_j p_jn
//
//   symbol   meaning                                                                       shape
//   z_n      point n                                                                           d
//   μ_k      mean of cluster k                                                                 d
//   W_k      inverse of the lower Cholesky factor of its covariance                        d × d
//   c_k      everything in log p_kn but the quadratic term; −∞ for a cluster that takes no part
//
// Almost all shares are zero to working precision, and showing that is cheaper than computing them:
// a sum over some rows of W_k (z_n − μ_k) bounds log p_kn from above. The last row conditions the last
// number of a point on all the others, so that in data that obeys a law (x' is a function of x and u)
// the last rows are the ones that tell clusters apart. For sixteen points at a time, the last two rows
// screen every cluster, two clusters in one product; then come all rows for the points' homes; then
// every other cluster that the screen let pass goes on from the last row upwards, four rows at a time,
// until none of the points can have a share in it.
//
// A point's results do not depend on which other points it is computed with.

#include <stdint.h>

/// A mixture prepared for these kernels.
typedef struct {
  int64_t dimension;       // d
  int64_t clusters;        // K
  const double *constants; // c: K
  const double *means;     // μ: K × mk_mixture_padded(d), zeros first
  const double *whiteners; // W: K × mk_mixture_whitener_size(d)
  const double *screens;   // the last two rows of W: mk_mixture_screens_size(d, K)
  const double *offsets;   // the same rows times μ: 2 ⌈K / 2⌉ pairs
  double cutoff;           // shares below exp(−cutoff) of a point's largest are 0
  int32_t homes_known;     // whether the result's `home` holds guesses already
} mk_mixture;

/// What is known about each of N points. The shares of point n that are not 0 are `count[n]` entries of
/// `cluster` and `share` from n · K on, clusters ascending.
typedef struct {
  int32_t *count;      // N
  int32_t *cluster;    // N × K
  double *share;       // N × K
  double *log_density; // ℓ: N
  int32_t *home;       // the cluster of the largest share: N
} mk_mixture_result;

/// d rounded up to whole groups of rows.
int64_t mk_mixture_padded(int64_t dimension);

/// Doubles in a packed W.
int64_t mk_mixture_whitener_size(int64_t dimension);

/// Doubles of scratch for `mk_mixture_shares`.
int64_t mk_mixture_scratch(int64_t dimension, int64_t clusters);

/// Doubles in the screens of all clusters.
int64_t mk_mixture_screens_size(int64_t dimension, int64_t clusters);

/// Packs the lower triangle of W (d × d and column-major) of cluster k, and its rows of `screens` and
/// `offsets`.
void mk_mixture_pack(int64_t dimension, int64_t k, const double *w, const double *mean,
                     double *whitener, double *screens, double *offsets);

/// The shares of points index[0…count), columns of `points` (d × N); of the first `count` points if
/// `index` is NULL. `scratch` is aligned to 64 bytes.
void mk_mixture_shares(int32_t variant, const mk_mixture *mixture, int64_t count,
                       const int32_t *index, const double *points, double *scratch,
                       mk_mixture_result result);

/// Sums that `mk_weighted_sums` makes at once.
#define MK_SUMS 4

/// For s = 0 … 3: sums[s] = Σ_a weights[4 a + s] sources[index[a]], where sources and sums are runs of
/// `size` numbers and a < `terms`.
void mk_weighted_sums(int32_t variant, int64_t size, int64_t terms, const int32_t *index,
                      const double *sources, const double *weights, double *sums);

/// ‖z_n − c‖² of `count` points, d numbers each.
void mk_squared_distances(int32_t variant, int64_t dimension, int64_t count, const double *points,
                          const double *center, double *distances);
