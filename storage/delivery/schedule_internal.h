/* What the files of the schedule share. Everything belongs to its thread but for what `mutex`
 * guards. */
#ifndef STORAGE_SCHEDULE_INTERNAL_H
#define STORAGE_SCHEDULE_INTERNAL_H

#include "delivery_internal.h"
#include "staged.h"

#include <annals/schedule.h>

/*
 * Keys of rows, numbers big-endian so that they sort:
 *   'd' 'e' due in microseconds(8) number(8)   an event: version u8 = 1, flags u8 (bit 0: the
 *       partition was named), topic u32, partition u32, schedule id 16 bytes, then the Event
 *   'd' 'i' schedule id(16)                    due u64, number u64: the event's key
 *   'd' 'n'                                    how many events wait u64, the next number u64
 */
#define EVENT_KEY_BYTES 18u
#define EVENT_FIXED_BYTES 26u
#define ID_KEY_BYTES 18u
#define PLACE_BYTES 16u
#define PARTITION_NAMED 1u

/* An event that is due, as it was scanned; `at` and `size` are its row's value in
 * due_batch.bytes. */
struct due_event {
	uint8_t key[EVENT_KEY_BYTES];
	uint8_t id[16];
	uint8_t flags;
	bool has_id;   /* there is a row for it */
	uint32_t slot; /* of its topic in due_batch.topic_ids */
	uint32_t partition;
	size_t at, size;
};
/* Events that go into the log with one commit: a chain of appends, one for each topic. */
struct due_batch {
	struct buf bytes;
	struct due_event *events; /* as they were due; sorted by topic and partition once filled */
	size_t count, capacity;
	uint64_t last_due_us;
	uint64_t skipped_us; /* when the first one of a topic too many was due */
	uint32_t topic_ids[APPEND_TOPICS_MAX];
	uint32_t topic_count;
	struct append_request appends[APPEND_TOPICS_MAX];
	size_t append_count;
	struct append_part *parts; /* of all appends */
	struct buf *bodies;        /* by part */
	size_t part_count;
	size_t dropped;            /* events of topics that are gone */
	struct rows_request alone; /* when nothing is to be appended */
	bool is_alone, postponed;
};

struct schedule {
	struct store *store;
	uint8_t uuid[16];
	pthread_t thread;
	/* guarded by mutex */
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	bool woken, stopping, failed;
	struct list_node inbox;
	size_t inbox_count;
	struct schedule_stats stats;
	/* the thread's */
	struct completion_queue completions;
	struct list_node requests, committing;
	uint64_t waiting, next_number;
	uint64_t committing_waiting, committing_number, committing_due_us;
	uint64_t next_due_us;  /* nothing is due before; UINT64_MAX: nothing waits */
	uint64_t scan_from_us; /* no row has an earlier due time */
	uint64_t retry_us;     /* monotonic: not before */
	struct row_batch rows;
	struct staged_keys staged_ids; /* of the rows gathered */
	struct row_change *changes;
	struct rows_request commit;
	struct due_batch due;
	size_t due_max;        /* halves with a refusal, which finds whose fault it was */
	uint64_t after_due_us; /* when the first event behind the batch is due */
	uint64_t rest_us; /* after the append: so that looking takes a fifth of the time at most */
	bool in_flight;
	bool due_was_last;
};

void schedule_event_key(uint8_t out[EVENT_KEY_BYTES], uint64_t due_us, uint64_t number);
void schedule_id_key(uint8_t out[ID_KEY_BYTES], const uint8_t id[16]);
/* Adds the row of both counters to the rows. ANNALS_E_NO_MEMORY. */
int schedule_add_counts(
	struct schedule *schedule, uint64_t waiting, uint64_t next_number) ANNALS_MUST_CHECK;
/* Not again before so long. */
void schedule_pause(struct schedule *schedule, uint64_t us);

/* schedule_due.c */
/* Submits an append of events that are due, if there are any. True when it is on its way. */
bool schedule_start_due(struct schedule *schedule);
/* It came back. Negative: storage failed for good. */
int schedule_due_returned(struct schedule *schedule, struct store_request *request);
void due_batch_release(struct due_batch *due);

#endif
