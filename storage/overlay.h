/*
 * Rows that were changed by blocks and are not in LMDB yet: (table, key) -> newest value or
 * "deleted", with the block that wrote it. Lies above LMDB: look here first.
 *
 * The caller holds the tail's mutex for every call.
 */
#ifndef ANNALS_STORAGE_OVERLAY_H
#define ANNALS_STORAGE_OVERLAY_H

#include "lmdb/tables.h"

#include <annals/list.h>
#include <stdbool.h>

struct overlay_row {
	struct overlay_row *next; /* in its bucket */
	struct list_node node;    /* in order of first change */
	uint64_t hash;
	uint64_t block;
	enum table table;
	bool deleted;
	struct bytes key;
	uint8_t *value; /* malloc'ed */
	size_t value_size;
};

struct overlay {
	struct overlay_row **buckets; /* a power of two */
	size_t bucket_count, count;
	struct list_node rows;
	uint64_t bytes;
};

int overlay_init(struct overlay *overlay) ANNALS_MUST_CHECK;
void overlay_release(struct overlay *overlay);
/* Sets a row; value.data == NULL deletes it. Copies both. ANNALS_E_NO_MEMORY. */
int overlay_put(struct overlay *overlay, enum table table, struct bytes key, struct bytes value,
	uint64_t block) ANNALS_MUST_CHECK;
/* NULL if there is none (look in LMDB then). */
const struct overlay_row *overlay_get(
	const struct overlay *overlay, enum table table, struct bytes key);
/* Is any row of the table changed? */
bool overlay_has(const struct overlay *overlay, enum table table);
/* Forgets the rows whose newest change is in a block up to `block`: they are in LMDB. */
void overlay_settled(struct overlay *overlay, uint64_t block);

#endif
