// HPIPM's Riccati solver on an unconstrained optimal-control problem with free initial state. Without
// inequalities its solver does one factorisation and one solution.
//
//   hpipm PROBLEM GAINS REPETITIONS BUDGET
//
// PROBLEM holds n, m, T as 32-bit integers, then for every step A, B, f, Q, S (m × n), R, q, r and at the
// end Q, q: doubles, matrices by columns. K and k of every step go to GAINS. Prints for each case its
// name and the seconds of each repetition; 0 repetitions stand for as many as fit in BUDGET seconds.
#include <hpipm_d_ocp_qp.h>
#include <hpipm_d_ocp_qp_dim.h>
#include <hpipm_d_ocp_qp_ipm.h>
#include <hpipm_d_ocp_qp_sol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *memory(size_t bytes) {
  void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
  if (!p) exit(2);
  return memset(p, 0, (bytes + 127) / 64 * 64);
}

static double *block(FILE *file, int rows, int columns) {
  size_t count = (size_t)rows * (size_t)columns;
  double *p = memory(count * sizeof *p);
  if (fread(p, sizeof *p, count, file) != count) exit(3);
  return p;
}

static struct d_ocp_qp qp;
static struct d_ocp_qp_sol solution;
static struct d_ocp_qp_ipm_arg arg;
static struct d_ocp_qp_ipm_ws workspace;
static double *gains, *values;
static int n, m, T;

static void solve(int reads_gains) {
  d_ocp_qp_ipm_solve(&qp, &solution, &arg, &workspace);
  if (!reads_gains) return;
  for (int t = 0; t < T; t++) {
    double *gain = gains + t * (m * n + m);
    double *value = values + t * (n * n + n);
    d_ocp_qp_ipm_get_ric_K(&qp, &arg, &workspace, t, gain);
    d_ocp_qp_ipm_get_ric_k(&qp, &arg, &workspace, t, gain + m * n);
    d_ocp_qp_ipm_get_ric_P(&qp, &arg, &workspace, t, value);
    d_ocp_qp_ipm_get_ric_p(&qp, &arg, &workspace, t, value + n * n);
  }
}

static double seconds(int reads_gains, int calls) {
  double start = now();
  for (int i = 0; i < calls; i++) solve(reads_gains);
  return (now() - start) / calls;
}

int main(int argc, char **argv) {
  if (argc != 5) return 64;
  FILE *file = fopen(argv[1], "rb");
  int head[3];
  if (!file || fread(head, sizeof(int), 3, file) != 3) return 3;
  n = head[0], m = head[1], T = head[2];

  struct d_ocp_qp_dim dim;
  d_ocp_qp_dim_create(T, &dim, memory((size_t)d_ocp_qp_dim_memsize(T)));
  for (int t = 0; t <= T; t++) {
    d_ocp_qp_dim_set("nx", t, n, &dim);
    d_ocp_qp_dim_set("nu", t, t < T ? m : 0, &dim);
  }
  d_ocp_qp_create(&dim, &qp, memory((size_t)d_ocp_qp_memsize(&dim)));
  for (int t = 0; t < T; t++) {
    d_ocp_qp_set("A", t, block(file, n, n), &qp);
    d_ocp_qp_set("B", t, block(file, n, m), &qp);
    d_ocp_qp_set("b", t, block(file, n, 1), &qp);
    d_ocp_qp_set("Q", t, block(file, n, n), &qp);
    d_ocp_qp_set("S", t, block(file, m, n), &qp);
    d_ocp_qp_set("R", t, block(file, m, m), &qp);
    d_ocp_qp_set("q", t, block(file, n, 1), &qp);
    d_ocp_qp_set("r", t, block(file, m, 1), &qp);
  }
  d_ocp_qp_set("Q", T, block(file, n, n), &qp);
  d_ocp_qp_set("q", T, block(file, n, 1), &qp);
  fclose(file);
  d_ocp_qp_sol_create(&dim, &solution, memory((size_t)d_ocp_qp_sol_memsize(&dim)));
  d_ocp_qp_ipm_arg_create(&dim, &arg, memory((size_t)d_ocp_qp_ipm_arg_memsize(&dim)));
  d_ocp_qp_ipm_arg_set_default(SPEED, &arg);
  d_ocp_qp_ipm_ws_create(&dim, &arg, &workspace, memory((size_t)d_ocp_qp_ipm_ws_memsize(&dim, &arg)));
  gains = memory((size_t)T * (size_t)(m * n + m) * sizeof *gains);
  values = memory((size_t)T * (size_t)(n * n + n) * sizeof *values);

  int asked = atoi(argv[3]);
  double budget = atof(argv[4]);
  for (int reads_gains = 0; reads_gains < 2; reads_gains++) {
    seconds(reads_gains, 1);
    double once = seconds(reads_gains, 1);
    int calls = once < 0.005 ? (int)(0.005 / once) + 1 : 1;
    once = seconds(reads_gains, calls);
    int count = asked;
    if (!count) {
      double fitting = budget / (once * calls);
      count = fitting < 5 ? 5 : fitting > 101 ? 101 : (int)fitting;
    }
    printf(reads_gains ? "solve+gains" : "solve");
    for (int i = 0; i < count; i++) printf(" %.9g", seconds(reads_gains, calls));
    printf("\n");
  }
  file = fopen(argv[2], "wb");
  if (!file) return 3;
  fwrite(gains, sizeof *gains, (size_t)T * (size_t)(m * n + m), file);
  return fclose(file) ? 3 : 0;
}
