#include <annals/clock.h>

#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

/* Atomic, because a test may replace the clock while other threads read it. */
static const struct clock_source *_Atomic clock_replacement;

void clock_set_source(const struct clock_source *source)
{
	atomic_store_explicit(&clock_replacement, source, memory_order_release);
}

static const struct clock_source *replacement(void)
{
	return atomic_load_explicit(&clock_replacement, memory_order_acquire);
}

uint64_t clock_monotonic_ns(void)
{
	const struct clock_source *source = replacement();
	struct timespec now;

	if (source != NULL) {
		return source->monotonic_ns(source->arg);
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_wall_us(void)
{
	const struct clock_source *source = replacement();
	struct timespec now;

	if (source != NULL) {
		return source->wall_us(source->arg);
	}
	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}
