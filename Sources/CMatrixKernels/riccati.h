// The Riccati recursion, in the coordinates z = [u; x; 1] of `rows` = m + n + 1 numbers, in which the
// value function, the dynamics and the cost have no linear terms of their own:
//
//   symbol   shape        meaning
//   Ft       rows × n+1   [B A f]ᵀ, and 1 in the last row of the last column
//   S        n+1 × n      [V; vᵀ], where the last step left it in its Q
//   P        rows × n     Ft S
//   Q        rows × d     C + P F: the action value's Hessian, of which the lower trapezoid is computed
//
// The first m steps of Q's Cholesky factorisation give L_uu and, below it, Yᵀ = (L_uu⁻¹ Q_ux)ᵀ and yᵀ;
// what is left of the other columns is Q_xx − Yᵀ Y = V and v = Q_x − Yᵀ y. Columns are computed in
// blocks, each less the columns of L before it in the same registers. The gains are −(Yᵀ L_uu⁻¹)ᵀ.
// V may be indefinite: nothing is factorised but Q_uu.

typedef struct {
  int64_t n, m, d, rows, vectors, ld;
  double *Ft, *P, *Q[2], *G, *inverse;
} riccati_layout;

static riccati_layout NAME(layout)(const mk_riccati *p) {
  const int64_t n = p->state, m = p->control, d = n + m, ld = column_distance(d + 1);
  riccati_layout l = {n, m, d, d + 1, (d + LANES) / LANES, ld, 0, 0, {0, 0}, 0, 0};
  double *at = p->scratch;
  l.Ft = at, at += ld * (n + 8);
  l.P = at, at += ld * n;
  l.Q[0] = at, at += ld * (d + 1);
  l.Q[1] = at, at += ld * (d + 1);
  l.G = at, at += ld * (m + 8);
  l.inverse = at;
  return l;
}

// Row r … of [B A f]ᵀ come from columns of F, and f.
ALWAYS const double *source_of_row(const riccati_layout *l, const double *F, const double *f,
                                   int64_t row) {
  return row < l->m ? F + l->n * (l->n + row) : row < l->d ? F + l->n * (row - l->m) : f;
}

static void NAME(pack_dynamics)(const riccati_layout *l, const double *F, const double *f) {
  const int64_t n = l->n, d = l->d, ld = l->ld, last = l->vectors * LANES;
  for (int64_t row = 0; row < last; row += LANES) {
    const double *from[LANES];
    UNROLL for (int i = 0; i < LANES; ++i) from[i] = source_of_row(l, F, f, row + i);
    const int64_t used = d + 1 - row;
    double *to = l->Ft + row;
    for (int64_t k = 0; k < n; k += LANES, to += LANES * ld) {
      vd x[LANES];
      if (n - k >= LANES && used >= LANES) {
        UNROLL for (int i = 0; i < LANES; ++i) x[i] = load(from[i] + k);
      } else {
        const mask given = lanes(0, smaller(LANES, n - k));
        UNROLL for (int i = 0; i < LANES; ++i)
          x[i] = i < used ? load_masked(from[i] + k, given) : splat(0);
      }
      transpose(x);
      UNROLL for (int i = 0; i < LANES; ++i) store(to + i * ld, x[i]);
    }
    store(l->Ft + row + n * ld, d >= row && d < row + LANES ? only_lane(d - row, 1) : splat(0));
  }
}

// `count` columns of one vector of rows of s C in the order [u; x; 1]; u and x are the controls' and
// the states' part of the first column as if they began at row 0, c its gradient. The parts have
// neighbouring columns d apart.
ALWAYS void stage_rows(const riccati_layout *l, int64_t row, int64_t count, const double *u,
                       const double *x, const double *c, double scale, double *to) {
  const int64_t m = l->m, d = l->d, ld = l->ld;
  if (row >= m && row + LANES <= d) {
    for (int64_t j = 0; j < count; ++j, to += ld) store(to, load(x + row + d * j) * scale);
    return;
  }
  const mask controls = lanes(0, smaller(LANES, m - row));
  const mask states = lanes(larger(0, m - row), smaller(LANES, d - row));
  const mask one = lanes(larger(0, d - row), smaller(LANES, d - row + 1));
  for (int64_t j = 0; j < count; ++j, to += ld) {
    const vd part = load_more(load_masked(u + row + d * j, controls), x + row + d * j, states);
    store(to, choose(one, splat(c[j]), part) * scale);
  }
}

// Columns [first, d) of s C, from the vectors of their diagonal entries on, with ρ on the diagonal.
static void NAME(stage_columns)(const riccati_layout *l, const mk_riccati *p, int64_t t,
                                int64_t first, double *Q) {
  const int64_t n = l->n, m = l->m, d = l->d, ld = l->ld;
  const double *C = p->hessians + t * d * d, *c = p->gradients + t * d;
  for (int64_t row = first / LANES * LANES; row < l->vectors * LANES; row += LANES) {
    const int64_t last = smaller(d, row + LANES), of_u = smaller(last, m);
    stage_rows(l, row, of_u - first, C + d * (n + first) + n, C + d * (n + first) - m, c + n + first,
               p->scale, Q + row + ld * first);
    stage_rows(l, row, last - larger(m, first), C + n, C - m, c, p->scale,
               Q + row + ld * larger(m, first));
  }
  if (p->ridge != 0)
    for (int64_t j = first; j < m; ++j) Q[j + ld * j] += p->ridge;
}

// Copies the lower triangle of A (n × n) onto its upper triangle. Columns are whole vectors longer.
static void NAME(mirror)(int64_t n, double *a, int64_t ld) {
  for (int64_t j = 0; j < n; j += LANES) {
    const int64_t width = smaller(LANES, n - j);
    vd x[LANES], y[LANES];
    double *corner = a + j + j * ld;
    UNROLL for (int c = 0; c < LANES; ++c) y[c] = x[c] = c < width ? load(corner + c * ld) : splat(0);
    transpose(y);
    UNROLL for (int c = 1; c < LANES; ++c)
      if (c < width) store(corner + c * ld, choose(lanes(0, c), y[c], x[c]));
    for (int64_t i = j + LANES; i < n; i += LANES) {
      UNROLL for (int c = 0; c < LANES; ++c) x[c] = load(a + i + (j + c) * ld);
      transpose(x);
      UNROLL for (int c = 0; c < LANES; ++c)
        if (i + c < n) store(a + j + (i + c) * ld, x[c]);
    }
  }
}

ALWAYS void copy_numbers(int64_t count, const double *from, double *to) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) store(to + i, load(from + i));
  if (i < count) store_part(to + i, load_part(from + i, count - i), count - i);
}

static void NAME(write_value)(const riccati_layout *l, const mk_riccati *p, const double *Q,
                              int64_t t) {
  const int64_t n = l->n;
  const double *S = Q + l->m + l->ld * l->m;
  if (p->value_hessians)
    for (int64_t j = 0; j < n; ++j)
      copy_numbers(n, S + l->ld * j, p->value_hessians + (t * n + j) * n);
  if (p->value_gradients)
    for (int64_t j = 0; j < n; ++j) p->value_gradients[t * n + j] = S[n + l->ld * j];
}

// K and k of step t from the columns of L: G = −Y L⁻¹ in rows [x; 1], transposed on the way out.
static void NAME(write_gains)(const riccati_layout *l, const mk_riccati *p, const double *L,
                              int64_t t) {
  const int64_t n = l->n, m = l->m, ld = l->ld, first = m / LANES * LANES;
  double *G = l->G;
  for (int64_t row = first; row < l->vectors * LANES; row += 4 * LANES) {
    const int64_t left = (l->vectors * LANES - row) / LANES;
#define ROWS_OF_GAINS(V)                                                                           \
  for (int64_t j = m - 1; j >= 0; --j) {                                                           \
    vd sum[V];                                                                                     \
    UNROLL for (int v = 0; v < V; ++v) sum[v] = load(L + row + v * LANES + j * ld);                \
    for (int64_t i = m - 1; i > j; --i) {                                                          \
      const vd y = splat(L[i + j * ld]);                                                           \
      UNROLL for (int v = 0; v < V; ++v) sum[v] += y * load(G + row + v * LANES + i * ld);         \
    }                                                                                              \
    const vd scale = splat(-l->inverse[j]);                                                        \
    UNROLL for (int v = 0; v < V; ++v) store(G + row + v * LANES + j * ld, sum[v] * scale);        \
  }
    if (left >= 4) {
      ROWS_OF_GAINS(4)
    } else if (left == 3) {
      ROWS_OF_GAINS(3)
    } else if (left == 2) {
      ROWS_OF_GAINS(2)
    } else {
      ROWS_OF_GAINS(1)
    }
#undef ROWS_OF_GAINS
  }
  double *K = p->gains + t * m * n;
  for (int64_t i = 0; i < m; i += LANES) {
    const int64_t lanes = smaller(LANES, m - i);
    for (int64_t j = 0; j < n; j += LANES) {
      vd x[LANES];
      UNROLL for (int c = 0; c < LANES; ++c)
        x[c] = c < lanes ? load(G + m + j + (i + c) * ld) : splat(0);
      transpose(x);
      UNROLL for (int c = 0; c < LANES; ++c)
        if (j + c < n) store_part(K + i + m * (j + c), x[c], lanes);
    }
  }
  for (int64_t i = 0; i < m; ++i) p->gain_offsets[t * m + i] = G[l->d + i * ld];
}

// One Bellman backup. Returns whether Q_uu is positive definite.
static int NAME(backup)(const riccati_layout *l, const mk_riccati *p, int64_t t,
                        const double *before, double *Q) {
  const int64_t n = l->n, m = l->m, d = l->d, ld = l->ld, padded = l->vectors * LANES;
  const double *F = p->transitions + t * n * d;
  NAME(pack_dynamics)(l, F, p->offsets + t * n);
  NAME(stage_columns)(l, p, t, 0, Q);
  const int64_t panels = share(l->vectors, TILE_VECTORS);
  // The next step's numbers: for small problems the processor is as quick by itself.
  const int is_fetched = t > 0 && d >= 48;
  const int64_t next = t > 0 ? t - 1 : 0;
  prefetch transitions = fetch_ahead(p->transitions + next * n * d, n * d, panels * share(n, TILE_COLUMNS));
  prefetch hessians = fetch_ahead(p->hessians + next * d * d, d * d,
                                  (panels + 1) / 2 * share(n, TILE_COLUMNS));
  NAME(multiply)(padded, n,
                 &(tile_job){.plus = {n + 1, l->Ft, ld, before + m + ld * m, 1, ld}, .c = l->P,
                            .c_column = ld, .alpha = 1, .beta = 0, .ahead = is_fetched ? &transitions : NULL});

  double *factor = p->factors + t * m * m;
  for (int64_t j = 0; j < m; j += TILE_COLUMNS) {
    const int64_t width = smaller(TILE_COLUMNS, m - j);
    NAME(column_block)(padded - j, width,
                       &(tile_job){.plus = {n, l->P + j, ld, F + n * (n + j), 1, n},
                                  .minus = {j, Q + j, ld, Q + j, ld, 1}, .c = Q + j + ld * j,
                                  .c_column = ld, .alpha = 1, .beta = 1});
    if (NAME(factor_block)(width, 1, Q + j + ld * j, ld, l->inverse + j)) {
      // Q_uu afresh, as the error describes it.
      NAME(stage_columns)(l, p, t, 0, Q);
      NAME(multiply)(m, m, &(tile_job){.plus = {n, l->P, ld, F + n * n, 1, n}, .c = Q,
                                      .c_column = ld, .alpha = 1, .beta = 1});
      for (int64_t a = 0; a < m; ++a)
        for (int64_t b = 0; b < m; ++b) factor[b + m * a] = Q[larger(a, b) + ld * smaller(a, b)];
      return 0;
    }
    NAME(solve_right)(padded - j - TILE_COLUMNS, width, Q + j + ld * j, ld, l->inverse + j,
                      Q + j + TILE_COLUMNS + ld * j, ld);
  }
  for (int64_t a = 0; a < m; ++a) {
    for (int64_t b = 0; b < m; b += LANES) {
      const mask below = lanes(smaller(LANES, larger(0, a - b)), LANES);
      store_part(factor + b + m * a, load_masked(Q + b + ld * a, below), smaller(LANES, m - b));
    }
  }

  for (int64_t j = 0; j < n; j += TILE_COLUMNS) {
    const int64_t first = (m + j) / LANES * LANES;
    NAME(column_block)(padded - first, smaller(TILE_COLUMNS, n - j),
                       &(tile_job){.plus = {n, l->P + first, ld, F + n * j, 1, n},
                                  .minus = {m, Q + first, ld, Q + m + j, ld, 1},
                                  .c = Q + first + ld * (m + j), .c_column = ld, .alpha = 1,
                                  .beta = 1, .ahead = is_fetched ? &hessians : NULL});
  }
  NAME(mirror)(n, Q + m + ld * m, ld);
  NAME(write_gains)(l, p, Q, t);
  return 1;
}

// Where the value function of step t is left for step t − 1: in turns.
ALWAYS double *value_of_step(const riccati_layout *l, const mk_riccati *p, int64_t t) {
  return l->Q[(p->horizon - t + 1) % 2];
}

static void NAME(begin)(const riccati_layout *l, const mk_riccati *p) {
  double *last = value_of_step(l, p, p->horizon);
  NAME(stage_columns)(l, p, p->horizon, l->m, last);
  NAME(mirror)(l->n, last + l->m + l->ld * l->m, l->ld);
  NAME(write_value)(l, p, last, p->horizon);
}

void NAME(riccati_begin)(const mk_riccati *p) {
  const riccati_layout l = NAME(layout)(p);
  NAME(begin)(&l, p);
}

int32_t NAME(riccati_step)(const mk_riccati *p, int64_t t) {
  const riccati_layout l = NAME(layout)(p);
  double *Q = value_of_step(&l, p, t);
  if (!NAME(backup)(&l, p, t, value_of_step(&l, p, t + 1), Q)) return 0;
  NAME(write_value)(&l, p, Q, t);
  return 1;
}

int64_t NAME(riccati_backward)(const mk_riccati *p) {
  const riccati_layout l = NAME(layout)(p);
  NAME(begin)(&l, p);
  double *before = value_of_step(&l, p, p->horizon), *after = value_of_step(&l, p, p->horizon - 1);
  for (int64_t t = p->horizon - 1; t >= 0; --t) {
    if (!NAME(backup)(&l, p, t, before, after)) return t;
    NAME(write_value)(&l, p, after, t);
    double *swap = before;
    before = after;
    after = swap;
  }
  return -1;
}

void NAME(simulate)(const mk_riccati *p, double *states, double *controls) {
  const int64_t n = p->state, m = p->control, d = n + m;
  for (int64_t t = 0; t < p->horizon; ++t) {
    double *x = states + t * n, *u = controls + t * m;
    NAME(affine)(m, n, 0, p->gains + t * m * n, m, x, x, p->gain_offsets + t * m, u);
    NAME(affine)(n, n, m, p->transitions + t * n * d, n, x, u, p->offsets + t * n, x + n);
  }
}
