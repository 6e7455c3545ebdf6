// The marginals of linear-Gaussian dynamics under a linear-Gaussian controller, and its divergence.
//
//   symbol   shape    meaning
//   A        n × d    [closed loop A + B K, noise B N], where N Nᵀ is the controls' covariance
//   S        n × n    Σ_x
//   M        n × d    [(A + B K) S, B N]
//
// Σ_x' = M Aᵀ + Σ, of which the lower triangle is computed. N is L, or L⁻ᵀ if L factors the precision.

typedef struct {
  int64_t n, m, d, padded, ld, control_ld;
  double *A, *M, *S, *KS, *inverse, *identity;
} gaussian_layout;

static gaussian_layout NAME(gaussian_layout)(const mk_gaussian *p) {
  const int64_t n = p->state, m = p->control, ld = column_distance(n),
                control_ld = column_distance(m);
  gaussian_layout l = {n, m, n + m, (n + LANES - 1) / LANES * LANES, ld, control_ld,
                       0, 0, 0, 0, 0, 0};
  double *at = p->scratch;
  l.A = at, at += ld * (n + m);
  l.M = at, at += ld * (n + m);
  l.S = at, at += ld * n;
  l.KS = at, at += control_ld * n;
  l.identity = at, at += control_ld * m;
  l.inverse = at;
  return l;
}

// Columns of n numbers to columns `ld` apart, from row `first` on, zeros up to whole vectors.
ALWAYS void pad_column(int64_t n, int64_t first, const double *from, double *to) {
  int64_t i = first;
  for (; i + LANES <= n; i += LANES) store(to + i, load(from + i));
  if (i < n) store(to + i, load_part(from + i, n - i));
}

// ½ (tr C − m − ln|C| + |μ_u|² + tr K Σ_x Kᵀ) with C = (L Lᵀ)⁻¹.
static double NAME(divergence)(const gaussian_layout *l, const double *K, const double *L,
                               const double *u) {
  const int64_t n = l->n, m = l->m, ld = l->control_ld, padded = (m + LANES - 1) / LANES * LANES;
  double logarithms = 0;
  vd sum = splat(0);
  for (int64_t i = 0; i < m; ++i) logarithms += log(L[i + m * i]);
  // tr C = |L⁻ᵀ|²
  for (int64_t j = 0; j < m; ++j)
    for (int64_t i = 0; i < padded; i += LANES)
      store(l->identity + i + j * ld,
            j >= i && j < i + LANES ? only_lane(j - i, 1) : splat(0));
  NAME(solve_right)(padded, m, L, m, l->inverse, l->identity, ld);
  for (int64_t j = 0; j < m; ++j)
    for (int64_t i = 0; i < padded; i += LANES) {
      const vd x = load(l->identity + i + j * ld);
      sum += x * x;
    }
  // tr K Σ Kᵀ = ⟨K Σ, K⟩
  NAME(multiply)(m, n, &(tile_job){.plus = {n, K, m, l->S, 1, l->ld}, .c = l->KS, .c_column = ld,
                                  .alpha = 1, .beta = 0});
  for (int64_t i = 0; i < m; i += LANES) {
    const int64_t lanes = smaller(LANES, m - i);
    vd even = splat(0), odd = splat(0);
    for (int64_t j = 0; j < n; ++j) {
      const vd x = load_part(K + i + m * j, lanes) * load_part(l->KS + i + ld * j, lanes);
      if (j & 1) odd += x;
      else even += x;
    }
    sum += even + odd;
    const vd mean = load_part(u + i, lanes);
    sum += mean * mean;
  }
  const double value = 0.5 * (sum_of_lanes(sum) - (double)m) + logarithms;
  return value < 0 ? 0 : value;
}

int64_t NAME(gaussian_forward)(const mk_gaussian *p) {
  const gaussian_layout l = NAME(gaussian_layout)(p);
  const int64_t n = l.n, m = l.m, d = l.d, ld = l.ld, padded = l.padded;
  memcpy(p->means, p->initial_mean, (size_t)n * sizeof *p->means);
  for (int64_t j = 0; j < n; ++j) pad_column(n, 0, p->initial_covariance + n * j, l.S + ld * j);
  if (p->covariances)
    memcpy(p->covariances, p->initial_covariance, (size_t)(n * n) * sizeof *p->covariances);

  for (int64_t t = 0; t < p->horizon; ++t) {
    const double *F = p->transitions + t * n * d, *W = p->process + t * n * n;
    const double *K = p->gains + t * m * n, *L = p->noise + t * m * m;
    double *mean = p->means + t * n, *u = p->controls + t * m;
    NAME(affine)(m, n, 0, K, m, mean, mean, p->gain_offsets + t * m, u);
    NAME(affine)(n, n, m, F, n, mean, u, p->offsets + t * n, mean + n);

    for (int64_t j = 0; j < d; ++j) pad_column(n, 0, F + n * j, l.A + ld * j);
    double *B = l.A + ld * n, *BN = l.M + ld * n;
    NAME(multiply)(padded, n, &(tile_job){.plus = {m, B, ld, K, 1, m}, .c = l.A, .c_column = ld,
                                         .alpha = 1, .beta = 1});
    if (p->noise_is_precision) {
      for (int64_t i = 0; i < m; ++i) l.inverse[i] = 1 / L[i + m * i];
      if (p->divergences) p->divergences[t] = NAME(divergence)(&l, K, L, u);
      NAME(solve_right)(padded, m, L, m, l.inverse, B, ld);
      for (int64_t j = 0; j < m; ++j) pad_column(padded, 0, B + ld * j, BN + ld * j);
    } else {
      NAME(multiply)(padded, m, &(tile_job){.plus = {m, B, ld, L, 1, m}, .c = BN, .c_column = ld,
                                           .alpha = 1, .beta = 0});
      for (int64_t j = 0; j < m; ++j) pad_column(padded, 0, BN + ld * j, B + ld * j);
    }
    NAME(multiply)(padded, n, &(tile_job){.plus = {n, l.A, ld, l.S, 1, ld}, .c = l.M,
                                         .c_column = ld, .alpha = 1, .beta = 0});
    for (int64_t j = 0; j < n; ++j)
      pad_column(n, j / LANES * LANES, W + n * j, l.S + ld * j);
    for (int64_t j = 0; j < n; j += TILE_COLUMNS) {
      const int64_t first = j / LANES * LANES;
      NAME(column_block)(padded - first, smaller(TILE_COLUMNS, n - j),
                         &(tile_job){.plus = {d, l.M + first, ld, l.A + j, ld, 1},
                                    .c = l.S + first + ld * j, .c_column = ld, .alpha = 1,
                                    .beta = 1});
    }
    NAME(mirror)(n, l.S, ld);
    if (p->covariances)
      for (int64_t j = 0; j < n; ++j)
        copy_numbers(n, l.S + ld * j, p->covariances + ((t + 1) * n + j) * n);
    // x · 0 is NaN where x is not finite.
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += mean[n + i] * 0 + l.S[i + ld * i] * 0;
    if (sum != 0) return t + 1;
  }
  return -1;
}
