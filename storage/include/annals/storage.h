/*
 * Storage: durable, partitioned, ordered logs with consumer offsets. The layer's only public
 * header.
 *
 * What holds everywhere
 * - Storage knows no event loop and never logs. Requests are made and owned by the caller, who
 * fills the input fields and submits; from then until the request comes back through its completion
 * queue, storage owns it. A request comes back exactly once, always.
 * - Nothing is visible before it is durable: reads, watches and answers see only what has been
 * synced.
 * - Every function may be called from any thread unless it says otherwise. No function keeps an
 * LMDB snapshot after it returned.
 * - Four outcomes: done (0); conflict; refused (any other code but OUTCOME_UNKNOWN: nothing
 * happened); ANNALS_E_OUTCOME_UNKNOWN: a storage error after submission, the write may have
 * happened. After one the shard is read-only until it is reopened.
 */
#ifndef ANNALS_STORAGE_H
#define ANNALS_STORAGE_H

#include <annals/buf.h>
#include <annals/error.h>
#include <annals/list.h>
#include <annals/schemas.h>
#include <pthread.h>
#include <stdatomic.h>

struct store;

/* ---- Options ---- */

struct store_options {
	const char *data_dir; /* created if missing (mode 0750); its parent must exist */
	const char *journal;  /* "file" (default) or "memory" (tests: nothing survives, LMDB lies in
				 data_dir all the same) */
	uint64_t journal_segment_bytes; /* default 64 MiB; at least 256 KiB and 4 * block_bytes_max
					 */
	uint64_t map_bytes;             /* LMDB address space, default 1 TiB */
	uint64_t tail_bytes_max;        /* unsettled bytes kept in memory, default 64 MiB */
	uint64_t queue_bytes_max;       /* bytes waiting for the writer, default 64 MiB; above:
					   ANNALS_E_OVERLOADED */
	uint32_t queue_requests_max;    /* default 65,536 */
	uint64_t block_bytes_max;       /* default 4 MiB */
	uint32_t reader_threads;        /* for cold reads, default 2 */
	uint64_t retention_interval_us; /* how often retention is looked at, default 1 s */
	uint64_t disk_reserve_bytes; /* kept free for offset commits and deletes, default 64 MiB */
	uint32_t topics_max;         /* default 100,000 */
	void (*damaged)(const char *what); /* LMDB finds its own structure impossible: called by the
					      thread that met it, must not return; NULL: abort() */
	bool stepped; /* simulation: no thread is started, the turns of storage/shard.h do the work
			 when the caller says so. The tail then grows past tail_bytes_max rather
			 than wait, every read happens in store_read(), and store_close() answers
			 what still waits with ANNALS_E_UNAVAILABLE */
};
void store_options_init(struct store_options *options);

/* Where LMDB's file and LMDB's code lie in this process's memory: a fault that an access there
 * raises means a damaged file (a part that cannot be read, or structure that cannot be). */
struct store_map {
	uint64_t data, data_bytes; /* the file, as far as its map reaches */
	uint64_t code, code_bytes; /* of the library; 0 bytes where it is a part of the program */
	char path[4096];           /* of the file */
};

/*
 * Opens or creates a data directory: takes its lock, opens LMDB, replays the journal, starts the
 * threads. Nothing is served before what was read has been synced. ANNALS_E_LOCKED,
 * ANNALS_E_FORMAT_NEWER, ANNALS_E_CORRUPT_DATA (journal damaged in the middle), ANNALS_E_IO,
 * ANNALS_E_NO_MEMORY, ANNALS_E_INVALID. A full disk is not an error: the store opens, reads work,
 * appends are refused until there is space.
 */
int store_open(const struct store_options *options, struct store **ret,
	struct error *err) ANNALS_MUST_CHECK;
/*
 * Refuses new requests (ANNALS_E_UNAVAILABLE), finishes those submitted, stops the threads, closes.
 * All completion queues must stay valid until it returns; their last requests are pushed before. It
 * does not settle what is in the tail: the journal holds it (crash-only). NULL is a no-op.
 */
void store_close(struct store *store);
void store_uuid(const struct store *store, uint8_t ret_uuid[16]);
/* ANNALS_E_NOT_FOUND where the system does not tell (no /proc). Any thread. */
int store_find_map(struct store *store, struct store_map *ret) ANNALS_MUST_CHECK;

/* ---- Completion queues: how requests come back ---- */

/* One per consumer (an event loop, a test). A leaf lock: storage holds no other lock while it
 * pushes. */
struct store_request;
struct completion_queue {
	pthread_mutex_t mutex;
	struct list_node requests;
	void (*notify)(
		void *arg); /* called without the lock, only when the queue was empty before */
	void *arg;
	_Atomic unsigned notifying; /* threads that are in notify() */
};
void completion_queue_init(struct completion_queue *queue, void (*notify)(void *arg), void *arg);
/* Must be empty; nothing is on its way to it any more. Waits for whoever is still in notify(), so
 * that what `arg` points to can go afterwards. */
void completion_queue_release(struct completion_queue *queue);
/* Hands back one request whose status is set, to its `queue`. Also for threads of the layers above
 * that answer requests of this form. Holds no lock but the queue's. */
void completion_push(struct store_request *request);
/* Moves everything to the end of `requests` (a list head of the caller). */
void completion_queue_take(struct completion_queue *queue, struct list_node *requests);

enum store_operation {
	STORE_APPEND,
	STORE_TOPIC_CREATE,
	STORE_TOPIC_UPDATE,
	STORE_TOPIC_DELETE,
	STORE_OFFSET_COMMIT,
	STORE_GROUP_DELETE,
	STORE_TRIM,
	STORE_ROWS,
	STORE_PRODUCER_OPEN,
	STORE_READ,
	STORE_FIND_TIME,
	STORE_WATCH,
	STORE_STREAM_READ,
	STORE_QUERY,
	STORE_OPERATIONS
};

/* The first member of every request. */
struct store_request {
	struct list_node node;
	enum store_operation operation;
	struct completion_queue *queue;
	void *arg;          /* the caller's; storage does not look at it */
	int status;         /* set when it comes back */
	struct error error; /* its text, when status is not 0 */
};

/* ---- Topics ---- */

/* What becomes of events whose data is not what the schema of their type says. Storage keeps the
 * setting; the layers above look (see append_request.refusal). */
enum validation {
	VALIDATION_OFF,
	VALIDATION_WARN,   /* stored and counted */
	VALIDATION_ENFORCE /* the whole append is refused */
};

struct topic_config {
	uint32_t partitions;       /* 1 to 10,000 */
	uint64_t retention_age_us; /* over the topic, by recorded time; 0 = unlimited, as below */
	uint64_t retention_bytes;  /* stored bytes over all partitions */
	uint64_t retention_events;
	enum durability durability; /* for appends that do not choose; DEFAULT means FSYNC */
	bool streams; /* events with a key get a version in their key's stream; fixed for ever, as
			 is the number of partitions then */
	uint32_t event_bytes_max; /* 0 = the server's */
	/* The window in which the same (source, id) is stored once; 0 = no dedupe. Both limits
	 * hold: an id is forgotten when it is older, or when so many newer ones came (0 = 10
	 * million). */
	uint64_t dedupe_age_us;
	uint64_t dedupe_events;
	bool query_index; /* types and tags are indexed: conditions over a query, STORE_QUERY */
	enum validation validation;
};

/* An immutable snapshot of a topic's settings, reference-counted. */
struct topic {
	atomic_uint references;
	uint32_t id; /* never reused */
	uint8_t uuid[16];
	char name[TOPIC_NAME_MAX + 1];
	uint64_t created_us;
	struct topic_config config;
};
struct topic *topic_ref(struct topic *topic);
void topic_unref(struct topic *topic); /* NULL is a no-op */

/* A reference, or NULL if there is none of this name (id). */
struct topic *store_topic_find(struct store *store, struct bytes name);
struct topic *store_topic_find_id(struct store *store, uint32_t id);
/* How many topics were deleted since the store was opened; rises before a deletion is answered. */
uint64_t store_topics_removed(struct store *store);
/* References to all topics in name order in a malloc'ed array (the caller unrefs each and frees
 * it). ANNALS_E_NO_MEMORY. */
int store_topic_list(
	struct store *store, struct topic ***ret_topics, size_t *ret_count) ANNALS_MUST_CHECK;

struct partition_info {
	uint64_t first_offset, end_offset; /* [first kept, one past the last durable) */
	uint64_t stored_bytes;             /* stamps and bodies, about */
	uint64_t last_recorded_us;         /* 0 if nothing was ever appended */
};
/* ANNALS_E_UNKNOWN_TOPIC, ANNALS_E_UNKNOWN_PARTITION. Memory only, never blocks. */
int store_partition_info(struct store *store, uint32_t topic_id, uint32_t partition,
	struct partition_info *ret) ANNALS_MUST_CHECK;

/*
 * Position of the topic's last durable event, 0 if there is none: every event of the topic at or
 * below it can be read. Memory only, never blocks.
 */
uint64_t store_topic_position(struct store *store, uint32_t topic_id);

/* Operations STORE_TOPIC_CREATE, _UPDATE, _DELETE. */
struct topic_request {
	struct store_request base;
	char name[TOPIC_NAME_MAX + 1];
	struct topic_config config; /* create; update: the whole new settings (partitions 0 = keep;
				       may only grow, not with streams) */
	/* results */
	struct topic *topic; /* a reference for the caller (create, update) */
	bool created; /* create: false if it existed with the same settings; other settings are
			 ANNALS_E_TOPIC_EXISTS */
};

/* ---- Rows: small durable state of the layers above, beside the events ---- */

/*
 * Rows are keys and values that go through the journal like everything else: a change is durable
 * when its request comes back, and survives crashes with the events. The first byte of a key names
 * whose it is (enum row_owner); what follows is the owner's. Keys sort as bytes.
 */
#define ROW_KEY_BYTES_MAX 480u
#define ROW_VALUE_BYTES_MAX 60000u
#define ROWS_PER_REQUEST_MAX 65536u
enum row_owner {
	ROW_GROUP = 'g',    /* consumer groups: members, leases, parked events */
	ROW_RECEIPT = 'i',  /* Idempotency-Key receipts; storage's own */
	ROW_PRODUCER = 'p', /* producers' sequences; storage's own */
	ROW_SCHEDULE = 'd', /* delayed events */
	ROW_SCHEMA = 's',   /* the schema registry */
	ROW_WEBHOOK = 'w',
};

enum row_expect { ROW_EXPECT_ANYTHING, ROW_EXPECT_ABSENT, ROW_EXPECT_VALUE };
struct row_change {
	struct bytes key;
	struct bytes value; /* data == NULL deletes the row; an empty value needs non-NULL data */
	enum row_expect expect;
	struct bytes expected_value; /* with ROW_EXPECT_VALUE: the bytes that must be there now */
	bool keep;                   /* only the expectation counts, the row stays as it is */
};
/* STORE_ROWS: all changes in one commit or none. ANNALS_E_CONFLICT when an expectation does not
 * hold (conflict_index says whose), ANNALS_E_TOO_LARGE, ANNALS_E_INVALID. Drawn from the disk's
 * reserve: works when appends are refused for space. */
struct rows_request {
	struct store_request base;
	const struct row_change *changes; /* borrowed until the request comes back */
	size_t change_count;
	size_t conflict_index; /* result */
};
/* One row's value, appended to ret_value. 1 found, 0 not; ANNALS_E_IO, ANNALS_E_NO_MEMORY. */
int store_row_get(struct store *store, struct bytes key, struct buf *ret_value,
	struct error *err) ANNALS_MUST_CHECK;
/*
 * Calls fn for the rows whose key begins with `prefix`, in key order, from `from` on (whole key,
 * inclusive; empty = the first), at most count_max (0 = all): a non-zero return stops and is
 * returned. Sees each row as of one moment during the call; holds everything it returns in memory.
 */
int store_row_scan(struct store *store, struct bytes prefix, struct bytes from, size_t count_max,
	int (*fn)(void *arg, struct bytes key, struct bytes value), void *arg,
	struct error *err) ANNALS_MUST_CHECK;

/* ---- Writing ---- */

/*
 * Hands a request of operations STORE_APPEND to STORE_TRIM to the writer. 0: storage owns it until
 * it comes back through request->queue. Otherwise it was not taken and stays the caller's:
 * ANNALS_E_OVERLOADED (queue_bytes_max or queue_requests_max), ANNALS_E_UNAVAILABLE (closing or
 * read-only after a failed sync), ANNALS_E_STORAGE_FULL (appends only). Requests of one thread are
 * admitted in the order it submits them.
 */
int store_submit(
	struct store *store, struct store_request *request, struct error *err) ANNALS_MUST_CHECK;
/*
 * The same, but a sleeping writer sleeps on until store_wake_writer(): for callers that submit
 * several requests in a row, so that they share a commit and a wake-up. An event loop calls
 * store_wake_writer() at the end of each turn in which it submitted something.
 */
int store_submit_quietly(
	struct store *store, struct store_request *request, struct error *err) ANNALS_MUST_CHECK;
void store_wake_writer(struct store *store);

/* One batch of an append. The body was checked with batch_check_body() against the topic's limits
 * before. */
struct append_part {
	uint32_t partition;
	enum batch_codec codec;
	uint32_t body_crc;
	struct bytes body; /* borrowed until the request comes back */
	struct batch_summary summary;
	uint64_t producer_id;
	uint16_t producer_epoch;
	uint32_t first_sequence;
	/* results */
	uint64_t base_offset, base_position;
	uint64_t first_version; /* of its first event, where streams are on and it has a key; else
				   VERSION_NONE. Events of other streams: see append_request.runs */
	bool replayed;          /* all of it was stored before: this is where */
};

/* Where consecutive events of a part went. */
struct append_run {
	uint32_t part;        /* index in parts */
	uint32_t first_event; /* in the part as it was given */
	uint32_t count;
	uint32_t partition;
	uint64_t offset, position; /* of the first; position is 0 when replayed from a receipt that
				      does not know */
	uint64_t version;          /* of the first, all of one stream; or VERSION_NONE */
	bool replayed;
};

/* What must hold of a stream, checked in the same step as the append. */
enum stream_expect { STREAM_ANY, STREAM_NONE, STREAM_EXISTS, STREAM_VERSION };
struct stream_condition {
	struct bytes key;
	enum stream_expect expect; /* NONE: it never existed */
	uint64_t version;          /* with STREAM_VERSION: of its newest event */
	uint32_t incarnation; /* 0, or what a head said: another one is ANNALS_E_TOPIC_RECREATED */
};
/* No event that matches any of the items may have a position above `after`. Inside an item: any of
 * the types (none = every type) and all of the tags. At most QUERY_ITEMS_MAX items with
 * QUERY_TERMS_MAX types and tags each; an item needs at least one type or tag. */
#define QUERY_ITEMS_MAX 32u
#define QUERY_TERMS_MAX 32u
struct query_item {
	const struct bytes *types;
	uint32_t type_count;
	const struct bytes *tags;
	uint32_t tag_count;
};
struct query_condition {
	const struct query_item *items;
	uint32_t item_count;
	uint64_t after; /* a position; 0 = any event counts */
};
/* What a refused condition found (status ANNALS_E_PRECONDITION_FAILED). */
struct append_conflict {
	bool is_query;
	uint32_t index;    /* of the stream condition; 0 for the query */
	bool exists;       /* the stream has (had) events */
	uint64_t version;  /* its newest version */
	uint64_t position; /* query: of a matching event */
};
/* All parts are stored in one block or none is. At most block_bytes_max stored bytes
 * (ANNALS_E_TOO_LARGE). */
#define APPEND_TOPICS_MAX 64u
#define RECEIPT_KEY_BYTES_MAX (ROW_KEY_BYTES_MAX - 5u)
struct append_request {
	struct store_request base;
	uint32_t topic_id;
	enum durability durability; /* DEFAULT: the topic's; afterwards what it got */
	struct append_part *parts;
	size_t part_count;
	struct append_part one_part; /* parts may point here */
	/* Conditions: all must hold or nothing is stored. Borrowed until the request comes back. */
	const struct stream_condition *stream_conditions;
	uint32_t stream_condition_count;     /* at most 1,024 */
	const struct query_condition *query; /* or NULL */
	/* Rows that change in the same commit, with their expectations; ANNALS_E_CONFLICT. */
	const struct row_change *rows;
	size_t row_count;
	/* Idempotency-Key: at most 480 - 5 bytes that include its scope, and a hash of the request;
	 * a repeat within a day gets the first answer, another request ANNALS_E_IDEMPOTENCY. Empty
	 * = none. */
	struct bytes receipt_key;
	uint8_t receipt_hash[16];
	/* What the layers above found against the events: refuses the append where it would be
	 * stored, after all other checks, so that a repeat gets the first answer. 0: nothing. */
	int refusal;
	const char *refusal_text; /* borrowed until the request comes back */
	/*
	 * The next append of the same commit, to another topic: all of the chain is stored or
	 * nothing is. Only the first is submitted and comes back; of the others' bases storage
	 * uses nothing. Rows are the first one's, conditions, receipts and refusals each one's own.
	 * At most APPEND_TOPICS_MAX (ANNALS_E_LIMIT), no topic twice (ANNALS_E_INVALID), together
	 * as large as one append may be; with durability os only if it is so for each. When some
	 * events of the chain are stored already and any condition was set, it is refused:
	 * ANNALS_E_PARTIAL_DUPLICATE.
	 */
	struct append_request *next;
	/* results */
	const struct append_request *refused; /* of a chain, whose conflict it is; or NULL */
	uint64_t recorded_us;
	bool replayed;           /* nothing new was stored; of a chain's first: by none of it, see
				    parts for its own */
	struct append_run *runs; /* in request order, where the topic has streams or dedupe on or
				    the answer is a replay; else NULL: parts say it. malloc'ed */
	size_t run_count;
	struct append_conflict conflict;
	size_t conflict_row;     /* index of the row whose expectation failed */
	uint32_t conflict_event; /* ANNALS_E_DUPLICATE_ID, ANNALS_E_PARTIAL_DUPLICATE: event of
				    conflict_part */
	uint32_t conflict_part;
	struct append_facts *facts; /* private */
};
/* Frees what the results own (runs); the request can be filled anew. */
void append_request_release(struct append_request *request);

struct offset_entry {
	uint32_t topic_id, partition;
	uint64_t offset;       /* the next one to read; at most the partition's end
				  (ANNALS_E_OFFSET_BEYOND_END) */
	struct bytes metadata; /* at most 4 KiB, UTF-8; borrowed until the request comes back */
	uint32_t leader_epoch;
	uint64_t committed_us; /* in answers */
};
struct offset_request { /* STORE_OFFSET_COMMIT (all entries or none) and STORE_GROUP_DELETE (no
			   entries) */
	struct store_request base;
	char group[GROUP_NAME_MAX + 1];
	struct offset_entry *entries;
	size_t entry_count;
};

/*
 * STORE_PRODUCER_OPEN: gives a producer its id and epoch. An empty name gets a fresh id; a name
 * keeps its id for ever and each call raises the epoch, which fences whoever held it before
 * (ANNALS_E_FENCED on their appends). Sequences per (producer, topic, partition) start at 0 in
 * every epoch; a batch that was stored before gets its first answer, a gap is ANNALS_E_SEQUENCE.
 */
struct producer_request {
	struct store_request base;
	char name[GROUP_NAME_MAX + 1];
	/* results */
	uint64_t producer_id;
	uint16_t epoch;
};

struct trim_request { /* STORE_TRIM: forget what lies below first_offset, in whole batches */
	struct store_request base;
	uint32_t topic_id, partition;
	uint64_t first_offset;
};

/* ---- Reading ---- */

/* Flags that tell store_read() what the calling thread may do. */
#define STORE_READ_NO_BLOCK                                                                        \
	1u /* event loops: hand the read to a reader thread rather than wait for the disk */

struct read_request { /* STORE_READ */
	struct store_request base;
	uint32_t topic_id, partition;
	uint64_t offset;
	uint32_t bytes_max; /* stop before the batch that would exceed it, but return at least one
			       batch; at most 1 MiB is honoured */
	bool one_batch;     /* only the batch that holds `offset` */
	bool backwards;     /* the batches that end with the one that holds offset - 1, a chunk or
			       a page of them; `offset` may be the end. Still in rising order; the last
			       may reach past `offset`. Empty at the first kept offset */
	/* results */
	struct buf batches; /* stored batches end to end, CRCs verified, appended to what was there;
			       the first holds `offset` (or begins after it, past a hole). Empty at
			       the end. */
	uint32_t batch_count;
	uint64_t next_offset; /* where to go on; backwards: the first one of the page, or where the
				 damaged part begins */
	uint64_t first_offset, end_offset;
};
struct find_time_request { /* STORE_FIND_TIME */
	struct store_request base;
	uint32_t topic_id, partition;
	uint64_t time_us;
	/* results */
	uint64_t offset; /* base offset of the first batch recorded at or after the time; the end
			    offset if none */
};
/* Where one event of a stream or of a query's answer lies. Read it with a STORE_READ of one_batch.
 */
struct event_place {
	uint64_t version; /* in its stream; queries: VERSION_NONE */
	uint32_t partition;
	uint64_t offset, position;
};
#define PLACES_MAX 1000u

/* A stream as it is now. */
struct stream_head {
	uint32_t incarnation;   /* differs when the topic was deleted and created again */
	uint64_t next_version;  /* of the next event; the newest is one less */
	uint64_t first_version; /* the first kept */
	uint64_t first_position, last_position;
};
struct stream_request { /* STORE_STREAM_READ */
	struct store_request base;
	uint32_t topic_id;
	struct bytes key; /* borrowed until it comes back */
	uint64_t version; /* the first wanted; UINT64_MAX with backwards = the newest */
	bool backwards;
	/* Instead of a version, forwards only: events with a position above `after`, which, when
	 * retention removed some there, is ANNALS_E_OFFSET_GONE, or the first kept when it is 0. */
	bool by_position;
	uint64_t after;
	uint32_t limit; /* 0 (only the head) to PLACES_MAX */
	/* results */
	bool exists;
	struct stream_head head;
	struct event_place *places; /* malloc'ed, the caller's */
	size_t place_count;
	uint64_t up_to;  /* by_position: everything up to this position was looked at */
	bool is_through; /* by_position: that is all there is */
};
/* STORE_QUERY: events that match any item with a position above `after`, by position. Needs
 * query_index (ANNALS_E_UNSUPPORTED_OPERATION). `after` below what retention removed is
 * ANNALS_E_OFFSET_GONE, unless `from_kept`: then what is kept is looked at. */
struct query_request {
	struct store_request base;
	uint32_t topic_id;
	struct query_condition query; /* borrowed */
	bool from_kept;
	uint32_t limit; /* 1 to PLACES_MAX */
	/* results */
	struct event_place *places; /* malloc'ed, the caller's */
	size_t place_count;
	uint64_t up_to;  /* everything up to this position was looked at */
	bool is_through; /* that is all there is */
};
/*
 * Runs a STORE_READ, STORE_FIND_TIME, STORE_STREAM_READ or STORE_QUERY. Returns 0 when it is done,
 * request->status set, nothing queued; 1 when it was handed to a reader thread and will come back
 * through request->queue (only with STORE_READ_NO_BLOCK). Statuses: ANNALS_E_UNKNOWN_TOPIC,
 * ANNALS_E_UNKNOWN_PARTITION, ANNALS_E_OFFSET_GONE, ANNALS_E_OFFSET_BEYOND_END (offset > end; equal
 * is an empty page), ANNALS_E_CORRUPT_DATA (names topic, partition, offset; next_offset steps over
 * the damaged batch), ANNALS_E_IO, ANNALS_E_NO_MEMORY.
 */
int store_read(struct store *store, struct store_request *request, unsigned flags);

/* One wait for "there is something at or after `offset`". */
#define WATCH_ALL_PARTITIONS UINT32_MAX
struct watch_request { /* STORE_WATCH */
	struct store_request base;
	uint32_t topic_id;
	uint32_t partition; /* or WATCH_ALL_PARTITIONS: fires on the next append to any partition
			       after registration; offset is then a position */
	uint64_t offset;
	/* private */
	struct list_node registered;
	void *target; /* the partition's state, NULL for all */
	int state;
};
/*
 * Returns 1 when it is satisfied already (nothing registered), 0 when it was registered and will
 * come back through request->queue: status 0 when data is there, ANNALS_E_UNKNOWN_TOPIC when the
 * topic was deleted, ANNALS_E_UNAVAILABLE when the store closes. Negative: ANNALS_E_UNKNOWN_TOPIC,
 * ANNALS_E_UNKNOWN_PARTITION.
 */
int store_watch(struct store *store, struct watch_request *watch) ANNALS_MUST_CHECK;
/* True: it was registered and is the caller's again. False: it is on its way through the queue, or
 * was never registered. */
bool store_watch_cancel(struct store *store, struct watch_request *watch);

/* A group's committed offset. 1 found, 0 not, negative on errors. ret_metadata receives the
 * metadata (may be NULL). */
int store_offset_get(struct store *store, struct bytes group, uint32_t topic_id, uint32_t partition,
	struct offset_entry *ret, struct buf *ret_metadata, struct error *err) ANNALS_MUST_CHECK;
/* Calls fn for every committed offset of a group, in (topic id, partition) order; a non-zero return
 * stops and is returned. Entries of deleted topics are skipped. */
int store_offset_list(struct store *store, struct bytes group,
	int (*fn)(void *arg, const struct offset_entry *entry), void *arg,
	struct error *err) ANNALS_MUST_CHECK;
/* Calls fn for every group that has committed something, in name order. */
int store_group_list(struct store *store, int (*fn)(void *arg, struct bytes group), void *arg,
	struct error *err) ANNALS_MUST_CHECK;

/* ---- State, for metrics and health ---- */

enum store_state { STORE_OPEN, STORE_FULL, STORE_READ_ONLY, STORE_CLOSING };
struct store_stats {
	enum store_state state;
	char state_reason[256]; /* why it is not STORE_OPEN */
	uint64_t appended_events, appended_bytes, append_requests;
	uint64_t commits, commit_bytes, sync_ns_total, sync_ns_max;
	uint64_t offset_commits, queue_requests, queue_bytes, refused_overloaded, refused_full;
	uint64_t tail_bytes, tail_blocks, settled_bytes, settle_commits, settle_backlog_partitions;
	uint64_t journal_bytes, journal_segments, last_block, last_position;
	uint64_t read_requests, read_bytes, cold_reads, corrupt_reads;
	uint64_t trimmed_events, trimmed_chunks;
	uint64_t index_flushes, index_merges, index_bytes; /* bytes: of entries in memory */
	uint64_t replayed_appends, conflicts;
	uint64_t map_used_bytes, free_pages, oldest_reader_age_us;
	uint64_t topics, partitions, watches;
	uint64_t disk_free_bytes;
	uint64_t sync_buckets[24]; /* commits whose sync took < 2^(i+10) ns, not cumulative; the
				      last holds the rest */
	uint64_t commit_events_buckets[24]; /* commits with < 2^i events */
};
void store_stats(struct store *store, struct store_stats *ret);

/* ---- Offline ---- */

struct verify_report {
	/* Batches and events count once, also when both the journal and the log hold them. */
	uint64_t journal_segments, journal_blocks, chunks, batches, events, bytes, problems;
	/* Runs of indexes, and entries that were looked for because an event must have them. */
	uint64_t index_runs, index_lookups;
};
struct verify_options {
	const char *data_dir;
	uint64_t map_bytes; /* as in store_options */
	/* Called about ten times a second, and at the end; done and total count bytes. May be NULL.
	 */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	/* Called for each thing that is wrong: one sentence that names the place. */
	void (*problem)(void *arg, const char *text);
	void *arg;
};
/*
 * Checks a whole store that nobody has open: format, every segment, block chain, chunk, batch CRC,
 * dense offsets, watermarks, counters against logs. Changes nothing. 0 when it could look at
 * everything, whatever it found (report->problems); ANNALS_E_LOCKED, ANNALS_E_IO,
 * ANNALS_E_FORMAT_NEWER, ANNALS_E_NOT_FOUND (no store there).
 */
int store_verify(const struct verify_options *options, struct verify_report *ret,
	struct error *err) ANNALS_MUST_CHECK;

struct salvage_report {
	uint64_t topics, batches, events, offsets, rows;
	uint64_t lost_events, lost_ranges; /* offsets that were kept in use and are holes now */
	uint64_t journal_blocks, damaged_frames;
	bool database_is_damaged; /* LMDB's tree was not followed, its pages were searched */
};
struct salvage_options {
	const char *data_dir; /* of a store that nobody has open; nothing in it is changed */
	const char *new_dir;  /* does not exist, or is empty */
	uint64_t map_bytes;   /* as in store_options */
	void (*progress)(void *arg, uint64_t done, uint64_t total); /* may be NULL */
	void (*lost)(void *arg, const char *text); /* one sentence for each loss; may be NULL */
	void *arg;
};
/*
 * Writes what is intact in a damaged store to a new one: topics with their ids and settings,
 * batches with their offsets, positions and times, groups' offsets, rows. A range of lost offsets
 * is a hole: readers go on behind it. Needs about 100 bytes of memory for each batch. What LMDB and
 * the journal disagree about is taken from the journal. ANNALS_E_NOT_FOUND, ANNALS_E_LOCKED,
 * ANNALS_E_FORMAT_NEWER, ANNALS_E_INVALID (new_dir), ANNALS_E_STORAGE_FULL, ANNALS_E_IO,
 * ANNALS_E_NO_MEMORY, ANNALS_E_CORRUPT_DATA (what is left contradicts itself).
 */
int store_salvage(const struct salvage_options *options, struct salvage_report *ret,
	struct error *err) ANNALS_MUST_CHECK;

#endif
