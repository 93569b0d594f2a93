/* Time. Storage's apply never calls these: times are in the blocks. Any thread. */
#ifndef ANNALS_CLOCK_H
#define ANNALS_CLOCK_H

#include <stdint.h>

/* Monotonic nanoseconds since some start: for deadlines and durations. */
uint64_t clock_monotonic_ns(void);
/* Wall clock in microseconds since 1970-01-01T00:00:00Z. */
uint64_t clock_wall_us(void);

/*
 * Replaces both clocks for tests and simulation; NULL puts the real one back. The function gets the
 * same `arg` and must be callable from any thread. Set it before threads start.
 */
struct clock_source {
	uint64_t (*monotonic_ns)(void *arg);
	uint64_t (*wall_us)(void *arg);
	void *arg;
};
void clock_set_source(const struct clock_source *source);

#endif
