#if defined(__x86_64__)
#pragma clang attribute push(                                                                     \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#define NAME(f) mk_avx512_##f
#define LANES 8
#include "normals.h"
#pragma clang attribute pop
#endif
