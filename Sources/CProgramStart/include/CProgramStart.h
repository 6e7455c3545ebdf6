// What the program does before the libraries that it needs are initialised.
#pragma once

/// Ends what holds before `main` alone: SIGINT is anybody's again.
void program_has_started(void);
