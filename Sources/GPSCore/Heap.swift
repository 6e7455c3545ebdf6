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

/// Tells in a sentence that memory ran out, instead of in a crash report: Swift and C++ end a program
/// by a signal where they cannot allocate.
///
/// Whether it was that is told by asking the system for a little more; any other crash is left to be
/// one.
@_spi(Programs) public func explainWantOfMemory() {
  var action = sigaction()
  action.__sigaction_handler.sa_handler = { number in
    // Nothing here allocates or takes a lock.
    let size = 64 << 20
    let page = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if page == MAP_FAILED {
      let text: StaticString = "gps: there is not enough memory to go on\n"
      _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
      _exit(70)
    }
    munmap(page, size)
    signal(number, SIG_DFL)
    raise(number)
  }
  // The handler runs once, on whatever stack there is.
  action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
  for number in [SIGABRT, SIGILL, SIGTRAP, SIGSEGV, SIGBUS] { sigaction(number, &action, nil) }
}
