// The baseline of the architecture: SSE2 on x86-64, NEON on aarch64.

#define NAME(f) nk_plain_##f
#define LANES 4
#define PACKING_ROWS 13
#if defined(__aarch64__)
#define TILE_VECTORS 4
#define TILE_ROWS(v) ((v) < 3 ? 12 : (v) == 3 ? 8 : 6)
#else
#define TILE_VECTORS 2
#define TILE_ROWS(v) ((v) == 1 ? 12 : 6)
#endif
#include "variant.h"
