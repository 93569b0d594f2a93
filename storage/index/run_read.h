/* Parts of a lookup, for those who look up in many runs (run_cache.c), and lists for those who make
 * them shorter. */
#ifndef ANNALS_STORAGE_INDEX_RUN_READ_H
#define ANNALS_STORAGE_INDEX_RUN_READ_H

#include "index/run_format.h"

/* As run_list_load(), but of more than RUNS_PER_INDEX_MAX runs the oldest. */
int run_list_load_oldest(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind,
	struct run_list *ret, struct error *err) ANNALS_MUST_CHECK;
/* Where a part of a run's filter lies; whole, but not checked. Valid as long as the transaction.
 * ANNALS_E_IO, ANNALS_E_CORRUPT_DATA. */
int run_filter_part(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind,
	const struct run *run, uint32_t part, const uint8_t **ret,
	struct error *err) ANNALS_MUST_CHECK;
/* Asks the part that the hash's line is in: 1 the run may have it, 0 it does not,
 * ANNALS_E_CORRUPT_DATA. */
int run_filter_ask(uint32_t topic_id, const struct run *run, const uint8_t *part,
	struct index_hash hash, struct error *err) ANNALS_MUST_CHECK;
/* As run_newest(), but where the filter did not say no. */
int run_pages_newest(MDB_cursor *cursor, uint32_t topic_id, enum index_kind kind,
	const struct run *run, struct index_hash hash, struct index_entry *ret,
	struct error *err) ANNALS_MUST_CHECK;

#endif
