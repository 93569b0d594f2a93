/*
 * Operations: what both protocols can do, without a protocol. Loop thread only.
 *
 * Life of an operation: X_new(loop) -> fill the input fields -> X_start() -> OP_DONE at once, or
 * OP_PENDING and later done(op) on the same loop -> read status and results -> op_release().
 * op_release() is allowed at any moment, also while the operation is pending: then done() is not
 * called, what can be cancelled is cancelled, and the memory is freed when storage has given it
 * back (an append that was submitted still happens). So a connection that dies just releases its
 * operations. Never release from within X_start(); releasing from within done() is the normal case.
 *
 * Everything that an operation needs after X_start() returned is copied into it or owned by it;
 * names passed in are borrowed for the call only.
 */
#ifndef SERVER_OPS_H
#define SERVER_OPS_H

#include "loop.h"
#include <annals/delivery.h>
#include <annals/filter.h>
#include <annals/schedule.h>
#include <annals/schemas.h>
#include <annals/storage.h>

enum op_kind {
	OP_APPEND,
	OP_READ,
	OP_FIND_TIME,
	OP_TAIL,
	OP_TOPIC_CREATE,
	OP_TOPIC_UPDATE,
	OP_TOPIC_DELETE,
	OP_TOPIC_LIST,
	OP_TOPIC_DESCRIBE,
	OP_OFFSET_COMMIT,
	OP_OFFSET_FETCH,
	OP_GROUP_DELETE,
	OP_GROUP_LIST,
	OP_PRODUCER_OPEN,
	OP_STREAM_READ,
	OP_QUERY,
	OP_DELIVERY,
	OP_SCHEMA,
	OP_ROWS,
	OP_WEBHOOK,
	OP_KINDS
};
/* "append", "read": metrics and logs. */
const char *op_kind_name(enum op_kind kind);

#define OP_DONE 0
#define OP_PENDING 1

/* What an error names besides its sentence; fields that do not apply are 0, NULL or "". For problem
 * documents and Error messages. */
struct op_detail {
	char topic[TOPIC_NAME_MAX + 1];
	bool has_partition, has_offset, has_range, has_event_index;
	uint32_t partition, event_index;
	uint64_t offset, first_offset, end_offset;
	/* A condition that did not hold: what was found. */
	bool has_conflict, stream_exists, is_query;
	uint32_t condition_index;
	uint64_t version, position;
	const char *limit_name; /* an option */
	uint64_t limit;
	uint64_t retry_after_ms;
};

struct op_texts;

struct op {
	struct loop *loop;
	enum op_kind kind;
	bool pending, released;
	void (*done)(struct op *op); /* set before start */
	void *arg;                   /* the caller's */
	uint64_t started_ns;
	int status;         /* 0 or ANNALS_E_* when done */
	struct error error; /* its sentence */
	struct op_detail detail;
	struct topic *topic; /* a reference, once resolved; what the operation works on */
	/* private */
	unsigned outstanding;          /* requests that storage has */
	struct list_node waiting_node; /* in loop->waiting */
};
void op_release(struct op *op); /* NULL is a no-op */
/* A read that waits for events to come ends now, with what it has; done() is called from within. No
 * effect on others; NULL is a no-op. */
void op_stop_waiting(struct op *op);
/* Loop thread: ends everything that waits for events to come, because the server drains: long polls
 * with what they have, tails with ANNALS_E_UNAVAILABLE. */
void op_drain_all(struct loop *loop);

/* ---- Append (op_append.c) ---- */

/*
 * One request, one commit: all parts or none. The caller fills `body` with all bodies end to end
 * (op_append owns that memory; fill it with buf_add() or move a buffer in) and adds a part for
 * each. op_append_start() checks checksums, opens every body, applies the limits, submits.
 * Statuses: ANNALS_E_UNKNOWN_TOPIC, UNKNOWN_PARTITION, CORRUPT_BATCH, MALFORMED, VALIDATION,
 * TOO_LARGE, WRONG_PARTITION, OVERLOADED, UNAVAILABLE, STORAGE_FULL, OUTCOME_UNKNOWN, NO_MEMORY.
 */
struct op_append {
	struct op op;
	/* Conditions, see op_append_expect() and op_append_unless(). */
	struct stream_condition *conditions;
	uint32_t condition_count;
	struct query_condition query;
	struct query_item *items;
	struct op_texts *texts;        /* copies of what conditions name */
	enum durability durability;    /* input */
	struct buf body;               /* input */
	struct append_request request; /* results: parts[i].base_offset, .base_position,
					  .summary.count; recorded_us; durability it got */
	size_t part_capacity;
	size_t body_used;
	uint32_t refused_event, refused_partition; /* what request.refusal is about */
	struct op_append *next;                    /* op_append_join() */
	/* Input: events that are due later may be kept aside until then; else such a request is
	 * refused. */
	bool may_delay, partition_named;
	struct schedule_request *delayed; /* result, if they were */
};
struct op_append *op_append_new(struct loop *loop);
/*
 * The next `body_bytes` bytes of `body` are a batch for `partition`. count 0: not announced; crc
 * NULL: not announced. ANNALS_E_NO_MEMORY, ANNALS_E_LIMIT (more than 10,000 parts).
 */
int op_append_add_part(struct op_append *append, uint32_t partition, enum batch_codec codec,
	size_t body_bytes, uint32_t count, const uint32_t *crc) ANNALS_MUST_CHECK;
/* The stream must be as expected, or nothing is stored (ANNALS_E_PRECONDITION_FAILED with what was
 * found in op.detail). Copies the key. ANNALS_E_LIMIT (1,024 conditions), ANNALS_E_NO_MEMORY. */
int op_append_expect(struct op_append *append, struct bytes key, enum stream_expect expect,
	uint64_t version, uint32_t incarnation) ANNALS_MUST_CHECK;
/* No event after the position may match the query. Copies it. ANNALS_E_INVALID, ANNALS_E_TOO_LARGE,
 * ANNALS_E_NO_MEMORY. Once. */
int op_append_unless(
	struct op_append *append, const struct query_condition *query) ANNALS_MUST_CHECK;
/* A repeat with this key gets the first answer, when it is the same request by this hash. Copies
 * the key. ANNALS_E_TOO_LARGE, ANNALS_E_NO_MEMORY. */
int op_append_receipt(
	struct op_append *append, struct bytes key, const uint8_t hash[16]) ANNALS_MUST_CHECK;
int op_append_start(struct op_append *append, struct bytes topic);
/* All of it but handing the request to storage: for an append that is part of something larger. 0,
 * or a status with op.error and op.detail. */
int op_append_prepare(struct op_append *append, struct bytes topic) ANNALS_MUST_CHECK;
/* Starts what op_append_prepare() has passed, with all that joined it. */
int op_append_submit(struct op_append *append);

/*
 * `other`, which op_append_prepare() has passed, becomes a part of the same commit: all of both is
 * stored or nothing. It belongs to `append` then, and its results are there when that is done; a
 * conflict's detail names the topic. The limits are those of append_request.next.
 */
void op_append_join(struct op_append *append, struct op_append *other);

/*
 * The partition for an event without an explicit one: the key's, or one that rotates by loop and
 * time so that a batch sticks together.
 */
uint32_t op_append_partition(
	struct loop *loop, const struct topic *topic, const struct record *record);

/* ---- Read one page, with long poll (op_read.c) ---- */

struct op_read {
	struct op op;
	/* input */
	/* May be NULL. Asked after a wait: true when the reader has too much to read already; the
	 * read then ends with an empty page instead of adding to it. */
	bool (*is_crowded)(struct op *op);
	uint32_t partition;
	uint64_t offset;    /* backwards: UINT64_MAX is the end */
	uint32_t bytes_max; /* 0: fetch-bytes-max, which also caps it */
	uint64_t wait_us;   /* at the end of the log; capped by wait-max */
	bool backwards;     /* the batches before `offset`, see read_request; never waits */
	/* Batches out of which nothing passes are left out, and next_offset says how far the read
	 * looked: empty and above `offset`, there is more to look at. NULL: all. Of
	 * event_filter_copy(); goes with the operation. */
	struct event_filter *filter;
	uint32_t codecs; /* bit (1 << enum batch_codec) for each that the reader takes; batches of
			    others are decompressed. Plain is always taken. */
	/* results */
	struct read_request
		request; /* batches, batch_count, next_offset, first_offset, end_offset */
	/* private */
	struct watch_request watch;
	struct loop_timer timer;
	bool watching, timed_out, reading;
	uint64_t deadline_ns;
};
struct op_read *op_read_new(struct loop *loop);
/* topic_id: 0, or what the reader learnt earlier: another id is ANNALS_E_TOPIC_RECREATED. With an
 * id `topic` may be empty. */
int op_read_start(struct op_read *read, struct bytes topic, uint32_t topic_id);

/* ---- Offset for a time (op_read.c) ---- */

struct op_find_time {
	struct op op;
	uint32_t partition;
	uint64_t time_us;
	struct find_time_request request; /* result: offset */
};
struct op_find_time *op_find_time_new(struct loop *loop);
int op_find_time_start(struct op_find_time *find, struct bytes topic);

/* ---- Streams and queries (op_stream.c) ---- */

/*
 * A page of a stream, or of what matches a query: first the places, then the events, one read for
 * each batch that holds some of them. A page ends early when it has about fetch-bytes-max bytes.
 */
struct op_places {
	struct op op;
	/* input of OP_STREAM_READ */
	struct bytes key; /* borrowed for start */
	uint64_t version;
	bool backwards;
	uint32_t limit; /* 0: only the head */
	/* instead of a version: stream_request's, after query.after */
	bool by_position;
	/* input of OP_QUERY: query of query_request, copied by start */
	struct query_condition query;
	bool from_kept;
	/* results */
	struct stream_request stream; /* exists, head */
	struct query_request found;   /* up_to */
	struct event_place *places;
	size_t place_count; /* whose events are in `events` */
	uint64_t *recorded_us;
	struct buf events; /* elements of a Batch, in the order of places */
	bool more;         /* the page ended early */
	/* private */
	struct op_texts *texts;
	struct query_item *items;
	struct read_request read;
	size_t next;
	bool reading;
	struct buf batch;  /* the last one read */
	struct buf starts; /* where its events begin in `plain`, and the last one ends: size_t */
	struct bytes plain;
	struct buf scratch;
};
/* kind: OP_STREAM_READ or OP_QUERY. */
struct op_places *op_places_new(struct loop *loop, enum op_kind kind);
/*
 * ANNALS_E_UNKNOWN_TOPIC, TOPIC_RECREATED, UNSUPPORTED_OPERATION (no streams, no query index),
 * OFFSET_GONE (removed by retention), INVALID, TOO_LARGE, CORRUPT_DATA, IO, NO_MEMORY.
 */
int op_places_start(struct op_places *places, struct bytes topic, uint32_t topic_id);

/* ---- Producers (op_producer.c) ---- */

struct op_producer {
	struct op op;
	struct producer_request request; /* results: producer_id, epoch */
};
struct op_producer *op_producer_new(struct loop *loop);
/* ANNALS_E_INVALID (name), OVERLOADED, UNAVAILABLE, OUTCOME_UNKNOWN. */
int op_producer_start(struct op_producer *producer, struct bytes name);

/* ---- One row of a layer above storage (op_rows.c) ---- */

struct op_rows {
	struct op op;
	struct rows_request request;
	struct row_change change;
	struct buf key, value, expected; /* input; owned */
};
struct op_rows *op_rows_new(struct loop *loop);
/*
 * Writes `value` (deletes: no value) if the row is as `expected` says, or (no row) absent.
 * ANNALS_E_CONFLICT: it is not. TOO_LARGE, OVERLOADED, UNAVAILABLE, OUTCOME_UNKNOWN.
 */
int op_rows_start(struct op_rows *rows, bool deletes, bool must_be_absent);

/* ---- Tail: history, then live, of some or all partitions of a topic (op_tail.c) ---- */

enum tail_start { TAIL_OFFSETS, TAIL_EARLIEST, TAIL_LATEST, TAIL_TIME, TAIL_POSITION };
struct tail_partition {
	uint32_t partition;
	uint64_t offset; /* the next one to deliver; moves on */
	/* private */
	uint64_t read_offset;             /* the next one to read into the page */
	uint64_t search_low, search_high; /* TAIL_POSITION */
	uint64_t end_offset;
	struct buf page;
	size_t page_used;
};
/*
 * Pull, not push: after start is done call op_tail_next() for as long as there is room for more.
 * done() is called once for start, if that was pending, and then again each time op_tail_next()
 * returned 0 and something is there. Merged (SSE): items are single batches in the order of
 * positions over all partitions, so that the last position seen resumes the tail exactly. Not
 * merged: items are pages of one partition, partitions in turn.
 */
struct op_tail {
	struct op op;
	/* input */
	bool merged;
	enum tail_start start;
	uint64_t start_value; /* TAIL_TIME: microseconds; TAIL_POSITION: resume after this position
			       */
	uint32_t codecs;      /* as in op_read */
	/* results */
	struct tail_partition *partitions;
	size_t partition_count;
	uint64_t position; /* merged: everything at or below it was delivered or lies before the
			      start */
	/* private */
	struct read_request read;
	struct find_time_request find;
	struct watch_request watch;
	struct loop_task task;
	size_t current; /* whose turn it is */
	size_t last;    /* whose page the last item was */
	uint64_t bound; /* merged: positions up to here may be delivered in this round */
	bool busy;      /* storage has a read or a search */
	bool watching, started, wants_call, ended;
};
struct tail_item {
	uint32_t partition;
	struct bytes batches; /* stored batches end to end; borrowed until the next call */
	uint64_t next_offset, end_offset;
	uint64_t last_position; /* of the last event in it */
	bool caught_up;         /* nothing durable is left unsent in this partition */
};
struct op_tail *op_tail_new(struct loop *loop);
/*
 * partitions: which (NULL = all), with their offsets for TAIL_OFFSETS; copied. Statuses:
 * ANNALS_E_UNKNOWN_TOPIC, UNKNOWN_PARTITION, TOPIC_RECREATED, OFFSET_GONE, OFFSET_BEYOND_END,
 * INVALID (a partition twice).
 */
int op_tail_start(struct op_tail *tail, struct bytes topic, uint32_t topic_id,
	const struct tail_partition *partitions, size_t count);
/*
 * 1: an item of at most about bytes_max (one batch may be larger). 0: nothing now, done() will say.
 * Negative: the tail has ended, op.status and op.error say why (the topic was deleted, retention
 * overtook the reader (OFFSET_GONE with the range), damaged data, the server stops).
 */
int op_tail_next(struct op_tail *tail, size_t bytes_max, struct tail_item *ret);

/* Not merged, after 1: takes the memory of the item's batches instead of copying them. */
void op_tail_take(struct op_tail *tail, struct buf *ret_batches);

/* ---- Topics (op_topics.c) ---- */

struct op_topic {
	struct op op;                 /* done: op.topic is the topic (create, update) */
	struct topic_request request; /* results: created */
};
/* How long ids are remembered where streams are on and nothing else is said. */
#define OP_DEDUPE_AGE_US (UINT64_C(24) * 3600 * 1000000)
/* kind: OP_TOPIC_CREATE, OP_TOPIC_UPDATE or OP_TOPIC_DELETE. */
struct op_topic *op_topic_new(struct loop *loop, enum op_kind kind);
/*
 * config: NULL for delete. For update the whole new settings: start from topic->config.
 * ANNALS_E_INVALID (name, a setting), UNKNOWN_TOPIC, TOPIC_EXISTS, LIMIT (partitions-max,
 * topics-max), OVERLOADED, UNAVAILABLE, STORAGE_FULL, OUTCOME_UNKNOWN.
 */
int op_topic_start(struct op_topic *op, struct bytes name, const struct topic_config *config);
/* At once: a reference, or NULL with err and detail filled (ANNALS_E_INVALID,
 * ANNALS_E_UNKNOWN_TOPIC, ANNALS_E_TOPIC_RECREATED). err and detail may be NULL. */
struct topic *op_topic_find(struct loop *loop, struct bytes name, uint32_t topic_id,
	struct error *err, struct op_detail *detail);

/* ---- Offsets and groups (op_offsets.c) ---- */

struct op_offset_commit {
	struct op op;
	struct offset_request request;
	struct buf metadata;
	size_t entry_capacity;
	/* Input, if a member of the group commits; else empty. */
	struct member_commit_request member;
};
/* kind: OP_OFFSET_COMMIT or OP_GROUP_DELETE. */
struct op_offset_commit *op_offset_commit_new(struct loop *loop, enum op_kind kind);
/* Copies everything. ANNALS_E_UNKNOWN_TOPIC, TOO_LARGE (metadata over 4 KiB), LIMIT (more than
 * 10,000 entries), NO_MEMORY; also in op.status, op.error, op.detail. */
int op_offset_commit_add(struct op_offset_commit *commit, struct bytes topic, uint32_t partition,
	uint64_t offset, struct bytes metadata, uint32_t leader_epoch) ANNALS_MUST_CHECK;
/* Whose commit it is. ANNALS_E_INVALID: a name that nobody can have. */
int op_offset_commit_set_member(struct op_offset_commit *commit, struct bytes member,
	uint32_t generation) ANNALS_MUST_CHECK;
/* ANNALS_E_INVALID (group name), UNKNOWN_PARTITION, OFFSET_BEYOND_END, FENCED (another member has a
 * partition, or no member is named and the group has some), UNKNOWN_MEMBER, OVERLOADED, ... */
int op_offset_commit_start(struct op_offset_commit *commit, struct bytes group);

/* One committed offset, for answers; topic and metadata are borrowed for the call. */
struct op_offset {
	const struct topic *topic;
	uint32_t partition, leader_epoch;
	uint64_t offset, committed_us, first_offset, end_offset; /* lag = end_offset - offset */
	struct bytes metadata;
};
/*
 * At once: calls fn for every committed offset of the group, of one topic or (topic empty) all, in
 * (topic id, partition) order. A non-zero return of fn stops and is returned. ANNALS_E_INVALID,
 * ANNALS_E_UNKNOWN_TOPIC, ANNALS_E_IO, ANNALS_E_NO_MEMORY; a group nobody knows has no offsets.
 */
int op_offset_fetch(struct loop *loop, struct bytes group, struct bytes topic,
	int (*fn)(void *arg, const struct op_offset *offset), void *arg,
	struct error *err) ANNALS_MUST_CHECK;

/* Fills code and text of an error and returns the code; for statuses without a text of their own.
 */
int op_fail(struct op *op, int status, const char *format, ...) ANNALS_PRINTF(3, 4);
/* Milliseconds a client should wait before trying again; 0 when the status is not retryable. */
uint64_t op_retry_after_ms(int status);

#endif
