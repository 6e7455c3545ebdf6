#pragma once
// LAPACKE defaults to C99 complex types, which Swift does not import; nothing here is complex.
typedef struct { float real, imaginary; } clapacke_complex_float;
typedef struct { double real, imaginary; } clapacke_complex_double;
#define lapack_complex_float clapacke_complex_float
#define lapack_complex_double clapacke_complex_double
#include <lapacke.h>
