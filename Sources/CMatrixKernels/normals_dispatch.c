// The public name of the normal numbers' kernel.

#include "CMatrixKernels.h"

void mk_plain_normals(int64_t pairs, const uint64_t *words, double *normals);
void mk_avx2_normals(int64_t pairs, const uint64_t *words, double *normals);
void mk_avx512_normals(int64_t pairs, const uint64_t *words, double *normals);

void mk_normals(int32_t variant, int64_t pairs, const uint64_t *words, double *normals) {
#if defined(__x86_64__)
  if (variant == MK_AVX512) return mk_avx512_normals(pairs, words, normals);
  if (variant == MK_AVX2) return mk_avx2_normals(pairs, words, normals);
#else
  (void)variant;
#endif
  mk_plain_normals(pairs, words, normals);
}
