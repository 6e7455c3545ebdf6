import Foundation

/// Opens what is closed of standard input, output and error, so that no file of a run ever gets their
/// numbers, and messages are never written into one.
///
/// To be called before anything else is opened.
func openStandardStreams() {
  for stream in STDIN_FILENO...STDERR_FILENO where fcntl(stream, F_GETFD) < 0 && errno == EBADF {
    // The lowest free number is this one.
    var descriptor = open("/dev/null", stream == STDIN_FILENO ? O_RDONLY : O_WRONLY)
    // Where there is no such device, a folder holds the place; nothing can be written to it.
    if descriptor < 0 { descriptor = open("/", O_RDONLY | O_DIRECTORY) }
  }
}

/// Lets Ctrl-C and termination requests through: whoever started the program may block them.
///
/// To be called on the first thread, which waits while others work.
func unblockSignals() {
  var signals = sigset_t()
  sigemptyset(&signals)
  for number in [SIGINT, SIGTERM] { sigaddset(&signals, number) }
  pthread_sigmask(SIG_UNBLOCK, &signals, nil)
}

/// Checks that all arguments are text: of what is not UTF-8 a part would be lost without a word, and a path
/// would lead to another file.
///
/// - Throws: `CommandFailure`.
func requireText() throws(CommandFailure) {
  for number in 1..<max(1, Int(CommandLine.argc)) {
    guard let argument = CommandLine.unsafeArgv[number] else { return }
    if String(validatingCString: argument) == nil {
      throw CommandFailure(
        "argument \(number), \(String(cString: argument)), is not UTF-8 text", .badInput)
    }
  }
}

/// Checks that a run's files, the pipes of its children and the task pool's own can be open at once: the
/// pool ends the program by a trap where it is denied one, and a list that cannot be read looks empty.
///
/// - Throws: `CommandFailure`.
func requireDescriptors() throws(CommandFailure) {
  let wanted = 16
  var opened: [Int32] = []
  defer { for descriptor in opened { close(descriptor) } }
  while opened.count < wanted {
    let descriptor = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
    if descriptor < 0 {
      throw CommandFailure(
        "the system allows only \(opened.count) more open files where \(wanted) are needed "
          + "(\(String(cString: strerror(errno)))); raise its limit (ulimit -n)", .runFailed)
    }
    opened.append(descriptor)
  }
}

/// Checks that a thread's stack holds what MuJoCo's compiler and this program put there, which ends without a word
/// where it does not.
///
/// - Throws: `CommandFailure`.
func requireStack() throws(CommandFailure) {
  let kilobytes = 512
  var limit = rlimit()
  if getrlimit(__rlimit_resource_t(RLIMIT_STACK.rawValue), &limit) == 0,
    limit.rlim_cur < rlim_t(kilobytes << 10)
  {
    throw CommandFailure(
      "the system allows a stack of \(limit.rlim_cur >> 10) kB where \(kilobytes) are needed; raise its limit "
        + "(ulimit -s)", .runFailed)
  }
}

/// Checks that there can be as many threads as Swift's task pool will have: it waits for ever for one
/// that the system denies it.
///
/// - Throws: `CommandFailure`.
func requireThreads() throws(CommandFailure) {
  // One per core, one for signals, one of the pool's own.
  let wanted = max(1, ProcessInfo.processInfo.activeProcessorCount) + 2
  var threads: [pthread_t] = []
  var gate = pthread_mutex_t()
  pthread_mutex_init(&gate, nil)
  var problem: Int32 = 0
  withUnsafeMutablePointer(to: &gate) { gate in
    pthread_mutex_lock(gate)
    for _ in 0..<wanted where problem == 0 {
      var thread = pthread_t()
      problem = pthread_create(
        &thread, nil,
        { gate in
          // All of them live until the last is made.
          let gate = gate?.assumingMemoryBound(to: pthread_mutex_t.self)
          if let gate {
            pthread_mutex_lock(gate)
            pthread_mutex_unlock(gate)
          }
          return nil
        }, gate)
      if problem == 0 { threads.append(thread) }
    }
    pthread_mutex_unlock(gate)
    for thread in threads { pthread_join(thread, nil) }
  }
  pthread_mutex_destroy(&gate)
  if problem == 0 { return }
  throw CommandFailure(
    "the system allows only \(threads.count) more threads where \(wanted) are needed "
      + "(\(String(cString: strerror(problem)))); raise its limits on processes or on memory "
      + "(ulimit -u, ulimit -v)", .runFailed)
}

/// Checks that OpenBLAS can have the buffers of one of its own threads and of one of ours: it asks for ever
/// for one that the system denies it, and every process that is started waits for its threads.
///
/// - Throws: `CommandFailure`.
func requireBuffers() throws(CommandFailure) {
  let megabytes = 2 * 130
  // Room alone: no page of it is touched.
  let room = mmap(
    nil, megabytes << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0
  )
  if room == MAP_FAILED {
    throw CommandFailure(
      "the system allows less than \(megabytes) MB more memory, which OpenBLAS needs for its buffers "
        + "(\(String(cString: strerror(errno)))); raise its limits (ulimit -v, ulimit -d)",
      .runFailed)
  }
  munmap(room, megabytes << 20)
}
