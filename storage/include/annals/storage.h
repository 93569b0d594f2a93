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
	uint64_t journal_segment_bytes; /* default 64 MiB; at least 16 MiB */
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
};
void store_options_init(struct store_options *options);

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

/* ---- Completion queues: how requests come back ---- */

/* One per consumer (an event loop, a test). A leaf lock: storage holds no other lock while it
 * pushes. */
struct completion_queue {
	pthread_mutex_t mutex;
	struct list_node requests;
	void (*notify)(
		void *arg); /* called without the lock, only when the queue was empty before */
	void *arg;
};
void completion_queue_init(struct completion_queue *queue, void (*notify)(void *arg), void *arg);
void completion_queue_release(struct completion_queue *queue); /* must be empty */
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
	STORE_READ,
	STORE_FIND_TIME,
	STORE_WATCH,
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

struct topic_config {
	uint32_t partitions;       /* 1 to 10,000 */
	uint64_t retention_age_us; /* over the topic, by recorded time; 0 = unlimited, as below */
	uint64_t retention_bytes;  /* stored bytes over all partitions */
	uint64_t retention_events;
	enum durability durability; /* for appends that do not choose; DEFAULT means FSYNC */
	bool streams;               /* reserved: ANNALS_E_UNSUPPORTED_OPERATION for now */
	uint32_t event_bytes_max;   /* 0 = the server's */
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
};
/* All parts are stored in one block or none is. At most block_bytes_max stored bytes
 * (ANNALS_E_TOO_LARGE). */
struct append_request {
	struct store_request base;
	uint32_t topic_id;
	enum durability durability; /* DEFAULT: the topic's; afterwards what it got */
	struct append_part *parts;
	size_t part_count;
	struct append_part one_part; /* parts may point here */
	uint64_t recorded_us;        /* result */
};

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
	/* results */
	struct buf batches; /* stored batches end to end, CRCs verified, appended to what was there;
			       the first holds `offset` (or begins after it, past a hole). Empty at
			       the end. */
	uint32_t batch_count;
	uint64_t next_offset; /* where to go on */
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
/*
 * Runs a STORE_READ or STORE_FIND_TIME. Returns 0 when it is done, request->status set, nothing
 * queued; 1 when it was handed to a reader thread and will come back through request->queue (only
 * with STORE_READ_NO_BLOCK). Statuses: ANNALS_E_UNKNOWN_TOPIC, ANNALS_E_UNKNOWN_PARTITION,
 * ANNALS_E_OFFSET_GONE, ANNALS_E_OFFSET_BEYOND_END (offset > end; equal is an empty page),
 * ANNALS_E_CORRUPT_DATA (names topic, partition, offset; next_offset steps over the damaged batch),
 * ANNALS_E_IO, ANNALS_E_NO_MEMORY.
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

#endif
