#pragma once

// Standard-normal numbers from random words (Box and Muller 1958):
//
//   r = √(−2 log u),   n_1 = r cos 2πv,   n_2 = r sin 2πv
//
// with u and v in (0, 1) made of the upper 52 bits of a word each. Sums, products, quotients and roots
// alone, each rounded once and none fused, so that a word gives the same bits on every machine and with
// every instruction set; the C library's functions differ between processors and releases.

#include <stdint.h>

/// `pairs` pairs of numbers, n_1 before n_2, from twice as many words, u's before v's. Each is within
/// 4e-16 of the formula, relative to r.
void mk_normals(int32_t variant, int64_t pairs, const uint64_t *words, double *normals);
