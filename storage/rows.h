/* Rows as a reader finds them: changed ones in the overlay, the rest in LMDB. */
#ifndef ANNALS_STORAGE_ROWS_H
#define ANNALS_STORAGE_ROWS_H

#include "shard.h"

/* store_row_get() and store_row_scan(), see <annals/storage.h>. Any thread. */
int row_get(struct shard *shard, struct bytes key, struct buf *ret_value,
	struct error *err) ANNALS_MUST_CHECK;
int row_scan(struct shard *shard, struct bytes prefix, struct bytes from, size_t count_max,
	int (*fn)(void *arg, struct bytes key, struct bytes value), void *arg,
	struct error *err) ANNALS_MUST_CHECK;

/* 0 or ANNALS_E_INVALID, ANNALS_E_TOO_LARGE for changes that no block may hold. Pure. */
int row_changes_check(
	const struct row_change *changes, size_t count, struct error *err) ANNALS_MUST_CHECK;
/*
 * Do the expectations hold for what is published? 0; ANNALS_E_CONFLICT with *ret_index;
 * ANNALS_E_IO, ANNALS_E_NO_MEMORY. The writer's thread.
 */
int row_changes_expected(struct shard *shard, const struct row_change *changes, size_t count,
	size_t *ret_index, struct error *err) ANNALS_MUST_CHECK;
/* Bytes of the BLOCK_ROWS command for these changes; 0 when none of them changes anything. */
size_t row_changes_size(const struct row_change *changes, size_t count);
void row_changes_write(uint8_t *out, const struct row_change *changes, size_t count);

#endif
