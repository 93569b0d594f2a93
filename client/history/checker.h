/*
 * Judges a history (history.h): was anything acknowledged lost, changed, doubled, torn, reordered
 * or made up? The store is known only through what its clients saw, so a finding is certain, and
 * what nobody looked at is not judged.
 *
 * The log of a partition is put together from acknowledgements and reads, sorted by offset; real
 * time is judged by one sweep over all operations that keeps what was known at each moment. With
 * the radix sorts inside, n records and events cost O(n log n) at most; because the store answers
 * with offsets no search over interleavings is needed (in the manner of Wing and Gong, "Testing and
 * verifying concurrent objects", 1993, where order is not known). A stream (the events of one key)
 * is judged as one more log, with versions in place of offsets.
 *
 * Operations whose outcome is unknown may or may not have happened; once seen, they have.
 */
#ifndef CLIENT_CHECKER_H
#define CLIENT_CHECKER_H

#include "history.h"

/* X(identifier, what must hold) */
#define CHECKER_INVARIANT_LIST(X)                                                                  \
	X(I1, "what was acknowledged is readable at its offset, with the same bytes")              \
	X(I2, "an offset holds one event for ever")                                                \
	X(I3, "offsets are dense")                                                                 \
	X(I4, "a producer's sequence and the offsets agree")                                       \
	X(I5, "an idempotent append is stored once, any other once per attempt")                   \
	X(I6, "nothing is readable that was not submitted, or was refused")                        \
	X(I7, "a request is stored whole or not at all")                                           \
	X(I8, "real time: what is known before an operation begins, it comes after")               \
	X(I9, "a conditional append succeeds exactly when its condition holds")                    \
	X(I10, "a reader sees rising offsets, no gap, no repeat")                                  \
	X(I11, "a group's committed offset is kept, never goes back, and lies within the log")     \
	X(I12, "the first kept offset only rises, nothing below it is served, nothing above gone") \
	X(I13, "an event that its group acknowledged is not handed out again")                     \
	X(I14, "an event that is handled by a transaction has its output once")

enum checker_invariant {
#define CHECKER_INVARIANT_ENUM_(id, text) CHECKER_##id,
	CHECKER_INVARIANT_LIST(CHECKER_INVARIANT_ENUM_)
#undef CHECKER_INVARIANT_ENUM_
		CHECKER_INVARIANT_COUNT
};
/* "I1". */
const char *checker_invariant_name(enum checker_invariant invariant);
const char *checker_invariant_text(enum checker_invariant invariant);

#define CHECKER_EXAMPLE_BYTES 2048

struct checker_report {
	uint64_t records, cut_bytes, history_bytes;
	uint64_t appends, appends_done, appends_conflict, appends_refused, appends_unknown;
	uint64_t reads, commits, fetches, deliveries, settlements, server_actions;
	/* Of them: appends of numbered producers, of transactions, due later; reads backwards;
	 * groups made to go elsewhere. Only what was answered with success. */
	uint64_t sequenced, transactions, delayed, backwards, seeks;
	uint64_t events_acknowledged; /* by appends that were answered, replays left out */
	uint64_t events_read;         /* by all readers together */
	uint64_t events_known;        /* distinct places in partitions */
	uint64_t partitions, streams;
	uint64_t violations; /* of all invariants together */
	struct {
		uint64_t violations;
		/* The smallest counter-example: the fewest operations, the nearest in time. */
		char example[CHECKER_EXAMPLE_BYTES];
	} invariants[CHECKER_INVARIANT_COUNT];
};

struct checker;

/* NULL without memory. Free with checker_free(), which accepts NULL. One thread at a time. */
struct checker *checker_new(void);
void checker_free(struct checker *checker);
/* Adds a history; the bytes must stay until the checker is freed. Errors: as history_read(), and
 * ANNALS_E_NO_MEMORY beyond 2^32 - 2 operations or parts. */
int checker_add(struct checker *checker, struct bytes history, struct error *err) ANNALS_MUST_CHECK;
/*
 * Judges all that was added, once. 0 also when there are violations: *ret says so. `ret` is large:
 * not for small stacks. ANNALS_E_NO_MEMORY.
 */
int checker_judge(
	struct checker *checker, struct checker_report *ret, struct error *err) ANNALS_MUST_CHECK;
/* The report for people: counts, then each invariant that is broken with its example. */
int checker_print(const struct checker_report *report, struct buf *out) ANNALS_MUST_CHECK;

#endif
