/* What the files of delivery share. Everything here belongs to the delivery thread but for what
 * `mutex` guards. */
#ifndef STORAGE_DELIVERY_INTERNAL_H
#define STORAGE_DELIVERY_INTERNAL_H

#include "progress.h"

#include <annals/column.h>
#include <annals/delivery.h>

/* Rows that wait for a commit, and where they are in it. */
struct row_batch {
	struct buf bytes;
	struct row_place {
		size_t key_at, key_size, value_at, value_size;
		bool deleted;
	} * places;
	size_t count, capacity;
};
void row_batch_release(struct row_batch *batch);
void row_batch_reset(struct row_batch *batch);
/* value.data NULL: the row goes. ANNALS_E_NO_MEMORY. */
int row_batch_add(struct row_batch *batch, struct bytes key, struct bytes value) ANNALS_MUST_CHECK;
int row_batch_changes(const struct row_batch *batch, struct row_change **ret) ANNALS_MUST_CHECK;

/*
 * Keys of rows, numbers big-endian so that they sort:
 *   'g' 'c' name                                             a group's settings
 *   'g' 'n'                                                  the next group id
 *   'g' kind group(4) topic(4) partition(4)                  'h': head of a progress
 *   'g' kind group(4) topic(4) partition(4) place(8) part(2) 's': slice (place: base),
 *            'p': parked event (place: offset; parts), 't': failed attempts (place: offset)
 *   'g' 'k' group(4) name                                    checkpoint
 *   'g' 'm' group(4)                                         generation of members
 *   'g' 'f' group(4) block(4)                                events that ended (finished.c)
 */
enum row_kind {
	ROW_CONFIG = 'c',
	ROW_NEXT_ID = 'n',
	ROW_HEAD = 'h',
	ROW_SLICE = 's',
	ROW_PARKED = 'p',
	ROW_ATTEMPTS = 't',
	ROW_CHECKPOINT = 'k',
	ROW_GENERATION = 'm',
	ROW_FINISHED = 'f',
};
struct row_key {
	uint8_t bytes[2 + 4 + GROUP_NAME_MAX + 24];
	size_t size;
};
struct group;
struct group_partition;
struct row_key row_key_group(enum row_kind kind, uint32_t group_id, struct bytes rest);
struct row_key row_key_place(
	enum row_kind kind, const struct group_partition *at, uint64_t place, uint32_t part);
struct row_key row_key_head(const struct group_partition *at);
static inline struct bytes row_key_bytes(const struct row_key *key)
{
	return bytes_of(key->bytes, key->size);
}
#define PLACE_KEY_BYTES 24u /* of row_key_place() */

/* Events of one stored batch in turn. */
struct batch_reader {
	struct buf page;  /* stored batches */
	size_t page_used; /* up to the end of the current one */
	struct batch batch;
	struct buf plain;
	struct bytes body;
	size_t body_used;
	uint64_t next_offset; /* of the event that comes next; UINT64_MAX: no batch is open */
	uint64_t batch_end;
	struct batch_versions versions; /* of the events from next_offset on */
};
struct read_event {
	uint64_t offset, position, recorded_us;
	uint64_t version;     /* in its stream; VERSION_NONE without one, and of a parked copy */
	struct bytes encoded; /* borrowed from the reader */
};
void batch_reader_release(struct batch_reader *reader);
void batch_reader_reset(struct batch_reader *reader);

struct group_partition {
	struct group *group;
	struct list_node node; /* group->partitions */
	uint32_t topic_id, partition;
	struct progress progress;
	struct batch_reader reader; /* at the cursor */
	bool has_more;              /* a poll stopped scanning before the end */
	bool dirty, transacting;
	struct list_node dirty_node;
	struct watch_request watch;
	bool is_watched;
	struct read_request read; /* of the reader's next page, when it is not in memory */
	bool is_reading, has_read;
	bool is_removed; /* waits for its watch or its read, then goes */
};

#define FINISHED_BLOCK 16u /* neighbours in the ring that share a row */
struct finished {
	struct group_partition *at; /* NULL: the place is free */
	uint64_t offset, leased_us, deadline_us, ended_us;
	uint32_t member, number;
	uint8_t outcome;
	bool has_history; /* its failed attempts have a row */
};

struct member {
	struct list_node node;
	char name[MEMBER_NAME_MAX + 1];
	uint64_t joined_us, seen_us, session_us;
	uint32_t topic_ids[GROUP_TOPICS_MAX];
	uint32_t topic_count, partitions;
};
struct assignment {
	uint32_t topic_id, partition;
	struct member *member; /* shall have it */
	struct member *holder; /* has it; another one as long as it has not let go */
	uint32_t since;        /* generation in which the holder got it */
	uint32_t moved;        /* in which it became the member's */
	uint64_t moved_us;
};

struct group {
	struct list_node node;
	struct delivery *delivery;
	uint32_t id;
	char name[GROUP_NAME_MAX + 1];
	uint64_t created_us;
	uint8_t hash_key[16];
	struct group_config config;
	struct progress_settings settings;
	struct member_names names;
	struct list_node partitions;
	uint32_t partition_count;
	struct group_partition *turn; /* whose events come first in the next poll */
	struct list_node polls;       /* that wait, oldest first */
	uint32_t reads;               /* pages under way: no poll ends with nothing meanwhile */
	uint64_t parked_bytes;
	uint64_t deliveries, redeliveries, acknowledged, refused, expired, parked_total;
	struct bytes reason;                                          /* of the refusal under way */
	struct finished *finished;                                    /* a ring */
	uint64_t finished_next;                                       /* how many there have been */
	uint64_t finished_dirty[FINISHED_KEPT / FINISHED_BLOCK / 64]; /* a bit for each block */
	bool note_failed; /* memory ran out while a note was taken */
	/* by offset */
	struct list_node members;
	uint32_t member_count, generation;
	struct assignment *assignments;
	size_t assignment_count;
};

struct delivery {
	struct store *store;
	pthread_t thread;
	bool stepped; /* the store is: there is no thread */
	uint64_t wall_base_us, monotonic_base_ns;
	/* guarded by mutex */
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	bool woken, stopping, failed;
	struct list_node inbox;
	size_t inbox_count;
	struct group_info *published;
	size_t published_count;
	struct group_lag *lags;
	size_t lag_count;
	/* the thread's */
	struct completion_queue completions;
	struct list_node groups;
	uint32_t group_count, next_group_id;
	struct list_node requests;     /* taken from the inbox */
	struct list_node answers;      /* leave with the next commit */
	struct list_node transactions; /* wait for their turn */
	struct list_node dirty;        /* partitions */
	struct row_batch rows;         /* of groups, parked events, attempts */
	struct row_batch committing;
	struct row_change *committing_changes;
	struct list_node committing_answers;
	struct rows_request commit;
	bool commit_in_flight, commit_refused;
	bool commit_is_next; /* a transaction was last */
	uint64_t commit_retry_us;
	unsigned transactions_in_flight;
	unsigned watches, reads;
	unsigned passed_on;        /* requests of others that storage has */
	struct batch_reader again; /* for redeliveries */
	struct group_partition *again_at;
	uint64_t next_timer_us; /* no timer is due before */
	uint64_t next_publish_us, next_lag_us;
	uint64_t next_check_us;  /* of partitions and topics */
	uint64_t topics_removed; /* that were looked after */
};

uint64_t delivery_now_us(const struct delivery *delivery);
/* One turn over a stepped store: takes what came in and what storage answered, runs timers, hands
 * rows to the writer. False when it is closing and storage has nothing of it any more. */
bool delivery_turn(struct delivery *delivery);
/* The request leaves with the next commit. */
void delivery_answer(struct delivery *delivery, struct delivery_request *request, int status,
	const char *format, ...) ANNALS_PRINTF(4, 5);
void delivery_mark(struct group_partition *at);
/* A row as it will be after the commits that are gathered and under way. 1, 0, or an error. */
int delivery_row_get(struct delivery *delivery, const struct row_key *key,
	struct buf *ret_value) ANNALS_MUST_CHECK;

/* groups.c */
struct group *group_find(struct delivery *delivery, struct bytes name);
struct group_partition *group_partition_find(
	const struct group *group, uint32_t topic_id, uint32_t partition);
int groups_load(struct delivery *delivery, struct error *err) ANNALS_MUST_CHECK;
void groups_release(struct delivery *delivery);
/* Before a partition's leases get this epoch: no group made later begins with it or below, whatever
 * becomes of this one. In the rows of the next commit. ANNALS_E_NO_MEMORY. */
int groups_reserve_epoch(struct delivery *delivery, uint32_t epoch) ANNALS_MUST_CHECK;
int group_make(struct delivery *delivery, const char *name, const struct group_config *config,
	struct group **ret) ANNALS_MUST_CHECK;
int group_write(struct group *group) ANNALS_MUST_CHECK;
void group_use_config(struct group *group, const struct group_config *config);
/* Out of the list, with all that is its; not its rows. */
void group_free(struct group *group);
int group_partition_make(struct group *group, uint32_t topic_id, uint32_t partition,
	uint64_t cursor, struct group_partition **ret) ANNALS_MUST_CHECK;
/* Marks the rows of a group's partitions as deleted, those of one topic or (NULL) of all. */
int group_delete_rows(struct delivery *delivery, uint32_t group_id, const uint32_t *topic_id);
/* All but the settings, as far as memory suffices: rows of a number that nobody has are dust. */
void group_delete_all_rows(struct delivery *delivery, uint32_t group_id);
/* Partitions that topics have gained; topics that are gone. False: one is gone and what is left of
 * it cannot go before a commit returns; no request may see it meanwhile. */
bool groups_check(struct delivery *delivery);
void group_partition_free(struct group_partition *at);

/* group_requests.c */
void group_put(struct delivery *delivery, struct group_put_request *request);
void group_delete(struct delivery *delivery, struct group_describe_request *request);

/* group_describe.c */
void group_describe(struct delivery *delivery, struct group_describe_request *request);
void groups_publish(struct delivery *delivery);
uint64_t group_partition_lag(struct group_partition *at);

/* lag.c */
/* Age of the oldest event that is not finished. */
uint64_t group_partition_lag_us(struct group_partition *at);
/* What the group has committed against the ends of the partitions. Errors of store_offset_list(),
 * ANNALS_E_NO_MEMORY. */
int group_lag_by_offset(
	struct delivery *delivery, struct bytes group, struct group_lag *ret) ANNALS_MUST_CHECK;
/* Every few seconds, for delivery_lags(). */
void groups_look_at_lag(struct delivery *delivery);

/* scan.c */
/* The next event at or after `offset`: 1, 0 at the end, ANNALS_E_OFFSET_GONE with *ret_first,
 * ANNALS_E_CORRUPT_DATA with *ret_first where to go on, other errors. */
int batch_reader_next(struct batch_reader *reader, struct group_partition *at, uint64_t offset,
	bool one_batch, struct read_event *ret, uint64_t *ret_first) ANNALS_MUST_CHECK;
/* One event again, from the log or its parked copy: 1; 0: it is gone. */
int delivery_read_again(struct group_partition *at, uint64_t offset, struct read_event *ret,
	struct buf *scratch) ANNALS_MUST_CHECK;
uint64_t group_key_hash(const struct group *group, const struct record *record);

/* leases.c */
void delivery_poll(struct delivery *delivery, struct poll_request *request);
/* Serves the polls that wait, as far as there is something. */
void group_serve_polls(struct group *group);
void delivery_settle(struct delivery *delivery, struct settle_request *request);
void delivery_seek(struct delivery *delivery, struct seek_request *request);
/* Timers of all groups. Returns when to come again. */
uint64_t delivery_run_timers(struct delivery *delivery);

/* parked.c: copies of parked events and records of failed attempts */
void group_note(void *arg, enum progress_outcome outcome, const struct item *item);
/* Counts the bytes of copies. */
void parked_load(struct group *group);
/* Copy and attempts of an event that is over. */
void parked_forget(struct group_partition *at, uint64_t offset);
int parked_copy_read(const struct group_partition *at, uint64_t offset, struct parked_info *ret,
	struct buf *bytes) ANNALS_MUST_CHECK;
void delivery_parked(struct delivery *delivery, struct parked_request *request);
void delivery_explain(struct delivery *delivery, struct explain_request *request);

void attempts_forget(struct group_partition *at, uint64_t offset);

/* finished.c */
/* Takes note of an event that ends. False when memory is short: then it has no story. */
bool finished_keep(struct group_partition *at, const struct item *item, uint8_t outcome);
/* The last time that it ended, or NULL. */
const struct finished *finished_find(const struct group_partition *at, uint64_t offset);
void finished_forget_partition(struct group *group, const struct group_partition *at);
void finished_release(struct group *group);
/* Adds the rows of what changed to the next commit. ANNALS_E_NO_MEMORY. */
int finished_write(struct group *group) ANNALS_MUST_CHECK;
/* For store_row_scan(); after the group's partitions. ANNALS_E_CORRUPT_DATA, NO_MEMORY. */
int finished_load_row(void *arg, struct bytes key, struct bytes value) ANNALS_MUST_CHECK;

/* transact.c */
void delivery_transact(struct delivery *delivery, struct transact_request *request);
void delivery_start_transactions(struct delivery *delivery);
void delivery_transaction_done(struct delivery *delivery, struct transact_request *request);
void delivery_checkpoint_get(struct delivery *delivery, struct checkpoint_request *request);

/* members.c */
void delivery_member(struct delivery *delivery, struct member_request *request);
void delivery_member_commit(struct delivery *delivery, struct member_commit_request *request);
void members_run_timers(struct group *group, uint64_t now_us, uint64_t *ret_next_us);
void members_release(struct group *group);

#endif
