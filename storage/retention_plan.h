/*
 * Retention, the pure half: which part of a topic should go? No clock, no store, no thread: the
 * caller brings totals, the time and a function that finds pieces.
 *
 * A piece is what can be dropped at once: a chunk in LMDB or a batch in the tail. Pieces go oldest
 * first, by the recorded time of their newest batch, over all partitions of the topic. A piece goes
 *   - by age, when its newest batch is older than retention_age_us;
 *   - by bytes (events), when the topic holds at least retention_bytes (retention_events) without
 * it. So the newest so many bytes (events) are always kept, and what is kept beyond that is less
 * than one piece.
 */
#ifndef ANNALS_RETENTION_PLAN_H
#define ANNALS_RETENTION_PLAN_H

#include <annals/storage.h>

struct retention_piece {
	uint64_t end_offset; /* one past its last event */
	uint64_t bytes, events;
	uint64_t last_recorded_us;
};

/*
 * The first piece that holds offset `from` of a partition, or the first one behind it. 1: *ret is
 * set, with end_offset > from; 0: there is none; or a negative code.
 */
typedef int (*retention_next_piece)(
	void *arg, uint32_t partition, uint64_t from, struct retention_piece *ret);

struct retention_trim {
	uint32_t partition;
	uint64_t first_offset; /* the new one */
};

struct retention_input {
	const struct topic_config *config;
	uint64_t now_us;
	const uint64_t *first_offsets; /* config->partitions of them */
	uint64_t bytes, events;        /* of the whole topic now */
	size_t trims_max;              /* room in the answer */
	size_t pieces_max;             /* pieces to drop at most, so that a plan ends */
	retention_next_piece next_piece;
	void *arg;
};

struct retention_answer {
	struct retention_trim *trims; /* the caller's, room for trims_max; one a partition */
	size_t trim_count;
	bool more;            /* a limit of the plan was reached: plan again at once */
	uint64_t next_due_us; /* nothing grows too old before; UINT64_MAX without a maximum age */
};

/* Is the topic above a limit by bytes or events, so that a plan may find something? (Age is known
 * from next_due_us.) */
bool retention_exceeded(const struct topic_config *config, uint64_t bytes, uint64_t events);

/* Makes a plan. 0, ANNALS_E_NO_MEMORY, or what next_piece returned. Pure. */
int retention_plan(
	const struct retention_input *input, struct retention_answer *answer) ANNALS_MUST_CHECK;

#endif
