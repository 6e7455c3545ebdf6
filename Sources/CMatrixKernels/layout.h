#pragma once

#include <stdint.h>

/// The distance between columns of `rows` numbers in scratch memory: whole cache lines, and not a
/// multiple of 512 bytes, so that neighbouring columns do not compete for the same cache sets.
static inline int64_t column_distance(int64_t rows) {
  const int64_t padded = (rows + 7) / 8 * 8;
  return padded % 64 ? padded : padded + 8;
}
