/*
 * Named fault points, compiled in with -Dfault_injection=true and nothing at all otherwise.
 *
 *   ANNALS_FAULT("journal.before_sync");
 *
 * Environment: ANNALS_KILL_AT=<point>:<n> makes the n-th passing of that point (from 1) kill the
 * process with SIGKILL, also where the point only asks fault_errno().
 * ANNALS_FAIL_AT=<point>:<n>[:<errno>[:<times>]] makes fault_errno() return that errno (EIO by
 * default) from the n-th passing on, `times` times (1 by default, 0 = for ever).
 * `*` as the point matches every point. A value of any other form aborts the process: a trigger
 * that never fires would make its test pass. Thread-safe.
 *
 * A mutation is a bug on purpose: ANNALS_MUTATION("name") is true when ANNALS_MUTATION=name is in
 * the environment when the process asks first. The tests that look for such bugs must find each.
 */
#ifndef ANNALS_FAULT_H
#define ANNALS_FAULT_H

#include <stdbool.h>

#ifdef ANNALS_FAULT_INJECTION
/* Counts a passing; may not return. */
void fault_point(const char *name);
/* Counts a passing; returns 0 or the errno to fail with. */
int fault_errno(const char *name);
/* Prints every distinct point passed so far, one a line, to the file named by ANNALS_FAULT_LIST,
 * when the process exits. */
void fault_list_at_exit(void);
/* For tests in the process: the same as the environment variables. NULL clears. */
void fault_set(const char *kill_at, const char *fail_at);
/* Whether this bug is wanted. */
bool fault_mutation(const char *name);
#define ANNALS_MUTATION(name) fault_mutation(name)
#define ANNALS_FAULT(name) fault_point(name)
#define ANNALS_FAULT_ERRNO(name) fault_errno(name)
#else
#define ANNALS_FAULT(name) ((void)0)
#define ANNALS_FAULT_ERRNO(name) 0
#define ANNALS_MUTATION(name) false
#endif

#endif
