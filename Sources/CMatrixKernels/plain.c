// The baseline of the architecture: SSE2 on x86-64, NEON on aarch64.

#define NAME(f) mk_plain_##f
#define LANES 2
#if defined(__aarch64__)
#define TILE_COLUMNS 8
#else
#define TILE_COLUMNS 4
#endif
#include "variant.h"
