// The kernels of one instruction set. Included once per variant, with
//   NAME(f)         the variant's name for f
//   LANES           doubles per vector: 2, 4 or 8
//   TILE_COLUMNS    columns of a tile, a multiple of LANES: with TILE_VECTORS vectors of rows, as many
//                   sums as the registers hold

#include "CMatrixKernels.h"
#include "layout.h"

#include <math.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

enum { TILE_VECTORS = 3, TILE_ROWS = TILE_VECTORS * LANES, DEPTH = 64, ORDER = MK_ORDER };

// ---- Vectors ------------------------------------------------------------------------------------

typedef double vd __attribute__((vector_size(8 * LANES)));
typedef int64_t vi __attribute__((vector_size(8 * LANES)));
typedef double vd_memory __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

ALWAYS vd load(const double *p) { return *(const vd_memory *)p; }
ALWAYS void store(double *p, vd v) { *(vd_memory *)p = v; }
ALWAYS vd splat(double x) { return x - (vd){0}; } // minus: x + 0 is not x where x is −0
ALWAYS int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
ALWAYS int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// A choice of lanes. Memory of lanes that are not chosen is not touched.
#if LANES == 8
#define LANE_NUMBERS (vi){0, 1, 2, 3, 4, 5, 6, 7}
typedef __mmask8 mask;
ALWAYS mask lanes(int64_t first, int64_t last) { // for 0 ≤ first, last ≤ LANES
  return first < last ? (mask)((0xffu >> (8 - last)) & (0xffu << first)) : 0;
}
ALWAYS vd load_masked(const double *p, mask m) { return (vd)_mm512_maskz_loadu_pd(m, p); }
ALWAYS vd load_more(vd others, const double *p, mask m) {
  return (vd)_mm512_mask_loadu_pd((__m512d)others, m, p);
}
ALWAYS void store_masked(double *p, vd v, mask m) { _mm512_mask_storeu_pd(p, m, (__m512d)v); }
ALWAYS vd choose(mask m, vd a, vd b) { return (vd)_mm512_mask_blend_pd(m, (__m512d)b, (__m512d)a); }
#else
#if LANES == 4
#define LANE_NUMBERS (vi){0, 1, 2, 3}
#else
#define LANE_NUMBERS (vi){0, 1}
#endif
typedef vi mask;
ALWAYS mask lanes(int64_t first, int64_t last) {
  return (LANE_NUMBERS >= first) & (LANE_NUMBERS < last);
}
#if LANES == 4
ALWAYS vd load_masked(const double *p, mask m) { return (vd)_mm256_maskload_pd(p, (__m256i)m); }
ALWAYS void store_masked(double *p, vd v, mask m) {
  _mm256_maskstore_pd(p, (__m256i)m, (__m256d)v);
}
#else
ALWAYS vd load_masked(const double *p, mask m) {
  return (vd){m[0] ? p[0] : 0, m[1] ? p[1] : 0};
}
ALWAYS void store_masked(double *p, vd v, mask m) {
  if (m[0]) p[0] = v[0];
  if (m[1]) p[1] = v[1];
}
#endif
ALWAYS vd choose(mask m, vd a, vd b) { return (vd)((m & (vi)a) | (~m & (vi)b)); }
ALWAYS vd load_more(vd others, const double *p, mask m) {
  return choose(m, load_masked(p, m), others);
}
#endif

// The first `count` lanes; the others read as 0.
ALWAYS vd load_part(const double *p, int64_t count) { return load_masked(p, lanes(0, count)); }
ALWAYS void store_part(double *p, vd v, int64_t count) { store_masked(p, v, lanes(0, count)); }

// x in one lane, 0 in the others.
ALWAYS vd only_lane(int64_t lane, double x) {
  return choose(lanes(lane, lane + 1), splat(x), splat(0));
}

ALWAYS double sum_of_lanes(vd v) {
  double sum = 0;
  UNROLL for (int i = 0; i < LANES; ++i) sum += v[i];
  return sum;
}

// The first and the second half of a[0] b[0] a[1] b[1] …
#if LANES == 8
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define STAGES 3
#elif LANES == 4
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define STAGES 2
#else
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, 0, 2)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 1, 3)
#define STAGES 1
#endif

// Transposes LANES vectors in registers: each stage is a perfect shuffle of all numbers.
ALWAYS void transpose(vd x[LANES]) {
  UNROLL for (int stage = 0; stage < STAGES; ++stage) {
    vd y[LANES];
    UNROLL for (int i = 0; i < LANES / 2; ++i) {
      y[2 * i] = INTERLEAVE_LOW(x[i], x[i + LANES / 2]);
      y[2 * i + 1] = INTERLEAVE_HIGH(x[i], x[i + LANES / 2]);
    }
    UNROLL for (int i = 0; i < LANES; ++i) x[i] = y[i];
  }
}

// ---- Products -----------------------------------------------------------------------------------

// A product of `depth` terms: entry (r, c) is Σ_k a[r + k a_column] b[k b_row + c b_column], where
// b_row or b_column is 1.
typedef struct {
  int64_t depth;
  const double *a;
  int64_t a_column;
  const double *b;
  int64_t b_row, b_column;
} product;

// Memory that is wanted soon, fetched a few cache lines with every tile.
typedef struct {
  const char *at, *end;
  int64_t lines;
} prefetch;

ALWAYS prefetch fetch_ahead(const double *p, int64_t count, int64_t tiles) {
  const int64_t lines = (count + 7) / 8;
  return (prefetch){(const char *)p, (const char *)(p + count), (lines + tiles - 1) / tiles};
}

ALWAYS void fetch(prefetch *p) {
  for (int64_t i = 0; i < p->lines && p->at < p->end; ++i, p->at += 64)
    __builtin_prefetch(p->at);
}

// C ← α (plus − minus) + β C.
typedef struct {
  product plus, minus;
  double *c;
  int64_t c_column;
  double alpha, beta;
  int64_t lanes;   // of the last vector of rows, where that is not full
  prefetch *ahead; // or NULL
} tile_job;

ALWAYS void add_product(const int vectors, const int columns, const int partial, const int sign,
                        const int by_rows, const product *p, int64_t lanes,
                        vd sum[TILE_VECTORS][TILE_COLUMNS]) {
  const double *a = p->a, *b = p->b;
  const int64_t a_column = p->a_column, stride = by_rows ? p->b_row : p->b_column;
  for (int64_t k = p->depth; k > 0; --k) {
    vd x[TILE_VECTORS];
    UNROLL for (int v = 0; v < vectors; ++v)
      x[v] = partial && v == vectors - 1 ? load_part(a + v * LANES, lanes)
                                         : load(a + v * LANES);
    UNROLL for (int c = 0; c < columns; ++c) {
      const vd y = splat(by_rows ? b[c] : b[c * stride]);
      UNROLL for (int v = 0; v < vectors; ++v) {
        if (sign > 0) sum[v][c] += x[v] * y;
        else sum[v][c] -= x[v] * y;
      }
    }
    a += a_column;
    b += by_rows ? stride : 1;
  }
}

ALWAYS void tile(const int vectors, const int columns, const int partial, const tile_job *job) {
  vd sum[TILE_VECTORS][TILE_COLUMNS];
  UNROLL for (int v = 0; v < vectors; ++v)
    UNROLL for (int c = 0; c < columns; ++c) sum[v][c] = splat(0);
  if (job->plus.b_row == 1)
    add_product(vectors, columns, partial, 1, 0, &job->plus, job->lanes, sum);
  else
    add_product(vectors, columns, partial, 1, 1, &job->plus, job->lanes, sum);
  if (job->minus.depth)
    add_product(vectors, columns, partial, -1, 1, &job->minus, job->lanes, sum);
  UNROLL for (int c = 0; c < columns; ++c) {
    UNROLL for (int v = 0; v < vectors; ++v) {
      double *to = job->c + c * job->c_column + v * LANES;
      vd x = job->alpha * sum[v][c];
      if (partial && v == vectors - 1) {
        if (job->beta != 0) x += job->beta * load_part(to, job->lanes);
        store_part(to, x, job->lanes);
      } else {
        if (job->beta != 0) x += job->beta * load(to);
        store(to, x);
      }
    }
  }
}

#define TILE(V, N)                                                                                 \
  static void NAME(tile_##V##_##N)(const tile_job *job) { tile(V, N, 0, job); }                    \
  static void NAME(partial_tile_##V##_##N)(const tile_job *job) { tile(V, N, 1, job); }
#if TILE_COLUMNS == 8
#define TILES(V) TILE(V, 1) TILE(V, 2) TILE(V, 3) TILE(V, 4) TILE(V, 5) TILE(V, 6) TILE(V, 7) TILE(V, 8)
#define NAMES(P, V)                                                                                \
  {NAME(P##_##V##_1), NAME(P##_##V##_2), NAME(P##_##V##_3), NAME(P##_##V##_4),                     \
   NAME(P##_##V##_5), NAME(P##_##V##_6), NAME(P##_##V##_7), NAME(P##_##V##_8)}
#else
#define TILES(V) TILE(V, 1) TILE(V, 2) TILE(V, 3) TILE(V, 4)
#define NAMES(P, V) {NAME(P##_##V##_1), NAME(P##_##V##_2), NAME(P##_##V##_3), NAME(P##_##V##_4)}
#endif
TILES(1)
TILES(2)
TILES(3)

typedef void (*tile_function)(const tile_job *);
static const tile_function NAME(tiles)[2][TILE_VECTORS][TILE_COLUMNS] = {
    {NAMES(tile, 1), NAMES(tile, 2), NAMES(tile, 3)},
    {NAMES(partial_tile, 1), NAMES(partial_tile, 2), NAMES(partial_tile, 3)}};

// The share of one of `left` parts that together cover `count`.
ALWAYS int64_t share(int64_t count, int64_t left) { return (count + left - 1) / left; }

// The functions below move the pointers of the job that they are given; its copies would cost more
// than a small tile. Those of a product of no terms may be NULL, which nothing may be added to.

ALWAYS void next_rows(tile_job *job, int64_t rows) {
  if (job->plus.depth) job->plus.a += rows;
  if (job->minus.depth) job->minus.a += rows;
  job->c += rows;
}

ALWAYS void next_columns(tile_job *job, int64_t columns) {
  if (job->plus.depth) job->plus.b += columns * job->plus.b_column;
  if (job->minus.depth) job->minus.b += columns * job->minus.b_column;
  job->c += columns * job->c_column;
}

// One block of columns (at most TILE_COLUMNS) of a product of `rows` rows.
static void NAME(column_block)(int64_t rows, int64_t columns, tile_job *job) {
  const int64_t vectors = (rows + LANES - 1) / LANES;
  for (int64_t at = 0, left = share(vectors, TILE_VECTORS); left > 0; --left) {
    const int64_t v = share(vectors - at, left), end = (at + v) * LANES;
    job->lanes = rows < end ? LANES - (end - rows) : LANES;
    if (job->ahead) fetch(job->ahead);
    NAME(tiles)[rows < end][v - 1][columns - 1](job);
    next_rows(job, v * LANES);
    at += v;
  }
}

// All columns of a product of at most TILE_ROWS rows.
static void NAME(row_panel)(int64_t rows, int64_t columns, tile_job *job) {
  const int64_t v = (rows + LANES - 1) / LANES;
  job->lanes = rows - (v - 1) * LANES;
  const tile_function *tiles = NAME(tiles)[job->lanes < LANES][v - 1];
  for (int64_t at = 0, left = share(columns, TILE_COLUMNS); left > 0; --left) {
    const int64_t width = share(columns - at, left);
    if (job->ahead) fetch(job->ahead);
    tiles[width - 1](job);
    next_columns(job, width);
    at += width;
  }
  next_columns(job, -columns);
}

// C (rows × columns), panel by panel of rows, so that the panel of A stays in the cache.
static void NAME(multiply)(int64_t rows, int64_t columns, tile_job *job) {
  const int64_t vectors = (rows + LANES - 1) / LANES;
  for (int64_t at = 0, left = share(vectors, TILE_VECTORS); left > 0; --left) {
    const int64_t v = share(vectors - at, left);
    NAME(row_panel)(smaller(v * LANES, rows - at * LANES), columns, job);
    next_rows(job, v * LANES);
    at += v;
  }
}

// Aᵀ of `rows` rows (at most TILE_ROWS) and `depth` columns, from A with its columns `lda` apart, to
// `to` with columns of TILE_ROWS; rows up to the next vector are zero.
static void NAME(pack_transposed)(int64_t rows, int64_t depth, const double *a, int64_t lda,
                                  double *to) {
  for (int64_t r = 0; r < rows; r += LANES) {
    for (int64_t k = 0; k < depth; k += LANES) {
      vd x[LANES];
      const int64_t width = smaller(LANES, depth - k);
      UNROLL for (int i = 0; i < LANES; ++i)
        x[i] = r + i < rows ? load_part(a + k + (r + i) * lda, width) : splat(0);
      transpose(x);
      UNROLL for (int i = 0; i < LANES; ++i)
        if (i < width) store(to + r + (k + i) * TILE_ROWS, x[i]);
    }
  }
}

void NAME(gemm)(int32_t transpose_a, int32_t transpose_b, int64_t m, int64_t n, int64_t k,
                double alpha, const double *a, int64_t lda, const double *b, int64_t ldb,
                double beta, double *c, int64_t ldc) {
  if (m <= 0 || n <= 0) return;
  tile_job job = {.plus = {k, a, lda, b, transpose_b ? ldb : 1, transpose_b ? 1 : ldb},
                  .c = c, .c_column = ldc, .alpha = alpha, .beta = beta};
  if (!transpose_a) {
    NAME(multiply)(m, n, &job);
    return;
  }
  double packed[TILE_ROWS * DEPTH] __attribute__((aligned(64)));
  for (int64_t row = 0; row < m; row += TILE_ROWS) {
    const int64_t rows = smaller(TILE_ROWS, m - row);
    for (int64_t at = 0; at < k || at == 0; at += DEPTH) {
      tile_job part = job;
      part.plus.depth = smaller(DEPTH, k - at);
      NAME(pack_transposed)(rows, part.plus.depth, a + at + row * lda, lda, packed);
      part.plus.a = packed;
      part.plus.a_column = TILE_ROWS;
      part.plus.b = b + at * job.plus.b_row;
      part.c = c + row;
      part.beta = at ? 1 : beta;
      NAME(row_panel)(rows, n, &part);
    }
  }
}

void NAME(syrk_lower)(int32_t transposed, int64_t n, int64_t k, double alpha, const double *a,
                      int64_t lda, double beta, double *c, int64_t ldc) {
  for (int64_t column = 0; column < n; column += TILE_COLUMNS) {
    const int64_t width = smaller(TILE_COLUMNS, n - column), below = n - column - width;
    // The block on the diagonal, of which the lower triangle is wanted.
    double block[TILE_COLUMNS * TILE_COLUMNS];
    const double *corner = a + (transposed ? column * lda : column);
    NAME(gemm)(transposed, !transposed, width, width, k, alpha, corner, lda, corner, lda, 0, block,
               TILE_COLUMNS);
    double *d = c + column + column * ldc;
    for (int64_t j = 0; j < width; ++j)
      for (int64_t i = j; i < width; ++i)
        d[i + j * ldc] = block[i + j * TILE_COLUMNS] + (beta != 0 ? beta * d[i + j * ldc] : 0);
    NAME(gemm)(transposed, !transposed, below, width, k, alpha,
               corner + width * (transposed ? lda : 1), lda, corner, lda, beta, d + width, ldc);
  }
}

// ---- Products with vectors ----------------------------------------------------------------------

ALWAYS void rows_times_vector(const int vectors, const int partial, int64_t lanes, int64_t n,
                              const double *a, int64_t lda, const double *x,
                              vd sum[TILE_VECTORS]) {
  vd odd[TILE_VECTORS];
  UNROLL for (int v = 0; v < vectors; ++v) odd[v] = splat(0);
#define LOAD(p, v) \
  (partial && v == vectors - 1 ? load_part(p + v * LANES, lanes) : load(p + v * LANES))
  int64_t k = 0;
  for (; k + 2 <= n; k += 2) {
    UNROLL for (int v = 0; v < vectors; ++v) {
      sum[v] += LOAD(a, v) * splat(x[k]);
      odd[v] += LOAD((a + lda), v) * splat(x[k + 1]);
    }
    a += 2 * lda;
  }
  if (k < n) UNROLL for (int v = 0; v < vectors; ++v) sum[v] += LOAD(a, v) * splat(x[k]);
  UNROLL for (int v = 0; v < vectors; ++v) sum[v] += odd[v];
#undef LOAD
}

// y (m) ← z + [A B] [x; w], with A m × n and B m × r in neighbouring columns.
ALWAYS void affine_rows(const int vectors, const int partial, int64_t lanes, int64_t n, int64_t r,
                        const double *a, int64_t lda, const double *x, const double *w,
                        const double *z, double *y) {
  vd sum[TILE_VECTORS];
  UNROLL for (int v = 0; v < vectors; ++v)
    sum[v] = partial && v == vectors - 1 ? load_part(z + v * LANES, lanes) : load(z + v * LANES);
  rows_times_vector(vectors, partial, lanes, n, a, lda, x, sum);
  if (r) rows_times_vector(vectors, partial, lanes, r, a + n * lda, lda, w, sum);
  UNROLL for (int v = 0; v < vectors; ++v) {
    if (partial && v == vectors - 1) store_part(y + v * LANES, sum[v], lanes);
    else store(y + v * LANES, sum[v]);
  }
}

static void NAME(affine)(int64_t m, int64_t n, int64_t r, const double *a, int64_t lda,
                         const double *x, const double *w, const double *z, double *y) {
  int64_t row = 0;
  for (; row + TILE_ROWS <= m; row += TILE_ROWS)
    affine_rows(3, 0, LANES, n, r, a + row, lda, x, w, z + row, y + row);
  const int64_t left = m - row;
  if (left <= 0) return;
  a += row, z += row, y += row;
  if (left > 2 * LANES) affine_rows(3, 1, left - 2 * LANES, n, r, a, lda, x, w, z, y);
  else if (left > LANES) affine_rows(2, 1, left - LANES, n, r, a, lda, x, w, z, y);
  else affine_rows(1, 1, left, n, r, a, lda, x, w, z, y);
}

void NAME(gemv)(int32_t transposed, int64_t m, int64_t n, double alpha, const double *a,
                int64_t lda, const double *x, double beta, double *y) {
  if (!transposed) {
    for (int64_t row = 0; row < m; row += LANES) {
      const int64_t lanes = smaller(LANES, m - row);
      vd sum[TILE_VECTORS] = {splat(0)};
      if (lanes == LANES) rows_times_vector(1, 0, lanes, n, a + row, lda, x, sum);
      else rows_times_vector(1, 1, lanes, n, a + row, lda, x, sum);
      vd result = alpha * sum[0];
      if (beta != 0) result += beta * load_part(y + row, lanes);
      store_part(y + row, result, lanes);
    }
    return;
  }
  for (int64_t j = 0; j < n; ++j) {
    const double *column = a + j * lda;
    vd sum = splat(0);
    int64_t i = 0;
    for (; i + LANES <= m; i += LANES) sum += load(column + i) * load(x + i);
    if (i < m) sum += load_part(column + i, m - i) * load_part(x + i, m - i);
    y[j] = alpha * sum_of_lanes(sum) + (beta != 0 ? beta * y[j] : 0);
  }
}

// ---- Triangular factors -------------------------------------------------------------------------

// Rows of B (`vectors` full vectors) times L⁻ᵀ: column j less those before it, divided by L's pivot.
ALWAYS void solve_right_rows(const int vectors, int64_t n, const double *l, int64_t ldl,
                             const double *inverse, double *b, int64_t ldb) {
  for (int64_t j = 0; j < n; ++j) {
    vd sum[4];
    UNROLL for (int v = 0; v < vectors; ++v) sum[v] = load(b + j * ldb + v * LANES);
    for (int64_t i = 0; i < j; ++i) {
      const vd y = splat(l[j + i * ldl]);
      UNROLL for (int v = 0; v < vectors; ++v) sum[v] -= load(b + i * ldb + v * LANES) * y;
    }
    UNROLL for (int v = 0; v < vectors; ++v) store(b + j * ldb + v * LANES, sum[v] * inverse[j]);
  }
}

// The same for rows padded to whole vectors; `inverse` holds the reciprocal pivots of L.
static void NAME(solve_right)(int64_t rows, int64_t n, const double *l, int64_t ldl,
                              const double *inverse, double *b, int64_t ldb) {
  int64_t row = 0;
  for (; row + 3 * LANES < rows; row += 4 * LANES)
    solve_right_rows(4, n, l, ldl, inverse, b + row, ldb);
  if (row + 2 * LANES < rows) solve_right_rows(3, n, l, ldl, inverse, b + row, ldb);
  else if (row + LANES < rows) solve_right_rows(2, n, l, ldl, inverse, b + row, ldb);
  else if (row < rows) solve_right_rows(1, n, l, ldl, inverse, b + row, ldb);
}

enum { BLOCK_VECTORS = TILE_COLUMNS / LANES };

// `width` columns of TILE_COLUMNS rows (`whole`) or of `width`, of which the first `width` are a
// symmetric block with its lower triangle given: the block becomes its factor L, and the rows below
// are multiplied by L⁻ᵀ. Only if the rows are whole, the upper triangle is written too. The columns stay in registers, as L D before they are scaled, so that only a division and three
// multiplications separate one pivot from the next.
ALWAYS int64_t factor_columns(const int width, const int whole, double *a, int64_t lda,
                              double *inverse) {
  vd x[TILE_COLUMNS][BLOCK_VECTORS];
  double pivots[TILE_COLUMNS];
  UNROLL for (int j = 0; j < width; ++j)
    UNROLL for (int v = 0; v < BLOCK_VECTORS; ++v)
      x[j][v] = whole ? load(a + j * lda + v * LANES)
                      : load_part(a + j * lda + v * LANES,
                                  larger(0, smaller(LANES, width - v * LANES)));
  UNROLL for (int j = 0; j < width; ++j) {
    const double pivot = x[j][j / LANES][j % LANES];
    pivots[j] = pivot;
    const vd reciprocal = splat(1) / splat(pivot);
    UNROLL for (int v = j / LANES; v < BLOCK_VECTORS; ++v) {
      const vd y = x[j][v] * reciprocal;
      UNROLL for (int i = j + 1; i < width; ++i)
        x[i][v] -= y * splat(x[j][i / LANES][i % LANES]);
    }
  }
  int64_t bad = 0;
  UNROLL for (int j = width - 1; j >= 0; --j)
    if (!(pivots[j] > 0 && pivots[j] < INFINITY)) bad = j + 1;
  if (bad) return bad;
  UNROLL for (int j = 0; j < width; ++j) {
    const double scale = 1 / sqrt(pivots[j]);
    inverse[j] = scale;
    UNROLL for (int v = j / LANES; v < BLOCK_VECTORS; ++v) {
      if (whole) store(a + j * lda + v * LANES, x[j][v] * scale);
      else store_masked(a + j * lda + v * LANES, x[j][v] * scale,
                        lanes(larger(0, j - v * LANES),
                              larger(0, smaller(LANES, width - v * LANES))));
    }
  }
  return 0;
}

// `inverse` receives the reciprocal pivots of L. Returns as `cholesky_lower`.
static int64_t NAME(factor_block)(int64_t width, int whole, double *a, int64_t lda,
                                  double *inverse) {
  switch (whole ? width : -width) {
#define CASE(WIDTH)                                                                                \
  case WIDTH: return factor_columns(WIDTH, 1, a, lda, inverse);                                    \
  case -(WIDTH): return factor_columns(WIDTH, 0, a, lda, inverse);
    CASE(1)
    CASE(2)
    CASE(3)
    CASE(4)
#if TILE_COLUMNS == 8
    CASE(5)
    CASE(6)
    CASE(7)
    CASE(8)
#endif
#undef CASE
  default: return 0;
  }
}

// B (rows × width) ← B L⁻ᵀ in a user's matrix, whose last rows may not fill a vector.
static void NAME(solve_right_partial)(int64_t rows, int64_t n, const double *l, int64_t ldl,
                                      const double *inverse, double *b, int64_t ldb) {
  const int64_t whole = rows / LANES * LANES, lanes = rows - whole;
  NAME(solve_right)(whole, n, l, ldl, inverse, b, ldb);
  if (!lanes) return;
  b += whole;
  for (int64_t j = 0; j < n; ++j) {
    vd sum = load_part(b + j * ldb, lanes), more = splat(0);
    int64_t i = 0;
    for (; i + 2 <= j; i += 2) {
      sum -= load_part(b + i * ldb, lanes) * splat(l[j + i * ldl]);
      more -= load_part(b + (i + 1) * ldb, lanes) * splat(l[j + (i + 1) * ldl]);
    }
    if (i < j) sum -= load_part(b + i * ldb, lanes) * splat(l[j + i * ldl]);
    store_part(b + j * ldb, (sum + more) * inverse[j], lanes);
  }
}

int64_t NAME(cholesky_lower)(int64_t n, double *a, int64_t lda) {
  double inverse[TILE_COLUMNS];
  for (int64_t column = 0; column < n; column += TILE_COLUMNS) {
    const int64_t width = smaller(TILE_COLUMNS, n - column), below = n - column - width;
    double *d = a + column + column * lda;
    const double *row = a + column;
    // Less the product of the columns before; the upper triangle of the diagonal block is not ours.
    double block[TILE_COLUMNS * TILE_COLUMNS];
    if (column) {
      NAME(gemm)(0, 1, width, width, column, 1, row, lda, row, lda, 0, block, TILE_COLUMNS);
      for (int64_t j = 0; j < width; ++j)
        for (int64_t i = j; i < width; ++i) d[i + j * lda] -= block[i + j * TILE_COLUMNS];
      NAME(gemm)(0, 1, below, width, column, -1, row + width, lda, row, lda, 1, d + width, lda);
    }
    const int64_t minor = NAME(factor_block)(width, 0, d, lda, inverse);
    if (minor) return column + minor;
    NAME(solve_right_partial)(below, width, d, lda, inverse, d + width, lda);
  }
  return 0;
}

void NAME(solve_lower_right)(int64_t r, int64_t n, const double *l, int64_t ldl, double *b,
                             int64_t ldb) {
  double inverse[TILE_COLUMNS];
  for (int64_t column = 0; column < n; column += TILE_COLUMNS) {
    const int64_t width = smaller(TILE_COLUMNS, n - column);
    for (int64_t j = 0; j < width; ++j) inverse[j] = 1 / l[column + j + (column + j) * ldl];
    if (column)
      NAME(gemm)(0, 1, r, width, column, -1, b, ldb, l + column, ldl, 1, b + column * ldb, ldb);
    NAME(solve_right_partial)(r, width, l + column + column * ldl, ldl, inverse, b + column * ldb,
                              ldb);
  }
}

// Rows of right-hand sides side by side: `vectors` of them, one row of B after the other in x.
ALWAYS void substitute(const int vectors, const int transposed, int64_t n, const double *l,
                       int64_t ldl, double *x) {
  enum { ROWS = 4 };
  const int64_t row = vectors * LANES;
  for (int64_t done = 0; done < n; done += ROWS) {
    const int64_t rows = smaller(ROWS, n - done);
    // Rows `first`, first + step, … of the solution, after `done` of them.
    const int64_t first = transposed ? n - 1 - done : done, step = transposed ? -1 : 1;
    const int64_t l_row = transposed ? ldl : 1, l_column = transposed ? 1 : ldl;
    vd sum[ROWS][TILE_VECTORS];
    if (rows == ROWS) {
      UNROLL for (int i = 0; i < ROWS; ++i)
        UNROLL for (int v = 0; v < vectors; ++v)
          sum[i][v] = load(x + (first + i * step) * row + v * LANES);
      for (int64_t k = 0; k < done; ++k) {
        const int64_t known = transposed ? n - 1 - k : k;
        vd y[TILE_VECTORS];
        UNROLL for (int v = 0; v < vectors; ++v) y[v] = load(x + known * row + v * LANES);
        UNROLL for (int i = 0; i < ROWS; ++i) {
          const vd z = splat(l[(first + i * step) * l_row + known * l_column]);
          UNROLL for (int v = 0; v < vectors; ++v) sum[i][v] -= z * y[v];
        }
      }
      UNROLL for (int i = 0; i < ROWS; ++i) {
        const int64_t at = first + i * step;
        UNROLL for (int k = 0; k < i; ++k) {
          const vd z = splat(l[at * l_row + (first + k * step) * l_column]);
          UNROLL for (int v = 0; v < vectors; ++v) sum[i][v] -= z * sum[k][v];
        }
        const double reciprocal = 1 / l[at + at * ldl];
        UNROLL for (int v = 0; v < vectors; ++v) {
          sum[i][v] *= reciprocal;
          store(x + at * row + v * LANES, sum[i][v]);
        }
      }
    } else {
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t at = first + i * step;
        UNROLL for (int v = 0; v < vectors; ++v) sum[0][v] = load(x + at * row + v * LANES);
        for (int64_t k = 0; k < done + i; ++k) {
          const int64_t known = transposed ? n - 1 - k : k;
          const vd z = splat(l[at * l_row + known * l_column]);
          UNROLL for (int v = 0; v < vectors; ++v) sum[0][v] -= z * load(x + known * row + v * LANES);
        }
        const double reciprocal = 1 / l[at + at * ldl];
        UNROLL for (int v = 0; v < vectors; ++v)
          store(x + at * row + v * LANES, sum[0][v] * reciprocal);
      }
    }
  }
}

void NAME(solve_lower)(int32_t transposed, int64_t n, int64_t r, const double *l, int64_t ldl,
                       double *b, int64_t ldb) {
  double x[ORDER * 2 * LANES] __attribute__((aligned(64)));
  for (int64_t column = 0; column < r; column += 2 * LANES) {
    const int64_t columns = smaller(2 * LANES, r - column);
    const int vectors = columns > LANES ? 2 : 1;
    double *from = b + column * ldb;
    for (int v = 0; v < vectors; ++v) {
      for (int64_t i = 0; i < n; i += LANES) {
        vd y[LANES];
        UNROLL for (int c = 0; c < LANES; ++c)
          y[c] = v * LANES + c < columns
                     ? load_part(from + i + (v * LANES + c) * ldb, smaller(LANES, n - i))
                     : splat(0);
        transpose(y);
        UNROLL for (int k = 0; k < LANES; ++k)
          if (i + k < n) store(x + (i + k) * vectors * LANES + v * LANES, y[k]);
      }
    }
    if (vectors == 2) {
      if (transposed) substitute(2, 1, n, l, ldl, x);
      else substitute(2, 0, n, l, ldl, x);
    } else {
      if (transposed) substitute(1, 1, n, l, ldl, x);
      else substitute(1, 0, n, l, ldl, x);
    }
    for (int v = 0; v < vectors; ++v) {
      for (int64_t i = 0; i < n; i += LANES) {
        vd y[LANES];
        UNROLL for (int k = 0; k < LANES; ++k)
          y[k] = i + k < n ? load(x + (i + k) * vectors * LANES + v * LANES) : splat(0);
        transpose(y);
        UNROLL for (int c = 0; c < LANES; ++c)
          if (v * LANES + c < columns)
            store_part(from + i + (v * LANES + c) * ldb, y[c], smaller(LANES, n - i));
      }
    }
  }
}

#include "riccati.h"
#include "gaussian.h"
