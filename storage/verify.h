/*
 * Insides of store_verify(): what it knows of the store while it walks LMDB (verify_tables.c,
 * verify_log.c) and then the journal over it (verify_journal.c). One thread; nothing is changed.
 *
 * Functions return 0 when they could look, whatever they found: what is wrong goes to
 * verify_problem(). Negative codes mean that looking was not possible.
 */
#ifndef ANNALS_STORAGE_VERIFY_H
#define ANNALS_STORAGE_VERIFY_H

#include "apply.h"
#include "chunk.h"
#include "index/entry.h"
#include "journal/journal.h"
#include "lmdb/env.h"
#include "lmdb/tables.h"

struct verify_partition {
	struct partition_row row; /* zeros when there is none */
	bool row_is_damaged;
	/* as found in the log table */
	uint64_t log_bytes, log_events, log_chunks;
	uint64_t log_end; /* one past the last chunk */
	struct chunk_header last_chunk;
	/* as the journal goes on */
	uint64_t first_offset, end_offset;
	bool gap_is_reported;
	uint64_t unindexed_end; /* one past the last event that its indexes miss; 0: none */
	enum index_kind unindexed_kind;
};

struct verify_topic {
	struct topic *topic;
	struct verify_partition *partitions;
	uint32_t partition_count;
	bool deleted; /* by the journal */
};

struct verify {
	const struct verify_options *options;
	struct verify_report *report;
	struct env env;
	MDB_txn *txn;
	struct journal *journal; /* NULL when it cannot be read */
	struct meta_row meta;
	struct verify_topic *topics; /* in order of id */
	size_t topic_count, topic_capacity;
	uint32_t *deleting; /* ids of topics whose rows are being deleted, in order */
	size_t deleting_count, deleting_capacity;
	struct buf scratch;
	uint8_t store_uuid[16];
	struct verify_runs *runs;  /* verify_index.c */
	uint64_t indexed_position; /* events below are in the indexes' runs */
	uint64_t total_bytes, done_bytes, next_progress_ns;
};

void verify_problem(struct verify *verify, const char *format, ...) ANNALS_PRINTF(2, 3);
/* Counts bytes looked at and tells the caller about ten times a second. */
void verify_progress(struct verify *verify, uint64_t bytes);

struct verify_topic *verify_find_topic(struct verify *verify, uint32_t id);
/* Takes the reference on success. ANNALS_E_NO_MEMORY. */
int verify_add_topic(
	struct verify *verify, struct topic *topic, struct error *err) ANNALS_MUST_CHECK;
int verify_grow_topic(
	struct verify_topic *topic, uint32_t partitions, struct error *err) ANNALS_MUST_CHECK;
bool verify_is_deleting(const struct verify *verify, uint32_t topic_id);

/* Checks one stored batch by itself (checksums, number of events) and against its place; *ret_batch
 * is valid when 1 is returned. 0: it cannot be read at all. `where` begins the text of problems. */
int verify_batch(struct verify *verify, struct bytes stored, uint32_t topic_id, uint32_t partition,
	const char *where, struct batch *ret_batch);

/* verify_tables.c: meta, topics, partition rows; later the offsets. */
int verify_tables(struct verify *verify, struct error *err) ANNALS_MUST_CHECK;
int verify_offsets(struct verify *verify, struct error *err) ANNALS_MUST_CHECK;
/* verify_log.c: every chunk, then each partition's row against them. */
int verify_log(struct verify *verify, struct error *err) ANNALS_MUST_CHECK;
/* verify_journal.c: every block, over what LMDB holds. */
int verify_journal(struct verify *verify, struct error *err) ANNALS_MUST_CHECK;
/* verify_index.c: begin comes before the log and the journal, which show their batches; then every
 * run, after the journal. */
int verify_index_begin(struct verify *verify, struct error *err) ANNALS_MUST_CHECK;
void verify_index_batch(
	struct verify *verify, struct verify_partition *partition, const struct batch *batch);
int verify_index(struct verify *verify, struct error *err) ANNALS_MUST_CHECK;
void verify_index_end(struct verify *verify);

#endif
