/*
 * A shard: one journal, one LMDB environment, one writer and one settler thread, some readers, and
 * what memory knows of them. For the files of storage/ only.
 *
 * Lock order: tail.mutex -> catalog.lock. queue.mutex, watches.mutex, state_mutex, readers.mutex
 * and a completion queue's mutex are leaves. Nobody calls back under a lock.
 */
#ifndef ANNALS_STORAGE_SHARD_H
#define ANNALS_STORAGE_SHARD_H

#include "apply.h"
#include "catalog.h"
#include "index/memtable.h"
#include "journal/journal.h"
#include "lmdb/env.h"
#include "lmdb/tables.h"
#include "overlay.h"
#include "staged.h"
#include "tail.h"
#include "watch.h"

/* Waiting for the writer. */
struct shard_queue {
	pthread_mutex_t mutex;
	pthread_cond_t filled;
	struct list_node requests;
	uint64_t bytes; /* queued and taken; until the writer comes back for more */
	uint32_t count;
	uint64_t taken_bytes;
	uint32_t taken_count;
	bool writer_sleeps;
	bool closing;
};

struct reader_pool {
	pthread_mutex_t mutex;
	pthread_cond_t filled;
	struct list_node requests;
	bool closing;
	uint32_t thread_count;
	pthread_t *threads;
};

/* The block under construction. Writer's thread only. */
struct draft {
	struct buf bytes;
	uint32_t command_count;
	uint64_t time_us;
	uint64_t first_position, next_position;
	uint64_t events;
	struct list_node requests; /* admitted into it */
	bool any_os;
	struct partition **touched; /* for rolling back */
	size_t touched_count, touched_capacity;
	uint64_t generation;             /* changes with each new draft */
	struct staged_keys staged_rows;  /* that its commands change */
	struct staged_keys staged_facts; /* ids, types and tags of its events, admission_mix() */
	struct memtable staged_streams; /* newest versions; the topic's id is mixed into the hash */
	struct staged_values staged_producers; /* their rows */
};

/* What the topics' indexes have in common; topic_index.h has the rest. */
struct shard_index {
	/* under tail.mutex */
	struct list_node dirty;  /* struct topic_index with entries in memory */
	uint64_t bytes;          /* of all entries in memory */
	uint64_t oldest_block;   /* whose entries are in memory only; 0 if there are none. The
				    journal keeps it and all after it */
	uint64_t frozen_block;   /* the same of what is being flushed */
	uint64_t written_before; /* journal bytes written before oldest_block */
	uint64_t generation;     /* changes when entries leave memory */
	/* settler */
	struct index_settling *settling;
	/* writer; NULL until it is needed */
	struct run_cache *cache;
};

struct counters {
	_Atomic uint64_t appended_events, appended_bytes, append_requests, commits, commit_bytes;
	_Atomic uint64_t sync_ns_total, sync_ns_max, offset_commits, refused_overloaded,
		refused_full;
	_Atomic uint64_t settled_bytes, settle_commits, read_requests, read_bytes, cold_reads,
		corrupt_reads;
	_Atomic uint64_t index_flushes, index_merges, replayed_appends, conflicts;
	_Atomic uint64_t trimmed_events, trimmed_chunks, disk_free_bytes, map_used_bytes,
		free_pages;
	_Atomic uint64_t sync_buckets[24], commit_events_buckets[24];
};

struct shard {
	struct store_options options;
	char *dir; /* DIR/shards/0 */
	uint8_t uuid[16];
	struct journal *journal;
	struct env env;
	struct catalog catalog;
	struct tail tail;
	struct overlay overlay; /* under tail.mutex */
	struct shard_index index;
	struct watch_registry watches;
	struct shard_queue queue;
	struct reader_pool readers;
	struct draft draft;
	struct counters counters;

	/* What was published last. Writer; others read. */
	_Atomic uint64_t last_block, next_position, last_recorded_us;

	pthread_mutex_t state_mutex;
	_Atomic int state;        /* enum store_state */
	char state_reason[256];   /* under state_mutex */
	_Atomic bool disk_is_low; /* less than the reserve is free: appends are refused */
	_Atomic bool journal_is_full;
	_Atomic bool settling_is_blocked; /* the settler found no space */
	bool tail_is_stuck;               /* writer: at its cap, and the settler cannot help */
	_Atomic uint64_t full_probe_ns;   /* when the next append may try again */

	pthread_t writer_thread, settler_thread;
	bool writer_started, settler_started;

	/* settler */
	pthread_cond_t settle;              /* with tail.mutex */
	bool settler_sleeps, settler_stops; /* under tail.mutex */
	struct list_node trims;             /* partitions with chunks to delete; under tail.mutex */
	struct list_node deletes;           /* struct deletion; under tail.mutex */
	struct meta_row meta;               /* as in LMDB; settler (recovery before) */
	uint32_t sweep_topic, sweep_partition; /* where the last sweep stopped */
	uint64_t next_retention_ns, next_usage_ns;
	uint64_t unlooked_bytes; /* settled since retention looked */
	void *retention;         /* retention.c's */
	void *expiry;            /* receipts.c's */
};

/* A deleted topic whose rows and chunks are still in LMDB. */
struct deletion {
	struct list_node node;
	uint32_t topic_id;
	uint64_t block; /* that deleted it: nothing is removed before the rows of this block are
			   settled */
};

/* shard.c */
int shard_open(struct shard **ret, const struct store_options *options, const char *dir,
	const uint8_t uuid[16], struct error *err) ANNALS_MUST_CHECK;
void shard_close(struct shard *shard);
/* Stops all writing for good and says why; the first reason stays. Any thread. */
void shard_fail(struct shard *shard, const char *reason);
/* store.c: for the tests of storage, which reach into it. */
struct shard *store_shard(struct store *store);
enum store_state shard_state(struct shard *shard, char reason[256]);

/* publish.c: makes a durable block visible. Writer's thread; recovery. */
int publish_block(struct shard *shard, uint64_t number, struct bytes block, bool recovering,
	struct error *err) ANNALS_MUST_CHECK;

/* writer.c */
int writer_submit(struct shard *shard, struct store_request *request, bool wake,
	struct error *err) ANNALS_MUST_CHECK;
void writer_wake(struct shard *shard);
void *writer_main(void *shard);
/* One turn of the writer: takes what is submitted, admits it and commits. False when the store
 * closes and nothing is left; of a stepped store, when nothing was there. */
bool writer_turn(struct shard *shard);
/* Commits the draft if it holds anything. */
void writer_commit(struct shard *shard);
/* Forgets what the draft noted of an append that could not be placed, by committing the rest. */
void writer_discard_notes(struct shard *shard);

/* admit.c: puts a request into the draft (committing it first where a limit or the kind demands
 * it), or answers it. */
void admit_request(struct shard *shard, struct store_request *request);
/* Answers a request that was not written. */
void admit_refuse(struct store_request *request, int status, const char *text);

/* recovery.c: before the threads start. */
int recovery_run(struct shard *shard, struct error *err) ANNALS_MUST_CHECK;
/* What LMDB holds of partitions that a replayed block adds: logs have watermarks of their own and
 * may be settled before the topic's row is. */
int recovery_load_partitions(struct shard *shard, struct topic_state *state, uint32_t from,
	struct error *err) ANNALS_MUST_CHECK;

/* settler.c */
void *settler_main(void *shard);
/* One turn of the settler: housekeeping that is due, one settle commit, some cleaning up. Returns
 * how long to sleep in nanoseconds; 0: there is more to do. *ret_for_work: work ends the sleep. */
uint64_t settler_turn(struct shard *shard, bool *ret_for_work);
/* Both under tail.mutex: wakes the settler if it is time to settle. */
void settler_wake(struct shard *shard);
bool settler_has_work(struct shard *shard);

/* cleanup.c: deleting chunks below first offsets and of deleted topics, in small steps. Settler's
 * thread. Returns 1 when there is more to do. */
int cleanup_step(struct shard *shard, struct error *err);

/* retention.c: looks at every topic with a limit and submits trims. Settler's thread, every
 * retention_interval_us. */
void retention_run(struct shard *shard);
void retention_release(struct shard *shard);

/* readers.c */
int readers_start(struct shard *shard, struct error *err) ANNALS_MUST_CHECK;
void readers_stop(struct shard *shard);
void readers_submit(struct shard *shard, struct store_request *request);

/* log.c and find_time.c: run a read now. With may_block false: 1 when it would wait for the disk
 * (nothing was done). Otherwise 0, request->status set. */
int log_read(struct shard *shard, struct read_request *request, bool may_block);
int log_find_time(struct shard *shard, struct find_time_request *request, bool may_block);
/* streams.c: the same contract. */
int stream_read(struct shard *shard, struct stream_request *request, bool may_block);
int query_read(struct shard *shard, struct query_request *request, bool may_block);
/* ANNALS_E_INVALID, ANNALS_E_TOO_LARGE. Pure. */
int query_condition_check(const struct query_condition *query, struct error *err) ANNALS_MUST_CHECK;
/* readers.c: runs a read of any kind as above. */
int readers_run(struct shard *shard, struct store_request *request, bool may_block);

/* group_offsets.c */
int group_offset_get(struct shard *shard, struct bytes group, uint32_t topic_id, uint32_t partition,
	struct offset_entry *ret, struct buf *ret_metadata, struct error *err) ANNALS_MUST_CHECK;
int group_offset_list(struct shard *shard, struct bytes group,
	int (*fn)(void *arg, const struct offset_entry *entry), void *arg,
	struct error *err) ANNALS_MUST_CHECK;
int group_list(struct shard *shard, int (*fn)(void *arg, struct bytes group), void *arg,
	struct error *err) ANNALS_MUST_CHECK;

void shard_stats(struct shard *shard, struct store_stats *ret);

#endif
