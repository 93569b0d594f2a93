#include <annals/clock.h>

#include <stddef.h>
#include <time.h>

static const struct clock_source *clock_replacement;

void clock_set_source(const struct clock_source *source)
{
	clock_replacement = source;
}

uint64_t clock_monotonic_ns(void)
{
	struct timespec now;

	if (clock_replacement != NULL) {
		return clock_replacement->monotonic_ns(clock_replacement->arg);
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_wall_us(void)
{
	struct timespec now;

	if (clock_replacement != NULL) {
		return clock_replacement->wall_us(clock_replacement->arg);
	}
	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}
