/*
 * What was asked for and what was promised up to a point of the trace, and the judge that compares
 * a store with it:
 *
 * I1  what was acknowledged with fsync, or shown to a reader, is there: same offset, position,
 * bytes I2  an offset keeps its value; the end never goes back behind an offset that was told; nor
 * does what is appended afterwards get an offset, position or topic id that was told before I3
 * offsets are dense from the first kept one to the end I5  nothing is there twice I6  nothing is
 * there that was not submitted, or that was refused I7  a request is there whole or not at all I11
 * group offsets: at least what was acknowledged, at most what was asked for, not beyond the end I12
 * the first kept offset: at least what a reader was told, at most what was asked for
 */
#ifndef ANNALS_TEST_PROMISE_H
#define ANNALS_TEST_PROMISE_H

#include "trace.h"

#include <annals/storage.h>

struct promises;

struct promises *promises_new(void);
void promises_free(struct promises *promises);
/* A mark of the trace. */
void promises_take(struct promises *promises, const struct mark *mark);

/* Whether anything was promised yet. */
bool promises_are_any(const struct promises *promises);

/* Where the judge writes what is wrong. */
struct verdict {
	unsigned problems;
	char text[512]; /* of the first one */
};
void verdict_problem(struct verdict *verdict, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Reads the whole store and compares; *ret_digest stands for everything in it. */
void promises_judge(struct promises *promises, struct store *store, struct verdict *verdict,
	uint64_t *ret_digest);
/* The same digest without comparing. */
uint64_t promises_digest(struct promises *promises, struct store *store, struct verdict *verdict);
/* Appends to every topic that is there and creates one: everything must be new. Call it after
 * promises_judge(). */
void promises_go_on(struct promises *promises, struct store *store, struct verdict *verdict);

#endif
