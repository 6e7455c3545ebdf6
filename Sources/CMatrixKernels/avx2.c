#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define NAME(f) mk_avx2_##f
#define LANES 4
#define TILE_COLUMNS 4
#include "variant.h"
#pragma clang attribute pop
#endif
