#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#pragma clang attribute push(                                                                     \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#define NAME(f) mk_avx512_##f
#define LANES 8
#define TILE_COLUMNS 8
#include "variant.h"
#pragma clang attribute pop
#endif
