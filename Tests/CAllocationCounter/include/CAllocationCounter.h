// Counts what the calling thread asks the heap for.
//
// Linking this into a program replaces the allocation functions of glibc by ones that count and go on
// to glibc's own. Under a sanitizer, which replaces them itself, or with another C library nothing is
// replaced and nothing is counted. Each thread has a count of its own, so that tests that run at the
// same time do not disturb each other.
#pragma once

/// Whether allocations are counted in this program (0 or 1): tried out, not assumed.
int allocations_are_counted(void);

/// Calls of malloc, calloc, realloc, aligned_alloc, posix_memalign and memalign by this thread so far.
long allocation_count(void);
