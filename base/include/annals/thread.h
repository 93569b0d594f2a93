/* What a thread tells the system about itself. Both are best effort: nothing depends on them. */
#ifndef ANNALS_THREAD_H
#define ANNALS_THREAD_H

#include <stdint.h>

/* The slice of threads that somebody waits for: they run as soon as they wake, for a short while.
 */
#define THREAD_SLICE_WRITER_NS 100000ull
#define THREAD_SLICE_LOOP_NS 300000ull

/* Names the calling thread, as ps -L, top -H and perf show it; at most 15 bytes are kept. */
void thread_set_name(const char *name);
/*
 * Asks the scheduler for short slices: a thread that wakes then runs before others that have been
 * running, though it gets no more time in all than they do. Needs no privilege. Linux 6.12 and
 * later heed it for ordinary threads (EEVDF, sched_attr.sched_runtime, 100 us to 100 ms), older
 * ones ignore it. 0 gives the system's own back. The calling thread; threads it makes inherit the
 * slice.
 */
void thread_set_slice(uint64_t slice_ns);

#endif
