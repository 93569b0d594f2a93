/* The operations that bench-micro measures. */
#ifndef BENCH_MICRO_CASES_H
#define BENCH_MICRO_CASES_H

#include <stddef.h>
#include <stdint.h>

struct micro_case {
	const char *name;
	const char *unit; /* what one operation is: "event", "frame", "call" */
	/* Does the work once; returns how many operations that were. */
	uint64_t (*run)(const struct micro_case *c);
	/* Bytes that one run looks at, 0 where a rate makes no sense; set by cases_prepare(). */
	size_t bytes;
	int size;  /* of an event or a buffer */
	int codec; /* enum batch_codec */
};

/* Builds the inputs. 0 or ANNALS_E_NO_MEMORY. */
int cases_prepare(void);
void cases_release(void);
struct micro_case *cases_all(size_t *ret_count);

/* Results go here, so that the compiler cannot leave the work out. */
extern volatile uint64_t cases_sink;

#endif
