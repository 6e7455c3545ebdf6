// Archives (ZIP) with other texts in them.
#pragma once
#include <stddef.h>

/// Gives other contents: a new buffer; NULL if these may stay as they are or, with `*failed`, if memory is
/// short.
typedef unsigned char *(*mjguard_change)(
    const char *name, const unsigned char *bytes, size_t count, size_t *new_count, int *failed);

/// The archive with changed contents and with names in which `from` is `to`, stored without compression.
///
/// It reads what the list at the end of the archive names, stored or packed by Deflate (RFC 1951).
///
/// - Returns: a new buffer; NULL if nothing changes or, with `*failed`, if the archive is damaged or packed
///   otherwise, or memory is short.
unsigned char *mjguard_rewrite_archive(
    const unsigned char *bytes, size_t count, mjguard_change change, char from, char to,
    size_t *new_count, int *failed);
