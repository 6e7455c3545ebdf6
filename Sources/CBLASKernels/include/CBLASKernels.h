#pragma once

/// The name of the kernels that OpenBLAS computes with in this process, e.g. "SkylakeX".
const char *cblas_kernels_name(void);

/// The name of the kernels that OpenBLAS had chosen by itself when it was loaded.
const char *cblas_kernels_detected_name(void);
