/*
 * Lookups in all runs of an index, for a thread that does many: what it learnt about an index stays
 * from one to the next.
 *
 * The list of runs is that of one state of the environment, told by LMDB's transaction number, and
 * is read again when that changed. Where a filter's parts lie in the map is kept as long as their
 * run is in the list: LMDB copies on write and never moves a value that nobody wrote, and the map
 * stays where it is while the environment is open. That is LMDB's way and not its promise, so it is
 * only believed as far as the line's checksum (which names run and line) is right; otherwise LMDB
 * is asked. Run ids must not be used again while a cache knows them.
 *
 * One thread. A few kilobytes for each index, and 8 bytes for each 12,240 different hashes asked.
 */
#ifndef ANNALS_STORAGE_INDEX_RUN_CACHE_H
#define ANNALS_STORAGE_INDEX_RUN_CACHE_H

#include "index/run.h"

#define RUN_CACHE_INDEXES 64u

struct run_cache;

/* NULL without memory. */
struct run_cache *run_cache_new(void);
/* Before or after the environment is closed. NULL is a no-op. */
void run_cache_free(struct run_cache *cache);

/*
 * The newest entry of a hash in an index: that of the newest run which has it. 1 found, 0 not,
 * ANNALS_E_IO, ANNALS_E_CORRUPT_DATA, ANNALS_E_NO_MEMORY. The cursor is on TABLE_INDEX in a
 * snapshot, always of the same environment.
 */
int run_cache_newest(struct run_cache *cache, MDB_cursor *cursor, uint32_t topic_id,
	enum index_kind kind, struct index_hash hash, struct index_entry *ret,
	struct error *err) ANNALS_MUST_CHECK;

#endif
