/*
 * Writing the pages and the filter of one run from entries in order, in as many transactions as it
 * takes. The settler's thread.
 */
#ifndef ANNALS_STORAGE_INDEX_RUN_WRITE_H
#define ANNALS_STORAGE_INDEX_RUN_WRITE_H

#include "index/run_format.h"

struct run_writer {
	struct env *env;
	uint32_t topic_id;
	enum index_kind kind;
	struct run run;         /* id, filter_lines; what was added so far */
	uint64_t written_bytes; /* put into the table */
	struct index_entry last;
	uint32_t part; /* of the filter that is being filled */
	uint32_t page_count;
	struct index_entry page[RUN_PAGE_ENTRIES];
	uint8_t filter[RUN_FILTER_PART_BYTES];
};

/* For at most hashes_max different hashes. `run` gives id, blocks and level. */
void run_writer_init(struct run_writer *writer, struct env *env, uint32_t topic_id,
	enum index_kind kind, const struct run *run, uint64_t hashes_max);
/* The next entry; it must lie behind the one before. ANNALS_E_IO, ANNALS_E_STORAGE_FULL. */
int run_writer_add(struct run_writer *writer, MDB_txn *txn, const struct index_entry *entry,
	struct error *err) ANNALS_MUST_CHECK;
/* What is left; writer->run is then complete. At least one entry was added. */
int run_writer_finish(struct run_writer *writer, MDB_txn *txn, struct error *err) ANNALS_MUST_CHECK;

int run_manifest_put(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	const struct run *run, struct error *err) ANNALS_MUST_CHECK;
int run_manifest_delete(struct env *env, MDB_txn *txn, uint32_t topic_id, enum index_kind kind,
	uint64_t first_block, struct error *err) ANNALS_MUST_CHECK;

#endif
