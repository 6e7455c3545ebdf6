// OpenBLAS chooses its kernels by CPU model when it is loaded. A release older than the CPU does not
// know the model and silently falls back to SSE3 kernels, several times slower than the machine.
// This constructor runs after OpenBLAS's own and before main: it makes the choice again by the
// CPU's features. It also keeps BLAS single-threaded, because the toolkit's own workers are the
// parallelism. A user's OPENBLAS_CORETYPE is respected.

#include "CBLASKernels.h"

#include <stdlib.h>
#include <string.h>

extern char *openblas_get_corename(void);
extern void openblas_set_num_threads(int);

// Present in builds with DYNAMIC_ARCH only, as Debian's are.
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void gotoblas_dynamic_quit(void) __attribute__((weak));

static char detected[32] = "unknown";

const char *cblas_kernels_name(void) { return openblas_get_corename(); }
const char *cblas_kernels_detected_name(void) { return detected; }

int cblas_kernels_cpu_has_avx2(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return 0;
#endif
}

#if defined(__x86_64__)
// The best kernels of OpenBLAS 0.3.21 and later that the CPU's features allow, or NULL.
static const char *kernels_by_features(void) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return "SkylakeX";
  if (cblas_kernels_cpu_has_avx2()) return "Haswell";
  return NULL;
}

static int is_fallback(const char *name) {
  static const char *const without_avx2[] = {"Prescott", "Core2",    "Penryn", "Dunnington",
                                             "Nehalem",  "Katmai",   "Banias", "Northwood",
                                             "Atom",     "Generic",  "Nano",   "Barcelona",
                                             "Opteron",  "Sandybridge"};
  for (size_t i = 0; i < sizeof without_avx2 / sizeof *without_avx2; ++i)
    if (strcmp(name, without_avx2[i]) == 0) return 1;
  return 0;
}
#endif

__attribute__((constructor)) static void choose_kernels(void) {
  strncpy(detected, openblas_get_corename(), sizeof detected - 1);
#if defined(__x86_64__)
  const char *wanted = kernels_by_features();
  if (wanted && is_fallback(detected) && !getenv("OPENBLAS_CORETYPE") && gotoblas_dynamic_init &&
      gotoblas_dynamic_quit) {
    setenv("OPENBLAS_CORETYPE", wanted, 1);
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
  }
#endif
  openblas_set_num_threads(1);
}
