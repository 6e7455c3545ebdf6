#pragma once

/// The name of the kernels that OpenBLAS computes with in this process, e.g. "SkylakeX".
const char *cblas_kernels_name(void);

/// The name of the kernels that OpenBLAS had chosen by itself when it was loaded.
const char *cblas_kernels_detected_name(void);

/// Whether the CPU has AVX2 and FMA (0 or 1), so that SSE3 kernels would waste most of it.
int cblas_kernels_cpu_has_avx2(void);
