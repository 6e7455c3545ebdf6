// The baseline of the architecture: SSE2 on x86-64, NEON on aarch64.

#define NAME(f) mk_plain_##f
#define LANES 2
#include "normals.h"
