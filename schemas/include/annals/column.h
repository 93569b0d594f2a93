/*
 * Columns of a stamp: what the server learnt about each event of a batch on its way in. Layouts,
 * little-endian; a batch has each at most once, and only those that its topic asks for:
 *
 *   1 stream: entries of 32 bytes: key hash high u64, low u64, first version u64, count u32, zero
 *     u32. Each stands for `count` consecutive events of one stream with rising versions; events
 *     without a key have hash 0 and version VERSION_NONE. Counts add up to the batch's.
 *   2 id: for each event the hash of source and id: high u64, low u64; zeros without an id.
 *   3 query: entries of 24 bytes: event u32, zero u32, hash high u64, low u64: the type of the
 *     event, and each of its tags, in event order.
 *
 * Readers of events need column 1 only; hashes are storage's (they are keyed with the store's
 * UUID).
 */
#ifndef ANNALS_COLUMN_H
#define ANNALS_COLUMN_H

#include <annals/batch.h>

enum batch_column {
	COLUMN_STREAM = 1,
	COLUMN_ID = 2,
	COLUMN_QUERY = 3,
};

#define COLUMN_STREAM_ENTRY_BYTES 32u
#define COLUMN_ID_ENTRY_BYTES 16u
#define COLUMN_QUERY_ENTRY_BYTES 24u
#define VERSION_NONE UINT64_MAX

/* The column's bytes; empty when the batch has none. */
struct bytes batch_column(const struct batch *batch, enum batch_column type);
/* The version of the batch's event `index` (from 0), VERSION_NONE if it has none. Linear in the
 * number of streams in the batch. */
uint64_t batch_version(const struct batch *batch, uint32_t index);
/* The versions of a batch's events, one after the other. */
struct batch_versions {
	struct bytes column; /* what is left of it */
	uint64_t next;
	uint32_t left; /* events of the current entry */
};
void batch_versions_init(struct batch_versions *versions, const struct batch *batch);
/* Of the next event; VERSION_NONE if it has none. */
uint64_t batch_versions_next(struct batch_versions *versions);
/* Do the columns' sizes and counts fit the batch? Pure. ANNALS_E_CORRUPT_DATA. */
int batch_columns_check(const struct batch *batch) ANNALS_MUST_CHECK;

/* Appends a column's header with room for `bytes` (zeroed) behind it; *ret_room is valid until the
 * buffer grows. ANNALS_E_NO_MEMORY. */
int column_add(struct buf *out, enum batch_column type, size_t bytes,
	uint8_t **ret_room) ANNALS_MUST_CHECK;
/* What column_add() appends. */
size_t column_size(size_t bytes);

#endif
