#if defined(__x86_64__)
#pragma clang attribute push(                                                                     \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#define NAME(f) nk_avx512_##f
#define LANES 16
#define PACKING_ROWS 13
#define TILE_VECTORS 4
#define TILE_ROWS(v) ((v) < 3 ? 12 : (v) == 3 ? 8 : 6)
#include "variant.h"
#pragma clang attribute pop
#endif
