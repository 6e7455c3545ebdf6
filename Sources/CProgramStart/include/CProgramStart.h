// What the program does before the libraries that it needs are initialised.
#pragma once

#include <semaphore.h>

/// Ends what holds before `main` alone: SIGINT is anybody's again.
void program_has_started(void);

/// Waits for a semaphore, so many seconds at most by a clock that nobody sets. Returns as `sem_timedwait` does.
int program_wait(sem_t *semaphore, int seconds);
