#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define NAME(f) nk_avx2_##f
#define LANES 8
#define PACKING_ROWS 13
#define TILE_VECTORS 2
#define TILE_ROWS(v) ((v) == 1 ? 12 : 6)
#include "variant.h"
#pragma clang attribute pop
#endif
