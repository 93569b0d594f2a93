/*
 * A topic's indexes: the newest entries in memory (active, and frozen while they are being
 * flushed), the rest in runs in LMDB.
 *
 * Memory belongs to the tail's mutex: the writer adds when it publishes, the settler freezes and
 * drops. A reader asks memory first and takes its snapshot of LMDB afterwards: what was dropped
 * from memory meanwhile is in the snapshot.
 */
#ifndef ANNALS_STORAGE_TOPIC_INDEX_H
#define ANNALS_STORAGE_TOPIC_INDEX_H

#include "index/memtable.h"
#include "index/run.h"
#include "index/run_cache.h"
#include "shard.h"

/* Entries in memory beyond which they are flushed, and beyond which the writer waits. */
#define INDEX_FLUSH_BYTES (16u << 20)
#define INDEX_BYTES_MAX (64u << 20)

struct topic_index {
	struct topic_state *state; /* whose it is, while dirty */
	struct memtable active[INDEX_KINDS];
	struct memtable frozen[INDEX_KINDS];
	struct list_node dirty; /* on shard->index.dirty: active has entries */
	bool is_frozen;
	bool wants_merge; /* settler: it has runs that nobody looked at since */
};

void topic_index_free(struct topic_index *index); /* NULL is a no-op */
/* Adds what the batch's columns say. Under the tail's mutex. ANNALS_E_NO_MEMORY,
 * ANNALS_E_CORRUPT_DATA. */
int topic_index_add_batch(struct shard *shard, struct topic_state *state, const struct batch *batch,
	uint64_t block, struct error *err) ANNALS_MUST_CHECK;
/* A deleted topic's memory goes. Under the tail's mutex. */
void topic_index_drop(struct shard *shard, struct topic_state *state);

/* Several lookups in one topic, with one snapshot where that is right. One thread; short-lived: it
 * holds a snapshot until it is released. */
struct index_view {
	struct shard *shard;
	struct topic_state *state;
	struct snapshot *snapshot;
	MDB_cursor *cursor;      /* of the snapshot, on the index */
	struct run_cache *cache; /* of a thread that looks up much; or NULL */
	uint64_t generation;
	struct run_list *lists[INDEX_KINDS]; /* NULL: not read yet */
};
void index_view_init(struct index_view *view, struct shard *shard, struct topic_state *state);
void index_view_release(struct index_view *view);
/* The newest entry of a hash: 1 found, 0 not, ANNALS_E_IO, ANNALS_E_CORRUPT_DATA,
 * ANNALS_E_NO_MEMORY. */
int index_newest(struct index_view *view, enum index_kind kind, struct index_hash hash,
	struct index_entry *ret, struct error *err) ANNALS_MUST_CHECK;
/* Up to `max` entries of a hash with order in [from, to], in rising order, or falling when
 * `backwards`. Errors as above. */
int index_range(struct index_view *view, enum index_kind kind, struct index_hash hash,
	uint64_t from, uint64_t to, bool backwards, struct index_entry *ret, size_t max,
	size_t *ret_count, struct error *err) ANNALS_MUST_CHECK;

/*
 * index_flush.c, the settler's thread: writes what memory holds as runs when it is much (or `all`),
 * merges runs, drops expired ids and garbage, a step at a time. 1 when something was done, 0 when
 * there is nothing to do now, negative as settling. index_settle_release() at the end.
 */
int index_settle_step(struct shard *shard, struct error *err);
/* The oldest block that the journal must keep, given that it could be trimmed to `keep`. Under the
 * tail's mutex. */
uint64_t index_keep_block(const struct shard *shard, uint64_t keep);
/* Is there something to flush? Under the tail's mutex. */
bool index_has_work(const struct shard *shard);
void index_settle_release(struct shard *shard);

#endif
