/*
 * Runs: the part of an index that lies in LMDB. A run is immutable: the entries of consecutive
 * blocks, sorted, in pages, with a filter. Rows per event in a tree of their own would cost a
 * random page write each; a run costs its bytes. (Log-structured merge: O'Neil et al. 1996; filter:
 * Bloom 1970, in blocks of one cache line: Putze, Sanders, Singler 2007.)
 *
 * Table `index`, keys big-endian (bytes: run_format.h):
 *   topic id u32, section u8 = kind * 4 + 0, first block u64             manifest row: one per run
 *   topic id u32, section u8 = kind * 4 + 1, run id u64, part u32        part of the run's filter
 *   topic id u32, section u8 = kind * 4 + 2, run id u64, hash and order of the page's first entry
 *     (24 bytes)                                                          page of entries
 * So the runs of an index sort by time, oldest first, and deleting a topic is deleting a prefix.
 * Everything of a run but its manifest row may be there without it (a merge or flush that was cut
 * short): it is garbage, which run_collect_garbage() takes. Runs can all expire, so an index's
 * runs do not say up to which block it was flushed; that is kept elsewhere.
 *
 * Damage: a line of a filter and a group of entries carry a CRC32C each, and no answer, also not
 * "absent", is given without having checked those it rests on. So a lookup costs the checking of
 * some hundred bytes, not of whole pages.
 *
 * Readers: any thread, with a snapshot taken after memory was asked. Their functions take a cursor
 * on TABLE_INDEX, so that they never allocate: env_snapshot_cursor(), or mdb_cursor_open() in any
 * other transaction. They move it; a run must come from run_list_load() in the same transaction.
 * Writers: the settler's thread.
 */
#ifndef ANNALS_STORAGE_INDEX_RUN_H
#define ANNALS_STORAGE_INDEX_RUN_H

#include "index/entry.h"
#include "lmdb/tables.h"

#include <annals/error.h>

#define RUN_PAGE_ENTRIES 408u /* a page fills four pages of LMDB */
#define RUN_FILTER_BITS_PER_ENTRY 10u
#define RUNS_PER_INDEX_MAX 64u
/* With so many there is always something to merge, and flushing more should wait for it. */
#define RUNS_PER_INDEX_CROWDED 40u

/* A manifest row. */
struct run {
	uint64_t id; /* never reused within a store */
	uint64_t first_block, last_block;
	uint64_t count;                   /* entries */
	uint64_t hashes;                  /* different ones among them */
	uint64_t order_first, order_last; /* smallest and largest order in it */
	uint32_t level;                   /* 0 = flushed from memory; a merge makes level + 1 */
	uint32_t filter_lines;
};

/* ---- Reading ---- */

/* The runs of an index, oldest first. 0 or ANNALS_E_IO, ANNALS_E_CORRUPT_DATA, ANNALS_E_NO_MEMORY
 * (also more than RUNS_PER_INDEX_MAX). */
struct run_list {
	struct run runs[RUNS_PER_INDEX_MAX];
	uint32_t count;
};
int run_list_load(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind, struct run_list *ret,
	struct error *err) ANNALS_MUST_CHECK;

/*
 * The newest entry of a hash in one run: 1 found, 0 not, negative ANNALS_E_IO,
 * ANNALS_E_CORRUPT_DATA. Asks the run's filter first, so that a miss costs one cache line mostly.
 * Who looks up much takes run_cache_newest().
 */
int run_newest(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind, const struct run *run,
	struct index_hash hash, struct index_entry *ret, struct error *err) ANNALS_MUST_CHECK;

/*
 * Entries of a hash with order in [from, to], ascending, or descending when `backwards`: calls fn
 * for each until it returns non-zero, which is returned. 0 at the end. Otherwise as run_newest().
 * fn may read other tables in the same transaction, but must leave the cursor alone and write
 * nothing.
 */
int run_range(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind, const struct run *run,
	struct index_hash hash, uint64_t from, uint64_t to, bool backwards,
	int (*fn)(void *arg, const struct index_entry *entry), void *arg,
	struct error *err) ANNALS_MUST_CHECK;

/* Every entry of a run in order, and all that a run can be checked for (verify): fn as above.
 * ANNALS_E_CORRUPT_DATA also when the entries are not those that the manifest row counts, and for a
 * filter that is damaged anywhere or misses one of them. */
int run_walk(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind, const struct run *run,
	int (*fn)(void *arg, const struct index_entry *entry), void *arg,
	struct error *err) ANNALS_MUST_CHECK;

/* ---- Writing: the settler's thread ---- */

/*
 * Writes a whole run of `count` sorted entries (at least one) and its manifest row in this
 * transaction; run->id, blocks and level are the caller's, the rest is filled in. Of entries with
 * the same hash and order only the last is kept. Storage is about count * 40 bytes and 1.3 bytes
 * for each different hash. ANNALS_E_IO, ANNALS_E_NO_MEMORY, ANNALS_E_STORAGE_FULL.
 */
int run_write(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	struct run *run, const struct index_entry *entries, size_t count,
	struct error *err) ANNALS_MUST_CHECK;

/*
 * A merge of adjacent runs of one level into one of the next, in steps of about `step_bytes` of
 * output per transaction, so that settling goes on in between. Starting over after a crash is fine:
 * inputs stay until the last step's transaction, which writes the new manifest row and deletes the
 * old ones; their pages are garbage then. Memory: about 33 KiB and 16 KiB for each input.
 *
 * keep(arg, entry, is_newest_of_hash) decides whether an entry goes on (NULL: all do); newest means
 * among the inputs, later runs may hold newer ones. When nothing is kept there is no new row.
 */
struct run_merge;
/*
 * Chooses what to merge in an index: RUN_MERGE_WIDTH or more adjacent runs of one level, the lowest
 * such level first, the oldest of them, as many as have no more than count_max entries together;
 * nothing when fewer than RUN_MERGE_WIDTH do. When an index is crowded for all that, the
 * RUN_MERGE_WIDTH adjacent runs with the fewest entries, whatever their levels. Returns 1 with a
 * merge to step and to free, 0 when there is nothing to do, negative as run_list_load().
 */
#define RUN_MERGE_WIDTH 6u
int run_merge_begin(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	uint64_t new_run_id, uint64_t count_max,
	bool (*keep)(void *arg, const struct index_entry *entry, bool is_newest_of_hash), void *arg,
	struct run_merge **ret, struct error *err) ANNALS_MUST_CHECK;
/*
 * Does one step in this write transaction, which the caller commits. 1: more to do; 0: done, with
 * the manifest changed in this transaction. Negative: the caller aborts and frees the merge, also
 * when a commit fails: ANNALS_E_CONFLICT when an input is no longer there (expired or deleted in
 * between; what was written is garbage), ANNALS_E_CORRUPT_DATA, ANNALS_E_IO, ANNALS_E_STORAGE_FULL.
 */
int run_merge_step(struct run_merge *merge, MDB_txn *txn, uint64_t step_bytes,
	struct error *err) ANNALS_MUST_CHECK;
void run_merge_free(struct run_merge *merge);

/* Deletes the manifest rows of runs whose newest order lies below `order` (expired ids); their
 * pages are garbage then. Returns how many, or negative. */
int run_expire(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	uint64_t order, struct error *err) ANNALS_MUST_CHECK;

/*
 * Deletes up to pages_max LMDB pages' worth of filter parts and pages that no manifest row names,
 * except those of run id `building` (0 = none). *cursor_topic says where to go on (start with 0; it
 * comes back as UINT32_MAX at the end of the table). Looks at no more than
 * RUN_GARBAGE_TOPICS_PER_STEP topics, so that 0 alone does not mean the end. Returns the pages
 * freed, or negative. When it freed none the transaction may as well be aborted.
 */
#define RUN_GARBAGE_TOPICS_PER_STEP 64u
int run_collect_garbage(struct env *env, MDB_txn *txn, uint64_t building, uint32_t pages_max,
	uint32_t *cursor_topic, struct error *err) ANNALS_MUST_CHECK;

/* Deletes up to pages_max LMDB pages' worth of what a topic has in the table. Returns the pages
 * freed; 0: nothing is left; negative. */
int run_delete_topic(struct env *env, MDB_txn *txn, uint32_t topic_id, uint32_t pages_max,
	struct error *err) ANNALS_MUST_CHECK;

/* The largest run id in the table, also of garbage; 0 if it is empty. For opening. */
int run_last_id(struct env *env, MDB_txn *txn, uint64_t *ret, struct error *err) ANNALS_MUST_CHECK;

#endif
