#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define NAME(f) mk_avx2_##f
#define LANES 4
#include "normals.h"
#pragma clang attribute pop
#endif
