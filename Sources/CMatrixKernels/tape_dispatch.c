// The public name of the tape's kernel.

#include "CMatrixKernels.h"
#include "TapeKernels.h"

#define PARAMETERS                                                                                \
  int64_t inputs, int64_t count, const int32_t *arguments, const double *partials,                \
      double *adjoints, uint8_t *reached, double *gradients, double *second
#define ARGUMENTS inputs, count, arguments, partials, adjoints, reached, gradients, second

void mk_plain_tape_hessian(PARAMETERS);
#if defined(__x86_64__)
void mk_avx2_tape_hessian(PARAMETERS);
void mk_avx512_tape_hessian(PARAMETERS);
#endif

void mk_tape_hessian(int32_t variant, PARAMETERS) {
  switch (variant) {
#if defined(__x86_64__)
  case MK_AVX2: mk_avx2_tape_hessian(ARGUMENTS); break;
  case MK_AVX512: mk_avx512_tape_hessian(ARGUMENTS); break;
#endif
  default: mk_plain_tape_hessian(ARGUMENTS);
  }
}
