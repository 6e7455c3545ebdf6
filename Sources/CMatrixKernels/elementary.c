#define _GNU_SOURCE // sincos

#include "ElementaryKernels.h"

#include <math.h>

void mk_sine_and_cosine(double angle, double *sine, double *cosine) {
#if defined(__GLIBC__)
  sincos(angle, sine, cosine);
#else
  *sine = sin(angle);
  *cosine = cos(angle);
#endif
}
