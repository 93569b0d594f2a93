/*
 * Delayed events: kept aside until they are due, then appended like any other. An event gets its
 * offset, position and version when it is appended; before that no reader and no group sees it.
 * Part of storage: the same rules (see storage.h) for requests, threads and errors.
 *
 * They are rows (docs/disk-format.md): any number of them costs no memory but what the journal's
 * tail holds anyway. Being appended and leaving the rows are one commit, so a crash neither loses
 * an event nor appends it twice. One thread owns them.
 */
#ifndef ANNALS_SCHEDULE_H
#define ANNALS_SCHEDULE_H

#include <annals/storage.h>

struct schedule;

/* Starts the thread; takes the same time however many events wait. ANNALS_E_NO_MEMORY, ANNALS_E_IO,
 * ANNALS_E_CORRUPT_DATA. */
int schedule_open(struct store *store, struct schedule **ret, struct error *err) ANNALS_MUST_CHECK;
/* Before store_close(): answers what waits with ANNALS_E_UNAVAILABLE, stops the thread. NULL is a
 * no-op. */
void schedule_close(struct schedule *schedule);

#define SCHEDULED_EVENT_BYTES_MAX 59000u
#define SCHEDULED_EVENTS_MAX 10000u /* of one request */

struct scheduled_event {
	struct bytes encoded;    /* one Event, checked; borrowed until the request comes back */
	struct bytes source, id; /* with an id, the topic takes it once; borrowed likewise */
	uint64_t due_us;         /* wall clock */
	uint32_t partition;
	/* results */
	uint8_t schedule_id[16];
	bool replayed; /* it waits already */
};

/*
 * All events are kept in one commit or none. ANNALS_E_TOO_LARGE (an event, or all together),
 * ANNALS_E_LIMIT (too many), ANNALS_E_DUPLICATE_ID (another event of this id waits; `conflict` says
 * whose), ANNALS_E_STORAGE_FULL, ANNALS_E_OVERLOADED, ANNALS_E_UNAVAILABLE,
 * ANNALS_E_OUTCOME_UNKNOWN.
 */
struct schedule_request {
	struct store_request base; /* queue and arg are the caller's; operation is not looked at */
	uint32_t topic_id;
	bool partition_named; /* else events with a key go where their key belongs when they are due
			       */
	struct scheduled_event *events;
	size_t event_count;
	size_t conflict;
};
/* 0: the request comes back through its queue. ANNALS_E_TOO_LARGE, ANNALS_E_LIMIT,
 * ANNALS_E_OVERLOADED, ANNALS_E_UNAVAILABLE: not taken. Any thread. */
int schedule_submit(struct schedule *schedule, struct schedule_request *request,
	struct error *err) ANNALS_MUST_CHECK;

struct schedule_stats {
	uint64_t waiting;        /* events */
	uint64_t next_due_us;    /* of the first; 0 if none waits */
	uint64_t appended_total; /* since the start */
	uint64_t dropped_total;  /* of topics that are gone */
	uint64_t refused_total;  /* tries that the log refused; each comes again after a minute */
};
/* Any thread. */
void schedule_stats(struct schedule *schedule, struct schedule_stats *ret);

#endif
