/* What the parts of the checker share. Indexes are 32 bits; CHECKER_NONE is no index. */
#ifndef CLIENT_CHECKER_STATE_H
#define CLIENT_CHECKER_STATE_H

#include "checker.h"

#define CHECKER_NONE UINT32_MAX
#define PLACE_NONE UINT64_MAX

/* A growing array: `list_grow` makes room for one more element at the end. */
#define LIST(type)                                                                                 \
	struct {                                                                                   \
		type *at;                                                                          \
		size_t count, capacity;                                                            \
	}
/* NULL without memory or at the limit of indexes; else the array, which may have moved. */
void *list_grow_(void *at, size_t count, size_t *ret_capacity, size_t item_bytes);
#define LIST_GROW(list)                                                                            \
	__extension__({                                                                            \
		void *grown_ = (list)->at;                                                         \
		if ((list)->count == (list)->capacity) {                                           \
			grown_ = list_grow_((list)->at, (list)->count, &(list)->capacity,          \
				sizeof(*(list)->at));                                              \
			(list)->at = grown_ != NULL ? grown_ : (list)->at;                         \
		}                                                                                  \
		grown_ != NULL ? 0 : ANNALS_E_NO_MEMORY;                                           \
	})

/* (a, b) -> index; open addressing, grows. A zeroed map is empty. */
struct map_entry {
	uint64_t a, b;
	uint32_t value; /* CHECKER_NONE: free */
};
struct map {
	struct map_entry *entries;
	size_t capacity, count;
	uint64_t secret;
};
/* CHECKER_NONE when absent. */
uint32_t map_find(const struct map *map, uint64_t a, uint64_t b);
/* The place of the entry's value, made with CHECKER_NONE if absent (the caller then sets it); NULL
 * without memory. Valid until the next call. */
uint32_t *map_put(struct map *map, uint64_t a, uint64_t b);
void map_release(struct map *map);

/* Stable LSD radix sort, bytes that are the same in all keys skipped. */
struct sort_item {
	uint64_t key;
	uint32_t index;
};
int sort_items(struct sort_item *items, size_t count) ANNALS_MUST_CHECK;

struct op_extra {
	uint64_t producer_id, producer_epoch, producer_sequence, group, generation;
	struct bytes text;
	int status;
};

struct op {
	uint64_t invoke_ns, return_ns, number;
	uint32_t client, attempt, first_part, part_count;
	uint32_t extra, request; /* CHECKER_NONE, but for appends */
	uint16_t mask;
	uint8_t kind, outcome;
};

struct part {
	const uint8_t *values;
	uint64_t offset, version, expected, start, end;
	uint64_t place;         /* APPEND: the offset it is known to have, or PLACE_NONE */
	uint64_t version_place; /* the same in its stream */
	uint32_t mask, count, op, log, stream_log, delivery;
};

/* All attempts of one append. */
struct request {
	uint64_t first_invoke_ns;
	uint32_t first_op;
	uint32_t attempts, submitted; /* submitted: neither refused nor in conflict */
	bool idempotent;
};

/* Consecutive known places of a log: slots [first_slot, first_slot + count). */
struct segment {
	uint64_t offset;
	size_t first_slot, count;
};

/* A partition, or a stream. */
struct log {
	uint64_t stream;
	uint32_t topic, partition;
	bool is_stream, trim_only;
	size_t first_run, run_count, first_segment, segment_count;
	/* From the sweep: what is known at its moment, and by which part. */
	uint64_t known_end, known_start, trimmed;
	uint32_t known_end_by, known_start_by;
	/* The claim of the end that began last, and the largest end that anyone ever knew. */
	uint32_t last_claim;
	uint64_t last_claim_ns, largest_end;
	uint64_t unresolved; /* events that may be there and that nobody saw */
};

/* One run of events, acknowledged or read, in a log. */
struct run {
	uint64_t offset;
	const uint8_t *values; /* NULL: a hole */
	uint32_t count, part, log;
	bool acknowledged;
};

/* What is known of one place of a log. */
struct slot {
	uint64_t value;
	uint32_t owner;   /* the append's part, or CHECKER_NONE */
	uint32_t witness; /* a read's part, or CHECKER_NONE */
};

/* An append of which it is known where it is, besides its acknowledgement. */
struct occurrence {
	uint64_t offset;
	uint32_t part, log;
};

struct topic_name {
	struct bytes name;
	bool trim_only;
};

struct checker {
	LIST(struct op) ops;
	LIST(struct op_extra) extras;
	LIST(struct part) parts;
	LIST(struct request) requests;
	LIST(struct log) logs;
	LIST(struct run) runs;
	LIST(struct segment) segments;
	LIST(struct slot) slots;
	LIST(struct occurrence) occurrences;
	LIST(uint32_t) server_ops;
	LIST(struct topic_name) topics;
	struct map log_map, client_map, topic_map;
	LIST(uint32_t) last_append; /* per client: its newest append */
	uint32_t cached_log;
	uint64_t first_ns;
	struct history_stats stats;
	uint64_t scores[CHECKER_INVARIANT_COUNT];
	struct checker_report *report;
};

static inline struct op *op_of(const struct checker *checker, const struct part *part)
{
	return &checker->ops.at[part->op];
}
static inline const struct op_extra *extra_of(const struct checker *checker, const struct op *op)
{
	static const struct op_extra none;
	return op->extra != CHECKER_NONE ? &checker->extras.at[op->extra] : &none;
}
static inline uint64_t value_of(const uint8_t *values, uint64_t index)
{
	return load_u64(values + index * 8);
}
/* The log of a partition or of a stream of a topic, made if new. */
int checker_log(struct checker *checker, uint32_t topic, uint32_t partition, bool is_stream,
	uint64_t stream, uint32_t *ret_log) ANNALS_MUST_CHECK;
/* The known slot of a place, or NULL. */
struct slot *checker_slot(const struct checker *checker, uint32_t log, uint64_t offset);

/* What a read or delivery is about: the log, and its place there; the stream's, unless it names an
 * offset. */
static inline uint32_t subject_of(const struct part *part, uint64_t *ret_place)
{
	if (part->stream_log != CHECKER_NONE && (part->mask & HISTORY_PART_OFFSET) == 0) {
		*ret_place = part->version;
		return part->stream_log;
	}
	*ret_place = part->offset;
	return part->log;
}
static inline bool was_submitted(const struct op *op)
{
	return op->outcome == HISTORY_DONE || op->outcome == HISTORY_UNKNOWN;
}

/* The steps of checker_judge(), in this order; each reports what it finds. */
int checker_build_logs(struct checker *checker) ANNALS_MUST_CHECK; /* I1 I2 */
int checker_attribute(struct checker *checker) ANNALS_MUST_CHECK;  /* I5 I6 I7 */
int checker_sweep(struct checker *checker) ANNALS_MUST_CHECK;      /* I1 I8 I9 I12 */
int checker_sessions(struct checker *checker) ANNALS_MUST_CHECK;   /* I3 I4 I10 */
int checker_conditions(struct checker *checker) ANNALS_MUST_CHECK; /* I9 */
int checker_groups(struct checker *checker) ANNALS_MUST_CHECK;     /* I11 I13 */
int checker_atomicity(struct checker *checker) ANNALS_MUST_CHECK;  /* I7, after the sweep */
int checker_delays(struct checker *checker) ANNALS_MUST_CHECK;     /* I1 I8 of what is due later */

/* Whether everything of a log was seen when its end was asked for last. After the sweep. */
bool checker_is_fully_known(const struct checker *checker, const struct log *log);
/* When the first event of an append's part was read, as far as is known, and by which part; 0 if
 * nobody did. */
uint64_t checker_seen_ns(const struct checker *checker, const struct part *part, uint32_t *ret_by);

/* Counts a violation that two parts show (the second may be CHECKER_NONE), and keeps it as the
 * example if it is smaller than the one there is. The sentence has no capital and no full stop. */
void checker_violation(struct checker *checker, enum checker_invariant invariant, uint32_t first,
	uint32_t second, const char *format, ...) ANNALS_PRINTF(5, 6);

#endif
