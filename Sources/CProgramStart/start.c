#define _GNU_SOURCE
// OpenBLAS starts a thread per core when it is loaded, before `main`. Where the system denies it one, it raises
// SIGINT in its own process, which ends then with the exit code of somebody's Ctrl-C.

#include "CProgramStart.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

static void explain(int number, siginfo_t *info, void *context) {
  (void)context;
  if (info->si_code == SI_TKILL && info->si_pid == getpid()) {
    static const char text[] =
        "gps: the system allows no thread, or no memory for one; raise its limits on processes or on memory "
        "(ulimit -u, ulimit -v)\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) { /* Nobody listens. */ }
    _exit(70);
  }
  signal(number, SIG_DFL);
  raise(number);
}

static void take_interrupts(void) {
  struct sigaction action = {0}, before;
  if (sigaction(SIGINT, NULL, &before) != 0 || before.sa_handler != SIG_DFL) return;
  action.sa_sigaction = explain;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGINT, &action, NULL);
}

// The functions of this section run before those of any library, which is why it may stand in a program alone.
__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = take_interrupts;

void program_has_started(void) {
  struct sigaction now;
  if (sigaction(SIGINT, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == explain) {
    signal(SIGINT, SIG_DFL);
  }
}

int program_wait(sem_t *semaphore, int seconds) {
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += seconds;
  return sem_clockwait(semaphore, CLOCK_MONOTONIC, &end);
}
