// The body of mk_normals for one instruction set; see NormalKernels.h. Included once per variant, with
//   NAME(f)   the variant's name for f
//   LANES     doubles per vector

#include "NormalKernels.h"

#pragma STDC FP_CONTRACT OFF // a fused product would round otherwise than two steps do

typedef double vd __attribute__((vector_size(8 * LANES), aligned(8)));
typedef uint64_t vi __attribute__((vector_size(8 * LANES), aligned(8)));

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("unroll")

ALWAYS vd splat(double x) { return x - (vd){}; }
ALWAYS vd choose(vi mask, vd a, vd b) { return (vd)(((vi)a & mask) | ((vi)b & ~mask)); }

// c_0 + c_1 x + c_2 x² + …
ALWAYS vd horner(int count, const double *coefficients, vd x) {
  vd sum = splat(coefficients[count - 1]);
  UNROLL for (int i = count - 2; i >= 0; --i) sum = sum * x + coefficients[i];
  return sum;
}

// The number (k + ½) 2⁻⁵² of a word's upper bits k.
ALWAYS vd uniform(vi word) {
  return ((vd)(word >> 12 | 0x3ff0000000000000) - 1.0) + 0x1p-53;
}

// log x = e log 2 + 2 artanh((m − 1) / (m + 1)), x = 2ᵉ m with m between √½ and √2; for normal x > 0.
ALWAYS vd logarithm(vd x) {
  static const double odd[] = {1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9,  1.0 / 11,
                               1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21};
  vd m = (vd)(((vi)x & 0x000fffffffffffff) | 0x3ff0000000000000);
  vd e = (vd)((vi)x >> 52 | 0x4330000000000000) - (0x1p52 + 1023);
  const vi above = (vi)(m > 1.4142135623730951);
  m = choose(above, 0.5 * m, m);
  e = choose(above, e + 1.0, e);
  const vd f = m - 1.0, s = f / (m + 1.0), z = s * s;
  // log 2 in two parts, the first so short that e times it is exact.
  const vd rest = 2.0 * s * z * horner(10, odd, z) + e * 1.90821492927058770002e-10;
  return e * 6.93147180369123816490e-01 + (2.0 * s + rest);
}

// cos and sin of 2πv, v in (0, 1): the nearest quarter turn, and Taylor series of what remains.
ALWAYS void turn(vd v, vd *cosine, vd *sine) {
  static const double even[] = {-1.0 / 2,        1.0 / 24,         -1.0 / 720,         1.0 / 40320,
                                -1.0 / 3628800,  1.0 / 479001600,  -1.0 / 87178291200, 1.0 / 20922789888000};
  static const double odd[] = {-1.0 / 6,        1.0 / 120,         -1.0 / 5040,          1.0 / 362880,
                               -1.0 / 39916800, 1.0 / 6227020800,  -1.0 / 1307674368000, 1.0 / 355687428096000};
  const vd quarters = 4.0 * v, shifted = quarters + 0x1.8p52; // adding 1.5 · 2⁵² rounds to an integer
  const vd x = (quarters - (shifted - 0x1.8p52)) * 1.5707963267948966, z = x * x;
  const vd c = z * horner(8, even, z) + 1.0;
  const vd s = x * z * horner(8, odd, z) + x;
  const vi q = (vi)shifted, swaps = -(q & 1);
  *cosine = (vd)((vi)choose(swaps, s, c) ^ ((q + 1 & 2) << 62));
  *sine = (vd)((vi)choose(swaps, c, s) ^ ((q & 2) << 62));
}

void NAME(normals)(int64_t pairs, const uint64_t *words, double *normals) {
  for (int64_t p = 0; p < pairs; p += LANES) {
    const int64_t count = pairs - p < LANES ? pairs - p : LANES;
    vi radius, angle;
    UNROLL for (int l = 0; l < LANES; ++l) {
      const uint64_t *pair = words + 2 * (p + (l < count ? l : 0));
      radius[l] = pair[0];
      angle[l] = pair[1];
    }
    vd cosine, sine;
    turn(uniform(angle), &cosine, &sine);
    const vd r = __builtin_elementwise_sqrt(-2.0 * logarithm(uniform(radius)));
    const vd first = r * cosine, second = r * sine;
    UNROLL for (int l = 0; l < LANES; ++l) {
      if (l < count) {
        normals[2 * (p + l)] = first[l];
        normals[2 * (p + l) + 1] = second[l];
      }
    }
  }
}
