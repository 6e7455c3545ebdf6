import Foundation

/// Settles how the program's memory is managed, where the C library can be told (glibc).
///
/// One heap for all threads: glibc gives each thread a heap of its own, and Swift's tasks move between
/// threads, so that what one iteration frees lies in other heaps than those the next one allocates
/// from. With 256 conditions that held 1.3 GiB for 0.8 GiB in use. Nothing allocates in inner loops, so
/// that threads do not wait for each other.
///
/// And memory that is free stays with the program: arrays of a megabyte come and go with every fit, and
/// asking the system for their pages again costs more than the arithmetic on them.
///
/// To be called before other threads allocate.
@_spi(Programs) public func configureHeap() {
  // The header of mallopt is in no module of Swift's.
  guard let symbol = dlsym(dlopen(nil, RTLD_NOW), "mallopt") else { return }
  let mallopt = unsafeBitCast(symbol, to: (@convention(c) (CInt, CInt) -> CInt).self)
  // The names and numbers of malloc.h.
  let (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX): (CInt, CInt, CInt) = (-1, -3, -8)
  _ = mallopt(M_ARENA_MAX, 1)
  _ = mallopt(M_MMAP_THRESHOLD, 32 << 20)
  _ = mallopt(M_TRIM_THRESHOLD, 64 << 20)
}
